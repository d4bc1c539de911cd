"""How MXNet's functions of numbers are lifted for which the vocabulary has no op of its own: as formulas in its ops."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.lifting_context import Context, Lift
from modelarchive.exchange.mxnet.lifting_dtypes import (
    Formula,
    floating,
    is_whole,
    number,
    of_floats,
    of_reals,
    promoted,
)
from modelarchive.exchange.mxnet.lifting_rounding import floor, sign, truncated
from modelarchive.exchange.mxnet.lifting_truths import both
from modelarchive.exchange.rows import Lifting

# ---------------------------------------------------------------------- remainders


def _operands(context: Context, *, reverse: bool = False) -> tuple[Ref, Ref]:
    """Two arrays, or an array and a number, in the dtype that MXNet computes in."""
    if len(context) > 1:
        one, other = promoted(context, context.refs()[:2]) if context.is_numpy else context.refs()[:2]
        return one, other
    x = context.ref(0)
    at = context.attributes
    value, dtype = at.real("scalar"), context.dtype(x)
    whole = at.flag("is_int", default=value % 1 == 0)
    # Beside floats it is one of theirs, rounded, whatever they are computed in.
    beside = number(context, value, x, whole=whole) if is_whole(dtype) else context.constant(value, dtype)
    return (beside, x) if reverse else (x, beside)


def _quotient(context: Context, one: Ref, other: Ref, rounding: Formula) -> tuple[Ref, Ref, Ref, Ref]:
    """Both operands in float64, where the quotient of two float32 is exact enough, the divisor 1 where it is 0."""
    one, other = context.cast(one, np.float64), context.cast(other, np.float64)
    zero = context.op("equal", other, context.constant(0.0))
    divisor = context.op("where", zero, context.constant(1.0), other)
    return one, divisor, rounding(context, context.op("divide", one, divisor)), zero


def _divide(*, reverse: bool = False) -> Lift:
    """The quotient; of integers that are not NumPy's, without what is left."""

    def lift(context: Context) -> Ref:
        if context.is_numpy:
            if len(context) > 1:
                return context.op("divide", *promoted(context, context.refs()[:2], floats=True))
            x = context.ref(0)
            x = context.cast(x, np.float32) if is_whole(context.dtype(x)) else x
            beside = context.constant(context.attributes.real("scalar"))
            context.attributes.flag("is_int", default=True)
            return context.op("divide", *((beside, x) if reverse else (x, beside)))
        x = context.ref(0)
        other = (
            context.ref(1) if len(context) > 1 else number(context, context.attributes.real("scalar"), x, whole=True)
        )
        context.attributes.flag("is_int", default=True)
        pair, dtype = (other, x) if reverse else (x, other), context.dtype(x)
        return _whole_quotient(context, pair, truncated, dtype) if is_whole(dtype) else context.op("divide", *pair)

    return lift


def _remainder(rounding: Formula, *, reverse: bool = False) -> Lift:
    """What a division leaves; MXNet has 0 where the divisor is 0."""

    def lift(context: Context) -> Ref:
        pair = _operands(context, reverse=reverse)
        dtype = context.dtype(context.op("add", *pair))
        _expect_small(context, dtype)
        one, divisor, whole, zero = _quotient(context, *pair, rounding)
        rest = context.op("subtract", one, context.op("multiply", whole, divisor))
        return context.cast(context.op("where", zero, context.constant(0.0, np.float64), rest), dtype)

    return lift


def _floor_divide(*, reverse: bool = False) -> Lift:
    """The quotient rounded down."""

    def lift(context: Context) -> Ref:
        pair = _operands(context, reverse=reverse)
        dtype = context.dtype(context.op("add", *pair))
        if not is_whole(dtype):
            return floor(context, context.op("divide", *pair))
        return _whole_quotient(context, pair, floor, dtype)

    return lift


def _whole_quotient(context: Context, pair: tuple[Ref, Ref], rounding: Formula, dtype: np.dtype) -> Ref:
    """The quotient of integers, rounded."""
    _expect_small(context, dtype)
    _, _, whole, zero = _quotient(context, *pair, rounding)
    context.note("an integer divided by 0 is 0 here; in MXNet it is what the machine makes of it")
    return context.cast(context.op("where", zero, context.constant(0.0, np.float64), whole), dtype)


def _expect_small(context: Context, dtype: np.dtype) -> None:
    if dtype.kind in "iu" and dtype.itemsize == 8:
        context.note("is computed in float64, which is exact for integers up to 2^53")


# ---------------------------------------------------------------------- functions


def _log1p(context: Context, x: Ref) -> Ref:
    """The logarithm of 1 and a number more, what the sum lost given back."""
    y = context.op("add", x, context.constant(1.0))
    lost = context.op("divide", context.op("subtract", x, context.op("subtract", y, context.constant(1.0))), y)
    usual = context.op("add", context.op("log", y), lost)
    inner = context.op("greater", y, context.constant(0.0))
    finite = context.op("less", y, context.constant(math.inf))
    return context.op("where", both(context, inner, finite), usual, context.op("log", y))


def _expm1(context: Context, x: Ref) -> Ref:
    """``exp(x) - 1`` as ``2 sinh(x / 2) exp(x / 2)``, near 0 by its series: nothing is lost there."""
    near = context.op("less", context.op("abs", x), context.constant(1e-2))
    series = context.constant(1.0)
    for over in (4.0, 3.0, 2.0):
        series = context.op("add", context.constant(1.0), context.op("multiply", _scaled(context, x, 1 / over), series))
    usual = context.op("subtract", context.op("exp", x), context.constant(1.0))
    return context.op("where", near, context.op("multiply", x, series), usual)


def _scaled(context: Context, x: Ref, factor: float) -> Ref:
    """Times a number."""
    return context.op("multiply", x, context.constant(factor))


def _logarithm(base: float) -> Formula:
    """To another base."""
    return lambda context, x: _scaled(context, context.op("log", x), 1 / math.log(base))


def _times(factor: float) -> Formula:
    """Times a number."""
    return lambda context, x: _scaled(context, x, factor)


def _cube_root(context: Context, x: Ref) -> Ref:
    """The cube root, of negative numbers too."""
    root = context.op("power", context.op("abs", x), context.constant(1 / 3))
    return context.op("multiply", root, sign(context, x))


def _tangent(context: Context, x: Ref) -> Ref:
    """The tangent."""
    return context.op("divide", context.op("sin", x), context.op("cos", x))


def _hyperbolic(name: str) -> Formula:
    """The hyperbolic sine, or cosine."""

    def formula(context: Context, x: Ref) -> Ref:
        if name == "sinh":
            up, down = _expm1(context, x), _expm1(context, context.op("negative", x))
        else:
            up, down = context.op("exp", x), context.op("exp", context.op("negative", x))
        return _scaled(context, context.op("subtract" if name == "sinh" else "add", up, down), 0.5)

    return formula


def _inverse_hyperbolic(name: str) -> Formula:
    """The inverse of a hyperbolic function, by logarithms."""

    def formula(context: Context, x: Ref) -> Ref:
        one = context.constant(1.0)
        if name == "arctanh":
            ratio = context.op("subtract", _log1p(context, x), _log1p(context, context.op("negative", x)))
            return _scaled(context, ratio, 0.5)
        size = context.op("abs", x) if name == "arcsinh" else x
        # The square of a larger one may be too large, and the root is the number itself.
        limit = context.constant(_FAR.get(str(context.dtype(x)), 1e4), context.dtype(x))
        near = context.op("minimum", size, limit)
        less = context.op("subtract", near, one)
        if name == "arcsinh":
            square = context.op("multiply", near, near)
            root = context.op("sqrt", context.op("add", square, one))
            # sqrt(1 + x^2) - 1, of which nothing is lost.
            above = context.op("add", near, context.op("divide", square, context.op("add", root, one)))
        else:
            root = context.op("sqrt", context.op("multiply", less, context.op("add", near, one)))
            above = context.op("add", less, root)
        far = context.op("add", context.op("log", context.op("maximum", size, limit)), context.constant(math.log(2)))
        found = context.op("where", context.op("greater", size, limit), far, _log1p(context, above))
        if name == "arccosh":
            return found
        below = context.op("less", x, context.constant(0.0, context.dtype(x)))
        return context.op("where", below, context.op("negative", found), found)

    return formula


def _hypotenuse(context: Context) -> Ref:
    """The root of the sum of two squares."""
    pair = [floating(context, each) for each in _operands(context)]
    squares = [context.op("multiply", each, each) for each in pair]
    return context.op("sqrt", context.op("add", *squares))


def _log_add_exp(context: Context) -> Ref:
    """The logarithm of the sum of two exponentials."""
    of_floats(context, context.ref(0))
    one, other = _operands(context)
    gap = context.op("negative", context.op("abs", context.op("subtract", one, other)))
    return context.op("add", context.op("maximum", one, other), _log1p(context, context.op("exp", gap)))


def _copy_sign(context: Context) -> Ref:
    """The size of one number with the sign of another; 0 has none here."""
    one, other = _operands(context)
    size = context.op("abs", one)
    below = context.op("less", other, context.constant(0.0))
    return context.op("where", below, context.op("negative", size), size)


def _load_exponent(context: Context) -> Ref:
    """``x 2^y``."""
    of_floats(context, context.ref(0))
    one, other = _operands(context)
    return context.op("multiply", one, context.op("power", context.constant(2.0), other))


#: From where on the square of a number may be too large.
_FAR: Final = {"float16": 128.0, "float64": 1e8}
_FORMULA: Final = "a formula in ops"
_BY_ZERO: Final = "what is left of a division by 0 is 0, as in MXNet"
_REALS: Final[dict[str, Formula]] = {
    "expm1": _expm1,
    "log1p": _log1p,
    "log2": _logarithm(2),
    "log10": _logarithm(10),
    "cbrt": _cube_root,
    "tan": _tangent,
    "sinh": _hyperbolic("sinh"),
    "cosh": _hyperbolic("cosh"),
    "arcsinh": _inverse_hyperbolic("arcsinh"),
    "arccosh": _inverse_hyperbolic("arccosh"),
    "arctanh": _inverse_hyperbolic("arctanh"),
    "degrees": _times(180 / math.pi),
    "radians": _times(math.pi / 180),
}

ROWS: Final = (
    *(Lifting(f"{name} _npi_{name}", _FORMULA, of_reals(formula)) for name, formula in _REALS.items()),
    Lifting("elemwise_div broadcast_div _div _Div _npi_true_divide", "divide", _divide()),
    Lifting("_div_scalar _DivScalar _npi_true_divide_scalar", "divide", _divide()),
    Lifting("_rdiv_scalar _RDivScalar _npi_rtrue_divide_scalar", "divide", _divide(reverse=True)),
    Lifting("broadcast_mod _mod _mod_scalar _npi_mod _npi_mod_scalar", _FORMULA, _remainder(floor), _BY_ZERO),
    Lifting("_rmod_scalar _npi_rmod_scalar", _FORMULA, _remainder(floor, reverse=True), _BY_ZERO),
    Lifting("_npi_fmod _npi_fmod_scalar", _FORMULA, _remainder(truncated), _BY_ZERO),
    Lifting("_npi_rfmod_scalar", _FORMULA, _remainder(truncated, reverse=True), _BY_ZERO),
    Lifting("_npi_floor_divide _npi_floor_divide_scalar", _FORMULA, _floor_divide()),
    Lifting("_npi_rfloor_divide_scalar", _FORMULA, _floor_divide(reverse=True)),
    Lifting("broadcast_hypot _hypot _hypot_scalar _npi_hypot _npi_hypot_scalar", _FORMULA, _hypotenuse),
    Lifting("_npi_logaddexp _npi_logaddexp_scalar", _FORMULA, _log_add_exp),
    Lifting("_npi_copysign _npi_copysign_scalar", _FORMULA, _copy_sign, "0 has no sign"),
    Lifting("_npi_ldexp _npi_ldexp_scalar", _FORMULA, _load_exponent),
)
