"""Where windows stand in Keras: the order of the axes that they move over, and what is padded around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.refusal import Refusal

#: Axes of space -> the order of all axes where the channels come first, and where they come last.
ORDERS: Final = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}


def layout(context: Context, rank: int) -> str:
    """The order of the axes."""
    found = context.config.text("data_format", "channels_last")
    if found not in ("channels_last", "channels_first"):
        raise Refusal(f"data_format = {found!r} is neither channels_last nor channels_first")
    return ORDERS[rank][found == "channels_last"]


def spatial(context: Context, ref: Ref, order: str) -> list[int | None]:
    """The sizes of the axes that windows move over."""
    dims = context.dims(ref)
    if len(dims) != len(order):
        raise Refusal(f"{context.layer.kind} takes {len(order)} axes, its input has {len(dims)}")
    return dims[1:-1] if order[-1] == "C" else dims[2:]


def padding(
    context: Context, ref: Ref, order: str, window: Sequence[int], strides: Sequence[int], *, is_pooled: bool = False
) -> list[list[int]]:
    """The padding of a window that is moved: as much as `same` takes, which depends on the size."""
    how = context.config.text("padding", "valid")
    if how == "valid":
        return [[0, 0] for _ in window]
    if how == "causal" and len(window) == 1:
        return [[window[0] - 1, 0]]
    if how != "same":
        raise Refusal(f"padding = {how!r} is not supported")
    if all(stride == 1 for stride in strides):
        return [same(context, size, size - 1, is_pooled=is_pooled) for size in window]
    found = []
    for length, size, stride in zip(spatial(context, ref, order), window, strides, strict=True):
        # A window of two takes at most one element more, which is behind; of more, the size decides.
        if length is None and stride > 1 and size > 2:
            raise Refusal("padding='same' with strides depends on a size that is free in the file: pass inputs=")
        total = size - 1 if length is None else (-(-length // stride) - 1) * stride + size - length
        found.append(same(context, size, total, is_pooled=is_pooled))
    return found


def padded(
    context: Context, ref: Ref, order: str, window: Sequence[int], strides: Sequence[int], mode: str = "constant"
) -> tuple[Ref, list[list[int]]]:
    """What a window moves over, and how much is padded around it.

    What `same` takes before an axis of a free size hangs on what the steps leave over of it: it is padded by ops then,
    with zeros, or with copies of the edge (`mode`), which change no maximum.
    """
    if context.config.value("padding", "valid") != "same":
        return ref, padding(context, ref, order, window, strides)
    pairs = []
    for axis, (length, size, stride) in enumerate(zip(spatial(context, ref, order), window, strides, strict=True)):
        if length is not None or stride == 1:
            total = size - 1 if length is None or stride == 1 else (-(-length // stride) - 1) * stride + size - length
            pairs.append(same(context, size, total))
            continue
        # What is padded in all may be as much as the window takes at most: what is too much is not looked at.
        left = [same(context, size, (-rest % stride) + size - stride)[0] for rest in range(stride)]
        if len(set(left)) == 1:
            pairs.append([left[0], size - 1 - left[0]])
            continue
        ref = _by_rest(context, ref, axis + (1 if order[-1] == "C" else 2), left, size - 1, mode)
        pairs.append([0, 0])
    return ref, pairs


#: Steps of windows over a free size.
_MAX_STRIDE: Final = 16


def _by_rest(context: Context, ref: Ref, axis: int, before: Sequence[int], total: int, mode: str) -> Ref:
    """A tensor padded along an axis by what its size leaves over: so much before it, for each rest."""
    if len(before) > _MAX_STRIDE:
        raise Refusal(f"padding='same' with steps of {len(before)} over a free size is not supported: pass inputs=")
    length = context.op("slice", context.op("shape_of", ref, role="sizes"), index=[axis], role="size")
    rest = context.op("remainder", length, context.constant(len(before)), role="rest")
    behind = context.rank(ref) - axis - 1
    made = {
        each: context.plain("Pad", ref, padding=[[each, total - each], *[[0, 0]] * behind], mode=mode, value=0.0,
                            role=f"before{each}")
        for each in sorted(set(before))
    }  # fmt: skip
    found = made[before[0]]
    for number, each in enumerate(before):
        if each != before[0]:
            is_so = context.op("equal", rest, context.constant(number), role="is_rest")
            found = context.op("where", is_so, made[each], found, role="padded")
    return found


def same(context: Context, size: int, total: int, *, is_pooled: bool = False) -> list[int]:
    """How much is padded before and after where a window of a size takes so much in all."""
    if not context.importer.storage.is_mirrored:
        total = max(total, 0)
        return [total // 2, total - total // 2]
    # Theano's windows begin in one place, whatever is left over behind.
    before = size - 1 - (size > 2 and size % 2) if is_pooled else size // 2
    return [before, max(total - before, 0)]
