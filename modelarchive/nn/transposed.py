"""Transposed convolutions over one, two and three spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.block import Layer
from modelarchive.nn.parameter import Array, Parameter
from modelarchive.ops.activation import checked_activation
from modelarchive.ops.precision import float_dtype
from modelarchive.ops.transposed import convolve_transposed, transposed_shape
from modelarchive.ops.windows import checked_layout, each, pairs, split

Shape = tuple[int, ...]
Sizes = int | Sequence[int]
Padding = int | Sequence[int] | Sequence[Sequence[int]]


class _Transposed(Layer):
    rank: ClassVar[int]
    fields = (
        "channels",
        "kernel_size",
        "strides",
        "padding",
        "output_padding",
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
        output_padding: Sizes = 0,
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
        super().__init__()
        self.channels = check.size("channels", channels)
        self.kernel_size = each("kernel_size", kernel_size, self.rank, least=1)
        self.strides = each("strides", strides, self.rank, least=1)
        self.padding = pairs(padding, self.rank)
        self.output_padding = each("output_padding", output_padding, self.rank, least=0)
        self.dilation = each("dilation", dilation, self.rank, least=1)
        for more, step, gap in zip(self.output_padding, self.strides, self.dilation, strict=True):
            if more >= max(step, gap):
                raise ValueError(f"output_padding: expected less than strides or dilation, found {self.output_padding}")
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
        shape = (known, self.channels // self.groups, *self.kernel_size)
        self.weight = Parameter(shape, self.dtype, weight_initializer)
        if use_bias:
            self.bias = Parameter((self.channels,), self.dtype, bias_initializer)

    @property
    def in_channels(self) -> int:
        """Channels of the input; 0 while they are not known."""
        return (self.weight.shape or (0,))[0] or 0

    def _geometry(self) -> dict[str, Any]:
        return {
            "strides": self.strides,
            "padding": self.padding,
            "output_padding": self.output_padding,
            "dilation": self.dilation,
            "channels_last": self._channels_last,
        }

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The output's shape in the same layout."""
        result = transposed_shape(
            shape,
            channels=self.channels,
            in_channels=self.in_channels,
            kernel=self.kernel_size,
            **self._geometry(),
        )
        if not self.in_channels:
            found = split(shape, self.rank, channels_last=self._channels_last)[1]
            if not found or found % self.groups:
                raise ValueError(f"expected input channels that {self.groups} groups divide, found {found}")
            self.weight.shape = (found, self.channels // self.groups, *self.kernel_size)
        return result

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The float dtype that input and parameters share."""
        return float_dtype(*found, *(parameter.dtype for parameter in self.parameters.values()))

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return convolve_transposed(
            x,
            self.weight.data(),
            self.bias.data() if self.use_bias else None,
            groups=self.groups,
            activation=self.activation,
            **self._geometry(),
        )


class Conv1DTranspose(_Transposed):
    """Transposed convolution of sequences; arguments as for :class:`Conv2DTranspose` with one spatial axis.

    Input ``(batch, in_channels, width)`` in the layout "NCW", the default, or ``(batch, width, in_channels)``
    in "NWC". Weight ``(in_channels, channels / groups, kernel)``, as ``torch.nn.ConvTranspose1d``.
    """

    rank = 1


class Conv2DTranspose(_Transposed):
    """The transpose of a convolution of images, which makes them larger (also called deconvolution).

    Arguments and defaults are those of ``mxnet.gluon.nn.Conv2DTranspose``; the meaning is
    ``torch.nn.ConvTranspose2d``'s.

    Args:
        channels: Channels of the output.
        kernel_size: Window size, one int or one for each spatial axis.
        strides: Steps between windows in the output, likewise.
        padding: What is cut off the output: one int, one for each axis, or a pair (before, after) for each.
        output_padding: What the output has more at the end, less than strides or dilation: one int or one
            for each axis.
        dilation: Distance between the taps of a window, likewise.
        groups: Into how many independent groups the channels fall.
        layout: "NCHW", the default, or "NHWC".
        activation: Name of an activation, or None.
        use_bias: Whether a bias is added.
        weight_initializer: Initializer of the weight; None: what ``initialize`` is given.
        bias_initializer: Initializer of the bias.
        in_channels: Channels of the input; 0: learned at the first call or from a file.
        dtype: Float dtype of parameters not yet loaded.

    Parameters: weight ``(in_channels, channels / groups, height, width)`` in every layout, bias
    ``(channels,)``. Input ``(batch, in_channels, height, width)``, or ``(batch, height, width, in_channels)``
    in "NHWC"; the output has the same layout. Floats narrower than float32 are computed in float32.

    Raises:
        ValueError: An argument is out of range.
    """

    rank = 2


class Conv3DTranspose(_Transposed):
    """Transposed convolution of volumes; arguments as for :class:`Conv2DTranspose` with three spatial axes.

    Input ``(batch, in_channels, depth, height, width)`` in the layout "NCDHW", the default, or channels last
    in "NDHWC". Weight ``(in_channels, channels / groups, depth, height, width)``, as
    ``torch.nn.ConvTranspose3d``.
    """

    rank = 3
