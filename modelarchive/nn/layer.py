"""Layers: blocks that are a kind of the vocabulary, whose architecture is their fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from modelarchive import tensors
from modelarchive.dtypes import is_float
from modelarchive.nn.block import Block
from modelarchive.nn.parameter import Array, dtype_name
from modelarchive.nn.signature import positional
from modelarchive.ops.epilogue import Epilogue


class Layer(Block):
    """A block that is a kind of the vocabulary: its architecture is its fields.

    Attributes:
        kind: The word of the vocabulary; the class's name unless a class says otherwise.
        fields: The constructor's arguments, which are attributes, and the fields of the kind's schema.
    """

    kind: ClassVar[str] = "Layer"
    fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Name the kind after the class."""
        super().__init_subclass__(**kwargs)
        if "kind" not in vars(cls):
            cls.kind = cls.__name__

    def config(self) -> dict[str, Any]:
        """All fields as JSON values, with what was learned since: ``{"units": 10, "in_units": 84, ...}``."""
        return {field: _as_json(getattr(self, field)) for field in self.fields} | self._current_dtype()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The layer of these fields, its parameters not initialised; the inverse of :meth:`config`.

        Raises:
            ValueError: A field is out of range.
        """
        return cls(**config)

    def _current_dtype(self) -> dict[str, str]:
        if "dtype" not in self.fields or not self._parameters:
            return {}
        dtype = next(iter(self._parameters.values())).dtype
        return {"dtype": dtype_name(dtype)} if is_float(dtype) else {}

    def infer(self, *shapes: tuple[int, ...]) -> Any:
        """The shape of the output for inputs of these shapes; learns unknown parameter shapes from them.

        Returns:
            One shape, or a tuple of shapes for several outputs.

        Raises:
            ValueError: The shapes do not fit, with what was expected and found.
        """
        raise NotImplementedError(f"{type(self).__name__} has no infer")

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the output for inputs of these dtypes: NumPy's promotion with the parameters'."""
        own = [parameter.dtype for parameter in self._parameters.values()]
        return np.result_type(*found, *own)

    def ordered(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """A call's arguments by position; optional inputs at the end that are None are left out."""
        return positional(self.forward, inputs, named)

    def execute(self, *inputs: Any, **named: Any) -> Any:
        """Check the inputs' shapes, learn parameter shapes from them, and run ``forward``."""
        arrays: list[Array] = [tensors.asarray(value) for value in self.ordered(inputs, named)]
        self.infer(*(array.shape for array in arrays))
        return self.forward(*arrays)

    def finished(self, x: Array, epilogue: Epilogue) -> Array:
        """What ``forward`` gives for `x`, and what follows done to it; see ``nn/fusing.py``."""
        raise NotImplementedError(f"{type(self).__name__} takes no epilogue")

    def extra_repr(self) -> str:
        """The fields as the constructor takes them."""
        config = self.config()
        return ", ".join(f"{field}={config[field]!r}" for field in self.fields)


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_as_json(item) for item in value]
    if isinstance(value, np.dtype):
        return dtype_name(value)
    if isinstance(value, np.generic):
        return value.item()
    return value
