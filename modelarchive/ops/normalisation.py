"""Normalisation at inference, and the lookup of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive.ops.epilogue import NOTHING, Epilogue
from modelarchive.ops.precision import float_dtype, rounded, wide, widened
from modelarchive.ops.registry import Array
from modelarchive.ops.threads import PIECE, parts, piece_of, share, threads_if

#: Elements from which on threads are worth their start.
WORTH: Final = 1 << 21
#: Elements that BLAS adds up one after another: few enough for the last bits.
FEW: Final = 1 << 10
#: One axis, or several.
Axis: TypeAlias = int | tuple[int, ...]


def batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array,
    running_var: Array,
    *,
    axis: int,
    epsilon: float,
    epilogue: Epilogue = NOTHING,
) -> Array:
    """``(x - running_mean) / sqrt(running_var + epsilon) * weight + bias`` along `axis`.

    Folded into one factor and one summand for each channel, as in ``torch.nn.functional.batch_norm`` in
    evaluation. Both are computed in float64 and rounded once to the dtype of the computation.

    Args:
        x: Any shape with channels at `axis`.
        weight: ``(channels,)``, or None for 1.
        bias: ``(channels,)``, or None for 0.
        running_mean: ``(channels,)``.
        running_var: ``(channels,)``.
        axis: The axis of the channels.
        epsilon: Added to the variance.
        epilogue: What follows.

    Returns:
        A new array of the shape of `x` in the float dtype that input and parameters share.
    """
    given = [array for array in (weight, bias, running_mean, running_var) if array is not None]
    dtype = float_dtype(x, *given)
    factor, summand = folded(weight, bias, running_mean, running_var, epsilon=epsilon, dtype=wide(dtype))
    values = widened(dtype, x)[0]
    result = np.empty(values.shape, values.dtype)
    replace(epilogue, factor=factor, summand=summand).into(values, result, axis % x.ndim)
    return rounded(result, dtype)


def folded(
    weight: Array | None,
    bias: Array | None,
    running_mean: Array,
    running_var: Array,
    *,
    epsilon: float,
    dtype: np.dtype[Any],
) -> tuple[Array, Array]:
    """The factor and the summand of :func:`batch_norm` for each channel, rounded once to `dtype`."""
    root = np.sqrt(np.add(running_var, epsilon, dtype=np.float64))
    factor = np.divide(1 if weight is None else weight, root)
    summand = np.subtract(0 if bias is None else bias, np.multiply(running_mean, factor))
    return factor.astype(dtype), summand.astype(dtype)


def layer_norm(x: Array, weight: Array | None, bias: Array | None, *, axis: Axis, epsilon: float) -> Array:
    """``(x - mean) / sqrt(var + epsilon) * weight + bias`` with mean and variance of `x` along `axis`.

    Ba et al. 2016, arXiv:1607.06450; the biased variance, as in ``torch.nn.functional.layer_norm``.

    Args:
        x: Any shape of at least one dimension.
        weight: ``(size of axis,)``, for several axes their sizes; or None for 1.
        bias: Like the weight; or None for 0.
        axis: The axis that is normalised, or several together.
        epsilon: Added to the variance.

    Returns:
        A new array of the shape of `x` in the float dtype that input and parameters share.
    """
    dtype = float_dtype(x, *(array for array in (weight, bias) if array is not None))
    (values,) = widened(dtype, x)
    result = _standardised(values, axis, epsilon)
    if weight is not None:
        result *= _placed(widened(dtype, weight)[0], axis, x.ndim)
    if bias is not None:
        result += _placed(widened(dtype, bias)[0], axis, x.ndim)
    return rounded(result, dtype)


def rms_norm(x: Array, weight: Array | None, *, axis: Axis, epsilon: float) -> Array:
    """``x / sqrt(mean(x^2) + epsilon) * weight`` with the mean along `axis`.

    Zhang and Sennrich 2019, arXiv:1910.07467; as ``torch.nn.functional.rms_norm``.

    Args:
        x: Any shape of at least one dimension.
        weight: ``(size of axis,)``, for several axes their sizes; or None for 1.
        axis: The axis that is normalised, or several together.
        epsilon: Added to the mean square.

    Returns:
        A new array of the shape of `x` in the float dtype that input and weight share.
    """
    dtype = float_dtype(x, *(() if weight is None else (weight,)))
    (values,) = widened(dtype, x)
    if not x.size:
        return values.astype(dtype)
    square = np.mean(np.square(values), axis=axis, keepdims=True)
    result = values / np.sqrt(square + values.dtype.type(epsilon))
    if weight is not None:
        result *= _placed(widened(dtype, weight)[0], axis, x.ndim)
    return rounded(result, dtype)


def group_norm(x: Array, weight: Array | None, bias: Array | None, *, groups: int, axis: int, epsilon: float) -> Array:
    """:func:`layer_norm` of each item and group of channels, with weight and bias for each channel.

    Wu and He 2018, arXiv:1803.08494; as ``torch.nn.functional.group_norm``, and as many groups as channels as
    ``torch.nn.functional.instance_norm``.

    Args:
        x: ``(batch, ...)`` with channels at `axis`.
        weight: ``(channels,)``, or None for 1.
        bias: ``(channels,)``, or None for 0.
        groups: Into how many groups of neighbours the channels are divided.
        axis: The axis of the channels.
        epsilon: Added to the variance.

    Returns:
        A new array of the shape of `x` in the float dtype that input and parameters share.
    """
    dtype = float_dtype(x, *(array for array in (weight, bias) if array is not None))
    (values,) = widened(dtype, x)
    if not x.size:
        return values.astype(dtype)
    moved = np.moveaxis(values, axis, 1)
    rows = moved.reshape(len(x) * groups, -1)
    whole = np.empty(rows.shape, rows.dtype)
    scale, shift = (None if each is None else widened(dtype, each)[0].reshape(groups, -1) for each in (weight, bias))

    def standardise(first: int) -> None:
        some = slice(first, first + several)
        _standardise_rows(rows[some], whole[some], np.arange(len(rows))[some] % groups, scale, shift, epsilon)

    with threads_if(x.size >= WORTH):
        several = max(1, piece_of(x.size) // rows.shape[1])
        share(lambda: standardise, range(0, len(rows), several))
    return rounded(np.moveaxis(whole.reshape(moved.shape), 1, axis), dtype)


def _standardise_rows(
    rows: Array, out: Array, groups: Array, weight: Array | None, bias: Array | None, epsilon: float
) -> None:
    """Normalise each of some rows that stay in the cache, or long ones piece by piece.

    Args:
        rows: ``(rows, size)``.
        out: Likewise, filled here.
        groups: The group of each row.
        weight: ``(groups, channels of a group)``, or None.
        bias: Likewise.
        epsilon: Added to the variance.
    """
    size = rows.shape[1]
    piece = max(PIECE, -(-size // (2 * parts() * FEW)) * FEW)
    pieces = [slice(start, start + piece) for start in range(0, size, piece)]
    # Of each piece and row, in float64: its sum, and the sum of its squares.
    sums, squares = np.empty((2, len(pieces), len(rows)))

    def add_up(place: int) -> None:
        sums[place] = _sum(rows[:, pieces[place]])
        squares[place] = _sum_of_squares(rows[:, pieces[place]])

    def centre(place: int) -> None:
        centred = np.subtract(rows[:, pieces[place]], first, out=out[:, pieces[place]])
        sums[place] = _sum(centred)
        squares[place] = _sum_of_squares(centred)

    share(lambda: add_up, range(len(pieces)))
    mean, power = sums.sum(axis=0) / size, squares.sum(axis=0) / size
    source = rows
    # Where too little of the squares is the variance, it would be what rounding has left of them.
    is_far = ~(np.isfinite(power) & (2 * mean**2 <= power))
    if is_far.any():
        # From the others nothing is subtracted: what a row becomes does not depend on those beside it.
        first = np.where(is_far, mean, 0).astype(rows.dtype)[:, None]
        share(lambda: centre, range(len(pieces)))
        # The mean once more, for the first one is rounded: where all values are alike, that error would be all.
        mean, power = sums.sum(axis=0) / size, squares.sum(axis=0) / size
        source = out
    factor = (1 / np.sqrt(np.maximum(power - mean**2, 0) + epsilon))[:, None]
    if weight is not None:
        factor = factor * weight[groups]
    summand = -mean[:, None] * factor
    if bias is not None:
        summand = summand + bias[groups]
    factor = np.broadcast_to(factor, summand.shape).astype(rows.dtype).reshape(-1)
    whole, target = (each.reshape(summand.size, -1) for each in (source, out))
    Epilogue(factor, summand.astype(rows.dtype).reshape(-1)).into(whole, target, 0)


def _sum(rows: Array) -> Array:
    """``(rows,)`` in float64."""
    several, rest = _in_parts(rows)
    ones = np.ones(FEW, rows.dtype)
    with np.errstate(invalid="ignore"):  # BLAS was seen to say so of numbers that are all finite
        # Row by row: what BLAS's product of a matrix gives for a row depends on where it lies.
        found: Array = np.vecdot(several, ones).sum(axis=1, dtype=np.float64)
        found += np.vecdot(rest, ones[: rest.shape[1]])
    return found


def _sum_of_squares(rows: Array) -> Array:
    """``(rows,)`` in float64."""
    several, rest = _in_parts(rows)
    with np.errstate(over="ignore"):
        total: Array = np.vecdot(several, several).sum(axis=1, dtype=np.float64) + np.vecdot(rest, rest)
    return total


def _in_parts(rows: Array) -> tuple[Array, Array]:
    """Views ``(rows, parts, FEW)`` of rows, and what is left of them: sums of few numbers are rounded less."""
    whole = rows.shape[1] // FEW * FEW
    return rows[:, :whole].reshape(len(rows), -1, FEW), rows[:, whole:]


def embed(indices: Array, weight: Array) -> Array:
    """The rows of `weight` that `indices` name.

    Args:
        indices: Any shape, any integer dtype, from 0 to rows - 1.
        weight: ``(rows, width)``.

    Returns:
        A new array ``(*indices.shape, width)`` of the dtype of `weight`.

    Raises:
        TypeError: The indices are not integers.
        ValueError: An index names no row.
    """
    if indices.dtype.kind not in "iu":
        raise TypeError(f"expected integer indices, found {indices.dtype}")
    # NumPy would take negative indices from the end.
    if indices.size and (indices.min() < 0 or indices.max() >= len(weight)):
        raise ValueError(f"expected indices from 0 to {len(weight) - 1}, found {indices.min()} to {indices.max()}")
    return np.take(weight, indices, axis=0)


def _standardised(values: Array, axis: Axis, epsilon: float) -> Array:
    """``(values - mean) / sqrt(var + epsilon)`` along `axis`, a new array."""
    if not values.size:
        return values.copy()
    result: Array = values - np.mean(values, axis=axis, keepdims=True)
    # Again, for the first mean is rounded: where all values are alike, that error would be all that remains.
    result -= np.mean(result, axis=axis, keepdims=True)
    result /= np.sqrt(_mean_square(result, axis) + values.dtype.type(epsilon))
    return result


def _mean_square(values: Array, axis: Axis) -> Array:
    """The mean of the squares along `axis`, which is kept; of one long axis piece by piece, without all squares."""
    if values.size <= PIECE or axis not in (-1, values.ndim - 1):
        mean: Array = np.mean(np.square(values), axis=axis, keepdims=True)
        return mean
    size = values.shape[-1]
    piece = max(1, PIECE * size // values.size)
    total = np.zeros((*values.shape[:-1], 1))
    for first in range(0, size, piece):
        total += np.sum(np.square(values[..., first : first + piece]), axis=-1, keepdims=True)
    rounded_once: Array = (total / size).astype(values.dtype)
    return rounded_once


def _along(axis: int, rank: int) -> Sequence[int]:
    shape = [1] * rank
    shape[axis] = -1
    return shape


def _placed(array: Array, axis: Axis, rank: int) -> Array:
    """A parameter whose axes are those of an array of `rank`, so that it broadcasts with it."""
    if isinstance(axis, int):
        return array.reshape(_along(axis, rank))
    axes = [each % rank for each in axis]
    shape = [1] * rank
    for each, size in zip(axes, array.shape, strict=True):
        shape[each] = size
    return array.transpose(np.argsort(axes)).reshape(shape)
