"""How MXNet's operators are lifted that move elements: Reshape and its codes, slices, splits, orders of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.drawing import Packed
from modelarchive.exchange.mxnet.lifting_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.parameter import dtype_name


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
    if context.node.op == "_npx_reshape":
        return _resolved(context, _without_numpy_codes(shape))
    if context.node.op.startswith("_np"):
        return context.op("reshape", context.ref(0), shape=list(shape))
    return _resolved(context, shape)


def _resolved(context: Context, shape: Sequence[int]) -> Ref:
    """Where several axes are open, those that are kept go to the front, and back behind it: there they need no size."""
    sizes, kept = resolved(context, shape)
    if sizes.count(-1) < 2:
        return context.op("reshape", context.ref(0), shape=sizes)
    known = context.shape(0)
    front = {place: axis for place, axis in kept.items() if known[axis] is None}
    rest = [place for place in range(len(sizes)) if place not in front]
    inner = [known[kept[place]] if place in kept else sizes[place] for place in rest]
    if inner.count(-1) > 1:
        raise Refusal(f"the shape {tuple(shape)} leaves several axes open: pass inputs= with fixed sizes")
    others = [axis for axis in range(len(known)) if axis not in front.values()]
    turned = context.op("transpose", context.ref(0), axes=[*front.values(), *others])
    found = context.op("reshape", turned, shape=[*[None] * len(front), *inner])
    order = [*front, *rest]
    return context.op("transpose", found, axes=[order.index(place) for place in range(len(sizes))])


def resolved(context: Context, shape: Sequence[int]) -> tuple[list[int | None], dict[int, int]]:
    """What MXNet's codes are for an input.

    Returns:
        Sizes of the vocabulary: null keeps the axis of the same place, -1 is open. And place in the result -> axis of
        the input, of those that are kept; of none where sizes are mixed, and what is kept is only a number.
    """
    if all(size > 0 or size == -1 for size in shape):
        return list(shape), {}
    known = context.shape(0) if any(size < -1 for size in shape) else None
    found: list[int | None] = []
    kept: dict[int, int] = {}
    source, at = 0, 0
    is_mixed = False

    def keep(axis: int) -> None:
        place = len(found)
        kept[place] = axis
        size = context.shape(0)[axis] if place != axis and axis < context.rank(0) else None
        found.append(None if place == axis else -1 if size is None else size)

    while at < len(shape):
        size = shape[at]
        if size > 0 or size == -1:
            found.append(size)
            source += 1
            is_mixed = True
        elif size == 0:
            keep(source)
            source += 1
        elif size == -2 and known is not None:
            while source < len(known):
                keep(source)
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
    return found, {} if is_mixed or source != len(known or ()) else kept


def _without_numpy_codes(shape: Sequence[int]) -> list[int]:
    """2.x's codes: -2 keeps an axis, -5 merges two; the others are refused."""
    if any(size < -2 or size == 0 for size in shape):
        raise Refusal(f"the shape {tuple(shape)} has codes that are not supported")
    return [0 if size == -2 else size for size in shape]


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


def repeat(context: Context) -> Ref:
    """Each element several times, one after the other."""
    count, axis = context.attributes.integer("repeats"), context.attributes.optional("axis")
    shape = context.shape(0)
    if axis is None or not (-len(shape) <= axis < len(shape) and 1 <= count <= 128):
        raise Refusal(f"{count} repeats along axis {axis} are not supported")
    axis %= len(shape)
    if count == 1:
        return context.ref(0)
    beside = context.op("stack", *[context.ref(0)] * count, axis=axis + 1)
    # Axes in front of it stay in their places; of it and those behind one may be open.
    sizes = [None if size is None else size * (count if at == axis else 1) for at, size in enumerate(shape)]
    open_sizes = [None if at < axis else -1 if size is None else size for at, size in enumerate(sizes)]
    if open_sizes.count(-1) > 1:
        raise Refusal("repeats leave several axes open: pass inputs= with fixed sizes")
    return context.op("reshape", beside, shape=open_sizes)


def arange_like(context: Context) -> Ref:
    """0, 1, 2, ... as far as an axis goes."""
    at = context.attributes
    axis, start, step = at.optional("axis"), at.number("start", 0.0), at.number("step", 1.0)
    at.expect("repeat", "1")
    at.aside("ctx")
    if axis is None:
        raise Refusal("numbers for all elements of an array are not supported, only for one axis")
    return _places(context, 0, axis, start, step)


def _places(context: Context, index: int, axis: int, start: float = 0.0, step: float = 1.0) -> Ref:
    """The places along an axis of an input, whatever size that has: the sums of as many ones."""
    like = context.builder.known(context.ref(index), context.node.op)
    rank = len(like.declared)
    if not -rank <= axis < rank:
        raise Refusal(f"there is no axis {axis} in {rank} axes")
    axis %= rank
    one: Any = 1.0
    for _ in range(rank):
        one = [one]
    name = f"{context.node.name}_one"
    single = context.builder.op(name, "constant", (), {"value": one, "dtype": dtype_name(like.array_dtype)})
    shape = [None if each == axis else 1 for each in range(rank)]
    ones = context.op("broadcast_to", single, context.ref(index), shape=shape)
    found = context.op("reshape", context.op("cumsum", ones, axis=axis), shape=[-1])
    found = found if step == 1 else context.op("multiply", found, context.constant(step))
    return found if start == step else context.op("add", found, context.constant(start - step))


def slice_like(context: Context) -> Ref:
    """As many elements along some axes as another array has."""
    shape = context.shape(1)
    axes = context.attributes.sizes("axes", "()") or tuple(range(len(shape)))
    if any(not -len(shape) <= axis < len(shape) for axis in axes) or len(shape) != context.rank(0):
        raise Refusal(f"axes {axes} of {context.rank(0)} and {len(shape)} axes are not supported")
    axes = tuple(axis % len(shape) for axis in axes)
    places = {axis: _places(context, 1, axis) for axis in axes if shape[axis] is None}
    found = context.ref(0)
    for axis in axes:
        if axis in places:
            found = context.op("take", found, context.op("cast", places[axis], dtype="int64"), axis=axis)
        else:
            index = [[None, None, None]] * axis + [[None, shape[axis], None]]
            found = context.op("slice", found, index=index)
    return found


def broadcast_like(context: Context) -> Ref:
    """Axes stretched to the sizes that another array has."""
    at = context.attributes
    own, other = context.shape(0), context.shape(1)
    axes, theirs = at.sizes("lhs_axes", "()"), at.sizes("rhs_axes", "()")
    if not axes:
        axes, theirs = tuple(range(len(own))), tuple(range(len(other)))
    if len(axes) != len(theirs) or not all(-len(own) <= one < len(own) for one in axes):
        raise Refusal(f"axes {axes} like axes {theirs} are not supported")
    sizes = list(own)
    for one, two in zip(axes, theirs, strict=True):
        if not -len(other) <= two < len(other):
            raise Refusal(f"there is no axis {two} in {len(other)} axes")
        sizes[one] = None if one % len(own) == two % len(other) else other[two]
        if sizes[one] is None and one % len(own) != two % len(other):
            raise Refusal("a free axis like one of another place is not supported: pass inputs= with fixed sizes")
    return context.op("broadcast_to", context.ref(0), context.ref(1), shape=sizes)


def broadcast_to(context: Context) -> Ref:
    """Axes of size 1 stretched; 0 keeps one."""
    sizes = [size or None for size in context.attributes.sizes("shape")]
    return context.op("broadcast_to", context.ref(0), context.ref(0), shape=sizes)


def cumsum(context: Context) -> Ref:
    """The sum so far along an axis."""
    axis = context.attributes.optional("axis")
    context.attributes.expect("dtype", "None")
    if axis is None:
        raise Refusal("a sum of all elements so far is not supported, only one along an axis")
    return context.op("cumsum", context.ref(0), axis=axis)
