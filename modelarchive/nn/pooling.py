"""Pooling over windows and over whole images, in one, two and three spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Array
from modelarchive.ops.pooling import (
    avg_pool,
    global_avg_pool,
    global_max_pool,
    global_pooling_shape,
    max_pool,
    pooling_shape,
)
from modelarchive.ops.precision import float_dtype
from modelarchive.ops.windows import checked_layout, each, pairs

Shape = tuple[int, ...]
Sizes = int | Sequence[int]
Padding = int | Sequence[int] | Sequence[Sequence[int]]


class _Pooling(Layer):
    rank: ClassVar[int]
    fields: ClassVar[tuple[str, ...]] = ("pool_size", "strides", "padding", "layout", "ceil_mode")

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: Padding = 0,
        layout: str | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.pool_size = each("pool_size", pool_size, self.rank, least=1)
        self.strides = self.pool_size if strides is None else each("strides", strides, self.rank, least=1)
        self.padding = pairs(padding, self.rank)
        # A window that lies in the padding alone would have no maximum and no mean.
        if any(max(pair) >= window for pair, window in zip(self.padding, self.pool_size, strict=True)):
            raise ValueError(
                f"padding: expected less than pool_size {self.pool_size} on every side, found {self.padding}"
            )
        self.layout = "NC" + "DHW"[3 - self.rank :] if layout is None else layout
        self._channels_last = checked_layout(self.layout, self.rank)
        self.ceil_mode = check.flag("ceil_mode", ceil_mode)

    def _geometry(self) -> dict[str, Any]:
        return {
            "kernel": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "ceil_mode": self.ceil_mode,
            "channels_last": self._channels_last,
        }

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The output's shape in the same layout."""
        return pooling_shape(shape, **self._geometry())


class _MaxPool(_Pooling):
    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input."""
        return found[0]

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return max_pool(x, **self._geometry())


class MaxPool1D(_MaxPool):
    """Largest element of each window; as :class:`MaxPool2D` on ``(batch, channels, width)``."""

    rank = 1


class MaxPool2D(_MaxPool):
    """Largest element of each window.

    Arguments and defaults are those of ``mxnet.gluon.nn.MaxPool2D``; the meaning, `ceil_mode` included, is
    ``torch.nn.MaxPool2d``'s.

    Args:
        pool_size: Window size, one int or one for each spatial axis.
        strides: Steps between windows, likewise; None: the window size.
        padding: Never the largest: one int, one for each axis, or a pair (before, after) for each, smaller
            than the window.
        layout: "NCHW", the default, or "NHWC".
        ceil_mode: Whether a last, partial window counts if it begins in the input or the padding before it.

    Input ``(batch, channels, height, width)`` or ``(batch, height, width, channels)``, any real dtype; the
    output has the same layout and dtype.

    Raises:
        ValueError: An argument is out of range.
    """

    rank = 2


class MaxPool3D(_MaxPool):
    """Largest element of each window of ``(batch, channels, depth, height, width)``; see 2D."""

    rank = 3


class _AvgPool(_Pooling):
    fields = (*_Pooling.fields, "count_include_pad")

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: Padding = 0,
        layout: str | None = None,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(pool_size, strides, padding, layout, ceil_mode)
        self.count_include_pad = check.flag("count_include_pad", count_include_pad)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input; float32 for integers."""
        return float_dtype(*found)

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return avg_pool(x, count_include_pad=self.count_include_pad, **self._geometry())


class AvgPool1D(_AvgPool):
    """Mean of each window; as :class:`AvgPool2D` on ``(batch, channels, width)``."""

    rank = 1


class AvgPool2D(_AvgPool):
    """Mean of each window.

    Arguments and defaults are those of ``mxnet.gluon.nn.AvgPool2D``; the meaning of `ceil_mode` and
    `count_include_pad` is ``torch.nn.AvgPool2d``'s.

    Args:
        pool_size: Window size, one int or one for each spatial axis.
        strides: Steps between windows, likewise; None: the window size.
        padding: Zeros around the input: one int, one for each axis, or a pair (before, after) for each,
            smaller than the window.
        layout: "NCHW", the default, or "NHWC".
        ceil_mode: Whether a last, partial window counts; what lies beyond the padding is in no mean.
        count_include_pad: Whether the padding's zeros count in the mean.

    Input ``(batch, channels, height, width)`` or ``(batch, height, width, channels)``; the output has the
    same layout and float dtype (float16 and bfloat16 are summed in float32, integers give float32).

    Raises:
        ValueError: An argument is out of range.
    """

    rank = 2


class AvgPool3D(_AvgPool):
    """Mean of each window of ``(batch, channels, depth, height, width)``; see 2D."""

    rank = 3


class _GlobalPooling(Layer):
    rank: ClassVar[int]
    fields = ("layout",)

    def __init__(self, layout: str | None = None) -> None:
        super().__init__()
        self.layout = "NC" + "DHW"[3 - self.rank :] if layout is None else layout
        self._channels_last = checked_layout(self.layout, self.rank)

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The input's shape with every spatial axis 1."""
        return global_pooling_shape(shape, rank=self.rank, channels_last=self._channels_last)


class _GlobalMaxPool(_GlobalPooling):
    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input."""
        return found[0]

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return global_max_pool(x, channels_last=self._channels_last)


class GlobalMaxPool1D(_GlobalMaxPool):
    """Largest element of each channel: ``(batch, channels, width)`` to ``(batch, channels, 1)``; see 2D."""

    rank = 1


class GlobalMaxPool2D(_GlobalMaxPool):
    """Largest element of each channel: ``(batch, channels, height, width)`` to ``(batch, channels, 1, 1)``.

    As ``mxnet.gluon.nn.GlobalMaxPool2D`` and ``torch.nn.AdaptiveMaxPool2d(1)``; any real dtype, kept.

    Args:
        layout: "NCHW", the default, or "NHWC".

    Raises:
        ValueError: The layout is neither.
    """

    rank = 2


class GlobalMaxPool3D(_GlobalMaxPool):
    """Largest element of each channel of ``(batch, channels, depth, height, width)``; see 2D."""

    rank = 3


class _GlobalAvgPool(_GlobalPooling):
    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input; float32 for integers."""
        return float_dtype(*found)

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return global_avg_pool(x, channels_last=self._channels_last)


class GlobalAvgPool1D(_GlobalAvgPool):
    """Mean of each channel: ``(batch, channels, width)`` to ``(batch, channels, 1)``; see 2D."""

    rank = 1


class GlobalAvgPool2D(_GlobalAvgPool):
    """Mean of each channel: ``(batch, channels, height, width)`` to ``(batch, channels, 1, 1)``.

    As ``mxnet.gluon.nn.GlobalAvgPool2D`` and ``torch.nn.AdaptiveAvgPool2d(1)``; float16 and bfloat16 are
    summed in float32, integers give float32.

    Args:
        layout: "NCHW", the default, or "NHWC".

    Raises:
        ValueError: The layout is neither.
    """

    rank = 2


class GlobalAvgPool3D(_GlobalAvgPool):
    """Mean of each channel of ``(batch, channels, depth, height, width)``; see 2D."""

    rank = 3
