"""Initializers: how a parameter gets its first values.

An initializer is called as ``initializer(shape, dtype, rng)`` and returns an array of that shape and dtype;
any callable with this signature serves. Names, arguments and defaults are those of ``mxnet.initializer``
(mxnet.apache.org/versions/1.9.1/api/python/docs/api/initializer).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
# In quotes: evaluating it would import numpy.random, a tenth of the time that importing the package takes.
Initializer: TypeAlias = "Callable[[tuple[int, ...], np.dtype[Any], np.random.Generator], Array]"


@dataclass(frozen=True)
class Zero:
    """All zeros."""

    def __call__(self, shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
        """A new array of `shape` and `dtype`."""
        return np.zeros(shape, dtype)


@dataclass(frozen=True)
class One:
    """All ones."""

    def __call__(self, shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
        """A new array of `shape` and `dtype`."""
        return np.ones(shape, dtype)


@dataclass(frozen=True, eq=False)
class Constant:
    """A number everywhere, or an array of the parameter's shape.

    Args:
        value: A number, or anything that broadcasts to the parameter's shape.
    """

    value: Any

    def __call__(self, shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
        """A new array of `shape` and `dtype`."""
        return np.broadcast_to(np.asarray(self.value), shape).astype(dtype)


@dataclass(frozen=True)
class Uniform:
    """Uniform on ``[-scale, scale)``; with 0.07 the default of every weight, as in Gluon."""

    scale: float = 0.07

    def __call__(self, shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
        """A new array of `shape` and `dtype`."""
        return _uniform(shape, dtype, rng, self.scale)


@dataclass(frozen=True)
class Normal:
    """Normal with mean 0 and standard deviation `sigma`."""

    sigma: float = 0.01

    def __call__(self, shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
        """A new array of `shape` and `dtype`."""
        return _normal(shape, dtype, rng, self.sigma)


@dataclass(frozen=True)
class Xavier:
    """Scaled by the number of inputs and outputs of a weight (Glorot and Bengio 2010).

    Args:
        rnd_type: "uniform" on ``[-s, s)``, or "gaussian" with standard deviation s,
            ``s = sqrt(magnitude / factor)``.
        factor_type: The factor: inputs ("in"), outputs ("out") or their mean ("avg").
        magnitude: See `rnd_type`.
    """

    rnd_type: Literal["uniform", "gaussian"] = "uniform"
    factor_type: Literal["avg", "in", "out"] = "avg"
    magnitude: float = 3.0

    def __post_init__(self) -> None:
        """Refuse words that are none of the two lists."""
        if self.rnd_type not in ("uniform", "gaussian"):
            raise ValueError(f"expected rnd_type 'uniform' or 'gaussian', found {self.rnd_type!r}")
        if self.factor_type not in ("avg", "in", "out"):
            raise ValueError(f"expected factor_type 'avg', 'in' or 'out', found {self.factor_type!r}")

    def __call__(self, shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
        """A new array of `shape` ``(outputs, inputs, *kernel)`` and `dtype`.

        Raises:
            ValueError: The shape has fewer than 2 dimensions.
        """
        if len(shape) < 2:
            raise ValueError(f"{self!r}: expected a weight of at least 2 dimensions, found shape {shape}")
        taps = math.prod(shape[2:])
        outputs, inputs = shape[0] * taps, shape[1] * taps
        factor = {"avg": (inputs + outputs) / 2, "in": inputs, "out": outputs}[self.factor_type]
        scale = math.sqrt(self.magnitude / max(factor, 1))
        draw = _uniform if self.rnd_type == "uniform" else _normal
        return draw(shape, dtype, rng, scale)


def MSRAPrelu(factor_type: Literal["avg", "in", "out"] = "avg", slope: float = 0.25) -> Xavier:  # noqa: N802
    """Gaussian :class:`Xavier` with magnitude ``2 / (1 + slope^2)`` (He et al. 2015, arXiv:1502.01852)."""
    return Xavier("gaussian", factor_type, 2 / (1 + slope**2))


_NAMED: Final[dict[str, Initializer]] = {
    "zeros": Zero(),
    "zero": Zero(),
    "ones": One(),
    "one": One(),
    "uniform": Uniform(),
    "normal": Normal(),
    "xavier": Xavier(),
    "msraprelu": MSRAPrelu(),
}


def get(init: Any = None) -> Initializer:
    """The initializer that `init` stands for.

    Args:
        init: An initializer, its name in lower case ("zeros", "xavier"), a number for a constant, or None
            for Gluon's default ``Uniform(0.07)``.

    Raises:
        ValueError: There is no initializer of that name.
        TypeError: It is none of these.
    """
    if init is None:
        return Uniform()
    if isinstance(init, str):
        if init.lower() not in _NAMED:
            raise ValueError(f"expected an initializer of {', '.join(_NAMED)}, found {init!r}")
        return _NAMED[init.lower()]
    if isinstance(init, int | float | np.number | np.ndarray):
        return Constant(init)
    if callable(init) and not isinstance(init, type):
        return init  # type: ignore[no-any-return]
    raise TypeError(f"expected an initializer, its name, a number or None, found {init!r}")


def _uniform(shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator, scale: float) -> Array:
    # Drawn in float32 whatever the dtype, so that a seed gives the same network in every precision.
    values = rng.random(shape, np.float32)
    values *= 2
    values -= 1
    values *= scale
    return values.astype(dtype, copy=False)


def _normal(shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator, scale: float) -> Array:
    values = rng.standard_normal(shape, np.float32)
    values *= scale
    return values.astype(dtype, copy=False)
