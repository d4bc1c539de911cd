"""Transposed convolutions over one, two and three spatial axes."""

from __future__ import annotations

from typing import Any

from modelarchive.nn import check
from modelarchive.nn.convolution import Padding, Shape, Sizes, _ConvolutionLayer
from modelarchive.nn.parameter import Array
from modelarchive.ops.epilogue import Epilogue
from modelarchive.ops.transposed import convolve_transposed, transposed_shape
from modelarchive.ops.windows import each


class _Transposed(_ConvolutionLayer):
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
        self.output_padding = each("output_padding", output_padding, self.rank, least=0)
        for more, step, gap in zip(self.output_padding, self.strides, self.dilation, strict=True):
            if more >= max(step, gap):
                raise ValueError(f"output_padding: expected less than strides or dilation, found {self.output_padding}")

    def _weight_shape(self, in_channels: int) -> Shape:
        return (in_channels, self.channels // self.groups, *self.kernel_size)

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
        self._learn(shape)
        return result

    def finished(self, x: Array, epilogue: Epilogue) -> Array:
        """Run the layer and what follows; a new array."""
        return convolve_transposed(
            x,
            self.weight.data(),
            self.bias.data() if self.use_bias else None,
            groups=self.groups,
            epilogue=epilogue,
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
