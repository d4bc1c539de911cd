"""Layers that change only the shape: Flatten, Reshape, Permute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Array
from modelarchive.ops import shapes

Shape = tuple[int, ...]


class _Shaping(Layer):
    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input."""
        return found[0]


class Flatten(_Shaping):
    """``(batch, ...)`` to ``(batch, product of the rest)``, as ``mxnet.gluon.nn.Flatten``.

    Any dtype, kept; the output is a view where NumPy can make one.
    """

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """``(batch, product of the rest)``."""
        if not shape:
            raise ValueError("expected an input of at least 1 dimension, found a scalar")
        return (shape[0], math.prod(shape[1:]))

    def forward(self, x: Array) -> Array:
        """Reshape."""
        return x.reshape(len(x), math.prod(x.shape[1:]))


class Reshape(_Shaping):
    """The elements in another shape, in row-major order.

    Args:
        shape: The new sizes, the batch included: None at place i keeps axis i of the input, one -1 is
            inferred from the rest. ``Reshape((None, 8, -1))`` splits the second axis.

    Any dtype, kept; the output is a view where NumPy can make one.

    Raises:
        ValueError: There is a size below -1, or more than one -1.
    """

    fields = ("shape",)

    def __init__(self, shape: Sequence[int | None]) -> None:
        super().__init__()
        if not isinstance(shape, Sequence) or isinstance(shape, str):
            raise ValueError(f"shape: expected a list of sizes, found {shape!r}")
        self.shape = tuple(None if size is None else check.size("shape", size, least=-1) for size in shape)
        if self.shape.count(-1) > 1:
            raise ValueError(f"shape: expected at most one -1, found {list(shape)}")

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The fields' shape, resolved."""
        return shapes.reshape(shape, shape=self.shape)

    def forward(self, x: Array) -> Array:
        """Reshape."""
        return x.reshape(shapes.reshape(x.shape, shape=self.shape))


class Permute(_Shaping):
    """The axes in another order.

    Args:
        axes: For each axis of the output the axis of the input, all of them, the batch (0) included.
            ``Permute((0, 2, 3, 1))`` moves the channels of an image behind height and width.

    Any dtype, kept; the output is a view.

    Raises:
        ValueError: The axes are no permutation of 0, 1, 2, ...
    """

    fields = ("axes",)

    def __init__(self, axes: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(axes, Sequence) or isinstance(axes, str):
            raise ValueError(f"axes: expected a list of axes, found {axes!r}")
        self.axes = tuple(check.size("axes", axis, least=0) for axis in axes)
        if sorted(self.axes) != list(range(len(self.axes))):
            raise ValueError(f"axes: expected each of 0 to {len(self.axes) - 1} once, found {list(axes)}")

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The sizes in the new order."""
        return shapes.transpose(shape, axes=self.axes)

    def forward(self, x: Array) -> Array:
        """Transpose."""
        return x.transpose(self.axes)
