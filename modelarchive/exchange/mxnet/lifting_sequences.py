"""How MXNet's operators on sequences of several lengths are lifted: the last step, and the steps turned round."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.lifting_context import Context
from modelarchive.exchange.mxnet.lifting_shapes import places
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting


def _mask(context: Context) -> Ref:
    """What is behind the end of each sequence, replaced."""
    at = context.attributes
    value, axis = at.real("value", 0.0), at.integer("axis", 0)
    if not at.flag("use_sequence_length", default=False):
        return context.ref(0)
    if axis not in (0, 1):
        raise Refusal(f"sequences along axis {axis} are not supported, only along 0 and 1")
    x, rank = context.ref(0), context.rank(0)
    along = context.op("reshape", places(context, x, axis), shape=[-1, *[1] * (rank - 1 - axis)])
    lengths = context.op("reshape", context.ref(1), shape=[-1, *[1] * (rank - 1 - (1 - axis))])
    kept = context.op("less", along, lengths)
    return context.op("where", kept, x, context.constant(value, context.dtype(x)))


def _last(context: Context) -> Ref:
    """The last step of each sequence."""
    axis = _axis_of_steps(context)
    x = context.ref(0)
    if not context.attributes.flag("use_sequence_length", default=False):
        return context.op("slice", x, index=[*[[None, None, None]] * axis, -1])
    lengths = context.op("subtract", context.whole(1), context.constant(1))
    found = _gathered(context, x, context.op("expand_dims", lengths, axis=axis), axis)
    return context.op("squeeze", found, axis=[axis])


def _reversed(context: Context) -> Ref:
    """The steps of each sequence from its last to its first; those behind its end stay where they are."""
    axis = _axis_of_steps(context)
    x = context.ref(0)
    if not context.attributes.flag("use_sequence_length", default=False):
        return context.op("slice", x, index=[*[[None, None, None]] * axis, [None, None, -1]])
    steps = context.op("expand_dims", places(context, x, axis), axis=1 - axis)
    lengths = context.op("expand_dims", context.cast(context.whole(1), "int64"), axis=axis)
    turned = context.op("subtract", context.op("subtract", lengths, context.constant(1)), steps)
    return _gathered(context, x, context.op("where", context.op("less", steps, lengths), turned, steps), axis)


def _axis_of_steps(context: Context) -> int:
    axis: int = context.attributes.integer("axis", 0)
    if axis not in (0, 1):
        raise Refusal(f"sequences along axis {axis} are not supported, only along 0 and 1")
    return axis


def _gathered(context: Context, x: Ref, steps: Ref, axis: int) -> Ref:
    """Steps of each sequence, by their places ``(steps, batch)`` or ``(batch, steps)``."""
    rank = context.rank(0)
    for _ in range(rank - 2):
        steps = context.op("expand_dims", steps, axis=-1)
    if rank > 2:
        like = context.op("slice", x, index=[[None, 1, None] if at == axis else [None, None, None] for at in (0, 1)])
        ones = context.op("equal", like, like)
        # As many along the other axes as there are, whatever stands there.
        zeros = context.op("multiply", context.cast(ones, "int64"), context.constant(0))
        steps = context.op("add", steps, zeros)
    return context.op("gather", x, steps, axis=axis)


#: Operators on sequences.
ROWS: Final = (
    Lifting("SequenceMask _npx_sequence_mask", "less, where", _mask),
    Lifting("SequenceLast _npx_sequence_last", "slice, gather", _last),
    Lifting("SequenceReverse _npx_sequence_reverse", "slice, gather", _reversed),
)
