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
from modelarchive.ops.precision import float_dtype, rounded, wide, widened
from modelarchive.ops.registry import Array, op
from modelarchive.ops.special import erfc

#: Name of an activation -> its function; the closed list of the field ``activation``.
ACTIVATIONS: Final[dict[str, Callable[..., Array]]] = {}
#: Those that have a parameter `alpha`, with its value in layers where it is fixed.
ALPHAS: Final[dict[str, float]] = {"celu": 1.0, "elu": 1.0, "leaky_relu": 0.01}

#: Beyond these alpha has no float32.
_SMALLEST_ALPHA: Final = 1e-30
_LARGEST_ALPHA: Final = 1e30
_BLOCK: Final = 1 << 16  # elements
_ZEROS: Final = np.zeros(_BLOCK, np.float32)
_ZEROS.flags.writeable = False
_FORMULAS: Final[dict[str, Callable[..., None]]] = {}


#: A formula: from an array of wide floats into another of its shape, which may be the same one.
Formula = Callable[..., None]


def _activation(formula: Formula) -> Callable[..., Array]:
    """Register a formula under its name, with the dtype rules of this module."""
    name = formula.__name__
    _FORMULAS[name] = formula
    declared = op(infer=shapes.unchanged, kind="Activation", config={"activation": name})

    if name in ALPHAS:

        @declared
        @functools.wraps(formula)
        def with_alpha(x: ArrayLike, /, alpha: float = ALPHAS[name]) -> Array:
            return _run(name, np.asarray(x), checked_alpha(name, alpha))

        ACTIVATIONS[name] = with_alpha
        return with_alpha

    @declared
    @functools.wraps(formula)
    def call(x: ArrayLike, /) -> Array:
        return _run(name, np.asarray(x))

    ACTIVATIONS[name] = call
    return call


def _run(name: str, x: Array, alpha: float | None = None) -> Array:
    if x.dtype.kind in "biu" and name not in ("relu", "relu6"):
        x = x.astype(np.float64)
    if x.dtype.kind == "b":
        return x.copy()
    source = x.astype(wide(x.dtype), order="C", copy=False)
    result = np.empty(source.shape, source.dtype)
    into(name, source, result, alpha)
    return rounded(result, x.dtype)


def into(name: str, x: Array, out: Array, alpha: float | None = None) -> None:
    """Write the activation called `name` of one array into another, on pieces that stay in the cache.

    Args:
        name: A name of :data:`ACTIVATIONS`.
        x: Any shape; of a dtype that the activation keeps and that is computed in as it is.
        out: Of the same shape and dtype, `x` itself or another; no other one that shares its memory.
        alpha: The parameter of those in :data:`ALPHAS`; None: the value there.
    """
    with np.errstate(over="ignore"):
        _in_blocks(formula(name, alpha), x, out)


def formula(name: str, alpha: float | None = None) -> Formula:
    """What computes the activation called `name` of one array into another, of the same shape or itself.

    Both have at least one axis. Where exp(-x) is infinite the quotient is 0, as it should be, and NumPy warns.

    Args:
        name: A name of :data:`ACTIVATIONS`.
        alpha: The parameter of those in :data:`ALPHAS`; None: the value there.
    """
    found = _FORMULAS[name]
    if name in ALPHAS:
        return functools.partial(found, alpha=ALPHAS[name] if alpha is None else alpha)
    return found


def _in_blocks(formula: Formula, x: Array, out: Array) -> None:
    if x.ndim == 0:
        # NumPy's functions turn 0-d arrays into scalars, which have no in-place steps.
        formula(x.reshape(1), out.reshape(1))
    elif x.size <= _BLOCK:
        formula(x, out)
    elif x.flags.c_contiguous and out.flags.c_contiguous:
        flat, target = x.reshape(-1), out.reshape(-1)
        for first in range(0, flat.size, _BLOCK):
            formula(flat[first : first + _BLOCK], target[first : first + _BLOCK])
    elif x.size <= _BLOCK * len(x):
        several = _BLOCK * len(x) // x.size
        for first in range(0, len(x), several):
            formula(x[first : first + several], out[first : first + several])
    else:
        for part, target in zip(x, out, strict=True):
            _in_blocks(formula, part, target)


def _zeros(x: Array) -> Array:
    """As many zeros as `x` has along its last axis: with arrays, maximum is three times as fast as with a number."""
    size = x.shape[-1]
    return _ZEROS[:size] if x.dtype == np.float32 and size <= _BLOCK else np.zeros(size, x.dtype)


@_activation
def relu(x: Array, out: Array) -> None:
    """``max(x, 0)``."""
    np.maximum(x, _zeros(x), out=out)


@_activation
def relu6(x: Array, out: Array) -> None:
    """``min(max(x, 0), 6)``."""
    np.clip(x, x.dtype.type(0), x.dtype.type(6), out=out)


@_activation
def leaky_relu(x: Array, out: Array, *, alpha: float) -> None:
    """`x` where positive, else ``alpha x``."""
    if 0 < alpha <= 1:
        np.maximum(x, x * x.dtype.type(alpha), out=out)
    else:
        out[...] = np.where(x > 0, x, np.minimum(x, 0) * x.dtype.type(alpha))


@_activation
def elu(x: Array, out: Array, *, alpha: float) -> None:
    """`x` where positive, else ``alpha (exp(x) - 1)`` (Clevert et al. 2015, arXiv:1511.07289)."""
    out[...] = np.where(x > 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)))


@_activation
def celu(x: Array, out: Array, *, alpha: float) -> None:
    """`x` where positive, else ``alpha (exp(x / alpha) - 1)`` (Barron 2017, arXiv:1704.07483)."""
    out[...] = np.where(x > 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0) / x.dtype.type(alpha)))


_SELU_ALPHA: Final = 1.6732632423543772
_SELU_SCALE: Final = 1.0507009873554805


@_activation
def selu(x: Array, out: Array) -> None:
    """Scaled :func:`elu` with fixed constants (Klambauer et al. 2017, arXiv:1706.02515)."""
    out[...] = np.where(x > 0, x * _SELU_SCALE, np.expm1(np.minimum(x, 0)) * (_SELU_SCALE * _SELU_ALPHA))


@_activation
def gelu(x: Array, out: Array) -> None:
    """``x/2 (1 + erf(x / sqrt 2))`` (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""
    # The same as max(x, 0) - |x|/2 erfc(|x| / sqrt 2), where nothing cancels for negative x.
    size = np.abs(x)
    tail = erfc(size * x.dtype.type(math.sqrt(0.5)))
    # Where erfc is 0 the size does not matter, and may be infinite.
    tail *= np.minimum(size, 100, out=size)
    tail *= 0.5
    np.maximum(x, _zeros(x), out=out)
    out -= tail


@_activation
def gelu_tanh(x: Array, out: Array) -> None:
    """The approximation ``x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`` of :func:`gelu`."""
    inner = x * x
    inner *= 0.044715
    inner += 1
    inner *= x
    inner *= math.sqrt(2 / math.pi)
    np.tanh(inner, out=inner)
    inner += 1
    inner *= x
    np.multiply(inner, x.dtype.type(0.5), out=out)


@_activation
def quick_gelu(x: Array, out: Array) -> None:
    """The approximation ``x sigmoid(1.702 x)`` of :func:`gelu`, as CLIP uses it."""
    np.divide(x, _one_and_power(x, -1.702), out=out)


def _one_and_power(x: Array, factor: float = -1, out: Array | None = None) -> Array:
    """``1 + exp(factor x)``: what is divided by it is multiplied by a sigmoid."""
    power: Array = np.multiply(x, x.dtype.type(factor), out=out)
    np.exp(power, out=power)
    power += 1
    return power


@_activation
def sigmoid(x: Array, out: Array) -> None:
    """``1 / (1 + exp(-x))``."""
    # NumPy's reciprocal is slower than its quotient.
    np.divide(x.dtype.type(1), _one_and_power(x, out=out), out=out)


def _sigmoid_of_negative(x: Array, out: Array) -> None:
    np.exp(x, out=out)
    out += 1
    np.divide(x.dtype.type(1), out, out=out)


def _silu_of_negative(x: Array, out: Array) -> None:
    power = np.exp(x)
    np.subtract(x.dtype.type(-1), power, out=power)
    np.divide(x, power, out=out)


#: What computes the activation of ``-x``, with a step less and to the same bits.
OF_NEGATIVE: Final[dict[str | None, Formula]] = {"sigmoid": _sigmoid_of_negative, "silu": _silu_of_negative}


@_activation
def log_sigmoid(x: Array, out: Array) -> None:
    """``-log(1 + exp(-x))``."""
    np.subtract(np.minimum(x, 0), np.log1p(np.exp(-np.abs(x))), out=out)


@_activation
def silu(x: Array, out: Array) -> None:
    """``x sigmoid(x)``, also called swish."""
    np.divide(x, _one_and_power(x), out=out)


def _softplus(x: Array) -> Array:
    return np.maximum(x, _zeros(x)) + np.log1p(np.exp(-np.abs(x)))


@_activation
def softplus(x: Array, out: Array) -> None:
    """``log(1 + exp(x))``."""
    out[...] = _softplus(x)


@_activation
def mish(x: Array, out: Array) -> None:
    """``x tanh(softplus(x))`` (Misra 2019, arXiv:1908.08681)."""
    np.multiply(x, np.tanh(_softplus(x)), out=out)


@_activation
def softsign(x: Array, out: Array) -> None:
    """``x / (1 + |x|)``."""
    np.divide(x, 1 + np.abs(x), out=out)


def _hard_sigmoid(x: Array, out: Array | None = None) -> Array:
    result: Array = np.add(x, x.dtype.type(3), out=out)
    np.clip(result, x.dtype.type(0), x.dtype.type(6), out=result)
    result /= 6
    return result


@_activation
def hard_sigmoid(x: Array, out: Array) -> None:
    """``min(max(x + 3, 0), 6) / 6``."""
    _hard_sigmoid(x, out)


@_activation
def hard_swish(x: Array, out: Array) -> None:
    """``x hard_sigmoid(x)`` (Howard et al. 2019, arXiv:1905.02244)."""
    np.multiply(x, _hard_sigmoid(x), out=out)


@_activation
def hard_tanh(x: Array, out: Array) -> None:
    """``min(max(x, -1), 1)``."""
    np.clip(x, x.dtype.type(-1), x.dtype.type(1), out=out)


@_activation
def tanh(x: Array, out: Array) -> None:
    """Hyperbolic tangent."""
    np.tanh(x, out=out)


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
    result = np.empty(x.shape, wide_x.dtype)
    prelu_formula(slope)(wide_x, result)
    return rounded(result, dtype)


def prelu_formula(slope: Array) -> Formula:
    """What computes :func:`prelu` of one array into another, of the same shape or itself, that broadcast with it."""
    is_gentle = bool(slope.max(initial=0) <= 1 and slope.all())

    def formula(x: Array, out: Array) -> None:
        if is_gentle:
            # The larger of the two, for all that is steeper than the slope; twice as fast.
            np.maximum(x, np.multiply(x, slope, out=None if np.may_share_memory(x, out) else out), out=out)
        else:
            out[...] = np.maximum(x, 0) + np.minimum(x, 0) * slope

    return formula
