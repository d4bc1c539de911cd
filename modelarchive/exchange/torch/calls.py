"""The table of calls: PyTorch's functions and methods of tensors, as functions of the vocabulary on symbols."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch

from modelarchive import ops
from modelarchive.exchange.torch import shaping
from modelarchive.exchange.torch.promotion import cast, floating, promoted
from modelarchive.exchange.torch.proxy import CannotError
from modelarchive.exchange.torch.tensors import NAMES, torch_dtype
from modelarchive.nn.dim import Dim
from modelarchive.nn.symbol import Symbol

_Extreme = namedtuple("_Extreme", ["values", "indices"])


def _binary(function: Callable[..., Any], *, real: bool = False) -> Callable[..., Any]:
    def call(x: Any, y: Any) -> Any:
        return function(*promoted(x, y, real=real))

    return call


def _real(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, **ignored: Any) -> Any:
        return function(floating(x))

    return call


def _scaled(function: Callable[..., Any], *, swapped: bool = False) -> Callable[..., Any]:
    def call(x: Any, y: Any, *, alpha: Any = 1) -> Any:
        x, y = (y, x) if swapped else (x, y)
        y = y if alpha == 1 else ops.multiply(y, alpha)
        return function(*promoted(x, y))

    return call


def _divide(x: Any, y: Any, *, rounding_mode: Any = None) -> Any:
    if isinstance(x, Dim) or isinstance(y, Dim):
        raise CannotError("a division by a size that is not fixed")
    if rounding_mode is not None:
        raise CannotError(f"a division rounded by {rounding_mode!r}")
    return ops.divide(*promoted(x, y, real=True))


def axes(dim: Any) -> Any:
    """An axis, axes, or None for all (PyTorch also writes an empty list)."""
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return None
    return tuple(dim) if isinstance(dim, list | tuple) else dim


def _reduction(function: Callable[..., Any], *, real: bool = False) -> Callable[..., Any]:
    def call(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        x = x if dtype is None else cast(x, dtype)
        return function(floating(x) if real else x, axis=axes(dim), keepdims=keepdim)

    return call


def _extreme(name: str) -> Callable[..., Any]:
    whole, pair = getattr(ops, name), {"max": ops.maximum, "min": ops.minimum}[name]

    def call(x: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        other = dim if isinstance(dim, Symbol | np.ndarray) else other
        if other is not None:
            return pair(*promoted(x, other))
        if dim is None:
            return whole(x)
        places = ops.argmax(x if name == "max" else ops.negative(x), axis=dim, keepdims=keepdim)
        return _Extreme(whole(x, axis=dim, keepdims=keepdim), places)

    return call


def _var(x: Any, dim: Any = None, unbiased: Any = True, keepdim: bool = False, *, correction: Any = None) -> Any:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    ddof = int(unbiased) if correction is None else correction
    return ops.var(x, axis=axes(dim), keepdims=keepdim, ddof=ddof)


def _std(*args: Any, **kwargs: Any) -> Any:
    return ops.sqrt(_var(*args, **kwargs))


def _norm(x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, **ignored: Any) -> Any:
    if p not in ("fro", 2, 2.0, None):
        raise CannotError(f"a norm of order {p!r}")
    return ops.sqrt(ops.sum(ops.multiply(x, x), axis=axes(dim), keepdims=keepdim))


def _normalize(x: Any, p: Any = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None) -> Any:
    return ops.divide(x, ops.maximum(_norm(x, p, dim, True), eps))


def _logsumexp(x: Any, dim: Any, keepdim: bool = False) -> Any:
    x = floating(x)
    largest = ops.max(x, axis=axes(dim), keepdims=True)
    # What is infinite stays so: infinity less infinity is no number.
    largest = ops.where(ops.less(ops.abs(largest), np.inf), largest, np.zeros((), x.dtype))
    total = ops.add(ops.log(ops.sum(ops.exp(ops.subtract(x, largest)), axis=axes(dim), keepdims=True)), largest)
    return total if keepdim else ops.squeeze(total, axis=axes(dim))


def _cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    one, two = promoted(x1, x2, real=True)
    if one.shape != two.shape:  # lengths are those of what is stretched
        one, two = ops.multiply(one, _full_like(1)(two)), ops.multiply(two, _full_like(1)(one))
    sizes = [ops.maximum(_norm(each, 2, dim), eps) for each in (one, two)]
    return ops.divide(ops.sum(ops.multiply(one, two), axis=dim), ops.multiply(*sizes))


def _triangle(keep: Callable[..., np.ndarray]) -> Callable[..., Any]:
    def call(x: Any, diagonal: int = 0) -> Any:
        sizes = x.shape[-2:]
        if not all(isinstance(size, int) for size in sizes):
            raise CannotError("a triangle of a matrix whose sizes are not fixed")
        return ops.where(keep(np.ones(sizes, bool), diagonal), x, np.zeros((), x.dtype))

    return call


def _clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    if any(isinstance(bound, Symbol | np.ndarray) for bound in (min, max)):
        x = x if min is None else ops.maximum(*promoted(x, min))
        return x if max is None else ops.minimum(*promoted(x, max))
    return ops.clip(x, low=min, high=max)


def _softmax(x: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    if dim is None:
        raise CannotError("softmax without dim")
    return ops.softmax(floating(x if dtype is None else cast(x, dtype)), axis=dim)


def _log_softmax(x: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    if dim is None:
        raise CannotError("log_softmax without dim")
    return layer("LogSoftmax", floating(x if dtype is None else cast(x, dtype)), axis=dim)


def layer(kind: str, x: Any, **config: Any) -> Any:
    """Call a layer of the vocabulary that has no parameters."""
    if not isinstance(x, Symbol):
        raise CannotError(f"{kind} of a constant")
    return x.__record_block__(kind, (x,), config)


def _where(condition: Any, x: Any, y: Any) -> Any:
    return ops.where(condition, *promoted(x, y))


def _masked_fill(x: Any, mask: Any, value: Any) -> Any:
    return ops.where(mask, np.asarray(value, x.dtype) if isinstance(value, int | float) else cast(value, x.dtype), x)


def _gather(x: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    return ops.gather(x, index, axis=dim)


def _index_select(x: Any, dim: int, index: Any) -> Any:
    return ops.take(x, index, axis=dim)


def _to(x: Any, *args: Any, **kwargs: Any) -> Any:
    for each in (*args, kwargs.get("dtype"), kwargs.get("other")):
        if isinstance(each, torch.dtype):
            return cast(x, each)
        if isinstance(each, Symbol | np.ndarray):
            return cast(x, torch_dtype(each.dtype))
    return x


def _size(x: Any, dim: Any = None) -> Any:
    return tuple(x.shape) if dim is None else x.shape[dim]


def _count(x: Any) -> Any:
    if isinstance(x.size, int):
        return x.size
    return ops.reshape(x, shape=[-1]).shape[0]  # a size that is not fixed is that of an array


def _full_like(value: float) -> Callable[..., Any]:
    def call(x: Any, *, dtype: Any = None, **ignored: Any) -> Any:
        wanted = torch_dtype(x.dtype) if dtype is None else dtype
        return ops.broadcast_to(np.asarray(value, NAMES[wanted]), x, shape=x.shape)

    return call


def _matmul(x: Any, y: Any) -> Any:
    return ops.matmul(*promoted(x, y))


def _addmm(x: Any, one: Any, other: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    if beta != 1 or alpha != 1:
        raise CannotError("addmm with factors")
    return ops.add(ops.matmul(one, other), x)


def _einsum(pattern: str, *operands: Any) -> Any:
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    return ops.einsum(promoted(*given), pattern=ops.contraction.normal_pattern(pattern, [x.ndim for x in given]))


def _pow(x: Any, exponent: Any) -> Any:
    return ops.power(*promoted(x, exponent))


def _same(x: Any, *args: Any, **kwargs: Any) -> Any:
    return x


def _not(x: Any) -> Any:
    return np.logical_not(x)


#: Name of a function of torch, torch.nn.functional or torch.Tensor -> what it means. A new one is a row.
CALLS: Final[dict[str, Callable[..., Any]]] = {
    **shaping.SHAPING,
    "abs": ops.abs, "absolute": ops.abs, "neg": ops.negative, "negative": ops.negative, "positive": _same,
    "exp": _real(ops.exp), "log": _real(ops.log), "sqrt": _real(ops.sqrt), "rsqrt": _real(ops.rsqrt),
    "sin": _real(ops.sin), "cos": _real(ops.cos), "erf": _real(ops.erf),
    "square": lambda x: ops.multiply(x, x), "reciprocal": lambda x: ops.divide(1, floating(x)),
    "add": _scaled(ops.add), "sub": _scaled(ops.subtract), "subtract": _scaled(ops.subtract),
    "rsub": _scaled(ops.subtract, swapped=True), "mul": _binary(ops.multiply), "multiply": _binary(ops.multiply),
    "div": _divide, "divide": _divide, "true_divide": _divide, "pow": _pow,
    "maximum": _binary(ops.maximum), "minimum": _binary(ops.minimum), "max": _extreme("max"), "min": _extreme("min"),
    "amax": _reduction(ops.max), "amin": _reduction(ops.min), "sum": _reduction(ops.sum),
    "mean": _reduction(ops.mean, real=True), "var": _var, "std": _std, "norm": _norm, "normalize": _normalize,
    "logsumexp": _logsumexp, "cosine_similarity": _cosine_similarity, "tril": _triangle(np.tril),
    "triu": _triangle(np.triu),
    "argmax": lambda x, dim=None, keepdim=False: ops.argmax(x, axis=dim, keepdims=keepdim),
    "cumsum": lambda x, dim, dtype=None: ops.cumsum(x, axis=dim),
    "clamp": _clamp, "clip": _clamp, "clamp_min": lambda x, min: _clamp(x, min), "softmax": _softmax,
    "clamp_max": lambda x, max: _clamp(x, None, max), "log_softmax": _log_softmax,
    "eq": lambda x, y: x == y, "ne": lambda x, y: x != y, "gt": lambda x, y: x > y, "ge": lambda x, y: x >= y,
    "lt": lambda x, y: x < y, "le": lambda x, y: x <= y, "logical_not": _not, "bitwise_not": _not,
    "logical_and": lambda x, y: np.logical_and(x, y), "logical_or": lambda x, y: np.logical_or(x, y),
    "where": _where, "masked_fill": _masked_fill, "gather": _gather, "index_select": _index_select, "mm": _matmul,
    "bmm": _matmul, "mv": _matmul, "dot": _matmul, "matmul": _matmul, "einsum": _einsum, "addmm": _addmm,
    "zeros_like": _full_like(0), "ones_like": _full_like(1), "to": _to, "type": _to, "type_as": _to,
    "float": lambda x: cast(x, torch.float32), "double": lambda x: cast(x, torch.float64),
    "half": lambda x: cast(x, torch.float16), "bfloat16": lambda x: cast(x, torch.bfloat16),
    "long": lambda x: cast(x, torch.int64), "int": lambda x: cast(x, torch.int32),
    "bool": lambda x: cast(x, torch.bool), "size": _size, "dim": lambda x: x.ndim, "numel": _count,
    "nelement": _count, "is_floating_point": lambda x: torch_dtype(x.dtype).is_floating_point,
    "is_complex": lambda x: x.dtype.kind == "c",
    "contiguous": _same, "clone": _same, "detach": _same, "cpu": _same, "cuda": _same, "requires_grad_": _same,
}  # fmt: skip
#: Those whose result may be on the memory of their first argument.
VIEWS: Final = frozenset(
    {
        "getitem", "__getitem__", "reshape", "view", "flatten", "unflatten", "reshape_as", "view_as", "ravel",
        "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "squeeze", "unsqueeze", "expand",
        "expand_as", "broadcast_to", "split", "chunk", "unbind", "select", "narrow", "to", "type", "type_as", "float",
        "double", "half", "bfloat16", "long", "int", "bool", "contiguous", "detach", "cpu", "cuda", "requires_grad_",
        "positive", "dropout",
    }
)  # fmt: skip
