"""What ONNX's operators give for values that are known, and what that costs: one row an operator.

Sizes that are not fixed come as Dims in arrays of objects, and take part wherever NumPy only moves them, in
sums, products and quotients. A decision that depends on one is refused.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange import budget
from modelarchive.exchange.onnx.extents import (
    FAR,
    Arrays,
    all_of_them,
    as_first,
    bounds,
    broadcast,
    broadcast_all,
    counted,
    expanded,
    fixed,
    gathered,
    gathered_nd,
    indices_of,
    numbers_of,
    places,
    reduced,
    reduced_axes,
    sizes_of,
    tiled,
    triangle,
    view,
    wanted_shape,
)
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.words import DTYPES
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.dim import Dim
from modelarchive.store.deferred import Deferred

#: Parts of a Split that are made while reading.
_MAX_PARTS: Final = 4096

_Compute: TypeAlias = Callable[[Context, Arrays], Any]


@dataclass(frozen=True)
class _Fold:
    """One row: what an operator gives for values that are known.

    Attributes:
        compute: Gives it, from the step and one array an operand (None: left out).
        least: So many operands have to be there.
        most: So many there may be.
        made: How many elements the result has, before it is computed.
    """

    compute: _Compute
    least: int
    most: int
    made: Callable[[Context, Arrays], int]


def _plain(function: Callable[..., Any]) -> _Compute:
    """A function of NumPy that keeps ONNX's dtype: that of its first operand."""

    def fold(context: Context, arrays: Arrays) -> Any:
        found = np.asarray(function(*_alike(arrays)))
        return found if found.dtype == object else found.astype(arrays[0].dtype)

    return fold


def _truth(function: Callable[..., Any]) -> _Compute:
    return lambda context, arrays: np.asarray(function(*_alike(fixed(arrays))), np.bool_)


def _alike(arrays: Arrays) -> Arrays:
    """ONNX's arithmetic has operands of one dtype."""
    found = {each.dtype.newbyteorder("=") for each in arrays if each.dtype != object}
    if len(found) > 1:
        raise Refusal(f"expected one dtype, found {', '.join(sorted(map(str, found)))}")
    return arrays


def _fixed_only(fold: _Compute) -> _Compute:
    return lambda context, arrays: fold(context, fixed(arrays))


def _floats(function: Callable[..., Any]) -> _Compute:
    """A function of floats, computed in float32 where they are narrower."""

    def fold(context: Context, arrays: Arrays) -> Any:
        fixed(arrays)
        dtype = arrays[0].dtype
        wide = [each.astype(np.float32) if each.dtype.itemsize < 4 else each for each in arrays]
        return np.asarray(function(*wide)).astype(dtype)

    return fold


def _divide(context: Context, arrays: Arrays) -> Any:
    one, two = _alike(arrays)
    if object in (one.dtype, two.dtype):
        return np.asarray(one.astype(object) // two.astype(object), object)
    if one.dtype.kind in "iu":
        quotient = np.abs(one) // np.abs(two)
        return (np.sign(one) * np.sign(two) * quotient).astype(one.dtype)
    return (one / two).astype(one.dtype)


def _modulo(context: Context, arrays: Arrays) -> Any:
    one, two = _alike(fixed(arrays))
    return (np.fmod if context.node.flag("fmod", default=False) else np.mod)(one, two).astype(one.dtype)


def _equal(context: Context, arrays: Arrays) -> Any:
    if not any(each.dtype == object for each in arrays):
        return np.equal(*_alike(arrays))
    one, two = np.broadcast_arrays(*(each.astype(object) for each in arrays))
    found = [_same_size(a, b) for a, b in zip(one.reshape(-1), two.reshape(-1), strict=True)]
    return np.array(found, np.bool_).reshape(one.shape)


def _same_size(one: Any, two: Any) -> bool:
    if isinstance(one, Dim) and isinstance(two, Dim) and one.pair == two.pair:
        return True
    for a, b in ((one, two), (two, one)):
        if isinstance(a, Dim) and not isinstance(b, Dim) and b < 0 <= min(a.pair):
            return False
    if isinstance(one, Dim) or isinstance(two, Dim):
        raise Refusal("a decision by a size that is not fixed is not supported: pass inputs=")
    return bool(one == two)


def _where(context: Context, arrays: Arrays) -> Any:
    if fixed(arrays[:1])[0].dtype != np.bool_:
        raise Refusal(f"expected a condition of bool, found {arrays[0].dtype}")
    return np.where(arrays[0], *_alike(arrays[1:]))


def _cast(context: Context, arrays: Arrays) -> Any:
    to = DTYPES.get(context.node.integer("to"), "")
    x = arrays[0]
    if x.dtype == object:
        if to not in ("int64", "int32"):
            raise Refusal("a size that is not fixed, as another number than an integer")
        return x
    if to not in dtypes.DENSE or to.startswith("float8"):
        raise Refusal("no such dtype")
    return x.astype(real(x.dtype, dtypes.DENSE[to]))


def real(before: np.dtype, after: np.dtype) -> np.dtype:
    """The dtype after a cast.

    Raises:
        Refusal: One of the two is complex: ONNX casts none.
    """
    if "c" in (before.kind, after.kind) and before != after:
        raise Refusal(f"a cast from {before} to {after} is not supported")
    return after


def _gather(context: Context, arrays: Arrays) -> Any:
    return np.take(arrays[0], indices_of(arrays[1]), axis=context.node.integer("axis", 0))


def _concat(context: Context, arrays: Arrays) -> Any:
    _alike(arrays)
    mixed = any(each.dtype == object for each in arrays)
    return np.concatenate(
        [each.astype(object) if mixed else each for each in arrays], axis=context.node.integer("axis")
    )


def _slice(context: Context, arrays: Arrays) -> Any:
    x, starts, ends = arrays[0], numbers_of(arrays[1]), numbers_of(arrays[2])
    axes = numbers_of(arrays[3]) if len(arrays) > 3 and arrays[3] is not None else range(len(starts))
    steps = numbers_of(arrays[4]) if len(arrays) > 4 else [1] * len(starts)
    index: list[Any] = [slice(None)] * x.ndim
    for axis, start, end, by in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(*bounds(start, end, by, x.shape[axis]))
    return x[tuple(index)]


def squeezed(context: Context, arrays: Arrays) -> Any:
    """Squeeze."""
    if len(arrays) < 2:
        return np.squeeze(arrays[0])
    return np.squeeze(arrays[0], numbers_of(arrays[1]))


def unsqueezed(context: Context, arrays: Arrays) -> Any:
    """Unsqueeze."""
    return np.expand_dims(arrays[0], numbers_of(arrays[1]))


def _reshape(context: Context, arrays: Arrays) -> Any:
    return arrays[0].reshape(wanted_shape(context, arrays[0].shape, numbers_of(arrays[1])))


def _transpose(context: Context, arrays: Arrays) -> Any:
    return np.transpose(arrays[0], context.node.integers("perm", None))


def _split(context: Context, arrays: Arrays) -> Any:
    x, axis = arrays[0], context.node.integer("axis", 0)
    parts = int(arrays[1].size) if len(arrays) > 1 else context.node.integer("num_outputs", len(context.node.outputs))
    if not 1 <= parts <= _MAX_PARTS:
        raise Refusal(f"a Split into {parts:,} parts")
    budget.spend(f"Split {context.name!r}", steps=parts // 8)
    size = -(-x.shape[axis] // parts)
    sizes = indices_of(arrays[1]).reshape(-1).tolist() if len(arrays) > 1 else [size] * (parts - 1)
    ends = list(itertools.accumulate(sizes))
    if len(arrays) > 1 and (min(sizes) < 0 or ends.pop() != x.shape[axis]):
        raise Refusal(f"expected sizes that sum to {x.shape[axis]:,}")
    return tuple(np.split(x, ends, axis))


def _expand(context: Context, arrays: Arrays) -> Any:
    x = arrays[0]
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, sizes_of(arrays[1]))).copy()


def _tile(context: Context, arrays: Arrays) -> Any:
    return np.tile(arrays[0], sizes_of(arrays[1]))


def _constant_of_shape(context: Context, arrays: Arrays) -> Any:
    filled, shape = filling(context), sizes_of(arrays[0])
    budget.spend(f"ConstantOfShape {context.name!r}", elements=math.prod(shape))
    return Deferred(shape, filled.dtype, lambda: np.full(shape, filled, filled.dtype))


def filling(context: Context) -> np.ndarray:
    """What ConstantOfShape fills with: an array without axes."""
    value = context.node.tensor("value")
    if value is not None and math.prod(value.shape) != 1:
        raise Refusal(f"value has {math.prod(value.shape):,} elements, expected one")
    return np.zeros((), np.float32) if value is None else value.read().reshape(())


def _range(context: Context, arrays: Arrays) -> Any:
    start, _, delta = (each.reshape(-1)[0].item() for each in _alike(arrays))
    return (start + np.arange(counted(context, arrays)) * delta).astype(arrays[0].dtype)


def _reduction(function: Callable[..., Any]) -> _Compute:
    def fold(context: Context, arrays: Arrays) -> Any:
        x, axes = arrays[0], reduced_axes(context, arrays)
        result = np.asarray(function(x, axis=axes, keepdims=context.node.flag("keepdims", default=True)))
        return result if result.dtype == object else result.astype(x.dtype)

    return fold


def _shape(context: Context, arrays: Arrays) -> Any:
    shape = np.array(arrays[0].shape, np.int64)
    return shape[context.node.integer("start", 0) : context.node.integer("end", None)]


def _cumsum(context: Context, arrays: Arrays) -> Any:
    if context.node.flag("exclusive", default=False) or context.node.flag("reverse", default=False):
        raise Refusal("another way")
    return np.cumsum(arrays[0], int(indices_of(arrays[1]).reshape(-1)[0])).astype(arrays[0].dtype)


def _trilu(context: Context, arrays: Arrays) -> Any:
    k = int(indices_of(arrays[1]).reshape(-1)[0]) if len(arrays) > 1 else 0
    k = min(max(k, -FAR), FAR)
    if not arrays[0].size:
        return arrays[0]  # NumPy counts its columns, of which there may be any number where there are no rows
    return (np.triu if context.node.flag("upper", default=True) else np.tril)(arrays[0], k)


def _several(function: Callable[..., Any]) -> _Compute:
    def one(*several: Any) -> Any:
        """Sizes that are not fixed, which are the same: which of others is larger they do not say."""
        if any(isinstance(each, Dim) for each in several):
            if all(isinstance(each, Dim) and each == several[0] for each in several):
                return several[0]
            raise Refusal("the larger of sizes that are not fixed is not supported: pass inputs=")
        return int(functools.reduce(function, several))

    def fold(context: Context, arrays: Arrays) -> Any:
        if any(each.dtype == object for each in arrays):
            return np.asarray(np.frompyfunc(one, len(arrays), 1)(*arrays), object)
        result = _alike(arrays)[0]
        for each in arrays[1:]:
            result = function(result, each)
        return result

    return fold


def _power(context: Context, arrays: Arrays) -> Any:
    base, exponent = fixed(arrays)
    if "c" in (base.dtype.kind, exponent.dtype.kind):
        raise Refusal("a power of complex numbers")
    return np.asarray(np.power(base, exponent)).astype(base.dtype)


def _gather_nd(context: Context, arrays: Arrays) -> Any:
    x, indices = arrays
    if context.node.integer("batch_dims", 0):
        raise Refusal("another way")
    return x[tuple(np.moveaxis(indices_of(indices), -1, 0))]


def _scatter_nd(context: Context, arrays: Arrays) -> Any:
    x, indices, updates = arrays
    context.node.expect("reduction", "s", b"none")
    result = np.array(x)
    result[tuple(np.moveaxis(indices_of(indices), -1, 0))] = _alike([x, updates])[1]
    return result


#: Operators that take a part of an array, and those that give it another shape or order.
PARTS: Final = ("Slice", "Split", "Gather")
MOVES: Final = ("Transpose", "Reshape", "Squeeze", "Unsqueeze")
#: The largest number of operands of those that take any number.
_ANY: Final = 1 << 31


def _one(compute: _Compute) -> _Fold:
    return _Fold(compute, 1, 1, as_first)


def _two(compute: _Compute) -> _Fold:
    return _Fold(compute, 2, 2, broadcast)


#: Operator of ONNX -> what it gives for values that are known.
FOLDS: Final[dict[str, _Fold]] = {
    "Add": _two(_plain(np.add)),
    "Sub": _two(_plain(np.subtract)),
    "Mul": _two(_plain(np.multiply)),
    "Div": _two(_divide),
    "Mod": _two(_modulo),
    "Neg": _one(_plain(np.negative)),
    "Abs": _one(_fixed_only(_plain(np.abs))),
    "Sign": _one(_fixed_only(_plain(np.sign))),
    "Floor": _one(_floats(np.floor)),
    "Ceil": _one(_floats(np.ceil)),
    "Round": _one(_floats(np.round)),
    "Sqrt": _one(_floats(np.sqrt)),
    "Exp": _one(_floats(np.exp)),
    "Log": _one(_floats(np.log)),
    "Sin": _one(_floats(np.sin)),
    "Cos": _one(_floats(np.cos)),
    "Reciprocal": _one(_floats(np.reciprocal)),
    "Pow": _two(_power),
    "Min": _Fold(_several(np.minimum), 1, _ANY, broadcast_all),
    "Max": _Fold(_several(np.maximum), 1, _ANY, broadcast_all),
    "Equal": _two(_equal),
    "Greater": _two(_truth(np.greater)),
    "GreaterOrEqual": _two(_truth(np.greater_equal)),
    "Less": _two(_truth(np.less)),
    "LessOrEqual": _two(_truth(np.less_equal)),
    "And": _two(_truth(np.logical_and)),
    "Or": _two(_truth(np.logical_or)),
    "Xor": _two(_truth(np.logical_xor)),
    "Not": _one(_truth(np.logical_not)),
    "Where": _Fold(_where, 3, 3, broadcast),
    "Cast": _one(_cast),
    "Gather": _Fold(_gather, 2, 2, gathered),
    "GatherND": _Fold(_fixed_only(_gather_nd), 2, 2, gathered_nd),
    "ScatterND": _Fold(_fixed_only(_scatter_nd), 3, 3, all_of_them),
    "Concat": _Fold(_concat, 1, _ANY, all_of_them),
    "Split": _Fold(_split, 1, 2, view),
    "Slice": _Fold(_slice, 3, 5, view),
    "Reshape": _Fold(_reshape, 2, 2, as_first),
    "Transpose": _Fold(_transpose, 1, 1, view),
    "Squeeze": _Fold(squeezed, 1, 2, view),
    "Unsqueeze": _Fold(unsqueezed, 2, 2, view),
    "Expand": _Fold(_expand, 2, 2, expanded),
    "Tile": _Fold(_tile, 2, 2, tiled),
    "ConstantOfShape": _Fold(_constant_of_shape, 1, 1, view),
    "Range": _Fold(_range, 3, 3, counted),
    "ReduceSum": _Fold(_reduction(np.sum), 1, 2, reduced),
    "ReduceProd": _Fold(_reduction(np.prod), 1, 2, reduced),
    "ReduceMax": _Fold(_fixed_only(_reduction(np.max)), 1, 2, reduced),
    "ReduceMin": _Fold(_fixed_only(_reduction(np.min)), 1, 2, reduced),
    "Shape": _Fold(_shape, 1, 1, view),
    "Size": _Fold(lambda context, arrays: np.asarray(arrays[0].size, np.int64), 1, 1, view),
    "CumSum": _Fold(_fixed_only(_cumsum), 2, 2, as_first),
    "Trilu": _Fold(_fixed_only(_trilu), 1, 2, triangle),
    "NonZero": _Fold(lambda context, arrays: np.argwhere(fixed(arrays)[0]).T.astype(np.int64), 1, 1, places),
}
