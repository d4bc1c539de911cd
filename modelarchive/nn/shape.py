"""Layers that change only the shape: Flatten."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.block import Layer
from modelarchive.nn.parameter import Array

Shape = tuple[int, ...]


class Flatten(Layer):
    """``(batch, ...)`` to ``(batch, product of the rest)``, as ``mxnet.gluon.nn.Flatten``.

    Any dtype, kept; the output is a view where NumPy can make one.
    """

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """``(batch, product of the rest)``."""
        if not shape:
            raise ValueError("expected an input of at least 1 dimension, found a scalar")
        return (shape[0], math.prod(shape[1:]))

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the input."""
        return found[0]

    def forward(self, x: Array) -> Array:
        """Reshape."""
        return x.reshape(len(x), math.prod(x.shape[1:]))
