"""How convolutions, pooling and resizing are lowered to MXNet: kind -> operators. One row a kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from modelarchive.exchange.axes import channels_first, channels_last
from modelarchive.exchange.mxnet.emitting import Entry
from modelarchive.exchange.mxnet.lowering_activations import activated
from modelarchive.exchange.mxnet.lowering_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.exchange.walking import Value

#: What a row's function is.
_Lower = Callable[[Context, Any, list[Value]], Entry]


def _first(context: Context, layer: Any, x: Entry) -> Entry:
    """MXNet on a processor computes with the channels first only."""
    order = channels_first(layer.layout)
    return x if order is None else context.op("transpose", x, axes=order)


def _last(context: Context, layer: Any, x: Entry) -> Entry:
    order = channels_last(layer.layout)
    return x if order is None else context.op("transpose", x, axes=order)


def _padded(context: Context, layer: Any, x: Entry) -> tuple[Entry, list[int]]:
    """The same padding before and after as the operator says it, anything else as an operator of its own."""
    if all(before == after for before, after in layer.padding):
        return x, [before for before, _ in layer.padding]
    if len(layer.padding) < 2:
        raise Refusal(f"padding {layer.padding} of one axis is not supported, only the same before and after")
    widths = [0, 0, 0, 0, *(each for pair in layer.padding for each in pair)]
    return context.op("Pad", x, mode="constant", pad_width=widths, constant_value=0.0), [0] * len(layer.padding)


def _convolution(context: Context, layer: Any, given: list[Value]) -> Entry:
    x, pad = _padded(context, layer, _first(context, layer, context.array(given[0])))
    attributes = {
        "kernel": layer.kernel_size,
        "stride": layer.strides,
        "dilate": layer.dilation,
        "pad": pad,
        "num_filter": layer.channels,
        "num_group": layer.groups,
        "no_bias": not layer.use_bias,
    }
    op = "Convolution"
    if layer.kind.endswith("Transpose"):
        op = "Deconvolution"
        attributes["adj"] = layer.output_padding
        if any(before != after for before, after in layer.padding):
            raise Refusal("a transposed convolution with different padding before and after is not supported")
    inputs = [x, context.parameter(layer.parameters["weight"])]
    if layer.use_bias:
        inputs.append(context.parameter(layer.parameters["bias"]))
    return _last(context, layer, activated(context, layer.activation, context.op(op, *inputs, **attributes)))


def conv(context: Context, arguments: dict[str, Any], given: list[Value]) -> Entry:
    """A convolution with weights that are computed."""
    x, weight = given
    pad = [before for before, _ in arguments["padding"]]
    if None in (x.sizes[1], *weight.sizes):
        raise Refusal("a convolution with computed weights whose sizes are not fixed is not supported")
    if any(before != after for before, after in arguments["padding"]):
        raise Refusal("a convolution with computed weights and different padding before and after is not supported")
    attributes = {
        "kernel": weight.sizes[2:],
        "stride": arguments["strides"],
        "dilate": arguments["dilation"],
        "pad": pad,
        "num_filter": weight.sizes[0],
        "num_group": (x.sizes[1] or 0) // (weight.sizes[1] or 1),
        "no_bias": True,
    }
    return context.op("Convolution", context.array(x), context.array(weight), **attributes)


def _pooling(style: str) -> _Lower:
    def lower(context: Context, layer: Any, given: list[Value]) -> Entry:
        if any(before != after for before, after in layer.padding):
            raise Refusal("pooling with different padding before and after is not supported")
        pad = [before for before, _ in layer.padding]
        kernel = layer.pool_size
        if layer.ceil_mode:
            # Of the only, partial window what is there: MXNet has none that are larger than the input.
            sizes = _along(layer, given[0].sizes)
            kernel = [
                window if size is None else min(window, size + 2 * around)
                for window, around, size in zip(kernel, pad, sizes, strict=True)
            ]
        attributes = {
            "kernel": kernel,
            "stride": layer.strides,
            "pad": pad,
            "pool_type": style,
            "pooling_convention": "full" if layer.ceil_mode else "valid",
        }
        if style == "avg":
            attributes["count_include_pad"] = layer.count_include_pad
        x = _first(context, layer, context.array(given[0]))
        if layer.ceil_mode:
            _expect_inside(layer, pad, given[0].sizes)
        return _last(context, layer, context.op("Pooling", x, **attributes))

    return lower


def _along(layer: Any, sizes: Sequence[int | None]) -> list[int | None]:
    """The sizes of the axes that windows move along."""
    return [size for size, letter in zip(sizes, layer.layout, strict=True) if letter not in "NC"]


def _expect_inside(layer: Any, pad: list[int], sizes: Sequence[int | None]) -> None:
    """No window begins behind the input: MXNet counts it, and the vocabulary does not."""
    for kernel, stride, around, size in zip(layer.pool_size, layer.strides, pad, _along(layer, sizes), strict=True):
        beyond = kernel < stride + around
        if size is not None:
            begins = -(-(size + 2 * around - kernel) // stride) * stride
            beyond = begins >= size + around
        if beyond:
            raise Refusal(f"windows of {kernel} every {stride}, with ceil_mode: MXNet counts one behind the input")


def _global_pooling(style: str) -> _Lower:
    def lower(context: Context, layer: Any, given: list[Value]) -> Entry:
        x = _first(context, layer, context.array(given[0]))
        kernel = [1] * (len(layer.layout) - 2)
        return _last(context, layer, context.op("Pooling", x, kernel=kernel, global_pool=True, pool_type=style))

    return lower


def _adaptive(context: Context, layer: Any, given: list[Value]) -> Entry:
    x = _first(context, layer, context.array(given[0]))
    return _last(context, layer, context.op("_contrib_AdaptiveAvgPooling2D", x, output_size=layer.output_size))


def _adaptive_line(context: Context, layer: Any, given: list[Value]) -> Entry:
    """One axis, as an image of one row."""
    x = context.op("expand_dims", _first(context, layer, context.array(given[0])), axis=2)
    y = context.op("_contrib_AdaptiveAvgPooling2D", x, output_size=[1, *layer.output_size])
    return _last(context, layer, context.op("squeeze", y, axis=[2]))


def _upsample(context: Context, layer: Any, given: list[Value]) -> Entry:
    x = _first(context, layer, context.array(given[0]))
    if len(layer.layout) != 4:
        raise Refusal("an Upsample of other than two axes is not supported")
    if layer.mode == "nearest" and layer.scale is not None and len(set(layer.scale)) == 1:
        y = context.op("UpSampling", x, scale=layer.scale[0], sample_type="nearest", num_args=1)
    elif layer.mode == "linear":
        names = ("height", "width") if layer.scale is None else ("scale_height", "scale_width")
        sizes = layer.size if layer.scale is None else [float(each) for each in layer.scale]
        attributes = {**dict(zip(names, sizes, strict=True)), "align_corners": layer.align_corners}
        y = context.op("_contrib_BilinearResize2D", x, **attributes)
    else:
        raise Refusal("this Upsample is not supported, only nearest by one scale and linear")
    return _last(context, layer, y)


_RANKS: Final = (1, 2, 3)
#: Kind -> how it is lowered.
WINDOWS: Final[dict[str, Lowering]] = {
    **{f"Conv{n}D": Lowering("Convolution", _convolution) for n in _RANKS},
    **{f"Conv{n}DTranspose": Lowering("Deconvolution", _convolution) for n in _RANKS},
    **{f"{name}Pool{n}D": Lowering("Pooling", _pooling(name.lower())) for n in _RANKS for name in ("Max", "Avg")},
    **{
        f"Global{name}Pool{n}D": Lowering("Pooling", _global_pooling(name.lower()))
        for n in _RANKS
        for name in ("Max", "Avg")
    },
    "AdaptiveAvgPool1D": Lowering("_contrib_AdaptiveAvgPooling2D", _adaptive_line),
    "AdaptiveAvgPool2D": Lowering("_contrib_AdaptiveAvgPooling2D", _adaptive),
    "Upsample": Lowering("UpSampling _contrib_BilinearResize2D", _upsample),
}
