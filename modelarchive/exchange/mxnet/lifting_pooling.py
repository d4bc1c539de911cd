"""How MXNet's pooling is lifted: to layers of the vocabulary, and to sums."""

from __future__ import annotations

import math
from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.lifting_context import Context
from modelarchive.exchange.mxnet.lifting_layers import LAYOUTS, windows
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting


def _pooling(context: Context) -> Ref:
    """Pooling over windows and over everything."""
    at = context.attributes
    style = at.text("pool_type", "max")
    at.expect("p_value", "None", "0", "2")
    at.expect("output_size", "None", "()", "[]")
    if style not in ("max", "avg", "sum"):
        raise Refusal(f"pool_type = {style!r} is not supported, only max, avg and sum")
    include = at.flag("count_include_pad", default=True) if at.text("count_include_pad", "None") != "None" else True
    if at.flag("global_pool", default=False):
        at.aside("stride", "pad", "pooling_convention")
        return _over_everything(context, style)
    rank, config = windows(context, fields={"kernel": "pool_size", "stride": "strides", "pad": "padding"})
    x = context.ref(0)
    first = context.node.op == "Pooling_v1"
    if first:
        x, include = _zeros_around(context, x, config), True
    config["ceil_mode"] = _is_rounded_up(context, config, first=first)
    if style == "max":
        return context.block(config | {"kind": f"MaxPool{rank}D"}, x)
    found = context.block(config | {"kind": f"AvgPool{rank}D", "count_include_pad": include or style == "sum"}, x)
    if style == "avg":
        return found
    if config["ceil_mode"]:
        raise Refusal("sums over windows that reach beyond the padding are not supported")
    return context.op("multiply", found, context.constant(float(math.prod(config["pool_size"]))))


def _over_everything(context: Context, style: str) -> Ref:
    layout = context.attributes.text("layout", "None")
    kernel = context.attributes.sizes("kernel", "()")
    rank = len(layout) - 2 if layout != "None" else len(kernel) or context.rank(0) - 2
    if rank not in LAYOUTS:
        raise Refusal(f"pooling over {rank} axes is not supported")
    layout = LAYOUTS[rank] if layout == "None" else layout
    if style == "sum":
        axes = [axis for axis, letter in enumerate(layout) if letter not in "NC"]
        return context.op("sum", context.ref(0), axis=axes, keepdims=True)
    return context.block({"kind": f"Global{style.capitalize()}Pool{rank}D", "layout": layout}, context.ref(0))


def _zeros_around(context: Context, x: Ref, config: dict[str, Any]) -> Ref:
    """The first pooling takes the padding for zeros, of which one may be the largest."""
    padding, config["padding"] = config["padding"], [[0, 0]] * len(config["padding"])
    if not any(map(any, padding)):
        return x
    return context.op("pad", x, padding=[[0, 0], [0, 0], *padding], mode="constant", value=0.0)


def _is_rounded_up(context: Context, config: dict[str, Any], *, first: bool) -> bool:
    """Whether a last, partial window counts, in a way that windows of the vocabulary have as well.

    Raises:
        Refusal: MXNet counts a window that begins behind the input; or a partial one as a whole.
    """
    at = context.attributes
    convention = at.text("pooling_convention", "valid")
    if convention not in ("valid", "full"):
        raise Refusal(f"pooling_convention = {convention!r} is not supported, only valid and full")
    if convention == "valid":
        return False
    places = [axis for axis, letter in enumerate(config["layout"]) if letter not in "NC"]
    shape = context.shape(0) if context.is_known(0) else [None] * (len(places) + 2)
    around = [[pad, pad] for pad in at.sizes("pad", "()")] or config["padding"]
    partial = False
    for axis, kernel, stride, (pad, _) in zip(places, config["pool_size"], config["strides"], around, strict=True):
        size = shape[axis]
        over = None if size is None else (size + 2 * pad - kernel) % stride
        if over == 0:
            continue
        partial = True
        begins = None if size is None else -(-(size + 2 * pad - kernel) // stride) * stride
        if kernel < stride + pad if begins is None or size is None else begins >= size + pad:
            what = f"windows of {kernel} every {stride}, of which the last begins behind the input, are not supported"
            raise Refusal(what if size is not None else f"{what}: pass inputs= with fixed sizes")
    if partial and first and (at.text("pool_type", "max") != "max" or any(map(any, around))):
        raise Refusal("a last, partial window of Pooling_v1 is not supported, only one of max without padding")
    return partial or not first or any(shape[axis] is None for axis in places)


ROWS: Final = (
    Lifting(
        "Pooling Pooling_v1 _npx_pooling",
        "MaxPool1D, MaxPool2D, MaxPool3D, AvgPool1D, AvgPool2D, AvgPool3D, GlobalMaxPool1D, GlobalMaxPool2D, "
        "GlobalMaxPool3D, GlobalAvgPool1D, GlobalAvgPool2D, GlobalAvgPool3D",
        _pooling,
        "`full` as ceil_mode, refused where a window begins behind the input; so are lp pooling and `same`",
    ),
)
