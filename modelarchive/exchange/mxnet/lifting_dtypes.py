"""The dtypes of MXNet's operators: on NumPy arrays not NumPy's where integers meet floats, before that one for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.lifting_context import Context, Lift
from modelarchive.exchange.refusal import Refusal
from modelarchive.ops.precision import common_dtype

_FLOAT32 = np.dtype(np.float32)
#: A formula of one array.
Formula: TypeAlias = Callable[[Context, Ref], Ref]


def is_whole(dtype: np.dtype) -> bool:
    """Whether it is one of integers or truths."""
    return dtype.kind in "biu"


def promoted(context: Context, refs: Sequence[Ref], *, floats: bool = False) -> list[Ref]:
    """Operands in the dtype that MXNet computes in: a float wins, whatever integers stand beside it.

    Args:
        context: The operator.
        refs: Its operands.
        floats: Whether integers alone give floats.
    """
    found = [context.dtype(ref) for ref in refs]
    kept = [dtype for dtype in found if not is_whole(dtype)] or found
    common = common_dtype(*kept)
    if floats and is_whole(common):
        common = _FLOAT32
    # Where NumPy gives the same, its own casts are enough.
    if common_dtype(*found) == common and not floats:
        return list(refs)
    return [context.cast(ref, common) for ref in refs]


def floating(context: Context, ref: Ref) -> Ref:
    """What a function of real numbers takes: integers of 8 bits become float16, larger ones float32.

    Raises:
        Refusal: Arrays are not NumPy's: the function of integers is then cut to integers again.
    """
    dtype = context.dtype(ref)
    if not is_whole(dtype):
        return ref
    if not context.is_numpy:
        raise Refusal(f"{context.node.op} of integers, which MXNet makes integers again, is not supported")
    return context.cast(ref, np.float16 if dtype.itemsize == 1 else np.float32)


def of_floats(context: Context, x: Ref) -> Ref:
    """What functions take that give integers for integers, of NumPy's too."""
    if is_whole(context.dtype(x)):
        raise Refusal(f"{context.node.op} of integers, which MXNet makes integers again, is not supported")
    return x


def number(context: Context, value: float, beside: Ref, *, whole: bool) -> Ref:
    """The number of an operator with one: a whole one leaves integers what they are, another makes them float64.

    Where arrays are not NumPy's, whose operators say whether the number is whole, it becomes one of their dtype.
    """
    dtype = context.dtype(beside)
    if not is_whole(dtype):
        return context.constant(value)
    if not context.is_numpy and "is_int" not in context.attributes.texts:
        limits = np.iinfo(dtype) if dtype.kind in "iu" else None
        if limits and not (math.isfinite(value) and limits.min <= int(value) <= limits.max):
            raise Refusal(f"{value} is no {dtype}")
        return context.constant(int(value))
    return context.constant(int(value) if whole and value % 1 == 0 else value)


def of_reals(formula: Formula) -> Lift:
    """A function whose result is a float, whatever is given."""
    return lambda context: formula(context, floating(context, context.ref(0)))


def of_numbers(formula: Formula) -> Lift:
    """A function that leaves integers what they are."""

    def lift(context: Context) -> Ref:
        x = context.ref(0)
        return formula(context, context.cast(x, np.float16) if context.dtype(x).kind == "b" else x)

    return lift
