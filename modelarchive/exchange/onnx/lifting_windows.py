"""How ONNX's convolutions and poolings are lifted, and what changes the size of images."""

from __future__ import annotations

from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

LAYOUTS: Final = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


def spatial(context: Context) -> int:
    """How many axes of space the input has."""
    rank = context.rank(0) - 2
    if rank not in LAYOUTS:
        raise Refusal(f"{context.node.op} over {rank} axes is not supported")
    return rank


def each_axis(context: Context, name: str, default: int, rank: int) -> list[int]:
    """Numbers of an attribute, one for each axis of space."""
    found = list(context.node.integers(name, [default] * rank))
    if len(found) != rank:
        raise Refusal(f"{name} has {len(found)} numbers for {rank} axes")
    return found


def padding_of(context: Context, kernel: list[int], strides: list[int], dilation: list[int]) -> list[list[int]]:
    """Pairs of what is added before and after, by auto_pad or pads."""
    rank, style = len(kernel), context.node.text("auto_pad", "NOTSET")
    pads = list(context.node.integers("pads", [0] * 2 * rank))
    if style == "NOTSET":
        if len(pads) != 2 * rank:
            raise Refusal(f"pads has {len(pads)} numbers for {rank} axes")
        return [[pads[axis], pads[axis + rank]] for axis in range(rank)]
    if style == "VALID":
        return [[0, 0] for _ in range(rank)]
    if style not in ("SAME_UPPER", "SAME_LOWER"):
        raise Refusal(f"auto_pad = {style!r} is not supported")
    pairs = []
    for axis in range(rank):
        size = context.shape(0)[axis + 2]
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        if size is None and strides[axis] != 1:
            is_two = reach == strides[axis] == 2
            if style != "SAME_UPPER" or not is_two or context.node.flag("ceil_mode", default=False):
                raise Refusal(f"auto_pad = {style!r} with sizes that are not fixed is not supported: pass inputs=")
            # Steps of two take at most one element more, which is behind; where they take none, no window looks at it.
            pairs.append([0, 1])
            continue
        # With a stride of 1 the size does not matter.
        steps = -(-size // strides[axis]) if size is not None else 0
        total = (steps - 1) * strides[axis] + reach - size if size is not None else reach - 1
        if total < -1:  # TensorFlow's windows begin at the first element, ONNX Runtime's at a later one.
            raise Refusal(
                f"auto_pad = {style!r} of windows of {reach}, {strides[axis]} apart, over {size} elements: runtimes "
                f"take it in two ways"
            )
        total = max(total, 0)
        small, large = total // 2, total - total // 2
        pairs.append([small, large] if style == "SAME_UPPER" else [large, small])
    return pairs


def whole_windows(context: Context, kernel: list[int], dilation: list[int], padding: list[list[int]]) -> None:
    """Refuse windows that are larger than what they look at: there is no result, or one that runtimes make up."""
    for size, extent, gap, pair in zip(context.shape(0)[2:], kernel, dilation, padding, strict=True):
        if size is not None and gap * (extent - 1) + 1 > size + sum(pair):
            raise Refusal(
                f"{context.node.op} of windows of {gap * (extent - 1) + 1} over {size} elements and {sum(pair)} beside "
                f"them is not supported"
            )


def _weight(context: Context, rank: int) -> Any:
    weight = context.stored(1)
    if len(weight.array.shape) != rank + 2 or 0 in weight.array.shape:
        raise Refusal(f"the weight {weight.stored!r} has the shape {weight.array.shape}, expected {rank + 2} axes")
    kernel = list(weight.array.shape[2:])
    if list(context.node.integers("kernel_shape", kernel)) != kernel:
        raise Refusal(f"kernel_shape is not that of the weight, {kernel}")
    return weight, kernel


def convolution(context: Context) -> Ref:
    """A convolution: the layer, where its weights are stored."""
    rank = spatial(context)
    if not context.is_constant(1):
        return _computed(context, rank)
    weight, kernel = _weight(context, rank)
    strides, dilation = each_axis(context, "strides", 1, rank), each_axis(context, "dilations", 1, rank)
    groups = context.node.integer("group", 1)
    config = {
        "kind": f"Conv{rank}D",
        "channels": weight.array.shape[0],
        "kernel_size": kernel,
        "strides": strides,
        "padding": padding_of(context, kernel, strides, dilation),
        "dilation": dilation,
        "groups": groups,
        "layout": LAYOUTS[rank],
        "activation": None,
        "use_bias": context.is_constant(2),
        "in_channels": weight.array.shape[1] * groups,
    }
    return _with_bias(context, config, weight)


def _with_bias(context: Context, config: dict[str, Any], weight: Any) -> Ref:
    """The layer with its bias; where that is computed, it is added."""
    if config["use_bias"]:
        return context.block(config, context.ref(0), weight=weight, bias=context.stored(2))
    found = context.block(config, context.ref(0), weight=weight)
    if not context.has(2):
        return found
    return context.op("add", found, context.op("reshape", context.ref(2), shape=[-1, *[1] * (context.rank(0) - 2)]))


def _computed(context: Context, rank: int) -> Ref:
    """A convolution whose weights are computed."""
    shape = context.shape(1)
    if len(shape) != rank + 2 or None in shape:
        raise Refusal("computed weights of a Conv whose shape is not known are not supported: pass inputs=")
    kernel = [int(size or 0) for size in shape[2:]]
    strides, dilation = each_axis(context, "strides", 1, rank), each_axis(context, "dilations", 1, rank)
    context.node.integers("kernel_shape", kernel)
    groups, channels = context.node.integer("group", 1), context.shape(0)[1]
    if channels != groups * int(shape[1] or 0):
        raise Refusal(f"Conv has {groups} groups of {shape[1]} inputs, and {channels} channels")
    arguments = {"strides": strides, "padding": padding_of(context, kernel, strides, dilation), "dilation": dilation}
    found = context.op("conv", context.ref(0), context.ref(1), **arguments)
    if not context.has(2):
        return found
    bias = context.op("reshape", context.ref(2), shape=[-1, *[1] * rank])
    return context.op("add", found, bias)


_SAMPLING: Final = {"bilinear": "linear", "bicubic": "cubic"}


def _grid_sample(context: Context) -> Ref:
    mode = context.node.text("mode", "linear")
    return context.op(
        "grid_sample",
        context.ref(0),
        context.ref(1),
        mode=_SAMPLING.get(mode, mode),
        padding_mode=context.node.text("padding_mode", "zeros"),
        align_corners=context.node.flag("align_corners", default=False),
    )


def _transposed(context: Context) -> Ref:
    rank = spatial(context)
    if not context.is_constant(1):
        return _transposed_computed(context, rank)
    weight, kernel = _weight(context, rank)
    strides, dilation = each_axis(context, "strides", 1, rank), each_axis(context, "dilations", 1, rank)
    groups = context.node.integer("group", 1)
    padding, extra = _cut(context, kernel, strides, dilation)
    config = {
        "kind": f"Conv{rank}DTranspose",
        "channels": weight.array.shape[1] * groups,
        "kernel_size": kernel,
        "strides": strides,
        "padding": padding,
        "output_padding": extra,
        "dilation": dilation,
        "groups": groups,
        "layout": LAYOUTS[rank],
        "activation": None,
        "use_bias": context.is_constant(2),
        "in_channels": weight.array.shape[0],
    }
    return _with_bias(context, config, weight)


def _cut(
    context: Context, kernel: list[int], strides: list[int], dilation: list[int]
) -> tuple[list[list[int]], list[int]]:
    """What is cut off the result before and after along each axis, and what it has more at the end."""
    rank, extra = len(kernel), each_axis(context, "output_padding", 0, len(kernel))
    style, wanted = context.node.text("auto_pad", "NOTSET"), context.node.integers("output_shape", None)
    if wanted is None and not style.startswith("SAME"):
        return padding_of(context, kernel, strides, dilation), extra
    sizes = context.shape(0)[2:]
    if None in sizes and wanted is not None:
        raise Refusal("output_shape with sizes that are not fixed is not supported: pass inputs=")
    padding = []
    context.node.integers("pads", None)
    for axis, (size, stride, gap) in enumerate(zip(sizes, strides, dilation, strict=True)):
        # Whatever the size, "same" is the size times the stride.
        base = 0 if size is None else size
        full = stride * (base - 1) + extra[axis] + (kernel[axis] - 1) * gap + 1
        total = full - (base * stride if wanted is None else wanted[len(wanted) - rank + axis])
        if total < 0 and wanted is None:
            raise Refusal(f"auto_pad = {style!r} of a window smaller than the stride: runtimes take it in two ways")
        if total < 0:
            extra[axis] -= total
            total = 0
        small, large = total // 2, total - total // 2
        padding.append([small, large] if style == "SAME_UPPER" else [large, small])
    return padding, extra


def _transposed_computed(context: Context, rank: int) -> Ref:
    """A convolution of the input with zeros between its elements, by the weights turned round."""
    shape, sizes = context.shape(1), context.shape(0)
    if len(shape) != rank + 2 or None in shape or None in sizes[1:]:
        raise Refusal("computed weights of a ConvTranspose over sizes that are not fixed are not supported")
    channels, each, *kernel = (int(size or 0) for size in shape)
    strides, dilation = each_axis(context, "strides", 1, rank), each_axis(context, "dilations", 1, rank)
    groups = context.node.integer("group", 1)
    context.node.integers("kernel_shape", kernel)
    padding, extra = _cut(context, kernel, strides, dilation)
    if groups < 1 or channels % groups:
        raise Refusal(f"ConvTranspose of {channels} channels in {groups} groups is not supported")
    x = context.ref(0)
    for axis, (stride, gap) in enumerate(zip(strides, dilation, strict=True)):
        reach = gap * (kernel[axis] - 1)
        room = [reach - padding[axis][0], reach - padding[axis][1] + extra[axis]]
        x = _apart(context, x, axis + 2, stride, room)
    turned = context.op("slice", context.ref(1), index=[[None] * 3] * 2 + [[None, None, -1]] * rank)
    split = context.op("reshape", turned, shape=[groups, channels // groups, each, *kernel])
    swapped = context.op("transpose", split, axes=[0, 2, 1, *range(3, 3 + rank)])
    weight = context.op("reshape", swapped, shape=[groups * each, channels // groups, *kernel])
    found = context.op("conv", x, weight, strides=[1] * rank, padding=[[0, 0]] * rank, dilation=dilation)
    if not context.has(2):
        return found
    return context.op("add", found, context.op("reshape", context.ref(2), shape=[-1, *[1] * rank]))


def _apart(context: Context, x: Ref, axis: int, stride: int, room: list[int]) -> Ref:
    """Zeros between the elements of an axis, and around them; less than none cuts them off."""
    sizes = context.known_of(x).declared
    size = int(sizes[axis] or 0)
    if stride > 1:
        rank = len(sizes)
        apart = context.op("expand_dims", x, axis=[axis + 1])
        pairs = [[0, 0] for _ in range(rank + 1)]
        pairs[axis + 1] = [0, stride - 1]
        apart = context.op("pad", apart, padding=pairs, mode="constant", value=0)
        size = (size - 1) * stride + 1
        whole = [None, *(int(each or 0) for each in sizes[1:])]
        whole[axis] = -1
        x = context.op("reshape", apart, shape=whole)
        x = context.op("slice", x, index=[*[[None] * 3] * axis, [None, size, None]])
    cut = [max(-each, 0) for each in room]
    if any(cut):
        x = context.op("slice", x, index=[*[[None] * 3] * axis, [cut[0] or None, size - cut[1], None]])
    pairs = [[0, 0] for _ in sizes]
    pairs[axis] = [max(each, 0) for each in room]
    return context.op("pad", x, padding=pairs, mode="constant", value=0) if any(pairs[axis]) else x


ROWS: Final[list[Lifting]] = [
    Lifting("Conv", "Conv1D, Conv2D, Conv3D, conv", convolution),
    Lifting("GridSample", "grid_sample", _grid_sample),
    Lifting(
        "ConvTranspose",
        "Conv1DTranspose, Conv2DTranspose, Conv3DTranspose, conv",
        _transposed,
        "with computed weights of fixed sizes only",
    ),
]
