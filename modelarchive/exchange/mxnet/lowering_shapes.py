"""How padding and other shapes are lowered to MXNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelarchive.exchange.mxnet.emitting import Entry
from modelarchive.exchange.mxnet.lowering_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.walking import Value


def padding(context: Context, x: Value, pairs: Sequence[Sequence[int]], mode: str, value: Any) -> Entry:
    """Pad, which MXNet has for the axes behind the first two of four or five: others are turned there and back."""
    axes = x.rank
    widths = [(0, 0)] * (axes - len(pairs)) + [(before, after) for before, after in pairs]
    still = [axis for axis, width in enumerate(widths) if not any(width)]
    if mode == "wrap" or isinstance(value, str):
        raise Refusal("padding that wraps around, or by something that is no number, is not supported")
    if len(still) == axes:
        return context.array(x)
    more = next((more for more in range(5) if axes + more in (4, 5) and len(still) + more >= 2), None)
    if more is None:
        raise Refusal("padding of more than three axes of five is not supported")
    found = context.array(x)
    for _ in range(more):
        found = context.op("expand_dims", found, axis=0)
    widths = [(0, 0)] * more + widths
    order = sorted(range(axes + more), key=lambda axis: (any(widths[axis]), axis))
    back = [order.index(axis) for axis in range(axes + more)]
    turned = order != sorted(order)
    found = context.op("transpose", found, axes=order) if turned else found
    flat = [each for axis in order for each in widths[axis]]
    found = context.op("Pad", found, mode=mode, pad_width=flat, constant_value=float(value))
    found = context.op("transpose", found, axes=back) if turned else found
    for _ in range(more):
        found = context.op("squeeze", found, axis=[0])
    return found


def reshape(context: Context, x: Value, shape: Sequence[int | None]) -> Entry:
    """MXNet's 0 is what null is here; its sizes are not 0."""
    if 0 in shape or not shape:
        raise Refusal(f"the shape {list(shape)} is not supported")
    return context.op("Reshape", context.array(x), shape=[0 if size is None else size for size in shape])
