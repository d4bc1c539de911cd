"""How MXNet's roundings are lifted, and signs: formulas in ops of the vocabulary, which round by casts."""

from __future__ import annotations

from typing import Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.lifting_context import Context
from modelarchive.exchange.mxnet.lifting_dtypes import Formula, floating, is_whole, of_numbers, of_reals
from modelarchive.exchange.mxnet.lifting_truths import both, either, negation
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting


def truncated(context: Context, x: Ref) -> Ref:
    """Rounded towards zero; what is too large to have a fraction stays, as NaN does."""
    dtype = context.dtype(x)
    if is_whole(dtype):
        return x
    whole = 2.0 ** {2: 11, 4: 24, 8: 53}[dtype.itemsize]
    small = context.op("less", context.op("abs", x), context.constant(whole))
    inner = context.op("where", small, x, context.constant(0.0, dtype))
    return context.op("where", small, context.cast(context.cast(inner, np.int64), dtype), x)


def _fixed(context: Context) -> Ref:
    """The same; of NumPy's integers it makes floats."""
    x = context.ref(0)
    return floating(context, x) if context.is_numpy and is_whole(context.dtype(x)) else truncated(context, x)


def floor(context: Context, x: Ref) -> Ref:
    """Rounded down."""
    return x if is_whole(context.dtype(x)) else context.op("floor", x)


def _ceiling(context: Context, x: Ref) -> Ref:
    """Rounded up."""
    return x if is_whole(context.dtype(x)) else context.op("negative", floor(context, context.op("negative", x)))


def _half_down(context: Context, x: Ref) -> Ref:
    """MXNet's rint: to the nearest integer, of two the lower."""
    low = floor(context, x)
    far = context.op("greater", context.op("subtract", x, low), context.constant(0.5))
    return context.op("add", low, context.cast(far, context.dtype(x)))


def _half_even(context: Context, x: Ref) -> Ref:
    low = floor(context, x)
    rest = context.op("subtract", x, low)
    half = context.op("multiply", low, context.constant(0.5))
    odd = negation(context, context.op("equal", floor(context, half), half))
    even = both(context, context.op("equal", rest, context.constant(0.5)), odd)
    up = either(context, context.op("greater", rest, context.constant(0.5)), even)
    return context.op("add", low, context.cast(up, context.dtype(x)))


def _half_out(context: Context, x: Ref) -> Ref:
    """MXNet's round: to the nearest integer, of two the one farther from zero."""
    low = floor(context, context.op("add", context.op("abs", x), context.constant(0.5)))
    return context.op("multiply", low, sign(context, x))


def _around(context: Context) -> Ref:
    """To some decimals, of two the even one."""
    at = context.attributes
    # What is exported calls it decimal, MXNet itself decimals.
    decimals = at.integer("decimal", at.integer("decimals", 0))
    x = context.ref(0)
    if is_whole(context.dtype(x)):
        if decimals < 0:
            raise Refusal(f"integers rounded to {decimals} decimals are not supported")
        return x
    if not decimals:
        return _half_even(context, x)
    if abs(decimals) > 30:
        raise Refusal(f"rounding to {decimals} decimals is not supported")
    scale = context.constant(10.0 ** abs(decimals))
    there, back = ("multiply", "divide") if decimals > 0 else ("divide", "multiply")
    return context.op(back, _half_even(context, context.op(there, x, scale)), scale)


def sign(context: Context, x: Ref) -> Ref:
    """-1, 0 or 1; 0 for NaN."""
    zero, dtype = context.constant(0, context.dtype(x)), context.dtype(x)
    positive, negative = context.op("greater", x, zero), context.op("less", x, zero)
    return context.op("subtract", context.cast(positive, dtype), context.cast(negative, dtype))


_NUMBERS: Final[dict[str, Formula]] = {
    "ceil": _ceiling,
    "trunc": truncated,
    "sign": sign,
}

ROWS: Final = (
    Lifting("floor _npi_floor _np_floor", "floor", of_numbers(floor)),
    *(Lifting(f"{name} _npi_{name}", "a formula in ops", of_numbers(formula)) for name, formula in _NUMBERS.items()),
    Lifting("rint _npi_rint", "a formula in ops", of_reals(_half_down), "a half is rounded down, as MXNet does"),
    Lifting("fix _npi_fix", "a formula in ops", _fixed),
    Lifting("round", "a formula in ops", of_numbers(_half_out)),
    Lifting("_npi_around", "a formula in ops", _around),
)
