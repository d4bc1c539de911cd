"""How operations on the colours of images are lifted: hue, saturation and value of three colours, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_ops import one
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal


def _planes(formula: Callable[[Term, Term, Term], tuple[Term, Term, Term]]) -> Lift:
    """What a formula makes of the three planes of images."""

    def lift(context: Context) -> Ref:
        x = one(context, 0, "images")
        last = context.config.value("data_format", None) != "channels_first"
        rank = context.rank(x)
        if rank not in (3, 4) or context.dtype(x).kind == "i":
            raise Refusal(f"of {context.dtype(x)} with {rank} axes, expected images of floats")
        axis = rank - (1 if last else 3)
        if context.dims(x)[axis] != 3:
            raise Refusal(f"of {context.dims(x)[axis]} colours, expected 3")
        planes = [Term(context, each) for each in context.ops("split", x, sizes=3, axis=axis)]
        return context.op("concatenate", *(each.ref for each in formula(*planes)), axis=axis)

    return lift


def _hue_of(red: Term, green: Term, blue: Term) -> tuple[Term, Term, Term]:
    """RGBToHSV."""
    least = float(np.finfo(red.context.dtype(red.ref)).eps)
    red, green, blue = ((abs(each) < least).where(0.0, each) for each in (red, green, blue))
    value = red.op("maximum", green).op("maximum", blue)
    spread = value - red.op("minimum", green).op("minimum", blue)
    is_bright, is_coloured = value > 0.0, spread > 0.0
    saturation = is_bright.where(spread / is_bright.where(value, 1.0), 0.0)
    step = 1.0 / (6.0 * is_coloured.where(spread, 1.0))
    hue = value.equal(green).where(step * (blue - red) + 2 / 6, step * (red - green) + 4 / 6)
    hue = value.equal(red).where(step * (green - blue), hue)
    turn = (hue < 0.0).where(hue * 0.0 + 1.0, 0.0)
    return is_coloured.where(hue, 0.0) + turn, saturation, value


def _colours_of(hue: Term, saturation: Term, value: Term) -> tuple[Term, Term, Term]:
    """HSVToRGB."""
    turn = hue.op("remainder", 1.0) * 6.0
    rest = 1.0 - saturation
    red = abs(turn - 3.0) - 1.0
    green, blue = (2.0 - abs(turn - middle) for middle in (2.0, 4.0))
    lit = [each.op("clip", low=0.0, high=1.0) for each in (red, green, blue)]
    first, second, third = (value * (rest + saturation * each) for each in lit)
    return first, second, third


#: Operations on colours.
ROWS: Final[tuple[Lifting, ...]] = (
    operation("RGBToHSV", "maximum, minimum, where", _planes(_hue_of), "of floats"),
    operation("HSVToRGB", "remainder, clip", _planes(_colours_of), "of floats"),
)
