"""What objects of classes that nobody knows give of their tensors."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.exchange.torch.stored.files import saved

torch = pytest.importorskip("torch")


class Slots:
    __slots__ = ("tensor",)

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor


class Both(dict):
    """A dict with attributes."""


@dataclasses.dataclass(slots=True)
class Record:
    first: Any
    second: Any


class Bare:
    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def __getstate__(self) -> Any:
        return self.tensor


def test_objects_give_their_tensors_wherever_they_are() -> None:
    one, two = torch.ones(2), torch.zeros(3)
    both = Both(a=one)
    both.hidden = two
    bundle = saved({"s": Slots(one), "r": Record(one, two), "b": Bare(two), "d": both})
    assert list(bundle.parameters) == ["s.tensor", "r.first", "r.second", "b.0", "d.a"]
    assert [note.where for note in bundle.notes] == ["s", "r", "b", "d", "d"]
    assert "tensors beside its entries" in str(bundle.notes[-1])


def test_a_program_of_torch_fx_gives_its_state_dict() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    bundle = saved(torch.fx.symbolic_trace(net))
    assert list(bundle.parameters) == list(net.state_dict())
