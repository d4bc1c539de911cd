"""How ONNX's operators are lifted that move elements or repeat them; and those that make constants."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.folds import filling
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_sizes import counted, one, shaped, sizes_of, sizes_operand, stretched
from modelarchive.exchange.onnx.values import Constant, Operand, Sizes
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.nn.dim import Dim, from_pair
from modelarchive.store.deferred import Deferred


def _constant(context: Context) -> Constant:
    node = context.node
    tensor = node.tensor("value")
    if tensor is not None:
        return Constant(tensor)
    for name, dtype in (("value_float", np.float32), ("value_int", np.int64)):
        if name in node.attributes:
            return Constant(Deferred.of(np.asarray(node.get(name, "f" if dtype is np.float32 else "i"), dtype)))
    for name, dtype in (("value_floats", np.float32), ("value_ints", np.int64)):
        if name in node.attributes:
            return Constant(Deferred.of(np.asarray(node.get(name, "floats" if dtype is np.float32 else "ints"), dtype)))
    raise Refusal(f"a Constant with {', '.join(node.attributes) or 'nothing'} is not supported")


def _shape(context: Context) -> Operand:
    sizes = sizes_of(context)
    for axis, size in enumerate(sizes):
        if isinstance(size, Dim):
            context.builder.origins.setdefault(size.pair, (context.ref(0), axis))
    return sizes_operand(sizes[context.node.integer("start", 0) : context.node.integer("end", None)])


def _size(context: Context) -> Operand:
    result: Any = 1
    for each in sizes_of(context):
        result = result * each
    array = np.empty((), object)
    array[()] = result
    return sizes_operand(array)


def _reshape(context: Context) -> Ref:
    wanted: list[Any] = context.sizes(1)
    if not context.node.flag("allowzero", default=False):
        wanted = [None if not isinstance(size, Dim) and size == 0 else size for size in wanted]
    return shaped(context, context.ref(0), wanted)


def _transpose(context: Context) -> Ref:
    return context.op("transpose", context.ref(0), axes=context.node.integers("perm", None))


def _squeeze(context: Context) -> Ref:
    axes = context.integers(1) if context.has(1) else None
    if axes == [] and any(size in (1, None) for size in context.shape(0)):
        raise Refusal("a Squeeze of no axes is not supported: runtimes take it as of none, or of all of size 1")
    return context.op("squeeze", context.ref(0), axis=axes)


def _unsqueeze(context: Context) -> Ref:
    return context.op("expand_dims", context.ref(0), axis=context.integers(1))


def _flatten(context: Context) -> Ref:
    axis = context.axis(context.node.integer("axis", 1), extra=1)
    if axis == 1:
        return context.block({"kind": "Flatten"}, context.ref(0))
    sizes = list(sizes_of(context))
    if axis == 0:
        return context.op("reshape", context.ref(0), shape=[1, -1])
    if any(isinstance(each, Dim) for each in sizes[axis:]):
        rows: Any = 1
        for each in sizes[:axis]:
            rows = rows * each
        return shaped(context, context.ref(0), [rows, -1])
    return context.op("reshape", context.ref(0), shape=[-1, int(np.prod([int(each) for each in sizes[axis:]]))])


def _concat(context: Context) -> Ref:
    context.alike(*range(len(context)))
    return context.op("concatenate", *context.refs(), axis=context.node.integer("axis"))


def _split(context: Context) -> tuple[Any, ...]:
    axis, parts = context.axis(context.node.integer("axis", 0)), len(context.node.outputs)
    parts = context.node.integer("num_outputs", parts)
    if context.has(1):
        sizes: Any = context.integers(1)
    else:
        total = context.shape(0)[axis]
        if total is None or not 1 <= parts <= 128:
            raise Refusal(f"a split of an axis of size {total} into {parts} parts is not supported")
        each = -(-total // parts)
        sizes = [max(0, min(each, total - each * place)) for place in range(parts)]
        sizes = parts if len(set(sizes)) == 1 else sizes
    whole = context.op("split", context.ref(0), sizes=sizes, axis=axis)
    return whole.parts(len(context.node.outputs))


def _range(context: Context) -> Ref:
    limit = _limit(context)
    start, delta = (context.number(index) if context.is_constant(index) else None for index in (0, 2))
    if delta != 1 or start is None or start != int(start):
        raise Refusal("a range with a start or step that is not fixed is not supported: pass inputs=")
    found, dtype = counted(context, limit - int(start)), context.dtype(0)
    found = found if start == 0 else context.op("add", found, context.literal(int(start), "int64"))
    return context.as_dtype(found, dtype)


def _limit(context: Context) -> Any:
    """Where a range ends: a size, also one that became a float."""
    operand = context.operand(1)
    behind = context.cast_sizes(1)
    if behind is not None and behind.array.size == 1:
        return behind.array.reshape(-1)[0]
    if isinstance(operand, Constant):
        return int(np.ceil(context.number(1)))
    return context.sizes(1)[0]


def _expand(context: Context) -> Ref:
    wanted, have = context.sizes(1), list(sizes_of(context))
    rank = max(len(wanted), len(have))
    wanted = [1] * (rank - len(wanted)) + wanted
    aligned = [1] * (rank - len(have)) + have
    shape = [old if not isinstance(new, Dim) and new == 1 else new for old, new in zip(aligned, wanted, strict=True)]
    return stretched(context, context.ref(0), shape)


def _constant_of_shape(context: Context) -> Ref:
    ref = context.builder.literal(filling(context), context.name)
    return stretched(context, ref, context.sizes(0))


def _tile(context: Context) -> Ref:
    repeats, sizes = context.sizes(1), list(sizes_of(context))
    if len(repeats) != len(sizes) or any(not isinstance(times, Dim) and times < 1 for times in repeats):
        raise Refusal(f"Tile with the repeats {repeats} is not supported")
    ref = context.ref(0)
    for axis, times in enumerate(repeats):
        if isinstance(times, Dim):
            ref = _tiled_by_size(context, ref, axis, times)
        elif times > 1:
            if times > 4096:
                raise Refusal(f"Tile {times:,} times is not supported")
            ref = context.op("concatenate", *[ref] * times, axis=axis)
    return ref


def _tiled_by_size(context: Context, ref: Ref, axis: int, times: Dim) -> Ref:
    """An axis as often as a size says, which is not fixed."""
    both = context.known_of(ref).shapes
    line = counted(context, from_pair(both[0][axis], both[1][axis]))
    none = context.op("multiply", counted(context, times), context.literal(0, "int64"))
    places = context.op("add", context.op("expand_dims", none, axis=[1]), line)
    return context.op("take", ref, context.op("reshape", places, shape=[-1]), axis=axis)


def _pad(context: Context) -> Ref:
    node, rank = context.node, context.rank(0)
    mode = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}.get(
        node.text("mode", "constant")
    )
    if mode is None:
        raise Refusal(f"mode = {node.text('mode')!r} is not supported")
    if isinstance(context.operand(1), Sizes):
        return _pad_by_size(context, mode)
    found = context.integers(1)
    axes = [context.axis(axis) for axis in context.integers(3)] if context.has(3) else list(range(rank))
    if len(found) != 2 * len(axes):
        raise Refusal(f"Pad has {len(found)} widths for {len(axes)} axes")
    pairs = [[0, 0] for _ in range(rank)]
    index: list[Any] = [[None, None, None] for _ in range(rank)]
    for place, axis in enumerate(axes):
        before, after = found[place], found[place + len(axes)]
        pairs[axis] = [max(before, 0), max(after, 0)]
        if min(before, after) < 0:
            size = context.shape(0)[axis]
            if size is not None and max(-before, 0) + max(-after, 0) > size:
                raise Refusal(f"Pad that cuts {before} and {after} off an axis of {size} elements is not supported")
            index[axis] = [-before if before < 0 else None, after if after < 0 else None, None]
    ref = context.ref(0)
    if any(each != [None, None, None] for each in index):
        ref = context.op("slice", ref, index=index)
    if mode == "constant" and context.has(2) and not context.is_constant(2):
        return _pad_with(context, ref, pairs)
    value: Any = context.number(2) if context.has(2) else 0
    if isinstance(value, float) and value - value != 0:
        value = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bool):
        value = int(value)
    return context.op("pad", ref, padding=pairs, mode=mode, value=value)


def _pad_with(context: Context, ref: Ref, pairs: list[list[int]]) -> Ref:
    """What is added is a number that is computed."""
    ones = context.op("broadcast_to", context.literal(1, "uint8"), ref, shape=[None] * len(pairs))
    zeros = context.op("pad", ones, padding=pairs, mode="constant", value=0)
    inside = context.op("equal", zeros, context.literal(1, "uint8"))
    padded = context.op("pad", ref, padding=pairs, mode="constant", value=0)
    value = context.op("reshape", context.as_dtype(context.ref(2), context.dtype(0)), shape=[])
    return context.op("where", inside, padded, value)


def _pad_by_size(context: Context, mode: str) -> Ref:
    """What is added or cut off depends on a size: each element of the result is taken from its place, or the value."""
    found, sizes = context.sizes(1), list(sizes_of(context))
    axes = [context.axis(axis) for axis in context.integers(3)] if context.has(3) else list(range(len(sizes)))
    if mode != "constant" or len(found) != 2 * len(axes):
        raise Refusal(f"Pad by sizes that are not fixed in the mode {mode!r} is not supported: pass inputs=")
    ref, dtype = context.ref(0), context.dtype(0)
    value = context.as_dtype(context.ref(2), dtype) if context.has(2) else context.literal(0, dtype)
    value = context.op("reshape", value, shape=[])
    for place, axis in enumerate(axes):
        before, after = found[place], found[place + len(axes)]
        if _is_zero(before) and _is_zero(after):
            continue
        places = counted(context, before + sizes[axis] + after)
        places = context.op("subtract", places, context.builder.reference(sizes_operand(one(before)), context.name))
        count = context.builder.reference(sizes_operand(one(sizes[axis])), context.name)
        last = context.op("subtract", count, context.literal(1, "int64"))
        zero = context.literal(0, "int64")
        held = context.op("maximum", context.op("minimum", places, last), zero)
        inside = context.op("equal", held, places)
        tail = [1] * (len(sizes) - axis - 1)
        ref = context.op("take", ref, held, axis=axis)
        ref = context.op("where", context.op("reshape", inside, shape=[-1, *tail]), ref, value)
    return ref


def _is_zero(size: Any) -> bool:
    return not isinstance(size, Dim) and size == 0


def _depth_to_space(context: Context) -> Ref:
    size, mode = context.node.integer("blocksize"), context.node.text("mode", "DCR")
    batch, channels, height, width = _four(context)
    inner = channels // (size * size) if isinstance(channels, int) and channels % (size * size) == 0 else None
    if inner is None or mode not in ("DCR", "CRD"):
        raise Refusal(f"DepthToSpace of {channels} channels by {size} in mode {mode!r} is not supported")
    split = [size, size, inner] if mode == "DCR" else [inner, size, size]
    ref = shaped(context, context.ref(0), [batch, *split, height, width])
    order = [0, 3, 4, 1, 5, 2] if mode == "DCR" else [0, 1, 4, 2, 5, 3]
    return shaped(context, context.op("transpose", ref, axes=order), [batch, inner, height * size, width * size])


#: Mode -> the order of batch, channels, rows of blocks, in one, columns of blocks, in one.
_PLACES: Final = {"DCR": [0, 3, 5, 1, 2, 4], "CRD": [0, 1, 3, 5, 2, 4]}


def _space_to_depth(context: Context) -> Ref:
    size = context.node.integer("blocksize")
    mode = context.node.text("mode", "DCR")
    if mode not in _PLACES:
        raise Refusal(f"SpaceToDepth in the mode {mode!r} is not supported")
    batch, channels, height, width = _four(context)
    if not all(isinstance(each, int) and each % size == 0 for each in (height, width)):
        raise Refusal("SpaceToDepth of sizes that are not fixed is not supported: pass inputs=")
    ref = shaped(context, context.ref(0), [batch, channels, height // size, size, width // size, size])
    moved = context.op("transpose", ref, axes=_PLACES[mode])
    return shaped(context, moved, [batch, channels * size * size, height // size, width // size])


def _four(context: Context) -> list[Any]:
    sizes = list(sizes_of(context))
    if len(sizes) != 4:
        raise Refusal(f"{context.node.op} of {len(sizes)} axes is not supported")
    return sizes


ROWS: Final[list[Lifting]] = [
    Lifting("Constant", "constant, parameter", _constant, "no sparse arrays, no strings"),
    Lifting("ConstantOfShape", "constant, broadcast_to", _constant_of_shape),
    Lifting("Shape", "(a constant), shape_of", _shape),
    Lifting("Size", "(a constant), shape_of", _size),
    Lifting("Range", "(a constant), cumsum", _range, "a step other than 1 only where all is constant"),
    Lifting("Reshape", "reshape", _reshape, "the shape known but for sizes that are not fixed"),
    Lifting("Transpose", "transpose", _transpose),
    Lifting("Squeeze", "squeeze", _squeeze),
    Lifting("Unsqueeze", "expand_dims", _unsqueeze),
    Lifting("Flatten", "Flatten, reshape", _flatten),
    Lifting("Concat", "concatenate", _concat),
    Lifting("Split", "split", _split),
    Lifting("Expand", "broadcast_to, multiply", _expand),
    Lifting("Tile", "concatenate, take", _tile, "repeats known, or sizes"),
    Lifting("Pad", "pad, slice, take, where", _pad, "widths known, but for sizes that are not fixed"),
    Lifting("DepthToSpace", "reshape, transpose", _depth_to_space),
    Lifting("SpaceToDepth", "reshape, transpose", _space_to_depth, "height and width known"),
]
