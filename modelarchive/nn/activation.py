"""Layers without parameters that work element by element: Activation, Dropout, Identity."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.block import Layer
from modelarchive.nn.parameter import Array
from modelarchive.ops.activation import activate, checked_activation
from modelarchive.ops.precision import common_dtype

Shape = tuple[int, ...]


class _Elementwise(Layer):
    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The input's shape."""
        return tuple(shape)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input."""
        return found[0]


class Activation(_Elementwise):
    """An activation function by name, as ``mxnet.gluon.nn.Activation``.

    Args:
        activation: A name of :data:`modelarchive.ops.activation.ACTIVATIONS`; definitions and constants are
            those of ``torch.nn.functional``.

    Input of any shape; the output has the same shape and float dtype.

    Raises:
        ValueError: There is no activation of that name.
    """

    fields = ("activation",)

    def __init__(self, activation: str) -> None:
        super().__init__()
        if activation is None:
            raise ValueError("activation: expected a name, found None")
        self.activation = checked_activation(activation)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input; integers become float64 but in relu and relu6, as in NumPy."""
        keeps = found[0].kind not in "biu" or self.activation in ("relu", "relu6")
        return found[0] if keeps else common_dtype(np.dtype(np.float64))

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return activate(self.activation, x)


class Dropout(_Elementwise):
    """The identity here: elements are dropped in training only, as in every framework.

    Args:
        rate: The part of the elements that training drops, from 0 to 1 (``mxnet.gluon.nn.Dropout``'s `rate`).

    Input of any shape and dtype; the output is the input itself.

    Raises:
        ValueError: The rate is out of range.
    """

    fields = ("rate",)

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = check.number("rate", rate, high=1.0)

    def forward(self, x: Array) -> Array:
        """Return the input itself."""
        return x


class Identity(_Elementwise):
    """Returns its input; any shape, any dtype. The place of a layer that was taken out."""

    def forward(self, x: Array) -> Array:
        """Return the input itself."""
        return x
