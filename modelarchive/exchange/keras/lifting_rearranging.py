"""How operations are lifted that move elements to other places: joined, turned, cut, spread over space."""

from __future__ import annotations

import itertools
import math
from typing import Any, Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_ops import one, two
from modelarchive.exchange.keras.lifting_ordering import known_size, numbered, part
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: More places are not written into an architecture.
_MANY: Final = 1 << 20


def _raveled(context: Context) -> Ref:
    return context.op("reshape", one(context), shape=[-1])


def _joined(axis: int, least: int) -> Lift:
    """Hstack, Vstack, Dstack: along an axis, of tensors that have so many axes at least."""

    def lift(context: Context) -> Ref:
        several = context.argument("xs", 0)
        if not isinstance(several, list) or not several:
            raise Refusal(f"is called on {short(several)}, expected a list of tensors")
        refs = [context.tensor_of(each) for each in several]
        rank = context.rank(refs[0])
        while rank < least:
            refs = [context.op("expand_dims", ref, axis=0 if rank == 1 and least > 1 else -1) for ref in refs]
            rank += 1
        return context.op("concatenate", *refs, axis=0 if axis == 1 and rank == 1 else axis)

    return lift


def _appended(context: Context) -> Ref:
    axis, several = context.config.value("axis", None), list(two(context))
    if axis is None:
        several, axis = [context.op("reshape", each, shape=[-1]) for each in several], 0
    return context.op("concatenate", *several, axis=axis)


def _mirrored(axis: int) -> Lift:
    return lambda context: part(context, one(context), axis, None, None, -1)


def _turned(context: Context) -> Ref:
    """Rot90: a quarter of a turn from the first axis towards the second, as many times as said."""
    x, times = one(context), context.config.integer("k", 1) % 4
    axes = context.config.axes("axes", [0, 1]) or []
    if len(axes) != 2:
        raise Refusal(f"axes = {short(axes)}, expected two")
    first, second = (context.axis(x, each) for each in axes)
    order = list(range(context.rank(x)))
    order[first], order[second] = order[second], order[first]
    for _ in range(times):
        x = context.op("transpose", part(context, x, second, None, None, -1), axes=order)
    return x


def _rolled(context: Context) -> Ref:
    """Roll: what goes out at one end comes in at the other."""
    x, axes = one(context), context.config.axes("axis", None)
    shift = context.config.axes("shift") or []
    if axes is None:
        sizes = context.dims(x)
        flat = context.op("reshape", x, shape=[-1])
        if any(size is None for size in sizes[1:]):
            raise Refusal("Roll over all axes needs fixed sizes of all but the first: pass inputs=")
        return context.op("reshape", _shifted(context, flat, 0, shift[0]), shape=[-1, *sizes[1:]])
    for axis, by in zip(axes, shift * len(axes) if len(shift) == 1 else shift, strict=True):
        x = _shifted(context, x, axis, by)
    return x


def _shifted(context: Context, x: Ref, axis: int, by: int) -> Ref:
    size = context.dims(x)[context.axis(x, axis)]
    by = by % size if size else by
    if not by:
        return x
    return context.op("concatenate", part(context, x, axis, -by, None), part(context, x, axis, None, -by), axis=axis)


def _differences(context: Context) -> Ref:
    """Diff: each element less the one before it, again and again."""
    x = one(context, 0, "a")
    axis, times = context.config.integer("axis", -1), context.config.integer("n", 1)
    if not 0 <= times <= 64:
        raise Refusal(f"n = {times} is not supported, at most 64")
    for _ in range(times):
        x = context.op("subtract", part(context, x, axis, 1, None), part(context, x, axis, None, -1))
    return x


def _triangle(sign: int) -> Lift:
    """Tril (1) and Triu (-1): zeros on the other side of a diagonal."""

    def lift(context: Context) -> Ref:
        x, k = one(context), context.config.integer("k", 0)
        rows, columns = (known_size(context, x, axis) for axis in (-2, -1))
        down, right = (Term(context, numbered(context, size)) for size in (rows, columns))
        apart = Term(context, context.op("expand_dims", down.ref, axis=1)) - right + k
        kept = ~(apart < 0) if sign > 0 else ~(apart > 0)
        return kept.where(Term(context, x), Term(context, context.constant(0, context.dtype(x).name))).ref

    return lift


def _diagonal(context: Context) -> Ref:
    """Diagonal of two axes, which becomes the last one."""
    x, offset = one(context), context.config.integer("offset", 0)
    first, second = (context.axis(x, context.config.integer(name, at)) for at, name in enumerate(("axis1", "axis2")))
    rows, columns = known_size(context, x, first), known_size(context, x, second)
    order = [axis for axis in range(context.rank(x)) if axis not in (first, second)]
    flat = context.op("transpose", x, axes=[*order, first, second])
    flat = context.op("reshape", flat, shape=[*([None] * len(order)), rows * columns])
    count = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    if not count:
        raise Refusal(f"offset = {offset} leaves nothing of a diagonal of {rows} by {columns}")
    begin = max(-offset, 0) * columns + max(offset, 0)
    places = begin + np.arange(count) * (columns + 1)
    return context.op("take", flat, context.constant(places, "int64"), axis=-1)


def _trace(context: Context) -> Ref:
    return context.op("sum", _diagonal(context), axis=[-1], keepdims=False)


def _sliced(context: Context) -> Ref:
    """Slice: so many elements from where it begins."""
    begin, shape = context.argument("start_indices", 1), context.config.axes("shape") or []
    starts = begin if isinstance(begin, list) else [begin]
    if len(starts) != len(shape) or any(type(each) is not int for each in starts):
        raise Refusal(f"start_indices = {short(begin)}, expected {len(shape)} whole numbers")
    x = one(context, 0, "inputs")
    index: list[Any] = []
    for axis, (start, size) in enumerate(zip(starts, shape, strict=True)):
        known = context.dims(x)[axis]
        stop = None if size == -1 or (known is not None and start + size >= known) else start + size
        index.append([start, stop, None])
    return context.op("slice", x, index=index)


def _outer(context: Context) -> Ref:
    x, y = (context.op("reshape", each, shape=[-1]) for each in two(context))
    return context.op("multiply", context.op("expand_dims", x, axis=1), y)


def _inner(context: Context) -> Ref:
    """Inner: the last axis of both is summed over."""
    x, y = two(context)
    letters = iter("abcdefghijklmnopqrstuvwx")
    one_, other = ("".join(itertools.islice(letters, context.rank(each) - 1)) for each in (x, y))
    return context.op("einsum", x, y, pattern=f"{one_}z,{other}z->{one_}{other}")


def _vdot(context: Context) -> Ref:
    x, y = (context.op("reshape", each, shape=[-1]) for each in two(context))
    return context.op("sum", context.op("multiply", x, y), axis=[0], keepdims=False)


def _kron(context: Context) -> Ref:
    x, y = two(context)
    if context.rank(x) != context.rank(y):
        raise Refusal(f"Kron of {context.rank(x)} and {context.rank(y)} axes is not supported")
    sizes = [context.dims(each) for each in (x, y)]
    if any(size is None for each in sizes for size in each[1:]):
        raise Refusal("Kron needs fixed sizes of all axes but the first: pass inputs=")
    shape = [-1, *(a * b for a, b in zip(*(each[1:] for each in sizes), strict=True))]
    for axis in range(context.rank(x)):
        x, y = context.op("expand_dims", x, axis=2 * axis + 1), context.op("expand_dims", y, axis=2 * axis)
    return context.op("reshape", context.op("multiply", x, y), shape=shape)


def _crossed(context: Context) -> Ref:
    """Cross of vectors of three."""
    config = context.config
    axes = [config.integer(name, -1) for name in ("axisa", "axisb", "axisc")]
    if config.value("axis", None) is not None:
        axes = [config.integer("axis")] * 3
    x, y = two(context)
    rank = context.rank(x)
    if any(axis % rank != rank - 1 for axis in axes) or context.rank(y) != rank:
        raise Refusal("Cross is supported along the last axis of tensors of as many axes")
    if context.dims(x)[-1] != 3 or context.dims(y)[-1] != 3:
        raise Refusal("Cross is supported of vectors of three")
    whole: list[Any] = [[None, None, None]] * (rank - 1)
    a, b = ([Term(context, context.op("slice", each, index=[*whole, at])) for at in range(3)] for each in (x, y))
    parts = [a[at] * b[after] - a[after] * b[at] for at, after in ((1, 2), (2, 0), (0, 1))]
    return context.op("stack", *(each.ref for each in parts), axis=-1)


def _sequences(context: Context) -> Ref:
    """ExtractSequences: windows of the last axis, one beside the other."""
    x = one(context)
    length, stride = context.config.integer("sequence_length"), context.config.integer("sequence_stride")
    size = known_size(context, x, -1)
    if not 0 < length <= size or stride < 1:
        raise Refusal(f"sequence_length = {length} and sequence_stride = {stride} of {size} elements")
    count = 1 + (size - length) // stride
    spend("windows", elements=min(count * length, _MANY))
    if count * length > _MANY:
        raise Refusal(f"{count * length:,} places are beyond all reason")
    places = np.arange(count)[:, None] * stride + np.arange(length)
    return context.op("take", x, context.constant(places, "int64"), axis=-1)


def _full(context: Context) -> Ref:
    """FullLike: one number everywhere."""
    x, value = one(context), context.tensor_of(context.argument("fill_value", 1))
    dtype = context.config.value("dtype", None) or context.dtype(x).name
    single = context.op("cast", value, dtype=dtype)
    return context.op("broadcast_to", single, x, shape=[None] * context.rank(x))


def _grids(context: Context) -> list[Ref]:
    """Meshgrid of vectors."""
    several = [context.tensor_of(each) for each in context.call.args]
    context._used.update(range(len(several)))
    if any(context.rank(each) != 1 for each in several):
        raise Refusal("Meshgrid is supported of vectors")
    axes = list(range(len(several)))
    if context.config.text("indexing", "xy") == "xy" and len(axes) > 1:
        axes[:2] = [1, 0]
    laid = []
    for ref, axis in zip(several, axes, strict=True):
        for at in range(len(several)):
            ref = ref if at == axis else context.op("expand_dims", ref, axis=at)
        laid.append(ref)
    whole = laid[0]
    for each in laid[1:]:
        whole = context.op("add", whole, context.op("multiply", each, context.constant(0)))
    return [context.op("broadcast_to", each, whole, shape=[None] * len(several)) for each in laid]


def _overwritten(context: Context) -> Ref:
    """SliceUpdate: a part of a tensor, from fixed places on, is another one."""
    begin = context.argument("start_indices", 1)
    starts = begin if isinstance(begin, list) else [begin]
    x, updates = one(context, 0, "inputs"), one(context, 2, "updates")
    rank = context.rank(x)
    if len(starts) != rank or context.rank(updates) != rank or any(type(each) is not int for each in starts):
        raise Refusal(f"start_indices = {short(begin)}, expected {rank} whole numbers")
    pairs = []
    for start, size, part_size in zip(starts, context.dims(x), context.dims(updates), strict=True):
        if None in (size, part_size) and (start or size != part_size):
            raise Refusal("SliceUpdate along an axis of a size that is not known: pass inputs=")
        pairs.append([start, (size or 0) - start - (part_size or 0)])
    numbers = Term(context, updates).is_number.cast("uint8")
    ones = numbers | Term(context, context.constant(1, "uint8"))  # NaN is none
    where = context.op("pad", ones.ref, padding=pairs, mode="constant", value=0.0)
    moved = context.op("pad", updates, padding=pairs, mode="constant", value=0.0)
    return context.op("where", context.op("cast", where, dtype="bool"), moved, x)


def _padded(context: Context) -> Ref:
    """Pad."""
    x, mode = one(context), context.config.text("mode", "constant")
    value = context.argument("constant_values", 1)
    finite = value is None or (type(value) in (int, float) and math.isfinite(value))
    if mode not in ("constant", "reflect", "symmetric") or not finite:
        raise Refusal(f"mode = {mode!r} with {short(value)} is not supported")
    pairs = context.config.pairs("pad_width", context.rank(x))
    if mode == "symmetric":
        if any(max(pair) > 1 for pair in pairs):
            context.note("symmetric padding is as TensorFlow and JAX have it; Keras' PyTorch backend repeats the edge")
        return _in_mirrors(context, x, pairs)
    return context.op("pad", x, padding=pairs, mode=mode, value=float(value or 0.0))


def _in_mirrors(context: Context, x: Ref, pairs: list[list[int]]) -> Ref:
    """Symmetric padding: as if a mirror stood at the ends, so that these stand twice."""
    for axis, (before, after) in enumerate(pairs):
        size = context.dims(x)[axis]
        if min(before, after) < 0 or (size is not None and max(before, after) > size):
            raise Refusal(f"symmetric padding by {before} and {after} of {size} elements is not supported")
        whole: list[Any] = [[None, None, None]] * axis
        first = [context.op("slice", x, index=[*whole, [before - 1, None, -1]])] if before else []
        last = [context.op("slice", x, index=[*whole, [None, -after - 1, -1]])] if after else []
        if first or last:
            x = context.op("concatenate", *first, x, *last, axis=axis)
    return x


#: Operations that move elements.
ROWS: Final[tuple[Lifting, ...]] = (
    operation("Ravel", "reshape", _raveled),
    operation("Hstack", "concatenate", _joined(1, 1)),
    operation("Vstack", "concatenate", _joined(0, 2)),
    operation("Dstack", "concatenate", _joined(2, 3)),
    operation("Append", "concatenate", _appended),
    operation("Fliplr", "slice", _mirrored(1)),
    operation("Flipud", "slice", _mirrored(0)),
    operation("Rot90", "slice, transpose", _turned),
    operation("Pad", "pad, concatenate", _padded, "symmetric, reflected, or one finite number"),
    operation("Roll", "slice, concatenate", _rolled),
    operation("Diff", "slice, subtract", _differences),
    operation("Tril", "where", _triangle(1), "of known sizes"),
    operation("Triu", "where", _triangle(-1), "of known sizes"),
    operation("Diagonal", "take", _diagonal, "of known sizes"),
    operation("Trace", "take, sum", _trace, "of known sizes"),
    operation("Slice", "slice", _sliced, "from fixed places"),
    operation("SliceUpdate", "pad, where", _overwritten, "from fixed places"),
    operation("Outer", "multiply", _outer),
    operation("Inner", "einsum", _inner),
    operation("Vdot", "multiply, sum", _vdot),
    operation("Kron", "multiply, reshape", _kron, "of known sizes but the first"),
    operation("Cross", "multiply, stack", _crossed, "of vectors of three, along the last axis"),
    operation("ExtractSequences", "take", _sequences, "of a known size"),
    operation("FullLike", "broadcast_to", _full),
    operation("Meshgrid", "broadcast_to", _grids, "of vectors"),
)
