"""How ONNX's windows are lifted that no layer has: tap by tap."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_windows import LAYOUTS, each_axis, padding_of, whole_windows
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

_WHOLE: Final = [None, None, None]
#: Elements of one window, each of which is a part of its own.
_MAX_TAPS: Final = 1024


def _tapped(
    context: Context, ref: Ref, window: tuple[list[int], ...], pairs: list[list[int]], fill: Any, name: str
) -> Ref:
    """An op of two arrays over all elements of each window.

    Args:
        context: The operator.
        ref: (batch, channels, ...).
        window: Kernel, strides and dilation.
        pairs: What is added before and after along each axis.
        fill: The element that is added.
        name: The op.
    """
    kernel, strides, dilation = window
    if not 1 <= math.prod(kernel) <= _MAX_TAPS or min(*kernel, *strides, *dilation) < 1:
        raise Refusal(f"{context.node.op} of windows of {kernel} is not supported")
    budget.spend(f"{context.node.op} {context.name!r}", steps=2 * math.prod(kernel))
    if any(map(any, pairs)):
        ref = context.op("pad", ref, padding=pairs, mode="constant", value=fill)
    total: Ref | None = None
    for tap in itertools.product(*map(range, kernel)):
        taken = [
            [place * gap or None, (place - size + 1) * gap or None, None if step == 1 else step]
            for place, size, gap, step in zip(tap, kernel, dilation, strides, strict=True)
        ]
        part = context.op("slice", ref, index=[_WHOLE, _WHOLE, *taken])
        total = part if total is None else context.op(name, total, part)
    if total is None:
        raise Refusal(f"{context.node.op} without a window is not supported")
    return total


def _window(context: Context) -> tuple[tuple[list[int], ...], list[list[int]]]:
    """Kernel, strides and dilation; and what is added, with what a last window in part needs beyond the end."""
    rank = context.rank(0) - 2
    kernel = list(context.node.integers("kernel_shape"))
    if rank not in LAYOUTS or len(kernel) != rank:
        raise Refusal(f"{context.node.op} of windows of {kernel} over {rank} axes is not supported")
    strides, dilation = each_axis(context, "strides", 1, rank), each_axis(context, "dilations", 1, rank)
    if dilation != [1] * rank and context.node.text("auto_pad", "NOTSET").startswith("SAME"):
        raise Refusal(
            f"{context.node.op} with auto_pad = 'SAME_...' of windows with gaps: runtimes take it in two ways"
        )
    pairs = padding_of(context, kernel, strides, dilation)
    whole_windows(context, kernel, dilation, pairs)
    return (kernel, strides, dilation), pairs


def _reaching(context: Context, window: tuple[list[int], ...], pairs: list[list[int]]) -> list[list[int]]:
    """Padding with what a last window in part needs beyond the end, where it counts."""
    if not context.node.flag("ceil_mode", default=False):
        return pairs
    found = []
    for size, pair, kernel, step, gap in zip(context.shape(0)[2:], pairs, *window, strict=True):
        if size is None:
            raise Refusal(f"{context.node.op} with ceil_mode and dilations of sizes that are not fixed: pass inputs=")
        reach = gap * (kernel - 1) + 1
        room = size + sum(pair) - reach
        count = -(-room // step) + 1
        # As long as it begins in the input or in what is before it.
        count -= (count - 1) * step >= size + pair[0]
        found.append([pair[0], pair[1] + max((count - 1) * step + reach - size - sum(pair), 0)])
    return found


def dilated_pooling(context: Context) -> Ref:
    """MaxPool and AveragePool whose windows have gaps."""
    window, pairs = _window(context)
    reaching, dtype = _reaching(context, window, pairs), context.dtype(0)
    if context.node.op == "MaxPool":
        least: Any = "-Infinity" if dtype[0] not in "iu" else int(np.iinfo(dtypes.DENSE[dtype]).min)
        return _tapped(context, context.ref(0), window, reaching, least, "maximum")
    include = context.node.flag("count_include_pad", default=False)
    total = _tapped(context, context.ref(0), window, reaching, 0, "add")
    if not any(map(any, reaching)):
        return context.op("divide", total, context.literal(math.prod(window[0]), dtype))
    return context.op("divide", total, _counts(context, window, pairs, reaching, dtype, include=include))


def _counts(
    context: Context,
    window: tuple[list[int], ...],
    pairs: list[list[int]],
    reaching: list[list[int]],
    dtype: str,
    *,
    include: bool,
) -> Ref:
    """How many elements of each window count: those of the input, and what is added to it by the pads."""
    rank = len(pairs)
    result: Ref | None = None
    for axis, (size, pair, far, kernel, step, gap) in enumerate(
        zip(context.shape(0)[2:], pairs, reaching, *window, strict=True)
    ):
        if size is None:
            raise Refusal(f"{context.node.op} with dilations of sizes that are not fixed is not supported")
        context.make(size + sum(far))
        inside = np.zeros(size + sum(far))
        first, last = (0, size + sum(pair)) if include else (pair[0], pair[0] + size)
        inside[first:last] = 1
        count = (len(inside) - gap * (kernel - 1) - 1) // step + 1
        sums = sum(inside[place * gap : place * gap + (count - 1) * step + 1 : step] for place in range(kernel))
        each = context.fixed(np.reshape(sums, [-1] + [1] * (rank - axis - 1)).astype(np.float32))
        each = context.as_dtype(each, dtype)
        result = each if result is None else context.op("multiply", result, each)
    if result is None:
        raise Refusal(f"{context.node.op} without windows is not supported")
    return result


def _norm(context: Context, x: Ref, add: Callable[[Ref], Ref]) -> Ref:
    """The p-th root of the sum of p-th powers."""
    power, dtype = (
        context.node.number("p", 2.0) if context.opset < 2 else context.node.integer("p", 2),
        context.dtype(0),
    )
    size = context.op("abs", x)
    if power == 1:
        return add(size)
    if power == 2:
        return context.op("sqrt", add(context.op("multiply", x, x)))
    total = add(context.op("power", size, context.literal(power, dtype)))
    return context.op("power", total, context.literal(1 / power, dtype))


def _lp_pool(context: Context) -> Ref:
    window, pairs = _window(context)
    reaching = _reaching(context, window, pairs)
    return _norm(context, context.ref(0), lambda x: _tapped(context, x, window, reaching, 0, "add"))


def _global_lp_pool(context: Context) -> Ref:
    axes = list(range(2, context.rank(0)))
    return _norm(context, context.ref(0), lambda x: context.op("sum", x, axis=axes, keepdims=True))


def _causal(context: Context) -> tuple[Ref, Ref]:
    """A convolution of each channel, behind what it saw before; and what it has to see next time."""
    activation, weight = context.node.text("activation", "none"), context.shape(1)
    if activation not in ("none", "silu", "swish") or len(weight) != 3 or weight[1] != 1 or None in weight:
        raise Refusal(f"CausalConvWithState of the weights {weight} and {activation!r} is not supported")
    before = int(weight[2] or 1) - 1
    if context.has(3):
        x = context.op("concatenate", context.ref(3), context.ref(0), axis=2)
    else:
        x = (
            context.op("pad", context.ref(0), padding=[[before, 0]], mode="constant", value=0)
            if before
            else context.ref(0)
        )
    found = context.op("conv", x, context.ref(1), strides=[1], padding=[[0, 0]], dilation=[1])
    if context.has(2):
        found = context.op("add", found, context.op("reshape", context.ref(2), shape=[1, -1, 1]))
    if activation != "none":
        found = context.activation("silu", found)
    index = [_WHOLE, _WHOLE, [-before, None, None] if before else [0, 0, None]]
    return found, context.op("slice", x, index=index)


ROWS: Final[list[Lifting]] = [
    Lifting("LpPool", "multiply, pad, slice, add, sqrt", _lp_pool),
    Lifting("GlobalLpPool", "multiply, sum, sqrt", _global_lp_pool),
    Lifting("CausalConvWithState", "conv, concatenate, pad, slice", _causal),
]
