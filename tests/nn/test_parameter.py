"""Parameters: shapes that are learned, values that are never cast behind one's back."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from modelarchive import nn
from modelarchive.errors import DeferredShapeError, ParameterError


def test_zero_and_none_are_axes_to_be_learned() -> None:
    assert nn.Parameter((4, 0)).shape == nn.Parameter((4, None)).shape == (4, None)
    assert nn.Parameter().shape is None
    assert not nn.Parameter((4, 0)).is_known
    assert nn.Parameter((4, 3)).is_known


def test_a_shape_is_refined_and_never_contradicted() -> None:
    parameter = nn.Parameter((4, 0))
    parameter.shape = (4, 7)
    assert parameter.known_shape == (4, 7)
    with pytest.raises(ValueError, match=r"expected shape \(4, 7\), found \(4, 8\)"):
        parameter.shape = (4, 8)
    with pytest.raises(ValueError, match="expected shape"):
        parameter.shape = (4,)
    assert parameter.shape == (4, 7)


def test_initialisation_waits_for_the_shape() -> None:
    parameter = nn.Parameter((2, 0), init="ones")
    parameter.initialize()
    assert not parameter.is_initialized
    with pytest.raises(DeferredShapeError, match="shape is not known") as caught:
        parameter.data()
    assert caught.value.names == [""]
    parameter.shape = (2, 3)
    np.testing.assert_array_equal(parameter.data(), np.ones((2, 3), np.float32))


def test_data_before_initialisation_says_what_to_do() -> None:
    with pytest.raises(DeferredShapeError, match="initialize"):
        nn.Parameter((2,)).data()


def test_initialize_keeps_values_unless_forced() -> None:
    parameter = nn.Parameter((3,))
    parameter.set_data(np.arange(3, dtype=np.float32))
    parameter.initialize("zeros")
    assert parameter.data()[2] == 2
    parameter.initialize("zeros", force_reinit=True)
    assert parameter.data()[2] == 0


def test_set_data_keeps_the_array_itself() -> None:
    parameter = nn.Parameter((0,))
    array = np.arange(3, dtype=np.float32)
    array.flags.writeable = False
    parameter.set_data(array)
    assert parameter.data() is array
    assert parameter.shape == (3,)


def test_set_data_takes_a_dtype_once() -> None:
    parameter = nn.Parameter((3,))
    parameter.set_data(np.zeros(3, np.float64))
    assert parameter.dtype == np.float64
    with pytest.raises(ParameterError, match="expected dtype float64, found dtype float32"):
        parameter.set_data(np.zeros(3, np.float32))


@pytest.mark.parametrize("array", [np.zeros((3, 1), "f4"), np.zeros(4, "f4"), np.zeros((), "f4")])
def test_set_data_refuses_another_shape(array: np.ndarray) -> None:
    parameter = nn.Parameter((3,))
    with pytest.raises(ParameterError, match=r"expected shape \(3,\), found shape") as caught:
        parameter.set_data(array)
    assert list(caught.value.mismatched) == [""]
    assert not parameter.is_initialized


def test_set_data_refuses_what_is_no_number() -> None:
    with pytest.raises(ParameterError, match="array of numbers"):
        nn.Parameter((2,)).set_data(np.array(["a", "b"]))


def test_an_empty_array_has_a_known_shape() -> None:
    parameter = nn.Parameter()
    parameter.set_data(np.zeros((0, 3), np.float32))
    assert parameter.is_known
    assert parameter.known_shape == (0, 3)
    parameter.shape = (0, 3)


def test_cast_converts_values_and_those_to_come() -> None:
    filled, empty = nn.Parameter((2,), init="ones"), nn.Parameter((0,), init="ones")
    filled.initialize()
    empty.initialize()
    for parameter in (filled, empty):
        parameter.cast("bfloat16")
    empty.shape = (2,)
    assert filled.data().dtype == empty.data().dtype == ml_dtypes.bfloat16


def test_narrow_floats_are_initialised_too() -> None:
    for dtype in ("float16", "bfloat16", "float8_e4m3fn", "float64"):
        parameter = nn.Parameter((50,), dtype)
        parameter.initialize(rng=np.random.default_rng(0))
        values = parameter.data().astype(np.float64)
        assert 0 < np.abs(values).max() <= 0.08


def test_an_initializer_of_the_wrong_shape_is_refused() -> None:
    parameter = nn.Parameter((2,), init=lambda shape, dtype, rng: np.zeros(3, dtype))
    with pytest.raises(ValueError, match=r"expected \(2,\), found \(3,\)"):
        parameter.initialize()


def test_it_prints_its_name_shape_and_state() -> None:
    block = nn.Dense(4)
    block.freeze("weight")
    assert repr(block.weight) == "Parameter('weight', shape=(4, ?), dtype=float32, trainable=False)"


def test_other_memory_orders_become_c_order() -> None:
    parameter = nn.Parameter((3, 2))
    values = np.arange(6, dtype="float32").reshape(2, 3)
    parameter.set_data(values.T)
    assert parameter.data().flags.c_contiguous
    np.testing.assert_array_equal(parameter.data(), values.T)
    whole = np.ones((3, 2), "float32")
    parameter.set_data(whole)
    assert parameter.data() is whole, "what is in C order is not copied"
