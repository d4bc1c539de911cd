"""How MXNet's operators are lifted that move elements: Reshape and its codes, slices, splits, orders of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.drawing import Packed
from modelarchive.exchange.mxnet.lifting_context import Context
from modelarchive.exchange.refusal import Refusal


def flatten(context: Context) -> Ref:
    """All axes but the first made one."""
    return context.block({"kind": "Flatten"}, context.ref(0))


def reshape(context: Context) -> Any:
    """Reshape with its codes 0 to -4."""
    at = context.attributes
    shape = at.sizes("shape", at.text("newshape", at.text("target_shape", "()")))
    if at.flag("reverse", default=False):
        raise Refusal("a reshape that is read from the end is not supported")
    at.flag("keep_highest", default=False)
    at.expect("order", "C")
    stored = context.variable(0)
    if shape == (-1,) and stored is not None:
        # A fused recurrence takes its parameters flat and put together.
        return Packed((stored,))
    if context.node.op.startswith("_np") and context.node.op != "_npx_reshape":
        codes: Sequence[int | None] = shape
    elif context.node.op == "_npx_reshape":
        codes = _numpy_codes(context, shape)
    else:
        codes = resolved(context, shape)
    return context.op("reshape", context.ref(0), shape=list(codes))


def resolved(context: Context, shape: Sequence[int]) -> list[int | None]:
    """Sizes of the vocabulary: null keeps the axis of the same place, one -1 is inferred."""
    if all(size > 0 or size == -1 for size in shape):
        return list(shape)
    known = context.shape(0) if any(size < -1 for size in shape) else None
    found: list[int | None] = []
    source, at = 0, 0

    def kept(axis: int) -> int | None:
        if axis == len(found):
            return None
        size = context.shape(0)[axis] if axis < context.rank(0) else None
        return -1 if size is None else size

    while at < len(shape):
        size = shape[at]
        if size > 0 or size == -1:
            found.append(size)
            source += 1
        elif size == 0:
            found.append(kept(source))
            source += 1
        elif size == -2 and known is not None:
            while source < len(known):
                found.append(kept(source))
                source += 1
        elif size == -3 and known is not None and source + 1 < len(known):
            one, two = known[source : source + 2]
            found.append(-1 if one is None or two is None else one * two)
            source += 2
        elif size == -4 and at + 2 < len(shape):
            found += shape[at + 1 : at + 3]
            source += 1
            at += 2
        else:
            raise Refusal(f"the shape {tuple(shape)} is not supported for this input")
        at += 1
    if found.count(-1) > 1:
        raise Refusal(f"the shape {tuple(shape)} leaves several axes open: pass inputs= with fixed sizes")
    return found


def _numpy_codes(context: Context, shape: Sequence[int]) -> list[int | None]:
    """2.x's codes: -2 keeps an axis, -5 merges two; the others are refused."""
    if any(size < -2 or size == 0 for size in shape):
        raise Refusal(f"the shape {tuple(shape)} has codes that are not supported")
    return resolved(context, [0 if size == -2 else size for size in shape])


def transpose(context: Context) -> Ref:
    """Axes in another order."""
    return context.op("transpose", context.ref(0), axes=list(context.attributes.sizes("axes", "()")) or None)


def swap(context: Context) -> Ref:
    """Two axes change places."""
    rank = context.rank(0)
    one, two = context.attributes.integer("dim1", 0), context.attributes.integer("dim2", 0)
    if not (-rank <= one < rank and -rank <= two < rank):
        raise Refusal(f"axes {one} and {two} of {rank} cannot change places")
    axes = list(range(rank))
    axes[one], axes[two] = axes[two], axes[one]
    return context.op("transpose", context.ref(0), axes=axes)


def squeeze(context: Context) -> Ref:
    """Without axes of size 1."""
    return context.op("squeeze", context.ref(0), axis=context.attributes.axes())


def expand_dims(context: Context) -> Ref:
    """With one more axis."""
    return context.op("expand_dims", context.ref(0), axis=context.attributes.integer("axis"))


def slice_axis(context: Context) -> Ref:
    """A range along one axis."""
    at = context.attributes
    axis, begin, end = at.integer("axis"), at.integer("begin"), at.optional("end")
    return _sliced(context, axis, begin, end)


def _sliced(context: Context, axis: int, begin: int | None, end: int | None) -> Ref:
    if axis < 0:
        axis += context.rank(0)
    if not 0 <= axis < 64:
        raise Refusal(f"there is no axis {axis}")
    index: list[Any] = [[None, None, None]] * axis + [[begin, end, None]]
    return context.op("slice", context.ref(0), index=index)


def slice_(context: Context) -> Ref:
    """Ranges along the first axes."""
    at = context.attributes
    begin, end = at.items("begin"), at.items("end")
    by: tuple[int | None, ...] = at.items("step", "()") or (None,) * len(begin)
    if not len(begin) == len(end) == len(by):
        raise Refusal("begin, end and step are of different lengths")
    return context.op("slice", context.ref(0), index=[list(each) for each in zip(begin, end, by, strict=True)])


def split(context: Context) -> tuple[Ref, ...]:
    """Equal parts along an axis."""
    at = context.attributes
    number, axis = at.integer("num_outputs"), at.integer("axis", 1)
    squeezed = at.flag("squeeze_axis", default=False)
    if not 1 <= number <= 128:
        raise Refusal(f"a split into {number} parts is not supported")
    whole = context.op("split", context.ref(0), sizes=number, axis=axis)
    parts = whole.parts(number)
    if not squeezed:
        return parts
    return tuple(context.op("squeeze", part, axis=axis) if part.index in context.used else part for part in parts)


def stack(context: Context) -> Ref:
    """Side by side on a new axis."""
    return context.op("stack", *context.refs(), axis=context.attributes.integer("axis", 0))
