"""How kinds that change shapes and sizes are lowered to Keras."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange.keras.emitting import Tensor
from modelarchive.exchange.keras.lowering_context import Context, Value
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.nn.evaluate import Abstract

Pairs = Sequence[Sequence[int]]


def reshape(context: Context, value: Value, shape: Sequence[int | None], known: Abstract) -> Tensor:
    """The elements in another shape, in row-major order."""
    sizes = known.declared
    tensor = context.plain(value)
    free = [axis for axis, size in enumerate(sizes) if size is None]
    keeps = bool(shape) and shape[0] is None
    if keeps and len(sizes) > 1 and len([axis for axis in free if axis]) <= 1:
        target = tuple(-1 if size is None else size for size in sizes[1:])
        return context.layer("Reshape", tensor, dtype=tensor.dtype, target_shape=target)
    if len(free) > 1:
        raise Refusal(
            f"a reshape to {list(shape)} with {len(free)} sizes that are free is not supported: "
            "declare the model's inputs with fixed sizes"
        )
    return context.op("reshape", tensor, tuple(-1 if size is None else size for size in sizes))


def padded(context: Context, value: Value, pairs: Pairs, mode: str, fill: float) -> Value:
    """Elements before and after, along the last axes of a value."""
    whole = [(0, 0)] * (value.rank - len(pairs)) + [(before, after) for before, after in pairs]
    if value.last:
        whole = [whole[0], *whole[2:], whole[1]]
    return context.result(padded_tensor(context, value.tensor, whole, mode, fill), last=value.last)


def padded_tensor(context: Context, tensor: Tensor, pairs: Pairs, mode: str = "constant", fill: float = 0) -> Tensor:
    """A pair (before, after) for every axis of a tensor."""
    rank = len(tensor.shape)
    if not any(before or after for before, after in pairs):
        return tensor
    if mode != "constant":
        return _extended(context, tensor, pairs, mode)
    inner = [tuple(pair) for pair in pairs[1:-1]]
    if fill == 0 and 3 <= rank <= 5 and not any(pairs[0]) and not any(pairs[-1]) and tensor.dtype != "bool":
        layer = f"ZeroPadding{rank - 2}D"
        return context.layer(layer, tensor, role="pad", dtype=tensor.dtype, padding=inner[0] if rank == 3 else inner)
    if tensor.dtype == "bool":
        wide = context.op(
            "pad", context.cast(tensor, "int32"), [list(pair) for pair in pairs], constant_values=int(fill)
        )
        return context.cast(wide, "bool")
    return context.op("pad", tensor, [list(pair) for pair in pairs], constant_values=fill)


def _extended(context: Context, tensor: Tensor, pairs: Pairs, mode: str) -> Tensor:
    """Elements of the array itself around it: slices, turned round where they are mirrored."""
    for axis, (before, after) in enumerate(pairs):
        parts = [tensor]
        if before:
            first = {"reflect": slice(1, before + 1), "edge": slice(0, 1), "wrap": slice(-before, None)}[mode]
            parts.insert(0, _edge(context, tensor, axis, first, before, mode))
        if after:
            last = {"reflect": slice(-after - 1, -1), "edge": slice(-1, None), "wrap": slice(0, after)}[mode]
            parts.append(_edge(context, tensor, axis, last, after, mode))
        if len(parts) > 1:
            tensor = context.op("concatenate", parts, axis=axis)
    return tensor


def _edge(context: Context, tensor: Tensor, axis: int, part: slice, times: int, mode: str) -> Tensor:
    taken = sliced(context, tensor, (slice(None),) * axis + (part,))
    if mode == "reflect":
        return context.op("flip", taken, axis=axis)
    if mode == "edge" and times > 1:
        return context.op("concatenate", [taken] * times, axis=axis)
    return taken


def sliced(context: Context, tensor: Tensor, index: tuple[Any, ...]) -> Tensor:
    """Basic indexing with steps above 0."""
    return context.named(tensor[index], "slice")


def _permute(context: Context, layer: Any, given: list[Value]) -> Value:
    return permuted(context, given[0], layer.axes)


def permuted(context: Context, value: Value, axes: Sequence[int]) -> Value:
    """The axes in another order; one that only says where the channels are takes no layer."""
    rank = value.rank
    axes = [axis % rank for axis in axes]
    last = [0, *range(2, rank), 1]
    if rank > 2 and value.last and axes == last:
        return context.result(value.tensor)
    if rank > 2 and not value.last and axes == [0, rank - 1, *range(1, rank - 1)]:
        return context.result(value.tensor, last=True)
    return context.result(context.permuted(context.plain(value), axes))


def _pad(context: Context, layer: Any, given: list[Value]) -> Value:
    return padded(context, given[0], layer.padding, layer.mode, float(layer.value))


def spatial(value: Value, layout: str) -> list[int | None]:
    """The sizes of the axes that are neither batch nor channels."""
    return value.sizes[1:-1] if layout.endswith("C") else value.sizes[2:]


def channels_last(context: Context, value: Value, layout: str, dtype: str = "") -> Tensor:
    """An image with its channels last."""
    return context.plain(value, dtype) if layout.endswith("C") else context.moved(value, dtype)


def _upsample(context: Context, layer: Any, given: list[Value]) -> Value:
    x = channels_last(context, given[0], layer.layout, context.dtype)
    sizes = spatial(given[0], layer.layout)
    wanted = layer.size or [size and size * times for size, times in zip(sizes, layer.scale, strict=True)]
    scale = layer.scale or [_ratio(size, new) for size, new in zip(sizes, wanted, strict=True)]
    whole = all(scale)
    rank = len(sizes)
    linear = layer.mode == "linear"
    last = layer.layout[1] == "C"
    if whole and not linear:
        size = scale[0] if rank == 1 else tuple(scale)
        return context.result(context.layer(f"UpSampling{rank}D", x, size=size), last=last)
    if whole and linear and not layer.align_corners and rank == 2:
        made = context.layer("UpSampling2D", x, size=tuple(scale), interpolation="bilinear")
        return context.result(made, last=last)
    if None in sizes:
        raise Refusal("this Upsample of an input with free sizes is not supported: declare the model's inputs")
    for axis, (old, new) in enumerate(zip(sizes, wanted, strict=True), start=1):
        x = _resized(context, x, axis, int(old or 0), int(new), linear=linear, corners=layer.align_corners)
    return context.result(x, last=last)


def _ratio(old: int | None, new: int | None) -> int:
    return new // old if old and new and new % old == 0 else 0


def _resized(context: Context, x: Tensor, axis: int, old: int, new: int, *, linear: bool, corners: bool) -> Tensor:
    """One axis in another size, by the elements that each new one lies between."""
    if old == new:
        return x
    places = np.arange(new, dtype=np.float64)
    if not linear:
        return context.op("take", x, (np.arange(new) * old // new).astype("int32"), axis=axis)
    if corners:
        places *= (old - 1) / (new - 1) if new > 1 else 0.0
    else:
        places = np.maximum((places + 0.5) * (old / new) - 0.5, 0)
    below = np.minimum(places.astype(np.int64), old - 1)
    above = np.minimum(below + 1, old - 1)
    share = (places - below).astype(x.dtype).reshape(-1, *[1] * (len(x.shape) - axis - 1))
    low = context.op("multiply", context.op("take", x, below.astype("int32"), axis=axis), 1 - share)
    high = context.op("multiply", context.op("take", x, above.astype("int32"), axis=axis), share)
    return context.op("add", low, high)


def global_pooled(context: Context, theirs: str, x: Tensor, *, last: bool, **config: Any) -> Value:
    """A pooling over everything, its axes kept; a Flatten behind it makes it one layer, see :func:`pooled_flat`."""
    made = context.layer(theirs, x, keepdims=True, **config)
    context.emitter.pooled[id(made)] = (made, theirs, x, config)
    return context.result(made, last=last)


def pooled_flat(context: Context, value: Value) -> Tensor:
    """The same pooling without its axes, for a Flatten: Keras' own layer does both; None: it is no such value."""
    found = context.emitter.pooled.get(id(value.tensor))
    return None if found is None else context.layer(found[1], found[2], **found[3])


def _adaptive(context: Context, layer: Any, given: list[Value]) -> Value:
    """Windows of one size where they fit, else a product with the matrix of shares for each axis."""
    x = channels_last(context, given[0], layer.layout, context.dtype)
    sizes = spatial(given[0], layer.layout)
    last = layer.layout[1] == "C"
    rank = len(sizes)
    if all(size == 1 for size in layer.output_size):
        return global_pooled(context, f"GlobalAveragePooling{rank}D", x, last=last)
    if None in sizes:
        raise Refusal("adaptive pooling of an input with free sizes is not supported: declare the model's inputs")
    fixed = [int(size or 0) for size in sizes]
    if all(old % new == 0 for old, new in zip(fixed, layer.output_size, strict=True)):
        pool = [old // new for old, new in zip(fixed, layer.output_size, strict=True)]
        size = pool[0] if rank == 1 else tuple(pool)
        return context.result(context.layer(f"AveragePooling{rank}D", x, pool_size=size, strides=size), last=last)
    letters = "hwd"[:rank]
    for letter, old, new in zip(letters, fixed, layer.output_size, strict=True):
        if old != new:
            pattern = f"b{letters}c,z{letter}->b{letters.replace(letter, 'z')}c"
            x = context.op("einsum", pattern, x, _shares(old, new).astype(context.dtype))
    return context.result(x, last=last)


def _shares(old: int, new: int) -> np.ndarray:
    """How much each element counts in each window: ``(new, old)``."""
    shares = np.zeros((new, old))
    for window in range(new):
        first, end = math.floor(window * old / new), math.ceil((window + 1) * old / new)
        shares[window, first:end] = 1 / (end - first)
    return shares


#: Kind -> how it is lowered.
SHAPES: Final = {
    "Reshape": Lowering(
        "Reshape",
        lambda context, layer, given: context.result(reshape(context, given[0], layer.shape, context.known[0])),
        "at most one size beside the batch may be free",
    ),
    "Permute": Lowering("Permute", _permute),
    "Pad": Lowering(
        "ZeroPadding1D ZeroPadding2D ZeroPadding3D", _pad, "operations where it is not zeros around images"
    ),
    "Upsample": Lowering(
        "UpSampling1D UpSampling2D UpSampling3D", _upsample, "operations for scales that are no integers"
    ),
    **{
        f"AdaptiveAvgPool{rank}D": Lowering(
            f"AveragePooling{rank}D GlobalAveragePooling{rank}D", _adaptive, "fixed sizes only; else operations"
        )
        for rank in (1, 2)
    },
}
