"""How MXNet's operators are lifted that set axes in order and stretch them, and count along them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.lifting_context import Context, Lift
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting


def _flatten(context: Context) -> Ref:
    """All axes but the first made one."""
    return context.block({"kind": "Flatten"}, context.ref(0))


def _transpose(context: Context) -> Ref:
    """Axes in another order."""
    return context.op("transpose", context.ref(0), axes=list(context.attributes.sizes("axes", "()")) or None)


def _squeeze(context: Context) -> Ref:
    """Without axes of size 1."""
    return context.op("squeeze", context.ref(0), axis=context.attributes.axes())


def _expand_dims(context: Context) -> Ref:
    """With one more axis."""
    return context.op("expand_dims", context.ref(0), axis=context.attributes.integer("axis"))


def _broadcast_like(context: Context) -> Ref:
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


def _swap(context: Context) -> Ref:
    """Two axes change places."""
    rank = context.rank(0)
    one, two = context.attributes.integer("dim1", 0), context.attributes.integer("dim2", 0)
    if not (-rank <= one < rank and -rank <= two < rank):
        raise Refusal(f"axes {one} and {two} of {rank} cannot change places")
    axes = list(range(rank))
    axes[one], axes[two] = axes[two], axes[one]
    return context.op("transpose", context.ref(0), axes=axes)


def _move(context: Context) -> Ref:
    """Axes moved to other places."""
    at = context.attributes
    sources = [context.axis(axis) for axis in at.sizes("source")]
    targets = [context.axis(axis) for axis in at.sizes("destination")]
    if len(sources) != len(targets) or len({*sources}) != len(sources) or len({*targets}) != len(targets):
        raise Refusal(f"axes {sources} cannot be moved to {targets}")
    axes = [axis for axis in range(context.rank(0)) if axis not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        axes.insert(target, source)
    return context.op("transpose", context.ref(0), axes=axes)


def _roll_axis(context: Context) -> Ref:
    """One axis moved in front of another."""
    axis, start, rank = context.axis(context.attributes.integer("axis")), context.attributes.integer("start", 0), 0
    rank = context.rank(0)
    start += rank if start < 0 else 0
    if not 0 <= start <= rank:
        raise Refusal(f"there is no axis {start} in {rank} axes")
    axes = [each for each in range(rank) if each != axis]
    axes.insert(start - 1 if axis < start else start, axis)
    return context.op("transpose", context.ref(0), axes=axes)


def _at_least(rank: int) -> Lift:
    """Arrays with so many axes at least, as NumPy adds them."""

    def lift(context: Context) -> tuple[Ref, ...]:
        return tuple(_widened(context, index, rank) for index in range(len(context)))

    return lift


def _widened(context: Context, index: int, rank: int) -> Ref:
    found = context.rank(index)
    if found >= rank:
        return context.ref(index)
    new = {(0, 1): [0], (0, 2): [0, 1], (1, 2): [0], (0, 3): [0, 1, 2], (1, 3): [0, 2], (2, 3): [2]}[found, rank]
    return context.op("expand_dims", context.ref(index), axis=new)


def _diagonal(context: Context) -> Ref:
    """The diagonal of two axes, as the last one."""
    at = context.attributes
    shape = context.shape(0)
    one, two = context.axis(at.integer("axis1", 0)), context.axis(at.integer("axis2", 1))
    rows, columns, offset = shape[one], shape[two], at.integer("offset", 0)
    if rows is None or columns is None or one == two:
        raise Refusal("the diagonal of axes whose sizes are not known is not supported: pass inputs= with fixed sizes")
    count = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    spend("diagonals", steps=count)
    first = offset if offset > 0 else -offset * columns
    others = [axis for axis in range(len(shape)) if axis not in (one, two)]
    turned = context.op("transpose", context.ref(0), axes=[*others, one, two])
    flat = context.op("reshape", turned, shape=[*[None] * len(others), rows * columns])
    # Down a diagonal each element is a row and a column on.
    numbers = context.array(first + np.arange(count, dtype=np.int64) * (columns + 1))
    return context.op("take", flat, numbers, axis=len(others))


def _trace(context: Context) -> Ref:
    """The sum of a diagonal."""
    return context.op("sum", _diagonal(context), axis=-1, keepdims=False)


def _arange_like(context: Context) -> Ref:
    """0, 1, 2, ... as far as an axis goes."""
    at = context.attributes
    axis, start, step = at.optional("axis"), at.number("start", 0.0), at.number("step", 1.0)
    at.expect("repeat", "1")
    at.aside("ctx")
    if axis is None:
        raise Refusal("numbers for all elements of an array are not supported, only for one axis")
    x = context.ref(0)
    found = _counted(context, x, axis, context.dtype(x))
    found = found if step == 1 else context.op("multiply", found, context.constant(step))
    return found if start == step else context.op("add", found, context.constant(start - step))


def places(context: Context, ref: Ref, axis: int, dtype: Any = np.int64) -> Ref:
    """The places along an axis of an array, whatever size that has: the sums of as many ones, less one."""
    return context.op("subtract", _counted(context, ref, axis, dtype), context.constant(1, dtype))


def _counted(context: Context, ref: Ref, axis: int, dtype: Any) -> Ref:
    """1, 2, 3, ... as far as an axis goes."""
    rank = len(context.builder.known(ref, context.node.op).declared)
    if not -rank <= axis < rank:
        raise Refusal(f"there is no axis {axis} in {rank} axes")
    axis %= rank
    single = context.builder.made(f"{context.node.name}_one", np.ones((1,) * rank, dtype))
    shape = [None if each == axis else 1 for each in range(rank)]
    ones = context.op("broadcast_to", single, ref, shape=shape)
    return context.op("reshape", context.op("cumsum", ones, axis=axis), shape=[-1])


def _broadcast_to(context: Context) -> Ref:
    """Axes of size 1 stretched; 0, or in NumPy's mode -2, keeps one."""
    given = context.attributes.sizes("shape")
    sizes = [None if size == (-2 if context.is_numpy else 0) else size for size in given]
    if any(size is not None and size < 0 for size in sizes) or (None in sizes and len(sizes) != context.rank(0)):
        raise Refusal(f"the shape {given} is not supported for {context.rank(0)} axes")
    return context.op("broadcast_to", context.ref(0), context.ref(0), shape=sizes)


ROWS: Final = (
    Lifting("Flatten flatten _npx_batch_flatten", "Flatten", _flatten),
    Lifting("transpose _np_transpose _npi_transpose", "transpose", _transpose),
    Lifting("SwapAxis swapaxes _npi_swapaxes", "transpose", _swap),
    Lifting("squeeze _np_squeeze _npi_squeeze", "squeeze", _squeeze),
    Lifting("expand_dims _npi_expand_dims", "expand_dims", _expand_dims),
    Lifting("_contrib_arange_like _npx_arange_like", "broadcast_to, cumsum", _arange_like, "along one axis only"),
    Lifting("broadcast_like _npx_broadcast_like", "broadcast_to", _broadcast_like),
    Lifting("broadcast_to _npi_broadcast_to _np_broadcast_to", "broadcast_to", _broadcast_to),
    Lifting("_npi_moveaxis _np_moveaxis", "transpose", _move),
    Lifting("_npi_rollaxis", "transpose", _roll_axis),
    Lifting("_npi_diagonal _np_diagonal", "reshape, take", _diagonal, "sizes known"),
    Lifting("_npi_trace _np_trace", "take, sum", _trace, "sizes known"),
    *(Lifting(f"_npi_atleast_{rank}d _np_atleast_{rank}d", "expand_dims", _at_least(rank)) for rank in (1, 2, 3)),
)
