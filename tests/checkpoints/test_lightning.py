"""Lightning's Trainer saves archives, and goes on from them bit by bit: with either package, killed or not."""

from __future__ import annotations

import collections
import importlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import CheckpointError, FormatError, IntegrityError, UnsupportedDataError
from tests.conftest import ROOT

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("pytorch_lightning")
pytestmark = pytest.mark.filterwarnings("ignore")

from modelarchive.checkpoints import snapshot  # noqa: E402
from modelarchive.checkpoints.lightning import ArchiveCheckpointIO  # noqa: E402
from tests.checkpoints import lightning_run  # noqa: E402


def states(net: Any, trainer: Any) -> list[np.ndarray]:
    moments = [value for each in trainer.optimizers[0].state.values() for value in each.values()]
    return [each.detach().numpy().copy() for each in (*net.state_dict().values(), *moments)]


def same(one: list[np.ndarray], two: list[np.ndarray]) -> bool:
    return len(one) == len(two) and all(map(np.array_equal, one, two))


@pytest.mark.slow
@pytest.mark.parametrize(("package", "how"), [("lightning.pytorch", "sync"), ("pytorch_lightning", "async")])
def test_a_run_that_is_killed_goes_on_bit_by_bit(tmp_path: Path, package: str, how: str) -> None:
    command = [sys.executable, "-m", "tests.checkpoints.lightning_run", package, str(tmp_path / "run"), "4", "15", how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    left = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert "last.ckpt" in left
    options = {"asynchronous": how == "async"}
    whole = lightning_run.fit(package, tmp_path / "whole", 4, **options)
    resumed = lightning_run.fit(package, tmp_path / "run", 4, **options)
    assert same(states(*whole), states(*resumed))
    assert resumed[1].global_step == 24
    for name in ("whole", "run"):
        kept = sorted(path.name for path in (tmp_path / name).iterdir())
        assert len(kept) == 3, kept  # of three epochs the worst is removed
        for path in (tmp_path / name).iterdir():
            with ma.open(path) as archive:
                archive.verify()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    folder = tmp_path_factory.mktemp("lightning") / "run"
    return folder, *lightning_run.fit("lightning.pytorch", folder, 2)


def test_what_lies_in_it(run: tuple[Path, Any, Any]) -> None:
    folder, net, trainer = run
    with ma.open(folder / "last.ckpt") as archive:
        assert list(archive) == list(net.state_dict())
        training = archive.training
    (optimizer,) = training["optimizers"]
    assert set(optimizer["state"]) == {name for name, _ in net.named_parameters()}
    for name, parameter in net.named_parameters():
        for key, value in optimizer["state"][name].items():
            assert np.array_equal(value, trainer.optimizers[0].state[parameter][key].numpy()), (name, key)
    assert training["checkpoint"]["step"] == 12
    assert training["checkpoint"]["metrics"]["loss"] == trainer.callback_metrics["loss"].item()
    assert training["lightning"]["checkpoint"]["hyper_parameters"] == {"width": 8}


def test_what_lightning_gave_comes_back(run: tuple[Path, Any, Any], tmp_path: Path) -> None:
    _, net, trainer = run
    given = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    for saving in (ArchiveCheckpointIO(net), ArchiveCheckpointIO(random=False)):
        saving.save_checkpoint(given, tmp_path / "x.ckpt")
        found = saving.load_checkpoint(tmp_path / "x.ckpt")
        assert given.keys() == found.keys()
        assert list(found["state_dict"]) == list(given["state_dict"])
        assert all(torch.equal(value, given["state_dict"][name]) for name, value in found["state_dict"].items())
        assert found["state_dict"]._metadata == given["state_dict"]._metadata
        assert type(found["lr_schedulers"][0]["milestones"]) is collections.Counter
        assert found["loops"] == given["loops"]
        (one,), (two,) = found["optimizer_states"], given["optimizer_states"]
        assert one["param_groups"] == two["param_groups"]
        assert one["state"].keys() == two["state"].keys()
        for number, each in two["state"].items():
            assert all(torch.equal(value, one["state"][number][key]) for key, value in each.items())


def test_extra_states_and_names_that_are_none(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    state = {"a": weight, "a.b": weight[0], "odd name/x": weight + 1, "e._extra_state": {"at": 3}, "tied": weight}
    saving = ArchiveCheckpointIO(random=False)
    saving.save_checkpoint({"state_dict": state, "best": np.float32(0.1), "global_step": 3}, tmp_path / "x.ckpt")
    found = saving.load_checkpoint(tmp_path / "x.ckpt", map_location="cpu")
    assert list(found["state_dict"]) == list(state)
    assert torch.equal(found["state_dict"]["odd name/x"], weight + 1)
    assert found["state_dict"]["e._extra_state"] == {"at": 3}
    assert torch.equal(found["state_dict"]["a"], weight)
    assert torch.equal(found["state_dict"]["a.b"], weight[0])
    assert type(found["best"]) is np.float32


def test_evaluating_leaves_random_states_alone(run: tuple[Path, Any, Any]) -> None:
    folder, _, trainer = run
    saving = trainer.strategy.checkpoint_io
    torch.manual_seed(11)
    before = torch.get_rng_state()
    saving.load_checkpoint(folder / "last.ckpt")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_damaged_one_is_passed_over(run: tuple[Path, Any, Any], tmp_path: Path) -> None:
    folder, _, _ = run
    saving = ArchiveCheckpointIO()
    assert saving.newest(tmp_path / "none") is None
    for at, name in enumerate(["a.ckpt", "b.ckpt"]):
        raw = bytearray((folder / "last.ckpt").read_bytes())
        raw[-1] ^= at
        (tmp_path / name).write_bytes(raw)
    with pytest.warns(ma.DamagedCheckpointWarning, match=r"b\.ckpt: 1 damaged part"):
        assert saving.newest(tmp_path) == str(tmp_path / "a.ckpt")
    with pytest.raises(IntegrityError, match=r"b\.ckpt"):
        saving.load_checkpoint(tmp_path / "b.ckpt")
    (tmp_path / "a.ckpt").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint is whole"):
        saving.newest(tmp_path)
    ma.save(tmp_path / "c.ckpt", {"x": 1})
    with pytest.raises(FormatError, match="no checkpoint"):
        saving.load_checkpoint(tmp_path / "c.ckpt")


def test_what_cannot_be_saved_is_said_with_its_place(tmp_path: Path) -> None:
    saving = ArchiveCheckpointIO(random=False)
    with pytest.raises(UnsupportedDataError, match=r"\['hyper_parameters'\]\['act'\]"):
        saving.save_checkpoint({"state_dict": {}, "hyper_parameters": {"act": torch.relu}}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="no path of this machine"):
        saving.save_checkpoint({}, "s3://bucket/x.ckpt")
    with pytest.raises(TypeError, match="storage_options"):
        saving.save_checkpoint({}, tmp_path / "x.ckpt", {})
    with pytest.raises(TypeError, match="expected the LightningModule"):
        ArchiveCheckpointIO(3)
    assert list(tmp_path.iterdir()) == []


def test_a_thread_that_comes_too_late_for_random_states(tmp_path: Path) -> None:
    plugins = importlib.import_module("lightning.pytorch.plugins.io")

    def saved(around: Any) -> None:
        around.save_checkpoint({"state_dict": {}}, tmp_path / "x.ckpt")
        around.teardown()

    with pytest.raises(CheckpointError, match="asynchronous=True"):  # at once, or when its thread has come so far
        saved(plugins.AsyncCheckpointIO(ArchiveCheckpointIO()))
    saved(plugins.AsyncCheckpointIO(ArchiveCheckpointIO(random=False)))
    assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]


def test_behind_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is removed before what was saved before it is written; what fails is raised by the next call."""
    from modelarchive.checkpoints.snapshot import Snapshot

    saving, weight = ArchiveCheckpointIO(asynchronous=True, random=False), torch.zeros(4)
    saving.save_checkpoint({"state_dict": {"w": weight}}, tmp_path / "1.ckpt")
    go, write = threading.Event(), Snapshot.write

    def slow(self: Snapshot, path: Any, **options: Any) -> None:
        go.wait()
        write(self, path, **options)

    saving.teardown()
    monkeypatch.setattr(Snapshot, "write", slow)
    saving.save_checkpoint({"state_dict": {"w": weight}}, tmp_path / "2.ckpt")
    weight += 1
    saving.remove_checkpoint(tmp_path / "1.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["1.ckpt"]
    go.set()
    saving.teardown()
    assert [path.name for path in tmp_path.iterdir()] == ["2.ckpt"]
    assert saving.load_checkpoint(tmp_path / "2.ckpt")["state_dict"]["w"].tolist() == [0] * 4

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Snapshot, "write", full)
    saving.save_checkpoint({"state_dict": {"w": weight}}, tmp_path / "3.ckpt")
    with pytest.raises(OSError, match="No space left"):
        saving.teardown()
    saving.teardown()


class Told(dict):  # type: ignore[type-arg]
    """Has a signal arrive while a checkpoint is put together."""

    def items(self) -> Any:
        if dict.pop(self, "signal", None):
            os.kill(os.getpid(), signal.SIGUSR1)
        return super().items()


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_signal_handler_that_saves(tmp_path: Path, asynchronous: bool) -> None:
    """As Lightning's own does, before SLURM takes the machine away."""
    saving, weight = ArchiveCheckpointIO(asynchronous=asynchronous, random=False), torch.ones(4)
    made = pickle.loads(pickle.dumps(saving))
    assert isinstance(made, ArchiveCheckpointIO)  # as a strategy does that spawns processes

    def handler(number: int, frame: Any) -> None:
        saving.save_checkpoint({"state_dict": {"w": weight}, "global_step": 2}, tmp_path / "hpc.ckpt")

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        callbacks = Told({"signal": True, "at": 1})
        saving.save_checkpoint({"state_dict": {"w": weight}, "callbacks": callbacks}, tmp_path / "1.ckpt")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "signal" not in callbacks
    saving.teardown()
    for name in ("1.ckpt", "hpc.ckpt"):
        assert ma.load(tmp_path / name)["w"].tolist() == [1] * 4


def test_fabric(tmp_path: Path) -> None:
    fabric = importlib.import_module("lightning.fabric").Fabric(
        accelerator="cpu", devices=1, plugins=[ArchiveCheckpointIO()]
    )
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 2)
    model, optimizer = fabric.setup(net, torch.optim.Adam(net.parameters()))
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    fabric.save(tmp_path / "x.ckpt", {"model": model, "optimizer": optimizer, "step": 1})
    kept = [each.clone() for each in net.state_dict().values()]
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {"model": model, "optimizer": optimizer, "step": 0}
    fabric.load(tmp_path / "x.ckpt", state)
    assert state["step"] == 1
    assert all(map(torch.equal, kept, net.state_dict().values()))
    assert {int(each["step"]) for each in optimizer.optimizer.state.values()} == {1}


@pytest.mark.parametrize(
    "record",
    [
        {"checkpoint": {}},
        {"checkpoint": {}, "classes": [[["a"], "Counter"]]},
        {"checkpoint": {"a": 1}, "classes": [[["a"], "Popen"]]},
        {"checkpoint": {"a": 1}, "classes": [[["a"], "number"]]},
        {"checkpoint": {"a": 1}, "classes": [1]},
        {"checkpoint": [], "classes": []},
        {"checkpoint": {"state_dict": {"order": ["w"], "others": {}, "metadata": {}}}, "classes": []},
        {"checkpoint": {"state_dict": {"order": 1, "others": {}, "metadata": {}}}, "classes": []},
        "text",
    ],
)
def test_what_says_something_impossible_is_refused(tmp_path: Path, record: Any) -> None:
    path = tmp_path / "x.ckpt"
    snapshot.take(1, None, {"lightning": record}, {}, random=False).write(path, durable=False)
    with pytest.raises(FormatError, match="is no whole checkpoint of Lightning") as caught:
        ArchiveCheckpointIO().load_checkpoint(path)
    assert caught.value.file == str(path)
