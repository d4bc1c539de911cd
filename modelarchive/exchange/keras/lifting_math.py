"""How operations of single elements are lifted that the vocabulary says in several ops: formulas, one for each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.config import DTYPES
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_ops import one, two
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short


def _of_floats(formula: Callable[[Term], Term]) -> Lift:
    """A function of real numbers: whole ones become floats before, as in Keras."""
    return lambda context: formula(Term(context, context.as_float(one(context)))).ref


def _of_any(formula: Callable[[Term], Term]) -> Lift:
    """A function of numbers of any dtype."""
    return lambda context: formula(Term(context, one(context))).ref


def _of_two(formula: Callable[[Term, Term], Term]) -> Lift:
    """A function of two tensors, in floats."""

    def lift(context: Context) -> Ref:
        x, y = (Term(context, context.as_float(each)) for each in two(context))
        return formula(x, y).ref

    return lift


def _log1p(x: Term) -> Term:
    # What is lost where 1 is added is given back.
    y = x + 1.0
    lost = (x - (y - 1.0)) / y
    return ((y < math.inf) & (y > 0.0)).where(y.op("log") + lost, y.op("log"))


def _expm1(x: Term) -> Term:
    # As precise for small numbers as for large ones; of large ones the product would be infinity less infinity.
    return (x * 0.5).activated("tanh") * (x.op("exp") + 1.0)


def _sinh(x: Term) -> Term:
    return _expm1(x) * ((-x).op("exp") * 0.5 + 0.5)


def _cosh(x: Term) -> Term:
    return (x.op("exp") + (-x).op("exp")) * 0.5


def _signed(size: Term, x: Term) -> Term:
    return (x < 0.0).where(-size, size)


def _arcsinh(x: Term) -> Term:
    size = abs(x)
    square = size * size
    near = _log1p(size + square / ((square + 1.0).op("sqrt") + 1.0))
    return _signed((size > 1e4).where(size.op("log") + math.log(2), near), x)


def _arccosh(x: Term) -> Term:
    near = _log1p(x - 1.0 + ((x - 1.0) * (x + 1.0)).op("sqrt"))
    return (x > 1e4).where(x.op("log") + math.log(2), near)


def _arctanh(x: Term) -> Term:
    size = abs(x)
    return _signed(_log1p(size * 2.0 / (1.0 - size)) * 0.5, x)


def _arcsin(x: Term) -> Term:
    return (x / (((1.0 - x) * (x + 1.0)).op("sqrt") + 1.0)).op("atan") * 2.0


def _arccos(x: Term) -> Term:
    return ((1.0 - x) / (x + 1.0)).op("sqrt").op("atan") * 2.0


def arctan2(y: Term, x: Term) -> Term:
    """The angle of a point, from -pi to pi."""
    angle = (y / x).op("atan")
    left = (y < 0.0).where(angle - math.pi, angle + math.pi)
    upright = ((y > 0.0).cast("float32") - (y < 0.0).cast("float32")) * (math.pi / 2)
    found = (x > 0.0).where(angle, (x < 0.0).where(left, upright))
    return (x.is_number & y.is_number).where(found, x + y)


def _hypot(x: Term, y: Term) -> Term:
    one_, other = abs(x), abs(y)
    large, small = one_.op("maximum", other), one_.op("minimum", other)
    share = small / (large > 0.0).where(large, 1.0)
    return (large < math.inf).where(large * (share * share + 1.0).op("sqrt"), large)


def _log_add(base: float) -> Callable[[Term, Term], Term]:
    def formula(x: Term, y: Term) -> Term:
        large, apart = x.op("maximum", y), abs(x - y)
        found = large + _log1p((apart * -math.log(base)).op("exp")) * (1 / math.log(base))
        return apart.is_number.where(found, large)  # of two infinities alike the difference is no number

    return formula


def _log(base: float) -> Callable[[Term], Term]:
    return lambda x: x.op("log") * (1 / math.log(base))


def _sign(x: Term) -> Term:
    dtype = str(x.context.dtype(x.ref))
    zero = Term(x.context, x.context.constant(0, dtype))
    found = (x > zero).cast(dtype) - (x < zero).cast(dtype)
    return x.is_number.where(found, x) if "float" in dtype else found


def _ceil(x: Term) -> Term:
    return -(-x).op("floor")


def _truncated(x: Term) -> Term:
    return (x < 0.0).where(_ceil(x), x.op("floor"))


def _cube_root(x: Term) -> Term:
    return _signed(abs(x) ** (1 / 3), x)


def _sinc(x: Term) -> Term:
    turned = x * math.pi
    safe = x.equal(0.0).where(1.0, turned)
    return x.equal(0.0).where(1.0, safe.op("sin") / safe)


def _fmod(x: Term, y: Term) -> Term:
    rest = abs(x).op("remainder", abs(y))
    return _signed(rest, x)


def _erfinv(x: Term) -> Term:
    """An approximation, made exact by two steps of Newton's."""
    size = abs(x)
    tail = _log1p(-(size * size))
    middle = tail * 0.5 + 2 / (math.pi * 0.147)
    found = ((middle * middle - tail * (1 / 0.147)).op("sqrt") - middle).op("sqrt")
    for _ in range(2):
        slope = (-(found * found)).op("exp") * (2 / math.sqrt(math.pi))
        found = found - (found.op("erf") - size) / slope
    return _signed(size.equal(1.0).where(math.inf, found), x)


def _sign_bit(x: Term) -> Term:
    return (x < 0.0) | (x.equal(0.0) & (1.0 / x < 0.0))


def _either(name: str) -> Callable[[Term, Term], Term]:
    """The larger or smaller one, or the one that is a number."""
    return lambda x, y: (~x.is_number).where(y, (~y.is_number).where(x, x.op(name, y)))


def _truths(context: Context, ref: Ref) -> Term:
    return Term(context, ref if context.dtype(ref).kind == "b" else context.op("cast", ref, dtype="bool"))


def _exclusive(context: Context) -> Ref:
    x, y = (_truths(context, each) for each in two(context))
    return (~x.equal(y)).ref


def _not_bits(context: Context) -> Ref:
    x = Term(context, one(context))
    dtype = context.dtype(x.ref)
    if dtype.kind == "b":
        return (~x).ref
    ones = np.asarray(-1 if dtype.kind == "i" else np.iinfo(dtype).max).item()
    return context.op("bitwise_xor", x.ref, context.constant(ones, dtype.name))


def _setting(name: str, default: float, formula: Callable[[Term, float], Term]) -> Lift:
    """A function with a number of its own."""
    return lambda context: (
        formula(Term(context, context.as_float(one(context))), context.config.number(name, default)).ref
    )


def _soft_shrink(x: Term, by: float) -> Term:
    return (x > by).where(x - by, (x < -by).where(x + by, 0.0 * x))


def _hard_shrink(x: Term, by: float) -> Term:
    return (abs(x) > by).where(x, 0.0 * x)


def _sparse_plus(x: Term) -> Term:
    return (x < -1.0).where(0.0, (x < 1.0).where((x + 1.0) * (x + 1.0) * 0.25, x))


def _threshold(context: Context) -> Ref:
    x = Term(context, context.as_float(one(context)))
    by, value = context.config.number("threshold"), context.config.number("default_value")
    return (x > by).where(x, value).ref


def _heaviside(x: Term, at_zero: Term) -> Term:
    found = x.equal(0.0).where(at_zero, (x > 0.0).cast(str(x.context.dtype(x.ref))))
    return x.is_number.where(found, x)


def _divided(x: Term, y: Term) -> Term:
    is_zero = y.equal(0.0)
    return is_zero.where(0.0, x / is_zero.where(1.0, y))


def _nan_to_num(context: Context) -> Ref:
    x = Term(context, one(context))
    dtype = context.dtype(x.ref)
    limits = context.config.optional("nan"), context.config.optional("posinf"), context.config.optional("neginf")
    if dtype.kind != "f" or dtype.name == "bfloat16":
        raise Refusal(f"NanToNum of {dtype.name} is not supported, only of floats of 16, 32 and 64 bits")
    most = float(np.finfo(dtype).max)
    nan, high, low = (
        each if each is not None else other for each, other in zip(limits, (0.0, most, -most), strict=True)
    )
    found = x.is_number.where(x, nan)
    found = found.equal(math.inf).where(high, found)
    return found.equal(-math.inf).where(low, found).ref


def _is_close(context: Context) -> Ref:
    x, y = (Term(context, context.as_float(each)) for each in two(context))
    both = context.config.flag("equal_nan", default=False)
    far, near = context.argument("rtol", 2, 1e-5), context.argument("atol", 3, 1e-8)
    if type(far) not in (int, float) or type(near) not in (int, float):
        raise Refusal(f"rtol = {short(far)} and atol = {short(near)}, expected numbers")
    within = ~(abs(x - y) > abs(y) * float(far) + float(near)) & (x - y).is_number & (abs(y) < math.inf)
    found = within | x.equal(y)
    return (found | (~x.is_number & ~y.is_number)).ref if both else found.ref


def _selected(context: Context) -> Ref:
    """The first choice whose condition is true."""
    conditions, choices = (context.argument(name, at) for at, name in enumerate(("condlist", "choicelist")))
    if not isinstance(conditions, list) or not isinstance(choices, list) or len(conditions) != len(choices):
        raise Refusal("is called on conditions and choices, expected two lists of one length")
    found = context.tensor_of(context.argument("default", 2, 0))
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        found = context.op("where", context.tensor_of(condition), context.tensor_of(choice), found)
    return found


def _saturated(context: Context) -> Ref:
    dtype, x = context.config.value("dtype"), Term(context, one(context))
    if dtype not in DTYPES or np.dtype("f4" if dtype == "bfloat16" else dtype).kind not in "iu":
        raise Refusal(f"SaturateCast to {short(dtype)} is not supported, only to whole numbers")
    limits = np.iinfo(dtype)
    least, most = float(limits.min), float(limits.max)
    if x.context.dtype(x.ref).kind == "f" and most >= 2**31:
        raise Refusal(f"SaturateCast of floats to {dtype} is not supported: its largest number is no float")
    return x.op("clip", low=least, high=most).cast(dtype).ref


def _is_infinite(sign: int) -> Callable[[Term], Term]:
    return lambda x: (x if sign else abs(x)).equal(math.inf * (sign or 1))


_FORMULAS: Final[dict[str, tuple[str, Callable[[Term], Term]]]] = {
    "Arccos": ("sqrt, atan", _arccos),
    "Arccosh": ("sqrt, log", _arccosh),
    "Arcsin": ("sqrt, atan", _arcsin),
    "Arcsinh": ("sqrt, log", _arcsinh),
    "Arctanh": ("log", _arctanh),
    "Cbrt": ("power", _cube_root),
    "Ceil": ("floor", _ceil),
    "Cosh": ("exp", _cosh),
    "Deg2rad": ("multiply", lambda x: x * (math.pi / 180)),
    "Erfc": ("erf", lambda x: 1.0 - x.op("erf")),
    "Erfinv": ("erf, log", _erfinv),
    "Signbit": ("less", _sign_bit),
    "Exp2": ("power", lambda x: 2.0**x),
    "Expm1": ("exp", _expm1),
    "Log10": ("log", _log(10)),
    "Log1p": ("log", _log1p),
    "Log2": ("log", _log(2)),
    "Rad2deg": ("multiply", lambda x: x * (180 / math.pi)),
    "Sinc": ("sin, divide", _sinc),
    "Sinh": ("exp", _sinh),
    "SparsePlus": ("where", _sparse_plus),
    "SparseSigmoid": ("clip", lambda x: ((x + 1.0) * 0.5).op("clip", low=0.0, high=1.0)),
    "Tan": ("sin, cos", lambda x: x.op("sin") / x.op("cos")),
    "TanhShrink": ("subtract", lambda x: x - x.activated("tanh")),
    "Trunc": ("floor", _truncated),
    "Isfinite": ("abs, less", lambda x: abs(x) < math.inf),
    "Isinf": ("abs, equal", _is_infinite(0)),
    "Isposinf": ("equal", _is_infinite(1)),
    "Isneginf": ("equal", _is_infinite(-1)),
    "Isnan": ("equal", lambda x: ~x.is_number),
}  # fmt: skip

#: Operations of single elements.
ROWS: Final[tuple[Lifting, ...]] = (
    *(operation(theirs, ours, _of_floats(formula)) for theirs, (ours, formula) in _FORMULAS.items()),
    operation("Sign", "greater, less", _of_any(_sign)),
    operation("Fabs", "abs", _of_floats(abs)),
    operation("Arctan2", "divide, atan", _of_two(arctan2), "of -0 as of 0; of two infinities NaN"),
    operation("Hypot", "multiply, sqrt", _of_two(_hypot)),
    operation("Logaddexp", "exp, log", _of_two(_log_add(math.e))),
    operation("Logaddexp2", "exp, log", _of_two(_log_add(2))),
    operation("Fmod", "remainder", _of_two(_fmod), "in floats"),
    operation("Fmax", "maximum", _of_two(_either("maximum")), "in floats"),
    operation("Fmin", "minimum", _of_two(_either("minimum")), "in floats"),
    operation("Heaviside", "equal, greater", _of_two(_heaviside)),
    operation("DivideNoNan", "divide", _of_two(_divided)),
    operation("LogicalXor", "equal", _exclusive),
    operation("BitwiseNot", "bitwise_xor", _not_bits),
    operation("BitwiseInvert", "bitwise_xor", _not_bits),
    operation("Squareplus", "sqrt", _setting("b", 4, lambda x, b: (x + (x * x + b).op("sqrt")) * 0.5)),
    operation("HardShrink", "where", _setting("threshold", 0.5, _hard_shrink)),
    operation("SoftShrink", "where", _setting("threshold", 0.5, _soft_shrink)),
    operation("Threshold", "where", _threshold),
    operation("NanToNum", "where", _nan_to_num),
    operation("Isclose", "less", _is_close),
    operation("Select", "where", _selected),
    operation("SaturateCast", "clip, cast", _saturated, "to whole numbers"),
)
