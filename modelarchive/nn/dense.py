"""Layers around one matrix: Dense and Embedding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Array, Parameter
from modelarchive.ops.activation import checked_activation
from modelarchive.ops.epilogue import Epilogue
from modelarchive.ops.linear import linear
from modelarchive.ops.normalisation import embed
from modelarchive.ops.precision import float_dtype

Shape = tuple[int, ...]


class Dense(Layer):
    """``activation(x @ weight.T + bias)``.

    Arguments and defaults are those of ``mxnet.gluon.nn.Dense``; the meaning is ``torch.nn.Linear``'s.

    Args:
        units: Size of the output.
        activation: Name of an activation (:data:`modelarchive.ops.activation.ACTIVATIONS`), or None.
        use_bias: Whether a bias is added.
        flatten: Take ``(batch, ...)`` as ``(batch, in_units)``; otherwise the last axis is mapped.
        dtype: Float dtype of parameters not yet loaded.
        weight_initializer: Initializer of the weight; None: what ``initialize`` is given.
        bias_initializer: Initializer of the bias.
        in_units: Size of the input; 0: learned at the first call or from a file.

    Parameters: weight ``(units, in_units)``, bias ``(units,)``. Input ``(batch, ...)`` with `flatten`, else
    ``(..., in_units)``; output ``(batch, units)`` or ``(..., units)``. Floats narrower than float32 are
    computed in float32; integer inputs count as the parameters' dtype.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = ("units", "activation", "use_bias", "flatten", "in_units", "dtype")

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        flatten: bool = True,
        dtype: Any = "float32",
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_units: int = 0,
    ) -> None:
        super().__init__()
        self.units = check.size("units", units)
        self.activation = checked_activation(activation)
        self.use_bias = check.flag("use_bias", use_bias)
        self.flatten = check.flag("flatten", flatten)
        self.dtype = check.float_name(dtype)
        known = check.size("in_units", in_units, least=0)
        self.weight = Parameter((self.units, known), self.dtype, weight_initializer)
        if use_bias:
            self.bias = Parameter((self.units,), self.dtype, bias_initializer)

    @property
    def in_units(self) -> int:
        """Size of the input; 0 while it is not known."""
        return (self.weight.shape or (0, 0))[1] or 0

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """``(batch, ...)`` to ``(batch, units)`` with `flatten`, else the last axis to ``units``."""
        if not shape:
            raise ValueError("expected an input of at least 1 dimension, found a scalar")
        found = math.prod(shape[1:]) if self.flatten else shape[-1]
        if self.in_units and found != self.in_units:
            raise ValueError(f"expected {self.in_units} input features, found {found} in shape {tuple(shape)}")
        if not self.in_units:
            self.weight.shape = (self.units, check.size("input features", found))
        return (shape[0], self.units) if self.flatten else (*shape[:-1], self.units)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The float dtype that input and parameters share."""
        return float_dtype(*found, *(parameter.dtype for parameter in self.parameters.values()))

    def forward(self, x: Array) -> Array:
        """Run the layer; a new array."""
        return self.finished(x, Epilogue(activation=self.activation))

    def finished(self, x: Array, epilogue: Epilogue) -> Array:
        """Run the layer and what follows; a new array."""
        if self.flatten:
            x = x.reshape(len(x), self.in_units)
        bias = self.bias.data() if self.use_bias else None
        return linear(x, self.weight.data(), bias, epilogue=epilogue)


class Embedding(Layer):
    """A row of a table for each index.

    Arguments are those of ``mxnet.gluon.nn.Embedding``; `padding_idx` is ``torch.nn.Embedding``'s.

    Args:
        input_dim: Number of rows: the size of the vocabulary.
        output_dim: Width of a row.
        dtype: Float dtype of a weight not yet loaded.
        weight_initializer: Initializer of the weight; None: what ``initialize`` is given.
        padding_idx: The row for padding, which training leaves alone; the forward pass reads it like any
            other.

    Parameters: weight ``(input_dim, output_dim)``. Input: integers of any shape, from 0 to input_dim - 1;
    output ``(*shape, output_dim)`` in the dtype of the weight.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = ("input_dim", "output_dim", "padding_idx", "dtype")

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        dtype: Any = "float32",
        weight_initializer: Any = None,
        *,
        padding_idx: int | None = None,
    ) -> None:
        super().__init__()
        self.input_dim = check.size("input_dim", input_dim)
        self.output_dim = check.size("output_dim", output_dim)
        self.dtype = check.float_name(dtype)
        if padding_idx is not None:
            padding_idx = check.size("padding_idx", padding_idx, least=-input_dim)
            if padding_idx >= input_dim:
                raise ValueError(f"padding_idx: expected less than {input_dim}, found {padding_idx}")
            padding_idx %= input_dim
        self.padding_idx = padding_idx
        self.weight = Parameter((self.input_dim, self.output_dim), self.dtype, weight_initializer)

    @check.naming
    def infer(self, shape: Shape) -> Shape:
        """``(...)`` to ``(..., output_dim)``."""
        return (*shape, self.output_dim)

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the weight."""
        return self.weight.dtype

    def forward(self, x: Array) -> Array:
        """Look the indices up; a new array."""
        return embed(x, self.weight.data())
