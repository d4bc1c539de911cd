"""Sizes that are not fixed, on their way into the graph: shapes made of them, ranges up to them, arrays stretched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from modelarchive.errors import SpecError
from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.values import Constant, Operand, Sizes
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.dim import Dim, from_pair, literal_shape
from modelarchive.store.deferred import Deferred

#: A size for each of the two tried ones.
_Pair: TypeAlias = tuple[int, int]


def sizes_of(context: Context) -> np.ndarray:
    """The sizes of the first input: ints, and Dims where they are not fixed."""
    both = context.known(0).shapes
    found = np.empty(len(both[0]), object)
    found[:] = [from_pair(one, two) for one, two in zip(*both, strict=True)]
    return found


def sizes_operand(array: np.ndarray) -> Operand:
    """Sizes as a constant, where all of them are fixed."""
    if any(isinstance(each, Dim) for each in array.reshape(-1)):
        return Sizes(array)
    return Constant(Deferred.of(array.astype(np.int64)))


def one(size: Any) -> np.ndarray:
    """A size as an array without axes."""
    array = np.empty((), object)
    array[()] = size
    return array


def _is_one(size: Any) -> bool:
    """Whether a size is 1 for sure."""
    return not isinstance(size, Dim) and size == 1


def shaped(context: Context, ref: Ref, sizes: Sequence[Any]) -> Ref:
    """A result in another shape: of ints and Dims, None for an axis that stays, -1 for one that follows."""
    both = context.known_of(ref).shapes
    try:
        literal = literal_shape(list(sizes), both)
    except SpecError:
        # Several axes that are not fixed leave their places: one group of axes is reshaped after the other.
        before, after = list(zip(*both, strict=True)), _resolved(sizes, both)
        groups = None if after is None else _groups(before, after)
        if after is None or groups is None:
            raise
        for (start, end), (first, last) in reversed(groups):
            if before[start:end] != after[first:last]:
                ref = _regrouped(context, ref, start, end, [from_pair(*pair) for pair in after[first:last]])
        return ref
    return context.op("reshape", ref, shape=literal)


def _resolved(sizes: Sequence[Any], both: tuple[Sequence[int], ...]) -> list[_Pair] | None:
    """The sizes of a shape, what follows from the others among them."""
    found: list[_Pair | None] = []
    for place, size in enumerate(sizes):
        if size is None and place >= len(both[0]):
            return None
        if size is None:
            found.append((both[0][place], both[1][place]))
        else:
            found.append(size.pair if isinstance(size, Dim) else None if size == -1 else (int(size), int(size)))
    for which, each in enumerate(found):
        if each is None:
            rest = [math.prod(pair[side] for pair in found if pair is not None) for side in (0, 1)]
            whole = [math.prod(shape) for shape in both]
            if found.count(None) > 1 or 0 in rest:
                return None
            found[which] = (whole[0] // rest[0], whole[1] // rest[1])
    return [each for each in found if each is not None]


def _groups(before: Sequence[_Pair], after: Sequence[_Pair]) -> list[tuple[tuple[int, int], tuple[int, int]]] | None:
    """Axes that become axes of as many elements, as few at a time as can be; None: there are none."""
    found = []
    start = first = end = last = 0
    while start < len(before) or first < len(after):
        one = two = (1, 1)
        end, last = start, first
        while end == start or last == first or one != two:
            if (one[0] <= two[0] or last >= len(after)) and end < len(before):
                one, end = (one[0] * before[end][0], one[1] * before[end][1]), end + 1
            elif last < len(after):
                two, last = (two[0] * after[last][0], two[1] * after[last][1]), last + 1
            else:
                break
        if one != two:
            return None
        found.append(((start, end), (first, last)))
        start, first = end, last
    return found


def _regrouped(context: Context, ref: Ref, start: int, end: int, sizes: Sequence[Any]) -> Ref:
    """Axes next to each other as others of as many elements."""
    rank = len(context.known_of(ref).shapes[0])
    if sum(isinstance(size, Dim) for size in sizes) > 1:
        if end - start > 1:
            whole: Any = 1
            for size in sizes:
                whole = whole * size
            ref = _regrouped(context, ref, start, end, [whole])
        return context.op("take", ref, _grid(context, sizes), axis=start)
    others = [*range(start), *range(end, rank)]
    ref = context.op("transpose", ref, axes=[*others, *range(start, end)]) if end < rank else ref
    literal = [-1 if isinstance(size, Dim) else int(size) for size in sizes]
    ref = context.op("reshape", ref, shape=[*[None] * len(others), *literal])
    if end == rank:
        return ref
    places = range(len(others), len(others) + len(literal))
    return context.op("transpose", ref, axes=[*range(start), *places, *range(start, len(others))])


def _grid(context: Context, sizes: Sequence[Any]) -> Ref:
    """0, 1, 2, ... as int64, in a shape of several sizes."""
    found: Ref | None = None
    for size in sizes:
        line = counted(context, size)
        if found is None:
            found = line
            continue
        width = context.builder.reference(sizes_operand(one(size)), context.name)
        found = context.op("add", context.op("multiply", context.op("expand_dims", found, axis=[-1]), width), line)
    return context.literal(0, "int64") if found is None else found


def counted(context: Context, size: Any) -> Ref:
    """0, 1, 2, ... as int64, as many as a size says; one that is not fixed is that of an axis, or of two together."""
    if not isinstance(size, Dim):
        return context.fixed(context.counting(int(size)))
    origins = context.builder.origins
    if size.pair in origins:
        return along(context, *origins[size.pair])
    budget.spend(f"{context.node.op} {context.name!r}", steps=len(origins))
    for one, place in origins.items():
        if all(many and not pair % many for pair, many in zip(size.pair, one, strict=True)):
            rest = size.pair[0] // one[0], size.pair[1] // one[1]
            if rest in origins or rest[0] == rest[1]:
                return _of_both(context, along(context, *place), rest)
        fewer = {many - own for own, many in zip(size.pair, one, strict=True)}
        if len(fewer) == 1 and min(fewer) > 0:
            return context.op("slice", along(context, *place), index=[[None, -min(fewer), None]])
    for ref, axis in context.builder.with_axis(size.pair):
        origins[size.pair] = (ref, axis)
        return along(context, ref, axis)
    raise Refusal("a range up to a size that is not fixed is not supported: pass inputs=")


def _of_both(context: Context, rows: Ref, rest: tuple[int, int]) -> Ref:
    """0, 1, 2, ... as many as rows times a number, or times the elements along another axis."""
    if rest[0] == rest[1]:
        columns, width = context.fixed(context.counting(rest[0])), context.literal(rest[0], "int64")
    else:
        columns = along(context, *context.builder.origins[rest])
        width = context.op("slice", context.op("shape_of", columns), index=[0])
    first = context.op("multiply", context.op("expand_dims", rows, axis=[1]), width)
    return context.op("reshape", context.op("add", first, columns), shape=[-1])


def along(context: Context, ref: Ref, axis: int) -> Ref:
    """0, 1, 2, ... as int64, as many as a result has elements along an axis."""
    one, two = (shape[axis] for shape in context.known_of(ref).shapes)
    if one == two:
        return context.fixed(context.counting(one))
    ones = context.op("broadcast_to", context.literal(1, "int64"), ref, shape=[1] * axis + [None])
    flat = context.op("reshape", ones, shape=[-1])
    return context.op("subtract", context.op("cumsum", flat, axis=0), context.literal(1, "int64"))


def stretched(context: Context, ref: Ref, shape: list[Any]) -> Ref:
    """A result broadcast to a shape of ints and Dims, which an input of the model, or the array itself, has."""
    if not any(isinstance(each, Dim) for each in shape):
        return context.op("broadcast_to", ref, ref, shape=[int(each) for each in shape])
    both = context.known_of(ref).shapes
    for like, pairs in [(ref, list(zip(*both, strict=True))), *_inputs(context)]:
        literal = [
            (None if place < len(pairs) and pairs[place] == each.pair else -1) if isinstance(each, Dim) else int(each)
            for place, each in enumerate(shape)
        ]
        if -1 not in literal:
            return context.op("broadcast_to", ref, like, shape=literal)
    # Axis by axis, each one stretched at a place where an input has it.
    missing = len(shape) - len(both[0])
    result = context.op("expand_dims", ref, axis=list(range(missing))) if missing else ref
    for place, size in enumerate(shape):
        if isinstance(size, Dim):
            template = counted(context, size)
            zeros = context.op("multiply", template, context.literal(0, "int64"))
            ones = context.op("add", zeros, context.literal(1, "int64"))
            tail = [1] * (len(shape) - place - 1)
            factor = context.as_dtype(
                context.op("reshape", ones, shape=[-1, *tail]), str(context.known_of(ref).array_dtype)
            )
            result = context.op("multiply", result, factor)
        elif size != 1:
            sizes = [int(size)] + [1] * (len(shape) - place - 1)
            dtype = str(context.known_of(ref).array_dtype)
            one = context.op("broadcast_to", context.literal(1, dtype), context.literal(1, dtype), shape=sizes)
            result = context.op("multiply", result, one)
    return result


def _inputs(context: Context) -> list[tuple[Ref, list[tuple[int, int]]]]:
    found = []
    budget.spend(f"{context.node.op} {context.name!r}", steps=len(context.builder.origins) // 4)
    for ref, _ in context.builder.origins.values():
        value = context.builder.value(ref)
        found.append((ref, list(zip(*value.shapes, strict=True))))
    return found
