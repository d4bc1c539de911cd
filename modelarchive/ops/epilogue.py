"""What follows a product while it is in the cache: a factor and a summand for each channel, and an activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from modelarchive.ops import activation
from modelarchive.ops.registry import Array
from modelarchive.ops.threads import piece_of, share

#: Elements from which on threads are worth their start.
WORTH: Final = 1 << 19


@dataclass(frozen=True)
class Epilogue:
    """The steps, each of them optional, in the order in which they are taken.

    Attributes:
        factor: ``(channels,)`` in the dtype of the computation.
        summand: Likewise.
        activation: The name of an activation.
        alpha: Its parameter.
        slope: ``(channels,)``, or ``(1,)`` for all: of negative elements, instead of an activation.
    """

    factor: Array | None = None
    summand: Array | None = None
    activation: str | None = None
    alpha: float | None = None
    slope: Array | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        is_shifted = self.factor is not None or self.summand is not None
        return is_shifted or self.activation is not None or self.slope is not None

    def after_bias(self, bias: Array) -> Epilogue:
        """The epilogue with a summand before it."""
        summand = bias if self.factor is None else bias * self.factor
        if self.summand is not None:
            summand = summand + self.summand
        return replace(self, summand=summand)

    def scaled(self, factor: Array, summand: Array) -> Epilogue:
        """The epilogue with another factor and summand at its end, before which no activation stands."""
        first = factor if self.factor is None else self.factor * factor
        then = summand if self.summand is None else self.summand * factor + summand
        return Epilogue(first, then, self.activation, self.alpha, self.slope)

    def part(self, channels: slice) -> Epilogue:
        """The epilogue of some of the channels."""
        given = (self.factor, self.summand, self.slope)
        factor, summand, slope = (each if each is None or each.size == 1 else each[channels] for each in given)
        return Epilogue(factor, summand, self.activation, self.alpha, slope)

    def into(self, x: Array, out: Array, axis: int) -> None:
        """Write the result for `x` into `out`, which may be `x` itself.

        Args:
            x: Channels at `axis`.
            out: Of the same shape and dtype.
            axis: The axis of the channels.
        """
        block = piece_of(x.size)
        if x.size > block and x.ndim > 1:
            several = max(1, block * len(x) // x.size)

            def finish(first: int) -> None:
                some = slice(first, first + several)
                if axis == 0:
                    self.part(some).step(x.ndim, 0)(x[some], out[some])
                elif several > 1:
                    step(x[some], out[some])
                else:
                    self.into(x[first], out[first], axis - 1)

            step = self.step(x.ndim, axis)
            with np.errstate(over="ignore"):  # see activation.formula
                share(lambda: finish, range(0, len(x), several), alone=x.size < WORTH)
        else:
            with np.errstate(over="ignore"):
                self.step(x.ndim, axis)(x, out)

    def step(self, rank: int, axis: int, *, spoils: bool = False) -> Callable[[Array, Array], None]:
        """What does all of it to arrays of so many axes that stay in the cache: from one into another.

        It is called between products that fill the processor's caches with other things than Python, so it does
        as little as it can.

        Args:
            rank: How many axes they have.
            axis: That of the channels.
            spoils: Whether it may write over the first, so that the second, which lies further away, is written once.
        """
        shape = [1] * rank
        shape[axis] = -1
        given = (self.factor, self.summand, self.slope)
        factor, summand, slope = (None if each is None else each.reshape(shape) for each in given)
        formula = None if slope is None else activation.prelu_formula(slope)
        if self.activation is not None:
            formula = activation.formula(self.activation, self.alpha)
        of_negative = None if summand is None else activation.OF_NEGATIVE.get(self.activation)
        negative = None if summand is None else -summand

        def finish(x: Array, out: Array) -> None:
            near = x if spoils else out
            if factor is not None:
                x = np.multiply(x, factor, out=near)
            if of_negative is not None and negative is not None:
                of_negative(np.subtract(negative, x, out=near), out)
                return
            if summand is not None:
                x = np.add(x, summand, out=out if formula is None else near)
            if formula is not None:
                formula(x, out)
            elif x is not out:
                np.copyto(out, x)

        return finish


#: Nothing follows.
NOTHING: Final = Epilogue()
