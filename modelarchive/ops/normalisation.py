"""Normalisation at inference, and the lookup of embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelarchive.ops.precision import float_dtype, rounded, wide, widened
from modelarchive.ops.registry import Array


def batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array,
    running_var: Array,
    *,
    axis: int,
    epsilon: float,
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

    Returns:
        A new array of the shape of `x` in the float dtype that input and parameters share.
    """
    given = [array for array in (weight, bias, running_mean, running_var) if array is not None]
    dtype = float_dtype(x, *given)
    factor = 1 / np.sqrt(running_var.astype(np.float64) + epsilon)
    if weight is not None:
        factor = factor * weight.astype(np.float64)
    summand = -running_mean.astype(np.float64) * factor
    if bias is not None:
        summand = summand + bias.astype(np.float64)
    shape = _along(axis, x.ndim)
    result = widened(dtype, x)[0] * factor.astype(wide(dtype)).reshape(shape)
    result += summand.astype(wide(dtype)).reshape(shape)
    return rounded(result, dtype)


def layer_norm(x: Array, weight: Array | None, bias: Array | None, *, axis: int, epsilon: float) -> Array:
    """``(x - mean) / sqrt(var + epsilon) * weight + bias`` with mean and variance of `x` along `axis`.

    Ba et al. 2016, arXiv:1607.06450; the biased variance, as in ``torch.nn.functional.layer_norm``.

    Args:
        x: Any shape of at least one dimension.
        weight: ``(size of axis,)``, or None for 1.
        bias: ``(size of axis,)``, or None for 0.
        axis: The axis that is normalised.
        epsilon: Added to the variance.

    Returns:
        A new array of the shape of `x` in the float dtype that input and parameters share.
    """
    dtype = float_dtype(x, *(array for array in (weight, bias) if array is not None))
    shape = _along(axis, x.ndim)
    (values,) = widened(dtype, x)
    result = values - np.mean(values, axis=axis, keepdims=True)
    variance = np.mean(np.square(result), axis=axis, keepdims=True)
    result /= np.sqrt(variance + values.dtype.type(epsilon))
    if weight is not None:
        result *= widened(dtype, weight)[0].reshape(shape)
    if bias is not None:
        result += widened(dtype, bias)[0].reshape(shape)
    return rounded(result, dtype)


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


def _along(axis: int, rank: int) -> Sequence[int]:
    shape = [1] * rank
    shape[axis] = -1
    return shape
