"""How ONNX's sums and products of all elements so far are lifted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_sizes import sizes_of
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.nn.dim import Dim

_WHOLE: Final = [None, None, None]


def _cumsum(context: Context) -> Ref:
    return _directed(context, 0, lambda x, axis: context.as_dtype(context.op("cumsum", x, axis=axis), context.dtype(0)))


def _cumprod(context: Context) -> Ref:
    """Times the one before, times the two before, the four, the eight: as many rounds as the size has bits."""

    def product(x: Ref, axis: int) -> Ref:
        size = sizes_of(context)[axis]
        if isinstance(size, Dim):
            raise Refusal("CumProd along an axis that is not fixed is not supported: pass inputs=")
        step = 1
        while step < size:
            budget.spend(f"{context.node.op} {context.name!r}", steps=3)
            x = context.op("multiply", x, _behind(context, x, axis, step, 1))
            step *= 2
        return x

    return _directed(context, 1, product)


def _directed(context: Context, neutral: int, scan: Callable[[Ref, int], Ref]) -> Ref:
    """A scan forwards or backwards, of the elements before each, with it or without."""
    axis = context.axis(context.whole(1))
    exclusive, reverse = context.node.flag("exclusive", default=False), context.node.flag("reverse", default=False)
    backwards: list[Any] = [*[_WHOLE] * axis, [None, None, -1]]
    x = context.op("slice", context.ref(0), index=backwards) if reverse else context.ref(0)
    found = scan(_behind(context, x, axis, 1, neutral) if exclusive else x, axis)
    return context.op("slice", found, index=backwards) if reverse else found


def _behind(context: Context, x: Ref, axis: int, step: int, fill: int) -> Ref:
    """The elements some steps before each."""
    pairs = [[0, 0] for _ in range(context.rank(0))]
    pairs[axis] = [step, 0]
    padded = context.op("pad", x, padding=pairs, mode="constant", value=fill)
    return context.op("slice", padded, index=[*[_WHOLE] * axis, [None, -step, None]])


ROWS: Final[list[Lifting]] = [
    Lifting("CumSum", "cumsum, slice, pad", _cumsum),
    Lifting("CumProd", "pad, slice, multiply", _cumprod, "of an axis of known size"),
]
