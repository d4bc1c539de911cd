"""Which dtype a computation runs in and which one it returns: float32 inside for every narrower float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelarchive.dtypes import DENSE, is_float

_FLOAT32: Final = np.dtype(np.float32)
_NARROW: Final = frozenset(dtype for dtype in DENSE.values() if is_float(dtype) and dtype.itemsize < _FLOAT32.itemsize)
#: Those of them that NumPy's own promotion does not know.
_FOREIGN: Final = _NARROW - {np.dtype(np.float16)}


def is_narrow(dtype: np.dtype[Any]) -> bool:
    """Whether `dtype` is a float narrower than float32: float16, bfloat16, float8."""
    return dtype in _NARROW


def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype to compute in: float32 for a narrower float, else `dtype` itself."""
    return _FLOAT32 if dtype in _NARROW else dtype


def common_dtype(*operands: Any, **arguments: Any) -> np.dtype[Any]:
    """The dtype that a result of `operands` (arrays, dtypes, Python numbers) has.

    NumPy's rules (numpy.org/neps/nep-0050), Python numbers weak. Beside them, for the dtypes that
    NumPy does not promote: bfloat16 or float8 with an integer or a Python float stays what it is,
    two different narrow floats give float32.
    """
    dtypes = [_dtype_of(operand) for operand in operands]
    strong = [dtype for dtype in dtypes if isinstance(dtype, np.dtype)]
    if not any(dtype in _FOREIGN for dtype in strong):
        return np.result_type(*dtypes)
    weak_complex = any(isinstance(dtype, complex) for dtype in dtypes)
    floats = {dtype for dtype in strong if dtype.kind not in "biu"}
    if len(floats) == 1 and not weak_complex:
        return floats.pop()
    return np.result_type(*(wide(dtype) for dtype in floats), *([1j] if weak_complex else []))


def float_dtype(x: Any, *parameters: Any) -> np.dtype[Any]:
    """The dtype that a layer returns: the common float dtype; integers count as the parameters' dtype."""
    if all(getattr(array, "dtype", array) is _FLOAT32 for array in (x, *parameters)):
        return _FLOAT32
    dtypes: set[np.dtype[Any]] = {np.dtype(getattr(array, "dtype", array)) for array in (x, *parameters)}
    floats = [dtype for dtype in dtypes if dtype.kind not in "biu"]
    if len(floats) == 1 and floats[0].isnative:
        return floats[0]
    return common_dtype(*floats) if floats else _FLOAT32


def widened(dtype: np.dtype[Any], *arrays: Any) -> list[NDArray[Any]]:
    """The arrays in the dtype in which a result of dtype `dtype` is computed; no copy where it is theirs."""
    return [np.asarray(array, dtype=wide(dtype)) for array in arrays]


def rounded(result: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """`result` in `dtype`: the one rounding at the end; no copy where it has that dtype."""
    return np.asarray(result).astype(dtype, copy=False)


def in_float32(function: Callable[..., Any], *operands: Any, **arguments: Any) -> Any:
    """Run a NumPy function, on float32 copies where the result would be a narrower float."""
    dtypes = [_dtype_of(operand) for operand in operands]
    if not any(isinstance(dtype, np.dtype) and dtype in _NARROW for dtype in dtypes):
        return function(*operands, **arguments)
    dtype = common_dtype(*dtypes)
    return rounded(function(*widened(dtype, *operands), **arguments), dtype)


def joined(function: Callable[..., Any], arrays: Sequence[Any], **arguments: Any) -> Any:
    """Run a NumPy function of a sequence of arrays, in their common dtype where NumPy knows none."""
    if any(np.asarray(array).dtype in _FOREIGN for array in arrays):
        dtype = common_dtype(*arrays)
        arrays = [rounded(array, dtype) for array in arrays]
    return function(arrays, **arguments)


def _dtype_of(operand: Any) -> Any:
    """The dtype of an array or dtype; a Python number stands for itself."""
    if isinstance(operand, np.dtype):
        return operand
    if type(operand) in (bool, int, float, complex):
        return operand
    return np.asarray(operand).dtype
