"""Normalisation layers: BatchNorm and LayerNorm."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.block import Layer
from modelarchive.nn.parameter import Array, Parameter
from modelarchive.ops.normalisation import batch_norm, layer_norm
from modelarchive.ops.precision import float_dtype
from modelarchive.ops.shapes import normal_axis

Shape = tuple[int, ...]


class _Normalisation(Layer):
    """What both have: an axis, an epsilon, and optional weight and bias along the axis."""

    def _set_up(self, axis: int, epsilon: float, center: bool, scale: bool, in_channels: int, dtype: Any) -> tuple[int]:
        self.axis = check.size("axis", axis, least=-64)
        self.epsilon = check.number("epsilon", epsilon)
        self.center = check.flag("center", center)
        self.scale = check.flag("scale", scale)
        self.dtype = check.float_name(dtype)
        self._known = check.size("in_channels", in_channels, least=0)
        return (self._known,)

    def _affine(self, shape: tuple[int], gamma_initializer: Any, beta_initializer: Any) -> None:
        if self.scale:
            self.weight = Parameter(shape, self.dtype, gamma_initializer)
        if self.center:
            self.bias = Parameter(shape, self.dtype, beta_initializer)

    @property
    def in_channels(self) -> int:
        """Size of the input's axis; 0 while it is not known."""
        for parameter in self.parameters.values():
            return (parameter.shape or (0,))[0] or 0
        return self._known

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The input's shape."""
        found = shape[normal_axis(self.axis, len(shape))]
        if self.in_channels and found != self.in_channels:
            raise ValueError(
                f"expected size {self.in_channels} at axis {self.axis}, found {found} in shape {tuple(shape)}"
            )
        if not self.in_channels and self.parameters:
            check.size(f"size of axis {self.axis}", found)
        for parameter in self.parameters.values():
            if not parameter.is_known:
                parameter.shape = (found,)
        return tuple(shape)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The float dtype that input and parameters share."""
        return float_dtype(*found, *(parameter.dtype for parameter in self.parameters.values()))


class BatchNorm(_Normalisation):
    """``(x - running_mean) / sqrt(running_var + epsilon) * weight + bias`` for each channel.

    Arguments and defaults are those of ``mxnet.gluon.nn.BatchNorm``; the meaning is that of
    ``torch.nn.BatchNorm2d`` in evaluation, for any number of spatial axes (Ioffe and Szegedy 2015,
    arXiv:1502.03167).

    Args:
        axis: The axis of the channels.
        momentum: How much of the running statistics a training step keeps (1 - PyTorch's `momentum`);
            training frameworks need it, the forward pass does not.
        epsilon: Added to the variance.
        center: Whether there is a bias (Gluon's beta).
        scale: Whether there is a weight (Gluon's gamma).
        beta_initializer: Initializer of the bias.
        gamma_initializer: Initializer of the weight.
        running_mean_initializer: Initializer of the running mean.
        running_variance_initializer: Initializer of the running variance.
        in_channels: Number of channels; 0: learned at the first call or from a file.
        dtype: Float dtype of parameters not yet loaded.

    Parameters: weight, bias, running_mean, running_var, each ``(in_channels,)``; the last two are not
    trainable. Input of any shape with channels at `axis`; the output has the same shape. Narrow floats are
    computed in float32.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = ("axis", "momentum", "epsilon", "center", "scale", "in_channels", "dtype")

    def __init__(
        self,
        axis: int = 1,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        *,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        running_mean_initializer: Any = "zeros",
        running_variance_initializer: Any = "ones",
        in_channels: int = 0,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        shape = self._set_up(axis, epsilon, center, scale, in_channels, dtype)
        self.momentum = check.number("momentum", momentum, high=1.0)
        self._affine(shape, gamma_initializer, beta_initializer)
        self.running_mean = Parameter(shape, self.dtype, running_mean_initializer, trainable=False)
        self.running_var = Parameter(shape, self.dtype, running_variance_initializer, trainable=False)

    def forward(self, x: Array) -> Array:
        """Run the layer with the running statistics; a new array."""
        return batch_norm(
            x,
            self.weight.data() if self.scale else None,
            self.bias.data() if self.center else None,
            self.running_mean.data(),
            self.running_var.data(),
            axis=self.axis,
            epsilon=self.epsilon,
        )


class LayerNorm(_Normalisation):
    """``(x - mean) / sqrt(var + epsilon) * weight + bias`` with mean and variance along one axis.

    Arguments and defaults are those of ``mxnet.gluon.nn.LayerNorm``; the meaning is ``torch.nn.LayerNorm``'s
    for a `normalized_shape` of one axis (Ba et al. 2016, arXiv:1607.06450).

    Args:
        axis: The axis that is normalised.
        epsilon: Added to the variance.
        center: Whether there is a bias (Gluon's beta).
        scale: Whether there is a weight (Gluon's gamma).
        beta_initializer: Initializer of the bias.
        gamma_initializer: Initializer of the weight.
        in_channels: Size of the axis; 0: learned at the first call or from a file.
        dtype: Float dtype of parameters not yet loaded.

    Parameters: weight and bias, each ``(in_channels,)``. Input of any shape; the output has the same shape.
    Narrow floats are computed in float32.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = ("axis", "epsilon", "center", "scale", "in_channels", "dtype")

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        in_channels: int = 0,
        *,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        shape = self._set_up(axis, epsilon, center, scale, in_channels, dtype)
        self._affine(shape, gamma_initializer, beta_initializer)

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return layer_norm(
            x,
            self.weight.data() if self.scale else None,
            self.bias.data() if self.center else None,
            axis=self.axis,
            epsilon=self.epsilon,
        )
