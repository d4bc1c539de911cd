"""ATen operators over windows that are no layers' as they are called: in ops, for any weights and sizes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.leaves import inside, several
from modelarchive.exchange.torch.lifting_context import Context, counted, full, same
from modelarchive.exchange.torch.lifting_layers import sides
from modelarchive.exchange.torch.lifting_padding import padded, padded_to
from modelarchive.exchange.torch.lifting_shapes import exchanged, picked, reshaped, stretched
from modelarchive.nn.dim import Dim

#: Elements of a window that are looked at one after the other.
_MOST: Final = 256


def _batched(function: Callable[..., Any], rank: int) -> Callable[..., Any]:
    """A row for arrays with a batch, for those without one too."""

    def row(context: Context, x: Any, **given: Any) -> Any:
        if x.ndim != rank + 1:
            return function(context, x, **given)
        found = function(context, ops.expand_dims(x, axis=0), **given)
        if isinstance(found, tuple):
            return tuple(ops.squeeze(each, axis=0) for each in found)
        return ops.squeeze(found, axis=0)

    return row


# ---------------------------------------------------------------------- convolution


def _conv(
    context: Context,
    x: Any,
    *,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    transposed: bool = False,
    output_padding: Any = 0,
) -> Any:
    """A convolution with weights that are computed."""
    rank = weight.ndim - 2
    steps, gaps = several(stride, rank), several(dilation, rank)
    pairs = sides(padding, rank, weight.shape[2:], gaps)
    if transposed:
        found = _transposed(x, weight, steps, pairs, gaps, several(output_padding, rank), groups)
    else:
        found = ops.conv(x, weight, strides=steps, padding=pairs, dilation=gaps)
    if bias is None:
        return found
    return ops.add(found, ops.expand_dims(bias, axis=tuple(range(1, rank + 1))))


def _transposed(
    x: Any,
    weight: Any,
    steps: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    gaps: Sequence[int],
    more: Sequence[int],
    groups: int,
) -> Any:
    """A convolution of what is spread by the steps, with the weights turned round."""
    inputs, outputs, *kernel = weight.shape
    weight = ops.reshape(weight, shape=[groups, inputs // groups, outputs, *kernel])
    weight = exchanged(weight, 1, 2)
    weight = ops.reshape(weight, shape=[groups * outputs, inputs // groups, *kernel])
    weight = weight[(..., *[slice(None, None, -1)] * len(kernel))]
    for axis, step in enumerate(steps, start=2):
        x = _spread(x, axis, step)
    around = [
        (gap * (size - 1) - before, gap * (size - 1) - after + extra)
        for size, gap, (before, after), extra in zip(kernel, gaps, pairs, more, strict=True)
    ]
    return ops.conv(
        padded(x, around), weight, strides=[1] * len(kernel), padding=[(0, 0)] * len(kernel), dilation=list(gaps)
    )


def _spread(x: Any, axis: int, step: int) -> Any:
    """Zeros between the elements along an axis."""
    if step == 1:
        return x
    shape = list(x.shape)
    wide = ops.pad(ops.expand_dims(x, axis=axis + 1), padding=[(0, step - 1), *[(0, 0)] * (x.ndim - axis - 1)])
    wide = reshaped(wide, [*shape[:axis], shape[axis] * step, *shape[axis + 1 :]])
    return picked(wide, axis, slice(None, -(step - 1)))


def _of_rank(rank: int, *, transposed: bool = False) -> Callable[..., Any]:
    def row(context: Context, x: Any, **given: Any) -> Any:
        return _conv(context, x, transposed=transposed, **given)

    return _batched(row, rank)


# ---------------------------------------------------------------------- pooling


def _max_pool(rank: int, *, gives_places: bool = False) -> Callable[..., Any]:
    """The largest element of each window; and its place in the image."""

    def row(
        context: Context,
        x: Any,
        *,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> Any:
        windows, steps = several(kernel_size, rank), several(stride or kernel_size, rank)
        gaps, before = several(dilation, rank), several(padding, rank)
        if math.prod(windows) > _MOST:
            raise Refusal(f"max pooling with places or dilation, of windows of more than {_MOST} elements")
        extent = context.shape[-rank:]
        around = [
            (each, _behind(size, whole, window, step, gap, each, is_cut_off=ceil_mode))
            for size, whole, window, step, gap, each in zip(
                x.shape[-rank:], extent, windows, steps, gaps, before, strict=True
            )
        ]
        lowest = "-Infinity" if x.dtype.kind not in "iu" else int(np.iinfo(x.dtype).min)
        wide = ops.pad(x, padding=around, value=lowest) if any(map(any, around)) else x
        best: Any = None
        place: Any = None
        for tap in itertools.product(*map(range, windows)):
            index = [
                slice(at * gap, -(window - 1 - at) * gap or None, step if step > 1 else None)
                for at, window, gap, step in zip(tap, windows, gaps, steps, strict=True)
            ]
            found = wide[(..., *index)]
            if gives_places:
                here = _places(x, extent, tap, steps, gaps, before)
                place = here if best is None else ops.where(_larger(found, best), here, place)
            best = found if best is None else ops.maximum(best, found)
        return (best, stretched(place, context.shape)) if gives_places else best

    return _batched(row, rank)


def _larger(x: Any, best: Any) -> Any:
    return np.logical_or(ops.greater(x, best), np.not_equal(x, x))


def _behind(size: Any, whole: Any, window: int, step: int, gap: int, before: int, *, is_cut_off: bool) -> int:
    """How much is behind the image; windows that begin in it may reach beyond its padding."""
    if not is_cut_off:
        return before
    if isinstance(size, Dim) or isinstance(whole, Dim):
        raise Refusal("pooling with ceil_mode of an image whose size is not fixed")
    return max(before, (int(whole) - 1) * step + gap * (window - 1) + 1 - int(size) - before)


def _places(
    x: Any, extent: Sequence[Any], tap: Sequence[int], steps: Sequence[int], gaps: Sequence[int], before: Sequence[int]
) -> Any:
    """The places in the flat image that one element of each window has."""
    rank = len(tap)
    found: Any = None
    for axis in range(rank):
        row = counted(extent[axis])
        row = ops.add(ops.multiply(row, steps[axis]), tap[axis] * gaps[axis] - before[axis])
        row = ops.expand_dims(row, axis=tuple(at for at in range(rank) if at != axis)) if rank > 1 else row
        found = row if found is None else ops.add(ops.multiply(found, x.shape[axis - rank]), row)
    return found


def _avg_pool(rank: int) -> Callable[..., Any]:
    """The mean of each window, its sum divided by a number of its own."""

    def row(
        context: Context,
        x: Any,
        *,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: Any = None,
    ) -> Any:
        size, around = several(kernel_size, rank), several(padding, rank)
        if divisor_override is not None and ceil_mode:
            raise Refusal("average pooling with ceil_mode and a divisor of its own")
        found = context.layer(
            f"AvgPool{rank}D",
            x,
            pool_size=inside(size, around, x.shape) if ceil_mode else size,
            strides=several(stride or size, rank),
            padding=[(each, each) for each in around],
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad or divisor_override is not None,
        )
        return found if divisor_override is None else ops.multiply(found, math.prod(size) / divisor_override)

    return _batched(row, rank)


def along(x: Any, matrix: Any, axis: int) -> Any:
    """The product of an axis and a matrix."""
    if axis % x.ndim == x.ndim - 1:
        return ops.matmul(x, matrix)
    if axis % x.ndim == x.ndim - 2:
        turned = (
            np.ascontiguousarray(np.transpose(matrix)) if isinstance(matrix, np.ndarray) else exchanged(matrix, 0, 1)
        )
        return ops.matmul(turned, x)
    return exchanged(ops.matmul(exchanged(x, axis, -1), matrix), axis, -1)


def _max_unpool(rank: int) -> Callable[..., Any]:
    """Elements at the places that they had."""

    def row(context: Context, x: Any, *, indices: Any, output_size: Any, **ignored: Any) -> Any:
        spatial = context.shape[-rank:]
        if any(isinstance(size, Dim) for size in (*spatial, *x.shape[-rank:])):
            raise Refusal("unpooling of an image whose size is not fixed: declare the input with a fixed size")
        lead, inside = list(x.shape[:-rank]), math.prod(x.shape[-rank:])
        empty = full([*lead, math.prod(spatial)], 0, x.dtype)
        flat, places = reshaped(x, [*lead, inside]), reshaped(indices, [*lead, inside])
        return reshaped(ops.scatter(empty, places, flat, axis=len(lead)), context.shape)

    return row


# ---------------------------------------------------------------------- patches


def _fold(
    context: Context, x: Any, *, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> Any:
    """The sum of patches at their places."""
    if x.ndim == 2:
        shifted = _fold(
            context,
            ops.expand_dims(x, axis=0),
            output_size=output_size,
            kernel_size=kernel_size,
            dilation=dilation,
            padding=padding,
            stride=stride,
        )
        return ops.squeeze(shifted, axis=0)
    if math.prod(kernel_size) > _MOST:
        raise Refusal(f"patches of more than {_MOST} elements that are put together to an image")
    rows, columns = (
        (size + 2 * around - gap * (window - 1) - 1) // step + 1
        for size, window, gap, around, step in zip(output_size, kernel_size, dilation, padding, stride, strict=True)
    )
    lead = x.shape[0]
    channels = x.shape[1] // math.prod(kernel_size)
    x = reshaped(x, [lead, channels, *kernel_size, rows, columns])
    total: Any = None
    for at in itertools.product(*map(range, kernel_size)):
        part = x[(slice(None), slice(None), *at)]
        around = []
        for axis in (0, 1):
            part = _spread(part, axis + 2, stride[axis])
            before = at[axis] * dilation[axis] - padding[axis]
            behind = output_size[axis] - part.shape[axis + 2] - before
            # Of steps of more than one what is left over at the end is the same at the sizes that are tried only.
            is_open = isinstance(behind, Dim) or (isinstance(output_size[axis], Dim) and stride[axis] > 1)
            if is_open:
                if not before and same(part.shape[axis + 2], output_size[axis]):
                    part = padded(part, [(0, stride[axis]), *[(0, 0)] * (1 - axis)])
                part = padded_to(part, axis + 2, output_size[axis], before)
            around.append((0, 0) if is_open else (before, behind))
        part = padded(part, around)
        total = part if total is None else ops.add(total, part)
    return total


# ---------------------------------------------------------------------- sampling


def _grid_sample(
    context: Context,
    x: Any,
    *,
    grid: Any,
    interpolation_mode: int = 0,
    padding_mode: int = 0,
    align_corners: bool = False,
) -> Any:
    return ops.grid_sample(
        x,
        grid,
        mode=("linear", "nearest", "cubic")[interpolation_mode],
        padding_mode=("zeros", "border", "reflection")[padding_mode],
        align_corners=bool(align_corners),
    )


_RANKS: Final = (1, 2, 3)
#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "convolution": _conv,
    **{f"conv{rank}d": _of_rank(rank) for rank in _RANKS},
    **{f"conv_transpose{rank}d": _of_rank(rank, transposed=True) for rank in _RANKS},
    **{f"max_pool{rank}d": _max_pool(rank) for rank in _RANKS},
    **{f"max_pool{rank}d_with_indices": _max_pool(rank, gives_places=True) for rank in _RANKS},
    **{f"avg_pool{rank}d": _avg_pool(rank) for rank in _RANKS},
    **{f"max_unpool{rank}d": _max_unpool(rank) for rank in (2, 3)},
    "col2im": _fold,
    **dict.fromkeys(("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), _grid_sample),
}
