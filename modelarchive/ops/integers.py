"""Ops that round, that divide and leave a rest, and that work on the bits of integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from modelarchive.ops import shapes
from modelarchive.ops.precision import common_dtype, in_float32
from modelarchive.ops.registry import Array, op, same


def _whole(function: Callable[..., Any], x: ArrayLike) -> Array:
    """A function that rounds; integers and truths are whole already, and NumPy before 2.1 makes floats of them."""
    array = np.asarray(x)
    return array.copy() if array.dtype.kind in "biu" else np.asarray(in_float32(function, array))


@op(infer=shapes.unchanged, dtype=same, numpy=[np.floor])
def floor(x: ArrayLike, /) -> Array:
    """Largest whole number that is not above `x`; any shape and real dtype, both kept, NaN and infinities stay."""
    return _whole(np.floor, x)


@op(infer=shapes.unchanged, dtype=same, numpy=[np.rint])
def round(x: ArrayLike, /) -> Array:
    """Nearest whole number, of two that are as near the even one; any shape and real dtype, both kept."""
    return _whole(np.rint, x)


def _operands(*values: ArrayLike) -> list[Any]:
    return [each if type(each) in (int, float) else np.asarray(each).dtype for each in values]


def _divided(*dtypes: Any, **arguments: Any) -> np.dtype[Any]:
    found = common_dtype(*dtypes)
    if found.kind in "bc":
        raise ValueError(f"expected integers or real floats, found dtype {found}")
    return found


@op(infer=shapes.broadcast, dtype=_divided, numpy=[np.floor_divide])
def floor_divide(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Largest whole number not above the quotient, exact for integers: ``x // y`` in Python, NumPy and PyTorch.

    Args:
        x: Any shape that broadcasts with `y`; integers or floats. A Python number is weak.
        y: As `x`. What an integer divided by 0 gives is left open.

    Returns:
        A new array of the broadcast shape and the promoted dtype.

    Raises:
        ValueError: The dtype is bool or complex.
    """
    _divided(*_operands(x, y))
    return np.asarray(in_float32(np.floor_divide, x, y))


@op(infer=shapes.broadcast, dtype=_divided, numpy=[np.remainder])
def remainder(x: ArrayLike, y: ArrayLike, /) -> Array:
    """What :func:`floor_divide` leaves of `x`, with the sign of `y`: ``x % y``; shapes, dtypes and errors as there."""
    _divided(*_operands(x, y))
    return np.asarray(in_float32(np.remainder, x, y))


def _bits(*dtypes: Any, **arguments: Any) -> np.dtype[Any]:
    found = common_dtype(*dtypes)
    if found.kind not in "biu":
        raise ValueError(f"expected integers or truths, found dtype {found}")
    return found


@op(infer=shapes.broadcast, dtype=_bits, numpy=[np.bitwise_and])
def bitwise_and(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The bits that are set in both, of integers in two's complement or of truths.

    Args:
        x: Any shape that broadcasts with `y`; integers or bool. A Python number is weak.
        y: As `x`.

    Returns:
        A new array of the broadcast shape and the promoted dtype.

    Raises:
        ValueError: The dtype is a float.
    """
    _bits(*_operands(x, y))
    return np.asarray(np.bitwise_and(x, y))


@op(infer=shapes.broadcast, dtype=_bits, numpy=[np.bitwise_or])
def bitwise_or(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The bits that are set in either of two; shapes, dtypes and errors as in :func:`bitwise_and`."""
    _bits(*_operands(x, y))
    return np.asarray(np.bitwise_or(x, y))


@op(infer=shapes.broadcast, dtype=_bits, numpy=[np.bitwise_xor])
def bitwise_xor(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The bits that are set in one of two, and not in both; shapes, dtypes and errors as in :func:`bitwise_and`."""
    _bits(*_operands(x, y))
    return np.asarray(np.bitwise_xor(x, y))


def _places(*dtypes: Any, **arguments: Any) -> np.dtype[Any]:
    found = common_dtype(*dtypes)
    if found.kind not in "iu":
        raise ValueError(f"expected integers, found dtype {found}")
    return found


@op(infer=shapes.broadcast, dtype=_places, numpy=[np.left_shift])
def left_shift(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The bits of integers moved up; zeros follow, and what leaves the dtype is lost.

    Args:
        x: Any shape that broadcasts with `y`; integers. A Python number is weak.
        y: By how many places, from 0 to one less than the dtype has bits; what others give is left open.

    Returns:
        A new array of the broadcast shape and the promoted dtype.

    Raises:
        ValueError: The dtype is no integer's.
    """
    _places(*_operands(x, y))
    return np.asarray(np.left_shift(x, y))


@op(infer=shapes.broadcast, dtype=_places, numpy=[np.right_shift])
def right_shift(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The bits of integers moved down, the sign kept: ``floor(x / 2^y)``; all else as in :func:`left_shift`."""
    _places(*_operands(x, y))
    return np.asarray(np.right_shift(x, y))
