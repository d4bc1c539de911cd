"""How MXNet's truths are lifted: questions about numbers, and what is made of the answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.drawing import Truth
from modelarchive.exchange.mxnet.lifting_context import Context, Lift
from modelarchive.exchange.mxnet.lifting_dtypes import Formula, floating, is_whole
from modelarchive.exchange.rows import Lifting
from modelarchive.nn.parameter import dtype_name

#: What is said of comparisons where arrays are not NumPy's.
TRUTH: Final = "gives 0 and 1 in the dtype of the arrays: with a cast; truths where arrays are NumPy's"


def truth(context: Context, x: Ref) -> Ref:
    """Whether it is not 0."""
    if context.dtype(x).kind == "b":
        return x
    return negation(context, context.op("equal", x, context.constant(0, context.dtype(x))))


def negation(context: Context, x: Ref) -> Ref:
    """Of truths, the others."""
    return context.op("equal", x, context.constant(0, np.bool_))


def either(context: Context, one: Ref, other: Ref) -> Ref:
    """Whether one of them is true."""
    return context.op("where", one, one, other)


def reported(context: Context, found: Ref) -> Ref | Truth:
    """Truths where arrays are NumPy's; else 0 and 1 in the dtype of the arrays, as MXNet has it."""
    if context.is_numpy:
        return found
    return Truth(found, context.node.name, dtype_name(context.dtype(context.ref(0))))


def _logical(combine: Callable[[Context, Ref, Ref], Ref]) -> Lift:
    """Two arrays, or an array and a number, as truths."""

    def lift(context: Context) -> Ref | Truth:
        one = truth(context, context.ref(0))
        if len(context) > 1:
            other = truth(context, context.ref(1))
        else:
            context.attributes.text("is_int", "True")
            value = context.attributes.real("scalar")
            cut = not context.is_numpy and is_whole(context.dtype(context.ref(0)))
            other = context.constant((int(value) if cut else value) != 0, np.bool_)
        return reported(context, combine(context, one, other))

    return lift


def both(context: Context, one: Ref, other: Ref) -> Ref:
    """Whether both are true."""
    return context.op("where", one, other, one)


def _unlike(context: Context, one: Ref, other: Ref) -> Ref:
    """Whether one of them only is true."""
    return negation(context, context.op("equal", one, other))


def _untrue(context: Context) -> Ref | Truth:
    """Whether it is 0."""
    return reported(context, negation(context, truth(context, context.ref(0))))


def _is_nan(context: Context, x: Ref) -> Ref:
    """Whether it is NaN."""
    return negation(context, context.op("equal", x, x))


def _is_infinite(context: Context, x: Ref) -> Ref:
    """Whether it is an infinity."""
    return context.op("equal", context.op("abs", x), context.constant(math.inf))


def _is_finite(context: Context, x: Ref) -> Ref:
    """Whether it is neither."""
    return context.op("less", context.op("abs", x), context.constant(math.inf))


def _asked(formula: Formula) -> Lift:
    """A question about each number."""
    return lambda context: reported(context, formula(context, floating(context, context.ref(0))))


def _nan_to_num(context: Context) -> Ref:
    """Numbers in the place of NaN and of infinities."""
    at, x = context.attributes, context.ref(0)
    at.flag("copy", default=True)
    dtype = context.dtype(x)
    if is_whole(dtype):
        at.aside("nan", "posinf", "neginf")
        return x
    limit = float(np.finfo(dtype).max)
    high = limit if at.text("posinf", "None") == "None" else at.real("posinf")
    low = -limit if at.text("neginf", "None") == "None" else at.real("neginf")
    x = context.op("where", _is_nan(context, x), context.constant(at.real("nan", 0.0), dtype), x)
    for value, bound in ((math.inf, high), (-math.inf, low)):
        found = context.op("equal", x, context.constant(value, dtype))
        x = context.op("where", found, context.constant(bound, dtype), x)
    return x


_QUESTIONS: Final = {"isnan": _is_nan, "isinf": _is_infinite, "isfinite": _is_finite}
_LOGICAL: Final[dict[str, Callable[[Context, Ref, Ref], Ref]]] = {"and": both, "or": either, "xor": _unlike}

ROWS: Final = (
    Lifting("_npi_nan_to_num", "equal, where", _nan_to_num),
    *(
        Lifting(f"_npi_{name} _contrib_{name}", "equal, abs, less", _asked(formula))
        for name, formula in _QUESTIONS.items()
    ),
    Lifting("logical_not _npi_logical_not", "equal", _untrue, TRUTH),
    *(
        Lifting(
            f"broadcast_logical_{name} _logical_{name} _logical_{name}_scalar _npi_logical_{name} "
            f"_npi_logical_{name}_scalar",
            "equal, where",
            _logical(combine),
            TRUTH,
        )
        for name, combine in _LOGICAL.items()
    ),
)
