"""Layers that work element by element: Activation, PReLU, Dropout, Identity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Array, Parameter
from modelarchive.ops.activation import activate, checked_activation, checked_alpha, prelu
from modelarchive.ops.epilogue import Epilogue
from modelarchive.ops.precision import common_dtype, float_dtype
from modelarchive.ops.reduction import log_softmax, softmax
from modelarchive.ops.shapes import normal_axis

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
        alpha: The slope of leaky_relu for negative elements, the limit of elu and celu; None: 0.01 for
            leaky_relu, 1 for elu and celu. The others have none.

    Input of any shape; the output has the same shape and float dtype.

    Raises:
        ValueError: There is no activation of that name, or `alpha` is out of range.
    """

    fields = ("activation", "alpha")

    def __init__(self, activation: str, alpha: float | None = None) -> None:
        super().__init__()
        if activation is None:
            raise ValueError("activation: expected a name, found None")
        self.activation = checked_activation(activation)
        self.alpha = checked_alpha(self.activation, alpha)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input; integers become float64 but in relu and relu6, as in NumPy."""
        keeps = found[0].kind not in "biu" or self.activation in ("relu", "relu6")
        return found[0] if keeps else common_dtype(np.dtype(np.float64))

    def joined(self, epilogue: Epilogue, dtype: np.dtype[Any]) -> Epilogue:
        """What comes of an epilogue with this layer behind it."""
        return Epilogue(epilogue.factor, epilogue.summand, self.activation, self.alpha)

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return activate(self.activation, x, self.alpha)


class _Normalising(Layer):
    fields = ("axis",)

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = check.size("axis", axis, least=-64)

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The input's shape."""
        normal_axis(self.axis, len(shape))
        return tuple(shape)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input; integers become float64."""
        return np.dtype(np.float64) if found[0].kind in "biu" else found[0]


class Softmax(_Normalising):
    """``exp(x) / sum(exp(x))`` along an axis, as ``torch.nn.Softmax``.

    Args:
        axis: The axis along which the output sums to 1.

    Input of any shape with that axis; the output has the same shape and float dtype.

    Raises:
        ValueError: The axis is no int.
    """

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return softmax(x, axis=self.axis)


class LogSoftmax(_Normalising):
    """``log(softmax(x))`` along an axis, as ``torch.nn.LogSoftmax``; see :class:`Softmax`."""

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return log_softmax(x, axis=self.axis)


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


class PReLU(_Elementwise):
    """`x` where positive, else ``weight * x`` (He et al. 2015, arXiv:1502.01852).

    Arguments are those of ``mxnet.gluon.nn.PReLU``; the meaning is ``torch.nn.PReLU``'s.

    Args:
        alpha_initializer: Initializer of the weight.
        in_channels: Size of the weight: 1 for one slope, the number of channels for one each; 0: that number is
            learned at the first call or from a file.
        axis: The axis of the channels.
        dtype: Float dtype of a weight not yet loaded.

    Parameters: weight ``(in_channels,)``. Input of any shape; the output has the same shape. Narrow floats are
    computed in float32.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = ("in_channels", "axis", "dtype")

    def __init__(
        self, alpha_initializer: Any = 0.25, in_channels: int = 1, *, axis: int = 1, dtype: Any = "float32"
    ) -> None:
        super().__init__()
        self.axis = check.size("axis", axis, least=-64)
        self.dtype = check.float_name(dtype)
        known = check.size("in_channels", in_channels, least=0)
        self.weight = Parameter((known,), self.dtype, alpha_initializer)

    @property
    def in_channels(self) -> int:
        """Size of the weight; 0 while it is not known."""
        return (self.weight.shape or (0,))[0] or 0

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The input's shape."""
        if self.in_channels == 1:
            return tuple(shape)
        found = shape[normal_axis(self.axis, len(shape))]
        if self.in_channels and found != self.in_channels:
            raise ValueError(
                f"expected {self.in_channels} channels at axis {self.axis}, found {found} in {tuple(shape)}"
            )
        if not self.in_channels:
            self.weight.shape = (check.size(f"size of axis {self.axis}", found),)
        return tuple(shape)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The float dtype that input and weight share."""
        return float_dtype(*found, self.weight.dtype)

    def joined(self, epilogue: Epilogue, dtype: np.dtype[Any]) -> Epilogue:
        """What comes of an epilogue with this layer behind it."""
        return replace(epilogue, slope=self.weight.data().astype(dtype, copy=False))

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return prelu(x, self.weight.data(), axis=self.axis)
