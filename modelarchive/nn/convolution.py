"""Convolutions over one, two and three spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Array, Parameter
from modelarchive.ops.activation import checked_activation
from modelarchive.ops.convolution import convolution_shape, convolve
from modelarchive.ops.epilogue import Epilogue
from modelarchive.ops.precision import float_dtype
from modelarchive.ops.windows import checked_layout, each, pairs, split

Shape = tuple[int, ...]
Sizes = int | Sequence[int]
Padding = int | Sequence[int] | Sequence[Sequence[int]]


class _ConvolutionLayer(Layer):
    """What convolutions and transposed ones have in common: their fields, and channels learned from the input."""

    rank: ClassVar[int]

    def __init__(
        self,
        *,
        channels: int,
        kernel_size: Sizes,
        strides: Sizes,
        padding: Padding,
        dilation: Sizes,
        groups: int,
        layout: str | None,
        activation: str | None,
        use_bias: bool,
        weight_initializer: Any,
        bias_initializer: Any,
        in_channels: int,
        dtype: Any,
    ) -> None:
        super().__init__()
        self.channels = check.size("channels", channels)
        self.kernel_size = each("kernel_size", kernel_size, self.rank, least=1)
        self.strides = each("strides", strides, self.rank, least=1)
        self.padding = pairs(padding, self.rank)
        self.dilation = each("dilation", dilation, self.rank, least=1)
        self.groups = check.size("groups", groups)
        self.layout = "NC" + "DHW"[3 - self.rank :] if layout is None else layout
        self._channels_last = checked_layout(self.layout, self.rank)
        self.activation = checked_activation(activation)
        self.use_bias = check.flag("use_bias", use_bias)
        self.dtype = check.float_name(dtype)
        known = check.size("in_channels", in_channels, least=0)
        if self.channels % self.groups or known % self.groups:
            raise ValueError(
                f"expected channels and in_channels that {self.groups} groups divide, found {self.channels} and {known}"
            )
        self.weight = Parameter(self._weight_shape(known), self.dtype, weight_initializer)
        if use_bias:
            self.bias = Parameter((self.channels,), self.dtype, bias_initializer)

    @property
    def in_channels(self) -> int:
        """Channels of the input; 0 while they are not known."""
        raise NotImplementedError

    def _weight_shape(self, in_channels: int) -> Shape:
        """The weight's shape for so many input channels."""
        raise NotImplementedError

    def _learn(self, shape: Shape) -> None:
        """Learn the input's channels, if they are not known, from its shape."""
        if not self.in_channels:
            found = split(shape, self.rank, channels_last=self._channels_last)[1]
            if not found or found % self.groups:
                raise ValueError(f"expected input channels that {self.groups} groups divide, found {found}")
            self.weight.shape = self._weight_shape(found)

    def channel_axis(self, rank: int) -> int:
        """The axis of the channels of an output of so many axes."""
        return rank - 1 if self._channels_last else 1

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return self.finished(x, Epilogue(activation=self.activation))

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The float dtype that input and parameters share."""
        return float_dtype(*found, *(parameter.dtype for parameter in self._parameters.values()))


class _Convolution(_ConvolutionLayer):
    fields = (
        "channels",
        "kernel_size",
        "strides",
        "padding",
        "dilation",
        "groups",
        "layout",
        "activation",
        "use_bias",
        "in_channels",
        "dtype",
    )

    def __init__(
        self,
        channels: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        layout: str | None = None,
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(
            channels=channels,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            dilation=dilation,
            groups=groups,
            layout=layout,
            activation=activation,
            use_bias=use_bias,
            weight_initializer=weight_initializer,
            bias_initializer=bias_initializer,
            in_channels=in_channels,
            dtype=dtype,
        )

    def _weight_shape(self, in_channels: int) -> Shape:
        return (self.channels, in_channels // self.groups, *self.kernel_size)

    @property
    def in_channels(self) -> int:
        """Channels of the input; 0 while they are not known."""
        return ((self.weight.shape or (0, 0))[1] or 0) * self.groups

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The output's shape in the same layout."""
        result = convolution_shape(
            shape,
            channels=self.channels,
            in_channels=self.in_channels,
            kernel=self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            channels_last=self._channels_last,
        )
        self._learn(shape)
        return result

    def finished(self, x: Array, epilogue: Epilogue) -> Array:
        """Run the layer and what follows; a new array."""
        return convolve(
            x,
            self.weight.data(),
            self.bias.data() if self.use_bias else None,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            channels_last=self._channels_last,
            epilogue=epilogue,
        )


class Conv1D(_Convolution):
    """Convolution of sequences; arguments as for :class:`Conv2D` with one spatial axis.

    Input ``(batch, in_channels, width)`` in the layout "NCW", the default, or ``(batch, width, in_channels)``
    in "NWC". Weight ``(channels, in_channels / groups, kernel)``, as ``torch.nn.Conv1d``.
    """

    rank = 1


class Conv2D(_Convolution):
    """Convolution (cross-correlation) of images.

    Arguments and defaults are those of ``mxnet.gluon.nn.Conv2D``; the meaning is ``torch.nn.Conv2d``'s.

    Args:
        channels: Channels of the output.
        kernel_size: Window size, one int or one for each spatial axis.
        strides: Steps between windows, likewise.
        padding: Zeros around the input: one int, one for each axis, or a pair (before, after) for each.
        dilation: Distance between the taps of a window, likewise.
        groups: Into how many independent groups the channels fall.
        layout: "NCHW", the default, or "NHWC".
        activation: Name of an activation, or None.
        use_bias: Whether a bias is added.
        weight_initializer: Initializer of the weight; None: what ``initialize`` is given.
        bias_initializer: Initializer of the bias.
        in_channels: Channels of the input; 0: learned at the first call or from a file.
        dtype: Float dtype of parameters not yet loaded.

    Parameters: weight ``(channels, in_channels / groups, height, width)`` in every layout, bias
    ``(channels,)``. Input ``(batch, in_channels, height, width)``, or ``(batch, height, width, in_channels)``
    in "NHWC"; the output has the same layout. Floats narrower than float32 are computed in float32.

    Raises:
        ValueError: An argument is out of range.
    """

    rank = 2


class Conv3D(_Convolution):
    """Convolution of volumes; arguments as for :class:`Conv2D` with three spatial axes.

    Input ``(batch, in_channels, depth, height, width)`` in the layout "NCDHW", the default, or channels last
    in "NDHWC". Weight ``(channels, in_channels / groups, depth, height, width)``, as ``torch.nn.Conv3d``.
    """

    rank = 3
