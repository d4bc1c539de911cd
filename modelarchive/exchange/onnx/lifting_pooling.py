"""How ONNX's poolings are lifted: as the layers of that name, tap by tap where windows have gaps."""

from __future__ import annotations

from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context, Lift
from modelarchive.exchange.onnx.lifting_placing import largest_places
from modelarchive.exchange.onnx.lifting_taps import dilated_pooling
from modelarchive.exchange.onnx.lifting_windows import LAYOUTS, each_axis, padding_of, spatial, whole_windows
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting


def _pooling(context: Context) -> Ref | tuple[Ref, Ref]:
    rank, node = spatial(context), context.node
    average = node.op == "AveragePool"
    kernel, strides = list(node.integers("kernel_shape")), each_axis(context, "strides", 1, rank)
    dilation = each_axis(context, "dilations", 1, rank)
    node.integer("storage_order", 0)
    padding = padding_of(context, kernel, strides, dilation)
    dtype = context.dtype(0)
    if len(kernel) != rank or (average and dtype[0] in "iu"):
        raise Refusal(f"{node.op} of {dtype} in windows of {kernel} is not supported")
    if dilation != [1] * rank and node.text("auto_pad", "NOTSET").startswith("SAME"):
        raise Refusal(f"{node.op} with auto_pad = 'SAME_...' of windows with gaps: runtimes take it in two ways")
    whole_windows(context, kernel, dilation, padding)
    if context.used(1):
        return _with_places(context, kernel, padding)
    return _layer(context, rank, kernel, padding)


def _with_places(context: Context, kernel: list[int], padding: list[list[int]]) -> tuple[Ref, Ref]:
    """The largest elements are those at the places where they are."""
    places = largest_places(context, kernel, padding)
    flat = context.op("reshape", context.ref(0), shape=[-1])
    return context.op("take", flat, places, axis=0), places


def _layer(context: Context, rank: int, kernel: list[int], padding: list[list[int]]) -> Ref:
    node = context.node
    average = node.op == "AveragePool"
    strides, dilation = each_axis(context, "strides", 1, rank), each_axis(context, "dilations", 1, rank)
    ceil = node.flag("ceil_mode", default=False)
    include = node.flag("count_include_pad", default=False) if average else False
    if dilation != [1] * rank:
        return dilated_pooling(context)
    config: dict[str, Any] = {
        "kind": f"{'Avg' if average else 'Max'}Pool{rank}D",
        "pool_size": kernel,
        "strides": strides,
        "padding": padding,
        "layout": LAYOUTS[rank],
        "ceil_mode": ceil,
    }
    ref = context.ref(0)
    if any(max(pair) >= size for pair, size in zip(padding, kernel, strict=True)):
        raise Refusal(f"padding {padding} that fills windows of {kernel} is not supported")
    if average:
        config["count_include_pad"] = include
    return context.block(config, ref)


def _global(style: str) -> Lift:
    def lift(context: Context) -> Ref:
        rank = context.rank(0) - 2
        if context.dtype(0)[0] in "iu" and style == "Avg":
            raise Refusal(f"{context.node.op} of {context.dtype(0)} is not supported")
        if rank in LAYOUTS:
            return context.block({"kind": f"Global{style}Pool{rank}D", "layout": LAYOUTS[rank]}, context.ref(0))
        return context.op(
            "mean" if style == "Avg" else "max", context.ref(0), axis=list(range(2, rank + 2)), keepdims=True
        )

    return lift


ROWS: Final[list[Lifting]] = [
    Lifting(
        "MaxPool",
        "MaxPool1D, MaxPool2D, MaxPool3D, maximum, where, take",
        _pooling,
        "places of elements of known sizes only",
    ),
    Lifting("AveragePool", "AvgPool1D, AvgPool2D, AvgPool3D, add, divide", _pooling),
    Lifting("GlobalMaxPool", "GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D", _global("Max")),
    Lifting("GlobalAveragePool", "GlobalAvgPool1D, GlobalAvgPool2D, GlobalAvgPool3D", _global("Avg")),
]
