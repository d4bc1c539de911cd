"""Pickles of plain data, of every protocol, give what Python's own reader makes of them."""

from __future__ import annotations

import collections
import pickle
import random
from typing import Any

import numpy as np
import pytest

from modelarchive.exchange.torch.stored.meanings import meaning_of
from modelarchive.exchange.torch.stored.numbers import NumpyArray
from modelarchive.exchange.torch.stored.pickles import follow
from modelarchive.exchange.torch.stored.stubs import Stub
from modelarchive.exchange.torch.stored.tensors import Unreadable

PROTOCOLS = range(6)


def followed(data: bytes) -> Any:
    value, end = follow(memoryview(data), 0, meaning_of, lambda identity: identity)
    assert end == len(data)
    return value


def generated(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(12 if depth < 4 else 8)
    if kind < 8:
        return [
            None, rng.random() < 0.5, rng.randrange(-300, 70_000), rng.randrange(-(2**70), 2**70), rng.gauss(0, 1e9),
            "".join(rng.choice("aé\n\\'\"\u20ac\U0001f600 ") for _ in range(rng.randrange(300))),
            bytes(rng.randrange(256) for _ in range(rng.randrange(300))), complex(1, rng.random()),
        ][kind]  # fmt: skip
    several = [generated(rng, depth + 1) for _ in range(rng.randrange(5))]
    if kind == 8:
        return several
    if kind == 9:
        return tuple(several)
    entries = {f"k{at}" if at % 2 else at: value for at, value in enumerate(several)}
    return entries if kind == 10 else collections.OrderedDict(entries)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_generated_data(protocol: int) -> None:
    rng = random.Random(protocol)
    shared = ["shared"]
    for _ in range(200):
        value = [generated(rng), shared, shared]
        found = followed(pickle.dumps(value, protocol))
        assert found == pickle.loads(pickle.dumps(value, protocol)) == value
        assert found[1] is found[2]


def test_what_python_2_wrote() -> None:
    """Strings that were bytes, and classes under their old names."""
    assert followed(b"\x80\x02U\x03abcq\x00.") == "abc"
    assert followed(b"\x80\x02U\x02\xff\xfe.") == b"\xff\xfe"
    assert followed(b"T\x03\x00\x00\x00abc.") == "abc"
    assert followed(b"S'a\\x62\\n'\n.") == "ab\n"
    assert followed(b"(S'a'\nI1\nS'b'\nI01\nd.") == {"a": 1, "b": True}
    assert followed(b"(lp0\nL5L\naF1.5\na.") == [5, 1.5]
    found = followed(b"ccopy_reg\n_reconstructor\n(c__main__\nNet\nc__builtin__\nobject\nNtR(dS'w'\nI1\nsb.")
    assert (found.name, found.state) == ("__main__.Net", {"w": 1})


class Plain:
    """A class of somebody's program."""


class Entries(dict):
    pass


class Items(list):
    pass


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_are_what_a_pickle_says_of_them(protocol: int) -> None:
    one, two, three = Plain(), Entries(a=1), Items([1, 2])
    one.x = 5  # type: ignore[attr-defined]
    found = [followed(pickle.dumps(each, protocol)) for each in (one, two, three)]
    assert [each.name.rpartition(".")[2] for each in found] == ["Plain", "Entries", "Items"]
    assert found[0].state == {"x": 5}
    assert found[1].entries == {"a": 1}
    assert found[2].items == [1, 2]
    assert all(isinstance(each, Stub) for each in found)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", [{1, 2}, frozenset([3])])
def test_sets(protocol: int, value: Any) -> None:
    found = followed(pickle.dumps(value, protocol))
    items = found.items or found.arguments[0]
    assert (found.name, set(items)) == ("set", value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays(protocol: int) -> None:
    for array in (np.arange(6, dtype="f2").reshape(2, 3), np.ones((2, 3), order="F"), np.array(3), np.zeros((0, 2))):
        found = followed(pickle.dumps(array, protocol))
        assert isinstance(found, NumpyArray)
        np.testing.assert_array_equal(found.array, array)
    for array in (np.array(["x"]), np.array([None]), np.zeros(2, [("a", "i4")]), np.ones(1, np.longdouble)):
        found = followed(pickle.dumps(array, protocol))
        assert found.array is None, array.dtype
    assert followed(pickle.dumps(np.float32(1.5), protocol)) == 1.5
    assert isinstance(followed(pickle.dumps(np.str_("x"), protocol)), Stub | str)


def test_what_a_tensor_of_another_device_is() -> None:
    """As PyTorch writes tensors of XLA: their values as an array."""
    array = pickle.dumps(np.ones(2, "f4"), 2)[2:-1]
    function = b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n"
    found = followed(b"\x80\x02" + function + b"(" + array + b"ctorch\nfloat32\nX\x05\x00\x00\x00xla:0\x89tR.")
    assert isinstance(found, NumpyArray)
    kind = b"(ctorch.distributed.tensor\nDTensor\nNtR."
    found = followed(b"ctorch._utils\n_rebuild_wrapper_subclass\n" + kind)
    assert isinstance(found, Unreadable)
    assert "a DTensor, a subclass of torch.Tensor" in found.problem
    assert "full_tensor()" in found.problem
