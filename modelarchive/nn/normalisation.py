"""Normalisation layers: BatchNorm, LayerNorm, RMSNorm, GroupNorm and InstanceNorm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Array, Parameter
from modelarchive.ops.epilogue import NOTHING, Epilogue
from modelarchive.ops.normalisation import batch_norm, folded, group_norm, layer_norm, rms_norm
from modelarchive.ops.precision import float_dtype
from modelarchive.ops.shapes import normal_axis

Shape = tuple[int, ...]


class _Normalisation(Layer):
    """What all have: an axis, an epsilon, and optional weight and bias along the axis."""

    axis: Any
    _known: Any

    def _set_up(self, axis: int, epsilon: float, center: bool, scale: bool, in_channels: int, dtype: Any) -> tuple[int]:
        self.axis = check.size("axis", axis, least=-64)
        self.epsilon = check.number("epsilon", epsilon)
        self.center = check.flag("center", center)
        self.scale = check.flag("scale", scale)
        self.dtype = check.float_name(dtype)
        self._known = check.size("in_channels", in_channels, least=0)
        return (self._known,)

    def _affine(self, shape: Shape, gamma_initializer: Any, beta_initializer: Any) -> None:
        if self.scale:
            self.weight = Parameter(shape, self.dtype, gamma_initializer)
        if self.center:
            self.bias = Parameter(shape, self.dtype, beta_initializer)

    def _given(self) -> tuple[Array | None, Array | None]:
        """The values of weight and bias."""
        return self.weight.data() if self.scale else None, self.bias.data() if self.center else None

    @property
    def in_channels(self) -> Any:
        """Size of the input's axis; 0 while it is not known."""
        for parameter in self._parameters.values():
            return (parameter.shape or (0,))[0] or 0
        return self._known

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The input's shape."""
        return self._learned(shape)

    def _learned(self, shape: Shape) -> Shape:
        found, known = shape[normal_axis(self.axis, len(shape))], self.in_channels
        if known and found != known:
            raise ValueError(f"expected size {known} at axis {self.axis}, found {found} in shape {tuple(shape)}")
        if not known and self._parameters:
            check.size(f"size of axis {self.axis}", found)
        for parameter in self._parameters.values():
            if not parameter.is_known:
                parameter.shape = (found,)
        return tuple(shape)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The float dtype that input and parameters share."""
        return float_dtype(*found, *(parameter.dtype for parameter in self._parameters.values()))


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
        return self.finished(x, NOTHING)

    def finished(self, x: Array, epilogue: Epilogue) -> Array:
        """Run the layer and an activation; a new array."""
        return batch_norm(x, *self._statistics(), axis=self.axis, epsilon=self.epsilon, epilogue=epilogue)

    def joined(self, epilogue: Epilogue, dtype: np.dtype[Any]) -> Epilogue:
        """What comes of an epilogue with this layer behind it."""
        return epilogue.scaled(*folded(*self._statistics(), epsilon=self.epsilon, dtype=dtype))

    def _statistics(self) -> tuple[Array | None, Array | None, Array, Array]:
        return (*self._given(), self.running_mean.data(), self.running_var.data())


class _OverAxes(_Normalisation):
    """Normalisation over one axis, or several together."""

    def _set_axes(
        self, axis: int | Sequence[int], epsilon: float, center: bool, scale: bool, in_channels: Any, dtype: Any
    ) -> Shape:
        """As `_set_up`, and the shape of the parameters."""
        if not isinstance(axis, Sequence | np.ndarray):
            return self._set_up(axis, epsilon, center, scale, in_channels, dtype)
        self._set_up(0, epsilon, center, scale, 0, dtype)
        self.axis = tuple(check.size("axis", each, least=-64) for each in axis)
        if not 0 < len(self.axis) <= 64 or len(set(self.axis)) < len(self.axis):
            raise ValueError(f"axis: expected at least one axis, each once, found {axis!r}")
        sizes = [0] * len(self.axis) if isinstance(in_channels, int) and in_channels == 0 else in_channels
        if not isinstance(sizes, Sequence | np.ndarray) or len(sizes) != len(self.axis):
            raise ValueError(f"in_channels: expected 0 or the sizes of {len(self.axis)} axes, found {in_channels!r}")
        shape = tuple(check.size("in_channels", size, least=0) for size in sizes)
        self._known = shape
        return shape

    @property
    def in_channels(self) -> Any:
        """Size of the axis, or of each of the axes; 0 where it is not known."""
        if not isinstance(self.axis, tuple):
            return super().in_channels
        known = next((parameter.shape for parameter in self.parameters.values()), self._known)
        return tuple(size or 0 for size in known or ())

    def _learned(self, shape: Shape) -> Shape:
        if not isinstance(self.axis, tuple):
            return super()._learned(shape)
        axes = [normal_axis(axis, len(shape)) for axis in self.axis]
        if len(set(axes)) < len(axes):
            raise ValueError(f"expected each axis once, found {self.axis} in shape {tuple(shape)}")
        found = tuple(shape[axis] for axis in axes)
        if any(known not in (0, size) for known, size in zip(self.in_channels, found, strict=True)):
            raise ValueError(
                f"expected sizes {self.in_channels} at axes {self.axis}, found {found} in shape {tuple(shape)}"
            )
        for parameter in self.parameters.values():
            if not parameter.is_known:
                parameter.shape = tuple(check.size("size of a normalised axis", size) for size in found)
        return tuple(shape)


class LayerNorm(_OverAxes):
    """``(x - mean) / sqrt(var + epsilon) * weight + bias`` with mean and variance along one axis or several.

    Arguments and defaults are those of ``mxnet.gluon.nn.LayerNorm``; the meaning is ``torch.nn.LayerNorm``'s,
    whose `normalized_shape` of n axes is ``axis=(-n, ..., -1)`` (Ba et al. 2016, arXiv:1607.06450).

    Args:
        axis: The axis that is normalised, or several that are normalised together.
        epsilon: Added to the variance.
        center: Whether there is a bias (Gluon's beta).
        scale: Whether there is a weight (Gluon's gamma).
        beta_initializer: Initializer of the bias.
        gamma_initializer: Initializer of the weight.
        in_channels: Size of the axis, or of each; 0: learned at the first call or from a file.
        dtype: Float dtype of parameters not yet loaded.

    Parameters: weight and bias, each ``(in_channels,)``, or of the sizes of several axes in the order of `axis`.
    Input of any shape; the output has the same shape. Narrow floats are computed in float32.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = ("axis", "epsilon", "center", "scale", "in_channels", "dtype")

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        in_channels: int | Sequence[int] = 0,
        *,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        shape = self._set_axes(axis, epsilon, center, scale, in_channels, dtype)
        self._affine(shape, gamma_initializer, beta_initializer)

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return layer_norm(x, *self._given(), axis=self.axis, epsilon=self.epsilon)


class RMSNorm(_OverAxes):
    """``x / sqrt(mean(x^2) + epsilon) * weight``, the mean along one axis or several.

    The meaning is ``torch.nn.RMSNorm``'s, whose `normalized_shape` of n axes is ``axis=(-n, ..., -1)`` (Zhang and
    Sennrich 2019, arXiv:1910.07467), and which has another default epsilon; this one is Llama's.

    Args:
        axis: The axis that is normalised, or several that are normalised together.
        epsilon: Added to the mean square.
        scale: Whether there is a weight.
        in_channels: Size of the axis, or of each; 0: learned at the first call or from a file.
        gamma_initializer: Initializer of the weight.
        dtype: Float dtype of a weight not yet loaded.

    Parameters: weight ``(in_channels,)``, or of the sizes of several axes in the order of `axis`. Input of any
    shape; the output has the same shape. Narrow floats are computed in float32.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = ("axis", "epsilon", "scale", "in_channels", "dtype")

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-6,
        scale: bool = True,
        in_channels: int | Sequence[int] = 0,
        *,
        gamma_initializer: Any = "ones",
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        shape = self._set_axes(axis, epsilon, False, scale, in_channels, dtype)
        self._affine(shape, gamma_initializer, None)

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        weight = self.weight.data() if self.scale else None
        return rms_norm(x, weight, axis=self.axis, epsilon=self.epsilon)


class _GroupNormalisation(_Normalisation):
    """Normalisation of each item and group of channels."""

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The input's shape."""
        axis = normal_axis(self.axis, len(shape))
        if axis == 0:
            raise ValueError(f"expected the channels behind the batch, found axis {self.axis} of {len(shape)}")
        if shape[axis] % self._groups(shape[axis]):
            raise ValueError(f"expected channels that {self._groups(0)} groups divide, found {shape[axis]}")
        return self._learned(shape)

    def _groups(self, channels: int) -> int:
        """How many groups there are of so many channels."""
        raise NotImplementedError

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        groups = self._groups(x.shape[self.axis])
        return group_norm(x, *self._given(), groups=groups, axis=self.axis, epsilon=self.epsilon)


class GroupNorm(_GroupNormalisation):
    """``(x - mean) / sqrt(var + epsilon) * weight + bias``, mean and variance of a group of channels.

    Arguments and defaults are those of ``mxnet.gluon.nn.GroupNorm``; the meaning is ``torch.nn.GroupNorm``'s
    (Wu and He 2018, arXiv:1803.08494): weight and bias are for each channel.

    Args:
        num_groups: Into how many groups of neighbours the channels are divided.
        epsilon: Added to the variance.
        center: Whether there is a bias (Gluon's beta).
        scale: Whether there is a weight (Gluon's gamma).
        beta_initializer: Initializer of the bias.
        gamma_initializer: Initializer of the weight.
        in_channels: Number of channels; 0: learned at the first call or from a file.
        axis: The axis of the channels.
        dtype: Float dtype of parameters not yet loaded.

    Parameters: weight and bias, each ``(in_channels,)``. Input ``(batch, ...)`` with channels at `axis`; the
    output has the same shape. Narrow floats are computed in float32.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = ("num_groups", "epsilon", "center", "scale", "in_channels", "axis", "dtype")

    def __init__(
        self,
        num_groups: int = 1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        in_channels: int = 0,
        *,
        axis: int = 1,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        self.num_groups = check.size("num_groups", num_groups)
        shape = self._set_up(axis, epsilon, center, scale, in_channels, dtype)
        self._affine(shape, gamma_initializer, beta_initializer)

    def _groups(self, channels: int) -> int:
        return self.num_groups


class InstanceNorm(_GroupNormalisation):
    """``(x - mean) / sqrt(var + epsilon) * weight + bias``, mean and variance of one channel of one item.

    Arguments and defaults are those of ``mxnet.gluon.nn.InstanceNorm``; the meaning is ``torch.nn.InstanceNorm2d``'s
    without running statistics, for any number of spatial axes (Ulyanov et al. 2016, arXiv:1607.08022). With
    running statistics it is a :class:`BatchNorm` in evaluation.

    Args:
        axis: The axis of the channels.
        epsilon: Added to the variance.
        center: Whether there is a bias (Gluon's beta).
        scale: Whether there is a weight (Gluon's gamma).
        beta_initializer: Initializer of the bias.
        gamma_initializer: Initializer of the weight.
        in_channels: Number of channels; 0: learned at the first call or from a file.
        dtype: Float dtype of parameters not yet loaded.

    Parameters: weight and bias, each ``(in_channels,)``. Input ``(batch, ...)`` with channels at `axis`; the
    output has the same shape. Narrow floats are computed in float32.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = ("axis", "epsilon", "center", "scale", "in_channels", "dtype")

    def __init__(
        self,
        axis: int = 1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        in_channels: int = 0,
        *,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        shape = self._set_up(axis, epsilon, center, scale, in_channels, dtype)
        self._affine(shape, gamma_initializer, beta_initializer)

    def _groups(self, channels: int) -> int:
        return max(channels, 1)
