"""The table of calls, its functions that move elements: shapes, axes, parts, joins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch

from modelarchive import dtypes, ops
from modelarchive.exchange.torch.promotion import promoted
from modelarchive.exchange.torch.proxy import CannotError
from modelarchive.exchange.torch.tensors import NAMES
from modelarchive.nn.dim import Dim
from modelarchive.nn.recording import RECORDER
from modelarchive.nn.symbol import Symbol


def _sizes(first: Any, rest: Sequence[Any]) -> list[Any]:
    return list(first) if isinstance(first, list | tuple) else [first, *rest]


def reshape(x: Any, shape: Any, *more: Any) -> Any:
    """In another shape, which may have sizes that are not fixed."""
    if isinstance(shape, torch.dtype):
        raise CannotError("a view of the bits as another dtype")
    return ops.reshape(x, shape=_sizes(shape, more))


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Axes merged into one."""
    rank = x.ndim
    if rank == 0:
        return ops.reshape(x, shape=[1])
    start, end = start_dim % rank, end_dim % rank
    if start == 1 and end == rank - 1:
        return ops.flatten(x)
    merged = math.prod(x.shape[start : end + 1]) if _are_ints(x.shape[start : end + 1]) else -1
    return ops.reshape(x, shape=[*x.shape[:start], merged, *x.shape[end + 1 :]])


def _are_ints(sizes: Sequence[Any]) -> bool:
    return all(isinstance(size, int) for size in sizes)


def unflatten(x: Any, dim: int, sizes: Sequence[Any]) -> Any:
    """One axis as several."""
    dim %= x.ndim
    return ops.reshape(x, shape=[*x.shape[:dim], *sizes, *x.shape[dim + 1 :]])


def permute(x: Any, dims: Any, *more: Any) -> Any:
    """The axes in another order."""
    return ops.transpose(x, axes=_sizes(dims, more))


def transpose(x: Any, dim0: int, dim1: int) -> Any:
    """Two axes exchanged."""
    order = list(range(x.ndim))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return ops.transpose(x, axes=order)


def movedim(x: Any, source: Any, destination: Any) -> Any:
    """Axes at other places."""
    return ops.transpose(x, axes=_moved(list(range(x.ndim)), source, destination))


def _moved(order: list[int], source: Any, destination: Any) -> list[int]:
    sources = [each % len(order) for each in ([source] if isinstance(source, int) else source)]
    targets = [each % len(order) for each in ([destination] if isinstance(destination, int) else destination)]
    result = [each for each in order if each not in sources]
    for target, each in sorted(zip(targets, sources, strict=True)):
        result.insert(target, each)
    return result


def squeeze(x: Any, dim: Any = None) -> Any:
    """Without axes of size 1, as far as they are."""
    if dim is None:
        return ops.squeeze(x)
    wanted = [each % max(x.ndim, 1) for each in ([dim] if isinstance(dim, int) else dim)]
    ones = tuple(each for each in wanted if isinstance(x.shape[each], int) and x.shape[each] == 1)
    return ops.squeeze(x, axis=ones) if ones else x


def unsqueeze(x: Any, dim: int) -> Any:
    """With a new axis of size 1."""
    return ops.expand_dims(x, axis=dim)


def expand(x: Any, sizes: Any, *more: Any) -> Any:
    """Stretched; -1 keeps a size."""
    wanted = _sizes(sizes, more)
    if len(wanted) > x.ndim:
        x = ops.expand_dims(x, axis=tuple(range(len(wanted) - x.ndim)))
    shape = [mine if isinstance(size, int) and size == -1 else size for size, mine in zip(wanted, x.shape, strict=True)]
    free = [at for at, size in enumerate(shape) if not isinstance(size, int)]
    if all(isinstance(x.shape[at], Dim) and x.shape[at] == shape[at] for at in free):
        return ops.broadcast_to(x, x, shape=shape)
    return ops.broadcast_to(x, _with_free_sizes(shape), shape=shape)


def _with_free_sizes(shape: Sequence[Any]) -> Any:
    """An array that has the free sizes of `shape` at their axes."""
    scope = RECORDER.get()._scopes[-1]  # type: ignore[union-attr]
    like = scope.with_shape(shape)
    if like is not None:
        return like
    free = [axis for axis, size in enumerate(shape) if isinstance(size, Dim)]
    for each in scope._symbols:
        for axis, size in enumerate(each.shape):
            if len(free) == 1 and isinstance(size, Dim) and size == shape[free[0]]:
                row = each[tuple(slice(None) if at == axis else 0 for at in range(each.ndim))]
                return ops.expand_dims(row, axis=tuple(at for at in range(len(shape)) if at != free[0]))
    raise CannotError("a new tensor of sizes that are not fixed, and that no array has")


def has_free(*values: Any) -> bool:
    """Whether a size that is not fixed is among arguments."""
    if len(values) == 1 and not isinstance(values[0], tuple | list | dict):
        return isinstance(values[0], Dim)
    return any(has_free(item) for value in values for item in (value.values() if isinstance(value, dict) else value))


def _filled(value: Any) -> Callable[..., Any]:
    def call(*size: Any, dtype: Any = None, **ignored: Any) -> Any:
        shape = list(size[0]) if len(size) == 1 and isinstance(size[0], list | tuple) else list(size)
        name = NAMES[torch.get_default_dtype() if dtype is None else dtype]
        number = np.full([1] * len(shape), value, dtypes.numpy_dtype(name))
        return ops.broadcast_to(number, _with_free_sizes(shape), shape=shape)

    return call


def _full(size: Any, fill_value: Any, **named: Any) -> Any:
    return _filled(fill_value)(size, **named)


def expand_as(x: Any, other: Any) -> Any:
    """Stretched to the shape of another."""
    return ops.broadcast_to(x, other, shape=other.shape)


def repeat(x: Any, sizes: Any, *more: Any) -> Any:
    """Side by side, so many times along each axis."""
    times = _sizes(sizes, more)
    x = ops.reshape(x, shape=[1] * (len(times) - x.ndim) + list(x.shape)) if len(times) > x.ndim else x
    for axis, number in enumerate(times):
        if not isinstance(number, int):
            raise CannotError("repeat by a size that is not fixed")
        x = x if number == 1 else ops.concatenate([x] * number, axis=axis)
    return x


def cat(tensors: Any, dim: int = 0, *, axis: Any = None) -> Any:
    """Joined along an axis."""
    return ops.concatenate(promoted(*tensors), axis=dim if axis is None else axis)


def stack(tensors: Any, dim: int = 0) -> Any:
    """Joined along a new axis."""
    return ops.stack(promoted(*tensors), axis=dim)


def split(x: Any, split_size_or_sections: Any = None, dim: int = 0, *, split_size: Any = None) -> Any:
    """Cut into parts of a size, or of several."""
    sizes = split_size if split_size_or_sections is None else split_size_or_sections
    if isinstance(sizes, int):
        total = _fixed(x, dim, "split")
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    return ops.split(x, sizes=list(sizes), axis=dim)


def _fixed(x: Any, dim: int, what: str) -> int:
    if not isinstance(x.shape[dim], int):
        raise CannotError(f"{what} along an axis whose size is not fixed")
    return x.shape[dim]  # type: ignore[no-any-return]


def chunk(x: Any, chunks: int, dim: int = 0) -> Any:
    """Cut into so many parts."""
    return split(x, -(-_fixed(x, dim, "chunk") // chunks), dim)


def unbind(x: Any, dim: int = 0) -> Any:
    """The parts along an axis."""
    before = [slice(None)] * (dim % x.ndim)
    return tuple(x[(*before, place)] for place in range(_fixed(x, dim, "unbind")))


def select(x: Any, dim: int, index: int) -> Any:
    """One part of an axis."""
    return x[(*[slice(None)] * (dim % x.ndim), index)]


def narrow(x: Any, dim: int, start: int, length: int) -> Any:
    """A run of an axis."""
    return x[(*[slice(None)] * (dim % x.ndim), slice(start, start + length))]


def getitem(x: Any, index: Any) -> Any:
    """Basic indexing, or by one array of integers."""
    if isinstance(x, np.ndarray) and isinstance(index, Symbol):
        return ops.take(x, index, axis=0)
    return x[index]


def flip(x: Any, dims: Any, *more: Any) -> Any:
    """Axes reversed."""
    index = [slice(None)] * x.ndim
    for dim in _sizes(dims, more):
        index[dim] = slice(None, None, -1)
    return x[tuple(index)]


def roll(x: Any, shifts: Any, dims: Any = None) -> Any:
    """Moved along axes, around the end."""
    if dims is None:
        raise CannotError("roll without dims")
    for shift, dim in zip(_sizes(shifts, ()), _sizes(dims, ()), strict=True):
        size = _fixed(x, dim, "roll")
        if shift % size:
            first, second = ops.split(x, sizes=[size - shift % size, shift % size], axis=dim)
            x = ops.concatenate([second, first], axis=dim)
    return x


#: Name of a function or method -> what it means.
SHAPING: Final[dict[str, Callable[..., Any]]] = {
    "reshape": reshape, "view": reshape, "flatten": flatten, "unflatten": unflatten, "permute": permute,
    "reshape_as": lambda x, other: reshape(x, other.shape), "view_as": lambda x, other: reshape(x, other.shape),
    "ravel": lambda x: ops.reshape(x, shape=[-1]), "transpose": transpose, "swapaxes": transpose,
    "swapdims": transpose, "movedim": movedim, "moveaxis": movedim, "t": lambda x: ops.transpose(x),
    "squeeze": squeeze, "unsqueeze": unsqueeze, "expand": expand, "expand_as": expand_as, "broadcast_to": expand,
    "repeat": repeat, "tile": repeat, "cat": cat, "concat": cat, "concatenate": cat, "stack": stack, "split": split,
    "chunk": chunk, "unbind": unbind, "select": select, "narrow": narrow, "getitem": getitem, "__getitem__": getitem,
    "flip": flip, "roll": roll, "zeros": _filled(0), "ones": _filled(1), "full": _full,
}  # fmt: skip
