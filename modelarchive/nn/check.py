"""Checks of layers' constructor arguments, and the name of the layer in front of what a check says."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from modelarchive import dtypes

Shape = tuple[int, ...]
L = TypeVar("L")


def size(name: str, value: Any, *, least: int = 1) -> int:
    """`value` as an int of at least `least`.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < least:
        raise ValueError(f"{name}: expected an int of at least {least}, found {value!r}")
    return int(value)


def flag(name: str, value: Any) -> bool:
    """`value` as a bool.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}: expected True or False, found {value!r}")
    return bool(value)


def number(name: str, value: Any, *, low: float = 0.0, high: float = float("inf")) -> float:
    """`value` as a float in ``[low, high]``.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not low <= value <= high:
        raise ValueError(f"{name}: expected a number from {low:g} to {high:g}, found {value!r}")
    return float(value)


def choice(name: str, value: Any, words: Sequence[str]) -> str:
    """`value` if it is one of `words`.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str) or value not in words:
        expected = " or ".join(map(repr, words))
        raise ValueError(f"{name}: expected {expected}, found {value!r}")
    return value


def float_name(value: Any) -> str:
    """The name of a float dtype, given by name or as NumPy's dtype.

    Raises:
        ValueError: It is none.
    """
    name = value if isinstance(value, str) else dtypes.dense_name(np.dtype(value))
    if name is None or not dtypes.is_dense(name) or not dtypes.is_float(dtypes.numpy_dtype(name)):
        raise ValueError(f"dtype: expected a float dtype such as 'float32' or 'bfloat16', found {value!r}")
    return name


def naming(infer: Callable[..., Any]) -> Callable[..., Any]:
    """Put the layer's kind in front of what its shape rule complains about."""

    @functools.wraps(infer)
    def named(layer: Any, *shapes: Shape) -> Any:
        try:
            return infer(layer, *shapes)
        except ValueError as error:
            raise ValueError(f"{layer.kind}: {error}") from None

    return named
