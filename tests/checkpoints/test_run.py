"""Checkpoints of a run: what stays, what is passed over, what fails when, and who may write."""

from __future__ import annotations

import collections
import gc
import random
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.checkpoints import run as module
from modelarchive.errors import CheckpointError, ParameterError, UnsupportedDataError
from tests.checkpoints.small import network, same, saved, values


@pytest.mark.parametrize("asynchronous", [True, False])
def test_there_and_back(tmp_path: Path, asynchronous: bool) -> None:
    run = ma.Checkpoints(tmp_path / "a" / "run", asynchronous=asynchronous)
    net, data = network(1), {"at": 7, "order": np.arange(5)}
    assert run.restore(model=net, data=data) is None
    with run:
        handle = run.save(100, model=net, data=data, metrics={"loss": np.float32(0.5), "nan": float("nan")})
        assert handle.result() == tmp_path / "a" / "run" / "step-00000100.h5"
        assert handle.done()
    other, again = network(2), {"more": 1}
    fresh = ma.Checkpoints(tmp_path / "a" / "run")
    assert fresh.restore(model=other, data=again) == 100
    assert same(net, other)
    assert again["at"] == 7
    assert np.array_equal(again["order"], np.arange(5))
    assert list(again) == ["at", "order"]
    assert fresh.restored["checkpoint"]["metrics"]["loss"] == 0.5
    assert fresh.metrics(100)["loss"] == 0.5
    with fresh.load(100) as archive:
        archive.verify()
        assert same(net, other)
    assert list(ma.load(fresh.path(100))) == [*values(net)]


def test_what_is_saved_is_what_was_there_at_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    write = module.Snapshot.write
    monkeypatch.setattr(module.Snapshot, "write", lambda *a, **k: (go_on.wait(60), write(*a, **k)))
    array = np.zeros(1000)
    with ma.Checkpoints(tmp_path) as run:
        handle = run.save(1, model={"w": array})
        array[:] = 1
        assert not handle.done()
        assert run.steps() == []
        go_on.set()
        assert np.array_equal(ma.load(handle.result())["w"], np.zeros(1000))
        run.save(2, model={"w": array})
    assert np.array_equal(ma.load(run.path(2))["w"], np.ones(1000))


def test_random_states_go_on(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    def drawn() -> list[Any]:
        normal = np.random.normal(size=3).tolist()
        return [random.random(), random.gauss(0, 1), normal, torch.rand(3).tolist()]

    random.gauss(0, 1)
    with ma.Checkpoints(tmp_path) as run:
        run.save(1)
    expected = drawn()
    drawn()
    ma.Checkpoints(tmp_path, random=False).restore()
    assert drawn() != expected
    ma.Checkpoints(tmp_path).restore()
    assert drawn() == expected


def test_what_does_not_fit_is_said_before_anything_is_changed(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    run = ma.Checkpoints(tmp_path)
    net = nn.Sequential(nn.Dense(3, in_units=4), nn.Activation("relu"), nn.Dense(5, in_units=3))
    net.initialize(seed=3)
    before = {name: value.copy() for name, value in values(net).items()}
    with pytest.raises(ParameterError) as error:
        run.restore(model=net)
    assert set(error.value.mismatched) == {"2.weight", "2.bias"}
    with pytest.raises(ParameterError, match="schedule") as error:
        run.restore(model=network(), schedule={})
    assert "beside the model it has: data" in str(error.value)
    assert all(np.array_equal(before[name], value) for name, value in values(net).items())
    with pytest.raises(KeyError, match="no checkpoint of step 5; there are: 1"):
        run.restore(step=5)


def test_what_cannot_be_saved_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    with ma.Checkpoints(tmp_path) as run:
        with pytest.raises(UnsupportedDataError, match=r"training\['state'\]\['f'\]"):
            run.save(1, state={"f": lambda: 0})
        with pytest.raises(UnsupportedDataError, match="random: is a name that checkpoints use"):
            run.save(1, random={})
        with pytest.raises(UnsupportedDataError, match=r"metrics\['loss'\]"):
            run.save(1, metrics={"loss": "low"})
        with pytest.raises(UnsupportedDataError, match="model: is list"):
            run.save(1, model=[1])
        with pytest.raises(UnsupportedDataError, match="a: is an array, and others lie in it"):
            run.save(1, model={"a": np.ones(1), "a.b": np.ones(1)})
        with pytest.raises(UnsupportedDataError, match=r"training\['state'\]\[\(1, 2\)\]: the key is tuple"):
            run.save(1, state={(1, 2): 3})
        with pytest.raises(UnsupportedDataError, match=r"use value\.bit_generator\.state"):
            run.save(1, state=np.random.default_rng(0))
        with pytest.raises(TypeError, match="metrics is list, expected a dict"):
            run.save(1, metrics=[1])
        with pytest.raises(ValueError, match="step is -1"):
            run.save(-1)
    assert run.steps() == []


def test_a_failed_write_raises_at_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = saved(tmp_path, 1)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "step")

    with monkeypatch.context() as patch:
        patch.setattr(module.Snapshot, "write", full)
        run.save(2, model=network())
        with pytest.raises(OSError, match="No space left"):
            run.save(3, model=network())
        run.save(3, model=network())
        with pytest.raises(OSError, match="No space left"), run:
            pass
        run.save(4, model=network())
        with pytest.raises(RuntimeError, match="its own") as error, run:
            raise RuntimeError("its own")
        assert "No space left" in error.value.__notes__[0]
    assert run.steps() == [1]
    with run:
        run.save(5, model=network())
    assert run.steps() == [1, 5]


def test_two_runs_on_one_folder(tmp_path: Path) -> None:
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=network())
        run.wait()
        with pytest.raises(CheckpointError, match="another Checkpoints of this process is writing"):
            ma.Checkpoints(tmp_path).save(2)
        code = f"import modelarchive as ma; ma.Checkpoints({str(tmp_path)!r}).save(2)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "CheckpointError" in done.stderr
        assert "another process" in done.stderr
        assert ma.Checkpoints(tmp_path).restore(model=network()) == 1
    with ma.Checkpoints(tmp_path) as run:
        run.save(2)
    assert run.steps() == [1, 2]


class Counted:
    """A state in classes of its own."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {
            "counter": collections.Counter("aab"),
            "ordered": collections.OrderedDict(a=1),
            "default": collections.defaultdict(list, x=[1]),
            "number": np.float32(0.1),
            "list": [1, (2, None)],
        }

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def test_classes_come_back_as_the_object_has_them(tmp_path: Path) -> None:
    one, two = Counted(), Counted()
    one.state["counter"]["z"] = 5
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, data=one, several=[one, {"x": one}])
    ma.Checkpoints(tmp_path).restore(data=two, several=[two, {"x": two}])
    assert two.state == one.state
    assert [type(each) for each in two.state.values()] == [type(each) for each in one.state.values()]


def test_objects_that_refuse_are_named(tmp_path: Path) -> None:
    class Refusing(Counted):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            raise KeyError("position")

    with ma.Checkpoints(tmp_path) as run:
        run.save(1, data=Refusing(), lone=(1, 2))
    with pytest.raises(ParameterError, match=r"data: Refusing does not take what was saved of it: 'position'"):
        ma.Checkpoints(tmp_path).restore(data=Refusing())
    with pytest.raises(ParameterError, match=r"run.restored\['lone'\]"):
        ma.Checkpoints(tmp_path).restore(lone=(0, 0))


def test_a_dict_of_arrays_is_a_model(tmp_path: Path) -> None:
    data = {"encoder": {"weight": np.ones((2, 3)), "bias": np.zeros(3)}, "head.weight": np.arange(3)}
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=data)
    assert list(ma.load(run.path(1))) == ["encoder.weight", "encoder.bias", "head.weight"]
    other = {"encoder": {"weight": np.zeros((2, 3)), "bias": np.ones(3)}, "head.weight": np.zeros(3, int)}
    weight = other["encoder"]["weight"]
    ma.Checkpoints(tmp_path).restore(model=other)
    assert np.array_equal(weight, np.ones((2, 3)))
    assert np.array_equal(other["head.weight"], np.arange(3))


def test_bad_settings() -> None:
    for options, message in [
        ({"keep": 0}, "keep is 0"),
        ({"keep_every": 1.5}, "keep_every is 1.5"),
        ({"best": "accuracy"}, "best is 'accuracy'"),
        ({"best": ("accuracy", "high")}, "'max' or 'min'"),
    ]:
        with pytest.raises(ValueError, match=message):
            ma.Checkpoints("run", **options)


def test_steps_are_whole_numbers_of_any_library(tmp_path: Path) -> None:
    with ma.Checkpoints(tmp_path, keep=np.int64(2)) as run:
        assert run.save(np.int32(3), model=network(1)).result() == run.path(3) == run.path(np.int64(3))
        for step in (True, 1.0, "1", None, -1, 10**18):
            with pytest.raises(ValueError, match=r"step is .*, expected a number from 0 on, of 18 digits at most"):
                run.save(step, model=network(1))
        run.save(10**18 - 1, model=network(2))
    assert run.steps() == [3, 10**18 - 1]
    assert ma.Checkpoints(tmp_path).restore(step=np.int64(3), model=network()) == 3


def test_a_program_may_go_to_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    with ma.Checkpoints("run") as run:
        run.save(1, model=network())
        monkeypatch.chdir(tmp_path / "outputs")
        run.save(2, model=network())
    assert run.folder == tmp_path / "run"
    assert run.steps() == [1, 2]


def test_a_run_that_nobody_closes_gives_its_folder_back(tmp_path: Path) -> None:
    """As in a notebook, where a cell is run again."""
    run = ma.Checkpoints(tmp_path)
    run.save(1, model=network())
    run.wait()
    run = ma.Checkpoints(tmp_path)
    gc.collect()
    with run:
        run.save(2, model=network())
    assert run.steps() == [1, 2]


@pytest.mark.parametrize("how", ["", "del run"])
def test_a_failed_write_is_told_though_nobody_asks(tmp_path: Path, how: str) -> None:
    """A program that ends without closing its run."""
    code = f"""
import errno, resource, signal
import modelarchive as ma, numpy as np

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
run = ma.Checkpoints({str(tmp_path)!r})
run.save(1, model={{"a": np.zeros(10)}})
run.save(2, model={{"a": np.zeros(100_000)}})
{how}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{tmp_path}: the last checkpoint was not written: " in done.stderr
    assert "step-00000002.h5" in done.stderr
    assert ma.Checkpoints(tmp_path).steps() == [1]


def test_tensors_and_arrays_are_filled(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, queue=torch.arange(3.0), pointer=np.arange(2), half=torch.ones(2, dtype=torch.bfloat16))
    queue, pointer, half = torch.zeros(3), np.zeros(2, int), torch.zeros(2, dtype=torch.bfloat16)
    ma.Checkpoints(tmp_path).restore(queue=queue, pointer=pointer, half=half)
    assert queue.tolist() == [0, 1, 2]
    assert pointer.tolist() == [0, 1]
    assert half.tolist() == [1, 1]
    with pytest.raises(ParameterError, match="queue is a Tensor, the checkpoint has a "):
        ma.Checkpoints(tmp_path).restore(queue=torch.zeros(4))


def test_what_a_network_beside_the_model_does_not_take(tmp_path: Path) -> None:
    """It is said before anything is changed, the model too."""
    torch = pytest.importorskip("torch")
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=network(1), critic=torch.nn.Linear(3, 2))
    net = network(2)
    before = {name: value.copy() for name, value in values(net).items()}
    for wrong, what in [
        (torch.nn.Linear(4, 2), r"mismatched  weight: expected shape \(2, 4\), found shape \(2, 3\)"),
        (torch.nn.Sequential(torch.nn.Linear(3, 2)), "missing"),
        (torch.nn.Linear(3, 2, bias=False), "unexpected  bias"),
    ]:
        with pytest.raises(ParameterError, match=what) as error:
            ma.Checkpoints(tmp_path).restore(model=net, critic=wrong)
        assert "critic: the network is not the one that was saved" in str(error.value)
        assert all(np.array_equal(before[name], value) for name, value in values(net).items())


def test_nothing_is_made_before_the_first_save(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ma.Checkpoints(tmp_path / "run") as run:
            assert run.restore(model=network()) is None
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        ma.Checkpoints(tmp_path / "file")


def test_processes_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "modelarchive.exchange.torch.sharing", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ma.MissingDependencyError, match=r"modelarchive\[torch\]"):
        ma.Checkpoints(tmp_path / "run", process_group=True)
