"""Orders, and elements written at places: against PyTorch, and misuse by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelarchive import ops
from modelarchive.ops.registry import OPS
from tests.ops.test_selection import QUICK, agrees, same

torch = pytest.importorskip("torch")

DTYPES = st.sampled_from(["float32", "float64", "float16", "int64", "int8", "uint8", "bool"])
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


@QUICK
@given(SHAPES, DTYPES, st.booleans(), st.data())
def test_orders_are_pytorch_s(shape, dtype, descending, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = np.random.default_rng(len(shape)).integers(-3, 4, shape).astype(dtype)
    found = agrees("argsort", [x], axis=axis, descending=descending)
    wanted = torch.sort(torch.tensor(x).float(), dim=axis, descending=descending, stable=True).indices
    same(found, wanted.numpy())


def test_nan_is_the_largest():
    x = np.array([1, np.nan, -np.inf, np.nan, np.inf], np.float32)
    same(ops.argsort(x), np.array([2, 0, 4, 1, 3]))
    same(ops.argsort(x, descending=True), np.array([1, 3, 4, 0, 2]))


_REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "amax", "minimum": "amin"}


@QUICK
@given(
    SHAPES, st.sampled_from(["float32", "float64", "int64", "int32"]), st.sampled_from(sorted(_REDUCTIONS)), st.data()
)
def test_writing_is_pytorch_s(shape, dtype, reduction, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    along = axis % len(shape)
    few = tuple(
        data.draw(st.integers(1, 6 if place == along else size), label="places") for place, size in enumerate(shape)
    )
    rng = np.random.default_rng(0)
    x, updates = (rng.integers(-3, 4, each).astype(dtype) for each in (shape, few))
    places = rng.integers(-shape[along], shape[along], few)
    found = agrees("scatter", [x, places, updates], axis=axis, reduction=reduction)
    index = torch.tensor(np.where(places < 0, places + shape[along], places))
    same(found, torch.tensor(x).scatter_reduce(axis, index, torch.tensor(updates), _REDUCTIONS[reduction]).numpy())


def test_what_is_written_stretches_and_stays():
    x = np.zeros((2, 4), np.float32)
    found = ops.scatter(x, np.array([[0, -1]]), np.float32(5), axis=1)
    same(found, np.array([[5, 0, 0, 5], [0, 0, 0, 0]], np.float32))
    assert not x.any()


@pytest.mark.parametrize(
    ("shapes", "arguments", "words"),
    [
        ([(2, 3), (2,), (2,)], {"axis": 0}, "indices of 2 dimensions"),
        ([(2, 3), (3, 3), (3, 3)], {"axis": 1}, "within shape"),
        ([(2, 3), (2, 2), (3, 2)], {"axis": 1}, "broadcast|stretch"),
        ([(2, 3), (2, 2), (1, 2, 2)], {"axis": 1}, "stretch"),
        ([(2, 3), (2, 2), (2, 2)], {"axis": 2}, "found axis 2"),
        ([(2, 3), (2, 2), (2, 2)], {"axis": 1, "reduction": "mean"}, "reduction: expected one of none"),
    ],
)
def test_misfits_are_refused_by_rule_and_by_function(shapes, arguments, words):
    with pytest.raises(ValueError, match=words):
        OPS["scatter"].infer(*shapes, **arguments)
    with pytest.raises(ValueError, match=words):
        OPS["scatter"](*(np.zeros(each, np.int64) for each in shapes), **arguments)


def test_places_are_checked():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="integer indices"):
        ops.scatter(x, np.zeros((1, 1), np.float32), 1.0)
    with pytest.raises(IndexError):
        ops.scatter(x, np.array([[2]]), 1.0)
    with pytest.raises(ValueError, match="axis 1"):
        ops.argsort(np.zeros(3), axis=1)
    with pytest.raises(ValueError, match="real numbers"):
        ops.argsort(np.zeros(3, np.complex64))
