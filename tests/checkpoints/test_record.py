"""Checkpoints whose digests hold and whose structure no run has written: refused in our own words, nothing half set."""

from __future__ import annotations

import contextlib
import copy
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.archive.saving import write_model
from modelarchive.archive.training import training_of
from modelarchive.errors import CheckpointError, ModelArchiveError, ParameterError

GONE = object()
HOSTILE = (None, -1, "x", [], {"a": {"b": 1}}, np.zeros(3), np.array(["a"]), float("nan"), True, (1,), GONE)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if above:
        yield above
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*above, key))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from places(each, (*above, at))


def changed(training: Any, place: tuple[Any, ...], value: Any) -> Any:
    found = copy.deepcopy(training)
    inner = found
    for key in place[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return found


def parts() -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    return {"model": net, "optimizer": optimizer, "schedule": schedule, "more": {"at": 1}, "several": [1, "x"]}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray], Any]:
    folder = tmp_path_factory.mktemp("run")
    with ma.Checkpoints(folder) as run:
        path = run.save(1, **parts(), metrics={"loss": 1.0}).result()
    with ma.open(path) as archive:
        return path, {name: np.array(array) for name, array in archive.items()}, copy.deepcopy(archive.training)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["checkpoint", "random", "optimizer", "schedule", "more", "several"])
def test_whatever_stands_in_the_place_of_whatever(checkpoint: Any, part: str) -> None:
    path, parameters, training = checkpoint
    for place in places({part: training[part]}):
        for value in HOSTILE:
            structure = training_of(changed(training, place, value))
            write_model(path, parameters, kinds={}, texts={}, training=structure, durable=False)
            for use in (
                lambda: ma.Checkpoints(path.parent).restore(**parts()),
                lambda: ma.Checkpoints(path.parent, best=("loss", "min")).best(),
            ):
                with warnings.catch_warnings(), contextlib.suppress(ModelArchiveError):
                    warnings.simplefilter("ignore")  # PyTorch's own, of steps out of order
                    use()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"ranks": 1}, "no state that a run has saved"),
        ({"ranks": {"1": {"checkpoint": {"numpy": 3}}}}, "no state that a run has saved"),
        ({"model": {"beyond": 3}}, "no state that a run has saved"),
        ({"checkpoint": {"step": 1, "metrics": {"loss": {"a": 1}}}}, "no checkpoint of a run"),
        ({"checkpoint": {"step": 1, "metrics": {"loss": 10**400}}}, "no checkpoint of a run"),
        ({"checkpoint": {"step": 1, "metrics": {}, "constants": 5}}, "no checkpoint of a run"),
        ({"checkpoint": {"step": np.ones(2), "metrics": {}}}, "no checkpoint of a run"),
    ],
)
def test_records_that_are_none(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    training = {"checkpoint": {"step": 1, "metrics": {}}, **more}
    net = nn.Dense(2, in_units=1)
    net.initialize(seed=0)
    ma.save_model(tmp_path / "step-00000001.h5", net, inputs=np.ones((1, 1), "f4"), training=training)
    with pytest.raises(CheckpointError, match=words):
        ma.Checkpoints(tmp_path).restore(model=net)


def test_random_states_that_are_none_leave_those_that_are_there(tmp_path: Path) -> None:
    with ma.Checkpoints(tmp_path) as run:
        path = run.save(1).result()
    with ma.open(path) as archive:
        training = copy.deepcopy(archive.training)
    training["random"]["python"]["words"][:] = 7  # which Python takes, before NumPy refuses
    training["random"]["numpy"]["key"] = np.zeros(3)
    write_model(path, {}, kinds={}, texts={}, training=training_of(training))
    before = random.getstate()
    with pytest.raises(CheckpointError, match="holds no random states that are taken"):
        ma.Checkpoints(tmp_path).restore()
    assert random.getstate() == before


def test_plain_values_of_another_kind(tmp_path: Path) -> None:
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, data=[1, 2], array=np.zeros(3))
    here = {"at": 5}
    with pytest.raises(ParameterError, match="data is a dict of 1, the checkpoint has a list of 2"):
        ma.Checkpoints(tmp_path).restore(data=here)
    with pytest.raises(ParameterError, match="array is a ndarray, the checkpoint has"):
        ma.Checkpoints(tmp_path).restore(array=np.zeros(4))
    assert here == {"at": 5}
