"""What follows a product while it is in the cache: a factor and a summand for each channel, and an activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from modelarchive.ops import activation
from modelarchive.ops.registry import Array
from modelarchive.ops.threads import share

#: Elements that stay in the cache from one step to the next.
BLOCK: Final = 1 << 17
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
    """

    factor: Array | None = None
    summand: Array | None = None
    activation: str | None = None
    alpha: float | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return self.factor is not None or self.summand is not None or self.activation is not None

    def after_bias(self, bias: Array) -> Epilogue:
        """The epilogue with a summand before it."""
        summand = bias if self.factor is None else bias * self.factor
        if self.summand is not None:
            summand = summand + self.summand
        return Epilogue(self.factor, summand, self.activation, self.alpha)

    def scaled(self, factor: Array, summand: Array) -> Epilogue:
        """The epilogue with another factor and summand at its end, before which no activation stands."""
        first = factor if self.factor is None else self.factor * factor
        then = summand if self.summand is None else self.summand * factor + summand
        return Epilogue(first, then, self.activation, self.alpha)

    def activated(self, activation: str, alpha: float | None) -> Epilogue:
        """The epilogue with an activation at its end."""
        return Epilogue(self.factor, self.summand, activation, alpha)

    def part(self, channels: slice) -> Epilogue:
        """The epilogue of some of the channels."""
        factor, summand = (None if each is None else each[channels] for each in (self.factor, self.summand))
        return Epilogue(factor, summand, self.activation, self.alpha)

    def into(self, x: Array, out: Array, axis: int) -> None:
        """Write the result for `x` into `out`, which may be `x` itself.

        Args:
            x: Channels at `axis`.
            out: Of the same shape and dtype.
            axis: The axis of the channels.
        """
        if x.size > BLOCK and x.ndim > 1:
            several = max(1, BLOCK * len(x) // x.size)

            def finish(first: int) -> None:
                some = slice(first, first + several)
                if axis == 0:
                    self.part(some)._at_once(x[some], out[some], 0)
                elif several > 1:
                    self._at_once(x[some], out[some], axis)
                else:
                    self.into(x[first], out[first], axis - 1)

            share(lambda: finish, range(0, len(x), several), alone=x.size < WORTH)
        else:
            self._at_once(x, out, axis)

    def _at_once(self, x: Array, out: Array, axis: int) -> None:
        shape = [1] * x.ndim
        shape[axis] = -1
        if self.factor is not None:
            x = np.multiply(x, self.factor.reshape(shape), out=out)
        if self.summand is not None:
            x = np.add(x, self.summand.reshape(shape), out=out)
        if self.activation is not None:
            activation.into(self.activation, x, out, self.alpha)
        elif x is not out:
            np.copyto(out, x)


#: Nothing follows.
NOTHING: Final = Epilogue()
