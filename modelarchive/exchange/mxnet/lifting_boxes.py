"""How MXNet's operators of detectors are lifted: boxes that overlap, boxes at every place, blocks of pixels."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.lifting_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

#: Numbers of the boxes that a symbol makes.
_MOST: Final = 1 << 22
_SIZES: Final = "sizes known"


def _box_iou(context: Context) -> Ref:
    """How much each box of one array overlaps each of another: what both cover of what one of them does."""
    form = context.attributes.text("format", "corner")
    if form not in ("corner", "center"):
        raise Refusal(f"boxes of the format {form!r} are not supported")
    if (context.shape(0)[-1:], context.shape(1)[-1:]) != ([4], [4]):
        raise Refusal("boxes of other than four numbers are not supported")
    ranks = context.rank(0), context.rank(1)
    one, other = (_edges(context, index, ranks, is_center=form == "center") for index in (0, 1))
    zero = context.constant(0.0)
    spans = []
    for low, high in ((0, 2), (1, 3)):
        span = context.op(
            "subtract", context.op("minimum", one[high], other[high]), context.op("maximum", one[low], other[low])
        )
        spans.append(context.op("maximum", span, zero))
    both = context.op("multiply", *spans)
    areas = [_area(context, edges) for edges in (one, other)]
    either = context.op("subtract", context.op("add", *areas), both)
    # Where nothing is covered by both, nothing is divided.
    is_some = context.op("greater", both, zero)
    divisor = context.op("where", is_some, either, context.constant(1.0))
    return context.op("divide", both, divisor)


def _edges(context: Context, index: int, ranks: tuple[int, int], *, is_center: bool) -> list[Ref]:
    """Left, top, right and bottom of boxes; the first array's along axes in front of the second's."""
    ahead = [[None, None, None]] * (ranks[index] - 1)
    parts = [context.op("slice", context.ref(index), index=[*ahead, at]) for at in range(4)]
    if is_center:
        half = context.constant(0.5)
        halves = [context.op("multiply", each, half) for each in parts[2:]]
        parts = [context.op(how, parts[at], halves[at]) for how in ("subtract", "add") for at in (0, 1)]
    if index == 0 and ranks[1] > 1:
        behind = list(range(ranks[0] - 1, ranks[0] + ranks[1] - 2))
        parts = [context.op("expand_dims", each, axis=behind) for each in parts]
    return parts


def _area(context: Context, edges: list[Ref]) -> Ref:
    """What boxes cover; nothing where they are turned inside out."""
    zero = context.constant(0.0)
    spans = [
        context.op("maximum", context.op("subtract", edges[high], edges[low]), zero) for low, high in ((0, 2), (1, 3))
    ]
    return context.op("multiply", *spans)


def _multi_box_prior(context: Context) -> Ref:
    """Boxes of several sizes and ratios around the middle of each place of an image."""
    at = context.attributes
    sizes, ratios = (at.reals(name, "(1.0,)") for name in ("sizes", "ratios"))
    steps, offsets = at.reals("steps", "(-1.0, -1.0)"), at.reals("offsets", "(0.5, 0.5)")
    is_clipped = at.flag("clip", default=False)
    shape = context.shape(0)
    if len(shape) != 4 or None in shape[2:]:
        raise Refusal("boxes for an image whose size is not known are not supported: pass inputs= with fixed sizes")
    height, width = (size or 0 for size in shape[2:])
    count = len(sizes) + len(ratios) - 1
    if not sizes or not ratios or len(steps) != 2 or len(offsets) != 2 or min(ratios) <= 0 or height * width < 1:
        raise Refusal(f"boxes of the sizes {sizes} and ratios {ratios} are not supported")
    if 4 * height * width * count > _MOST:
        raise Refusal(f"{height * width * count:,} boxes are not made, at most {_MOST // 4:,} are")
    spend("boxes that it makes", steps=height * width * count // 16 + 1)
    given = (steps[0] > 0, steps[1] > 0)
    if given[0] != given[1]:
        raise Refusal(f"steps {steps} are not supported, only two or none")
    step = steps if all(given) else (1 / height, 1 / width)
    boxes = _around_each(sizes, ratios, (height, width), step, offsets)
    return context.array((boxes.clip(0, 1) if is_clipped else boxes).astype(np.float32))


def _around_each(
    sizes: tuple[float, ...], ratios: tuple[float, ...], image: tuple[int, int], steps: Any, offsets: tuple[float, ...]
) -> np.ndarray:
    """Boxes (1, places x kinds, 4): every size with the first ratio, then the first size with every other one."""
    height, width = image
    kinds = [(size, ratios[0]) for size in sizes] + [(sizes[0], ratio) for ratio in ratios[1:]]
    halves = [(size * height / width * math.sqrt(ratio) / 2, size / math.sqrt(ratio) / 2) for size, ratio in kinds]
    wide, high = np.array(halves).T
    down = ((np.arange(height) + offsets[0]) * steps[0])[:, None, None]
    across = ((np.arange(width) + offsets[1]) * steps[1])[None, :, None]
    edges = np.broadcast_arrays(across - wide, down - high, across + wide, down + high)
    return np.stack(edges, axis=-1).reshape(1, -1, 4)


def _depth_to_space(context: Context) -> Ref:
    """Channels laid out as blocks of pixels."""
    block, (channels, height, width) = _block(context)
    if channels % block**2:
        raise Refusal(f"{channels} channels are no blocks of {block} x {block} pixels")
    inner = channels // block**2
    apart = context.op("reshape", context.ref(0), shape=[None, block, block, inner, height, width])
    turned = context.op("transpose", apart, axes=[0, 3, 4, 1, 5, 2])
    return context.op("reshape", turned, shape=[None, inner, height * block, width * block])


def _space_to_depth(context: Context) -> Ref:
    """Blocks of pixels laid out as channels."""
    block, (channels, height, width) = _block(context)
    if height % block or width % block:
        raise Refusal(f"an image of {height} x {width} pixels has no blocks of {block} x {block}")
    apart = context.op("reshape", context.ref(0), shape=[None, channels, height // block, block, width // block, block])
    turned = context.op("transpose", apart, axes=[0, 3, 5, 1, 2, 4])
    return context.op("reshape", turned, shape=[None, channels * block**2, height // block, width // block])


def _block(context: Context) -> tuple[int, tuple[int, int, int]]:
    """How wide a block of pixels is, and the channels, height and width of the image."""
    block, shape = context.attributes.integer("block_size"), context.shape(0)
    if len(shape) != 4 or None in shape[1:] or block < 1:
        raise Refusal("blocks of an image whose size is not known are not supported: pass inputs= with fixed sizes")
    channels, height, width = (size or 0 for size in shape[1:])
    return block, (channels, height, width)


ROWS: Final = (
    Lifting("_contrib_box_iou _npx_box_iou", "minimum, maximum, divide", _box_iou),
    Lifting(
        "_contrib_MultiBoxPrior MultiBoxPrior _npx_multibox_prior",
        "constant",
        _multi_box_prior,
        f"{_SIZES}; made in double precision and rounded once",
    ),
    Lifting("depth_to_space", "reshape, transpose", _depth_to_space, f"{_SIZES} but the batch's"),
    Lifting("space_to_depth", "reshape, transpose", _space_to_depth, f"{_SIZES} but the batch's"),
)
_CHOICE: Final = (
    "keeps boxes one after the other, by what they score and overlap: how many these are depends on values; cut the "
    "symbol before it, sym.get_internals() has what it takes, and choose the boxes in what calls the network"
)
#: Operators of detectors that have no counterpart -> why, and what to do.
CHOOSING: Final = dict.fromkeys(
    (
        *("_contrib_box_nms", "_contrib_box_non_maximum_suppression", "_npx_box_nms", "_npx_nms"),
        *("_contrib_MultiBoxDetection", "MultiBoxDetection", "_npx_multibox_detection"),
        *("_contrib_Proposal", "_contrib_MultiProposal", "Proposal", "MultiProposal"),
    ),
    _CHOICE,
) | dict.fromkeys(
    ("_contrib_MultiBoxTarget", "MultiBoxTarget", "_contrib_bipartite_matching", "_npx_multibox_target"),
    "finds what training compares with: cut the symbol before it, it is not for inference",
)
