"""How operations on images are lifted: padded, cut, in patches, with channels laid out as places."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_ops import one
from modelarchive.exchange.keras.lifting_ordering import known_size, part
from modelarchive.exchange.keras.lifting_windows import scaled
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short


def _blocks(*, deep: bool) -> Lift:
    """DepthToSpace, and SpaceToDepth: channels become the places of a square, and back."""

    def lift(context: Context) -> Ref:
        x, size = one(context), context.config.integer("block_size")
        last = context.config.text("data_format", "channels_last") == "channels_last"
        if context.rank(x) != 4 or size < 1:
            raise Refusal(f"block_size = {size} of a tensor of {context.rank(x)} axes")
        height, width = (known_size(context, x, axis) for axis in ((1, 2) if last else (2, 3)))
        channels = known_size(context, x, -1 if last else 1)
        if channels % size**2 if deep else height % size or width % size:
            raise Refusal(f"block_size = {size} does not divide {channels if deep else (height, width)}")
        if deep:
            channels //= size**2
            high, wide = height, width
            before = [high, wide, size, size, channels] if last else [size, size, channels, high, wide]
            before = before if last else [channels, size, size, high, wide]
            order = [0, 1, 3, 2, 4, 5] if last else [0, 1, 4, 2, 5, 3]
            after = [high * size, wide * size]
        else:
            high, wide = height // size, width // size
            before = [high, size, wide, size, channels] if last else [channels, high, size, wide, size]
            order = [0, 1, 3, 2, 4, 5] if last else [0, 1, 3, 5, 2, 4]
            after = [high, wide]
            channels *= size**2
        laid = context.op("transpose", context.op("reshape", x, shape=[-1, *before]), axes=order)
        return context.op("reshape", laid, shape=[-1, *after, channels] if last else [-1, channels, *after])

    return lift


def _batched(context: Context) -> tuple[Ref, int, bool]:
    """Images, the axis of their height, and whether channels come last."""
    x = one(context, 0, "images")
    last = context.config.value("data_format", None) != "channels_first"
    return x, context.rank(x) - (3 if last else 2), last


#: Height and width of an image: the names of both sides, and of the size that is wanted.
_SIDES: Final = ((0, ("top", "bottom", "target_height")), (1, ("left", "right", "target_width")))


def _padded(context: Context) -> Ref:
    """PadImages: zeros around, or up to a size."""
    x, axis, _ = _batched(context)
    pairs: list[list[int]] = [[0, 0] for _ in range(context.rank(x))]
    for at, (first, second, size) in _SIDES:
        pairs[axis + at] = _ends(context, x, axis + at, (f"{first}_padding", f"{second}_padding", size))
    return context.op("pad", x, padding=pairs, mode="constant", value=0.0)


def _cropped(context: Context) -> Ref:
    """CropImages: what is cut off, or down to a size."""
    x, axis, _ = _batched(context)
    for at, (first, second, size) in _SIDES:
        names = (f"{first}_cropping", f"{second}_cropping", size)
        before, after = _ends(context, x, axis + at, names, inwards=True)
        x = part(context, x, axis + at, before, -after if after else None)
    return x


def _ends(context: Context, x: Ref, axis: int, names: tuple[str, str, str], *, inwards: bool = False) -> list[int]:
    """What is added before and after, or cut off; one of the three follows from the others."""
    before, after, wanted = (context.config.value(name, None) for name in names)
    if wanted is not None and None in (before, after):
        more = (wanted - known_size(context, x, axis)) * (-1 if inwards else 1)
        before = more - after if before is None and after is not None else before or 0
        after = more - before if after is None else after
    pair = [before or 0, after or 0]
    if any(type(each) is not int or each < 0 for each in pair):
        raise Refusal(f"{', '.join(names)} = {short(pair)} are no sizes")
    return pair


def _gray(context: Context) -> Ref:
    """RGBToGrayscale: how bright each of three colours is."""
    x = one(context, 0, "images")
    last = context.config.value("data_format", None) != "channels_first"
    axis = context.rank(x) - (1 if last else 3)
    shape = [3 if at == axis else 1 for at in range(context.rank(x))]
    weights = context.op("reshape", context.constant(np.array([0.2989, 0.5870, 0.1140], "float32")), shape=shape)
    return context.op("sum", context.op("multiply", x, weights), axis=[axis], keepdims=True)


def _patches(context: Context) -> Ref:
    """ExtractPatches: squares of an image, each laid out as the channels of one place."""
    x, axis, last = _batched(context)
    config = context.config
    size = config.sizes("size", 2)
    given = config.value("strides", None)
    strides = size if given is None else config.sizes("strides", 2)
    apart = config.sizes("dilation_rate", 2, 1)
    config.expect("padding", "valid")
    if not last or context.rank(x) != 4:
        raise Refusal("ExtractPatches is supported of batches of images with the channels last")
    channels = known_size(context, x, -1)
    counts = []
    for at, length, stride, step in zip((axis, axis + 2), size, strides, apart, strict=True):
        reach = (length - 1) * step + 1
        counts.append((known_size(context, x, at) - reach) // stride + 1)
        if counts[-1] < 1:
            raise Refusal(f"patches of {reach} are larger than the image")
        spend("patches", elements=counts[-1] * length)
        places = np.arange(counts[-1])[:, None] * stride + np.arange(length) * step
        x = context.op("take", x, context.constant(places, "int64"), axis=at)
    laid = context.op("transpose", x, axes=[0, 1, 3, 2, 4, 5])
    return context.op("reshape", laid, shape=[-1, *counts, math.prod(size) * channels])


def _resized(context: Context) -> Ref:
    """Resize of images, as the layer Resizing does."""
    for name in ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio"):
        context.config.expect(name, False)
    context.config.value("fill_mode", None), context.config.value("fill_value", None)
    mode = context.config.text("interpolation", "bilinear")
    order = "NCHW" if context.config.value("data_format", None) == "channels_first" else "NHWC"
    x = context.as_float(one(context))
    size = context.config.sizes("size", 2)
    return scaled(context, x, size, mode, order)


#: Operations on images.
ROWS: Final[tuple[Lifting, ...]] = (
    operation("DepthToSpace", "reshape, transpose", _blocks(deep=True), "of known sizes"),
    operation("SpaceToDepth", "reshape, transpose", _blocks(deep=False), "of known sizes"),
    operation("PadImages", "pad", _padded),
    operation("CropImages", "slice", _cropped),
    operation("Resize", "Upsample", _resized, "bilinear, or nearest of known sizes, without cropping or smoothing"),
    operation("RGBToGrayscale", "multiply, sum", _gray),
    operation("ExtractPatches", "take, transpose", _patches, "of known sizes, without padding, the channels last"),
)
