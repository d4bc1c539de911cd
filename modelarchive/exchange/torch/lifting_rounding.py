"""ATen operators that round, divide to whole numbers and work on bits, in ops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context
from modelarchive.exchange.torch.recorded import cast, is_array
from modelarchive.nn.dim import Dim


def _rounded(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda context, x: x if x.dtype.kind in "biu" else function(x)


def ceil(x: Any) -> Any:
    """Rounded up."""
    return ops.negative(ops.floor(ops.negative(x)))


def truncated(x: Any) -> Any:
    """Rounded towards zero."""
    return x if x.dtype.kind in "biu" else ops.where(ops.less(x, 0), ceil(x), ops.floor(x))


def _round(context: Context, x: Any, *, decimals: int = 0) -> Any:
    if x.dtype.kind in "biu":
        return x
    if not decimals:
        return ops.round(x)
    factor = 10.0 ** abs(decimals)
    if decimals > 0:
        return ops.divide(ops.round(ops.multiply(x, factor)), factor)
    return ops.multiply(ops.round(ops.divide(x, factor)), factor)


def _numbers(context: Context, x: Any, other: Any) -> list[Any]:
    one, two = context.operands(x, other)
    if isinstance(one, Dim) and isinstance(two, Dim):
        raise Refusal("a quotient of two sizes that are not fixed")
    return [one, two]


def _floor_divide(context: Context, x: Any, other: Any) -> Any:
    return ops.floor_divide(*_numbers(context, x, other))


def _divide(context: Context, x: Any, other: Any, *, rounding_mode: Any = None) -> Any:
    if rounding_mode == "floor":
        return _floor_divide(context, x, other)
    if rounding_mode == "trunc" and context.dtype.kind in "iu":
        one, two = _numbers(context, x, other)
        quotient = ops.floor_divide(one, two)
        return ops.where(_is_too_low(one, two), ops.add(quotient, 1), quotient)
    quotient = ops.divide(*_numbers(context, x, other))
    return quotient if rounding_mode is None else truncated(quotient)


def _remainder(context: Context, x: Any, other: Any) -> Any:
    return ops.remainder(*_numbers(context, x, other))


def _rest(x: Any, other: Any) -> Any:
    """What is left of a division towards zero, with the sign of what is divided."""
    size = abs(other) if not is_array(other) else ops.abs(other)
    found = ops.remainder(ops.abs(x), size)
    return ops.where(ops.less(x, 0), ops.negative(found), found)


def _is_too_low(x: Any, other: Any) -> Any:
    """Whether integers divided and rounded down are one less than rounded towards zero."""
    is_turned = np.not_equal(ops.less(x, 0), ops.less(other, 0))
    return np.logical_and(is_turned, np.not_equal(ops.remainder(x, other), 0))


def _fmod(context: Context, x: Any, other: Any) -> Any:
    one, two = _numbers(context, x, other)
    if context.dtype.kind in "iu":
        rest = ops.remainder(one, two)
        return ops.where(_is_too_low(one, two), ops.subtract(rest, two), rest)
    return _rest(one if is_array(one) else np.asarray(one, context.dtype), two)


def _bits(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda context, x, other: function(*context.operands(x, other))


def _not(context: Context, x: Any) -> Any:
    return np.logical_not(x) if x.dtype == np.bool_ else ops.subtract(ops.negative(x), np.ones((), x.dtype))


def _frac(context: Context, x: Any) -> Any:
    return ops.subtract(x, truncated(x))


# ---------------------------------------------------------------------- angles


def angle(y: Any, x: Any) -> Any:
    """The angle of a point (x, y), between -pi and pi."""
    share = ops.divide(*_infinities_as_ones(y, x))
    found = ops.atan(ops.where(np.logical_and(ops.equal(x, 0), ops.equal(y, 0)), np.zeros((), x.dtype), share))
    turn = np.asarray(math.pi, x.dtype)
    is_below, is_upright = _is_below(y), ops.equal(x, 0)
    # To the left, of both 0 where the sign of the first says so.
    is_left = np.logical_or(ops.less(x, 0), np.logical_and(np.logical_and(is_upright, ops.equal(y, 0)), _is_below(x)))
    found = ops.where(is_left, ops.add(found, ops.where(is_below, ops.negative(turn), turn)), found)
    is_upright = np.logical_and(is_upright, np.logical_not(ops.equal(y, 0)))
    straight = ops.where(ops.less(y, 0), np.asarray(-math.pi / 2, x.dtype), np.asarray(math.pi / 2, x.dtype))
    return ops.where(np.logical_and(is_upright, ops.equal(y, y)), straight, found)


def _is_below(x: Any) -> Any:
    """Whether a number has a minus, 0 too."""
    return ops.where(ops.equal(x, 0), ops.less(ops.divide(1.0, x), 0), ops.less(x, 0))


def _infinities_as_ones(y: Any, x: Any) -> list[Any]:
    """Two infinities have the angle of their signs."""
    both = np.logical_and(ops.equal(ops.abs(x), np.inf), ops.equal(ops.abs(y), np.inf))
    return [
        ops.where(both, ops.where(ops.less(each, 0), np.asarray(-1, x.dtype), np.asarray(1, x.dtype)), each)
        for each in (y, x)
    ]


def _atan2(context: Context, y: Any, other: Any) -> Any:
    y, x = (each if is_array(each) else np.asarray(each, context.dtype) for each in context.operands(y, other))
    return angle(y, x)


def _asin(x: Any) -> Any:
    return ops.atan(ops.divide(x, ops.sqrt(ops.multiply(ops.subtract(1, x), ops.add(x, 1)))))


def _acos(x: Any) -> Any:
    return ops.multiply(ops.atan(ops.divide(ops.sqrt(ops.subtract(1, x)), ops.sqrt(ops.add(x, 1)))), 2)


def _on_steps(
    context: Context,
    x: Any,
    *,
    scale: Any,
    zero_point: Any,
    quant_min: int,
    quant_max: int,
    axis: Any = None,
    **ignored: Any,
) -> Any:
    """Rounded to whole steps of `scale`, of which there are few, as numbers are that will be quantised."""
    if axis is not None:
        others = tuple(at for at in range(x.ndim) if at != axis % x.ndim)
        scale, zero_point = (ops.expand_dims(each, axis=others) for each in (scale, zero_point))
    scale, zero_point = (
        cast(each, x.dtype) if is_array(each) else np.asarray(each, x.dtype) for each in (scale, zero_point)
    )
    steps = ops.add(ops.round(ops.multiply(x, ops.divide(np.ones((), x.dtype), scale))), zero_point)
    return ops.multiply(ops.subtract(ops.clip(steps, low=quant_min, high=quant_max), zero_point), scale)


def _unary(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda context, x: function(cast(x, context.dtype))


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "floor": _rounded(ops.floor), "ceil": _rounded(ceil), "trunc": lambda context, x: truncated(x),
    "fix": lambda context, x: truncated(x), "round": _round, "frac": _frac,
    "div": _divide, "true_divide": _divide, "floor_divide": _floor_divide, "remainder": _remainder, "fmod": _fmod,
    **dict.fromkeys(("bitwise_and", "__and__"), _bits(ops.bitwise_and)),
    **dict.fromkeys(("bitwise_or", "__or__"), _bits(ops.bitwise_or)),
    **dict.fromkeys(("bitwise_xor", "__xor__"), _bits(ops.bitwise_xor)),
    "bitwise_not": _not,
    **dict.fromkeys(("bitwise_left_shift", "__lshift__"), _bits(ops.left_shift)),
    **dict.fromkeys(("bitwise_right_shift", "__rshift__"), _bits(ops.right_shift)),
    **dict.fromkeys(("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine"), _on_steps),
    "signbit": lambda context, x: _is_below(x),
    "atan": _unary(ops.atan), "atan2": _atan2, "asin": _unary(_asin), "acos": _unary(_acos),
}  # fmt: skip
