"""How Keras' layers are lifted that merge tensors, or only move elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def merged(op: str) -> Callable[[Context], Ref]:
    """Add, Subtract, Multiply, Maximum, Minimum, Average: element by element, one after another."""

    def lift(context: Context) -> Ref:
        first, *others = _alike(context)
        for each in others:
            first = context.op(op, first, each)
        return first

    return lift


def average(context: Context) -> Ref:
    """Average."""
    several = _alike(context)
    ref = merged("add")(context)
    return context.op("multiply", ref, context.constant(1.0 / len(several)), role="mean")


def _alike(context: Context) -> list[Ref]:
    several = context.xs
    if len({context.rank(each) for each in several}) > 1:
        raise Refusal(f"{context.layer.kind} of tensors with different numbers of axes is not supported")
    return several


def concatenate(context: Context) -> Ref:
    """Concatenate."""
    several = context.xs
    axis = context.config.integer("axis", -1)
    return several[0] if len(several) == 1 else context.op("concatenate", *several, axis=axis)


def dot(context: Context) -> Ref:
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


def flatten(context: Context) -> Ref:
    """Flatten, of channels that are first in the order in which they are last."""
    first = context.config.text("data_format", "channels_last") == "channels_first"
    x = context.x
    rank = context.rank(x)
    if rank == 1:
        return context.op("expand_dims", x, axis=1)
    if first and rank > 2:
        x = context.plain("Permute", x, role="order", axes=[0, *range(2, rank), 1])
    return context.plain("Flatten", x)


def reshape(context: Context) -> Ref:
    """Reshape."""
    target = context.config.value("target_shape")
    if not isinstance(target, list) or any(type(size) is not int for size in target):
        raise Refusal(f"target_shape = {short(target)} is no list of sizes")
    return context.plain("Reshape", context.x, shape=[None, *target])


def permute(context: Context) -> Ref:
    """Permute."""
    dims = context.config.value("dims")
    if not isinstance(dims, list) or any(type(axis) is not int for axis in dims):
        raise Refusal(f"dims = {short(dims)} are no axes")
    return context.plain("Permute", context.x, axes=[0, *dims])


def repeat(context: Context) -> Ref:
    """RepeatVector."""
    x = context.op("expand_dims", context.x, axis=1, role="row")
    return context.op("broadcast_to", x, x, shape=[None, context.config.integer("n"), None])
