"""ATen operators over axes and pairs of arrays, in ops: sums, products of matrices, norms, attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, counted, same
from modelarchive.exchange.torch.lifting_elementwise import truth
from modelarchive.exchange.torch.lifting_shapes import bound, exchanged, reshaped, stretched
from modelarchive.exchange.torch.lifting_sizes import number_of
from modelarchive.exchange.torch.recorded import cast
from modelarchive.nn.dim import Dim


def axes(dim: Any) -> Any:
    """An axis, axes, or None for all (PyTorch also writes an empty list)."""
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return None
    return tuple(dim) if isinstance(dim, list | tuple) else dim


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    def row(context: Context, x: Any, *, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
        return function(cast(x, context.dtype), axis=axes(dim), keepdims=keepdim)

    return row


def _extreme(name: str) -> Callable[..., Any]:
    whole, pair = getattr(ops, name), {"max": ops.maximum, "min": ops.minimum}[name]

    def row(context: Context, x: Any, *, dim: Any = None, keepdim: bool = False, other: Any = None) -> Any:
        if other is not None:
            return pair(*context.operands(x, other))
        if dim is None:
            return whole(x)
        places = ops.argmax(x if name == "max" else _turned(x), axis=dim, keepdims=keepdim)
        return whole(x, axis=dim, keepdims=keepdim), places

    return row


def _place(name: str) -> Callable[..., Any]:
    def row(context: Context, x: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
        x = cast(x, "int64") if x.dtype.kind == "b" else x
        return ops.argmax(x if name == "max" else _turned(x), axis=dim, keepdims=keepdim)

    return row


def _turned(x: Any) -> Any:
    """The largest as the smallest; of integers without a number that has no negative."""
    if x.dtype.kind not in "biu":
        return ops.negative(x)
    return ops.subtract(-1, cast(x, "int64"))


def _truths(name: str) -> Callable[..., Any]:
    def row(context: Context, x: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
        numbers = cast(truth(x), "uint8")
        found = getattr(ops, name)(numbers, axis=axes(dim), keepdims=keepdim)
        return ops.equal(found, np.asarray(1, np.uint8))

    return row


def _logsumexp(context: Context, x: Any, *, dim: Any, keepdim: bool = False) -> Any:
    x = cast(x, context.dtype)
    largest = ops.max(x, axis=axes(dim), keepdims=True)
    # What is infinite stays so: infinity less infinity is no number.
    largest = ops.where(ops.less(ops.abs(largest), np.inf), largest, np.zeros((), x.dtype))
    total = ops.add(ops.log(ops.sum(ops.exp(ops.subtract(x, largest)), axis=axes(dim), keepdims=True)), largest)
    return total if keepdim else ops.squeeze(total, axis=axes(dim))


def _cumsum(context: Context, x: Any, *, dim: int, dtype: Any = None) -> Any:
    return ops.cumsum(cast(x, context.dtype), axis=dim)


def _softmax(context: Context, x: Any, *, dim: int, dtype: Any = None, half_to_float: Any = None) -> Any:
    return ops.softmax(cast(x, context.dtype), axis=dim)


def _log_softmax(context: Context, x: Any, *, dim: int, dtype: Any = None, half_to_float: Any = None) -> Any:
    return context.layer("LogSoftmax", cast(x, context.dtype), axis=dim)


def _matmul(
    context: Context, x: Any, other: Any = None, mat2: Any = None, vec2: Any = None, vec: Any = None, tensor: Any = None
) -> Any:
    others = [each for each in (other, mat2, vec2, vec, tensor) if each is not None]
    return ops.matmul(x, others[0])


def _addmm(
    context: Context,
    x: Any,
    *,
    mat1: Any = None,
    mat2: Any = None,
    batch1: Any = None,
    batch2: Any = None,
    beta: Any = 1,
    alpha: Any = 1,
) -> Any:
    product = ops.matmul(batch1 if mat1 is None else mat1, batch2 if mat2 is None else mat2)
    product = product if alpha == 1 else ops.multiply(product, alpha)
    return product if beta == 0 else ops.add(x if beta == 1 else ops.multiply(x, beta), product)


def _einsum(context: Context, equation: str, *, tensors: Sequence[Any], path: Any = None) -> Any:
    return ops.einsum(list(tensors), pattern=ops.contraction.normal_pattern(equation, [each.ndim for each in tensors]))


def linear(context: Context, x: Any, *, weight: Any, bias: Any = None) -> Any:
    """A product with weights that are no layer's."""
    found = ops.matmul(x, ops.transpose(weight))
    return found if bias is None else ops.add(found, bias)


def _attention(
    context: Context,
    query: Any,
    *,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Any:
    if dropout_p:
        raise Refusal("attention that drops in evaluation too")
    if enable_gqa and not same(query.shape[-3], key.shape[-3]):
        several = np.repeat(np.arange(key.shape[-3]), query.shape[-3] // key.shape[-3])
        key, value = (ops.take(each, several, axis=each.ndim - 3) for each in (key, value))
    if scale is None:
        size = query.shape[-1]
        scale = ops.rsqrt(cast(number_of(size), query.dtype)) if isinstance(size, Dim) else 1 / math.sqrt(size)
    scores = ops.multiply(ops.matmul(query, exchanged(key, -2, -1)), scale)
    if is_causal:
        attn_mask = _causal(query.shape[-2], key.shape[-2])
    return ops.matmul(_weights(scores, attn_mask), value)


def _causal(queries: Any, keys: Any) -> Any:
    down, across = ops.expand_dims(counted(queries), axis=1), ops.expand_dims(counted(keys), axis=0)
    return np.greater_equal(down, across)


def _weights(scores: Any, mask: Any) -> Any:
    """Softmax of what the mask leaves; of truths, a row that may attend to nothing has weights of 0."""
    if mask is None:
        return ops.softmax(scores, axis=-1)
    if mask.dtype != np.bool_:
        added = ops.add(scores, cast(mask, scores.dtype))
        if isinstance(mask, np.ndarray) and bool((mask > -np.inf).any(-1).all()):
            return ops.softmax(added, axis=-1)
        return ops.where(_sees(mask), ops.softmax(added, axis=-1), np.zeros((), scores.dtype))
    if isinstance(mask, np.ndarray) and bool(mask.any(-1).all()):
        return ops.softmax(ops.where(mask, scores, np.asarray(-np.inf, scores.dtype)), axis=-1)
    lowest = np.asarray(np.finfo(scores.dtype).min if scores.dtype.kind == "f" else -3e38, scores.dtype)
    weights = ops.softmax(ops.where(mask, scores, lowest), axis=-1)
    return ops.where(mask, weights, np.zeros((), scores.dtype))


def _sees(mask: Any) -> Any:
    """Which rows of a mask that is added leave anything; PyTorch lets the others see nothing."""
    return np.greater(ops.max(mask, axis=-1, keepdims=True), -np.inf)


def _glu(context: Context, x: Any, *, dim: int = -1) -> Any:
    one, two = ops.split(x, sizes=2, axis=dim)
    return ops.multiply(one, context.layer("Activation", two, activation="sigmoid"))


def _slice_scatter(
    context: Context, x: Any, src: Any, *, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    total = x.shape[dim]
    start = bound(0 if start is None else start, total)
    end = total if end is None or (isinstance(end, int) and end > 2**62) or same(end, total) else bound(end, total)
    src = stretched(cast(src, x.dtype), _with_size(context.shape, dim, src.shape[dim]))
    if step != 1:
        return _strided(x, src, dim, start, end, step)
    return _between(x, src, dim, start, end, total)


def _with_size(shape: Sequence[Any], dim: int, size: Any) -> list[Any]:
    return [size if at == dim % len(shape) else each for at, each in enumerate(shape)]


def _between(x: Any, src: Any, dim: int, start: Any, end: Any, total: Any) -> Any:
    """`src` between what stays before and behind."""
    if not isinstance(total, Dim):
        if isinstance(start, Dim) or isinstance(end, Dim):
            raise Refusal("a part that is assigned between places that are not fixed")
        start, end = (min(each + total if each < 0 else each, total) for each in (start, end))
    index = (slice(None),) * (dim % x.ndim)
    parts = []
    if isinstance(start, Dim) or start:
        parts.append(x[(*index, slice(0, start))])
    parts.append(src)
    if not same(end, total):
        if isinstance(end, Dim):
            raise Refusal("a part that is assigned up to a place that is not fixed")
        parts.append(x[(*index, slice(end, None))])
    return ops.concatenate(parts, axis=dim) if len(parts) > 1 else src


def _strided(x: Any, src: Any, dim: int, start: Any, end: Any, step: int) -> Any:
    total = x.shape[dim]
    if any(isinstance(each, Dim) for each in (total, start, end)):
        raise Refusal("every so many parts of an axis that is not fixed, assigned")
    places = np.arange(total)
    taken = range(*slice(start, end, step).indices(total))
    order = np.where(np.isin(places, taken), 0, places + len(taken))
    order[list(taken)] = np.arange(len(taken))
    return ops.take(ops.concatenate([src, x], axis=dim), order, axis=dim)


def _select_scatter(context: Context, x: Any, src: Any, *, dim: int, index: Any) -> Any:
    total = x.shape[dim]
    index = bound(index, total)
    if isinstance(index, Dim):
        raise Refusal("a part that is assigned at a place that is not fixed")
    index = index if isinstance(total, Dim) else index % total
    part = ops.expand_dims(cast(src, x.dtype), axis=dim % x.ndim)
    part = stretched(part, _with_size(context.shape, dim, 1))
    return _between(x, part, dim, index, total if index == -1 else index + 1, total)


def _starts(x: Any, axis: int, span: int, step: int) -> Any:
    """Where windows begin that span so many elements of an axis, of any size."""
    total = x.shape[axis]
    places = counted(total) if isinstance(total, Dim) else np.arange(total)
    return places[: -(span - 1) or None : step]


def _unfold(context: Context, x: Any, *, dimension: int, size: int, step: int) -> Any:
    axis = dimension % x.ndim
    places = ops.add(ops.expand_dims(_starts(x, axis, size, step), axis=1), np.arange(size))
    found = ops.take(x, places, axis=axis)
    return ops.transpose(found, axes=[*range(axis + 1), *range(axis + 2, found.ndim), axis + 1])


def _cosine_similarity(context: Context, x1: Any, *, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    one, two = (stretched(cast(each, context.dtype), _common(x1, x2)) for each in (x1, x2))
    sizes = [ops.maximum(ops.sqrt(ops.sum(ops.multiply(each, each), axis=dim)), eps) for each in (one, two)]
    return ops.divide(ops.sum(ops.multiply(one, two), axis=dim), ops.multiply(*sizes))


def _common(x: Any, y: Any) -> list[Any]:
    rank = max(x.ndim, y.ndim)
    pairs = zip(*([1] * (rank - each.ndim) + list(each.shape) for each in (x, y)), strict=True)
    return [two if not isinstance(one, Dim) and one == 1 else one for one, two in pairs]


def _im2col(context: Context, x: Any, *, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    pairs = [(each, each) for each in padding]
    x = ops.pad(x, padding=pairs, mode="constant", value=0) if any(padding) else x
    for axis, kernel, gap, step in zip((x.ndim - 2, x.ndim), kernel_size, dilation, stride, strict=True):
        starts = ops.expand_dims(_starts(x, axis, gap * (kernel - 1) + 1, step), axis=0)
        x = ops.take(x, ops.add(np.arange(kernel)[:, None] * gap, starts), axis=axis)
    # Of both axes the elements of a window, then the windows.
    lead, last = range(x.ndim - 4), x.ndim
    found = ops.transpose(x, axes=[*lead, last - 4, last - 2, last - 3, last - 1])
    return reshaped(found, context.shape)


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "sum": _reduction(ops.sum), "mean": _reduction(ops.mean), "amax": _reduction(ops.max), "amin": _reduction(ops.min),
    "max": _extreme("max"), "min": _extreme("min"), "argmax": _place("max"), "argmin": _place("min"),
    "any": _truths("max"), "all": _truths("min"),
    "logsumexp": _logsumexp, "cumsum": _cumsum,
    "softmax": _softmax, "_softmax": _softmax, "log_softmax": _log_softmax, "_log_softmax": _log_softmax,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), _matmul), "addmm": _addmm, "baddbmm": _addmm,
    "einsum": _einsum, "linear": linear, "scaled_dot_product_attention": _attention, "glu": _glu,
    "slice_scatter": _slice_scatter, "select_scatter": _select_scatter, "unfold": _unfold, "im2col": _im2col,
    "cosine_similarity": _cosine_similarity,
}  # fmt: skip
