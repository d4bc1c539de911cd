"""Convolution tap by tap: the product of each with all places is added to those of the others by BLAS itself.

What a tap takes at all places lies in one run of memory (:mod:`modelarchive.ops.runs`), so an image, laid out once, is
the matrix of every tap: no columns are gathered, which would hold each element once for each tap ("kn2row-aa" of
Anderson, Vasudevan, Keane and Gregg, arXiv:1709.03395).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive.ops.epilogue import Epilogue
from modelarchive.ops.gemm import Matrix
from modelarchive.ops.registry import Array
from modelarchive.ops.runs import Planes, Runs, runs_of
from modelarchive.ops.threads import BLOCK, parts, share
from modelarchive.ops.windows import Pairs, Shape

#: Columns of a product at least, where there are as many.
WIDTH: Final = 512
#: Places of the window from which on it takes less time.
LEAST: Final = 1 << 10
#: Input channels of a group from which on BLAS is as fast with those of one tap as with those of all.
TERMS: Final = 32
#: Elements of a run to those that are wanted, up to which they are computed and left out.
GAPS: Final = 1.2
#: Elements of the weight to those of the output, up to which laying it out takes less time than is saved.
HEAVY: Final = 1.5


def layout_of(
    weight: Shape, strides: Shape, padding: Pairs, dilation: Shape, sizes: Shape, *, width: int, images: int
) -> Runs | None:
    """The layout for :func:`by_accumulating`; None where other ways take less time.

    Args:
        weight: ``(channels, in_channels / groups, *kernel)``.
        strides: One for each spatial axis.
        padding: A pair (before, after) of zeros for each spatial axis.
        dilation: How far apart taps are.
        sizes: The spatial sizes of the output.
        width: The last size of the input.
        images: How many images there are.
    """
    in_channels, *kernel = weight[1:]
    places, taps = math.prod(sizes), math.prod(kernel)
    is_light = in_channels * taps <= HEAVY * images * places
    if taps == 1 or in_channels < TERMS or places < LEAST or not is_light:
        return None
    runs = runs_of(tuple(kernel), strides, padding, dilation, sizes, width, pads=True)
    return runs if runs.row <= GAPS * math.prod(sizes[1:]) else None


def by_accumulating(x: Array, weight: Array, out: Array, groups: int, runs: Runs, epilogue: Epilogue) -> None:
    """Correlate.

    Args:
        x: ``(batch, in_channels, *spatial)``.
        weight: ``(channels, in_channels / groups, *kernel)``.
        out: ``(batch, channels, *spatial)``, filled here.
        groups: Into how many groups the channels fall.
        runs: The layout.
        epilogue: What follows.
    """
    channels, in_channels = len(weight) // groups, weight.shape[1]
    places, row = runs.sizes[0], runs.row
    factors = np.ascontiguousarray(np.moveaxis(weight, (0, 1), (-2, -1)))
    rows = max(-(-places // parts()), -(-WIDTH // row))
    rows = min(places, rows, max(1, BLOCK // ((in_channels * len(runs.lattices) + channels) * row)))
    rows = -(-places // -(-places // rows))
    laid = runs.slab(rows)
    # What is of no window stands between the rows; where there is none, products are made where they belong.
    is_dense = row == math.prod(runs.sizes[1:])
    kept: Any = tuple(slice(size) for size in runs.sizes[1:])

    def begin() -> Callable[[tuple[int, int, int]], None]:
        planes = Planes(laid, in_channels, rows * row, x.dtype)
        taken = [(tap, Matrix(run)) for tap, run in planes.taken(in_channels, rows)]
        product = np.empty((channels, 0 if is_dense else rows * row), x.dtype)

        @functools.cache
        def terms_of(group: int) -> list[tuple[Matrix, Matrix]]:
            some = slice(group * channels, (group + 1) * channels)
            return [(Matrix(factors[tap][some]), run) for tap, run in taken]

        def correlate(item: tuple[int, int, int]) -> None:
            image, group, first = item
            count = min(rows, places - first)
            some, width = slice(group * channels, (group + 1) * channels), count * row
            planes.fill(x[image, group * in_channels : (group + 1) * in_channels], first)
            made = out[image, some].reshape(channels, -1)[:, first * row :] if is_dense else product
            made = made[:, :width]
            (factor, run), *others = terms_of(group)
            np.matmul(factor.array, run.array[:, :width], out=made)
            result = Matrix(made)
            for factor, run in others:
                result.add(factor, run, width)
            if epilogue:
                epilogue.part(some).step(2, 0)(made, made)
            if not is_dense:
                shaped = made.reshape(channels, count, *laid.plane[1:])
                np.copyto(out[image, some, first : first + count], shaped[(..., *kept)])

        return correlate

    items = itertools.product(range(len(x)), range(groups), range(0, places, rows))
    share(begin, items)
