"""Layers that merge tensors, and those that only move elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from modelarchive.exchange.keras.scope import At
from modelarchive.exchange.keras.step import Step
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def merged(op: str) -> Callable[[Step], At]:
    """Add, Subtract, Multiply, Maximum, Minimum, Average: element by element, one after another."""

    def read(step: Step) -> At:
        first, *others = _alike(step)
        for each in others:
            first = step.op(op, first, each)
        return first

    return read


def average(step: Step) -> At:
    """Average."""
    several = _alike(step)
    at = merged("add")(step)
    return step.op("multiply", at, step.constant(1.0 / len(several)), wish=f"{step.layer.name}_mean")


def _alike(step: Step) -> list[At]:
    several = step.xs
    if len({step.rank(each) for each in several}) > 1:
        raise Refusal(f"{step.layer.kind} of tensors with different numbers of axes has no counterpart")
    return several


def concatenate(step: Step) -> At:
    """Concatenate."""
    several = step.xs
    axis = step.config.integer("axis", -1)
    return several[0] if len(several) == 1 else step.op("concatenate", *several, axis=axis)


def dot(step: Step) -> At:
    """Dot: a product over one axis of each of two tensors, for every item of the batch."""
    several = step.xs
    if len(several) != 2:
        raise Refusal(f"is called on {len(several)} tensors, expected 2")
    axes = step.config.axes("axes") or []
    axes = axes * 2 if len(axes) == 1 else axes
    if len(axes) != 2:
        raise Refusal(f"axes = {short(axes)} are not one or two axes")
    ranks = [step.rank(each) for each in several]
    places = [step.axis(each, axis) for each, axis in zip(several, axes, strict=True)]
    if 0 in places or sum(ranks) > len(_LETTERS):
        raise Refusal(f"axes = {short(axes)} has no counterpart")
    if step.config.flag("normalize", default=False):
        several = [_unit(step, each, place) for each, place in zip(several, places, strict=True)]
    one = list(_LETTERS[: ranks[0]])
    two = [one[0], *_LETTERS[ranks[0] : ranks[0] + ranks[1] - 1]]
    two[places[1]] = one[places[0]]
    out = [letter for letter in one if letter != one[places[0]]] + [
        letter for letter in two[1:] if letter != one[places[0]]
    ]
    at = step.op("einsum", *several, pattern=f"{''.join(one)},{''.join(two)}->{''.join(out)}")
    return step.op("expand_dims", at, axis=1, wish=f"{step.layer.name}_row") if len(out) == 1 else at


def _unit(step: Step, x: At, axis: int) -> At:
    squares = step.op("sum", step.op("multiply", x, x), axis=[axis], keepdims=True)
    return step.op("multiply", x, step.op("rsqrt", step.op("maximum", squares, step.constant(1e-12))))


def flatten(step: Step) -> At:
    """Flatten, of channels that are first in the order in which they are last."""
    first = step.config.text("data_format", "channels_last") == "channels_first"
    x = step.x
    rank = step.rank(x)
    if rank == 1:
        return step.op("expand_dims", x, axis=1)
    if first and rank > 2:
        x = step.plain("Permute", x, wish=f"{step.layer.name}_order", axes=[0, *range(2, rank), 1])
    return step.plain("Flatten", x)


def reshape(step: Step) -> At:
    """Reshape."""
    target = step.config.value("target_shape")
    if not isinstance(target, list) or any(type(size) is not int for size in target):
        raise Refusal(f"target_shape = {short(target)} is no list of sizes")
    return step.plain("Reshape", step.x, shape=[None, *target])


def permute(step: Step) -> At:
    """Permute."""
    dims = step.config.value("dims")
    if not isinstance(dims, list) or any(type(axis) is not int for axis in dims):
        raise Refusal(f"dims = {short(dims)} are no axes")
    return step.plain("Permute", step.x, axes=[0, *dims])


def repeat(step: Step) -> At:
    """RepeatVector."""
    x = step.op("expand_dims", step.x, axis=1, wish=f"{step.layer.name}_row")
    return step.op("broadcast_to", x, x, shape=[None, step.config.integer("n"), None])
