"""How Keras' layers over spatial axes are lifted: convolutions, pooling, padding, cropping, resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_activations import activation_of, behind
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_masks import mask_of
from modelarchive.exchange.keras.lifting_padding import layout, padded, padding, spatial
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short


def _window(context: Context, rank: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, strides, dilation, and the size of the dilated kernel."""
    config = context.config
    kernel = config.sizes("kernel_size", rank)
    dilation = config.sizes("dilation_rate", rank, 1)
    wide = [(size - 1) * each + 1 for size, each in zip(kernel, dilation, strict=True)]
    return kernel, config.sizes("strides", rank, 1), dilation, wide


def convolution(rank: int) -> Lift:
    """Conv1D, Conv2D, Conv3D."""

    def lift(context: Context) -> Ref:
        config = context.config
        order, x = layout(context, rank), context.as_float(context.x)
        kernel, strides, dilation, wide = _window(context, rank)
        activation = activation_of(context, config.value("activation", None))
        groups = config.integer("groups", 1)
        x, pairs = padded(context, x, order, wide, strides)
        fields = {
            "channels": config.integer("filters"),
            "kernel_size": kernel,
            "strides": strides,
            "padding": pairs,
            "dilation": dilation,
            "groups": groups,
            "layout": order,
            "activation": activation.field,
            "use_bias": config.flag("use_bias", default=True),
        }
        config.expect("quantization_config", None)
        sizes = lambda arrays: {"in_channels": arrays["weight"].shape[1] * groups}  # noqa: E731
        ref = context.block(f"Conv{rank}D", fields, x, sizes=sizes)[0]
        return behind(context, ref, activation)

    return lift


def depthwise(rank: int) -> Lift:
    """DepthwiseConv1D, DepthwiseConv2D: as many groups as channels."""

    def lift(context: Context) -> Ref:
        activation = activation_of(context, context.config.value("activation", None))
        ref = _depthwise(context, rank, activation.field, context.config.flag("use_bias", default=True))
        return behind(context, ref, activation)

    return lift


def _depthwise(context: Context, rank: int, activation: str | None, use_bias: bool, role: str = "", **more: Any) -> Ref:
    order, x = layout(context, rank), context.as_float(context.x)
    kernel, strides, dilation, wide = _window(context, rank)
    context.config.expect("groups", 1)
    times = context.config.integer("depth_multiplier", 1)
    channels = context.dims(x)[-1 if order[-1] == "C" else 1]
    if channels is None:
        raise Refusal("the number of its channels is not known: pass inputs=")
    x, pairs = padded(context, x, order, wide, strides)
    fields = {
        "channels": channels * times,
        "kernel_size": kernel,
        "strides": strides,
        "padding": pairs,
        "dilation": dilation,
        "groups": channels,
        "layout": order,
        "activation": activation,
        "use_bias": use_bias,
        "in_channels": channels,
    }
    return context.block(f"Conv{rank}D", fields, x, role=role, **more)[0]


def separable(rank: int) -> Lift:
    """SeparableConv1D, SeparableConv2D: a convolution for each channel, and one over the channels."""

    def lift(context: Context) -> Ref:
        config = context.config
        use_bias = config.flag("use_bias", default=True)
        activation = activation_of(context, config.value("activation", None))
        every = context.held({"use_bias": use_bias}, context.weights, context.layer)
        held = [{"weight": every["depthwise"]}, {"weight": every["pointwise"]}]
        if use_bias:
            held[1]["bias"] = every["bias"]
        ref = _depthwise(context, rank, None, False, "depthwise", held=held[0])
        fields = {
            "channels": config.integer("filters"),
            "kernel_size": [1] * rank,
            "strides": [1] * rank,
            "padding": [[0, 0]] * rank,
            "dilation": [1] * rank,
            "groups": 1,
            "layout": layout(context, rank),
            "activation": activation.field,
            "use_bias": use_bias,
        }
        sizes = lambda arrays: {"in_channels": arrays["weight"].shape[1]}  # noqa: E731
        ref = context.block(f"Conv{rank}D", fields, ref, sizes=sizes, held=held[1])[0]
        return behind(context, ref, activation)

    return lift


def transposed(rank: int) -> Lift:
    """Conv1DTranspose, Conv2DTranspose, Conv3DTranspose."""

    def lift(context: Context) -> Ref:
        config = context.config
        order, x = layout(context, rank), context.as_float(context.x)
        kernel, strides, dilation, wide = _window(context, rank)
        activation = activation_of(context, config.value("activation", None))
        how = config.text("padding", "valid")
        if how not in ("valid", "same"):
            raise Refusal(f"padding = {how!r} is not supported")
        given = config.value("output_padding", None)
        extra = None if given is None else config.sizes("output_padding", rank)
        ends = [
            _transposed_ends(how, size, stride, None if extra is None else extra[axis])
            for axis, (size, stride) in enumerate(zip(wide, strides, strict=True))
        ]
        fields = {
            "channels": config.integer("filters"),
            "kernel_size": kernel,
            "strides": strides,
            "padding": [[before, after] for before, after, _ in ends],
            "output_padding": [more for _, _, more in ends],
            "dilation": dilation,
            "groups": config.integer("groups", 1),
            "layout": order,
            "activation": activation.field,
            "use_bias": config.flag("use_bias", default=True),
        }
        config.expect("groups", 1)
        sizes = lambda arrays: {"in_channels": arrays["weight"].shape[0]}  # noqa: E731
        ref = context.block(f"Conv{rank}DTranspose", fields, x, sizes=sizes)[0]
        told = config.value("output_shape", None)  # in Keras 1, where it decided
        if told is not None and (not isinstance(told, list) or told[1:] != context.dims(ref)[1:]):
            raise Refusal(f"output_shape = {short(told)}, and its settings give {context.dims(ref)}")
        return behind(context, ref, activation)

    return lift


def _transposed_ends(how: str, size: int, stride: int, extra: int | None) -> tuple[int, int, int]:
    """What is cut off before and after, and added behind; `size` is that of the dilated kernel.

    The length of the output is that of Keras' ``compute_conv_transpose_output_length``.
    """
    if extra is None:
        total = size - stride if how == "same" else min(size - stride, 0)
    else:
        total = 2 * (size // 2) - extra if how == "same" else -extra
    # The gradient of a convolution whose padding was split with the smaller half in front.
    return (total // 2, total - total // 2, 0) if total > 0 else (0, 0, -total)


def pooling(style: str, rank: int) -> Lift:
    """MaxPooling and AveragePooling; what is padded does not count in the mean."""

    def lift(context: Context) -> Ref:
        config = context.config
        order, x = layout(context, rank), context.x
        window = config.sizes("pool_size", rank, 2)
        strides = window if config.value("strides", None) is None else config.sizes("strides", rank)
        if style == "Max" and not context.importer.storage.is_mirrored:
            x, pairs = padded(context, x, order, window, strides, "edge")
        else:
            pairs = padding(context, x, order, window, strides, is_pooled=True)
        fields: dict[str, Any] = {
            "pool_size": window,
            "strides": strides,
            "padding": pairs,
            "layout": order,
            "ceil_mode": False,
        }
        if style == "Avg" and _is_uneven(fields["padding"], window):
            context.note(
                "padding='same' is uneven here: the mean leaves out what is padded, as on TensorFlow and JAX; "
                "Keras on PyTorch counts the edge again"
            )
        more: dict[str, Any] = {"count_include_pad": False} if style == "Avg" else {}
        return context.plain(f"{style}Pool{rank}D", x, **fields, **more)

    return lift


def _is_uneven(pairs: Sequence[Sequence[int]], window: Sequence[int]) -> bool:
    """Whether Keras on PyTorch pads with copies of the edge, and these change a mean: of two they do not."""
    return any(before != after for before, after in pairs) and any(
        sum(pair) > 0 and size > 2 for pair, size in zip(pairs, window, strict=True)
    )


def global_pooling(style: str, rank: int) -> Lift:
    """GlobalMaxPooling, GlobalAveragePooling."""

    def lift(context: Context) -> Ref:
        order = layout(context, rank)
        keep = context.config.flag("keepdims", default=False)
        if style == "Avg" and rank == 1 and (mask := mask_of(context, place=1)) is not None:
            return _counted_mean(context, mask, order, keepdims=keep)
        ref = context.plain(f"Global{style}Pool{rank}D", context.x, layout=order)
        return ref if keep else context.plain("Flatten", ref, role="flat")

    return lift


def _counted_mean(context: Context, mask: Ref, order: str, *, keepdims: bool) -> Ref:
    """The mean of the steps that count; NaN where none does, as in Keras."""
    x, axis = context.as_float(context.x), order.index("W")
    wide = context.op("expand_dims", mask, axis=3 - axis, role="mask")
    kept = context.op("sum", context.op("where", wide, x, context.constant(0.0)), axis=[axis], keepdims=keepdims)
    numbers = context.op("cast", wide, dtype=context.dtype(x).name, role="count")
    return context.op("divide", kept, context.op("sum", numbers, axis=[axis], keepdims=keepdims, role="count"))


def adaptive(rank: int) -> Lift:
    """AdaptiveAveragePooling1D, AdaptiveAveragePooling2D."""

    def lift(context: Context) -> Ref:
        sizes = context.config.sizes("output_size", rank)
        return context.plain(f"AdaptiveAvgPool{rank}D", context.x, output_size=sizes, layout=layout(context, rank))

    return lift


def zero_padding(rank: int) -> Lift:
    """ZeroPadding1D, ZeroPadding2D, ZeroPadding3D."""

    def lift(context: Context) -> Ref:
        order, pairs = layout(context, rank), context.config.pairs("padding", rank)
        around = [*pairs, [0, 0]] if order[-1] == "C" else pairs
        return context.plain("Pad", context.x, padding=around, mode="constant", value=0.0)

    return lift


def cropping(rank: int) -> Lift:
    """Cropping1D, Cropping2D, Cropping3D."""

    def lift(context: Context) -> Ref:
        order, pairs = layout(context, rank), context.config.pairs("cropping", rank)
        known = context.builder.known(context.x, context.layer.kind).shapes
        for axis, (before, after) in enumerate(pairs, start=1 if order[-1] == "C" else 2):
            if (size := min(shape[axis] for shape in known)) <= before + after:
                raise Refusal(f"{before} + {after} elements are cut off an axis of {size}")
        ranges: list[Any] = [[before, -after if after else None, None] for before, after in pairs]
        whole = [None, None, None]
        return context.op("slice", context.x, index=[whole, *ranges] if order[-1] == "C" else [whole, whole, *ranges])

    return lift


def upsampling(rank: int) -> Lift:
    """UpSampling1D, UpSampling2D, UpSampling3D."""

    def lift(context: Context) -> Ref:
        mode = context.config.text("interpolation", "nearest")
        if mode not in ("nearest", "bilinear"):
            raise Refusal(f"interpolation = {mode!r} is not supported, only nearest and bilinear")
        fields: dict[str, Any] = {
            "scale": context.config.sizes("size", rank, 2),
            "mode": "nearest" if mode == "nearest" else "linear",
            "align_corners": False,
            "layout": layout(context, rank),
            "size": None,
        }
        return context.plain("Upsample", context.x, **fields)

    return lift


def resizing(context: Context) -> Ref:
    """Resizing without padding or smoothing."""
    config = context.config
    for name in ("pad_to_aspect_ratio", "antialias"):
        config.expect(name, False)
    config.value("fill_mode", None)
    config.value("fill_value", None)
    order = layout(context, 2)
    wanted = [config.integer("height"), config.integer("width")]
    mode = config.text("interpolation", "bilinear")
    x = context.as_float(context.x)
    if config.flag("crop_to_aspect_ratio", default=False):
        x = _shaped(context, x, wanted, order)
    return scaled(context, x, wanted, mode, order)


def _shaped(context: Context, x: Ref, wanted: list[int], order: str) -> Ref:
    """The middle of images, with the aspect ratio of another size."""
    height, width = spatial(context, x, order)
    if height is None or width is None or min(wanted) < 1:
        raise Refusal("crop_to_aspect_ratio needs images of a known size: pass inputs=")
    kept = [
        max(min(height, int(width * wanted[0] / wanted[1])), 1),
        max(min(width, int(height * wanted[1] / wanted[0])), 1),
    ]
    ranges: list[Any] = []
    for size, each in zip((height, width), kept, strict=True):
        begin = int((size - max(each, 1)) / 2)
        ranges.append([begin, begin + max(each, 1), None])
    whole = [None, None, None]
    return context.op("slice", x, index=[whole, *ranges] if order[-1] == "C" else [whole, whole, *ranges])


def scaled(context: Context, x: Ref, wanted: list[int], mode: str, order: str) -> Ref:
    """Images in another size."""
    known = spatial(context, x, order)
    if mode == "nearest":
        if None in known:
            raise Refusal("interpolation = 'nearest' is supported for known sizes only: pass inputs=")
        if any(each % size for size, each in zip(known, wanted, strict=True) if size is not None):
            return _nearest(context, x, known, wanted, order)
    elif mode != "bilinear":
        raise Refusal(f"interpolation = {mode!r} is not supported, only nearest and bilinear")
    fields: dict[str, Any] = {"scale": None, "size": wanted, "align_corners": False, "layout": order}
    return context.plain("Upsample", x, mode="linear" if mode == "bilinear" else "nearest", **fields)


def _nearest(context: Context, x: Ref, known: Sequence[int | None], wanted: Sequence[int], order: str) -> Ref:
    """Of each new place, from its middle, the element in which that lies."""
    first = 1 if order[-1] == "C" else 2
    for at, (size, new) in enumerate(zip(known, wanted, strict=True)):
        spend("places", elements=new)
        places = ((np.arange(new) + 0.5) * (size or 1) / max(new, 1)).astype(np.int64)
        x = context.op("take", x, context.constant(np.minimum(places, (size or 1) - 1), "int64"), axis=first + at)
    return x


def center_crop(context: Context) -> Ref:
    """CenterCrop of images that are at least as large."""
    order = layout(context, 2)
    wanted = [context.config.integer("height"), context.config.integer("width")]
    ranges: list[Any] = []
    for size, each in zip(spatial(context, context.x, order), wanted, strict=True):
        if size is None or size < each:
            raise Refusal("its input is smaller than what it crops to, or its size is not known")
        begin = (size - each) // 2
        ranges.append([begin, begin + each, None])
    whole = [None, None, None]
    return context.op("slice", context.x, index=[whole, *ranges] if order[-1] == "C" else [whole, whole, *ranges])
