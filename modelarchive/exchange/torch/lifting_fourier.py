"""ATen's Fourier transforms in ops, by products with their matrices; complex numbers stand as pairs on a last axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, counted
from modelarchive.exchange.torch.lifting_shapes import picked
from modelarchive.exchange.torch.lifting_sizes import number_of
from modelarchive.exchange.torch.lifting_windows import along
from modelarchive.exchange.torch.recorded import cast
from modelarchive.nn.dim import Dim

#: Elements along an axis up to which a transform is said by its matrix.
_LONGEST: Final = 4096


def _pair(real: Any, imaginary: Any) -> Any:
    return ops.stack([real, imaginary], axis=-1)


def _angles(size: Any, rows: Any, columns: Any, dtype: Any) -> tuple[Any, Any]:
    """Cosines and sines of an axis, ``(rows, columns)``; of one of any size they are computed.

    Args:
        size: The size of the axis, which a whole turn has.
        rows: How many of its places.
        columns: How many of its frequencies.
        dtype: What they are in.
    """
    if any(isinstance(each, Dim) for each in (size, rows, columns)):
        whole = number_of(size)
        # Whole turns are taken away while they are integers.
        turns = ops.remainder(ops.multiply(ops.expand_dims(counted(rows), axis=1), counted(columns)), whole)
        angles = ops.multiply(ops.divide(cast(turns, "float64"), cast(whole, "float64")), 2 * np.pi)
        still = ops.equal(ops.remainder(ops.multiply(turns, 2), whole), 0)
        sine = ops.where(still, np.asarray(0.0), ops.sin(angles))
        return cast(ops.cos(angles), dtype), cast(sine, dtype)
    if size > _LONGEST:
        raise Refusal(f"a Fourier transform of an axis of {size:,}, and there is a matrix for up to {_LONGEST:,} only")
    turns = np.outer(np.arange(rows), np.arange(columns)) % size
    sine = np.where(2 * turns % size == 0, 0.0, np.sin(2 * np.pi * turns / size))
    return np.cos(2 * np.pi * turns / size).astype(dtype), sine.astype(dtype)


def _transformed(real: Any, imaginary: Any, axis: int, *, forward: bool) -> tuple[Any, Any]:
    size = real.shape[axis]
    cosine, sine = _angles(size, size, size, real.dtype)
    sine = sine if forward else ops.negative(sine)
    return (
        ops.add(along(real, cosine, axis), along(imaginary, sine, axis)),
        ops.subtract(along(imaginary, cosine, axis), along(real, sine, axis)),
    )


def _scaled(x: Any, sizes: Sequence[Any], normalization: int) -> Any:
    if not normalization:
        return x
    fixed = float(np.prod([float(size) for size in sizes if not isinstance(size, Dim)])) ** -(normalization / 2)
    x = x if fixed == 1 else ops.multiply(x, fixed)
    for size in sizes:
        if isinstance(size, Dim):
            number = cast(number_of(size), x.dtype)
            x = ops.divide(x, number if normalization == 2 else ops.sqrt(number))
    return x


def _of_complex(context: Context, x: Any, *, dim: Sequence[int], normalization: int, forward: bool) -> Any:
    real, imaginary = picked(x, -1, 0), picked(x, -1, 1)
    axes = [each % real.ndim for each in dim]
    sizes = [real.shape[axis] for axis in axes]
    for axis in axes:
        real, imaginary = _transformed(real, imaginary, axis, forward=forward)
    return _scaled(_pair(real, imaginary), sizes, normalization)


def _of_real(context: Context, x: Any, *, dim: Sequence[int], normalization: int, onesided: bool) -> Any:
    axes = [each % x.ndim for each in dim]
    sizes = [x.shape[axis] for axis in axes]
    last = axes[-1]
    cosine, sine = _angles(sizes[-1], sizes[-1], context.shape[last], x.dtype)
    real, imaginary = along(x, cosine, last), ops.subtract(0.0, along(x, sine, last))  # no minus 0
    for axis in axes[:-1]:
        real, imaginary = _transformed(real, imaginary, axis, forward=True)
    return _scaled(_pair(real, imaginary), sizes, normalization)


def _to_real(context: Context, x: Any, *, dim: Sequence[int], normalization: int, last_dim_size: Any) -> Any:
    real, imaginary = picked(x, -1, 0), picked(x, -1, 1)
    axes = [each % real.ndim for each in dim]
    sizes = [real.shape[axis] for axis in axes[:-1]] + [last_dim_size]
    for axis in axes[:-1]:
        real, imaginary = _transformed(real, imaginary, axis, forward=False)
    half = real.shape[axes[-1]]
    cosine, sine = _angles(last_dim_size, half, last_dim_size, real.dtype)
    # What is left out stands for its mirror image too, but for the first and, of even sizes, the last.
    places = ops.expand_dims(counted(half), axis=1)
    whole = number_of(last_dim_size)
    is_own = np.logical_or(ops.equal(places, 0), ops.equal(ops.multiply(places, 2), whole))
    if isinstance(last_dim_size, Dim):
        times = cast(ops.where(is_own, np.asarray(1.0), np.asarray(2.0)), real.dtype)
    else:
        times = np.where(is_own, 1.0, 2.0).astype(real.dtype)
    cosine, sine = (
        ops.multiply(each, times) if isinstance(last_dim_size, Dim) else each * times for each in (cosine, sine)
    )
    found = ops.subtract(along(real, cosine, axes[-1]), along(imaginary, sine, axes[-1]))
    return _scaled(found, sizes, normalization)


#: Operator -> what it means on pairs.
ROWS: Final[dict[str, Callable[..., Any]]] = {"_fft_c2c": _of_complex, "_fft_r2c": _of_real, "_fft_c2r": _to_real}
