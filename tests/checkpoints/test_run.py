"""Checkpoints of a run: what stays, what is passed over, what fails when, and who may write."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.checkpoints import run as module
from modelarchive.errors import CheckpointError, ParameterError, UnsupportedDataError


def network(seed: int = 0) -> nn.Sequential:
    net = nn.Sequential(nn.Dense(3, in_units=4), nn.Activation("relu"), nn.Dense(2, in_units=3))
    net.initialize(seed=seed)
    return net


def values(net: nn.Block) -> dict[str, np.ndarray]:
    return {name: each.value() for name, each in net.collect_params().items()}


def same(left: nn.Block, right: nn.Block) -> bool:
    return all(np.array_equal(one, two) for one, two in zip(values(left).values(), values(right).values(), strict=True))


def saved(folder: Path, *steps: int, **options: Any) -> ma.Checkpoints:
    run = ma.Checkpoints(folder, **options)
    with run:
        for step in steps:
            run.save(step, model=network(step), metrics={"loss": abs(step - 3)}, data={"at": step})
    return run


def damage(path: Path) -> None:
    """Change one byte of the first parameter."""
    with ma.open(path) as archive:
        offset = archive.reader.contents.arrays["0.weight"].offset
    raw = bytearray(path.read_bytes())
    raw[offset + 5] ^= 1
    path.write_bytes(raw)


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


def test_a_damaged_one_is_passed_over_and_stays(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    damage(tmp_path / "step-00000003.h5")
    (tmp_path / "step-00000004.h5").write_bytes((tmp_path / "step-00000002.h5").read_bytes()[:3000])
    (tmp_path / "step-00000005.h5").write_bytes(b"")
    ma.save(tmp_path / "step-00000006.h5", {"x": 1})
    (tmp_path / "step-00000007.h5").write_bytes((tmp_path / "step-00000002.h5").read_bytes())
    net, run = network(9), ma.Checkpoints(tmp_path, keep=1)
    with pytest.warns(ma.DamagedCheckpointWarning) as caught:
        assert run.restore(model=net) == 2
    words = str(caught[0].message)
    assert len(caught) == 1
    for name in ("step-00000003.h5", "0.weight", "step-00000004.h5", "step-00000005.h5", "step-00000006.h5"):
        assert name in words
    assert "step-00000007.h5: is the checkpoint of step 2 under another name" in words
    assert same(net, network(2))
    with run:
        run.save(8, model=net)
    assert run.steps() == [3, 4, 5, 6, 7, 8]


def test_where_none_is_whole_nothing_is_begun_anew_in_silence(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    for step in (1, 2):
        damage(tmp_path / f"step-0000000{step}.h5")
    with pytest.raises(CheckpointError, match="no checkpoint is whole") as error:
        ma.Checkpoints(tmp_path).restore(model=network())
    assert "0.weight" in str(error.value)
    with pytest.raises(CheckpointError, match="the checkpoint is not whole"):
        ma.Checkpoints(tmp_path).restore(step=1, model=network())


def test_a_file_that_a_tool_has_changed_is_passed_over(tmp_path: Path) -> None:
    import h5py

    saved(tmp_path, 1, 2)
    with h5py.File(tmp_path / "step-00000002.h5", "r+") as file:
        file.attrs["note"] = "looked at"
    with pytest.warns(ma.DamagedCheckpointWarning, match="reindex"):
        assert ma.Checkpoints(tmp_path).restore(model=network()) == 1


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


@pytest.mark.slow
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


def test_processes_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "modelarchive.exchange.torch.sharing", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ma.MissingDependencyError, match=r"modelarchive\[torch\]"):
        ma.Checkpoints(tmp_path / "run", process_group=True)
