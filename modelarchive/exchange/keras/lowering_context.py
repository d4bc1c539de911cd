"""What the tables of the written kinds and ops work on: symbolic values, and the context of a row."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelarchive.exchange.refusal import Refusal
from modelarchive.nn import Parameter
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.parameter import dtype_name

if TYPE_CHECKING:
    from modelarchive.exchange.keras.exporting import Builder

#: A KerasTensor: the symbolic result of a Keras layer or operation.
Tensor = Any


@dataclass(frozen=True)
class Value:
    """A value of the network while its model is built.

    Attributes:
        known: Its shapes and dtype.
        tensor: What Keras has for it; None for a constant.
        constant: A Python number (of weak dtype) or an array, where there is no tensor.
        last: Whether `tensor` has the channels, axis 1 of the value, as its last axis.
    """

    known: Abstract
    tensor: Tensor = None
    constant: Any = None
    last: bool = False

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.known.shapes[0])

    @property
    def sizes(self) -> list[int | None]:
        """Its shape, None for sizes that are free."""
        return self.known.declared

    @property
    def dtype(self) -> str:
        """The name of its dtype."""
        return dtype_name(self.known.array_dtype)


@dataclass(frozen=True)
class Context:
    """Where in the network Keras' layers are made.

    Attributes:
        builder: What makes and keeps them.
        path: The block or node.
        known: What is known of the results: an Abstract, or a tuple of them.
    """

    builder: Builder
    path: str
    known: Any

    # ------------------------------------------------------------------ results

    def result(self, tensor: Tensor, *, last: bool = False) -> Value:
        """The one result."""
        return Value(self.known, tensor, last=last)

    @property
    def dtype(self) -> str:
        """The dtype of the (first) result."""
        known = self.known[0] if isinstance(self.known, tuple) else self.known
        return dtype_name(known.array_dtype)

    def note(self, what: str, where: str = "") -> None:
        """Tell what is changed or lost."""
        self.builder.note(where or self.path, what)

    # ------------------------------------------------------------------ layers and operations

    def layer(
        self,
        theirs: str,
        *inputs: Tensor,
        role: str = "",
        weights: Sequence[tuple[np.ndarray, Sequence[Parameter]]] = (),
        dtype: str = "",
        call: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> Tensor:
        """Call a layer of Keras; for the same block, role and config the same one.

        Args:
            theirs: Its class in ``keras.layers``.
            inputs: What it is called on.
            role: What sets it apart from other layers of this block.
            weights: Its variables' values in Keras' order, with the parameters that they come from.
            dtype: In which it computes, and keeps its variables; "": that of the result.
            call: Further arguments of the call.
            config: Arguments of the class.
        """
        made = self.builder.layer(self.path, role, theirs, {**config, "dtype": dtype or self.dtype})
        result = made(*inputs, **(call or {}))
        if weights:
            self.builder.fill(made, self.path, weights)
        return result

    def op(self, name: str, *inputs: Any, **arguments: Any) -> Tensor:
        """Call a function of ``keras.ops``; the operation is named after the block."""
        result = getattr(self.builder.keras.ops, name)(*inputs, **arguments)
        first = result[0] if isinstance(result, list | tuple) else result
        self.named(first, name)
        if first is result and name != "cast":
            given = {each.dtype for each in _tensors(inputs)}
            wide = {"float32": "float64", "int32": "int64"}.get(result.dtype, "")
            if wide in given:
                # Keras says 32 bits of what its backends compute in 64; after a cast that says so, it is true.
                return self.op("cast", result, wide)
        return result

    def named(self, tensor: Tensor, name: str) -> Tensor:
        """The result of an operation that is named after the block: functions of keras.ops take no name."""
        tensor._keras_history.operation.name = self.builder.free_name(self.path, name)
        return tensor

    def cast(self, tensor: Tensor, dtype: str) -> Tensor:
        """The tensor in a dtype."""
        if dtype == "uint64" and self.builder.keras.backend.backend() == "torch":
            raise Refusal("PyTorch, which is Keras' backend here, has no uint64")
        return tensor if tensor.dtype == dtype else self.op("cast", tensor, dtype)

    # ------------------------------------------------------------------ inputs

    def plain(self, value: Value, dtype: str = "") -> Tensor:
        """A value as a tensor with its axes in their own order, a constant made one."""
        if value.tensor is None:
            made = self.builder.held(self, np.asarray(value.constant, value.known.array_dtype))
            return self.cast(made, dtype or value.dtype)
        tensor = value.tensor
        if value.last:
            tensor = self.permuted(tensor, (0, value.rank - 1, *range(1, value.rank - 1)))
        return self.cast(tensor, dtype) if dtype else tensor

    def moved(self, value: Value, dtype: str = "") -> Tensor:
        """A value as a tensor whose last axis are the channels, axis 1 of the value."""
        tensor = value.tensor
        if tensor is None or not value.last:
            tensor = self.permuted(self.plain(value), (0, *range(2, value.rank), 1))
        return self.cast(tensor, dtype) if dtype else tensor

    def permuted(self, tensor: Tensor, axes: Sequence[int]) -> Tensor:
        """The axes in another order; the same tensor for the same order."""
        axes = tuple(axis % len(axes) for axis in axes)
        if axes == tuple(range(len(axes))):
            return tensor
        key = (id(tensor), axes)
        if key not in self.builder.permuted:
            if axes[0] == 0:
                layer = self.builder.fresh(self.path, "Permute", {"dims": axes[1:], "dtype": tensor.dtype})
                made = layer(tensor)
            else:
                made = self.op("transpose", tensor, axes)
            self.builder.permuted[key] = (made, tensor)  # kept, so that the id stays its own
        return self.builder.permuted[key][0]

    def argument(self, value: Value, dtype: str = "") -> Any:
        """A value as an operation takes it: a tensor, or a number or array as it is."""
        if value.tensor is not None:
            return self.plain(value, dtype)
        if isinstance(value.constant, np.ndarray):
            return value.constant.astype(dtype) if dtype else value.constant
        return value.constant

    # ------------------------------------------------------------------ parameters

    def array(self, parameter: Parameter) -> np.ndarray:
        """The values of a parameter."""
        return parameter.value()

    def is_shared(self, parameter: Parameter) -> bool:
        """Whether several blocks, or nodes of a graph, use it."""
        return id(parameter) in self.builder.shared

    def matrix(self, parameter: Parameter) -> Tensor:
        """A parameter's values as a tensor."""
        return self.builder.parameter(self, parameter)

    # ------------------------------------------------------------------ counting

    def zeros_along(self, tensor: Tensor, axis: int | None) -> Tensor:
        """Zeros (int32) in the sizes of an axis of a tensor, or one without axes: what is not fixed, only it knows."""
        zeros = self.op("cast", self.op("greater", tensor, tensor), "int32")
        others = None if axis is None else tuple(each for each in range(len(tensor.shape)) if each != axis)
        return zeros if others == () else self.op("sum", zeros, axis=others)

    def positions(self, tensor: Tensor, axis: int) -> Tensor:
        """0, 1, 2, ... (int32) in the size of an axis."""
        ones = self.op("add", self.zeros_along(tensor, axis), 1)
        return self.op("subtract", self.op("cumsum", ones, axis=0), 1)


def is_tensor(value: Any) -> bool:
    """Whether it is a result of Keras, not a number or an array."""
    return hasattr(value, "_keras_history")


def _tensors(inputs: Sequence[Any]) -> list[Tensor]:
    flat = itertools.chain.from_iterable(each if isinstance(each, list | tuple) else [each] for each in inputs)
    return [each for each in flat if is_tensor(each)]


def several(known: Any) -> tuple[Any, ...]:
    """What is known of results as a tuple."""
    return known if isinstance(known, tuple) else (known,)


def unique(wish: str, taken: set[str]) -> str:
    """`wish`, or `wish` with a number that makes it unique; taken from then on."""
    name = wish
    for number in itertools.count(1):
        if name not in taken:
            break
        name = f"{wish}_{number}"
    taken.add(name)
    return name
