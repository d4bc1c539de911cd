"""Models of Keras in a line: a layer, a row of layers, a function of one input or of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

Make = Callable[[], Any]


def sequential(shape: tuple[int | None, ...], *makes: Callable[[], Any], dtype: str = "float32") -> Make:
    """A row of layers."""
    return lambda: keras.Sequential([keras.Input(shape, dtype=dtype), *(make() for make in makes)])


def layer(shape: tuple[int | None, ...], kind: str, *args: Any, dtype: str = "float32", **config: Any) -> Make:
    """One layer."""
    return sequential(shape, lambda: getattr(layers, kind)(*args, **config), dtype=dtype)


def function(shape: tuple[int | None, ...], call: Callable[[Any], Any], dtype: str = "float32") -> Make:
    """A functional model of one input."""

    def make() -> Any:
        x = keras.Input(shape, dtype=dtype)
        return keras.Model(x, call(x))

    return make


def several(shapes: list[tuple[int | None, ...]], call: Callable[..., Any], dtypes: list[str] | None = None) -> Make:
    """A functional model of several inputs."""

    def make() -> Any:
        each = dtypes or ["float32"] * len(shapes)
        xs = [keras.Input(shape, dtype=dtype) for shape, dtype in zip(shapes, each, strict=True)]
        return keras.Model(xs, call(*xs))

    return make
