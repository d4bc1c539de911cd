"""How Keras' layers are lifted that merge tensors, or only move elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_dtypes import settled
from modelarchive.exchange.keras.row import Lifting
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def _merged(op: str) -> Callable[[Context], Ref]:
    """Add, Subtract, Average: element by element, one after another."""

    def lift(context: Context) -> Ref:
        first, *others = _alike(context)
        for each in others:
            first = context.op(op, first, each)
        return first

    return lift


def _masked(op: str) -> Callable[[Context], Ref]:
    """Multiply, Maximum, Minimum: as addition, of tensors with masks only what counts, as Keras 3 has it."""

    def lift(context: Context) -> Ref:
        several = _alike(context)
        # What is given further axes loses its mask in Keras.
        masks = [context.builder.mask(each) if each in context.xs else None for each in several]
        if context.is_keras2 or len(several) == 1 or not any(masks):
            return _merged(op)(context)
        if any(context.rank(each) != 3 for each in several):
            raise Refusal(f"{context.layer.kind} of tensors with masks is supported for (batch, steps, units) only")
        made = [None if mask is None else _wide(context, context.builder.made(mask)) for mask in masks]
        return (_product if op == "multiply" else partial(_extreme, op))(context, several, made)

    return lift


def _wide(context: Context, mask: Ref) -> Ref:
    return context.op("expand_dims", mask, axis=-1, role="mask")


def _either(context: Context, one: Ref, other: Ref) -> Ref:
    return context.op("maximum", one, other, role="mask")


def _product(context: Context, several: Sequence[Ref], masks: Sequence[Ref | None]) -> Ref:
    """What does not count is 1 in it; where nothing counts, and all have masks, it is 0."""
    found = either = None
    for each, mask in zip(several, masks, strict=True):
        part = each
        if mask is not None:
            part = context.op("where", mask, each, context.constant(1, context.dtype(each).name), role="counted")
            either = mask if either is None else _either(context, either, mask)
        found = part if found is None else context.op("multiply", found, part)
    if found is None or either is None or None in masks:
        return several[0] if found is None else found
    return context.op("where", either, found, context.constant(0, context.dtype(found).name), role="counted")


def _extreme(op: str, context: Context, several: Sequence[Ref], masks: Sequence[Ref | None]) -> Ref:
    """Where one does not count the other stands for it."""
    found, counts = several[0], masks[0]
    for each, mask in zip(several[1:], masks[1:], strict=True):
        part = each if mask is None else context.op("where", mask, each, found, role="counted")
        found = found if counts is None else context.op("where", counts, found, part, role="counted")
        counts = None if mask is None or counts is None else _either(context, counts, mask)
        found = context.op(op, found, part)
    return found


def _average(context: Context) -> Ref:
    """Average."""
    ref = _merged("add")(context)
    return context.op("multiply", ref, context.constant(1.0 / len(context.xs)), role="mean")


def _alike(context: Context) -> list[Ref]:
    """The tensors with as many axes as the one that has most: the others have new ones behind the batch."""
    several = settled(context, context.xs)
    most = max(context.rank(each) for each in several)

    def spread(x: Ref) -> Ref:
        new = list(range(1, 1 + most - context.rank(x)))
        return context.op("expand_dims", x, axis=new, role="axes") if new else x

    return [spread(each) for each in several]


def _concatenate(context: Context) -> Ref:
    """Concatenate."""
    several = context.xs
    axis = context.config.integer("axis", -1)
    return several[0] if len(several) == 1 else context.op("concatenate", *several, axis=axis)


def _dot(context: Context) -> Ref:
    """Dot: a product over one axis of each of two tensors, for every item of the batch."""
    several = context.xs
    if len(several) != 2:
        raise Refusal(f"is called on {len(several)} tensors, expected 2")
    axes = context.config.axes("axes") or []
    axes = axes * 2 if len(axes) == 1 else axes
    if len(axes) != 2:
        raise Refusal(f"axes = {short(axes)} are not one or two axes")
    ranks = [context.rank(each) for each in several]
    places = [context.axis(each, axis) for each, axis in zip(several, axes, strict=True)]
    if 0 in places or sum(ranks) > len(_LETTERS):
        raise Refusal(f"axes = {short(axes)} is not supported")
    if context.config.flag("normalize", default=False):
        several = [_unit(context, each, place) for each, place in zip(several, places, strict=True)]
    one = list(_LETTERS[: ranks[0]])
    two = [one[0], *_LETTERS[ranks[0] : ranks[0] + ranks[1] - 1]]
    two[places[1]] = one[places[0]]
    out = [letter for letter in one if letter != one[places[0]]] + [
        letter for letter in two[1:] if letter != one[places[0]]
    ]
    ref = context.op("einsum", *several, pattern=f"{''.join(one)},{''.join(two)}->{''.join(out)}")
    return context.op("expand_dims", ref, axis=1, role="row") if len(out) == 1 else ref


def _unit(context: Context, x: Ref, axis: int) -> Ref:
    squares = context.op("sum", context.op("multiply", x, x), axis=[axis], keepdims=True)
    return context.op("multiply", x, context.op("rsqrt", context.op("maximum", squares, context.constant(1e-12))))


def _flatten(context: Context) -> Ref:
    """Flatten, of channels that are first in the order in which they are last."""
    first = context.config.text("data_format", "channels_last") == "channels_first"
    x = context.x
    rank = context.rank(x)
    if rank == 1:
        return context.op("expand_dims", x, axis=1)
    if first and rank > 2:
        x = context.plain("Permute", x, role="order", axes=[0, *range(2, rank), 1])
    return context.plain("Flatten", x)


def _reshape(context: Context) -> Ref:
    """Reshape."""
    target = context.config.value("target_shape")
    if not isinstance(target, list) or any(type(size) is not int for size in target):
        raise Refusal(f"target_shape = {short(target)} is no list of sizes")
    return context.plain("Reshape", context.x, shape=[None, *target])


def _permute(context: Context) -> Ref:
    """Permute."""
    dims = context.config.value("dims")
    if not isinstance(dims, list) or any(type(axis) is not int for axis in dims):
        raise Refusal(f"dims = {short(dims)} are no axes")
    return context.plain("Permute", context.x, axes=[0, *dims])


def _repeat(context: Context) -> Ref:
    """RepeatVector."""
    x = context.op("expand_dims", context.x, axis=1, role="row")
    return context.op("broadcast_to", x, x, shape=[None, context.config.integer("n"), None])


#: Layers that merge tensors, or move elements.
ROWS: Final[tuple[Lifting, ...]] = (
    Lifting("Flatten", "Flatten", _flatten, masks="drop"),
    Lifting("Reshape", "Reshape", _reshape, masks="drop"),
    Lifting("Permute", "Permute", _permute, masks="drop"),
    Lifting("RepeatVector", "broadcast_to", _repeat, masks="drop"),
    Lifting("Add", "add", _merged("add")),
    Lifting("Subtract", "subtract", _merged("subtract")),
    Lifting("Multiply", "multiply", _masked("multiply"), "of tensors with masks what Keras 3.15.1 gives"),
    Lifting("Maximum", "maximum", _masked("maximum"), "of tensors with masks what Keras 3.15.1 gives"),
    Lifting("Minimum", "minimum", _masked("minimum"), "of tensors with masks what Keras 3.15.1 gives"),
    Lifting("Average", "add, multiply", _average),
    Lifting("Concatenate", "concatenate", _concatenate),
    Lifting("Dot", "einsum", _dot, masks="drop"),
)
