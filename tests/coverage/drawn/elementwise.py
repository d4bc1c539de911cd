"""Operations that change each element by itself, or two arrays element by element."""

# A table, one operation a line.

from __future__ import annotations

from typing import Any, Final

import torch
from torch.nn import functional as F  # noqa: N812

from tests.coverage.drawn.steps import Function, Step, always, is_float, is_number, is_whole

_BY_NAME: Final = [
    "relu", "sigmoid", "tanh", "abs", "neg", "exp", "sin", "cos", "erf", "floor", "ceil", "round", "sign", "square",
    "trunc", "frac", "sgn", "expm1", "sinh", "atan", "asinh", "erfc", "tan", "isnan", "isfinite", "isinf", "exp2",
    "sinc", "positive", "nan_to_num",
]  # fmt: skip
_OF_POSITIVE: Final = ["rsqrt", "sqrt", "log", "log1p", "log2", "log10", "reciprocal", "digamma", "lgamma"]
_ACTIVATIONS: Final = [
    "gelu", "silu", "mish", "elu", "selu", "celu", "softplus", "softsign", "hardswish", "hardsigmoid", "hardtanh",
    "relu6", "leaky_relu", "logsigmoid", "tanhshrink", "softshrink", "hardshrink",
]  # fmt: skip


def _anything(x: torch.Tensor) -> bool:
    return True


def _has_sign(x: torch.Tensor) -> bool:
    return x.dtype not in (torch.bool, torch.uint8)


def _of_positive(name: str) -> Function:
    return lambda x: getattr(torch, name)(x.abs() + 0.5)


_FLOATS: Final[dict[str, Function]] = {
    **{name: getattr(torch, name) for name in _BY_NAME},
    **{name: _of_positive(name) for name in _OF_POSITIVE},
    **{f"F.{name}": getattr(F, name) for name in _ACTIVATIONS},
    "F.gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "logit": lambda x: torch.logit(torch.sigmoid(x), eps=1e-3),
    "clamp": lambda x: x.clamp(-0.5, 0.7), "clamp below": lambda x: x.clamp(min=0.1),
    "half": lambda x: x.half(), "double": lambda x: x.double(), "bfloat16": lambda x: x.to(torch.bfloat16),
    "uint8": lambda x: (x.abs() * 3).to(torch.uint8), "int8": lambda x: (x.clamp(-3, 3) * 30).to(torch.int8),
    "** 2": lambda x: x**2, "** 3": lambda x: x**3, "** 0.7": lambda x: x.abs() ** 0.7, "2 **": lambda x: 2**x,
    "% 0.7": lambda x: x % 0.7, "fmod": lambda x: torch.fmod(x, 0.7), "remainder": lambda x: torch.remainder(x, -0.7),
    "floor division": lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    "where": lambda x: torch.where(x > 0, x, 0.0), "masked_fill": lambda x: x.masked_fill(x < 0, -1.0),
    "full_like": lambda x: x.new_zeros(x.shape).add(1) * x + torch.full_like(x, 2.0),
    "bucketize": lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=x.dtype), right=True),
}  # fmt: skip
_NUMBERS: Final[dict[str, Function]] = {
    "> 0": lambda x: x > 0, "1 -": lambda x: 1 - x, "1 /": lambda x: 1 / (x.abs() + 2), "// 2": lambda x: x // 2,
    "% 3": lambda x: x % 3, "+ 1": lambda x: x + 1, "+ 0.5": lambda x: x + 0.5,
    "truncated division": lambda x: torch.div(x, 2, rounding_mode="trunc"),
    "where of numbers": lambda x: torch.where(x > 0, 1, 2),
}  # fmt: skip
_WHOLE: Final[dict[str, Function]] = {
    "clamp of integers": lambda x: x.clamp(-1, 1), "& 3": lambda x: x & 3, "| 1": lambda x: x | 1,
    "^ 5": lambda x: x ^ 5, "<< 1": lambda x: x << 1, ">> 1": lambda x: x >> 1,
}  # fmt: skip
_ANYTHING: Final[dict[str, Function]] = {
    "float": lambda x: x.float(), "long": lambda x: x.long(), "int": lambda x: x.int(), "* 1.5": lambda x: x * 1.5,
    "/ 3": lambda x: x / 3,
}  # fmt: skip


def _in_place(x: torch.Tensor) -> Any:
    return x.clone().mul_(2).add_(1)


def _through_a_view(x: torch.Tensor) -> Any:
    found = x * 1
    found.clamp_(min=0)
    seen = found
    found += 1
    return seen


#: Name -> the operation.
ELEMENTWISE: Final[dict[str, Step]] = {
    **{name: always(each) for name, each in _FLOATS.items()},
    **{name: always(each, is_number) for name, each in _NUMBERS.items()},
    **{name: always(each, is_whole) for name, each in _WHOLE.items()},
    **{name: always(each, _anything) for name, each in _ANYTHING.items()},
    "~": always(lambda x: ~x, lambda x: not is_float(x)), "% -3": always(lambda x: x % -3, _has_sign),
    "in place": always(_in_place), "through a view": always(_through_a_view),
}  # fmt: skip


def _floats(function: Function) -> Function:
    return lambda one, other: function(one.float(), other.float())


#: Name -> what is done with two arrays.
PAIRS: Final[dict[str, Function]] = {
    "add": torch.add, "mul": torch.mul, "maximum": torch.maximum, "minimum": torch.minimum, "eq": torch.eq,
    "lt": torch.lt, "ge": torch.ge, "logical_and": torch.logical_and, "logical_xor": torch.logical_xor,
    "sub": lambda one, other: one.float() - other, "div": lambda one, other: one / (other.abs().float() + 1),
    "where": lambda one, other: torch.where(one > 0, one, other), "atan2": _floats(torch.atan2),
    "hypot": _floats(torch.hypot), "logaddexp": _floats(torch.logaddexp),
    "heaviside": _floats(torch.heaviside), "lerp": _floats(lambda one, other: torch.lerp(one, other, 0.3)),
    "addcmul": _floats(lambda one, other: torch.addcmul(one, one, other, value=0.5)),
    "fmod": _floats(lambda one, other: torch.fmod(one, other.abs() + 1)),
    "remainder": _floats(lambda one, other: torch.remainder(one, other.abs() + 0.5)),
    "floor_divide": _floats(lambda one, other: torch.floor_divide(one, other.abs() + 1)),
    "xlogy": _floats(lambda one, other: torch.xlogy(one.abs(), other.abs() + 1)),
    "pow": _floats(lambda one, other: torch.pow(one.abs() + 0.1, other.clamp(-3, 3))),
    "in groups": lambda one, other: torch.cat((one, other), 1),
}  # fmt: skip
