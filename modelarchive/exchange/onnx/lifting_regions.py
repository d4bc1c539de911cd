"""How ONNX's operators are lifted that look at places between the elements: regions, grids, moved windows."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_integers import negated
from modelarchive.exchange.onnx.lifting_windows import each_axis
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

_WHOLE: Final = [None, None, None]
#: The opset from which on regions are half an element off.
_HALF: Final = 16


def _count(context: Context, axis: int) -> Ref:
    """How many elements the input has along an axis, as an int64."""
    size = context.shape(0)[axis]
    if size is not None:
        return context.literal(size, "int64")
    return context.op("slice", context.op("shape_of", context.ref(0)), index=[axis])


class _Side:
    """The places along one axis of all samples of each region (regions, samples), and what each counts.

    Args:
        context: The operator.
        axis: Of the input.
        ends: Which columns of a region are its first and last place.
        bins: How many parts a region has.
        samples: How many places a part has.
        half: Whether places are half an element off.
    """

    def __init__(
        self, context: Context, axis: int, ends: tuple[int, int], bins: int, samples: int, *, half: bool
    ) -> None:
        self.context, dtype = context, context.dtype(1)
        scale = context.node.number("spatial_scale", 1.0)
        first, last = (context.op("slice", context.ref(1), index=[_WHOLE, [place, place + 1, None]]) for place in ends)
        first, last = (context.op("multiply", each, context.literal(scale, dtype)) for each in (first, last))
        size = context.op("subtract", last, first)
        if half:
            first = context.op("subtract", first, context.literal(0.5, dtype))
        else:
            size = context.op("maximum", size, context.literal(1, dtype))
        context.make(bins * samples)
        steps = (np.arange(bins * samples) + 0.5).reshape(1, -1) / samples
        part = context.op("divide", size, context.literal(bins, dtype))
        moved = context.op("multiply", part, context.as_dtype(context.fixed(steps.astype(np.float32)), dtype))
        place = context.op("add", first, moved)
        count = _count(context, axis)
        whole = context.as_dtype(count, dtype)
        outside = context.op("maximum", context.op("less", place, context.literal(-1, dtype)),
                             context.op("greater", place, whole))  # fmt: skip
        self.inside = context.as_dtype(negated(context, outside), dtype)
        end = context.op("subtract", whole, context.literal(1, dtype))
        place = context.op("minimum", context.op("maximum", place, context.literal(0, dtype)), end)
        low = context.op("floor", place)
        self.share = context.op("subtract", place, low)
        self.low = context.as_dtype(low, "int64")
        one = context.literal(1, "int64")
        self.high = context.op("minimum", context.op("add", self.low, one), context.op("subtract", count, one))

    def taps(self) -> list[tuple[Ref, Ref]]:
        """The two neighbours of each place, and what each counts: nothing outside."""
        context = self.context
        rest = context.op("subtract", context.literal(1, context.dtype(1)), self.share)
        return [
            (place, context.op("multiply", share, self.inside))
            for place, share in ((self.low, rest), (self.high, self.share))
        ]


def _roi_align(context: Context) -> Ref:
    """The mean of a known number of samples in each part of each region."""
    node, rank = context.node, context.rank(0)
    style = node.text("coordinate_transformation_mode", "half_pixel" if context.opset >= _HALF else "output_half_pixel")
    rows, columns, samples = node.integer("output_height", 1), node.integer("output_width", 1), node.integer(
        "sampling_ratio", 0
    )  # fmt: skip
    channels = context.shape(0)[1] if rank == 4 else None
    if node.text("mode", "avg") != "avg":
        raise Refusal("RoiAlign of the largest samples is not supported: runtimes take the largest of their parts")
    if samples < 1:
        raise Refusal("RoiAlign whose number of samples depends on the regions (sampling_ratio = 0) is not supported")
    if channels is None or min(rows, columns) < 1 or style not in ("half_pixel", "output_half_pixel"):
        raise Refusal(f"RoiAlign of {channels} channels into {rows} x {columns} parts, {style}, is not supported")
    half = style == "half_pixel"
    height = _Side(context, 2, (1, 3), rows, samples, half=half)
    width = _Side(context, 3, (0, 2), columns, samples, half=half)
    flat = context.op("reshape", context.op("transpose", context.ref(0), axes=[0, 2, 3, 1]), shape=[-1, channels])
    batch = context.op("reshape", context.as_dtype(context.ref(2), "int64"), shape=[-1, 1, 1])
    wide, high = _count(context, 3), _count(context, 2)
    start = context.op("multiply", context.op("multiply", batch, high), wide)
    total: Ref | None = None
    for y, across in height.taps():
        for x, along in width.taps():
            row = context.op("multiply", context.op("expand_dims", y, axis=[2]), wide)
            place = context.op("add", context.op("add", start, row), context.op("expand_dims", x, axis=[1]))
            share = context.op("multiply", context.op("expand_dims", across, axis=[2, 3]),
                               context.op("expand_dims", along, axis=[1, 3]))  # fmt: skip
            part = context.op("multiply", context.op("take", flat, place, axis=0), share)
            total = part if total is None else context.op("add", total, part)
    if total is None:
        raise Refusal("RoiAlign without samples is not supported")
    parts = context.op("reshape", total, shape=[-1, rows, samples, columns, samples, channels])
    found = context.op("mean", parts, axis=[2, 4], keepdims=False)
    return context.op("transpose", found, axes=[0, 3, 1, 2])


def _affine_grid(context: Context) -> Ref:
    """Places of a grid from -1 to 1, turned and moved by a matrix for each image."""
    sizes, corners = context.integers(1), context.node.flag("align_corners", default=False)
    space = sizes[2:]
    if len(sizes) not in (4, 5) or min(space) < 1:
        raise Refusal(f"AffineGrid of the sizes {sizes} is not supported")
    if corners and 1 in space:
        raise Refusal("AffineGrid with align_corners of one element along an axis: runtimes put it in two places")
    context.make(4 * int(np.prod(space)))
    lines = [np.linspace(-1, 1, size) if corners else (2 * np.arange(size) + 1) / size - 1.0 for size in space]
    grids = np.meshgrid(*lines, indexing="ij")[::-1]
    base = np.stack([*grids, np.ones(space)], axis=-1).reshape(-1, len(space) + 1)
    fixed = context.as_dtype(context.fixed(base.astype(np.float32)), context.dtype(0))
    found = context.op("matmul", fixed, context.op("transpose", context.ref(0), axes=[0, 2, 1]))
    return context.op("reshape", found, shape=[-1, *space, len(space)])


def _deformed(context: Context) -> Ref:
    """A convolution whose windows have their elements moved: they are sampled side by side, and then weighed."""
    node, weight, sizes = context.node, context.shape(1), context.shape(0)
    if len(weight) != 4 or None in weight or None in sizes[1:] or len(sizes) != 4:
        raise Refusal(f"DeformConv over sizes that are not fixed ({sizes}) is not supported: pass inputs=")
    inner, rows, columns = (int(each or 0) for each in weight[1:])
    strides, gaps = each_axis(context, "strides", 1, 2), each_axis(context, "dilations", 1, 2)
    pads, groups = list(node.integers("pads", [0] * 4)), node.integer("group", 1)
    apart = node.integer("offset_group", 1)
    node.integers("kernel_shape", [rows, columns])
    depth, size = int(sizes[1] or 0), [int(each or 0) for each in sizes[2:]]
    out = [
        (size[axis] + pads[axis] + pads[axis + 2] - gaps[axis] * (extent - 1) - 1) // strides[axis] + 1
        for axis, extent in enumerate((rows, columns))
    ]
    if min(*out, groups, apart) < 1 or depth % apart or depth != inner * groups:
        raise Refusal(f"DeformConv of {depth} channels in {groups} and {apart} groups is not supported")
    context.make(2 * int(np.prod(out)) * rows * columns)
    bases = [
        (np.arange(count)[:, None] * step - before + np.arange(extent)[None] * gap).astype(np.float32)
        for count, step, before, extent, gap in zip(out, strides, pads, (rows, columns), gaps, strict=False)
    ]
    offsets = context.op("reshape", context.ref(2), shape=[-1, apart, rows, columns, 2, *out])
    offsets = context.op("transpose", offsets, axes=[0, 1, 5, 2, 6, 3, 4])
    masks = None
    if context.has(4):
        masks = context.op("reshape", context.ref(4), shape=[-1, apart, rows, columns, *out])
        masks = context.op("transpose", masks, axes=[0, 1, 4, 2, 5, 3])
    wide = [out[0] * rows, out[1] * columns]
    # Of sizes that are powers of two, places between -1 and 1 are exact; what is added is as empty as what is outside.
    even = [2 ** (each - 1).bit_length() for each in size]
    context.make(depth * even[0] * even[1])
    room = [[0, new - old] for new, old in zip(even, size, strict=True)]
    x = context.op("pad", context.ref(0), padding=[[0, 0], [0, 0], *room], mode="constant", value=0)
    parts = []
    for group in range(apart):
        grid = _grid(context, context.op("slice", offsets, index=[_WHOLE, group]), bases, even, wide)
        own = [group * depth // apart, (group + 1) * depth // apart, None]
        images = context.op("slice", x, index=[_WHOLE, own]) if apart > 1 else x
        part = context.op("grid_sample", images, grid, mode="linear", padding_mode="zeros", align_corners=False)
        if masks is not None:
            mask = context.op("slice", masks, index=[_WHOLE, group])
            part = context.op("multiply", part, context.op("reshape", mask, shape=[-1, 1, *wide]))
        parts.append(part)
    x = parts[0] if apart == 1 else context.op("concatenate", *parts, axis=1)
    found = context.op("conv", x, context.ref(1), strides=[rows, columns], padding=[[0, 0]] * 2, dilation=[1, 1])
    return (
        context.op("add", found, context.op("reshape", context.ref(3), shape=[-1, 1, 1])) if context.has(3) else found
    )


def _grid(context: Context, offsets: Ref, bases: list[Any], size: list[int], wide: list[int]) -> Ref:
    """Where each element of each window is, as a grid from -1 to 1, the horizontal place first."""
    dtype = context.dtype(0)
    places = []
    for axis, base in enumerate(bases):
        shape = [*base.shape, 1, 1] if axis == 0 else [1, 1, *base.shape]
        own = context.op("slice", offsets, index=[*[_WHOLE] * 5, axis])
        place = context.op("add", own, context.as_dtype(context.fixed(base.reshape(shape)), dtype))
        doubled = context.op("add", context.op("multiply", place, context.literal(2, dtype)), context.literal(1, dtype))
        scaled = context.op("multiply", doubled, context.literal(1 / size[axis], dtype))
        places.append(context.op("subtract", scaled, context.literal(1, dtype)))
    both = context.op("stack", places[1], places[0], axis=5)
    return context.op("reshape", both, shape=[-1, *wide, 2])


ROWS: Final[list[Lifting]] = [
    Lifting("RoiAlign", "take, multiply, add, mean", _roi_align, "a known number of samples; means only"),
    Lifting("AffineGrid", "matmul", _affine_grid, "sizes known"),
    Lifting("DeformConv", "grid_sample, conv", _deformed, "sizes known, but for the first"),
]
