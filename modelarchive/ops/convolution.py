"""Convolution in any number of dimensions: windows gathered into columns, then one matrix product."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from modelarchive.ops.accumulating import by_accumulating, layout_of
from modelarchive.ops.epilogue import NOTHING, Epilogue
from modelarchive.ops.lines import by_lines, lines_add_less
from modelarchive.ops.precision import float_dtype, rounded, widened
from modelarchive.ops.products import multiply
from modelarchive.ops.registry import Array, op
from modelarchive.ops.runs import Columns, Runs, evenly, runs_of
from modelarchive.ops.taps import adds_less, by_taps
from modelarchive.ops.threads import WORTH, share, team_size
from modelarchive.ops.windows import Pairs, merged, output_sizes, padded, pairs, split, windows

#: Elements of the column matrices gathered at a time, so that they stay in the cache.
BLOCK: Final = 1 << 18
#: They are no fewer than this.
LEAST: Final = 1 << 17
#: Parts into which one product is cut, for several threads.
PARTS: Final = 4
#: Elements of the column matrices of groups, which are small products: several calls of NumPy for each block.
GROUPED: Final = 1 << 18
#: Columns of one product at least, where there are as many: shorter products keep BLAS less busy.
WIDTH: Final = 256
#: Elements of the output of groups that are finished together.
TOGETHER: Final = 1 << 16
#: Columns at most where a group has one output channel: for longer vectors BLAS takes threads, and waits for them.
SINGLE: Final = 960
#: Images of at most so many output positions share one matrix product.
SMALL: Final = 256
#: Elements between the rows of a run cost time in the product, for each output channel; up to so many to one that are
#: copied faster they are worth it.
WASTE: Final = 12
#: Taps that share a phase at least, for a layout in runs to be worth its own copy.
REUSE: Final = 1.5
#: Multiplications of matrices that take as long as one of vectors.
VECTOR: Final = 8
#: Factors below this are multiplied into the weight.
LARGE: Final = 1e6


def convolution_shape(
    shape: Sequence[int],
    *,
    channels: int,
    in_channels: int,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    channels_last: bool,
) -> tuple[int, ...]:
    """The output's shape for an input of `shape`; `in_channels` 0 accepts any number.

    Raises:
        ValueError: The input does not fit.
    """
    batch, found, spatial = split(shape, len(kernel), channels_last=channels_last)
    if in_channels and found != in_channels:
        raise ValueError(f"expected {in_channels} input channels, found {found} in shape {tuple(shape)}")
    sizes = output_sizes(spatial, kernel, strides, padding, dilation)
    return merged(batch, channels, sizes, channels_last=channels_last)


def convolve(
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    strides: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    groups: int,
    channels_last: bool,
    epilogue: Epilogue = NOTHING,
) -> Array:
    """Cross-correlation as ``torch.nn.functional.conv2d`` defines it, in 1, 2, 3 dimensions.

    Args:
        x: ``(batch, in_channels, *spatial)``, or ``(batch, *spatial, in_channels)`` with `channels_last`.
        weight: ``(channels, in_channels / groups, *kernel)``.
        bias: ``(channels,)`` or None.
        strides: One for each spatial axis.
        padding: A pair (before, after) of zeros for each spatial axis.
        dilation: One for each spatial axis.
        groups: Into how many independent groups the channels fall.
        channels_last: Whether the channels of input and output are the last axis.
        epilogue: What follows.

    Returns:
        A new array of the layout of `x`, in the float dtype that input and parameters share; computed in
        float32 where that is narrower.
    """
    dtype = float_dtype(x, weight, *(() if bias is None else (bias,)))
    wide_x, wide_weight = widened(dtype, x, weight)
    if bias is not None:
        epilogue = epilogue.after_bias(widened(dtype, bias)[0])
    kernel = weight.shape[2:]
    if channels_last and groups == 1 and math.prod(kernel) == 1 and not any(map(any, padding)):
        steps = [slice(None, None, step) for step in strides]
        last: Array = multiply(wide_x[(slice(None), *steps)], wide_weight.reshape(weight.shape[:2]).T)
        if epilogue:
            epilogue.into(last, last, last.ndim - 1)
        return rounded(last, dtype)
    if channels_last:
        wide_x = np.moveaxis(wide_x, -1, 1)
    sizes = output_sizes(wide_x.shape[2:], kernel, strides, padding, dilation)
    result = np.empty((len(x), len(weight), *sizes), wide_x.dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # between the rows of a run stands what no window has
        _correlate(wide_x, wide_weight, result, strides, padding, dilation, groups, epilogue)
    if channels_last:
        result = np.ascontiguousarray(np.moveaxis(result, 1, -1))
    return rounded(result, dtype)


def _conv_shape(
    shape: Sequence[int],
    weight: Sequence[int],
    *,
    strides: Sequence[int],
    padding: Sequence[Sequence[int]],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    rank = len(weight) - 2
    if rank not in (1, 2, 3) or len(shape) != rank + 2:
        raise ValueError(
            f"expected an array (batch, channels, ...) and weights (channels, inputs, ...) with one to three axes of "
            f"space, found {tuple(shape)} and {tuple(weight)}"
        )
    if not len(strides) == len(padding) == len(dilation) == rank:
        raise ValueError(f"expected strides, padding and dilation for {rank} axes of space")
    groups = shape[1] // (weight[1] or 1)
    if not groups or weight[1] * groups != shape[1] or weight[0] % groups:
        raise ValueError(f"expected weights whose inputs divide {shape[1]} channels into groups, found {tuple(weight)}")
    return convolution_shape(
        shape,
        channels=weight[0],
        in_channels=shape[1],
        kernel=weight[2:],
        strides=strides,
        padding=pairs(padding, rank),
        dilation=dilation,
        channels_last=False,
    )


def _conv_dtype(x: Any, weight: Any, **arguments: Any) -> np.dtype[Any]:
    return float_dtype(x, weight)


@op(infer=_conv_shape, dtype=_conv_dtype)
def conv(
    x: ArrayLike,
    weight: ArrayLike,
    /,
    strides: Sequence[int],
    padding: Sequence[Sequence[int]],
    dilation: Sequence[int],
) -> Array:
    """Convolution with weights that are computed; a layer's own are a kind's, ``Conv2D``.

    Args:
        x: ``(batch, channels, *spatial)`` with one to three axes of space; a float dtype.
        weight: ``(channels, inputs, *kernel)``; the channels of `x` divided by `inputs` are the number of groups.
        strides: One for each axis of space.
        padding: A pair (before, after) of zeros for each of them.
        dilation: One for each of them.

    Returns:
        A new array ``(batch, channels, *spatial)``, in the dtype that both share.

    Raises:
        ValueError: Shapes do not fit.
    """
    array, kernel = np.asarray(x), np.asarray(weight)
    _conv_shape(array.shape, kernel.shape, strides=strides, padding=padding, dilation=dilation)
    return convolve(
        array,
        kernel,
        None,
        strides=strides,
        padding=pairs(padding, kernel.ndim - 2),
        dilation=dilation,
        groups=array.shape[1] // kernel.shape[1],
        channels_last=False,
    )


def _correlate(
    x: Array,
    weight: Array,
    out: Array,
    strides: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    groups: int,
    epilogue: Epilogue,
) -> None:
    """Correlate ``(batch, in_channels, *spatial)`` in the way that is fastest for these sizes."""
    kernel, sizes = weight.shape[2:], out.shape[2:]
    epilogue, weight = _folded(epilogue, weight, out)
    matrix = weight.reshape(groups, len(weight) // groups, -1)
    if not out.size or not matrix.size:
        out.fill(0)
        epilogue.into(out, out, 1)
    elif math.prod(kernel) == 1 and all(step == 1 for step in strides) and not any(map(any, padding)):
        _pointwise(x, matrix, out, epilogue)
    elif groups == 1 and all(step == 1 for step in strides) and adds_less(weight.shape, sizes):
        by_taps(x, weight, out, padding, tuple(dilation), epilogue, alone=_work(matrix, out) < WORTH)
    elif laid := layout_of(
        weight.shape, tuple(strides), padding, tuple(dilation), sizes, width=x.shape[-1], images=len(x)
    ):
        by_accumulating(x, weight, out, groups, laid, epilogue, alone=_work(matrix, out) < WORTH)
    elif all(step == 1 for step in strides) and lines_add_less(weight.shape, groups, tuple(dilation), x.shape, sizes):
        by_lines(x, weight, out, padding, tuple(dilation), epilogue, alone=_work(matrix, out) < WORTH)
    else:
        runs = runs_of(kernel, tuple(strides), padding, tuple(dilation), sizes, x.shape[-1])
        gaps = runs.row / math.prod(sizes[1:])
        is_small = len(x) > 1 and math.prod(sizes) <= SMALL and matrix.shape[1] > 1
        reused = math.prod(kernel) >= REUSE * len(runs.lattices)
        if reused and not is_small and (gaps - 1) * matrix.shape[1] <= WASTE:
            _by_runs(x, matrix, out, runs, epilogue)
        else:
            _by_windows(windows(padded(x, padding), kernel, strides, dilation), matrix, out, epilogue)


def _folded(epilogue: Epilogue, weight: Array, out: Array) -> tuple[Epilogue, Array]:
    """The factor in the weight, where that is less work than in the output, and cannot overflow."""
    factor = epilogue.factor
    if factor is None or 2 * weight.size > out.size or not np.abs(factor).max(initial=0) < LARGE:
        return epilogue, weight
    return replace(epilogue, factor=None), weight * factor.reshape(-1, *[1] * (weight.ndim - 1))


def _pointwise(x: Array, matrix: Array, out: Array, epilogue: Epilogue) -> None:
    """A kernel of one tap needs no columns: the input is the matrix already."""
    groups, channels, taps = matrix.shape
    batch, positions = len(x), math.prod(out.shape[2:])
    source = x.reshape(batch, groups, taps, positions)
    target = out.reshape(batch, groups, channels, positions)
    width = max(WIDTH, min(BLOCK // max(groups * taps, len(out[0])), -(-positions // PARTS)))
    images = max(1, width // positions)

    finish = epilogue.step(3, 1) if epilogue else None
    flat = out.reshape(batch, -1, positions)
    starts = itertools.product(range(0, batch, images), range(0, positions, width))
    parts = [(slice(first, first + images), ..., slice(start, start + width)) for first, start in starts]
    product = multiply if len(parts) == 1 else np.matmul

    def correlate(part: Any) -> None:
        product(matrix, source[part], out=target[part])
        if finish is not None:
            block = flat[part]
            finish(block, block)

    share(lambda: correlate, parts, alone=_work(matrix, out) < WORTH)


def _by_runs(x: Array, matrix: Array, out: Array, runs: Runs, epilogue: Epilogue) -> None:
    """Columns copied run by run."""
    groups, channels, taps = matrix.shape
    row, in_channels, places = runs.row, x.shape[1] // groups, runs.sizes[0]
    # The buffers of all threads stay small beside input and output.
    block = GROUPED if groups > 1 else min(BLOCK, max(LEAST, (x[0].size + out[0].size) // 16))
    rows = min(places, max(1, max(WIDTH, block // taps) // row))
    rows = -(-places // -(-places // rows))
    wide = len(runs.lattices) * in_channels * row
    height = rows if groups > 1 else min(places, max(1, BLOCK // 2 // (wide * rows)) * rows)
    height = min(height, -(-places // (rows * 2 * team_size())) * rows)
    laid = runs.slab(height)
    together = min(groups, max(1, block // max(taps * rows * row, 2 * in_channels * laid.area)))
    # BLAS multiplies vectors piece by piece; pieces of several input channels would lie apart.
    piece = evenly(rows, max(1, SINGLE // row)) if channels == in_channels == 1 else rows
    # Whole images with nothing between their rows are made where they belong.
    is_dense = row == math.prod(runs.sizes[1:])
    is_whole = is_dense and rows == places and not places % piece
    several = min(TOGETHER // out[0, :channels].size, -(-groups // (2 * team_size()))) if is_whole else 0
    several = max(1, several // together) * together
    kept: Any = tuple(slice(size) for size in runs.sizes[1:])
    # Of one image, threads share the product itself.
    whole_product = multiply if groups == len(x) == 1 else np.matmul

    def begin() -> Callable[[tuple[int, int, int]], None]:
        columns = Columns(laid, in_channels, together, rows, piece, x.dtype)
        product = np.empty(0 if is_whole else together * channels * -(-rows // piece) * piece * row, x.dtype)

        @functools.cache
        def results(count: int, lines: int) -> tuple[Array, Array]:
            """Where the product of so many groups and places is made, and what of it is kept, for each channel."""
            pieces = -(-lines // piece)
            found = product[: count * channels * pieces * piece * row].reshape(count * channels, -1)
            return found.reshape((count, channels, -1) if pieces == 1 else (count, pieces, 1, -1)), found

        def correlate(item: tuple[int, int, int]) -> None:
            image, first, slab = item
            end = min(first + several, groups)
            for start in range(first, end, together):
                some = slice(start, min(start + together, end))
                columns.fill(x[image, some.start * in_channels : some.stop * in_channels], slab)
                target = out[image, some.start * channels : some.stop * channels]
                if is_whole:
                    gathered = columns.gather(some.stop - start, 0, places)
                    factors = matrix[some] if gathered.ndim == 3 else matrix[some, None]
                    whole_product(factors, gathered, out=target.reshape(*gathered.shape[:-2], channels, -1))
                else:
                    by_rows(some, slab, target)
            if is_whole and epilogue:
                place = slice(first * channels, end * channels)
                whole = out[image, place].reshape(place.stop - place.start, -1)
                epilogue.part(place).step(2, 0)(whole, whole)

        def by_rows(some: slice, slab: int, target: Array) -> None:
            place = slice(some.start * channels, some.stop * channels)
            finish = epilogue.part(place).step(2, 0, spoils=is_dense)
            count, flat, factors = some.stop - some.start, target.reshape(len(target), -1), matrix[some]
            for start in range(slab, min(slab + height, places), rows):
                lines = min(rows, places - start)
                gathered = columns.gather(count, start - slab, lines)
                made, found = results(count, lines)
                np.matmul(factors if gathered.ndim == 3 else factors[:, None], gathered, out=made)
                if is_dense:
                    finish(found[:, : lines * row], flat[:, start * row : (start + lines) * row])
                else:
                    finish(found, found)
                    shaped = found[:, : lines * row].reshape(len(target), lines, *runs.plane[1:])
                    np.copyto(target[:, start : start + lines], shaped[(..., *kept)])

        return correlate

    items = itertools.product(range(len(x)), range(0, groups, several), range(0, places, height))
    share(begin, items, alone=_work(matrix, out) < WORTH)


def _by_windows(view: Array, matrix: Array, out: Array, epilogue: Epilogue) -> None:
    """Columns copied window by window, from a view ``(batch, in_channels, *kernel, *positions)``."""
    groups, channels, taps = matrix.shape
    batch, sizes = len(out), out.shape[2:]
    positions = math.prod(sizes)
    row = positions // sizes[0]
    result, flat = out.reshape(batch, groups, channels, positions), out.reshape(batch, -1, positions)
    finish = epilogue.step(3, 1)
    rest: list[Any] = [slice(None)] * (len(sizes) - 1)

    def begin() -> Callable[[tuple[slice, slice]], None]:
        buffer = np.empty(min(BLOCK, batch * groups * taps * positions), out.dtype)

        def correlate(item: tuple[slice, slice]) -> None:
            images, rows = item
            part = view[(images, ..., rows, *rest)]
            count = len(part)
            # Small images side by side make one product that is worth it, instead of one each.
            together = count > 1 and positions <= SMALL
            if together:
                part = np.moveaxis(part, 0, -len(sizes) - 1)
            columns = buffer[: part.size] if part.size <= buffer.size else np.empty(part.size, out.dtype)
            np.copyto(columns.reshape(part.shape), part)
            place = slice(rows.start * row, rows.stop * row)
            if together:
                product = np.matmul(matrix, columns.reshape(groups, taps, count * positions))
                apart = product.reshape(groups, channels, count, positions)
                result[images] = apart.transpose(2, 0, 1, 3)
            else:
                np.matmul(matrix, columns.reshape(count, groups, taps, -1), out=result[images, :, :, place])
            if epilogue:
                block = flat[images, :, place]
                finish(block, block)

        return correlate

    items = _blocks(batch, sizes[0], groups * taps * row, -(-WIDTH // row))
    share(begin, items, alone=_work(matrix, out) < WORTH)


def _work(matrix: Array, out: Array) -> int:
    """Multiplications; of vectors, which the memory holds back, one takes as long as several of matrices."""
    return int(out.size * matrix.shape[2] * (1 if matrix.shape[1] > 1 else VECTOR))


def _blocks(batch: int, rows: int, row: int, least: int) -> Iterator[tuple[slice, slice]]:
    """Cut a batch into whole images, or images too large for that into rows of output, at least so many."""
    if rows * row <= BLOCK:
        images = max(1, BLOCK // max(rows * row, 1))
        for first in range(0, batch, images):
            yield slice(first, min(first + images, batch)), slice(0, rows)
        return
    step = max(least, BLOCK // row)
    for image in range(batch):
        for first in range(0, rows, step):
            yield slice(image, image + 1), slice(first, min(first + step, rows))
