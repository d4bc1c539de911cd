"""Masks of Keras: which steps of a sequence count; who makes them, how they go on, and recurrences that skip steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.drawing import Mask
from modelarchive.exchange.keras.importing import leaves
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.model import Call
from modelarchive.exchange.refusal import Refusal

#: Merging layers whose result counts where one of their inputs does.
_EITHER: Final = ("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average")
#: Steps that a recurrence is written out for, one by one.
MAX_STEPS: Final = 512

#: What runs over a sequence: the sequence, and states it begins with -> its outputs, and the states it ends with.
Run = Callable[[Ref, Sequence[Ref]], list[Ref]]


def mask_of(context: Context, name: str = "mask", place: int = 99, ref: Ref | None = None) -> Ref | None:
    """The mask that a layer is given, or that goes with a tensor; truths of ``(batch, steps)``.

    Args:
        context: The layer.
        name: The argument by which it may be given.
        place: Its place among the arguments.
        ref: The tensor that it may go with; None: the first.
    """
    given = context.tensor(name, place)
    if given is not None:
        return given if context.dtype(given).kind == "b" else context.op("cast", given, dtype="bool", role="mask")
    mask = context.builder.mask(context.xs[0] if ref is None else ref)
    if mask is None or (ref is None and not context.is_keras2 and _takes_more(context.call)):
        return None
    return context.builder.made(mask)


def _takes_more(call: Call) -> bool:
    """Whether there are tensors beside the first argument, initial states say: Keras 3 gives no mask along with it."""
    return any(isinstance(each, Ref) for each in leaves([call.args[1:], call.kwargs]))


def unequal_to(context: Context, x: Ref, value: float, *, over: int | None = None) -> Ref:
    """Where numbers are not a value; over an axis: where one of them is not."""
    equal = context.op("equal", x, context.constant(value), role="masked")
    if over is not None:
        numbers = context.op("cast", equal, dtype="float32", role="masked")
        least = context.op("min", numbers, axis=[over], keepdims=False, role="masked")
        equal = context.op("greater", least, context.constant(0.5), role="masked")
    return _not(context, equal)


def _not(context: Context, x: Ref) -> Ref:
    return context.op("equal", x, context.constant(False, "bool"), role="mask")


def both(context: Context, one: Ref, other: Ref) -> Ref:
    """Where both are true."""
    return context.op("where", one, other, one, role="mask")


def passed(context: Context, call: Call, tensors: Sequence[Ref]) -> Mask | None:
    """The mask that goes on from what a layer takes to what it gives."""
    masks = [context.builder.mask(ref) for ref in tensors]
    known = [mask for mask in masks if mask is not None]
    if not known or len(masks) == 1 or context.layer.kind not in (*_EITHER, "Concatenate"):
        return known[0] if known and masks[0] is known[0] else None
    axis = context.axis(tensors[0], context.config.integer("axis", -1)) if context.layer.kind == "Concatenate" else -1
    if axis == 1 and context.rank(tensors[0]) > 2:
        return Mask(context.layer.name, lambda: _joined(context, tensors, masks))
    if len(known) < len(masks) and not context.is_keras2:
        # A part that counts everywhere makes the whole count everywhere.
        return None
    if len({id(mask) for mask in known}) == 1:
        return known[0]
    name = "minimum" if context.is_keras2 else "maximum"
    return Mask(context.layer.name, lambda: _together(context, known, name))


def _together(context: Context, masks: Sequence[Mask], name: str) -> Ref:
    """Where all count, as Keras 2 has it, or one of them, as Keras 3 has it."""
    first, *more = (context.builder.made(mask) for mask in masks)
    for each in more:
        first = context.op(name, first, each, role="mask")
    return first


def _joined(context: Context, tensors: Sequence[Ref], masks: Sequence[Mask | None]) -> Ref:
    made = [
        _everywhere(context, ref) if mask is None else context.builder.made(mask)
        for ref, mask in zip(tensors, masks, strict=True)
    ]
    return context.op("concatenate", *made, axis=1, role="mask")


def _everywhere(context: Context, x: Ref) -> Ref:
    """A mask of a sequence that counts at each step."""
    steps = context.op("slice", x, index=[[None, None, None]] * 2 + [0] * (context.rank(x) - 2), role="mask")
    equal = context.op("cast", context.op("equal", steps, steps, role="mask"), dtype="int32", role="mask")
    # NaN equals nothing, and counts too.
    return context.op("less", equal, context.constant(2), role="mask")


# ---------------------------------------------------------------------- recurrences


@dataclass(frozen=True)
class Skipping:
    """A recurrence that skips the steps that a mask leaves out.

    The steps that count are moved to the front, in their order; what it gives for them goes back to their places, and
    is repeated where steps are left out. Sums so far of the mask say which step is which.

    Attributes:
        context: The layer.
        run: The recurrence.
        mask: Which steps count, ``(batch, steps)``.
        role: The end of the names of what is added.
        zeros: Whether there are zeros at steps that are left out, and not what was given last.
    """

    context: Context
    run: Run
    mask: Ref
    role: str
    zeros: bool

    def outputs(self, x: Ref, states: Sequence[Ref]) -> tuple[Ref, Ref, Ref]:
        """What it gives at each step, at the last, and its first state at the end, ``(batch, units)``."""
        op, role = self.context.op, self.role
        counts = op("cumsum", op("cast", self.mask, dtype="int64", role=role), axis=1, role=role)
        ones = op("cast", op("equal", self.mask, self.mask, role=role), dtype="int64", role=role)
        places = op("cumsum", ones, axis=1, role=role)
        equal = op("equal", op("expand_dims", counts, axis=1, role=role), op("expand_dims", places, axis=2, role=role))
        order = op("argmax", op("cast", equal, dtype="int32", role=role), axis=2, keepdims=False, role=role)
        found = self.run(self._taken(x, order), states)[0]
        last = op("maximum", op("subtract", counts, self.context.constant(1), role=role), self.context.constant(0))
        begun = op("expand_dims", op("greater", counts, self.context.constant(0), role=role), axis=-1, role=role)
        again = self._taken(found, last)
        given = op("where", begun, again, self.context.constant(0.0), role=role)
        end = _last(self.context, given, role)
        if states:
            first = op("squeeze", states[0], axis=0, role=role)
            end = op("where", _last(self.context, begun, role), end, first, role=role)
        if self.zeros:
            counted = op("expand_dims", self.mask, axis=-1, role=role)
            given = op("where", counted, given, self.context.constant(0.0), role=role)
        return given, _last(self.context, given, role), end

    def _taken(self, x: Ref, order: Ref) -> Ref:
        wide = self.context.op("expand_dims", order, axis=-1, role=self.role)
        wide = self.context.op("broadcast_to", wide, x, shape=[None, None, None], role=self.role)
        return self.context.op("gather", x, wide, axis=1, role=self.role)

    def states(self, x: Ref, states: Sequence[Ref]) -> list[Ref]:
        """Its states at the end, each ``(batch, units)``: it is run step by step, for a known number of steps."""
        steps = self.context.dims(x)[1]
        if steps is None or steps > MAX_STEPS:
            what = "of which the number is not known" if steps is None else f"that are {steps:,}"
            raise Refusal(f"gives its cell behind a mask over steps {what}: pass inputs= with at most {MAX_STEPS}")
        op, now = self.context.op, list(states)
        whole: list[Any] = [None, None, None]
        for step in range(steps):
            part = op("slice", x, index=[whole, [step, step + 1, None]], role=f"step{step}")
            counts = op("slice", self.mask, index=[whole, [step, step + 1, None]], role=f"step{step}")
            found = self.run(part, now)[1:]
            before = now or [self.context.constant(0.0)] * len(found)
            now = [op("where", counts, new, old, role=f"step{step}") for new, old in zip(found, before, strict=True)]
        return [op("squeeze", state, axis=0, role="last") for state in now]


def _last(context: Context, x: Ref, role: str) -> Ref:
    return context.op("slice", x, index=[[None, None, None], -1], role=role)


def backwards(context: Context, x: Ref, role: str = "backwards") -> Ref:
    """The steps from the last to the first."""
    return context.op("slice", x, index=[[None, None, None], [None, None, -1]], role=role)


def attended(context: Context, parts: Sequence[tuple[Ref | None, int]]) -> Ref | None:
    """Masks of queries (axis -1 is new) and keys (axis -2 is new) as one, ``(batch, queries, keys)``."""
    found: Ref | None = None
    for mask, axis in parts:
        if mask is not None:
            wide = context.op("expand_dims", mask, axis=axis, role="mask")
            found = wide if found is None else both(context, found, wide)
    return found


def causal(context: Context, query: Ref, key: Ref) -> Ref:
    """Where a query stands behind a key or at its place, ``(1, queries, keys)``."""
    rows, columns = (_numbered(context, each) for each in (query, key))
    rows, columns = (
        context.op("expand_dims", each, axis=axis, role="causal") for each, axis in ((rows, 2), (columns, 1))
    )
    return _not(context, context.op("less", rows, columns, role="causal"))


def _numbered(context: Context, x: Ref) -> Ref:
    """1, 2, 3, ... for the steps of a sequence, ``(1, steps)``."""
    first = context.op("slice", x, index=[[None, 1, None], [None, None, None], 0], role="causal")
    ones = context.op("cast", context.op("equal", first, first, role="causal"), dtype="int64", role="causal")
    # NaN equals nothing, and is counted too.
    ones = context.op("maximum", ones, context.constant(1), role="causal")
    return context.op("cumsum", ones, axis=1, role="causal")


def large_negative(dtype: np.dtype) -> float:
    """What Keras' softmax has in the place of what does not count."""
    return -3e4 if dtype.name == "float16" else -1e9
