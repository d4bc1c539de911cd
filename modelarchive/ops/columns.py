"""Convolution by columns: what each tap takes at all places is gathered beside the others, then one matrix product."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from modelarchive.ops.epilogue import Epilogue
from modelarchive.ops.products import multiply
from modelarchive.ops.registry import Array
from modelarchive.ops.runs import Columns, Runs, evenly
from modelarchive.ops.threads import BLOCK, block_of, parts, share, team_size

#: Columns of one product at least, where there are as many: shorter products keep BLAS less busy.
WIDTH: Final = 256
#: Elements of the output of groups that are finished together.
TOGETHER: Final = 1 << 16
#: Columns at most where a group has one output channel: for longer vectors BLAS takes threads, and waits for them.
SINGLE: Final = 960
#: Images of at most so many output positions share one matrix product.
SMALL: Final = 256


def pointwise(x: Array, matrix: Array, out: Array, epilogue: Epilogue) -> None:
    """Correlate with a kernel of one tap, which needs no columns: the input is the matrix already.

    Args:
        x: ``(batch, groups * inputs, *spatial)``.
        matrix: The weight, ``(groups, channels of a group, inputs)``.
        out: ``(batch, groups * channels of a group, *spatial)``, filled here.
        epilogue: What follows.
    """
    groups, channels, taps = matrix.shape
    batch, positions = len(x), math.prod(out.shape[2:])
    source = x.reshape(batch, groups, taps, positions)
    target = out.reshape(batch, groups, channels, positions)
    width = max(WIDTH, min(2 * BLOCK // parts() // max(groups * taps, len(out[0])), -(-positions // parts() ** 2)))
    images = max(1, width // positions)

    finish = epilogue.step(3, 1) if epilogue else None
    flat = out.reshape(batch, -1, positions)
    starts = itertools.product(range(0, batch, images), range(0, positions, width))
    pieces = [(slice(first, first + images), ..., slice(start, start + width)) for first, start in starts]
    product = multiply if len(pieces) == 1 else np.matmul

    def correlate(part: Any) -> None:
        product(matrix, source[part], out=target[part])
        if finish is not None:
            block = flat[part]
            finish(block, block)

    share(lambda: correlate, pieces)


def by_runs(x: Array, matrix: Array, out: Array, runs: Runs, epilogue: Epilogue) -> None:
    """Correlate with columns that are copied run by run.

    Args:
        x: ``(batch, groups * inputs, *spatial)``.
        matrix: The weight, ``(groups, channels of a group, inputs * taps)``.
        out: ``(batch, groups * channels of a group, *sizes)``, filled here.
        runs: The layout.
        epilogue: What follows.
    """
    groups, channels, taps = matrix.shape
    row, in_channels, places = runs.row, x.shape[1] // groups, runs.sizes[0]
    block = block_of((x.size + out.size) // 3)
    if groups > 1 and block == BLOCK:
        block //= 2  # as large are the images that are laid out, and what the products give
    rows = min(places, max(1, max(WIDTH, block // taps) // row))
    # Where the weight is the larger factor, threads share the product of an image itself.
    if groups == 1 and channels <= math.prod(runs.sizes):
        rows = min(rows, -(-places // parts()))
    rows = -(-places // -(-places // rows))
    wide = len(runs.lattices) * in_channels * row
    height = rows if groups > 1 else min(places, max(1, block // 2 // (wide * rows)) * rows)
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
    share(begin, items)


def by_windows(view: Array, matrix: Array, out: Array, epilogue: Epilogue) -> None:
    """Correlate with columns that are copied window by window.

    Args:
        view: ``(batch, groups * inputs, *kernel, *positions)``.
        matrix: The weight, ``(groups, channels of a group, inputs * taps)``.
        out: ``(batch, groups * channels of a group, *positions)``, filled here.
        epilogue: What follows.
    """
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
    share(begin, items)


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
