"""Images laid out so that what one tap of a window takes, at all places of the window, is one run of memory.

A window moves over a padded image in rows. With the rows behind one another in memory, a tap takes at the next place
the next element, and at the next row's first place an element that lies a fixed number further on: so all that it
takes lies in one run, with a few elements between the rows that are no window's. Copying runs is much faster than
copying windows. With strides s, the image is divided into the elements whose coordinates have the same remainder by s:
each such *phase* is an image over which the window moves in steps of one.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelarchive.ops.registry import Array
from modelarchive.ops.windows import Pairs, Shape


@dataclass(frozen=True)
class Lattice:
    """The taps that take from one phase; they are equally far apart.

    Attributes:
        phase: For each axis the remainder of the phase's coordinates.
        taps: Which taps these are along each axis.
        counts: How many.
        first: The element of the phase that the first of them takes at the first place of the window.
        apart: How many elements of the phase further on the next one along each axis takes.
    """

    phase: Shape
    taps: tuple[slice, ...]
    counts: Shape
    first: int
    apart: Shape


@dataclass(frozen=True)
class Runs:
    """The layout for one size of image and one kind of window.

    Attributes:
        sizes: How many places the window has along each spatial axis.
        kernel: How many taps.
        plane: The spatial sizes of a phase.
        lattices: All taps; each phase has one.
        strides: The strides of the window.
        before: The padding before each axis.
    """

    sizes: Shape
    kernel: Shape
    plane: Shape
    lattices: tuple[Lattice, ...]
    strides: Shape
    before: Shape

    @property
    def row(self) -> int:
        """How many elements of a run belong to one place along the first axis."""
        return math.prod(self.plane[1:])

    @property
    def area(self) -> int:
        """How many elements one channel has, in all phases."""
        return len(self.lattices) * math.prod(self.plane)

    def length(self, rows: int) -> int:
        """How many elements a run has from the first window to the last of so many places along the first axis."""
        last = rows - 1
        for size, plane in zip(self.sizes[1:], self.plane[1:], strict=True):
            last = last * plane + size - 1
        return last + 1

    def slab(self, rows: int) -> Runs:
        """The layout for so many places along the first axis at a time."""
        return replace(self, plane=(rows + self.plane[0] - self.sizes[0], *self.plane[1:]))

    def fill(self, x: Array, planes: Array, start: int) -> None:
        """Lay out what the window takes of ``(channels, *spatial)`` from its place `start` along the first axis on.

        What lies beside the image is not written: it is 0 in a buffer that began with zeros and has this layout only.

        Args:
            x: The image.
            planes: At least ``channels * area`` elements.
            start: The place.
        """
        result = planes[: len(x) * self.area].reshape(len(x), len(self.lattices), *self.plane)
        for number, lattice in enumerate(self.lattices):
            target: list[Any] = []
            source: list[Any] = []
            for axis, (remainder, step) in enumerate(zip(lattice.phase, self.strides, strict=True)):
                # Element m of the phase is element m * step + offset of the image.
                offset, size = remainder - self.before[axis] + (0 if axis else start * step), x.shape[axis + 1]
                low = min(self.plane[axis], max(0, -(offset // step)))
                high = max(low, min(self.plane[axis], (size - 1 - offset) // step + 1))
                target.append(slice(low, high))
                source.append(slice(low * step + offset, max(0, (high - 1) * step + offset + 1), step))
            part = result[:, number]
            part[:, : target[0].start] = 0
            part[:, target[0].stop :] = 0
            part[(slice(None), *target)] = x[(slice(None), *source)]

    def gather(self, planes: Array, columns: Array, start: int) -> None:
        """Copy what each tap takes into columns.

        Args:
            planes: What :meth:`fill` filled, with as many elements more as the last piece is too long.
            columns: ``(channels, pieces, taps, length of a piece)``: the run is cut into pieces of one length.
            start: The place along the first axis at which the run begins, from the first that is laid out.
        """
        channels, pieces, _, piece = columns.shape
        target = columns.reshape(channels, pieces, *self.kernel, piece)
        plane, size = math.prod(self.plane), planes.itemsize
        for number, lattice in enumerate(self.lattices):
            begin = number * plane + lattice.first + start * self.row
            strides = (self.area, piece, *lattice.apart, 1)
            shape = (channels, pieces, *lattice.counts, piece)
            view = np.ndarray(shape, planes.dtype, planes, begin * size, [step * size for step in strides])
            target[(slice(None), slice(None), *lattice.taps)] = view


@functools.lru_cache(maxsize=512)
def runs_of(kernel: Shape, strides: Shape, padding: Pairs, dilation: Shape, sizes: Shape) -> Runs:
    """The layout for a window that has `sizes` places."""
    axes = list(zip(kernel, strides, dilation, sizes, strict=True))
    plane = tuple((taps - 1) * apart // step + size for taps, step, apart, size in axes)
    across = [math.prod(plane[axis + 1 :]) for axis in range(len(plane))]
    # Every so many taps take from the same phase.
    periods = [step // math.gcd(step, apart) for _, step, apart, _ in axes]
    found = []
    for first in itertools.product(*(range(min(taps, period)) for taps, period in zip(kernel, periods, strict=True))):
        places = [tap * apart for tap, apart in zip(first, dilation, strict=True)]
        found.append(
            Lattice(
                tuple(place % step for place, step in zip(places, strides, strict=True)),
                tuple(slice(tap, None, period) for tap, period in zip(first, periods, strict=True)),
                tuple(-(-(taps - tap) // period) for taps, tap, period in zip(kernel, first, periods, strict=True)),
                sum(place // step * size for place, step, size in zip(places, strides, across, strict=True)),
                tuple(
                    period * apart // step * size
                    for period, (_, step, apart, _), size in zip(periods, axes, across, strict=True)
                ),
            )
        )
    before = tuple(pair[0] for pair in padding)
    return Runs(tuple(sizes), tuple(kernel), plane, tuple(found), tuple(strides), before)
