"""How convolutions and pooling are lowered to Keras: channels last, which all of its backends compute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange.keras.emitting import Tensor
from modelarchive.exchange.keras.lowering_activations import ACTIVATED, activated
from modelarchive.exchange.keras.lowering_context import Context, Value
from modelarchive.exchange.keras.lowering_shapes import channels_last, global_pooled, padded_tensor, sliced, spatial
from modelarchive.exchange.keras.stored import stored
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering

_Sizes = Sequence[int | None]
_Pairs = Sequence[Sequence[int]]


def _plain_or_tuple(values: Sequence[int]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


def _around(pairs: _Pairs) -> list[tuple[int, int]]:
    """Pairs for every axis of an image with its channels last."""
    return [(0, 0), *((before, after) for before, after in pairs), (0, 0)]


def _is_same(pairs: _Pairs, sizes: _Sizes, reach: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether padding is what Keras calls "same"."""
    for (before, after), size, window, step in zip(pairs, sizes, reach, strides, strict=True):
        if step == 1:
            total = window - 1
        elif size is None:
            return False
        else:
            total = max((math.ceil(size / step) - 1) * step + window - size, 0)
        if (before, after) != (total // 2, total - total // 2):
            return False
    return any(map(any, pairs))


def _convolution(context: Context, layer: Any, given: list[Value]) -> Value:
    x = channels_last(context, given[0], layer.layout, context.dtype)
    sizes = spatial(given[0], layer.layout)
    reach = [step * (size - 1) + 1 for step, size in zip(layer.dilation, layer.kernel_size, strict=True)]
    strides = list(layer.strides)
    # Keras has no strides together with dilation: every window is computed, and some are taken.
    apart = max(layer.dilation) > 1 and max(strides) > 1
    same = _is_same(layer.padding, sizes, reach, strides) and not apart
    if not same:
        x = padded_tensor(context, x, _around(layer.padding))
    fused = layer.activation in ACTIVATED
    config = {
        "kernel_size": tuple(layer.kernel_size),
        "strides": _steps([1] * len(strides) if apart else strides),
        "padding": "same" if same else "valid",
        "dilation_rate": _steps(layer.dilation),
        "use_bias": layer.use_bias,
        "activation": ACTIVATED[layer.activation] if fused else None,
        "data_format": "channels_last",
    }
    rank = len(sizes)
    depthwise = layer.groups > 1 and layer.groups == layer.in_channels and rank < 3 and len(set(strides)) == 1
    if depthwise and len(set(layer.dilation)) == 1:
        theirs = f"DepthwiseConv{rank}D"
        config["depth_multiplier"] = layer.channels // layer.groups
    else:
        theirs = f"Conv{rank}D"
        config |= {"filters": layer.channels, "groups": layer.groups}
    made = context.layer(theirs, x, weights=stored(theirs, layer), **config)
    if apart:
        made = sliced(context, made, (slice(None), *(slice(None, None, step) for step in strides)))
    made = made if fused else activated(context, layer.activation, made)
    return context.result(made, last=layer.layout[1] == "C")


def _steps(values: Sequence[int]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


def _transposed(context: Context, layer: Any, given: list[Value]) -> Value:
    """Keras pads no outputs: the input is given zeros behind it where the output goes on, and the rest is cut off."""
    x = channels_last(context, given[0], layer.layout, context.dtype)
    rank = len(layer.kernel_size)
    reach = [step * (size - 1) + 1 for step, size in zip(layer.dilation, layer.kernel_size, strict=True)]
    strides = list(layer.strides)
    # Keras has no strides together with dilation: the elements are set apart before.
    apart = max(strides) > 1 and max(layer.dilation) > 1
    cut, more = [], []
    for (before, after), extra, window, step in zip(layer.padding, layer.output_padding, reach, strides, strict=True):
        # What Keras' result has beyond the windows themselves, where the steps are larger.
        beyond = step - 1 if apart else max(step - window, 0)
        each = 1 if apart else step
        zeros = max(-(-(extra - after - beyond) // each), 0)
        more.append((0, zeros))
        cut.append((before, zeros * each + beyond + after - extra))
    if apart:
        x = _set_apart(context, x, strides)
        strides = [1] * rank
    x = padded_tensor(context, x, _around(more))
    fused = layer.activation in ACTIVATED
    config = {
        "filters": layer.channels // layer.groups,
        "kernel_size": tuple(layer.kernel_size),
        "strides": _steps(strides),
        "dilation_rate": _steps(layer.dilation),
        "padding": "valid",
        "use_bias": layer.use_bias,
        "activation": ACTIVATED[layer.activation] if fused else None,
        "data_format": "channels_last",
    }
    theirs = f"Conv{rank}DTranspose"
    if layer.groups == 1:
        made = context.layer(theirs, x, weights=stored(theirs, layer), **config)
    else:
        made = _in_groups(context, layer, x, theirs, config)
    if any(map(any, cut)):
        cropping = cut[0] if rank == 1 else cut
        made = context.layer(f"Cropping{rank}D", made, role="crop", cropping=cropping)
    made = made if fused else activated(context, layer.activation, made)
    return context.result(made, last=layer.layout[1] == "C")


def _set_apart(context: Context, x: Tensor, strides: Sequence[int]) -> Tensor:
    """Zeros behind each element along the spatial axes."""
    for axis, step in enumerate(strides, start=1):
        if step == 1:
            continue
        sizes = list(x.shape)
        around = [(0, 0)] * (axis + 1) + [(0, step - 1)] + [(0, 0)] * (len(sizes) - axis - 1)
        wide = padded_tensor(context, context.op("expand_dims", x, axis=axis + 1), around)
        target = [size if at != axis or size is None else size * step for at, size in enumerate(sizes)][1:]
        if target.count(None) > 1:
            raise Refusal("strides with dilation, transposed, need fixed sizes: declare the model's inputs")
        shape = tuple(-1 if size is None else size for size in target)
        x = context.layer("Reshape", wide, role=f"apart{axis}", target_shape=shape)
    return x


def _in_groups(context: Context, layer: Any, x: Tensor, theirs: str, config: dict[str, Any]) -> Tensor:
    """Keras has no groups here: a layer for each, side by side."""
    context.note(f"its {layer.groups} groups are layers of their own")
    parts = []
    for group, part in enumerate(context.op("split", x, layer.groups, axis=-1)):
        weights = []
        for array, parameters in stored(theirs, layer):
            # (*window, out, in), and (out): our bias holds the channels of all groups one after another.
            axis = array.ndim - 1
            weights.append((np.split(array, layer.groups, axis=axis)[group], parameters))
        parts.append(context.layer(theirs, part, role=f"group{group}", weights=weights, **config))
    return context.op("concatenate", parts, axis=-1)


def _lowest(dtype: str) -> float:
    """What no element is below."""
    return {"float16": -65504.0, "bfloat16": -3.3895313892515355e38}.get(dtype, -3.4028234663852886e38)


def _pool_input(context: Context, layer: Any, given: list[Value]) -> tuple[Tensor, list[tuple[int, int]], str]:
    """The input, how much a last partial window reaches beyond the padding, and the dtype to compute in."""
    dtype = context.dtype if context.dtype in ("float16", "bfloat16", "float32", "float64") else "float32"
    x = channels_last(context, given[0], layer.layout, dtype)
    sizes = spatial(given[0], layer.layout)
    beyond = []
    geometry = zip(sizes, layer.pool_size, layer.strides, layer.padding, strict=True)
    for size, window, step, (before, after) in geometry:
        reach = 0
        if layer.ceil_mode and size is not None:
            room = size + before + after - window
            count = room // step + 1
            if room % step and count * step < size + before:
                reach = step - room % step
        elif layer.ceil_mode:
            if window < step + after:
                raise Refusal("ceil_mode with free sizes is not supported: declare the model's inputs")
            reach = step - 1
        beyond.append((0, reach))
    return x, beyond, dtype


def _max_pool(context: Context, layer: Any, given: list[Value]) -> Value:
    x, beyond, dtype = _pool_input(context, layer, given)
    pairs = [(one[0], one[1] + two[1]) for one, two in zip(layer.padding, beyond, strict=True)]
    same = _is_same(pairs, spatial(given[0], layer.layout), layer.pool_size, layer.strides)
    if not same:
        x = padded_tensor(context, x, _around(pairs), fill=_lowest(dtype))
    return _pooled(context, layer, f"MaxPooling{len(pairs)}D", x, dtype, same=same)


def _pooled(context: Context, layer: Any, theirs: str, x: Tensor, dtype: str, *, same: bool = False) -> Value:
    made = _pool(context, layer, theirs, x, dtype, same=same)
    return context.result(made, last=layer.layout[1] == "C")


def _pool(
    context: Context, layer: Any, theirs: str, x: Tensor, dtype: str, *, same: bool = False, role: str = ""
) -> Tensor:
    config = {"pool_size": _plain_or_tuple(layer.pool_size), "strides": _plain_or_tuple(layer.strides)}
    config |= {"padding": "same" if same else "valid", "data_format": "channels_last"}
    return context.layer(theirs, x, role=role, dtype=dtype, **config)


def _avg_pool(context: Context, layer: Any, given: list[Value]) -> Value:
    """Where not every window counts all of its elements, the means of ones say how many it counts."""
    x, beyond, dtype = _pool_input(context, layer, given)
    theirs = f"AveragePooling{len(beyond)}D"
    sizes = spatial(given[0], layer.layout)
    padding = any(map(any, layer.padding))
    reaches = any(map(any, beyond))
    pairs = [(one[0], one[1] + two[1]) for one, two in zip(layer.padding, beyond, strict=True)]
    counts_all = not reaches and (layer.count_include_pad or not padding)
    if counts_all:
        return _pooled(context, layer, theirs, padded_tensor(context, x, _around(layer.padding)), dtype)
    # Of "same" with one side longer PyTorch's backend makes other means.
    alike = all(before == after for before, after in pairs) and not (padding and layer.count_include_pad)
    if alike and _is_same(pairs, sizes, layer.pool_size, layer.strides):
        return _pooled(context, layer, theirs, x, dtype, same=True)
    ones = context.cast(context.op("equal", context.cast(context.op("greater", x, x), "int32"), 0), dtype)
    if layer.count_include_pad:
        ones = padded_tensor(context, ones, _around(layer.padding), fill=1.0)
        ones = padded_tensor(context, ones, _around(beyond), fill=0)
    else:
        ones = padded_tensor(context, ones, _around(pairs))
    total = _pool(context, layer, theirs, padded_tensor(context, x, _around(pairs)), dtype)
    share = _pool(context, layer, theirs, ones, dtype)
    return context.result(context.op("divide", total, share), last=layer.layout[1] == "C")


def _global_pool(how: str) -> Any:
    def lower(context: Context, layer: Any, given: list[Value]) -> Value:
        dtype = context.dtype if context.dtype.startswith(("float", "bfloat")) else "float32"
        x = channels_last(context, given[0], layer.layout, dtype)
        theirs = f"Global{how}Pooling{given[0].rank - 2}D"
        last = layer.layout[1] == "C"
        return global_pooled(context, theirs, x, last=last, dtype=dtype, data_format="channels_last")

    return lower


_RANKS: Final = (1, 2, 3)
#: Kind -> how it is lowered.
WINDOWS: Final = {
    **{
        f"Conv{n}D": Lowering(
            f"Conv{n}D DepthwiseConv{n}D" if n < 3 else "Conv3D",
            _convolution,
            'channels last, with Permute around; padding that is not Keras\' "same" as a layer of zeros',
        )
        for n in _RANKS
    },
    **{
        f"Conv{n}DTranspose": Lowering(
            f"Conv{n}DTranspose Cropping{n}D", _transposed, "groups become layers of their own"
        )
        for n in _RANKS
    },
    **{f"MaxPool{n}D": Lowering(f"MaxPooling{n}D", _max_pool, "padding as an operation") for n in _RANKS},
    **{f"AvgPool{n}D": Lowering(f"AveragePooling{n}D", _avg_pool, "padding as operations") for n in _RANKS},
    **{f"GlobalMaxPool{n}D": Lowering(f"GlobalMaxPooling{n}D", _global_pool("Max")) for n in _RANKS},
    **{f"GlobalAvgPool{n}D": Lowering(f"GlobalAveragePooling{n}D", _global_pool("Average")) for n in _RANKS},
}
