"""Activation functions; called on a symbol they are recorded as an ``Activation`` block.

Definitions are those of ``torch.nn.functional`` with its default constants, but for `alpha`. Each takes an array of any
shape, keeps a float dtype (float16 and bfloat16 are computed in float32) and returns a new array; integers
become floats as in NumPy's own functions, except where the formula has no float in it (relu, relu6).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from modelarchive.ops import shapes
from modelarchive.ops.precision import float_dtype, in_float32, rounded, widened
from modelarchive.ops.registry import Array, op
from modelarchive.ops.special import erfc

#: Name of an activation -> its function; the closed list of the field ``activation``.
ACTIVATIONS: Final[dict[str, Callable[..., Array]]] = {}
#: Those that have a parameter `alpha`, with its value in layers where it is fixed.
ALPHAS: Final[dict[str, float]] = {"celu": 1.0, "elu": 1.0, "leaky_relu": 0.01}

#: Beyond these alpha has no float32.
_SMALLEST_ALPHA: Final = 1e-30
_LARGEST_ALPHA: Final = 1e30
_BLOCK: Final = 1 << 15  # elements


def _activation(function: Callable[..., Any]) -> Callable[..., Array]:
    """Register a formula for wide floats under its name, with the dtype rules of this module."""
    name = function.__name__
    declared = op(infer=shapes.unchanged, kind="Activation", config={"activation": name})

    if name in ALPHAS:

        @declared
        @functools.wraps(function)
        def with_alpha(x: ArrayLike, /, alpha: float = ALPHAS[name]) -> Array:
            return _run(function, np.asarray(x), alpha=checked_alpha(name, alpha))

        ACTIVATIONS[name] = with_alpha
        return with_alpha

    @declared
    @functools.wraps(function)
    def call(x: ArrayLike, /) -> Array:
        return _run(function, np.asarray(x))

    ACTIVATIONS[name] = call
    return call


def _run(function: Callable[..., Any], x: Array, **arguments: Any) -> Array:
    if x.dtype.kind in "biu" and function.__name__ not in ("relu", "relu6"):
        x = x.astype(np.float64)
    # NumPy's functions turn 0-d arrays into scalars, which have no in-place steps.
    return np.reshape(in_float32(function, np.atleast_1d(x), **arguments), x.shape)


def _in_blocks(formula: Callable[..., Any]) -> Callable[..., Any]:
    """Run a formula of many steps on pieces that stay in the cache; their temporaries cost most of its time."""

    @functools.wraps(formula)
    def call(x: Array, **arguments: float) -> Any:
        if x.size <= _BLOCK:
            return formula(x, **arguments)
        flat = x.reshape(-1)
        result = np.empty_like(flat)
        for first in range(0, flat.size, _BLOCK):
            result[first : first + _BLOCK] = formula(flat[first : first + _BLOCK], **arguments)
        return result.reshape(x.shape)

    return call


@_activation
def relu(x: Array) -> Any:
    """``max(x, 0)``."""
    return np.maximum(x, x.dtype.type(0))


@_activation
def relu6(x: Array) -> Any:
    """``min(max(x, 0), 6)``."""
    return np.minimum(np.maximum(x, x.dtype.type(0)), x.dtype.type(6))


@_activation
def leaky_relu(x: Array, *, alpha: float) -> Any:
    """`x` where positive, else ``alpha x``."""
    if 0 < alpha <= 1:
        return np.maximum(x, x * x.dtype.type(alpha))
    return np.where(x > 0, x, np.minimum(x, 0) * x.dtype.type(alpha))


@_activation
@_in_blocks
def elu(x: Array, *, alpha: float) -> Any:
    """`x` where positive, else ``alpha (exp(x) - 1)`` (Clevert et al. 2015, arXiv:1511.07289)."""
    return np.where(x > 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)))


@_activation
@_in_blocks
def celu(x: Array, *, alpha: float) -> Any:
    """`x` where positive, else ``alpha (exp(x / alpha) - 1)`` (Barron 2017, arXiv:1704.07483)."""
    return np.where(x > 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0) / x.dtype.type(alpha)))


_SELU_ALPHA: Final = 1.6732632423543772
_SELU_SCALE: Final = 1.0507009873554805


@_activation
@_in_blocks
def selu(x: Array) -> Any:
    """Scaled :func:`elu` with fixed constants (Klambauer et al. 2017, arXiv:1706.02515)."""
    return np.where(x > 0, x * _SELU_SCALE, np.expm1(np.minimum(x, 0)) * (_SELU_SCALE * _SELU_ALPHA))


@_activation
@_in_blocks
def gelu(x: Array) -> Any:
    """``x/2 (1 + erf(x / sqrt 2))`` (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""
    # The same as max(x, 0) - |x|/2 erfc(|x| / sqrt 2), where nothing cancels for negative x.
    size = np.abs(x)
    tail = erfc(size * x.dtype.type(math.sqrt(0.5)))
    # Where erfc is 0 the size does not matter, and may be infinite.
    tail *= np.minimum(size, 100, out=size)
    tail *= 0.5
    return np.subtract(np.maximum(x, 0), tail, out=tail)


@_activation
@_in_blocks
def gelu_tanh(x: Array) -> Any:
    """The approximation ``x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`` of :func:`gelu`."""
    inner = x * x
    inner *= 0.044715
    inner += 1
    inner *= x
    inner *= math.sqrt(2 / math.pi)
    result = np.tanh(inner, out=inner)
    result += 1
    result *= x
    result *= 0.5
    return result


@_activation
@_in_blocks
def quick_gelu(x: Array) -> Any:
    """The approximation ``x sigmoid(1.702 x)`` of :func:`gelu`, as CLIP uses it."""
    return x * ACTIVATIONS["sigmoid"](x * x.dtype.type(1.702))


@_activation
@_in_blocks
def sigmoid(x: Array) -> Any:
    """``1 / (1 + exp(-x))``."""
    # exp of -|x| never overflows, and keeps all digits of the small side.
    power = np.exp(-np.abs(x))
    return np.where(x >= 0, x.dtype.type(1), power) / (1 + power)


@_activation
@_in_blocks
def log_sigmoid(x: Array) -> Any:
    """``-log(1 + exp(-x))``."""
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


@_activation
@_in_blocks
def silu(x: Array) -> Any:
    """``x sigmoid(x)``, also called swish."""
    return x * ACTIVATIONS["sigmoid"](x)


@_activation
@_in_blocks
def softplus(x: Array) -> Any:
    """``log(1 + exp(x))``."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@_activation
@_in_blocks
def mish(x: Array) -> Any:
    """``x tanh(softplus(x))`` (Misra 2019, arXiv:1908.08681)."""
    return x * np.tanh(ACTIVATIONS["softplus"](x))


@_activation
@_in_blocks
def softsign(x: Array) -> Any:
    """``x / (1 + |x|)``."""
    return x / (1 + np.abs(x))


@_activation
@_in_blocks
def hard_sigmoid(x: Array) -> Any:
    """``min(max(x + 3, 0), 6) / 6``."""
    return np.clip(x + 3, 0, 6) / 6


@_activation
@_in_blocks
def hard_swish(x: Array) -> Any:
    """``x hard_sigmoid(x)`` (Howard et al. 2019, arXiv:1905.02244)."""
    return x * ACTIVATIONS["hard_sigmoid"](x)


@_activation
def hard_tanh(x: Array) -> Any:
    """``min(max(x, -1), 1)``."""
    return np.clip(x, -1, 1)


@_activation
def tanh(x: Array) -> Any:
    """Hyperbolic tangent."""
    return np.tanh(x)


def activate(name: str | None, x: Array, alpha: float | None = None) -> Array:
    """Apply the activation called `name`; None is the identity.

    Args:
        name: A name of :data:`ACTIVATIONS`, or None.
        x: Any shape.
        alpha: The parameter of those in :data:`ALPHAS`; None: the value there.

    Raises:
        ValueError: There is no activation of that name.
    """
    if name is None:
        return x
    function = ACTIVATIONS[checked_activation(name)]
    return function(x) if alpha is None else function(x, alpha=alpha)


def checked_alpha(name: str, alpha: Any) -> float | None:
    """The parameter of the activation called `name`: its usual value for None, None where it has none.

    Raises:
        ValueError: It has none and `alpha` is given, or `alpha` is out of range.
    """
    if name not in ALPHAS:
        if alpha is not None:
            raise ValueError(f"alpha: expected None, for {name} has no parameter, found {alpha!r}")
        return None
    value = ALPHAS[name] if alpha is None else alpha
    least = _SMALLEST_ALPHA if name == "celu" else -_LARGEST_ALPHA
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.number)
        or not least <= value <= _LARGEST_ALPHA
    ):
        raise ValueError(f"alpha: expected a number from {least:g} to {_LARGEST_ALPHA:g}, found {value!r}")
    return float(value)


def checked_activation(name: Any) -> Any:
    """`name`, if it is None or an activation.

    Raises:
        ValueError: It is neither.
    """
    if name is not None and name not in ACTIVATIONS:
        raise ValueError(f"expected an activation of {', '.join(sorted(ACTIVATIONS))}, found {name!r}")
    return name


def _flat(shape: shapes.Shape) -> shapes.Shape:
    if not shape:
        raise ValueError("expected at least 1 dimension, found a scalar")
    return (shape[0], math.prod(shape[1:]))


@op(infer=_flat, kind="Flatten")
def flatten(x: ArrayLike, /) -> Array:
    """``(batch, ...)`` of any dtype as ``(batch, product of the rest)``, a view where possible."""
    array = np.asarray(x)
    return array.reshape(_flat(array.shape))


def prelu(x: Array, weight: Array, *, axis: int) -> Array:
    """`x` where positive, else ``weight * x`` (He et al. 2015, arXiv:1502.01852).

    Args:
        x: Any shape with channels at `axis`.
        weight: ``(channels,)``, or ``(1,)`` for all.
        axis: The axis of the channels.

    Returns:
        A new array of the shape of `x` in the float dtype that input and weight share; computed in float32
        where that is narrower.
    """
    dtype = float_dtype(x, weight)
    wide_x, slope = widened(dtype, x, weight)
    if slope.size > 1:
        shape = [1] * x.ndim
        shape[axis] = -1
        slope = slope.reshape(shape)
    return rounded(np.maximum(wide_x, 0) + np.minimum(wide_x, 0) * slope, dtype).reshape(x.shape)
