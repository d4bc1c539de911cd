"""ATen operators of single elements, in ops: arithmetic, comparisons, roundings, choices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch

from modelarchive import ops
from modelarchive.exchange.torch.lifting_context import Context
from modelarchive.exchange.torch.recorded import cast, is_array
from modelarchive.nn.dim import Dim
from modelarchive.ops.activation import ACTIVATIONS
from modelarchive.ops.precision import wide


def _unary(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of real numbers: whole ones are taken in the dtype of the result."""

    def row(context: Context, x: Any) -> Any:
        return function(cast(x, context.dtype))

    return row


def composed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of several steps, on the way of which narrow floats would have no room."""
    return lambda context, x: function(cast(x, wide(context.dtype)))


def _binary(function: Callable[..., Any]) -> Callable[..., Any]:
    def row(context: Context, x: Any, other: Any, *, alpha: Any = 1) -> Any:
        one, two = context.operands(x, other)
        return function(one, _times(two, alpha, context))

    return row


def _times(x: Any, factor: Any, context: Context) -> Any:
    """A product with a number, which may be computed of sizes."""
    if is_array(factor) or isinstance(factor, Dim):
        return ops.multiply(x, cast(factor, context.dtype))
    return x if factor == 1 else ops.multiply(x, factor)


def _reversed(function: Callable[..., Any]) -> Callable[..., Any]:
    def row(context: Context, x: Any, other: Any, *, alpha: Any = 1) -> Any:
        one, two = context.operands(x, other)
        return function(two, _times(one, alpha, context))

    return row


def _comparison(function: Callable[..., Any]) -> Callable[..., Any]:
    def row(context: Context, x: Any, other: Any) -> Any:
        return function(*context.compared(x, other))

    return row


def _logical(function: Callable[..., Any]) -> Callable[..., Any]:
    def row(context: Context, x: Any, other: Any) -> Any:
        return function(truth(x), truth(other))

    return row


def truth(x: Any) -> Any:
    """Whether elements are not 0."""
    if not is_array(x):
        return np.bool_(bool(x))
    return x if x.dtype == np.bool_ else np.logical_not(ops.equal(x, np.zeros((), x.dtype)))


def _not(context: Context, x: Any) -> Any:
    return np.logical_not(truth(x))


def _complementary(x: Any) -> Any:
    """``1 - erf(x)``, whose difference has few digits left in narrow dtypes."""
    wide = cast(x, "float32") if x.dtype.itemsize < 4 else x
    return cast(ops.subtract(1, ops.erf(wide)), x.dtype)


def _sign(context: Context, x: Any) -> Any:
    if x.dtype == bool:
        return x
    zero = np.zeros((), x.dtype)
    return ops.subtract(cast(ops.greater(x, zero), x.dtype), cast(ops.less(x, zero), x.dtype))


def _is_number(value: Any, number: float) -> bool:
    return isinstance(value, float) and value == number


def _clamp(context: Context, x: Any, *, min: Any = None, max: Any = None) -> Any:
    x = cast(x, context.dtype)
    min = None if _is_number(min, -math.inf) else min
    max = None if _is_number(max, math.inf) else max
    if min is None and max is None:
        return x
    if not any(is_array(bound) or isinstance(bound, Dim) for bound in (min, max)):
        low, high = (None if bound is None else context.number(bound) for bound in (min, max))
        return ops.clip(x, low=low, high=high)
    x = x if min is None else ops.maximum(x, cast(min, context.dtype))
    return x if max is None else ops.minimum(x, cast(max, context.dtype))


def _where(context: Context, condition: Any, self: Any = 1, other: Any = 0) -> Any:
    return ops.where(condition, context.constant(self), context.constant(other))


def _masked_fill(context: Context, x: Any, *, mask: Any, value: Any) -> Any:
    return ops.where(mask, context.constant(value), cast(x, context.dtype))


def _power(context: Context, x: Any, exponent: Any) -> Any:
    if not is_array(exponent) and exponent == 2:
        return ops.multiply(cast(x, context.dtype), cast(x, context.dtype))
    return ops.power(*context.operands(x, exponent))


def _addcmul(context: Context, x: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    one, two = context.operands(tensor1, tensor2)
    return ops.add(cast(x, context.dtype), _times(ops.multiply(one, two), value, context))


def _addcdiv(context: Context, x: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    quotient = ops.divide(*context.operands(tensor1, tensor2))
    return ops.add(cast(x, context.dtype), _times(quotient, value, context))


def _lerp(context: Context, x: Any, *, end: Any, weight: Any) -> Any:
    return ops.add(x, ops.multiply(weight, ops.subtract(end, x)))


def log1p(x: Any) -> Any:
    """The logarithm of 1 + x."""
    # As precise as the logarithm is: of what is added, what was lost is given back.
    y = ops.add(x, 1)
    lost = ops.divide(ops.subtract(x, ops.subtract(y, 1)), y)
    is_within = np.logical_and(ops.less(y, np.inf), ops.greater(y, 0))
    return ops.where(is_within, ops.add(ops.log(y), lost), ops.log(y))


def _log(base: float) -> Callable[..., Any]:
    return lambda x: ops.multiply(ops.log(x), 1 / math.log(base))


def _same(context: Context, x: Any, **ignored: Any) -> Any:
    return cast(x, context.dtype)


def _activation(name: str) -> Callable[..., Any]:
    return lambda x: ACTIVATIONS[name](x)


def _is_infinite(context: Context, x: Any) -> Any:
    return ops.equal(ops.abs(x), np.inf)


def _is_nan(context: Context, x: Any) -> Any:
    return np.logical_not(ops.equal(x, x))


def _nan_to_num(context: Context, x: Any, *, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Any:
    if context.dtype.kind in "biu":
        return x
    limits = torch.finfo(context.value.dtype)
    low, high = (limits.min if neginf is None else neginf), (limits.max if posinf is None else posinf)
    x = ops.where(ops.equal(x, x), x, np.asarray(nan or 0, x.dtype))
    x = ops.where(ops.equal(x, np.inf), np.asarray(high, x.dtype), x)
    return ops.where(ops.equal(x, -np.inf), np.asarray(low, x.dtype), x)


def _threshold(context: Context, x: Any, *, threshold: Any, value: Any) -> Any:
    return ops.where(np.less_equal(x, threshold), np.asarray(value, x.dtype), x)


def _softplus(context: Context, x: Any, *, beta: Any = 1, threshold: Any = 20) -> Any:
    steep = ops.multiply(x, beta)
    found = ops.divide(context.layer("Activation", steep, activation="softplus"), beta)
    return found if threshold == 20 else ops.where(ops.greater(steep, threshold), x, found)


def _hard_tanh(context: Context, x: Any, *, min_val: Any = -1, max_val: Any = 1) -> Any:
    return _clamp(context, x, min=min_val, max=max_val)


def _square(x: Any) -> Any:
    return ops.multiply(x, x)


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _unary(getattr(ops, name)) for name in ("exp", "log", "sqrt", "rsqrt", "sin", "cos", "erf", "abs")},
    **{name: _unary(_activation(name)) for name in ("tanh", "sigmoid")},
    "neg": _unary(ops.negative), "_neg_view": _unary(ops.negative),
    "square": _unary(_square), "reciprocal": _unary(lambda x: ops.divide(1, x)),
    "log1p": composed(log1p), "log2": _unary(_log(2)), "log10": _unary(_log(10)),
    "exp2": _unary(lambda x: ops.power(2.0, x)),
    "erfc": composed(_complementary), "tan": composed(lambda x: ops.divide(ops.sin(x), ops.cos(x))),
    "cosh": composed(lambda x: ops.multiply(ops.add(ops.exp(x), ops.exp(ops.negative(x))), 0.5)),
    "add": _binary(ops.add), "sub": _binary(ops.subtract), "mul": _binary(ops.multiply),
    "rsub": _reversed(ops.subtract),
    "maximum": _binary(ops.maximum), "minimum": _binary(ops.minimum),
    "pow": _power,
    "eq": _comparison(lambda x, y: np.equal(x, y)), "ne": _comparison(lambda x, y: np.not_equal(x, y)),
    "gt": _comparison(lambda x, y: np.greater(x, y)), "ge": _comparison(lambda x, y: np.greater_equal(x, y)),
    "lt": _comparison(lambda x, y: np.less(x, y)), "le": _comparison(lambda x, y: np.less_equal(x, y)),
    "logical_and": _logical(lambda x, y: np.logical_and(x, y)),
    "logical_or": _logical(lambda x, y: np.logical_or(x, y)),
    "logical_xor": _logical(lambda x, y: np.logical_xor(x, y)), "logical_not": _not,
    "sign": _sign, "sgn": _sign,
    "clamp": _clamp, "clip": _clamp, "clamp_min": _clamp, "clamp_max": _clamp, "hardtanh": _hard_tanh,
    "softplus": _softplus,
    "where": _where, "masked_fill": _masked_fill, "addcmul": _addcmul, "addcdiv": _addcdiv, "lerp": _lerp,
    "isinf": _is_infinite, "isnan": _is_nan, "nan_to_num": _nan_to_num, "threshold": _threshold,
    **dict.fromkeys(
        ("clone", "contiguous", "detach", "alias", "lift_fresh", "lift_fresh_copy", "to", "_to_copy", "type_as",
         "positive", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "_conj", "resolve_conj",
         "real"),
        _same,
    ),
}  # fmt: skip
