"""ATen operators that move elements, in ops: shapes, axes, parts, joins, new arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from modelarchive import ops
from modelarchive.exchange.budget import spend
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, counted, same, same_shape, with_sizes
from modelarchive.exchange.torch.lifting_sizes import least, number_of
from modelarchive.exchange.torch.recorded import cast, is_array
from modelarchive.nn.dim import Dim

#: How ATen writes "to the end".
_END: Final = 2**62


def reshape(context: Context, x: Any, *ignored: Any, **more: Any) -> Any:
    """In the shape of the result."""
    if more.get("dtype") is not None:  # and no size
        raise Refusal("the bits of numbers, read as numbers of another dtype")
    return reshaped(x, context.shape)


def reshaped(x: Any, shape: Sequence[Any]) -> Any:
    """In another shape, with any number of axes that are not fixed as far as neighbours are merged or split.

    Raises:
        Refusal: An axis is split into several that are not fixed.
    """
    if same_shape(x.shape, shape):
        return x
    free = [axis for axis, size in enumerate(shape) if isinstance(size, Dim)]
    kept = [axis for axis in free if axis < x.ndim and same(x.shape[axis], shape[axis])]
    if len(free) - len(kept) <= 1:
        return ops.reshape(x, shape=list(shape))
    for before, after in _groups(list(x.shape), list(shape)):
        x = _regrouped(x, before, after)
    return x


def _pair(sizes: Sequence[Any]) -> tuple[int, int]:
    both = [size.pair if isinstance(size, Dim) else (size, size) for size in sizes]
    return math.prod(one for one, _ in both), math.prod(two for _, two in both)


def _groups(before: list[Any], after: list[Any]) -> list[tuple[tuple[int, int], list[Any]]]:
    """Runs of axes that become runs of axes, from the last: (first axis, number of axes), new sizes."""
    found = []
    i, j = len(before), len(after)
    while i or j:
        start, end = i, j
        i, j = max(i - 1, 0), max(j - 1, 0)
        while _pair(before[i:start]) != _pair(after[j:end]):
            one, other = _pair(before[i:start]), _pair(after[j:end])
            if (one < other and i) or not j:
                i -= 1
            elif j:
                j -= 1
            if i < 0:
                raise Refusal("a reshape that mixes axes that are not fixed")
        found.append(((i, start - i), after[j:end]))
    return found


def _regrouped(x: Any, run: tuple[int, int], sizes: list[Any]) -> Any:
    """A run of axes as others: the rest stands in front meanwhile, where its sizes are kept."""
    first, number = run
    if same_shape(x.shape[first : first + number], sizes):
        return x
    if sum(isinstance(size, Dim) for size in sizes) > 1:
        return _numbered(x, run, sizes)
    rest = [axis for axis in range(x.ndim) if not first <= axis < first + number]
    moved = ops.transpose(x, axes=[*rest, *range(first, first + number)])
    moved = ops.reshape(moved, shape=[*moved.shape[: len(rest)], *sizes])
    back = list(range(len(rest)))
    new = list(range(len(rest), len(rest) + len(sizes)))
    return ops.transpose(moved, axes=[*back[:first], *new, *back[first:]])


def _numbered(x: Any, run: tuple[int, int], sizes: list[Any]) -> Any:
    """A run of axes as others of which several are not fixed: each element is taken by its number in the run."""
    first, number = run
    places: Any = None
    for at, size in enumerate(sizes):
        row = ops.expand_dims(counted(size), axis=tuple(axis for axis in range(len(sizes)) if axis != at))
        places = row if places is None else ops.add(ops.multiply(places, number_of(size)), row)
    merged: Any = 1
    for size in sizes:
        merged = merged * size
    if number != 1:
        x = _regrouped(x, run, [merged])
    return ops.take(x, places, axis=first)


def _permute(context: Context, x: Any, *, dims: Sequence[int]) -> Any:
    return ops.transpose(x, axes=list(dims))


def exchanged(x: Any, one: int, other: int) -> Any:
    """Two axes exchanged."""
    order = list(range(x.ndim))
    if order:
        order[one], order[other] = order[other], order[one]
    return ops.transpose(x, axes=order)


def _transpose(context: Context, x: Any, *, dim0: int, dim1: int) -> Any:
    return exchanged(x, dim0, dim1)


def _swapaxes(context: Context, x: Any, *, axis0: int, axis1: int) -> Any:
    return exchanged(x, axis0, axis1)


def _t(context: Context, x: Any) -> Any:
    return exchanged(x, 0, 1) if x.ndim == 2 else x


def _swap(context: Context, x: Any) -> Any:
    return exchanged(x, -1, -2)


def _movedim(context: Context, x: Any, *, source: Sequence[int], destination: Sequence[int]) -> Any:
    sources = [each % x.ndim for each in _several(source)]
    order = [axis for axis in range(x.ndim) if axis not in sources]
    for place, axis in sorted(zip([each % x.ndim for each in _several(destination)], sources, strict=True)):
        order.insert(place, axis)
    return ops.transpose(x, axes=order)


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _unsqueeze(context: Context, x: Any, *, dim: int) -> Any:
    return ops.expand_dims(x, axis=dim)


def _squeeze(context: Context, x: Any, *, dim: Any = None) -> Any:
    axes = range(x.ndim) if dim is None else [each % max(x.ndim, 1) for each in _several(dim)]
    ones = tuple(each for each in axes if x.ndim and not isinstance(x.shape[each], Dim) and x.shape[each] == 1)
    return ops.squeeze(x, axis=ones) if ones else x


def stretched(x: Any, shape: Sequence[Any]) -> Any:
    """Stretched to a shape by NumPy's rule."""
    if same_shape(x.shape, shape):
        return x
    if x.ndim < len(shape):
        x = ops.expand_dims(x, axis=tuple(range(len(shape) - x.ndim)))
    free = [axis for axis, size in enumerate(shape) if isinstance(size, Dim)]
    if all(isinstance(x.shape[axis], Dim) for axis in free):
        return ops.broadcast_to(x, x, shape=list(shape))
    return ops.broadcast_to(x, with_sizes(shape), shape=list(shape))


def _expand(context: Context, x: Any, *, size: Any = None, other: Any = None, implicit: Any = None) -> Any:
    return stretched(x, context.shape)


def _copy(context: Context, x: Any, *, src: Any) -> Any:
    return stretched(cast(src, context.dtype), context.shape)


def _repeat(context: Context, x: Any, *, repeats: Sequence[Any]) -> Any:
    if x.ndim < len(repeats):
        x = ops.expand_dims(x, axis=tuple(range(len(repeats) - x.ndim)))
    for axis, times in enumerate(repeats):
        if isinstance(times, Dim):
            if isinstance(x.shape[axis], Dim) or x.shape[axis] != 1:
                places = ops.remainder(counted(context.shape[axis]), number_of(x.shape[axis]))
                x = ops.take(x, places, axis=axis)
            else:
                x = stretched(x, [times if at == axis else size for at, size in enumerate(x.shape)])
        elif times == 0:
            raise Refusal("an array that is repeated 0 times")
        elif times != 1:
            spend(f"an array that is repeated {times:,} times", steps=times)
            x = ops.concatenate([x] * times, axis=axis)
    return x


def _tile(context: Context, x: Any, *, dims: Sequence[Any]) -> Any:
    return _repeat(context, x, repeats=[1] * (x.ndim - len(dims)) + list(dims))


def _repeat_interleave(context: Context, x: Any, *, repeats: Any, dim: Any = None, output_size: Any = None) -> Any:
    if not isinstance(repeats, int | Dim):
        raise Refusal("repeats that are an array")
    x, dim = (reshaped(x, [x.size]), 0) if dim is None else (x, dim % x.ndim)
    wide = ops.expand_dims(x, axis=dim + 1)
    wide = stretched(wide, [repeats if at == dim + 1 else size for at, size in enumerate(wide.shape)])
    return reshaped(wide, context.shape)


def _cat(context: Context, tensors: Any, *, dim: int = 0) -> Any:
    dtype = context.dtype
    # PyTorch passes over empty arrays with one axis.
    found = [cast(each, dtype) for each in tensors if not (each.ndim == 1 and same_shape(each.shape, [0]))]
    return ops.concatenate(found or list(tensors), axis=dim)


def _stack(context: Context, tensors: Any, *, dim: int = 0) -> Any:
    return ops.stack([cast(each, context.dtype) for each in tensors], axis=dim)


def _split(context: Context, x: Any, *, split_size: Any = None, split_sizes: Any = None, dim: int = 0) -> Any:
    sizes = split_sizes if split_size is None else split_size
    total = x.shape[dim]
    if not isinstance(sizes, list | tuple):
        if isinstance(total, Dim) and isinstance(sizes, int) and len(context.value) > 1:
            raise Refusal("an axis that is not fixed, split into parts of a size")
        sizes = [context.sizes(each.shape[dim]) for each in context.value]
    return _parts(x, dim, sizes)


def _parts(x: Any, dim: int, sizes: Sequence[Any]) -> Any:
    """An axis as parts of some sizes, one behind the other."""
    if len(sizes) == 1:
        return (x,)
    free = [size for size in sizes if isinstance(size, Dim)]
    if len(free) == len(sizes) and all(same(each, sizes[0]) for each in sizes):
        return ops.split(x, sizes=len(sizes), axis=dim)
    if len(free) <= 1:
        return ops.split(x, sizes=[-1 if isinstance(size, Dim) else size for size in sizes], axis=dim)
    start: Any = 0
    found = []
    for size in sizes:
        found.append(_run(x, dim, size, start))
        start = ops.add(number_of(size), start)
    return tuple(found)


def _chunk(context: Context, x: Any, *, chunks: int, dim: int = 0) -> Any:
    return _parts(x, dim, [context.sizes(each.shape[dim]) for each in context.value])


def _unbind(context: Context, x: Any, *, dim: int = 0) -> Any:
    if isinstance(x.shape[dim], Dim):
        raise Refusal("the parts of an axis that is not fixed")
    return tuple(picked(x, dim, place) for place in range(x.shape[dim]))


def picked(x: Any, dim: int, index: Any) -> Any:
    """One part of an axis, or a run of it."""
    return x[(*[slice(None)] * (dim % x.ndim), index)]


def _select(context: Context, x: Any, *, dim: int, index: Any) -> Any:
    if isinstance(index, Dim):
        total = x.shape[dim]
        if isinstance(total, Dim) and (total - index).__class__ is int:
            return picked(x, dim, -(total - index))
        raise Refusal("a part at a place that is not fixed")
    return ops.take(x, index, axis=dim) if is_array(index) else picked(x, dim, index)


def _slice(context: Context, x: Any, *, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    total = x.shape[dim]
    start = bound(0 if start is None else start, total)
    end = None if end is None or (isinstance(end, int) and end >= _END) or same(end, total) else bound(end, total)
    if isinstance(start, Dim) or isinstance(end, Dim):
        if isinstance(start, Dim):
            # Counted from the end where it is less than nothing at both sizes that are tried.
            start = ops.add(number_of(start), number_of(total) if max(start.pair) < 0 else 0)
        elif start < 0:
            start = ops.maximum(ops.add(number_of(total), start), 0)
        return _run(x, dim, context.shape[dim], start, step)
    if not start and end is None and step == 1:
        return x
    return picked(x, dim, slice(start, end, step))


def bound(place: Any, total: Any) -> Any:
    """A place of an axis as a number: one that is not fixed may be so many before the end."""
    if isinstance(place, Dim) and isinstance(total, Dim):
        rest = total - place
        return -rest if isinstance(rest, int) and rest > 0 else place
    return place


def _run(x: Any, dim: int, size: Any, start: Any, step: int = 1) -> Any:
    """So many elements of an axis from a place on, either of which may not be fixed: they are taken by their places."""
    places = counted(size)
    places = places if step == 1 else ops.multiply(places, step)
    is_first = isinstance(start, int) and start == 0
    return ops.take(x, places if is_first else ops.add(places, start), axis=dim % x.ndim)


def _narrow(context: Context, x: Any, *, dim: int, start: Any, length: Any) -> Any:
    if isinstance(start, Dim) or isinstance(length, Dim):
        return _run(x, dim, context.shape[dim], number_of(start) if isinstance(start, Dim) else start)
    return _slice(context, x, dim=dim, start=start, end=start + length)


def _flip(context: Context, x: Any, *, dims: Sequence[int]) -> Any:
    turned = {each % x.ndim for each in dims}
    return x[tuple(slice(None, None, -1) if at in turned else slice(None) for at in range(x.ndim))]


def _roll(context: Context, x: Any, *, shifts: Any, dims: Any = ()) -> Any:
    if not _several(dims):
        flat = reshaped(x, [x.size])
        return reshaped(_roll(context, flat, shifts=shifts, dims=0), list(x.shape))
    for shift, dim in zip(_several(shifts), _several(dims), strict=True):
        size = x.shape[dim]
        shift = shift if isinstance(size, Dim) else shift % size
        if isinstance(shift, Dim) or (isinstance(size, Dim) and abs(shift) > least(size)):
            places = ops.remainder(ops.subtract(counted(size), number_of(shift)), number_of(size))
            x = ops.take(x, places, axis=dim % x.ndim)
        elif shift:
            x = ops.concatenate([picked(x, dim, slice(-shift, None)), picked(x, dim, slice(None, -shift))], axis=dim)
    return x


def _pixel_shuffle(context: Context, x: Any, *, upscale_factor: int) -> Any:
    factor = upscale_factor
    *lead, channels, height, width = x.shape
    x = reshaped(x, [*lead, channels // factor**2, factor, factor, height, width])
    place = len(lead)
    x = ops.transpose(x, axes=[*range(place), place, place + 3, place + 1, place + 4, place + 2])
    return reshaped(x, context.shape)


def _pixel_unshuffle(context: Context, x: Any, *, downscale_factor: int) -> Any:
    factor = downscale_factor
    *lead, channels, height, width = x.shape
    x = reshaped(x, [*lead, channels, height // factor, factor, width // factor, factor])
    place = len(lead)
    x = ops.transpose(x, axes=[*range(place), *(place + axis for axis in (0, 2, 4, 1, 3))])
    return reshaped(x, context.shape)


def _channel_shuffle(context: Context, x: Any, *, groups: int) -> Any:
    batch, channels, *spatial = x.shape
    return reshaped(exchanged(reshaped(x, [batch, groups, channels // groups, *spatial]), 1, 2), context.shape)


def _size(context: Context, x: Any, *, dim: int) -> Any:
    return x.shape[dim]


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    **dict.fromkeys(
        ("view", "_unsafe_view", "reshape", "flatten", "unflatten", "view_as", "reshape_as", "_reshape_alias"), reshape
    ),
    "permute": _permute, "transpose": _transpose, "swapaxes": _swapaxes, "swapdims": _transpose, "t": _t,
    "numpy_T": lambda context, x: ops.transpose(x),
    **dict.fromkeys(("mT", "mH", "adjoint"), _swap), "movedim": _movedim, "moveaxis": _movedim,
    "unsqueeze": _unsqueeze, "squeeze": _squeeze,
    "copy": _copy, "expand": _expand, "expand_as": _expand, "broadcast_to": _expand, "repeat": _repeat, "tile": _tile,
    "repeat_interleave": _repeat_interleave, "cat": _cat, "concat": _cat, "stack": _stack,
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"), _split),
    "chunk": _chunk, "unsafe_chunk": _chunk, "unbind": _unbind, "select": _select, "slice": _slice,
    "narrow": _narrow, "flip": _flip, "roll": _roll,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle, "channel_shuffle": _channel_shuffle,
    "native_channel_shuffle": _channel_shuffle,
    "sym_size": _size,
}  # fmt: skip
