"""How convolutions, pooling and resizing are said in ONNX: kind -> operators. One row a kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange.onnx.composing import Entry, Given, Place, Saying
from modelarchive.exchange.onnx.saying_activations import activated

_Writer = Callable[[Place, Any, list[Given]], Entry]


def _first(place: Place, layer: Any, x: Entry) -> Entry:
    """The channels behind the batch, where ONNX has them."""
    last = len(layer.layout) - 1
    return place.op("Transpose", x, perm=[0, last, *range(1, last)]) if layer.layout[-1] == "C" else x


def _last(place: Place, layer: Any, x: Entry) -> Entry:
    last = len(layer.layout) - 1
    return place.op("Transpose", x, perm=[0, *range(2, last + 1), 1]) if layer.layout[-1] == "C" else x


def _spatial(layer: Any, given: Given) -> list[int | None]:
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


def _convolution(place: Place, layer: Any, given: list[Given]) -> Entry:
    inputs = [_first(place, layer, place.array(given[0])), place.parameter(layer.weight)]
    if layer.use_bias:
        inputs.append(place.parameter(layer.bias))
    found = place.op("Conv", *inputs, **_geometry(layer, layer.padding))
    return _last(place, layer, activated(place, layer.activation, found))


def _transposed(place: Place, layer: Any, given: list[Given]) -> Entry:
    inputs = [_first(place, layer, place.array(given[0])), place.parameter(layer.weight)]
    bias = [place.parameter(layer.bias)] if layer.use_bias else []
    more = list(layer.output_padding)
    if all(each < step or not each for each, step in zip(more, layer.strides, strict=True)):
        found = place.op("ConvTranspose", *inputs, *bias, output_padding=more, **_geometry(layer, layer.padding))
    else:
        found = _extended(place, layer, inputs, bias)
    return _last(place, layer, activated(place, layer.activation, found))


def _extended(place: Place, layer: Any, inputs: list[Entry], bias: list[Entry]) -> Entry:
    """More output than strides, which runtimes refuse: zeros behind everything, and then the cut."""
    whole = place.op("ConvTranspose", *inputs, **_geometry(layer, [(0, 0)] * len(layer.padding)))
    whole = place.op("Pad", whole, place.ints(_around([(0, more) for more in layer.output_padding])))
    starts = [before for before, _ in layer.padding]
    ends = [-after if after else 2**63 - 1 for _, after in layer.padding]
    axes = list(range(2, 2 + len(starts)))
    found = place.op("Slice", whole, place.ints(starts), place.ints(ends), place.ints(axes))
    return place.op("Add", found, place.op("Unsqueeze", bias[0], place.ints([a - 1 for a in axes]))) if bias else found


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


def _max_pool(place: Place, layer: Any, given: list[Given]) -> Entry:
    """Partial windows by more padding where the sizes are known: runtimes differ on where the last one begins."""
    x = given[0]
    dtype = x.dtype
    exact = {"b": np.uint8, "i": np.float64, "u": np.float64}
    wide = np.dtype(exact[dtype.kind]) if dtype.kind in exact else place.dtype
    if dtype.kind in "iu" and dtype.itemsize == 8:
        place.note("64-bit integers are compared as float64, which has 53 bits of them")
    first = _first(place, layer, place.array(x, wide))
    pairs = [tuple(pair) for pair in layer.padding]
    beyond = _partial(layer, _spatial(layer, x)) if layer.ceil_mode else [0] * len(pairs)
    if beyond is not None:
        pairs = [(before, after + more) for (before, after), more in zip(pairs, beyond, strict=True)]
    if any(max(pair) >= size for pair, size in zip(pairs, layer.pool_size, strict=True)):
        lowest = place.made(0 if dtype.kind == "b" else -np.inf, wide)
        first = place.op("Pad", first, place.ints(_around(pairs)), lowest)
        pairs = [(0, 0)] * len(pairs)
    found = place.op("MaxPool", first, pads=_sides(pairs), ceil_mode=int(beyond is None), **_windows(layer))
    return place.cast(_last(place, layer, found), wide, dtype)


def _avg_pool(place: Place, layer: Any, given: list[Given]) -> Entry:
    """Where a partial window counts, sums and numbers of elements come from windows over explicit zeros."""
    x = _first(place, layer, place.array(given[0]))
    attributes = _windows(layer)
    whole = not layer.ceil_mode or _partial(layer, _spatial(layer, given[0])) == [0] * len(layer.pool_size)
    if not whole:
        found = _partial_means(place, layer, given[0], x)
    else:
        include = int(layer.count_include_pad)
        found = place.op("AveragePool", x, pads=_sides(layer.padding), count_include_pad=include, **attributes)
    return _last(place, layer, found)


def _partial_means(place: Place, layer: Any, given: Given, x: Entry) -> Entry:
    spatial = _spatial(layer, given)
    beyond = _partial(layer, spatial)
    if beyond is None:
        include = int(layer.count_include_pad)
        place.note("its last, partial windows are as the runtime defines ceil_mode: the size of the input is not fixed")
        return place.op(
            "AveragePool", x, pads=_sides(layer.padding), count_include_pad=include, ceil_mode=1, **_windows(layer)
        )
    # A mean over whole windows of a larger array of zeros, times how much of each window counts.
    pads = [(before, after + more) for (before, after), more in zip(layer.padding, beyond, strict=True)]
    padded = place.op("Pad", x, place.ints(_around(pads)))
    means = place.op("AveragePool", padded, **_windows(layer))
    factors = np.ones(())
    for axis, size in enumerate(spatial):
        window, step, (before, after) = layer.pool_size[axis], layer.strides[axis], layer.padding[axis]
        count = (int(size or 0) + sum(pads[axis]) - window) // step + 1
        begin = np.arange(count) * step - before
        end = np.minimum(begin + window, int(size or 0) + after)
        if not layer.count_include_pad:
            begin, end = np.maximum(begin, 0), np.minimum(end, int(size or 0))
        factors = factors[..., None] * (window / (end - begin))
    return place.op("Mul", means, place.made(factors))


def _global(style: str) -> _Writer:
    def say(place: Place, layer: Any, given: list[Given]) -> Entry:
        rank = len(layer.layout)
        if layer.layout[-1] != "C" and place.dtype == np.float32:
            return place.op(f"Global{style}Pool", place.array(given[0]))
        axes = list(range(1, rank - 1)) if layer.layout[-1] == "C" else list(range(2, rank))
        op = "ReduceMean" if style == "Average" else "ReduceMax"
        return place.op(op, place.array(given[0]), place.ints(axes), keepdims=1)

    return say


def _adaptive(place: Place, layer: Any, given: list[Given]) -> Entry:
    """Windows of one size where they share the input out evenly, else a product with a matrix for each axis."""
    x = _first(place, layer, place.array(given[0]))
    rank = len(layer.output_size)
    sizes = _spatial(layer, given[0])
    if all(each == 1 for each in layer.output_size):
        if place.dtype == np.float32:
            return _last(place, layer, place.op("GlobalAveragePool", x))
        return _last(place, layer, place.op("ReduceMean", x, place.ints(range(2, rank + 2)), keepdims=1))
    if None not in sizes and all(int(old or 0) % new == 0 for old, new in zip(sizes, layer.output_size, strict=True)):
        window = [int(old or 0) // new for old, new in zip(sizes, layer.output_size, strict=True)]
        return _last(place, layer, place.op("AveragePool", x, kernel_shape=window, strides=window))
    for axis, (old, new) in enumerate(zip(sizes, layer.output_size, strict=True)):
        shares = _shares(place, x, axis + 2, old, new)
        if axis == rank - 1:
            x = place.op("MatMul", x, place.op("Transpose", shares, perm=[1, 0]))
        else:
            x = place.op("MatMul", shares, x)
    return _last(place, layer, x)


def _shares(place: Place, x: Entry, axis: int, old: int | None, new: int) -> Entry:
    """What each element of an axis counts in each of `new` means over it: (new, size of the axis)."""
    if old is not None:
        table = np.zeros((new, old))
        for row in range(new):
            window = slice(row * old // new, -(-(row + 1) * old // new))
            table[row, window] = 1 / (window.stop - window.start)
        return place.made(table)
    size = place.size(x, axis)
    rows = place.made(np.arange(new)[:, None], np.int64)
    # floor(row size / new), and ceil((row + 1) size / new)
    begin = place.op("Div", place.op("Mul", rows, size), place.ints([new]))
    last = place.op("Add", place.op("Mul", place.op("Add", rows, place.ints([1])), size), place.ints([new - 1]))
    end = place.op("Div", last, place.ints([new]))
    columns = place.range(place.length(x, axis))
    inside = place.op("And", place.op("GreaterOrEqual", columns, begin), place.op("Less", columns, end))
    counts = place.cast(place.op("Sub", end, begin), np.int64, place.dtype)
    return place.op("Div", place.cast(inside, np.bool_, place.dtype), counts)


def _upsample(place: Place, layer: Any, given: list[Given]) -> Entry:
    sizes, dtype = _spatial(layer, given[0]), place.dtype
    place = place.single() if layer.mode == "linear" else place
    x = _first(place, layer, place.array(given[0], place.dtype))
    found = _nearest(place, layer, x, sizes) if layer.mode == "nearest" else _linear(place, layer, x)
    return place.cast(_last(place, layer, found), place.dtype, dtype)


def _linear(place: Place, layer: Any, x: Entry) -> Entry:
    attributes = {
        "mode": "linear",
        "coordinate_transformation_mode": "align_corners" if layer.align_corners else "half_pixel",
    }
    if layer.scale is not None:
        return place.op("Resize", x, "", _scales(place, layer), **attributes)
    whole = place.op("Concat", place.op("Shape", x, start=0, end=2), place.ints(layer.size), axis=0)
    return place.op("Resize", x, "", "", whole, **attributes)


def _scales(place: Place, layer: Any) -> Entry:
    return place.made([1.0, 1.0, *map(float, layer.scale)], np.float32)


def _nearest(place: Place, layer: Any, x: Entry, sizes: Sequence[int | None]) -> Entry:
    """Resize by whole factors; else by places: Resize computes those in float32, and has not every dtype."""
    if layer.scale is not None and place.dtype in (np.float32, np.int32):
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return place.op("Resize", x, "", _scales(place, layer), **attributes)
    for axis, old in enumerate(sizes):
        if layer.scale is not None:
            times = place.made(layer.scale[axis], np.int64)
            places = place.op("Div", place.range(place.op("Mul", place.length(x, axis + 2), times)), times)
        elif old is not None:
            places = place.ints([new * old // layer.size[axis] for new in range(layer.size[axis])])
        else:
            whole = place.op("Mul", place.ints(range(layer.size[axis])), place.size(x, axis + 2))
            places = place.op("Div", whole, place.ints([layer.size[axis]]))
        x = place.op("Gather", x, places, axis=axis + 2)
    return x


_PARTIAL: Final = "with ceil_mode and sizes that are not fixed, the last windows are as the runtime has them"

#: Kind -> how it is said.
WINDOWS: Final[dict[str, Saying]] = {
    **{f"Conv{n}D": Saying(_convolution, ("Conv",), single=True) for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": Saying(_transposed, ("ConvTranspose",), single=True) for n in (1, 2, 3)},
    **{f"MaxPool{n}D": Saying(_max_pool, ("MaxPool",), wide=False, losses=_PARTIAL) for n in (1, 2, 3)},
    **{f"AvgPool{n}D": Saying(_avg_pool, ("AveragePool",), single=True, losses=_PARTIAL) for n in (1, 2, 3)},
    **{f"GlobalMaxPool{n}D": Saying(_global("Max"), ("GlobalMaxPool",)) for n in (1, 2, 3)},
    **{f"GlobalAvgPool{n}D": Saying(_global("Average"), ("GlobalAveragePool",)) for n in (1, 2, 3)},
    **{
        f"AdaptiveAvgPool{n}D": Saying(
            _adaptive,
            ("GlobalAveragePool", "AveragePool", "MatMul"),
            single=True,
            losses="a product with a matrix where windows are of different sizes",
        )
        for n in (1, 2)
    },
    "Upsample": Saying(_upsample, ("Resize", "Gather")),
}
