"""What the rows of the kinds and ops that are written as Keras' layers work on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from modelarchive.exchange import formulas, walking
from modelarchive.exchange.keras.emitting import Emitter, Tensor
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.names import joined
from modelarchive.nn import Parameter
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.parameter import dtype_name
from modelarchive.ops import OPS

#: Elements of a constant that are written into a model's config; more of them are weights that are not trained.
_MOST_WRITTEN: Final = 1 << 16


@dataclass(frozen=True)
class Value(walking.Value):
    """A value of the network while its model is built; `tensor` is what Keras has for it.

    Attributes:
        last: Whether `tensor` has the channels, axis 1 of the value, as its last axis.
    """

    last: bool = False

    @property
    def dtype(self) -> str:
        """The name of its dtype."""
        return dtype_name(self.known.array_dtype)


@dataclass(frozen=True)
class Context(formulas.Context[Value]):
    """One use of a layer or op, and the layers of Keras that are made for it.

    Attributes:
        emitter: What makes and keeps them.
    """

    #: An array would be written into the model's config, number by number.
    has_tables = False

    emitter: Emitter

    # ------------------------------------------------------------------ results

    def result(self, tensor: Tensor, *, last: bool = False) -> Value:
        """The one result."""
        return Value(tensor, self.known[0], last=last)

    @property
    def dtype(self) -> str:
        """The dtype of the (first) result."""
        return dtype_name(self.known[0].array_dtype)

    # ------------------------------------------------------------------ formulas

    def lower_all(self, word: str, *inputs: Value, **arguments: Any) -> Sequence[Value]:
        """All results of an op of the vocabulary, by its row; its layers are named after it."""
        return self.walker.op(word, joined(self.path, word), list(inputs), {**OPS[word].defaults, **arguments})

    def weight(self, parameter: Parameter) -> Value:
        """A parameter, in the dtype of the result."""
        shape = parameter.known_shape
        known = Abstract((shape, shape), self.known[0].array_dtype)
        return Value(self.cast(self.parameter(parameter), self.dtype), known)

    def waves(self, x: Value, axis: int, waves: formulas.Waves) -> Value:
        """Sines of positions along an axis of `x`, by operations on tensors of 64 bits."""
        positions = self.positions(x.tensor, axis)
        positions = self.op("add", positions, waves.first) if waves.first else positions
        column = self.op("expand_dims", self.cast(positions, "float64"), tuple(range(1, 2 + waves.new_axes)))
        turns = self.op("add", self.op("multiply", column, waves.speeds), waves.phases)
        one, two = ((shape[axis], *[1] * waves.new_axes, len(waves.speeds)) for shape in x.known.shapes)
        return Value(self.cast(self.op("sin", turns), x.dtype), Abstract((one, two), x.known.array_dtype))

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
        made = self.emitter.layer(self.path, role, theirs, {**config, "dtype": dtype or self.dtype})
        result = made(*inputs, **(call or {}))
        if weights:
            self.emitter.fill(made, self.path, weights)
        return result

    def op(self, name: str, *inputs: Any, **arguments: Any) -> Tensor:
        """Call a function of ``keras.ops``; the operation is named after the block."""
        result = getattr(self.emitter.keras.ops, name)(*inputs, **arguments)
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
        tensor._keras_history.operation.name = self.emitter.free_name(self.path, name)
        return tensor

    def cast(self, tensor: Tensor, dtype: str) -> Tensor:
        """The tensor in a dtype."""
        if dtype == "uint64" and self.emitter.keras.backend.backend() == "torch":
            raise Refusal("PyTorch, which is Keras' backend here, has no uint64")
        return tensor if tensor.dtype == dtype else self.op("cast", tensor, dtype)

    # ------------------------------------------------------------------ inputs

    def plain(self, value: Value, dtype: str = "") -> Tensor:
        """A value as a tensor with its axes in their own order, a constant made one."""
        if value.tensor is None:
            made = self.held(np.asarray(value.constant, value.known.array_dtype))
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
        if key not in self.emitter.permuted:
            if axes[0] == 0:
                layer = self.emitter.fresh(self.path, "Permute", {"dims": axes[1:], "dtype": tensor.dtype})
                made = layer(tensor)
            else:
                made = self.op("transpose", tensor, axes)
            self.emitter.permuted[key] = (made, tensor)  # kept, so that the id stays its own
        return self.emitter.permuted[key][0]

    def argument(self, value: Value, dtype: str = "") -> Any:
        """A value as an operation takes it: a tensor, or a number or array as it is."""
        if value.tensor is not None:
            return self.plain(value, dtype)
        if isinstance(value.constant, np.ndarray):
            return value.constant.astype(dtype) if dtype else value.constant
        return value.constant

    # ------------------------------------------------------------------ parameters

    def is_shared(self, parameter: Parameter) -> bool:
        """Whether several blocks, or nodes of a graph, use it."""
        return id(parameter) in self.emitter.shared

    def parameter(self, parameter: Parameter) -> Tensor:
        """A parameter's values as a tensor: all rows of an Embedding, the one layer that only holds an array."""
        key = id(parameter)
        if key in self.emitter.tensors:
            return self.emitter.tensors[key]
        array = parameter.value()
        dtype = dtype_name(array.dtype)
        shape = array.shape
        if not array.size:
            raise Refusal("a parameter without elements is not supported")
        is_integer = array.dtype.kind != "f" and dtype != "bfloat16"
        if is_integer or (not parameter.persistent and array.size <= _MOST_WRITTEN):
            if is_integer and parameter.persistent:
                self.note("a parameter of integers is a constant in the model's config")
            self.emitter.paths.setdefault(key, self.path)
            self.emitter.tensors[key] = self.cast(self.held(array), dtype)
            return self.emitter.tensors[key]
        rows = shape[0] if len(shape) > 1 else 1
        table = self.emitter.tables.get(key)
        if table is None:
            flat = array.reshape(rows, -1)
            config = {"input_dim": rows, "output_dim": flat.shape[1], "dtype": dtype}
            table = self.emitter.fresh(self.path, "Embedding", config)
            made = table(self.count(rows))
            self.emitter.fill(table, self.path, [(flat, [parameter])])
            if len(shape) == 2:
                self.emitter.tables[key] = table
            else:
                made = self.op("reshape", made, shape)
        else:
            made = table(self.count(rows))
        self.emitter.tensors[key] = made
        return made

    # ------------------------------------------------------------------ constants and counting

    def held(self, array: np.ndarray) -> Tensor:
        """A constant as a tensor: Keras has none without an input."""
        zero = self.zero()
        if not array.ndim:
            return self.op("add", self.cast(zero, _numeric(array.dtype)), array.item())
        zeros = self.op("broadcast_to", self.cast(zero, _numeric(array.dtype)), array.shape)
        return self.op("add", zeros, array.astype(_numeric(array.dtype)))

    def zero(self) -> Tensor:
        """A 0 without axes (int32) that depends on the first input, in its shape only."""
        if 0 not in self.emitter.tensors:
            self.emitter.tensors[0] = self.zeros_along(self.emitter.origin, None)
        return self.emitter.tensors[0]

    def count(self, size: int) -> Tensor:
        """0, 1, 2, ... (int32) in a fixed number."""
        ones = self.op("broadcast_to", self.op("add", self.zero(), 1), (size,))
        return self.op("subtract", self.op("cumsum", ones, axis=0), 1)

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


def _numeric(dtype: np.dtype[Any]) -> str:
    """A dtype in which numbers can be added."""
    return "int32" if dtype.kind == "b" else dtype_name(dtype)


def by_formula(formula: Callable[[Any, Any, Any], Any]) -> Lowering:
    """The row of a kind that is written as a formula in ops of the vocabulary."""
    return Lowering("", partial(_formula, formula), "written as a formula")


def _formula(formula: Callable[[Any, Any, Any], Any], context: Context, layer: Any, given: list[Value]) -> Any:
    """Inputs have their axes in their own order, and the dtype of the result."""
    dtype = context.known[0].array_dtype
    plain = [Value(context.plain(x, context.dtype), Abstract(x.known.shapes, dtype)) for x in given]
    return formula(context, layer, plain)
