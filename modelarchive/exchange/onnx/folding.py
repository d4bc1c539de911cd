"""What exporters compute with constants and sizes, computed while reading: one row an operator of ONNX.

Sizes that are not fixed come as Dims in arrays of objects, and take part wherever NumPy only moves them, in
sums, products and quotients. A decision that depends on one is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import SpecError, UnsafeFileError
from modelarchive.exchange.onnx.step import Step
from modelarchive.exchange.onnx.tensors import in_memory
from modelarchive.exchange.onnx.values import Constant, Operand, Sizes
from modelarchive.exchange.onnx.words import DTYPES
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.dim import Dim
from modelarchive.store.deferred import Deferred

#: Elements up to which constants are computed while reading.
MAX_FOLDED: Final = 1 << 20
#: Bounds of a Slice that mean an end, whatever the size: the largest integer of 32 bits, and beyond.
FAR: Final = 2**31 - 1

Arrays: TypeAlias = list[Any]
Fold: TypeAlias = Callable[[Step, Arrays], Any]


def _plain(function: Callable[..., Any]) -> Fold:
    """A function of NumPy that keeps ONNX's dtype: that of its first operand."""

    def fold(step: Step, arrays: Arrays) -> Any:
        found = np.asarray(function(*arrays))
        return found if found.dtype == object else found.astype(arrays[0].dtype)

    return fold


def _truth(function: Callable[..., Any]) -> Fold:
    return lambda step, arrays: np.asarray(function(*_fixed(arrays)), np.bool_)


def _fixed(arrays: Arrays) -> Arrays:
    if any(each is not None and each.dtype == object for each in arrays):
        raise Refusal("a decision by a size that is not fixed has no counterpart: pass inputs=")
    return arrays


def _fixed_only(fold: Fold) -> Fold:
    return lambda step, arrays: fold(step, _fixed(arrays))


def _floats(function: Callable[..., Any]) -> Fold:
    """A function of floats, computed in float32 where they are narrower."""

    def fold(step: Step, arrays: Arrays) -> Any:
        _fixed(arrays)
        dtype = arrays[0].dtype
        wide = [each.astype(np.float32) if each.dtype.itemsize < 4 else each for each in arrays]
        return np.asarray(function(*wide)).astype(dtype)

    return fold


def _divide(step: Step, arrays: Arrays) -> Any:
    one, two = arrays
    if object in (one.dtype, two.dtype):
        return np.asarray(one.astype(object) // two.astype(object), object)
    if one.dtype.kind in "iu":
        quotient = np.abs(one) // np.abs(two)
        return (np.sign(one) * np.sign(two) * quotient).astype(one.dtype)
    return (one / two).astype(one.dtype)


def _modulo(step: Step, arrays: Arrays) -> Any:
    one, two = _fixed(arrays)
    return (np.fmod if step.node.flag("fmod", default=False) else np.mod)(one, two).astype(one.dtype)


def _equal(step: Step, arrays: Arrays) -> Any:
    if not any(each.dtype == object for each in arrays):
        return np.equal(*arrays)
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
        raise Refusal("a decision by a size that is not fixed has no counterpart: pass inputs=")
    return bool(one == two)


def _where(step: Step, arrays: Arrays) -> Any:
    _fixed(arrays[:1])
    return np.where(*arrays)


def _cast(step: Step, arrays: Arrays) -> Any:
    to = DTYPES.get(step.node.integer("to"), "")
    x = arrays[0]
    if x.dtype == object:
        if to not in ("int64", "int32"):
            raise Refusal("a size that is not fixed, as another number than an integer")
        return x
    if to not in dtypes.DENSE or to.startswith("float8"):
        raise Refusal("no such dtype")
    return x.astype(dtypes.DENSE[to])


def _gather(step: Step, arrays: Arrays) -> Any:
    x, indices = arrays[0], _fixed(arrays[1:])[0]
    return np.take(x, indices.astype(np.int64), axis=step.node.integer("axis", 0))


def _concat(step: Step, arrays: Arrays) -> Any:
    if sum(each.size for each in arrays) > MAX_FOLDED:
        raise Refusal("large")
    mixed = any(each.dtype == object for each in arrays)
    return np.concatenate([each.astype(object) if mixed else each for each in arrays], axis=step.node.integer("axis"))


def bounds(start: int, end: int, by: int, size: int) -> list[int | None]:
    """Start, end and step of a Slice as NumPy has them, left out where they are the ends.

    Raises:
        Refusal: The step is 0, or the end is one that runtimes take in different ways.
    """
    if by == 0:
        raise Refusal("a Slice with step 0 has no counterpart")
    if by < 0 and end >= FAR:
        raise Refusal("a Slice backwards to the largest integer has no counterpart: runtimes take it in two ways")
    # Places are taken into the axis; going backwards, there is one before the first.
    first = min(max(start + size if start < 0 else start, 0), size if by > 0 else max(size - 1, 0))
    last = min(max(end + size if end < 0 else end, 0 if by > 0 else -1), size)
    if by > 0:
        return [first or None, None if last >= size else last, None if by == 1 else by]
    return [None if first == size - 1 else first, None if last < 0 else last, by]


def _slice(step: Step, arrays: Arrays) -> Any:
    x, starts, ends = arrays[0], *_fixed(arrays[1:3])
    axes = _fixed(arrays[3:4])[0] if len(arrays) > 3 and arrays[3] is not None else np.arange(len(starts))
    steps = _fixed(arrays[4:5])[0] if len(arrays) > 4 else np.ones(len(starts), np.int64)
    index: list[Any] = [slice(None)] * x.ndim
    for axis, start, end, by in zip(axes, starts, ends, steps, strict=True):
        index[int(axis)] = slice(*bounds(int(start), int(end), int(by), x.shape[axis]))
    return x[tuple(index)]


def squeezed(step: Step, arrays: Arrays) -> Any:
    """Squeeze."""
    if len(arrays) < 2:
        return np.squeeze(arrays[0])
    return np.squeeze(arrays[0], tuple(int(axis) for axis in _fixed(arrays[1:])[0].reshape(-1)))


def unsqueezed(step: Step, arrays: Arrays) -> Any:
    """Unsqueeze."""
    return np.expand_dims(arrays[0], tuple(int(axis) for axis in _fixed(arrays[1:])[0].reshape(-1)))


def _reshape(step: Step, arrays: Arrays) -> Any:
    return arrays[0].reshape(wanted_shape(step, arrays[0].shape, _fixed(arrays[1:])[0]))


def wanted_shape(step: Step, before: tuple[int, ...], codes: Any) -> tuple[int, ...]:
    """The shape that Reshape gives, without -1 and 0."""
    keep = not step.node.flag("allowzero", default=False)
    shape = [before[axis] if size == 0 and keep else int(size) for axis, size in enumerate(codes)]
    rest = math.prod(size for size in shape if size != -1)
    shape = [math.prod(before) // (rest or 1) if size == -1 else size for size in shape]
    if math.prod(shape) != math.prod(before) or min(shape, default=0) < 0:
        raise ValueError(f"{before} has no shape {list(codes)}")
    return tuple(shape)


def _transpose(step: Step, arrays: Arrays) -> Any:
    return np.transpose(arrays[0], step.node.integers("perm", None))


def _split(step: Step, arrays: Arrays) -> Any:
    x, axis = arrays[0], step.node.integer("axis", 0)
    if len(arrays) > 1:
        return tuple(np.split(x, np.cumsum(_fixed(arrays[1:])[0])[:-1].tolist(), axis))
    parts = step.node.integer("num_outputs", len(step.node.outputs))
    size = -(-x.shape[axis] // parts)
    return tuple(np.split(x, list(range(size, size * parts, size)), axis))


def _limited(shape: Any) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in shape)
    if math.prod(sizes) > MAX_FOLDED or len(sizes) > 64:
        raise Refusal("large")
    return sizes


def _expand(step: Step, arrays: Arrays) -> Any:
    x, shape = arrays[0], _limited(_fixed(arrays[1:])[0])
    return np.broadcast_to(x, _limited(np.broadcast_shapes(x.shape, shape))).copy()


def _tile(step: Step, arrays: Arrays) -> Any:
    repeats = _limited(_fixed(arrays[1:])[0])
    _limited([math.prod(repeats) * arrays[0].size])
    return np.tile(arrays[0], repeats)


def _constant_of_shape(step: Step, arrays: Arrays) -> Any:
    value = step.node.tensor("value")
    filled = (np.zeros(1, np.float32) if value is None else value.read()).reshape(-1)[0]
    shape = tuple(int(size) for size in _fixed(arrays)[0])
    step.importer.make(math.prod(shape), step)
    return Deferred(shape, filled.dtype, lambda: np.full(shape, filled, filled.dtype))


def _range(step: Step, arrays: Arrays) -> Any:
    start, limit, delta = (each.reshape(-1)[0] for each in _fixed(arrays))
    count = max(math.ceil((limit - start) / delta), 0)
    _limited([count])
    return (start + np.arange(count) * delta).astype(arrays[0].dtype)


def _reduction(function: Callable[..., Any]) -> Fold:
    def fold(step: Step, arrays: Arrays) -> Any:
        x = arrays[0]
        found = _fixed(arrays[1:2])[0] if len(arrays) > 1 else step.node.integers("axes", None)
        if (found is None or len(found) == 0) and step.node.flag("noop_with_empty_axes", default=False):
            raise Refusal("a reduction over nothing")
        axes = None if found is None or len(found) == 0 else tuple(int(axis) for axis in found)
        result = np.asarray(function(x, axis=axes, keepdims=step.node.flag("keepdims", default=True)))
        return result if result.dtype == object else result.astype(x.dtype)

    return fold


def _shape(step: Step, arrays: Arrays) -> Any:
    shape = np.array(arrays[0].shape, np.int64)
    return shape[step.node.integer("start", 0) : step.node.integer("end", None)]


def _cumsum(step: Step, arrays: Arrays) -> Any:
    if step.node.flag("exclusive", default=False) or step.node.flag("reverse", default=False):
        raise Refusal("another way")
    return np.cumsum(arrays[0], int(arrays[1].reshape(-1)[0])).astype(arrays[0].dtype)


def _trilu(step: Step, arrays: Arrays) -> Any:
    k = int(arrays[1].reshape(-1)[0]) if len(arrays) > 1 else 0
    return (np.triu if step.node.flag("upper", default=True) else np.tril)(arrays[0], k)


def _several(function: Callable[..., Any]) -> Fold:
    def fold(step: Step, arrays: Arrays) -> Any:
        result = _fixed(arrays)[0]
        for each in arrays[1:]:
            result = function(result, each)
        return result

    return fold


def _gather_nd(step: Step, arrays: Arrays) -> Any:
    x, indices = arrays
    if step.node.integer("batch_dims", 0):
        raise Refusal("another way")
    return x[tuple(np.moveaxis(indices.astype(np.int64), -1, 0))]


def _scatter_nd(step: Step, arrays: Arrays) -> Any:
    x, indices, updates = arrays
    step.node.expect("reduction", "s", b"none")
    result = np.array(x)
    result[tuple(np.moveaxis(indices.astype(np.int64), -1, 0))] = updates
    return result


#: Operators that take a part of an array, and those that give it another shape or order.
_PARTS: Final = ("Slice", "Split", "Gather")
MOVES: Final = ("Transpose", "Reshape", "Squeeze", "Unsqueeze")

#: Operator of ONNX -> what it gives for values that are known.
FOLDS: Final[dict[str, Fold]] = {
    "Add": _plain(np.add),
    "Sub": _plain(np.subtract),
    "Mul": _plain(np.multiply),
    "Div": _divide,
    "Mod": _modulo,
    "Neg": _plain(np.negative),
    "Abs": _fixed_only(_plain(np.abs)),
    "Sign": _fixed_only(_plain(np.sign)),
    "Floor": _floats(np.floor),
    "Ceil": _floats(np.ceil),
    "Round": _floats(np.round),
    "Sqrt": _floats(np.sqrt),
    "Exp": _floats(np.exp),
    "Log": _floats(np.log),
    "Sin": _floats(np.sin),
    "Cos": _floats(np.cos),
    "Reciprocal": _floats(np.reciprocal),
    "Pow": _fixed_only(_plain(np.power)),
    "Min": _several(np.minimum),
    "Max": _several(np.maximum),
    "Equal": _equal,
    "Greater": _truth(np.greater),
    "GreaterOrEqual": _truth(np.greater_equal),
    "Less": _truth(np.less),
    "LessOrEqual": _truth(np.less_equal),
    "And": _truth(np.logical_and),
    "Or": _truth(np.logical_or),
    "Xor": _truth(np.logical_xor),
    "Not": _truth(np.logical_not),
    "Where": _where,
    "Cast": _cast,
    "Gather": _gather,
    "GatherND": _fixed_only(_gather_nd),
    "ScatterND": _fixed_only(_scatter_nd),
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": squeezed,
    "Unsqueeze": unsqueezed,
    "Expand": _expand,
    "Tile": _tile,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "ReduceSum": _reduction(np.sum),
    "ReduceProd": _reduction(np.prod),
    "ReduceMax": _fixed_only(_reduction(np.max)),
    "ReduceMin": _fixed_only(_reduction(np.min)),
    "Shape": _shape,
    "Size": lambda step, arrays: np.asarray(arrays[0].size, np.int64),
    "CumSum": _fixed_only(_cumsum),
    "Trilu": _fixed_only(_trilu),
    "NonZero": lambda step, arrays: np.array(np.nonzero(_fixed(arrays)[0]), np.int64),
}


def folded(step: Step) -> Operand | tuple[Operand, ...]:
    """The results of an operator on values that are known.

    Raises:
        Refusal: They are large, or it depends on sizes that are not fixed.
    """
    arrays: list[Any] = []
    for each in step.operands:
        if isinstance(each, Constant) and math.prod(each.array.shape) > MAX_FOLDED:
            raise Refusal("large arrays are computed when the network runs")
        arrays.append(each.numpy() if isinstance(each, Constant) else each.array if isinstance(each, Sizes) else None)
    try:
        with np.errstate(all="ignore"):
            found = FOLDS[step.node.op](step, arrays)
    except (SpecError, UnsafeFileError):
        raise
    except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError) as error:
        raise Refusal(f"{step.node.op} cannot be computed: {error}") from error
    several = found if isinstance(found, tuple) else (found,)
    results: list[Operand] = []
    source = step.operands[0] if step.operands else None
    # A part of a parameter stays one: when the network needs it, it is taken out of the parameter.
    is_part = isinstance(source, Constant) and (
        (bool(source.stored) and step.node.op in _PARTS)
        or (source.part is not None and step.node.op in (*_PARTS, *MOVES))
    )
    for place, each in enumerate(several):
        if isinstance(each, Deferred):
            results.append(Constant(each))
            continue
        array = np.asarray(each)
        if array.dtype == object and not any(isinstance(one, Dim) for one in array.reshape(-1)):
            array = array.astype(np.int64)
        part = (step, place) if is_part and array.dtype.kind not in "biu" else None
        results.append(Sizes(array) if array.dtype == object else Constant(in_memory(array), part=part))
    return tuple(results) if isinstance(found, tuple) else results[0]
