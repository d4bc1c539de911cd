"""How ONNX's sequences and optional values are lifted: what is in them is known, and nothing of them stays."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_sizes import one, shaped, sizes_operand
from modelarchive.exchange.onnx.values import Constant, Operand, Several
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.nn.dim import from_pair
from modelarchive.store.deferred import Deferred

#: Parts of a sequence, the most.
_MOST: Final = 4096


def _sequence(context: Context, index: int = 0) -> Several:
    operand = context.operand(index)
    if not isinstance(operand, Several):
        raise Refusal(f"input {index} of {context.node.op} is no sequence")
    if operand.grows and context.node.op != "SequenceInsert":
        raise Refusal(f"{context.node.op} of what the rounds of a Loop before this one have added is not supported")
    return operand


def _several(context: Context, parts: list[Operand], before: Several) -> Several:
    if len(parts) > _MOST:
        raise Refusal(f"a sequence of more than {_MOST:,} parts is not supported")
    budget.spend(f"{context.node.op} {context.name!r}", steps=1 + len(parts) // 8)
    return Several(tuple(parts), before.rows, before.grows)


def _constant(value: Any, dtype: Any) -> Constant:
    return Constant(Deferred.of(np.asarray(value, dtype)))


def _construct(context: Context) -> Several:
    return _several(context, [context.operand(index) for index in range(len(context))], Several(()))


def _empty(context: Context) -> Several:
    context.node.integer("dtype", 1)
    return Several(())


def _place(context: Context, index: int, count: int, *, beyond: int = 0) -> int:
    found = context.whole(index)
    if not -count <= found < count + beyond:
        raise Refusal(f"{context.node.op} at the place {found} of a sequence of {count}")
    return found + count if found < 0 else found


def _insert(context: Context) -> Several:
    before = _sequence(context)
    parts = list(before.parts)
    if context.has(2) and (before.grows or before.rows is not None):
        raise Refusal("SequenceInsert at a place of a sequence of any length is not supported, only at its end")
    place = _place(context, 2, len(parts), beyond=1) if context.has(2) else len(parts)
    parts.insert(place, context.operand(1))
    return _several(context, parts, before)


def _erase(context: Context) -> Several:
    before = _sequence(context)
    if before.rows is not None:
        raise Refusal("SequenceErase of a sequence of any length is not supported")
    parts = list(before.parts)
    place = _place(context, 1, len(parts)) if context.has(1) else len(parts) - 1
    del parts[place]
    return _several(context, parts, before)


def _at(context: Context) -> Operand:
    found = _sequence(context)
    if found.rows is None and context.is_constant(1):
        return found.parts[_place(context, 1, len(found.parts))]
    rows = _rows(context, found)
    if context.is_constant(1):
        return context.op("slice", rows, index=[context.whole(1)])
    return context.op("take", rows, context.op("reshape", context.ref(1), shape=[]), axis=0)


def _rows(context: Context, found: Several) -> Ref:
    """A sequence of parts of one shape, as an array of them."""
    parts = [context.builder.reference(each, context.name) for each in found.parts]
    stacked = [context.op("stack", *parts, axis=0)] if parts else []
    several = [*([] if found.rows is None else [found.rows]), *stacked]
    if not several:
        raise Refusal(f"{context.node.op} of no parts is not supported")
    return several[0] if len(several) == 1 else context.op("concatenate", *several, axis=0)


def _length(context: Context) -> Operand:
    found = _sequence(context)
    if found.rows is None:
        return _constant(len(found.parts), np.int64)
    shapes = context.known_of(found.rows).shapes
    return sizes_operand(one(from_pair(shapes[0][0], shapes[1][0]) + len(found.parts)))


def _split(context: Context) -> Several:
    """Parts of one size each, the last one what is left; or of the sizes that are given."""
    axis, keep = context.axis(context.node.integer("axis", 0)), context.node.flag("keepdims", default=True)
    total = context.shape(0)[axis]
    size, given = 1, list[int]()
    if context.has(1):
        keep = True
        given = context.integers(1)
        size = given[0] if context.rank(1) == 0 else 0
    if total is None and size == 1:
        front = _moved(context, context.ref(0), axis, 0)
        return Several((), context.op("expand_dims", front, axis=[axis + 1]) if keep else front)
    if total is None or size < 0:
        raise Refusal("SplitToSequence of an axis that is not fixed is supported into parts of size 1 only")
    starts = range(0, min(total, size * (_MOST + 1)), size or 1)
    sizes = [min(size, total - start) for start in starts] if size else given
    if len(sizes) > _MOST or sum(sizes) != total or not sizes:
        raise Refusal(f"SplitToSequence of {total} elements into {len(sizes)} parts is not supported")
    whole = context.op("split", context.ref(0), sizes=sizes, axis=axis)
    parts: list[Operand] = list(whole.parts(len(sizes)))
    if not keep:
        parts = [context.op("squeeze", context.builder.reference(each), axis=[axis]) for each in parts]
    return _several(context, parts, Several(()))


def _concat(context: Context) -> Any:
    node = context.node
    axis, new = node.integer("axis"), node.flag("new_axis", default=False)
    found = _sequence(context)
    if found.rows is None:
        refs = [context.builder.reference(each, context.name) for each in found.parts]
        if not refs:
            raise Refusal("ConcatFromSequence of no parts is not supported")
        return context.op("stack" if new else "concatenate", *refs, axis=axis)
    rows = _rows(context, found)
    sizes = [from_pair(*pair) for pair in zip(*context.known_of(rows).shapes, strict=True)]
    rank = len(sizes) - (not new)
    if not -rank <= axis < rank:
        raise Refusal(f"ConcatFromSequence has the axis {axis}, its parts have {len(sizes) - 1}")
    moved = _moved(context, rows, 0, axis % rank)
    count, *sizes = sizes
    return moved if new else shaped(context, moved, [
        size * count if at == axis % rank else size for at, size in enumerate(sizes)
    ])  # fmt: skip


def _moved(context: Context, ref: Ref, axis: int, to: int) -> Ref:
    """An array with one of its axes at another place."""
    order = [each for each in range(len(context.known_of(ref).shapes[0])) if each != axis]
    order.insert(to, axis)
    return ref if axis == to else context.op("transpose", ref, axes=order)


def _optional(context: Context) -> Operand:
    context.node.get("type", "tp", None)
    if not context.has(0):
        raise Refusal("an optional value without a value is not supported")
    return context.operand(0)


def _has_element(context: Context) -> Constant:
    return _constant(context.has(0), np.bool_)


_DECIDED: Final = "places and lengths known"

ROWS: Final[list[Lifting]] = [
    Lifting("SequenceConstruct", "(a sequence)", _construct),
    Lifting("SequenceEmpty", "(a sequence)", _empty),
    Lifting("SequenceInsert", "(a sequence)", _insert, f"{_DECIDED}, or at the end"),
    Lifting("SequenceErase", "(a sequence)", _erase, _DECIDED),
    Lifting("SequenceAt", "(a part), take", _at),
    Lifting("SequenceLength", "(a size)", _length),
    Lifting("SplitToSequence", "split, squeeze, transpose", _split, "the axis fixed, or parts of size 1"),
    Lifting("ConcatFromSequence", "concatenate, stack, transpose", _concat),
    Lifting("Optional", "(the input)", _optional, "one that has a value"),
    Lifting("OptionalGetElement", "(the input)", _optional, "one that has a value"),
    Lifting("OptionalHasElement", "(a constant)", _has_element),
]
