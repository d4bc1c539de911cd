"""What a row of the table works on: one ATen call, its dtypes and shapes, and casts as PyTorch makes them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Final

import numpy as np
import torch
from torch.utils._sympy.functions import FloorDiv

from modelarchive import dtypes, ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.sizes import Calculated
from modelarchive.exchange.torch.tensors import numpy_dtype
from modelarchive.nn.dim import Dim
from modelarchive.nn.parameter import as_dtype, dtype_name
from modelarchive.nn.recording import RECORDER
from modelarchive.nn.symbol import Symbol

#: Numerator and denominator, at most, of what a size is multiplied by before it is rounded down.
_MOST: Final = 64


def is_array(value: Any) -> bool:
    """Whether it is an array: of the recording, or a constant."""
    return isinstance(value, Symbol | np.ndarray | np.generic)


def cast(x: Any, dtype: Any) -> Any:
    """An array in another dtype; numbers and sizes stay."""
    if not is_array(x):
        return x
    wanted = as_dtype(dtype)
    return x if x.dtype == wanted else ops.cast(x, dtype=dtype_name(wanted))


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
        values = tuple(_calculated(each) if isinstance(each, Dim) else each for each in values)
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


def scope() -> Any:
    """The recording that runs now."""
    return RECORDER.get()._scopes[-1]  # type: ignore[union-attr]


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
            row = ops.expand_dims(_row_of(size), axis=tuple(at for at in range(len(shape)) if at != axis))
            found = row if found is None else np.logical_or(found, row)
    return found


def _row_of(size: Dim) -> Any:
    """An array of truths with one axis, of a size that is not fixed: one that an array has, or calculated of these.

    Raises:
        Refusal: It is calculated in another way.
    """
    if size.pair in _known_sizes():
        return _row_with(size.pair)
    row = _row_from(size.expression, size.of_symbol) if isinstance(size, Calculated) else None
    if row is None:
        raise Refusal("a new array of a size that is not fixed, and that no array has")
    return row


def _row_from(expression: Any, of_symbol: Callable[[Any], Any]) -> Any:
    """An array of truths with one axis of a size that is calculated; None: not in such a way."""
    if expression.is_Integer:
        return np.ones(int(expression), bool) if expression >= 0 else None
    if expression.is_Symbol:
        size = of_symbol(expression)
        if not isinstance(size, Dim):
            return np.ones(size, bool)
        return _row_with(size.pair) if size.pair in _known_sizes() else None
    if type(expression).__name__ in ("TruncToInt", "FloorToInt"):
        return _row_of_share(expression.args[0], of_symbol)
    less, parts = 0, list(expression.args)
    if expression.is_Add and parts[0].is_Integer and parts[0] < 0:
        less, *parts = parts
    rows = [_row_from(each, of_symbol) for each in parts]
    if any(each is None for each in rows):
        return None
    if isinstance(expression, FloorDiv):
        step = parts[1]
        return rows[0][int(step) - 1 :: int(step)] if step.is_Integer and step > 0 else None
    if expression.is_Pow:
        return reduce(_merged, [rows[0]] * int(parts[1])) if parts[1].is_Integer and parts[1] > 0 else None
    if expression.is_Add:
        found = ops.concatenate(rows, axis=0) if len(rows) > 1 else rows[0]
        return found[-int(less) :] if less else found
    return reduce(_merged, rows) if expression.is_Mul else None


def _row_of_share(expression: Any, of_symbol: Callable[[Any], Any]) -> Any:
    """A row of a whole size times a number, rounded down; None: of something else."""
    numbers = [each for each in expression.args if each.is_Number]
    others = [each for each in expression.args if type(each).__name__ == "ToFloat"]
    if not expression.is_Mul or len(numbers) != 1 or len(numbers) + len(others) != len(expression.args):
        return None
    times, parts = float(numbers[0]).as_integer_ratio()
    row = _row_from(others[0].args[0], of_symbol) if len(others) == 1 and 0 < times <= _MOST >= parts else None
    return None if row is None else _merged(row, np.ones(times, bool))[parts - 1 :: parts]


def _merged(row: Any, other: Any) -> Any:
    """A row of as many truths as the product of two rows has."""
    return ops.reshape(np.logical_or(ops.expand_dims(row, axis=1), ops.expand_dims(other, axis=0)), shape=[-1])


def number_of(size: Dim) -> Any:
    """A size that is not fixed as an array without axes.

    Raises:
        Refusal: No array has it, and it is not known how it is calculated.
    """
    return scope().size(size, ()) if size.pair in _known_sizes() else ops.sum(cast(_row_of(size), "int64"))


def _known_sizes() -> list[tuple[int, int]]:
    """The sizes that are not fixed and that arrays have."""
    pairs = (pair for each in scope()._symbols for pair in zip(*each.abstract.shapes, strict=True))
    return list(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1] and all(pair)))


def _row_with(pair: tuple[int, int]) -> Any:
    """An array of truths with one axis, of a size that an array has."""
    found = (
        (each, axis)
        for each in scope()._symbols
        for axis, own in enumerate(zip(*each.abstract.shapes, strict=True))
        if own == pair
    )
    each, axis = next(found)
    row = each[tuple(slice(None) if at == axis else 0 for at in range(each.ndim))]
    return ops.equal(row, row)


def _calculated(size: Dim) -> Any:
    """A size that is not fixed: itself where an array has it, else calculated from those that arrays have."""
    known = _known_sizes()
    if size.pair in known:
        return size
    one, two = size.pair
    for first, second in known:
        own = scope().size(Dim(first, second), ())
        if one % first == two % second == 0 and one // first == two // second:
            return ops.multiply(own, one // first)
        if one - first == two - second:
            return ops.add(own, one - first)
        if one % first == two % second == 0 and (one // first, two // second) in known:
            return ops.multiply(own, scope().size(Dim(one // first, two // second), ()))
    return size


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
