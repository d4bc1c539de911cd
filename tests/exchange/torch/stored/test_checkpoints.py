"""What is taken of a checkpoint and under which names, and what is said of the rest."""

from __future__ import annotations

import argparse
import collections
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read
from tests.exchange.torch.stored.files import saved

torch = pytest.importorskip("torch")

NAMES = ["0.weight", "0.bias", "1.weight", "1.bias"]


def trained(units: int = 4) -> tuple[Any, Any]:
    net = torch.nn.Sequential(torch.nn.Linear(3, units), torch.nn.Linear(units, 2))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return net, optimizer


def left(bundle: Any) -> list[str]:
    return [note.where for note in bundle.notes]


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "weights", "generator"])
@pytest.mark.parametrize(
    "more",
    [
        {"best_acc1": 0.5},
        {"best_acc1": torch.tensor(0.5)},
        {"rng_state": torch.get_rng_state()},
        {"mean": torch.ones(3), "std": torch.ones(3)},
        {"random": [random.getstate(), np.random.get_state()]},
    ],
)
def test_one_mapping_of_tensors_among_other_things(key: str, more: dict[str, Any]) -> None:
    net, optimizer = trained()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    given = {"epoch": 5, "arch": "mlp", key: net.state_dict(), "optimizer": optimizer.state_dict(),
             "scheduler": schedule.state_dict()} | more  # fmt: skip
    bundle = saved(given)
    assert list(bundle.parameters) == NAMES
    assert all(bundle.parameters[name].tobytes() == each.numpy().tobytes() for name, each in net.state_dict().items())
    assert bundle.metadata["epoch"] == 5
    assert bundle.metadata["arch"] == "mlp"
    assert set(given) == {key, *bundle.metadata, *left(bundle)}, "nothing is left out without a word"


class Config(dict):
    """A class that only its program knows."""


class Trainer:
    def __init__(self, net: Any, path: Path) -> None:
        self.net, self.path = net, path


def test_what_people_keep_beside_their_parameters() -> None:
    net, optimizer = trained()
    bundle = saved(
        {
            "state_dict": net.state_dict(),
            "optimizer_states": [optimizer.state_dict()],
            "hyper_parameters": argparse.Namespace(lr=0.1, layers=[3, 4], name="x"),
            "more": SimpleNamespace(a=None),
            "config": Config(a=1, where=Path("x"), deeper={"b": [1, Path("x")], "c": 2}),
            "path": Path("somewhere"),
            "step": np.int64(3),
            "loss": np.float32(0.25),
            "history": {"loss": [1.0, 0.5], "counts": collections.Counter("aab")},
            "device": torch.device("cuda", 0),
            "shape": torch.Size([1, 2]),
            "kinds": {1, 2},
        }
    )
    assert list(bundle.parameters) == NAMES
    assert bundle.metadata == {
        "hyper_parameters": {"lr": 0.1, "layers": [3, 4], "name": "x"},
        "more": {"a": None},
        "step": 3,
        "loss": 0.25,
        "history": {"loss": [1.0, 0.5], "counts": {"a": 2, "b": 1}},
        "device": "cuda:0",
        "shape": [1, 2],
        "config": {"a": 1, "deeper": {"c": 2}},
    }
    assert left(bundle) == ["optimizer_states", "config", "config.where", "config.deeper.b", "path", "kinds"]
    name = type(Path("x")).__name__
    assert [str(note) for note in bundle.notes[1:4]] == [
        f"config: was a {Config.__module__}.Config: its entries are kept",
        f"config.where: is left out: pathlib.{name}",
        f"config.deeper.b: is left out: a list with pathlib.{name} in it",
    ]
    ma.convert("x.pt", "x.h5")
    with ma.open("x.h5") as archive:
        assert archive.metadata == bundle.metadata


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("key", [None, "model", "net", "whatever"])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_pickled_module_gives_its_state_dict(is_zip: bool, key: str | None) -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU(), torch.nn.ModuleDict({"a": Part()})
    )
    net[3]["b"] = net[3]["a"]
    bundle = saved(net if key is None else {key: net, "epoch": 2}, is_zip=is_zip)
    expected = net.state_dict()
    assert list(bundle.parameters) == list(expected)
    assert all(bundle.parameters[name].tobytes() == tensor.numpy().tobytes() for name, tensor in expected.items())
    assert "is a whole module of torch.nn.modules.container.Sequential" in str(bundle.notes[0])
    assert {"3.a.cache", "3.a.plain"} <= {note.where for note in bundle.notes}
    assert "code, which is not in the file (class torch.nn.modules.container.Sequential)" in bundle.reason


class Part(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("cache", torch.zeros(2), persistent=False)
        self.weight = torch.nn.Parameter(torch.randn(2))
        self.register_parameter("none", None)
        self.plain = torch.ones(3)


def test_an_object_that_holds_a_module() -> None:
    net, _ = trained()
    bundle = saved({"trainer": Trainer(net, Path("x")), "epoch": 1})
    assert list(bundle.parameters) == [f"trainer.net.{name}" for name in NAMES]


def test_several_networks_keep_joined_names() -> None:
    one, optimizer = trained()
    two, _ = trained(5)
    bundle = saved({"encoder": one.state_dict(), "decoder": two.state_dict(), "opt": optimizer.state_dict(), "n": 1})
    assert list(bundle.parameters) == [f"{part}.{name}" for part in ("encoder", "decoder") for name in NAMES]
    assert bundle.metadata == {"n": 1}
    assert left(bundle) == ["opt"]


@pytest.mark.parametrize("name", ["ema", "weights_ema", "shadow", "swa_weights"])
def test_an_average_beside_the_parameters_is_left(name: str) -> None:
    net, _ = trained()
    for given in ({"weights": net.state_dict(), name: net.state_dict(), "n": 1},
                  {name: net.state_dict(), "model": net.state_dict()}):  # fmt: skip
        bundle = saved(given)
        assert list(bundle.parameters) == NAMES
        assert left(bundle) == [name]


def test_the_usual_key_is_taken_and_others_are_told() -> None:
    one, _ = trained()
    two, _ = trained(5)
    bundle = saved({"discriminator": two.state_dict(), "model": one.state_dict()})
    assert list(bundle.parameters) == NAMES
    assert left(bundle) == ["discriminator"]


def test_the_moments_of_an_optimizer_alone_are_read_as_what_they_are() -> None:
    _, optimizer = trained()
    for value, prefix in ((optimizer.state_dict(), ""), ({"optimizer": optimizer.state_dict(), "n": 1}, "optimizer.")):
        bundle = saved(value)
        assert f"{prefix}state.0.exp_avg" in bundle.parameters
        assert "what an optimizer keeps, and no parameters" in str(bundle.notes[0])


def test_optimizers_inside_are_no_parameters_either() -> None:
    net, optimizer = trained()
    bundle = saved({"model": {"a": net.state_dict(), "optimizer": optimizer.state_dict()}, "iteration": 3})
    assert list(bundle.parameters) == [f"a.{name}" for name in NAMES]
    assert left(bundle) == ["optimizer"]


def test_a_checkpoint_in_a_checkpoint() -> None:
    net, optimizer = trained()
    inner = {"module": net.state_dict(), "optimizer": optimizer.state_dict(), "steps": 7}
    bundle = saved({"model": inner, "iteration": 3})
    assert list(bundle.parameters) == NAMES
    assert left(bundle) == ["model.optimizer"]
    assert bundle.metadata == {"model.steps": 7, "iteration": 3}


def test_lists_of_tensors_are_parameters() -> None:
    bundle = saved({"ema": {"weight": torch.ones(2)}, "steps": [torch.ones(1), torch.ones(2)], "x": 1})
    assert list(bundle.parameters) == ["ema.weight", "steps.0", "steps.1"]


def test_an_lstm_s_own_list_of_its_parameters_is_nothing_that_is_left() -> None:
    bundle = saved(torch.nn.LSTM(2, 3))
    assert list(bundle.parameters) == list(torch.nn.LSTM(2, 3).state_dict())
    assert left(bundle) == ["(the module)"]


def test_a_dict_of_tensors_is_one() -> None:
    bundle = saved({"w": torch.ones(2), "inner": {"b": torch.zeros(1)}, "list": [torch.ones(1), "x"], "n": 3})
    assert list(bundle.parameters) == ["w", "inner.b", "list.0"]
    assert bundle.metadata == {"n": 3}
    assert left(bundle) == ["list.1"]


@pytest.mark.parametrize(
    ("value", "error", "what"),
    [
        ({"a": 1}, ma.FormatError, "holds no tensors"),
        (3, ma.FormatError, "holds an int"),
        ({}, ma.FormatError, "holds no tensors"),
        ({"path": Path("x")}, ma.UnsafeFileError, r"without running code: pathlib\.\w+"),
        (torch.nn.ReLU(), ma.UnsafeFileError, r"torch\.nn\.modules\.activation\.ReLU"),
    ],
)
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_what_holds_no_tensors(value: Any, error: type[Exception], what: str) -> None:
    for is_zip in (True, False):
        torch.save(value, "x.pt", _use_new_zipfile_serialization=is_zip)
        with pytest.raises(error, match=what):
            read("x.pt")


def test_lightning_s_checkpoint() -> None:
    """Its structure, as PyTorch Lightning 2 writes it."""
    net, optimizer = trained()
    given = {
        "epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{name}": tensor for name, tensor in net.state_dict().items()},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.1), "dirpath": "x"}},
        "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [], "hparams_name": "kwargs",
        "hyper_parameters": Config(lr=1),
    }  # fmt: skip
    bundle = saved(given)
    assert list(bundle.parameters) == [f"model.{name}" for name in NAMES]
    assert left(bundle) == ["callbacks", "optimizer_states", "hyper_parameters"]
    assert bundle.metadata["loops"]["fit_loop"]["epoch_progress"] == {"total": {"ready": 1}}


def test_names_of_values_and_keys() -> None:
    given = {
        "state_dict": {"w": torch.ones(1)},
        "kind": torch.float16,
        "callbacks": {Config: {"best": 1}, (1, "a"): 2, True: 3},
        "class": Config,
        "storage": torch.ones(2).untyped_storage(),
        "many": list(range(10_001)),
        "large": [10**30, 2**5000],
        "lone": "\ud800",
    }
    bundle = saved(given)
    name = f"{Config.__module__}.Config"
    assert bundle.metadata == {"kind": "torch.float16", "callbacks": {name: {"best": 1}, "(1, 'a')": 2, "True": 3},
                               "lone": "?"}  # fmt: skip
    assert [str(note) for note in bundle.notes] == [
        f"class: is left out: {name} beside the parameters",
        "storage: is left out: a Storage beside the parameters",
        "many: is left out: a list of 10,001 values beside the parameters",
        "large: is left out: a list with int in it beside the parameters",
        "(storages): 8 bytes are left out that no tensor shows",
    ]
    ma.convert("x.pt", "x.h5")


def test_a_sharded_tensor_is_refused() -> None:
    """Its pieces would pass for parameters."""
    kind = type("ShardedTensor", (), {"__module__": "torch.distributed._shard.sharded_tensor.api"})
    made = kind()
    made.pieces = [torch.ones(2)]
    module = __import__("torch.distributed._shard.sharded_tensor.api", fromlist=["x"])
    own, module.ShardedTensor = module.ShardedTensor, kind
    try:
        torch.save({"w": made, "b": torch.ones(1)}, "x.pt")
    finally:
        module.ShardedTensor = own
    with pytest.raises(ma.ConversionError, match="w: a ShardedTensor, a part on each process"):
        read("x.pt")


def test_the_way_out_of_code_alone_works() -> None:
    net, _ = trained()
    torch.save({"config": Config(a=1)}, "x.pt")
    with pytest.raises(ma.UnsafeFileError, match=r"save module.state_dict\(\) where the file comes from"):
        ma.load("x.pt")
    torch.save(net.state_dict(), "x.pt")
    assert list(ma.load("x.pt")) == NAMES


def test_plain_values_beside_one_mapping_tell_a_checkpoint() -> None:
    net, _ = trained()
    for more in ({"config": {"units": 4}}, {"args": argparse.Namespace(units=4)}, {"history": [1.0]}):
        bundle = saved({"weights": net.state_dict()} | more)
        assert list(bundle.parameters) == NAMES
        assert list(bundle.metadata) == list(more)
    assert list(saved({"weights": net.state_dict(), "empty": {}}).parameters) == [f"weights.{name}" for name in NAMES]


def test_a_name_that_no_other_file_could_have() -> None:
    with pytest.raises(ma.ConversionError, match=r"\?: has half a character in its name; save it under another"):
        saved({"\ud800": torch.ones(1)})
