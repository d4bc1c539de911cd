"""Positions: PositionalEmbedding, which tells attention the order of a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Array, Parameter
from modelarchive.ops.attention import sinusoids
from modelarchive.ops.precision import float_dtype, rounded, widened

Shape = tuple[int, ...]


class PositionalEmbedding(Layer):
    """Adds to each element of a sequence a vector that tells its position.

    Args:
        style: "learned": a row of the weight for each position, as in BERT, GPT-2 and ViT; "sinusoidal": sines
            (even elements) and cosines (odd) of ``position * base ** (-2 i / units)``, without parameters
            (Vaswani et al. 2017, arXiv:1706.03762, section 3.5).
        max_length: Number of rows of the weight; 0: learned from a file. Not used for "sinusoidal".
        units: Size of the elements; 0: learned at the first call or from a file.
        offset: Position of the first element: 2 in RoBERTa's and OPT's tables.
        base: Of the waves of "sinusoidal".
        dtype: Float dtype of a weight not yet loaded.
        weight_initializer: Initializer of the weight; None: what ``initialize`` is given.

    Parameters: weight ``(max_length, units)`` if learned. Input ``(..., length, units)``; the output has the
    same shape. Narrow floats are computed in float32.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = ("style", "max_length", "units", "offset", "base", "dtype")

    def __init__(
        self,
        style: str,
        max_length: int = 0,
        units: int = 0,
        *,
        offset: int = 0,
        base: float = 10000.0,
        dtype: Any = "float32",
        weight_initializer: Any = None,
    ) -> None:
        super().__init__()
        self.style = check.choice("style", style, ("learned", "sinusoidal"))
        self.offset = check.size("offset", offset, least=0)
        self.base = check.number("base", base, low=1.0, high=1e30)
        self.dtype = check.float_name(dtype)
        known = (check.size("max_length", max_length, least=0), check.size("units", units, least=0))
        self._known = known
        if style == "learned":
            self.weight = Parameter(known, self.dtype, weight_initializer)

    @property
    def max_length(self) -> int:
        """Number of positions that have a row; 0 where it is not known, or not limited."""
        return self._size(0)

    @property
    def units(self) -> int:
        """Size of the elements; 0 while it is not known."""
        return self._size(1)

    def _size(self, axis: int) -> int:
        if self.style == "learned":
            return (self.weight.shape or (0, 0))[axis] or 0
        return self._known[axis]

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """The input's shape."""
        if len(shape) < 2:
            raise ValueError(f"expected an input of shape (..., length, units), found {tuple(shape)}")
        if self.units and shape[-1] != self.units:
            raise ValueError(f"expected elements of size {self.units}, found {shape[-1]} in shape {tuple(shape)}")
        if not self.units and self.style == "learned":
            self.weight.shape = (self.max_length, check.size("size of the elements", shape[-1]))
        return tuple(shape)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The float dtype that input and weight share."""
        return float_dtype(*found, *(parameter.dtype for parameter in self.parameters.values()))

    def forward(self, x: Array) -> Array:
        """Add the positions; a new array."""
        first, last = self.offset, self.offset + x.shape[-2]
        dtype = self.result_dtype(x.dtype)
        if self.style == "sinusoidal":
            table = sinusoids(last, x.shape[-1], self.base)[first:]
        else:
            table = self.weight.data()[first:last]
            # Here and not where shapes are inferred: there the length is an example's, which may be too large.
            if len(table) < x.shape[-2]:
                raise ValueError(
                    f"PositionalEmbedding: expected at most {self.max_length - first} elements, found {x.shape[-2]}"
                )
        return rounded(np.add(*widened(dtype, x, table)), dtype)
