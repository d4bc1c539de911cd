"""How MXNet's operators are lifted that scale arrays by what stands around each element."""

from __future__ import annotations

import math
from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.lifting_context import Context
from modelarchive.exchange.mxnet.lifting_dtypes import of_floats
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

_WHOLE: Final[list[Any]] = [None, None, None]
#: Channels that are summed up one by one.
_MOST: Final = 64


def _unit(context: Context) -> Ref:
    """L2Normalization: divided by the root of the sum of squares, of an item, of channels, or of places."""
    at, x, rank = context.attributes, context.ref(0), context.rank(0)
    mode = at.text("mode", "instance")
    axes = {"instance": list(range(1, rank)), "channel": [1], "spatial": list(range(2, rank))}.get(mode)
    if not axes:
        raise Refusal(f"mode = {mode!r} of {rank} axes is not supported")
    squares = context.op("sum", context.op("multiply", x, x), axis=axes, keepdims=True)
    return context.op("multiply", x, context.op("rsqrt", _more(context, squares, at.real("eps", 1e-10))))


def _local(context: Context) -> Ref:
    """LRN: each channel by the squares of its neighbours."""
    at, x = context.attributes, context.ref(0)
    size = at.integer("nsize")
    alpha, beta, knorm = at.real("alpha", 1e-4), at.real("beta", 0.75), at.real("knorm", 2.0)
    channels = context.shape(0)[1] if context.rank(0) > 1 else None
    if channels is None or not 1 <= size <= _MOST or size % 2 == 0:
        raise Refusal(f"over {size} channels of a number that is not known, or no odd number up to {_MOST}")
    half = size // 2
    pairs = [[half, half] if axis == 1 else [0, 0] for axis in range(context.rank(0))]
    squares = context.op("pad", context.op("multiply", x, x), padding=pairs, mode="constant", value=0.0)
    parts = [context.op("slice", squares, index=[_WHOLE, [first, first + channels, None]]) for first in range(size)]
    total = parts[0]
    for part in parts[1:]:
        total = context.op("add", total, part)
    base = _more(context, context.op("multiply", total, context.constant(alpha / size)), knorm)
    return context.op("divide", x, context.op("power", base, context.constant(beta)))


def _more(context: Context, x: Ref, number: float) -> Ref:
    return context.op("add", x, context.constant(number))


def _by_width(context: Context) -> Ref:
    """Divided by the root of the size of the last axis."""
    size = context.shape(0)[-1]
    if size is None:
        raise Refusal("the size of its last axis is not known: pass inputs=")
    return context.op("divide", context.ref(0), context.constant(math.sqrt(size)))


def _softmin(context: Context) -> Ref:
    """The softmax of the negative."""
    at = context.attributes
    axis, temperature = at.integer("axis", -1), at.text("temperature", "None")
    x = context.op("negative", context.ref(0))
    if temperature != "None":
        x = context.op("divide", x, context.constant(at.real("temperature")))
    at.aside("dtype", "use_length")
    return context.block({"kind": "Softmax", "axis": axis}, x)


def _smooth(context: Context) -> Ref:
    """smooth_l1: squares near 0, and sizes beyond."""
    sigma = context.attributes.real("scalar", 1.0) ** 2
    x = of_floats(context, context.ref(0))
    size = context.op("abs", x)
    near = context.op("multiply", context.op("multiply", x, x), context.constant(0.5 * sigma))
    is_near = context.op("less", size, context.constant(1 / sigma))
    return context.op("where", is_near, near, _more(context, size, -0.5 / sigma))


#: Operators that scale.
ROWS: Final = (
    Lifting("L2Normalization", "multiply, sum, rsqrt", _unit),
    Lifting("LRN", "multiply, pad, slice, add, power, divide", _local, "of a known number of channels"),
    Lifting("_contrib_div_sqrt_dim", "divide", _by_width, "of a known size"),
    Lifting("softmin", "negative, Softmax", _softmin),
    Lifting("smooth_l1 _npx_smooth_l1", "abs, multiply, where", _smooth),
)
