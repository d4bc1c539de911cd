"""What a row of the table works on: one ATen call, its dtypes and shapes, and casts as PyTorch makes them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from modelarchive import dtypes, ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_sizes import calculated, row_of
from modelarchive.exchange.torch.recorded import cast, is_array, scope
from modelarchive.exchange.torch.tensors import numpy_dtype
from modelarchive.nn.dim import Dim
from modelarchive.nn.parameter import as_dtype


def same(one: Any, other: Any) -> bool:
    """Whether two sizes are one, without asking what a size is that is not fixed."""
    return isinstance(one, Dim) == isinstance(other, Dim) and bool(one == other)


def same_shape(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two shapes are one."""
    return len(one) == len(other) and all(map(same, one, other))


def uses(node: torch.fx.Node, number: int) -> bool:
    """Whether anything uses a result of a call that has several."""
    return any(user.target is operator.getitem and user.args[1] == number and user.users for user in node.users)


class Context:
    """One call.

    Args:
        node: The call.
        sizes: What a size of PyTorch's is: an int, or a Dim where it is not fixed.
    """

    def __init__(self, node: torch.fx.Node, sizes: Callable[[Any], Any]) -> None:
        self.node = node
        self.value: Any = node.meta.get("val")
        self.sizes = sizes

    @property
    def name(self) -> str:
        """The operator, without its namespace and overload."""
        return str(self.node.target._schema.name).partition("::")[2]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the result; of the first one of several."""
        value = self.value[0] if isinstance(self.value, tuple | list) else self.value
        return numpy_dtype(value.dtype)

    @property
    def shape(self) -> list[Any]:
        """The shape of the result; of the first one of several."""
        value = self.value[0] if isinstance(self.value, tuple | list) else self.value
        return [self.sizes(size) for size in value.shape]

    def shape_of(self, node: Any) -> list[Any]:
        """The shape of another call's result."""
        return [self.sizes(size) for size in node.meta["val"].shape]

    def operands(self, *values: Any) -> list[Any]:
        """Values in the dtype of the result; numbers stay numbers."""
        dtype = self.dtype
        values = tuple(calculated(each) if isinstance(each, Dim) else each for each in values)
        found = [cast(each, dtype) if is_array(each) else self.number(each) for each in values]
        return found if any(map(is_array, found)) else [np.asarray(found[0], dtype), *found[1:]]

    def compared(self, x: Any, other: Any) -> list[Any]:
        """Two values in the dtype that PyTorch compares them in."""
        given = [each.meta["val"] if isinstance(each, torch.fx.Node) else each for each in self.node.args[:2]]
        metas = [
            _plain(each)
            if isinstance(each, torch.Tensor)
            else 1
            if isinstance(each, torch.SymInt)
            else 1.0
            if isinstance(each, torch.SymFloat)
            else each
            for each in given
        ]
        dtype = numpy_dtype(torch.result_type(*metas))
        return [cast(each, dtype) if is_array(each) else _wrapped(each, dtype) for each in (x, other)]

    def number(self, value: Any) -> Any:
        """A Python number as one of the result's sort, so that it does not decide the dtype."""
        if isinstance(value, Dim) or value is None:
            return value
        kind = self.dtype.kind
        if isinstance(value, bool):
            return bool(value) if kind == "b" else int(value)
        if kind in "iu" and isinstance(value, int):
            return _wrapped(value, self.dtype)
        return float(value) if kind not in "biu" and isinstance(value, int) else value

    def constant(self, value: Any) -> Any:
        """A value as an array of the result's dtype."""
        if isinstance(value, Dim):
            raise Refusal("a size that is not fixed, in an array of its own")
        return cast(value, self.dtype) if is_array(value) else np.asarray(value, self.dtype)

    def layer(self, kind: str, *inputs: Any, **fields: Any) -> Any:
        """Call a layer of the vocabulary that has no parameters."""
        first = scope().symbol(inputs[0])
        return first.__record_block__(kind, (first, *inputs[1:]), fields)


def _wrapped(value: Any, dtype: np.dtype[Any]) -> Any:
    """A number as one of an integer dtype, where it goes round as PyTorch's does."""
    if dtype.kind not in "iu" or isinstance(value, bool) or not isinstance(value, int):
        return value
    return int(np.asarray(value).astype(dtype))


def _plain(value: torch.Tensor) -> torch.Tensor:
    """An empty tensor of the same dtype and number of axes."""
    return torch.empty([1] * value.ndim, dtype=value.dtype, device="meta")


def with_sizes(shape: Sequence[Any]) -> Any:
    """An array that has the free sizes of `shape` at their axes, for what is to be stretched to it.

    Raises:
        Refusal: No array has one of the sizes.
    """
    here = scope()
    like = here.with_shape(shape)
    if like is not None:
        return like
    found = None
    for axis, size in enumerate(shape):
        if isinstance(size, Dim):
            row = ops.expand_dims(row_of(size), axis=tuple(at for at in range(len(shape)) if at != axis))
            found = row if found is None else np.logical_or(found, row)
    return found


def full(shape: Sequence[Any], value: Any, dtype: Any) -> Any:
    """An array of one number, of sizes that may not be fixed."""
    number = np.full([1] * len(shape), value, as_dtype(dtype))
    if not any(isinstance(size, Dim) for size in shape):
        return np.broadcast_to(number, tuple(shape)).copy()
    return ops.broadcast_to(number, with_sizes(shape), shape=list(shape))


def counted(size: Any, dtype: Any = "int64") -> Any:
    """0, 1, 2, ...: so many integers."""
    if isinstance(size, Dim):
        return ops.subtract(ops.cumsum(cast(full([size], 1, "int64"), "int64"), axis=0), 1)
    return np.arange(size, dtype=dtypes.numpy_dtype(dtype))
