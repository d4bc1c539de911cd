"""The dtypes that operations of Keras compute in: those of the results, as Keras gives them, for every dtype."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelarchive.exchange import keras as exchange
from modelarchive.nn import nesting

keras = pytest.importorskip("keras")

from keras import ops  # noqa: E402 - only where Keras is

pytestmark = pytest.mark.slow
#: Functions of a tensor of any dtype.
CALLS: dict[str, Callable[[Any], Any]] = {
    "a whole number more": lambda x: x + 1,
    "a fraction more": lambda x: x + 1.5,
    "halves": lambda x: x / 2,
    "quotients": lambda x: ops.divide(x, x + 1),
    "of two numbers": lambda x: ops.where(x > 0, 1.0, 0.0),
    "of two whole numbers": lambda x: ops.where(x > 0, 1, 0),
    "of itself and a number": lambda x: ops.where(x > 0, x, 0.5),
    "a condition that is no truth": lambda x: ops.where(x, 2.0, 3.0),
    "to a power": lambda x: ops.power(x, 2),
    "at least": lambda x: ops.maximum(x, 0.5),
    "beside float32": lambda x: x + ops.cast(x, "float32") * 2,
    "beside float16": lambda x: ops.maximum(x, ops.cast(x, "float16")),
    "joined with float32": lambda x: ops.concatenate([x, ops.cast(x, "float32")]),
    "mean": ops.mean,
    "variance": ops.var,
    "sum": lambda x: ops.sum(x, 0),
    "sums so far": lambda x: ops.cumsum(x, 0),
    "exp": ops.exp,
    "root": lambda x: ops.sqrt(ops.abs(x)),
    "sigmoid": ops.sigmoid,
    "floor": ops.floor,
    "between": lambda x: ops.clip(x, 0, 1),
    "between fractions": lambda x: ops.clip(x, 0.5, 1.5),
    "above": lambda x: ops.clip(x, 0.5, np.inf),
    "sum without NaN": lambda x: ops.nansum(x, 1),
    "largest without NaN": lambda x: ops.nanmax(x, 1),
    "logarithm of a sum": lambda x: ops.logsumexp(x, 1),
    "how many": lambda x: ops.count_nonzero(x[:, 1]),
    "which of them": lambda x: ops.digitize(x, np.array([0.5, 1.5], "float32")),
    "square": ops.square,
    "both": lambda x: ops.logical_and(x, ops.flip(x)),
    "either": lambda x: ops.logical_or(x, ops.flip(x)),
    "not": lambda x: ops.logical_not(x),
    "place of the least": lambda x: ops.argmin(x, 1),
    "equal": lambda x: ops.equal(x, 1),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64", "float16", "bfloat16", "float32"])
def test_results_have_the_dtypes_of_keras(dtype: str, tmp_path: Path) -> None:
    x = keras.Input((4,), dtype=dtype)
    model = keras.Model(x, [call(x) for call in CALLS.values()])
    model.save(tmp_path / "x.keras")
    given = ops.cast(np.array([[0, 1, 2, 3], [1, 0, 0, 2]], "int32"), dtype)
    expected = [ops.convert_to_numpy(each) for each in model(given)]
    found = nesting.leaves(exchange.read(tmp_path / "x.keras").build()(ops.convert_to_numpy(given)))
    for name, one, other in zip(CALLS, found, expected, strict=True):
        if (name, dtype) != ("sums so far", "int64"):  # int32 on PyTorch's backend, int64 on others
            assert one.dtype == other.dtype, name
        np.testing.assert_allclose(one.astype("f8"), other.astype("f8"), rtol=2e-2, atol=1e-6, err_msg=name)


EDGES: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "sums of whole numbers without NaN": (lambda x: ops.nancumsum(x, 1), np.array([[3, 1], [7, 2]], "int32")),
    "the place of what is larger than floats tell": (
        lambda x: ops.nanargmax(x, 1), np.array([[2**24, 2**24 + 1], [2, 1]], "int32"),
    ),
    "no place among NaN": (lambda x: ops.nanargmax(x, 1), np.array([[np.nan, np.nan], [np.nan, 1]], "float32")),
    "none of the least": (lambda x: ops.nanargmin(x, 1), np.array([[np.nan, np.nan], [np.nan, 1]], "float32")),
    "the least without a negative": (lambda x: ops.argmin(x, 1), np.array([[-5, -128], [127, 0]], "int8")),
    "the least of bytes": (lambda x: ops.argmin(x, 1), np.array([[255, 0], [1, 2]], "uint8")),
    "a sum of products beyond 8 bits": (lambda x: ops.einsum("ij,kj->ik", x, x), np.array([[100, 100]] * 2, "int8")),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EDGES)
def test_whole_numbers_and_nan_at_their_ends(name: str, tmp_path: Path) -> None:
    call, given = EDGES[name]
    x = keras.Input(given.shape[1:], dtype=given.dtype.name)
    model = keras.Model(x, call(x))
    model.save(tmp_path / "x.keras")
    wanted = ops.convert_to_numpy(model(given))
    found = exchange.read(tmp_path / "x.keras").build()(given)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)
