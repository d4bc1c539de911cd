"""Rounding, division with a rest and bits: against PyTorch and NumPy, and misuse by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelarchive import ops
from modelarchive.ops.registry import OPS
from tests.ops.test_selection import QUICK, agrees, same

torch = pytest.importorskip("torch")

#: Ours -> PyTorch's.
ROUNDED = {"floor": torch.floor, "round": torch.round, "atan": torch.atan}
DIVIDED = {"floor_divide": torch.floor_divide, "remainder": torch.remainder}
BITS = {"bitwise_and": torch.bitwise_and, "bitwise_or": torch.bitwise_or, "bitwise_xor": torch.bitwise_xor}
SHIFTED = {"left_shift": torch.bitwise_left_shift, "right_shift": torch.bitwise_right_shift}
FLOATS = st.floats(-1e4, 1e4, width=32).map(lambda x: round(x * 4) / 4)  # halves among them
WHOLE = st.integers(-100, 100)


@pytest.mark.parametrize("name", ROUNDED)
@QUICK
@given(st.lists(FLOATS, min_size=1, max_size=20), st.sampled_from([np.float32, np.float64, np.float16]))
def test_rounding_is_pytorch_s(name, values, dtype):
    x = np.array(values, dtype)
    found = agrees(name, [x])
    np.testing.assert_allclose(
        found, ROUNDED[name](torch.tensor(x)).numpy(), rtol=1e-3 if dtype == np.float16 else 1e-6
    )
    assert found.dtype == dtype


@pytest.mark.parametrize("name", DIVIDED)
@QUICK
@given(st.lists(st.tuples(WHOLE, WHOLE.filter(bool)), min_size=1, max_size=20), st.sampled_from("fdilbh"))
def test_division_is_pytorch_s(name, pairs, code):
    x, y = (np.array(side, np.dtype(code)) for side in zip(*pairs, strict=True))
    x, y = (x / 4, y / 4) if code in "fd" else (x, y)
    x, y = x.astype(code), y.astype(code)
    found = agrees(name, [x, y])
    same(found, DIVIDED[name](torch.tensor(x), torch.tensor(y)).numpy())


@pytest.mark.parametrize("name", BITS)
@QUICK
@given(st.lists(st.tuples(WHOLE, WHOLE), min_size=1, max_size=20), st.sampled_from(["i1", "i2", "i4", "i8", "u1", "?"]))
def test_bits_are_pytorch_s(name, pairs, code):
    x, y = (np.array(side).astype(code) for side in zip(*pairs, strict=True))
    same(agrees(name, [x, y]), BITS[name](torch.tensor(x), torch.tensor(y)).numpy())


@pytest.mark.parametrize("name", SHIFTED)
@QUICK
@given(
    st.lists(st.tuples(WHOLE, st.integers(0, 7)), min_size=1, max_size=20), st.sampled_from(["i1", "i4", "i8", "u1"])
)
def test_shifts_are_pytorch_s(name, pairs, code):
    x, y = (np.array(side).astype(code) for side in zip(*pairs, strict=True))
    same(agrees(name, [x, y]), SHIFTED[name](torch.tensor(x), torch.tensor(y)).numpy())


def test_halves_go_to_even_and_what_is_no_number_stays():
    x = np.array([0.5, 1.5, -0.5, -1.5, np.inf, -np.inf, np.nan], np.float32)
    same(ops.round(x), np.array([0, 2, -0.0, -2, np.inf, -np.inf, np.nan], np.float32))
    same(ops.floor(x), np.array([0, 1, -1, -2, np.inf, -np.inf, np.nan], np.float32))
    whole = np.array([3, -3])
    assert not np.shares_memory(ops.floor(whole), whole)
    same(ops.round(whole), whole)


@pytest.mark.parametrize(
    ("name", "dtype", "words"),
    [
        ("floor_divide", "bool", "expected integers or real floats"),
        ("remainder", "complex64", "expected integers or real floats"),
        ("bitwise_and", "float32", "expected integers or truths"),
        ("bitwise_xor", "complex64", "expected integers or truths"),
        ("left_shift", "bool", "expected integers"),
        ("right_shift", "float32", "expected integers"),
    ],
)
def test_misuse_is_refused_by_rule_and_by_function(name, dtype, words):
    x = np.ones(2, dtype)
    with pytest.raises(ValueError, match=words):
        OPS[name].dtype(x.dtype, x.dtype)
    with pytest.raises(ValueError, match=words):
        OPS[name](x, x)
