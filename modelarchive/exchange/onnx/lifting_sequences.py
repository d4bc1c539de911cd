"""How ONNX's sequences and optional values are lifted: what is in them is known, and nothing of them stays."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange import budget
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.values import Constant, Operand, Several
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.store.deferred import Deferred

#: Parts of a sequence, the most.
_MOST: Final = 4096


def _sequence(context: Context, index: int = 0) -> Several:
    operand = context.operand(index)
    if not isinstance(operand, Several):
        raise Refusal(f"input {index} of {context.node.op} is no sequence")
    return operand


def _several(context: Context, parts: list[Operand]) -> Several:
    if len(parts) > _MOST:
        raise Refusal(f"a sequence of more than {_MOST:,} parts is not supported")
    budget.spend(f"{context.node.op} {context.name!r}", steps=1 + len(parts) // 8)
    return Several(tuple(parts))


def _constant(value: Any, dtype: Any) -> Constant:
    return Constant(Deferred.of(np.asarray(value, dtype)))


def _construct(context: Context) -> Several:
    return _several(context, [context.operand(index) for index in range(len(context))])


def _empty(context: Context) -> Several:
    context.node.integer("dtype", 1)
    return Several(())


def _place(context: Context, index: int, count: int, *, beyond: int = 0) -> int:
    found = context.whole(index)
    if not -count <= found < count + beyond:
        raise Refusal(f"{context.node.op} at the place {found} of a sequence of {count}")
    return found + count if found < 0 else found


def _insert(context: Context) -> Several:
    parts = list(_sequence(context).parts)
    place = _place(context, 2, len(parts), beyond=1) if context.has(2) else len(parts)
    parts.insert(place, context.operand(1))
    return _several(context, parts)


def _erase(context: Context) -> Several:
    parts = list(_sequence(context).parts)
    place = _place(context, 1, len(parts)) if context.has(1) else len(parts) - 1
    del parts[place]
    return _several(context, parts)


def _at(context: Context) -> Operand:
    parts = _sequence(context).parts
    return parts[_place(context, 1, len(parts))]


def _length(context: Context) -> Constant:
    return _constant(len(_sequence(context).parts), np.int64)


def _split(context: Context) -> Several:
    """Parts of one size each, the last one what is left; or of the sizes that are given."""
    axis, keep = context.axis(context.node.integer("axis", 0)), context.node.flag("keepdims", default=True)
    total = context.shape(0)[axis]
    size, given = 1, list[int]()
    if context.has(1):
        keep = True
        given = context.integers(1)
        size = given[0] if context.rank(1) == 0 else 0
    if total is None or size < 0:
        raise Refusal("SplitToSequence of an axis that is not fixed is not supported: pass inputs=")
    starts = range(0, min(total, size * (_MOST + 1)), size or 1)
    sizes = [min(size, total - start) for start in starts] if size else given
    if len(sizes) > _MOST or sum(sizes) != total or not sizes:
        raise Refusal(f"SplitToSequence of {total} elements into {len(sizes)} parts is not supported")
    whole = context.op("split", context.ref(0), sizes=sizes, axis=axis)
    parts: list[Operand] = list(whole.parts(len(sizes)))
    if not keep:
        parts = [context.op("squeeze", context.builder.reference(each), axis=[axis]) for each in parts]
    return _several(context, parts)


def _concat(context: Context) -> Any:
    node = context.node
    axis, new = node.integer("axis"), node.flag("new_axis", default=False)
    refs = [context.builder.reference(each, context.name) for each in _sequence(context).parts]
    if not refs:
        raise Refusal("ConcatFromSequence of no parts is not supported")
    return context.op("stack" if new else "concatenate", *refs, axis=axis)


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
    Lifting("SequenceInsert", "(a sequence)", _insert, _DECIDED),
    Lifting("SequenceErase", "(a sequence)", _erase, _DECIDED),
    Lifting("SequenceAt", "(a part)", _at, _DECIDED),
    Lifting("SequenceLength", "(a constant)", _length),
    Lifting("SplitToSequence", "split, squeeze", _split, "the axis fixed"),
    Lifting("ConcatFromSequence", "concatenate, stack", _concat),
    Lifting("Optional", "(the input)", _optional, "one that has a value"),
    Lifting("OptionalGetElement", "(the input)", _optional, "one that has a value"),
    Lifting("OptionalHasElement", "(a constant)", _has_element),
]
