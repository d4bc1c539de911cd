"""How MXNet's operators are lifted that cut arrays, join, _repeat, turn and surround them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.drawing import Packed
from modelarchive.exchange.mxnet.lifting_context import Context, Lift
from modelarchive.exchange.mxnet.lifting_shapes import places
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

_MAX_PARTS = 128


def _slice_axis(context: Context) -> Ref:
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


def _slice_(context: Context) -> Ref:
    """Ranges along the first axes."""
    at = context.attributes
    begin, end = at.items("begin"), at.items("end")
    by: tuple[int | None, ...] = at.items("step", "()") or (None,) * len(begin)
    if not len(begin) == len(end) == len(by):
        raise Refusal("begin, end and step are of different lengths")
    return context.op("slice", context.ref(0), index=[list(each) for each in zip(begin, end, by, strict=True)])


def _slice_like(context: Context) -> Ref:
    """As many elements along some axes as another array has."""
    shape = context.shape(1)
    axes = context.attributes.sizes("axes", "()") or tuple(range(len(shape)))
    if any(not -len(shape) <= axis < len(shape) for axis in axes) or len(shape) != context.rank(0):
        raise Refusal(f"axes {axes} of {context.rank(0)} and {len(shape)} axes are not supported")
    axes = tuple(axis % len(shape) for axis in axes)
    along = {axis: places(context, context.ref(1), axis) for axis in axes if shape[axis] is None}
    found = context.ref(0)
    for axis in axes:
        if axis in along:
            found = context.op("take", found, along[axis], axis=axis)
        else:
            index = [[None, None, None]] * axis + [[None, shape[axis], None]]
            found = context.op("slice", found, index=index)
    return found


def _split(context: Context) -> tuple[Ref, ...]:
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


def _split_at(*, axis: int | None = None) -> Lift:
    """Equal parts along an axis, or parts that begin at given places; vsplit, hsplit and dsplit have their axis."""

    def lift(context: Context) -> tuple[Ref, ...]:
        attributes = context.attributes
        sections, begins = attributes.integer("sections", 0), list(attributes.sizes("indices", "()"))
        given, squeezed = attributes.integer("axis", 1), attributes.flag("squeeze_axis", default=False)
        along = given if axis is None else min(axis, context.rank(0) - 1)
        if sections:
            if not 1 <= sections <= _MAX_PARTS:
                raise Refusal(f"a split into {sections} parts is not supported")
            size = context.shape(0)[context.axis(along)] if context.is_known(0) else None
            sizes: int | list[int] = sections
            if size is not None and size % sections:
                sizes = [size // sections + (at < size % sections) for at in range(sections)]
            parts = context.op("split", context.ref(0), sizes=sizes, axis=along).parts(sections)
        else:
            if len(begins) > _MAX_PARTS or any(two < one for one, two in zip([0, *begins], begins, strict=False)):
                raise Refusal(f"parts that begin at {begins[:8]} are not supported")
            # MXNet lists the beginning of the first part, too.
            along = context.axis(along)
            parts = tuple(
                context.op("slice", context.ref(0), index=[*[[None, None, None]] * along, [begin, end, None]])
                for begin, end in zip(begins, [*begins[1:], None], strict=True)
            )
        return tuple(context.op("squeeze", part, axis=along) for part in parts) if squeezed else parts

    return lift


def _stack(context: Context) -> Ref:
    """Side by side on a new axis."""
    return context.op("stack", *context.refs(), axis=context.attributes.integer("axis", 0))


def _concat(context: Context) -> Any:
    """Along an axis; or the parts of a packed parameter."""
    at = context.attributes
    axis = at.optional("dim") if "dim" in at.texts else at.integer("axis", 0 if context.is_numpy else 1)
    flat = [context.raw(index) for index in range(len(context))]
    if flat and all(isinstance(each, Packed) for each in flat):
        # What is packed twice has twice as many parts.
        spend("packed parameters", steps=sum(len(each.parts) for each in flat))
        return Packed(tuple(part for each in flat for part in each.parts))
    if axis is None:
        return context.op("concatenate", *(context.op("reshape", ref, shape=[-1]) for ref in context.refs()), axis=0)
    return context.op("concatenate", *context.refs(), axis=axis)


def _stacked(axis: int, rank: int) -> Lift:
    """vstack, hstack, dstack or column_stack: along an axis, of arrays with so many axes at least."""

    def lift(context: Context) -> Ref:
        context.attributes.aside("dim")
        ranks = [context.rank(index) for index in range(len(context))]
        refs = [_widened(context, ref, have, rank) for ref, have in zip(context.refs(), ranks, strict=True)]
        flat = context.node.op == "_npi_hstack" and ranks[0] <= 1
        return context.op("concatenate", *refs, axis=0 if flat else axis)

    return lift


def _widened(context: Context, ref: Ref, have: int, rank: int) -> Ref:
    """With axes of size 1, where each of the stacking functions of NumPy sets them."""
    word = context.node.op.removeprefix("_npi_")
    new = {
        "vstack": {0: [0, 1], 1: [0]},
        "hstack": {0: [0]},
        "dstack": {0: [0, 1, 2], 1: [0, 2], 2: [2]},
        "column_stack": {0: [0, 1], 1: [1]},
    }[word].get(have)
    return ref if new is None or have >= rank else context.op("expand_dims", ref, axis=new)


def _repeat(context: Context) -> Ref:
    """Each element several times, one after the other."""
    counts, axis = context.attributes.sizes("repeats"), context.attributes.optional("axis")
    x, shape = context.ref(0), context.shape(0)
    if axis is None:
        x, axis = context.op("reshape", x, shape=[-1]), 0
        shape = context.builder.known(x, context.node.op).declared
    if not -len(shape) <= axis < len(shape) or not counts or not all(0 <= count <= _MAX_PARTS for count in counts):
        raise Refusal(f"{list(counts[:8])} repeats along axis {axis} are not supported")
    axis %= len(shape)
    if len({*counts}) > 1 or not counts[0]:
        if shape[axis] is None or len(counts) not in (1, shape[axis]):
            raise Refusal(f"{len(counts)} repeats along axis {axis}, of {shape[axis]} elements, are not supported")
        return context.op("take", x, context.array(np.repeat(np.arange(shape[axis]), counts)), axis=axis)
    count = counts[0]
    if count == 1:
        return x
    beside = context.op("stack", *[x] * count, axis=axis + 1)
    # Axes in front of it stay in their places; of it and those behind one may be open.
    sizes = [None if size is None else size * (count if at == axis else 1) for at, size in enumerate(shape)]
    open_sizes = [None if at < axis else -1 if size is None else size for at, size in enumerate(sizes)]
    if open_sizes.count(-1) > 1:
        raise Refusal("repeats leave several axes open: pass inputs= with fixed sizes")
    return context.op("reshape", beside, shape=open_sizes)


def _tile(context: Context) -> Ref:
    """The whole array several times along each axis."""
    counts = list(context.attributes.sizes("reps"))
    rank = context.rank(0)
    if not all(0 < count <= _MAX_PARTS for count in counts):
        raise Refusal(f"{counts} tiles are not supported")
    x = context.ref(0)
    if len(counts) > rank:
        x = context.op("expand_dims", x, axis=list(range(len(counts) - rank)))
    counts = [1] * (rank - len(counts)) + counts
    for axis, count in enumerate(counts):
        x = context.op("concatenate", *[x] * count, axis=axis) if count > 1 else x
    return x


def _flip(context: Context) -> Ref:
    """Axes backwards."""
    axes = context.attributes.axes()
    return _flipped(context, context.ref(0), range(context.rank(0)) if axes is None else map(context.axis, axes))


def _flipped(context: Context, x: Ref, axes: Any) -> Ref:
    index: list[Any] = [[None, None, None] for _ in range(context.rank(0))]
    for axis in axes:
        index[axis] = [None, None, -1]
    return context.op("slice", x, index=index)


def _rot90(context: Context) -> Ref:
    """Turned by quarters in the plane of two axes."""
    at = context.attributes
    one, two = (context.axis(axis) for axis in (at.sizes("axes", "()") or (0, 1))[:2])
    x, quarters = context.ref(0), at.integer("k", 1) % 4
    order = list(range(context.rank(0)))
    order[one], order[two] = order[two], order[one]
    if quarters == 2:
        return _flipped(context, x, (one, two))
    if quarters == 1:
        x = _flipped(context, x, (two,))
    if quarters:
        x = context.op("transpose", x, axes=order)
    return _flipped(context, x, (two,)) if quarters == 3 else x


def _roll(context: Context) -> Ref:
    """Elements moved along axes, those beyond the end back to the beginning."""
    at = context.attributes
    shifts, axes, x = list(at.sizes("shift")), at.axes(), context.ref(0)
    sizes = context.shape(0)
    if axes is None:
        x = context.op("reshape", x, shape=[-1])
        sizes, axes, shifts = context.builder.known(x, context.node.op).declared, [0], [sum(shifts)]
    if len(shifts) not in (1, len(axes)):
        raise Refusal(f"{len(shifts)} shifts along {len(axes)} axes are not supported")
    for axis, shift in zip(axes, shifts * (len(axes) if len(shifts) == 1 else 1), strict=True):
        at_axis = axis % len(sizes)
        size = sizes[at_axis]
        if size is None and abs(shift) > 1:
            raise Refusal("a shift along a free axis is not supported: pass inputs= with fixed sizes")
        moved = shift if size is None else shift % size if size else 0
        if moved:
            ahead = [*[[None, None, None]] * at_axis]
            end = context.op("slice", x, index=[*ahead, [-moved, None, None]])
            begin = context.op("slice", x, index=[*ahead, [None, -moved, None]])
            x = context.op("concatenate", end, begin, axis=at_axis)
    rank = context.rank(0)
    if context.attributes.text("axis", "None") == "None" and rank != 1:
        free = [-1 if size is None else size for size in context.shape(0)]
        if free.count(-1) > 1:
            raise Refusal("several free axes are not supported: pass inputs= with fixed sizes")
        x = context.op("reshape", x, shape=free)
    return x


def _difference(context: Context) -> Ref:
    """Each element less the one before it, again and again."""
    at = context.attributes
    times, axis, x = at.integer("n", 1), context.axis(at.integer("axis", -1)), context.ref(0)
    if not 0 <= times <= 64:
        raise Refusal(f"{times} differences are not supported")
    ahead = [[None, None, None]] * axis
    for _ in range(times):
        behind = context.op("slice", x, index=[*ahead, [1, None, None]])
        x = context.op("subtract", behind, context.op("slice", x, index=[*ahead, [None, -1, None]]))
    return x


def _padded(context: Context) -> Ref:
    """Wider at the edges."""
    at = context.attributes
    mode = at.text("mode", "constant")
    if context.node.op == "_npi_pad":
        pairs, value = at.pairs("pad_width"), at.number("constant_values", 0.0)
        at.expect("reflect_type", "even")
        pairs = pairs * context.rank(0) if len(pairs) == 1 else pairs
    else:
        widths, value = at.sizes("pad_width"), at.number("constant_value", 0.0)
        if len(widths) % 2:
            raise Refusal(f"padding by {widths} is not supported")
        pairs = [list(pair) for pair in zip(widths[::2], widths[1::2], strict=True)]
    if mode not in ("constant", "edge", "reflect"):
        raise Refusal(f"padding {mode!r} is not supported")
    return context.op("pad", context.ref(0), padding=pairs, mode=mode, value=value)


ROWS: Final = (
    Lifting("slice crop _npi_slice _npx_slice", "slice", _slice_),
    Lifting("slice_axis", "slice", _slice_axis),
    Lifting("SliceChannel split _npx_slice_channel", "split, squeeze", _split),
    Lifting("_split_v2 _npi_split _npi_array_split", "split, slice", _split_at()),
    *(
        Lifting(f"_npi_{name}", "split, slice", _split_at(axis=axis))
        for name, axis in {"vsplit": 0, "hsplit": 1, "dsplit": 2}.items()
    ),
    Lifting("stack _npi_stack", "stack", _stack),
    *(
        Lifting(f"_npi_{name}", "concatenate, expand_dims", _stacked(axis, rank))
        for name, axis, rank in (("vstack", 0, 2), ("hstack", 1, 1), ("dstack", 2, 3), ("column_stack", 1, 2))
    ),
    Lifting(
        "Concat concat _npi_concatenate _rnn_param_concat _npi_rnn_param_concat",
        "concatenate",
        _concat,
    ),
    Lifting("Pad pad _npi_pad _npx_pad", "pad", _padded),
    Lifting("slice_like _npx_slice_like", "slice, take", _slice_like),
    Lifting("repeat _npi_repeat _npi_repeats", "stack, reshape, take", _repeat),
    Lifting("tile _npi_tile", "concatenate", _tile),
    Lifting("reverse flip _npi_flip", "slice", _flip),
    Lifting("_npi_roll _np_roll", "slice, concatenate", _roll, "by more than 1 along axes of known sizes"),
    Lifting("_npi_rot90", "slice, transpose", _rot90),
    Lifting("_npi_diff", "slice, subtract", _difference),
)
