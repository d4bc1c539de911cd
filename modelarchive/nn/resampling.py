"""Layers that make images larger or smaller: Upsample, Pad, adaptive pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from modelarchive import ops
from modelarchive.nn import check
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Array
from modelarchive.ops.precision import float_dtype
from modelarchive.ops.resampling import adaptive_avg_pool, upsample
from modelarchive.ops.selection import PAD_MODES, pad_value
from modelarchive.ops.windows import checked_layout, each, merged, split

Shape = tuple[int, ...]
Sizes = int | Sequence[int]
_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "trilinear": "linear"}


class Upsample(Layer):
    """Images (or sequences, or volumes) in another size.

    The meaning is ``torch.nn.Upsample``'s, that of "nearest" computed in integers.

    Args:
        scale: By how much each spatial axis grows: one int or one for each; None with `size`.
        mode: "nearest", or "linear": between the two neighbours along each axis ("bilinear" and "trilinear"
            are understood).
        align_corners: With "linear", whether the corner elements of input and output are at the same place;
            otherwise the outer edges of the corner elements are.
        layout: "NCHW", the default, "NHWC", or those of one or three spatial axes.
        size: The size of each spatial axis of the output, in place of `scale`.

    Input ``(batch, channels, height, width)``, or in the layout; "nearest" keeps the dtype, "linear" a float
    dtype, and integers give float32.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = ("scale", "mode", "align_corners", "layout", "size")

    def __init__(
        self,
        scale: Sizes | None = None,
        mode: str = "nearest",
        align_corners: bool = False,
        layout: str = "NCHW",
        size: Sizes | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout
        self._rank = len(layout) - 2 if isinstance(layout, str) and 3 <= len(layout) <= 5 else 2
        self._channels_last = checked_layout(layout, self._rank)
        if (scale is None) == (size is None):
            raise ValueError(f"expected either scale or size, found {scale!r} and {size!r}")
        self.scale = None if scale is None else each("scale", scale, self._rank, least=1)
        self.size = None if size is None else each("size", size, self._rank, least=1)
        if mode not in _MODES:
            raise ValueError(f"mode: expected 'nearest' or 'linear', found {mode!r}")
        self.mode = _MODES[mode]
        self.align_corners = check.flag("align_corners", align_corners)
        if self.align_corners and self.mode == "nearest":
            raise ValueError("align_corners: expected False in mode 'nearest', found True")

    def _sizes(self, spatial: Sequence[int]) -> Shape:
        return self.size or tuple(size * times for size, times in zip(spatial, self.scale or (), strict=True))

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The output's shape in the same layout."""
        batch, channels, spatial = split(shape, self._rank, channels_last=self._channels_last)
        if 0 in spatial:
            raise ValueError(f"expected at least one element along each spatial axis, found shape {tuple(shape)}")
        return merged(batch, channels, self._sizes(spatial), channels_last=self._channels_last)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input; float32 for integers between which is interpolated."""
        return found[0] if self.mode == "nearest" else float_dtype(found[0])

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        spatial = split(x.shape, self._rank, channels_last=self._channels_last)[2]
        return upsample(
            x,
            sizes=self._sizes(spatial),
            linear=self.mode == "linear",
            align_corners=self.align_corners,
            channels_last=self._channels_last,
        )


class Pad(Layer):
    """Elements before and after, along the last axes.

    Args:
        padding: A pair (before, after) for each of the last axes of the input; axes in front of them stay.
            ``((1, 1), (2, 2))`` pads height and width of ``(batch, channels, height, width)``.
        mode: "constant", "reflect" (mirrored, the border itself not repeated), "edge" (the border repeated)
            or "wrap" (from the other end), as ``numpy.pad`` names them.
        value: The constant, a number of the input's dtype.

    Input of any shape and dtype; the output is a new array of the same dtype.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = ("padding", "mode", "value")

    def __init__(self, padding: Sequence[Sequence[int]], mode: str = "constant", value: float | str = 0.0) -> None:
        super().__init__()
        if not isinstance(padding, Sequence) or isinstance(padding, str):
            raise ValueError(f"padding: expected a pair for each of the last axes, found {padding!r}")
        if not all(isinstance(pair, Sequence) for pair in padding):
            raise ValueError(f"padding: expected pairs (before, after), found {padding!r}")
        self.padding = tuple(each("padding", pair, 2, least=0) for pair in padding)
        if mode not in PAD_MODES:
            raise ValueError(f"mode: expected one of {', '.join(PAD_MODES)}, found {mode!r}")
        self.mode = mode
        number = float(pad_value(value, np.dtype(np.float64)))
        # JSON has no infinities and no NaN.
        words = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
        self.value: float | str = words.get(str(number), number)

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The last axes grow."""
        found: Shape = ops.OPS["pad"].infer(shape, padding=self.padding, mode=self.mode)
        return found

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input."""
        pad_value(self.value, found[0])
        return found[0]

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return ops.pad(x, self.padding, self.mode, self.value)


class _AdaptiveAvgPool(Layer):
    rank: ClassVar[int]
    fields = ("output_size", "layout")

    def __init__(self, output_size: Sizes, layout: str | None = None) -> None:
        super().__init__()
        self.output_size = each("output_size", output_size, self.rank, least=1)
        self.layout = "NC" + "DHW"[3 - self.rank :] if layout is None else layout
        self._channels_last = checked_layout(self.layout, self.rank)

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The output's shape in the same layout."""
        batch, channels, spatial = split(shape, self.rank, channels_last=self._channels_last)
        if 0 in spatial:
            raise ValueError(f"expected at least one element to pool, found shape {tuple(shape)}")
        return merged(batch, channels, self.output_size, channels_last=self._channels_last)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input; float32 for integers."""
        return float_dtype(found[0])

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return adaptive_avg_pool(x, sizes=self.output_size, channels_last=self._channels_last)


class AdaptiveAvgPool1D(_AdaptiveAvgPool):
    """Means of windows that share the input out evenly; as :class:`AdaptiveAvgPool2D` on one spatial axis."""

    rank = 1


class AdaptiveAvgPool2D(_AdaptiveAvgPool):
    """Means of windows that share the input out evenly, so that the output has a given size.

    The meaning is ``torch.nn.AdaptiveAvgPool2d``'s.

    Args:
        output_size: One int or one for each spatial axis.
        layout: "NCHW", the default, or "NHWC".

    Input ``(batch, channels, height, width)`` or ``(batch, height, width, channels)``, integers give float32;
    the output has the same layout. Window i reaches from element ``floor(i in / out)`` to before
    ``ceil((i + 1) in / out)``.

    Raises:
        ValueError: An argument is out of range.
    """

    rank = 2
