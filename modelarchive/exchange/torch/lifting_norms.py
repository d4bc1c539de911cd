"""ATen operators that normalise and measure, in ops: with weights that are computed, by a batch's own statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context
from modelarchive.exchange.torch.lifting_shapes import reshaped
from modelarchive.exchange.torch.recorded import cast, is_array
from modelarchive.nn.dim import Dim
from modelarchive.ops.precision import wide


def _normalised(x: Any, axes: Sequence[int], epsilon: float) -> tuple[Any, Any, Any]:
    """What is left without mean and deviation, computed in float32 at least; the mean, and 1 by the deviation."""
    x = cast(x, wide(x.dtype))
    mean = ops.mean(x, axis=tuple(axes), keepdims=True)
    scale = ops.rsqrt(ops.add(ops.var(x, axis=tuple(axes), keepdims=True, ddof=0), epsilon))
    return ops.multiply(ops.subtract(x, mean), scale), mean, scale


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    x = x if weight is None else ops.multiply(x, weight)
    return x if bias is None else ops.add(x, bias)


def _placed(value: Any, rank: int) -> Any:
    """A number for each channel, beside arrays (batch, channels, ...)."""
    return value if value is None or rank < 3 else ops.expand_dims(value, axis=tuple(range(1, rank - 1)))


def _batch_norm(
    context: Context,
    x: Any,
    *,
    weight: Any = None,
    bias: Any = None,
    running_mean: Any = None,
    running_var: Any = None,
    training: bool = False,
    use_input_stats: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if running_mean is not None and not training:
        scale = ops.rsqrt(ops.add(_placed(running_var, x.ndim), eps))
        found = ops.multiply(ops.subtract(x, _placed(running_mean, x.ndim)), scale)
    else:
        found = _normalised(x, [axis for axis in range(x.ndim) if axis != 1], eps)[0]
    return _affine(found, _placed(weight, x.ndim), _placed(bias, x.ndim))


def _inference(context: Context, x: Any, **more: Any) -> tuple[Any, None, None]:
    """By statistics that are given; those of the input, which are asked for in training alone, are none."""
    return _batch_norm(context, x, **more), None, None


def _instance_norm(
    context: Context, x: Any, *, weight: Any = None, bias: Any = None, eps: float = 1e-5, **ignored: Any
) -> Any:
    found = _normalised(x, range(2, x.ndim), eps)[0]
    return _affine(found, _placed(weight, x.ndim), _placed(bias, x.ndim))


def _layer_norm(
    context: Context, x: Any, *, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    found, mean, scale = _normalised(x, range(x.ndim - len(normalized_shape), x.ndim), eps)
    return _affine(found, weight, bias), mean, scale


def _rms_norm(context: Context, x: Any, *, normalized_shape: Any, weight: Any = None, eps: Any = None) -> Any:
    if eps is None:
        eps = torch.finfo(context.node.args[0].meta["val"].dtype).eps
    x = cast(x, wide(x.dtype))
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    square = ops.mean(ops.multiply(x, x), axis=axes, keepdims=True)
    return _affine(ops.multiply(x, ops.rsqrt(ops.add(square, eps))), weight, None)


def _group_norm(
    context: Context,
    x: Any,
    *,
    num_groups: Any = None,
    group: Any = None,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    **ignored: Any,
) -> Any:
    groups = group if num_groups is None else num_groups
    batch, channels, *spatial = x.shape
    grouped = reshaped(x, [batch, groups, channels // groups, *spatial])
    found = reshaped(_normalised(grouped, range(2, grouped.ndim), eps)[0], list(x.shape))
    return _affine(found, _placed(weight, x.ndim), _placed(bias, x.ndim))


def _one_of(row: Callable[..., Any]) -> Callable[..., Any]:
    return lambda context, x, **given: row(context, x, **given)[0]


def _prelu(context: Context, x: Any, *, weight: Any) -> Any:
    if weight.ndim and not (isinstance(weight.shape[0], int) and weight.shape[0] == 1):
        weight = _placed(weight, x.ndim)
    zero = np.zeros((), x.dtype)
    return ops.add(ops.maximum(x, zero), ops.multiply(weight, ops.minimum(x, zero)))


# ---------------------------------------------------------------------- lengths and distances


def length(x: Any, order: float, axis: Any, *, keepdims: bool) -> Any:
    """The norm of an order over axes; None: over all of them. Of narrow floats it is float32, as sums are."""
    x = cast(x, wide(x.dtype))
    size = ops.abs(x)
    if order == math.inf:
        return ops.max(size, axis=axis, keepdims=keepdims)
    if order == -math.inf:
        return ops.min(size, axis=axis, keepdims=keepdims)
    if order == 0:
        return ops.sum(cast(np.logical_not(ops.equal(x, 0)), x.dtype), axis=axis, keepdims=keepdims)
    if order == 1:
        return ops.sum(size, axis=axis, keepdims=keepdims)
    if order == 2:
        return ops.sqrt(ops.sum(ops.multiply(x, x), axis=axis, keepdims=keepdims))
    return ops.power(ops.sum(ops.power(size, order), axis=axis, keepdims=keepdims), 1 / order)


def _norm(
    context: Context, x: Any, *, ord: Any = 2, p: Any = None, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Any:
    axis = None if dim is None or dim == [] else tuple(dim) if isinstance(dim, list | tuple) else dim
    order = ord if p is None else p
    if not isinstance(order, int | float):
        raise Refusal(f"a norm of order {order!r}")
    return length(cast(x, context.dtype), order, axis, keepdims=keepdim)


def _distances(context: Context, x1: Any, *, x2: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    """The distance of each row of one array from each of another."""
    away = ops.subtract(ops.expand_dims(x1, axis=x1.ndim - 1), ops.expand_dims(x2, axis=x2.ndim - 2))
    return length(away, p, -1, keepdims=False)


def _pairwise(context: Context, x1: Any, *, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    return length(ops.add(ops.subtract(x1, x2), eps), p, -1, keepdims=keepdim)


def _all_pairs(context: Context, x: Any, *, p: float = 2.0) -> Any:
    """The distance of each row from each later one."""
    number = x.shape[0]
    if isinstance(number, Dim):
        raise Refusal("pdist of rows whose number is not fixed")
    one, other = np.triu_indices(number, 1)
    away = ops.subtract(ops.take(x, one, axis=0), ops.take(x, other, axis=0))
    return length(away, p, -1, keepdims=False)


def _variance(
    context: Context, x: Any, *, dim: Any = None, keepdim: bool = False, correction: Any = None, unbiased: bool = True
) -> Any:
    """The variance, with any correction."""
    axis = None if dim is None or dim == [] else tuple(dim) if isinstance(dim, list | tuple) else dim
    x = cast(x, wide(x.dtype))
    correction = int(unbiased) if correction is None else correction
    if correction in (0, 1):
        return ops.var(x, axis=axis, keepdims=keepdim, ddof=int(correction))
    sizes = x.shape if axis is None else [x.shape[at] for at in (axis if isinstance(axis, tuple) else (axis,))]
    if any(isinstance(size, Dim) for size in sizes):
        raise Refusal(f"a variance with the correction {correction} over an axis whose size is not fixed")
    number = math.prod(sizes)
    found = ops.var(x, axis=axis, keepdims=keepdim, ddof=0)
    return ops.multiply(found, number / max(number - correction, 0) if number > correction else math.inf)


def _deviation(context: Context, x: Any, **more: Any) -> Any:
    return ops.sqrt(_variance(context, x, **more))


def _with_mean(row: Callable[..., Any]) -> Callable[..., Any]:
    def both(context: Context, x: Any, **more: Any) -> Any:
        dim = more.get("dim")
        axis = None if dim is None or dim == [] else tuple(dim) if isinstance(dim, list | tuple) else dim
        return row(context, x, **more), ops.mean(x, axis=axis, keepdims=more.get("keepdim", False))

    return both


def _renormalised(context: Context, x: Any, *, p: Any, dim: int, maxnorm: Any) -> Any:
    """Parts whose norm is larger made so short."""
    axes = tuple(axis for axis in range(x.ndim) if axis != dim % x.ndim)
    size = length(x, p, axes, keepdims=True)
    factor = ops.where(ops.greater(size, maxnorm), ops.divide(maxnorm, ops.add(size, 1e-7)), np.ones((), size.dtype))
    return ops.multiply(x, cast(factor, x.dtype)) if is_array(x) else x


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _inference,
    "instance_norm": _instance_norm,
    "layer_norm": _one_of(_layer_norm),
    "native_layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    **dict.fromkeys(("linalg_vector_norm", "norm"), _norm),
    **dict.fromkeys(("cdist", "_cdist_forward", "_euclidean_dist"), _distances),
    "pairwise_distance": _pairwise,
    **dict.fromkeys(("pdist", "_pdist_forward"), _all_pairs),
    "var": _variance,
    "std": _deviation,
    "var_mean": _with_mean(_variance),
    "std_mean": _with_mean(_deviation),
    "renorm": _renormalised,
}
