"""Computing with constants and sizes while reading, as exporters expect it: bounded for one operator and in all."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange import budget
from modelarchive.exchange.onnx.folds import FOLDS, MOVES, PARTS
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.values import Constant, Operand, Sizes
from modelarchive.exchange.onnx.words import DTYPES
from modelarchive.exchange.refusal import Refusal, refusing
from modelarchive.nn.dim import LARGEST, Dim
from modelarchive.store.deferred import Deferred

#: Elements up to which constants are computed while reading, of the operands and of the result.
_MAX_FOLDED: Final = 1 << 20
#: The same where sizes are among them that are not fixed: those are computed one by one, in Python.
_MAX_SIZES: Final = 4096
#: Operators that only look at the shape.
_SHAPES: Final = ("Shape", "Size")


def folded(context: Context) -> Operand | tuple[Operand, ...]:
    """The results of an operator on values that are known.

    Raises:
        Refusal: They are large, or it depends on sizes that are not fixed.
        UnsafeFileError: With all that was computed before they are more than the file may take.
    """
    row = FOLDS[context.node.op]
    if not row.least <= len(context) <= row.most or not all(context.has(index) for index in range(row.least)):
        raise Refusal(f"{context.node.op} has {len(context)} inputs")
    with refusing(context.node.op):
        arrays = _arrays(context)
        made = row.made(context, arrays)
        mixed = any(isinstance(each, Sizes) for each in context.operands)
        looked_at = sum(each.size for each in arrays if each is not None) if mixed else 0
        if made + looked_at > (_MAX_SIZES if mixed else _MAX_FOLDED):
            raise Refusal("large results are computed when the network runs")
        budget.spend(f"{context.node.op} {context.name!r}", elements=made)
        found = row.compute(context, arrays)
    several = found if isinstance(found, tuple) else (found,)
    results = [_operand(context, place, each) for place, each in enumerate(several)]
    return tuple(results) if isinstance(found, tuple) else results[0]


def _arrays(context: Context) -> list[Any]:
    """The values of the operands; None where one is left out."""
    return [_array(context, each) for each in context.operands]


def _array(context: Context, operand: Operand) -> Any:
    if not isinstance(operand, Constant):
        return operand.array if isinstance(operand, Sizes) else None
    size = operand.array.size
    if context.node.op in _SHAPES:
        return np.broadcast_to(np.zeros((), np.bool_), operand.array.shape)
    if size > _MAX_FOLDED:
        raise Refusal("large arrays are computed when the network runs")
    # A part of what is there is a view of it; all else looks at every element.
    if operand.array.view is None or operand.changed or context.node.op not in (*PARTS, *MOVES):
        budget.spend(f"{context.node.op} {context.name!r}", elements=size)
    return operand.numpy()


def _operand(context: Context, place: int, result: Any) -> Operand:
    """A result as what its name stands for."""
    if isinstance(result, Deferred):
        return Constant(result)
    array = np.asarray(result)
    if array.dtype == object:
        if any(not isinstance(one, Dim) and abs(one) > LARGEST for one in array.reshape(-1)):
            raise Refusal("sizes beyond 2**63 are not supported")
        dtype = _dtype(context)
        if any(isinstance(one, Dim) for one in array.reshape(-1)):
            return Sizes(array, dtype)
        array = array.astype(dtype)
    source = context.operands[0] if context.operands else None
    # A part of a parameter stays one: when the network needs it, it is taken out of the parameter.
    is_part = isinstance(source, Constant) and (
        (bool(source.stored) and context.node.op in PARTS)
        or (source.part is not None and context.node.op in (*PARTS, *MOVES))
    )
    return Constant(Deferred.of(array), part=context.part(place) if is_part and array.dtype.kind not in "biu" else None)


def _dtype(context: Context) -> str:
    """The dtype of what is made of sizes: that of the others, as ONNX's arithmetic has one."""
    if context.node.op == "Cast":
        return DTYPES[context.node.integer("to")]
    # A condition, and places, stand before what is chosen.
    for operand in reversed(context.operands) if context.node.op == "Where" else context.operands:
        if isinstance(operand, Sizes):
            return operand.dtype
    return "int64"
