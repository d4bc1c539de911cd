"""Values in the target's dtype: only into a dtype that can hold what they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelarchive.dtypes import is_float
from modelarchive.errors import ParameterError
from modelarchive.nn.parameter import dtype_name
from modelarchive.store.deferred import Deferred


def problem(found: np.dtype[Any], expected: np.dtype[Any], *, is_wanted: bool) -> tuple[str, str] | None:
    """What hinders a conversion: (expected, found) in words; None if nothing does."""
    words = f"dtype {dtype_name(expected)}", f"dtype {dtype_name(found)}"
    if _rank(found) > _rank(expected):
        return words[0], f"{words[1]}, which would lose what it holds"
    return None if is_wanted else words


def _rank(dtype: np.dtype[Any]) -> int:
    """What a dtype can say: truth, whole numbers, reals, complex numbers."""
    return 2 if is_float(dtype) else {"b": 0, "c": 3}.get(dtype.kind, 1)


def cast(values: Deferred, dtype: np.dtype[Any], name: str) -> Deferred:
    """The array in another dtype, once it is read."""
    if values.dtype == dtype:
        return values
    return values.changed(lambda array: converted(array, dtype, name), dtype=dtype)


def converted(array: np.ndarray, dtype: np.dtype[Any], name: str) -> np.ndarray:
    """The array in another dtype.

    Raises:
        ParameterError: A number is too large for it, or a whole one is not among those that it has.
    """
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        found = array.astype(dtype)
        is_lost = _is_lost(array, found)
    if is_lost:
        expected, got = f"numbers that {dtype_name(dtype)} can hold", f"others of {dtype_name(array.dtype)}"
        raise ParameterError(
            f"{name}: expected {expected}, found {got}; nothing was changed",
            mismatched={name: (expected, got)},
            hint=f"convert the target to {dtype_name(array.dtype)} first",
        )
    return found


def _is_lost(array: np.ndarray, found: np.ndarray) -> bool:
    """Whether numbers became others than a rounded one: too large, or whole ones that are another now."""
    if _rank(array.dtype) <= 1 or _rank(found.dtype) <= 1:
        real = found.real if found.dtype.kind == "c" else found
        if array.dtype.kind in "iu" and _rank(found.dtype) > 1:
            # What becomes of a number behind the largest, or an infinite one, on the way back, is for the machine.
            wide = real.astype(np.float64)
            is_behind = wide >= 2.0 ** (8 * array.itemsize - (array.dtype.kind == "i"))
            if np.any(is_behind | ~np.isfinite(wide)):
                return True
        return bool(np.any(real.astype(array.dtype) != array) or np.any((real < 0) != (array < 0)))
    return bool(np.any(np.isfinite(array) & ~np.isfinite(found)) or np.any(np.isnan(found) & ~np.isnan(array)))
