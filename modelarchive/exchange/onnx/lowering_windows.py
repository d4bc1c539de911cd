"""How convolutions, pooling and resizing are lowered to ONNX: kind -> operators. One row a kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange.axes import channels_first, channels_last
from modelarchive.exchange.onnx.emitting import Entry
from modelarchive.exchange.onnx.lowering_activations import activated
from modelarchive.exchange.onnx.lowering_context import Context, Lowering, Value
from modelarchive.exchange.refusal import Refusal

_Lower = Callable[[Context, Any, list[Value]], Entry]


def _first(context: Context, layer: Any, x: Entry) -> Entry:
    """The channels behind the batch, where ONNX has them."""
    order = channels_first(layer.layout)
    return x if order is None else context.op("Transpose", x, perm=order)


def _last(context: Context, layer: Any, x: Entry) -> Entry:
    order = channels_last(layer.layout)
    return x if order is None else context.op("Transpose", x, perm=order)


def _spatial(layer: Any, given: Value) -> list[int | None]:
    """The input's size along each spatial axis, None where it is not fixed."""
    return given.sizes[1:-1] if layer.layout[-1] == "C" else given.sizes[2:]


def _sides(pairs: Sequence[Sequence[int]]) -> list[int]:
    """Pairs as ONNX lists them: all that is before, then all behind."""
    return [before for before, _ in pairs] + [after for _, after in pairs]


def _around(pairs: Sequence[Sequence[int]]) -> list[int]:
    """The same, of batch and channels too."""
    return _sides([(0, 0), (0, 0), *pairs])


def _geometry(layer: Any, pairs: Sequence[Sequence[int]]) -> dict[str, Any]:
    return {
        "kernel_shape": list(layer.kernel_size),
        "strides": list(layer.strides),
        "pads": _sides(pairs),
        "dilations": list(layer.dilation),
        "group": layer.groups,
    }


def _convolution(context: Context, layer: Any, given: list[Value]) -> Entry:
    inputs = [_first(context, layer, context.array(given[0])), context.parameter(layer.weight)]
    if layer.use_bias:
        inputs.append(context.parameter(layer.bias))
    found = context.op("Conv", *inputs, **_geometry(layer, layer.padding))
    return _last(context, layer, activated(context, layer.activation, found))


def conv(context: Context, arguments: dict[str, Any], given: list[Value]) -> Entry:
    """A convolution with weights that are computed."""
    x, weight = given
    channels, inputs, kernel = x.sizes[1], weight.sizes[1], weight.sizes[2:]
    if channels is None or inputs is None or None in kernel:
        raise Refusal("a convolution with computed weights whose sizes are not fixed is not supported")
    return context.op(
        "Conv",
        context.array(x, context.dtype),
        context.array(weight, context.dtype),
        kernel_shape=list(kernel),
        strides=list(arguments["strides"]),
        pads=_sides(arguments["padding"]),
        dilations=list(arguments["dilation"]),
        group=channels // (inputs or 1),
    )


def grid_sample(context: Context, arguments: dict[str, Any], given: list[Value]) -> Entry:
    """Elements of images between places."""
    return context.op(
        "GridSample",
        *(context.array(each, context.dtype) for each in given),
        mode=arguments["mode"],
        padding_mode=arguments["padding_mode"],
        align_corners=int(arguments["align_corners"]),
    )


def _transposed(context: Context, layer: Any, given: list[Value]) -> Entry:
    inputs = [_first(context, layer, context.array(given[0])), context.parameter(layer.weight)]
    bias = [context.parameter(layer.bias)] if layer.use_bias else []
    more = list(layer.output_padding)
    if all(each < step or not each for each, step in zip(more, layer.strides, strict=True)):
        found = context.op("ConvTranspose", *inputs, *bias, output_padding=more, **_geometry(layer, layer.padding))
    else:
        found = _extended(context, layer, inputs, bias)
    return _last(context, layer, activated(context, layer.activation, found))


def _extended(context: Context, layer: Any, inputs: list[Entry], bias: list[Entry]) -> Entry:
    """More output than strides, which runtimes refuse: zeros behind everything, and then the cut."""
    whole = context.op("ConvTranspose", *inputs, **_geometry(layer, [(0, 0)] * len(layer.padding)))
    whole = context.op("Pad", whole, context.ints(_around([(0, more) for more in layer.output_padding])))
    starts = [before for before, _ in layer.padding]
    ends = [-after if after else 2**63 - 1 for _, after in layer.padding]
    axes = list(range(2, 2 + len(starts)))
    found = context.op("Slice", whole, context.ints(starts), context.ints(ends), context.ints(axes))
    return (
        context.op("Add", found, context.op("Unsqueeze", bias[0], context.ints([a - 1 for a in axes])))
        if bias
        else found
    )


def _partial(layer: Any, spatial: Sequence[int | None]) -> list[int] | None:
    """How far the last, partial windows reach beyond input and padding; None where a size is not fixed."""
    beyond = []
    for axis, size in enumerate(spatial):
        if size is None:
            return None
        window, step, (before, after) = layer.pool_size[axis], layer.strides[axis], layer.padding[axis]
        room = size + before + after - window
        windows = room // step + 1
        if room % step and windows * step < size + before:
            windows += 1
        beyond.append(max(0, (windows - 1) * step + window - (size + before + after)))
    return beyond


def _windows(layer: Any) -> dict[str, Any]:
    return {"kernel_shape": list(layer.pool_size), "strides": list(layer.strides)}


def _max_pool(context: Context, layer: Any, given: list[Value]) -> Entry:
    """Partial windows by more padding where the sizes are known: runtimes differ on where the last one begins."""
    x = given[0]
    dtype = x.dtype
    exact = {"b": np.uint8, "i": np.float64, "u": np.float64}
    wide = np.dtype(exact[dtype.kind]) if dtype.kind in exact else context.dtype
    if dtype.kind in "iu" and dtype.itemsize == 8:
        context.note("64-bit integers are compared as float64, which has 53 bits of them")
    first = _first(context, layer, context.array(x, wide))
    pairs = [tuple(pair) for pair in layer.padding]
    beyond = _partial(layer, _spatial(layer, x)) if layer.ceil_mode else [0] * len(pairs)
    if beyond is not None:
        pairs = [(before, after + more) for (before, after), more in zip(pairs, beyond, strict=True)]
    if any(max(pair) >= size for pair, size in zip(pairs, layer.pool_size, strict=True)):
        lowest = context.made(0 if dtype.kind == "b" else -np.inf, wide)
        first = context.op("Pad", first, context.ints(_around(pairs)), lowest)
        pairs = [(0, 0)] * len(pairs)
    found = context.op("MaxPool", first, pads=_sides(pairs), ceil_mode=int(beyond is None), **_windows(layer))
    return context.cast(_last(context, layer, found), wide, dtype)


def _avg_pool(context: Context, layer: Any, given: list[Value]) -> Entry:
    """Where a partial window counts, sums and numbers of elements come from windows over explicit zeros."""
    x = _first(context, layer, context.array(given[0]))
    attributes = _windows(layer)
    whole = not layer.ceil_mode or _partial(layer, _spatial(layer, given[0])) == [0] * len(layer.pool_size)
    if not whole:
        found = _partial_means(context, layer, given[0], x)
    else:
        include = int(layer.count_include_pad)
        found = context.op("AveragePool", x, pads=_sides(layer.padding), count_include_pad=include, **attributes)
    return _last(context, layer, found)


def _partial_means(context: Context, layer: Any, given: Value, x: Entry) -> Entry:
    spatial = _spatial(layer, given)
    beyond = _partial(layer, spatial)
    if beyond is None:
        include = int(layer.count_include_pad)
        context.note(
            "its last, partial windows are as the runtime defines ceil_mode: the size of the input is not fixed"
        )
        return context.op(
            "AveragePool", x, pads=_sides(layer.padding), count_include_pad=include, ceil_mode=1, **_windows(layer)
        )
    # A mean over whole windows of a larger array of zeros, times how much of each window counts.
    pads = [(before, after + more) for (before, after), more in zip(layer.padding, beyond, strict=True)]
    padded = context.op("Pad", x, context.ints(_around(pads)))
    means = context.op("AveragePool", padded, **_windows(layer))
    factors = np.ones(())
    for axis, size in enumerate(spatial):
        window, step, (before, after) = layer.pool_size[axis], layer.strides[axis], layer.padding[axis]
        count = (int(size or 0) + sum(pads[axis]) - window) // step + 1
        begin = np.arange(count) * step - before
        end = np.minimum(begin + window, int(size or 0) + after)
        if not layer.count_include_pad:
            begin, end = np.maximum(begin, 0), np.minimum(end, int(size or 0))
        factors = factors[..., None] * (window / (end - begin))
    return context.op("Mul", means, context.made(factors))


def _global(style: str) -> _Lower:
    def lower(context: Context, layer: Any, given: list[Value]) -> Entry:
        rank = len(layer.layout)
        if layer.layout[-1] != "C" and context.dtype == np.float32:
            return context.op(f"Global{style}Pool", context.array(given[0]))
        axes = list(range(1, rank - 1)) if layer.layout[-1] == "C" else list(range(2, rank))
        op = "ReduceMean" if style == "Average" else "ReduceMax"
        return context.op(op, context.array(given[0]), context.ints(axes), keepdims=1)

    return lower


def _adaptive(context: Context, layer: Any, given: list[Value]) -> Entry:
    """Windows of one size where they share the input out evenly, else a product with a matrix for each axis."""
    x = _first(context, layer, context.array(given[0]))
    rank = len(layer.output_size)
    sizes = _spatial(layer, given[0])
    if all(each == 1 for each in layer.output_size):
        if context.dtype == np.float32:
            return _last(context, layer, context.op("GlobalAveragePool", x))
        return _last(context, layer, context.op("ReduceMean", x, context.ints(range(2, rank + 2)), keepdims=1))
    if None not in sizes and all(int(old or 0) % new == 0 for old, new in zip(sizes, layer.output_size, strict=True)):
        window = [int(old or 0) // new for old, new in zip(sizes, layer.output_size, strict=True)]
        return _last(context, layer, context.op("AveragePool", x, kernel_shape=window, strides=window))
    for axis, (old, new) in enumerate(zip(sizes, layer.output_size, strict=True)):
        shares = _shares(context, x, axis + 2, old, new)
        if axis == rank - 1:
            x = context.op("MatMul", x, context.op("Transpose", shares, perm=[1, 0]))
        else:
            x = context.op("MatMul", shares, x)
    return _last(context, layer, x)


def _shares(context: Context, x: Entry, axis: int, old: int | None, new: int) -> Entry:
    """What each element of an axis counts in each of `new` means over it: (new, size of the axis)."""
    if old is not None:
        table = np.zeros((new, old))
        for row in range(new):
            window = slice(row * old // new, -(-(row + 1) * old // new))
            table[row, window] = 1 / (window.stop - window.start)
        return context.made(table)
    size = context.size(x, axis)
    rows = context.made(np.arange(new)[:, None], np.int64)
    # floor(row size / new), and ceil((row + 1) size / new)
    begin = context.op("Div", context.op("Mul", rows, size), context.ints([new]))
    last = context.op(
        "Add", context.op("Mul", context.op("Add", rows, context.ints([1])), size), context.ints([new - 1])
    )
    end = context.op("Div", last, context.ints([new]))
    columns = context.range(context.length(x, axis))
    inside = context.op("And", context.op("GreaterOrEqual", columns, begin), context.op("Less", columns, end))
    counts = context.cast(context.op("Sub", end, begin), np.int64, context.dtype)
    return context.op("Div", context.cast(inside, np.bool_, context.dtype), counts)


def _upsample(context: Context, layer: Any, given: list[Value]) -> Entry:
    sizes, dtype = _spatial(layer, given[0]), context.dtype
    context = context.single() if layer.mode == "linear" else context
    x = _first(context, layer, context.array(given[0], context.dtype))
    found = _nearest(context, layer, x, sizes) if layer.mode == "nearest" else _linear(context, layer, x)
    return context.cast(_last(context, layer, found), context.dtype, dtype)


def _linear(context: Context, layer: Any, x: Entry) -> Entry:
    attributes = {
        "mode": "linear",
        "coordinate_transformation_mode": "align_corners" if layer.align_corners else "half_pixel",
    }
    if layer.scale is not None:
        return context.op("Resize", x, "", _scales(context, layer), **attributes)
    whole = context.op("Concat", context.op("Shape", x, start=0, end=2), context.ints(layer.size), axis=0)
    return context.op("Resize", x, "", "", whole, **attributes)


def _scales(context: Context, layer: Any) -> Entry:
    return context.made([1.0, 1.0, *map(float, layer.scale)], np.float32)


def _nearest(context: Context, layer: Any, x: Entry, sizes: Sequence[int | None]) -> Entry:
    """Resize by whole factors; else by places: Resize computes those in float32, and has not every dtype."""
    if layer.scale is not None and context.dtype in (np.float32, np.int32):
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return context.op("Resize", x, "", _scales(context, layer), **attributes)
    for axis, old in enumerate(sizes):
        if layer.scale is not None:
            times = context.made(layer.scale[axis], np.int64)
            places = context.op("Div", context.range(context.op("Mul", context.length(x, axis + 2), times)), times)
        elif old is not None:
            places = context.ints([new * old // layer.size[axis] for new in range(layer.size[axis])])
        else:
            whole = context.op("Mul", context.ints(range(layer.size[axis])), context.size(x, axis + 2))
            places = context.op("Div", whole, context.ints([layer.size[axis]]))
        x = context.op("Gather", x, places, axis=axis + 2)
    return x


_PARTIAL: Final = "with ceil_mode and sizes that are not fixed, the last windows are as the runtime has them"

#: Kind -> how it is lowered.
WINDOWS: Final[dict[str, Lowering]] = {
    **{f"Conv{n}D": Lowering("Conv", _convolution, single=True) for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": Lowering("ConvTranspose", _transposed, single=True) for n in (1, 2, 3)},
    **{f"MaxPool{n}D": Lowering("MaxPool", _max_pool, wide=False, losses=_PARTIAL) for n in (1, 2, 3)},
    **{f"AvgPool{n}D": Lowering("AveragePool", _avg_pool, single=True, losses=_PARTIAL) for n in (1, 2, 3)},
    **{f"GlobalMaxPool{n}D": Lowering("GlobalMaxPool", _global("Max")) for n in (1, 2, 3)},
    **{f"GlobalAvgPool{n}D": Lowering("GlobalAveragePool", _global("Average")) for n in (1, 2, 3)},
    **{
        f"AdaptiveAvgPool{n}D": Lowering(
            "GlobalAveragePool AveragePool MatMul",
            _adaptive,
            single=True,
            losses="a product with a matrix where windows are of different sizes",
        )
        for n in (1, 2)
    },
    "Upsample": Lowering("Resize Gather", _upsample),
}
