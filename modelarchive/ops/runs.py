"""Images laid out so that what one tap of a window takes, at all places of the window, is one run of memory.

A window moves over a padded image in rows. With the rows behind one another in memory, a tap takes at the next place
the next element, and at the next row's first place an element that lies a fixed number further on: so all that it
takes lies in one run. Copying runs is much faster than copying windows. Along the last axis the rows are not padded,
so that a run has nothing between them that is no window's: where a tap is beside the image it takes the end of another
row, and 0 is written over that afterwards. With strides s, the image is divided into the elements whose coordinates
have the same remainder by s: each such *phase* is an image over which the window moves in steps of one.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
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
        first: The element of the phase that the first of them takes at the first place of the window; below 0: one
            before the phase.
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
        before: The padding before each axis, as far as phases have it.
        beside: Taps along the last axis, and the places in a row at which they take what is not of that row.
    """

    sizes: Shape
    kernel: Shape
    plane: Shape
    lattices: tuple[Lattice, ...]
    strides: Shape
    before: Shape
    beside: tuple[tuple[int, slice], ...]

    @property
    def row(self) -> int:
        """How many elements of a run belong to one place along the first axis."""
        return math.prod(self.plane[1:])

    @property
    def area(self) -> int:
        """How many elements one channel has, in all phases."""
        return len(self.lattices) * math.prod(self.plane)

    def slab(self, rows: int) -> Runs:
        """The layout for so many places along the first axis at a time."""
        return replace(self, plane=(rows + self.plane[0] - self.sizes[0], *self.plane[1:]))

    def part(self, lattice: Lattice, shape: Shape, start: int) -> tuple[list[Any], list[Any]]:
        """For each axis which elements of a phase stand for some of the image, and which these are.

        Args:
            lattice: That of the phase.
            shape: The spatial sizes of the image.
            start: The place along the first axis from which on the image is laid out.
        """
        inside: list[Any] = []
        taken: list[Any] = []
        for axis, (remainder, step, size) in enumerate(zip(lattice.phase, self.strides, shape, strict=True)):
            # Element m of the phase is element m * step + offset of the image.
            offset = remainder - self.before[axis] + (0 if axis else start * step)
            low = min(self.plane[axis], max(0, -(offset // step)))
            high = max(low, min(self.plane[axis], (size - 1 - offset) // step + 1))
            inside.append(slice(low, high))
            taken.append(slice(low * step + offset, max(0, (high - 1) * step + offset + 1), step))
        return inside, taken


class Planes:
    """The memory in which one thread lays out images; what it looks like is found once.

    Args:
        runs: The layout.
        channels: How many channels at most are laid out at a time.
        most: How many elements a run has at most.
        dtype: The dtype.
    """

    def __init__(self, runs: Runs, channels: int, most: int, dtype: np.dtype[Any]) -> None:
        self._runs = runs
        # A run may begin before its phase and end after it.
        self._lead = max(0, -min(each.first for each in runs.lattices))
        beyond = sum(runs.kernel) * max(max(each.apart[1:], default=0) for each in runs.lattices)
        self._planes = np.zeros(self._lead + channels * runs.area + beyond + most, dtype)
        self._filled: dict[tuple[int, int], tuple[list[Array], list[tuple[Array, Any]]]] = {}

    def fill(self, x: Array, start: int) -> None:
        """Lay out what the window takes of ``(channels, *spatial)`` from its place `start` along the first axis on."""
        found = self._filled.get((len(x), start))
        if found is None:
            found = self._filled[len(x), start] = self._places(x.shape, start)
        outside, inside = found
        for part in outside:
            part.fill(0)
        for part, taken in inside:
            part[...] = x[taken]

    def _places(self, shape: Shape, start: int) -> tuple[list[Array], list[tuple[Array, Any]]]:
        runs = self._runs
        used = self._planes[self._lead : self._lead + shape[0] * runs.area]
        phases = used.reshape(shape[0], len(runs.lattices), *runs.plane)
        outside, inside = [], []
        for number, lattice in enumerate(runs.lattices):
            target, source = runs.part(lattice, shape[1:], start)
            part = phases[:, number]
            # Beside the image is 0 from the beginning, and nothing else is written there along the other axes.
            outside += [part[:, : target[0].start], part[:, target[0].stop :]]
            inside.append((part[(slice(None), *target)], (slice(None), *source)))
        return [part for part in outside if part.size], inside

    def taken(self, channels: int, rows: int) -> Iterator[tuple[Shape, Array]]:
        """What each tap takes: the tap, and a view ``(channels, elements)``; of a layout that pads its rows.

        Args:
            channels: How many channels.
            rows: For how many places along the first axis, from the first that is laid out.
        """
        runs, size = self._runs, self._planes.itemsize
        for number, lattice in enumerate(runs.lattices):
            begin = self._lead + number * math.prod(runs.plane) + lattice.first
            places = [
                range(taps.start, kernel, taps.step) for taps, kernel in zip(lattice.taps, runs.kernel, strict=True)
            ]
            for tap in itertools.product(*map(range, lattice.counts)):
                start = begin + sum(at * by for at, by in zip(tap, lattice.apart, strict=True))
                shape, strides = (channels, rows * runs.row), (runs.area * size, size)
                view: Array = np.ndarray(shape, self._planes.dtype, self._planes, start * size, strides)
                yield tuple(along[at] for along, at in zip(places, tap, strict=True)), view


class Columns(Planes):
    """The memory in which one thread gathers columns.

    Args:
        runs: The layout.
        channels: How many channels a group has.
        groups: How many groups at most are laid out at a time.
        rows: From how many places along the first axis at most columns are made at a time.
        piece: How many of them are one piece: the columns are cut into pieces of one length.
        dtype: The dtype.
    """

    def __init__(self, runs: Runs, channels: int, groups: int, rows: int, piece: int, dtype: np.dtype[Any]) -> None:
        self._piece, self._channels = piece, channels
        most = -(-rows // piece) * piece * runs.row
        super().__init__(runs, groups * channels, most, dtype)
        self._columns = np.empty(groups * channels * math.prod(runs.kernel) * most, dtype)
        self._gathered: dict[tuple[int, int, int], tuple[Array, list[tuple[Array, Array]], list[Array]]] = {}

    def gather(self, groups: int, start: int, rows: int) -> Array:
        """Copy what each tap takes into columns ``(groups, channels * taps, elements)``.

        Where there are several pieces, of which each has its own columns: ``(groups, pieces, taps, elements)``.

        Args:
            groups: How many there are.
            start: The place along the first axis at which they begin, from the first that is laid out.
            rows: For how many places.
        """
        found = self._gathered.get((groups, start, rows))
        if found is None:
            found = self._gathered[groups, start, rows] = self._views(groups, start, rows)
        columns, pairs, beside = found
        for part, view in pairs:
            part[...] = view
        for part in beside:
            part.fill(0)
        return columns

    def _views(self, groups: int, start: int, rows: int) -> tuple[Array, list[tuple[Array, Array]], list[Array]]:
        runs, size, rank = self._runs, self._planes.itemsize, len(self._runs.kernel)
        channels = groups * self._channels
        pieces, piece = -(-rows // self._piece), self._piece * runs.row
        taps = math.prod(runs.kernel)
        columns = self._columns[: channels * pieces * taps * piece].reshape(channels, pieces, taps, piece)
        target = columns.reshape(channels, pieces, *runs.kernel, piece)
        pairs = []
        for number, lattice in enumerate(runs.lattices):
            begin = self._lead + number * math.prod(runs.plane) + lattice.first + start * runs.row
            strides = [size * step for step in (runs.area, piece, *lattice.apart, 1)]
            shape = (channels, pieces, *lattice.counts, piece)
            view: Array = np.ndarray(shape, self._planes.dtype, self._planes, begin * size, strides)
            pairs.append((target[(slice(None), slice(None), *lattice.taps)], view))
        rowed = columns.reshape(channels, pieces, *runs.kernel, self._piece, *runs.plane[1:])
        beside = [rowed[(slice(None),) * (1 + rank) + (tap, ..., places)] for tap, places in runs.beside]
        return columns if pieces > 1 else columns.reshape(groups, -1, piece), pairs, beside


@functools.lru_cache(maxsize=512)
def runs_of(
    kernel: Shape,
    strides: Shape,
    padding: Pairs,
    dilation: Shape,
    sizes: Shape,
    width: int,
    *,
    pads: bool = False,
) -> Runs:
    """The layout for a window that has `sizes` places over an image of `width` along its last axis.

    Args:
        kernel: How many taps the window has.
        strides: Its strides.
        padding: A pair (before, after) of zeros for each spatial axis.
        dilation: How far apart taps are.
        sizes: How many places the window has.
        width: The last size of the image.
        pads: Whether the rows are padded, too: then nothing is written over.
    """
    rank = len(kernel)
    pads = pads or rank == 1  # with one axis a row is one element, and that axis is the first
    before = tuple(pair[0] if pads or axis < rank - 1 else 0 for axis, pair in enumerate(padding))
    # Where each tap stands along each axis, from the first element that phases have on.
    places = [
        [tap * apart - pair[0] + kept for tap in range(taps)]
        for taps, apart, pair, kept in zip(kernel, dilation, padding, before, strict=True)
    ]
    plane = [each[-1] // step + size for each, step, size in zip(places, strides, sizes, strict=True)]
    beside: list[tuple[int, slice]] = []
    if not pads:
        step, size = strides[-1], sizes[-1]
        has = [min(size + place // step, -(-(width - place % step) // step)) for place in places[-1]]
        plane[-1] = max(size, *has)
        for tap, place in enumerate(places[-1]):
            low, high = min(size, max(0, -(place // step))), min(size, max(0, plane[-1] - place // step))
            beside += [(tap, slice(*bounds)) for bounds in ((0, low), (high, size)) if bounds[0] < bounds[1]]
    across = [math.prod(plane[axis + 1 :]) for axis in range(rank)]
    # Every so many taps take from the same phase.
    periods = [step // math.gcd(step, apart) for step, apart in zip(strides, dilation, strict=True)]
    found = []
    for first in itertools.product(*(range(min(taps, period)) for taps, period in zip(kernel, periods, strict=True))):
        stands = [along[tap] for along, tap in zip(places, first, strict=True)]
        found.append(
            Lattice(
                tuple(place % step for place, step in zip(stands, strides, strict=True)),
                tuple(slice(tap, None, period) for tap, period in zip(first, periods, strict=True)),
                tuple(-(-(taps - tap) // period) for taps, tap, period in zip(kernel, first, periods, strict=True)),
                sum(place // step * size for place, step, size in zip(stands, strides, across, strict=True)),
                tuple(
                    period * apart // step * size
                    for period, step, apart, size in zip(periods, strides, dilation, across, strict=True)
                ),
            )
        )
    return Runs(tuple(sizes), tuple(kernel), tuple(plane), tuple(found), tuple(strides), before, tuple(beside))


def evenly(rows: int, most: int) -> int:
    """The largest number up to `most` that divides `rows`; where that is small, one whose last multiple is near."""
    found = next(each for each in range(min(rows, most), 0, -1) if not rows % each)
    return found if 2 * found >= min(rows, most) else -(-rows // -(-rows // most))
