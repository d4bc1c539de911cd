"""Values of the ops: equal to NumPy's, rounded once in narrow floats, the same at every call."""

import math

import ml_dtypes
import numpy as np
import pytest

from modelarchive import ops
from modelarchive.ops.activation import ACTIVATIONS, activate, checked_activation
from modelarchive.ops.precision import common_dtype, float_dtype
from modelarchive.ops.special import erf, erfc

NARROW = [np.float16, ml_dtypes.bfloat16]


def normal(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "maximum", "minimum", "matmul"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_wide_floats_give_numpy_s_own_bits(name, dtype):
    x, y = normal((5, 5), dtype, 1), normal((5, 5), dtype, 2)
    np.testing.assert_array_equal(getattr(ops, name)(x, y), getattr(np, name)(x, y), strict=True)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_reductions_give_numpy_s_own_bits(name):
    x = normal((3, 4, 5))
    found = getattr(ops, name)(x, axis=(0, 2), keepdims=True)
    np.testing.assert_array_equal(found, getattr(np, name)(x, axis=(0, 2), keepdims=True), strict=True)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", ["sum", "mean", "softmax", "exp", "sin", "cos", *sorted(ACTIVATIONS)])
def test_narrow_floats_are_computed_in_float32_and_rounded_once(name, dtype):
    x = normal((4, 300), dtype)
    function = getattr(ops, name)
    found = function(x, axis=1) if name in ("sum", "mean", "softmax") else function(x)
    wide = x.astype(np.float32)
    expected = function(wide, axis=1) if name in ("sum", "mean", "softmax") else function(wide)
    np.testing.assert_array_equal(found, expected.astype(dtype), strict=True)


@pytest.mark.parametrize("dtype", NARROW)
def test_python_numbers_are_weak(dtype):
    x = np.ones(3, dtype)
    for result in (ops.add(x, 0.1), ops.multiply(2, x), ops.divide(1.0, x), ops.power(x, 2)):
        assert result.dtype == dtype
    assert ops.add(np.ones(3, np.float32), 0.5).dtype == np.float32
    assert ops.add(np.ones(3, np.int8), 1).dtype == np.int8


def test_promotion_where_numpy_has_none():
    bfloat16, float16, float8 = (np.dtype(name) for name in (ml_dtypes.bfloat16, "e", ml_dtypes.float8_e5m2))
    assert common_dtype(bfloat16, np.dtype(np.int64)) == bfloat16
    assert common_dtype(bfloat16, float16) == np.float32
    assert common_dtype(bfloat16, np.dtype(np.float64)) == np.float64
    assert common_dtype(float8, 0.5) == float8
    assert float_dtype(np.ones(2, np.int64), np.ones(2, np.float16)) == np.float16
    assert float_dtype(np.ones(2, np.uint8)) == np.float32
    x = np.ones(2, bfloat16)
    assert ops.concatenate([x, np.ones(2, float16)]).dtype == np.float32
    assert ops.stack([x, np.ones(2, np.int32)]).dtype == bfloat16


def test_softmax_neither_overflows_nor_fails_on_nothing():
    x = np.array([[1e4, 0, -1e4], [3e38, 3e38, 0]], np.float32)
    np.testing.assert_allclose(ops.softmax(x), [[1, 0, 0], [0.5, 0.5, 0]], atol=1e-7)
    assert ops.softmax(np.ones((0, 3), np.float32)).shape == (0, 3)
    assert ops.softmax(np.ones((3, 0), np.float32)).shape == (3, 0)


def test_erf_in_both_precisions():
    x = np.concatenate([np.linspace(-7, 7, 5001), np.logspace(-300, 0, 500)])
    true = np.array([math.erf(value) for value in x])
    np.testing.assert_allclose(erf(x), true, rtol=2e-15, atol=0)
    np.testing.assert_allclose(erf(x.astype(np.float32)), true, rtol=3e-7, atol=1e-40)
    positive = np.linspace(0, 9, 5001)
    true = np.array([math.erfc(value) for value in positive])
    np.testing.assert_allclose(erfc(positive), true, rtol=1e-13)
    narrow = positive.astype(np.float32)
    true = np.array([math.erfc(value) for value in narrow.astype(float)])
    np.testing.assert_allclose(erfc(narrow), true, rtol=1e-5, atol=1e-44)
    assert np.isnan(erf(np.array([np.nan]))[0])
    assert np.abs(erf(np.float32([1e30, -1e30]))).max() <= 1


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_take_every_magnitude_without_a_warning(name):
    x = np.array([0.0, -0.0, 1e-30, -1e-30, 1e4, -1e4, 90, -90], np.float32)
    with np.errstate(all="raise", under="ignore"):
        found = ACTIVATIONS[name](x)
    assert np.isfinite(found).all()
    if name != "softsign":  # infinity by infinity there, as in PyTorch
        assert not np.isnan(ACTIVATIONS[name](np.float32([np.inf]))).any()
    assert np.isnan(ACTIVATIONS[name](np.float32([np.nan]))).all()
    assert ACTIVATIONS[name](np.empty((0, 3), np.float32)).shape == (0, 3)
    assert ACTIVATIONS[name](np.float32(1.5)).shape == ()


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_leave_their_input_alone_and_repeat_themselves(name):
    x = normal((7, 33))
    before = x.copy()
    first = ACTIVATIONS[name](x)
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(first, x)
    np.testing.assert_array_equal(first, ACTIVATIONS[name](x))


def test_an_activation_is_looked_up_in_a_closed_list():
    x = normal(3)
    assert activate(None, x) is x
    assert checked_activation("relu") == "relu"
    with pytest.raises(ValueError, match=r"expected an activation of .*relu.*, found 'os\.system'"):
        activate("os.system", x)


def test_cast():
    x = normal((2, 3))
    assert ops.cast(x, "float32") is x
    assert ops.cast(x, "bfloat16").dtype == ml_dtypes.bfloat16
    assert ops.cast(x, np.int8).dtype == np.int8
    with pytest.raises(ValueError, match="found 'float128'"):
        ops.cast(x, "float128")


def test_views_stay_views():
    x = normal((2, 3, 1))
    for view in (
        ops.reshape(x, (None, -1)),
        ops.transpose(x),
        ops.squeeze(x),
        ops.expand_dims(x, 0),
        ops.slice(x, [0, [None, None, 2], None]),
        ops.flatten(x),
    ):
        assert np.shares_memory(view, x)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_blocks_do_not_change_the_result(name):
    x = normal((70_000, 2))[:, ::-1].T
    whole = ACTIVATIONS[name](x)
    assert whole.shape == x.shape
    np.testing.assert_array_equal(whole[:, 500:900], ACTIVATIONS[name](x[:, 500:900]))
    np.testing.assert_array_equal(whole[1, -300:], ACTIVATIONS[name](x[1, -300:]))
