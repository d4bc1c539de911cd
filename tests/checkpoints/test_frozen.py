"""What is said never to change: neither asked nor compared at each save, and told where it changed all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import tensors
from modelarchive.errors import CheckpointError

torch = pytest.importorskip("torch")


def turned(value: float) -> Any:
    return torch.full((2, 3, 4, 4), value).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "make",
    [
        torch.tensor,
        turned,
        lambda value: torch.full((300, 8), value)[:, ::2],
        lambda value: torch.full((3, 4), value, dtype=torch.bfloat16),
        lambda value: np.full((300, 800), value)[:, ::2],
        np.array,
        lambda value: np.full(int(value), value),
    ],
    ids=["no axes", "channels last", "rows apart", "bfloat16", "NumPy, rows apart", "NumPy, no axes", "another shape"],
)
@pytest.mark.parametrize("when", [1, 2, 3])
def test_what_is_frozen_is_refused_in_whatever_form_it_changed(tmp_path: Path, make: Any, when: int) -> None:
    """Other memory under its name is never taken for what was there."""
    model = {"backbone": {"w": make(1.0)}, "head": np.zeros(3)}
    with ma.Checkpoints(tmp_path, incremental=True, frozen="backbone.*") as run:
        for step in range(when):
            model["head"][:] = step
            run.save(step, model=model)
        model["backbone"]["w"] = make(2.0)
        with pytest.raises(CheckpointError, match=r"1 array changed that `frozen` says never change: backbone.w"):
            run.save(when, model=model)
    assert run.steps() == [*range(when)]


@pytest.mark.parametrize("make", [turned, lambda value: torch.full((300, 8), value)], ids=["channels last", "plain"])
def test_a_frozen_tensor_that_is_written_into_is_told_at_the_end(tmp_path: Path, make: Any) -> None:
    model = {"backbone": {"w": make(1.0)}, "head": np.zeros(3)}
    run = ma.Checkpoints(tmp_path, incremental=True, frozen="backbone.*")
    for step in range(4):
        run.save(step, model=model)
    model["backbone"]["w"].data[-1] += 1
    run.save(4, model=model)
    with pytest.raises(CheckpointError, match=r"backbone.w"):
        run.close()


def test_frozen_tensors_are_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are found where they lay, as their state_dict gives them anew; what is tied to them stays tied."""
    body = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(20))).requires_grad_(False).bfloat16()
    net = torch.nn.ModuleDict({"body": body, "head": torch.nn.Linear(8, 8)})
    net["out"] = torch.nn.Linear(8, 8, bias=False)
    net["out"].weight = body[0].weight
    asked: list[int] = []
    foreign = tensors.foreign
    monkeypatch.setattr(tensors, "foreign", lambda value: (asked.append(1), foreign(value))[1])
    with ma.Checkpoints(tmp_path, incremental=True, frozen="body.*", random=False) as run:
        for step in range(4):
            asked.clear()
            net["head"].weight.data += 1
            given = net if step < 3 else net.state_dict()
            run.save(step, model=given).result()
            assert len(asked) == (43 if step < 2 else 2)
            with run.load(step) as archive:
                archive.verify()
                assert archive.reader.contents.aliases == {"out.weight": "body.0.weight"}
                assert np.array_equal(archive["head.weight"], net["head"].weight.detach())
                assert np.array_equal(archive["body.3.bias"], body[3].bias.detach().float())
        assert any(each.stat().st_nlink > 1 for each in run.path(3).iterdir())


def test_a_pattern_that_names_nothing_is_told_once(tmp_path: Path) -> None:
    model = {"backbone": {"w": np.zeros(3)}, "head": np.zeros(3)}
    with ma.Checkpoints(tmp_path, incremental=True, frozen=["backbone.*", "bakcbone.*"]) as run:
        with pytest.warns(UserWarning, match=r"frozen says 'bakcbone\.\*', and no array is named so"):
            run.save(1, model=model)
        run.save(2, model=model)
