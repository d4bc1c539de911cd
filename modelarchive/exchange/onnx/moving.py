"""What ONNX's operators mean that move elements, choose some, or repeat them; and those that make constants."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange import budget
from modelarchive.exchange.onnx.elementwise import Row
from modelarchive.exchange.onnx.folds import filling
from modelarchive.exchange.onnx.step import Step
from modelarchive.exchange.onnx.tensors import in_memory
from modelarchive.exchange.onnx.values import Constant, Operand, Ref, Sizes
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.dim import Dim, from_pair, literal_shape


def _constant(step: Step) -> Constant:
    node = step.node
    tensor = node.tensor("value")
    if tensor is not None:
        return Constant(tensor)
    for name, dtype in (("value_float", np.float32), ("value_int", np.int64)):
        if name in node.attributes:
            return Constant(in_memory(np.asarray(node.get(name, "f" if dtype is np.float32 else "i"), dtype)))
    for name, dtype in (("value_floats", np.float32), ("value_ints", np.int64)):
        if name in node.attributes:
            return Constant(in_memory(np.asarray(node.get(name, "floats" if dtype is np.float32 else "ints"), dtype)))
    raise Refusal(f"a Constant with {', '.join(node.attributes) or 'nothing'} has no counterpart")


def _sized(step: Step) -> np.ndarray:
    """The sizes of the first input: ints, and Dims where they are not fixed."""
    both = step.known(0).shapes
    found = np.empty(len(both[0]), object)
    found[:] = [from_pair(one, two) for one, two in zip(*both, strict=True)]
    return found


def sizes_operand(array: np.ndarray) -> Operand:
    """Sizes as a constant, where all of them are fixed."""
    if any(isinstance(each, Dim) for each in array.reshape(-1)):
        return Sizes(array)
    return Constant(in_memory(array.astype(np.int64)))


def _shape(step: Step) -> Operand:
    sizes = _sized(step)
    return sizes_operand(sizes[step.node.integer("start", 0) : step.node.integer("end", None)])


def _size(step: Step) -> Operand:
    result: Any = 1
    for each in _sized(step):
        result = result * each
    array = np.empty((), object)
    array[()] = result
    return sizes_operand(array)


def _reshape(step: Step) -> Ref:
    wanted: list[Any] = step.sizes(1)
    if not step.node.flag("allowzero", default=False):
        wanted = [None if not isinstance(size, Dim) and size == 0 else size for size in wanted]
    return step.op("reshape", step.ref(0), shape=literal_shape(wanted, step.known(0).shapes))


def _to(step: Step, ref: Ref, sizes: list[Any]) -> Ref:
    """A result in another shape, of ints and Dims."""
    return step.op("reshape", ref, shape=literal_shape(sizes, step.known_of(ref).shapes))


def _transpose(step: Step) -> Ref:
    return step.op("transpose", step.ref(0), axes=step.node.integers("perm", None))


def _squeeze(step: Step) -> Ref:
    return step.op("squeeze", step.ref(0), axis=step.integers(1) if step.has(1) else None)


def _unsqueeze(step: Step) -> Ref:
    return step.op("expand_dims", step.ref(0), axis=step.integers(1))


def _flatten(step: Step) -> Ref:
    axis = step.axis(step.node.integer("axis", 1), extra=1)
    if axis == 1:
        return step.block({"kind": "Flatten"}, step.ref(0))
    sizes = list(_sized(step))
    if axis == 0:
        return step.op("reshape", step.ref(0), shape=[1, -1])
    if any(isinstance(each, Dim) for each in sizes[axis:]):
        rows: Any = 1
        for each in sizes[:axis]:
            rows = rows * each
        return _to(step, step.ref(0), [rows, -1])
    return step.op("reshape", step.ref(0), shape=[-1, int(np.prod([int(each) for each in sizes[axis:]]))])


def _concat(step: Step) -> Ref:
    step.alike(*range(len(step)))
    return step.op("concatenate", *step.refs(), axis=step.node.integer("axis"))


def _split(step: Step) -> tuple[Any, ...]:
    axis, parts = step.axis(step.node.integer("axis", 0)), len(step.node.outputs)
    parts = step.node.integer("num_outputs", parts)
    if step.has(1):
        sizes: Any = step.integers(1)
    else:
        total = step.shape(0)[axis]
        if total is None or not 1 <= parts <= 128:
            raise Refusal(f"a split of an axis of size {total} into {parts} parts has no counterpart")
        each = -(-total // parts)
        sizes = [max(0, min(each, total - each * place)) for place in range(parts)]
        sizes = parts if len(set(sizes)) == 1 else sizes
    whole = step.op("split", step.ref(0), sizes=sizes, axis=axis)
    return tuple([whole, place] for place in range(len(step.node.outputs)))


def counted(step: Step, size: Any) -> Ref:
    """0, 1, 2, ... as int64, as many as a size says; one that is not fixed is that of an input's axis."""
    if not isinstance(size, Dim):
        return step.fixed(step.counting(int(size)))
    if size.pair not in step.importer.origins:
        raise Refusal("a range up to a size that is not fixed has no counterpart: pass inputs=")
    ref, axis = step.importer.origins[size.pair]
    ones = step.op("broadcast_to", step.literal(1, "int64"), ref, shape=[1] * axis + [None])
    flat = step.op("reshape", ones, shape=[-1])
    return step.op("subtract", step.op("cumsum", flat, axis=0), step.literal(1, "int64"))


def _range(step: Step) -> Ref:
    start, limit, delta = (step.sizes(index)[0] for index in range(3))
    if isinstance(start, Dim) or isinstance(delta, Dim) or delta != 1:
        raise Refusal("a range with a start or step that is not fixed has no counterpart: pass inputs=")
    found = counted(step, limit - start)
    return found if start == 0 else step.op("add", found, step.literal(start, "int64"))


def _expand(step: Step) -> Ref:
    wanted, have = step.sizes(1), list(_sized(step))
    rank = max(len(wanted), len(have))
    wanted = [1] * (rank - len(wanted)) + wanted
    aligned = [1] * (rank - len(have)) + have
    shape = [old if _is_one(new) else new for old, new in zip(aligned, wanted, strict=True)]
    return stretched(step, step.ref(0), shape)


def stretched(step: Step, ref: Ref, shape: list[Any]) -> Ref:
    """A result broadcast to a shape of ints and Dims: an input of the model or the array itself tells the latter."""
    if not any(isinstance(each, Dim) for each in shape):
        return step.op("broadcast_to", ref, ref, shape=[int(each) for each in shape])
    both = step.known_of(ref).shapes
    for like, pairs in [(ref, list(zip(*both, strict=True))), *_inputs(step)]:
        literal = [
            (None if place < len(pairs) and pairs[place] == each.pair else -1) if isinstance(each, Dim) else int(each)
            for place, each in enumerate(shape)
        ]
        if -1 not in literal:
            return step.op("broadcast_to", ref, like, shape=literal)
    # Axis by axis, each one stretched at a place where an input has it.
    missing = len(shape) - len(both[0])
    result = step.op("expand_dims", ref, axis=list(range(missing))) if missing else ref
    for place, size in enumerate(shape):
        if isinstance(size, Dim):
            template = counted(step, size)
            zeros = step.op("multiply", template, step.literal(0, "int64"))
            ones = step.op("add", zeros, step.literal(1, "int64"))
            tail = [1] * (len(shape) - place - 1)
            factor = step.as_dtype(step.op("reshape", ones, shape=[-1, *tail]), str(step.known_of(ref).array_dtype))
            result = step.op("multiply", result, factor)
        elif size != 1:
            like = [1] * (len(shape) - place)
            like[0] = int(size)
            dtype = str(step.known_of(ref).array_dtype)
            one = step.op("broadcast_to", step.literal(1, dtype), step.literal(1, dtype), shape=like)
            result = step.op("multiply", result, one)
    return result


def _inputs(step: Step) -> list[tuple[Ref, list[tuple[int, int]]]]:
    found = []
    budget.spend(f"{step.node.op} {step.name!r}", steps=len(step.importer.origins) // 4)
    for ref, _ in step.importer.origins.values():
        value = step.importer.value(ref)
        found.append((ref, list(zip(*value.shapes, strict=True))))
    return found


def _is_one(size: Any) -> bool:
    return not isinstance(size, Dim) and size == 1


def _constant_of_shape(step: Step) -> Ref:
    ref = step.importer.literal(filling(step), step.name)
    return stretched(step, ref, step.sizes(0))


def _tile(step: Step) -> Ref:
    repeats, sizes = step.integers(1), list(_sized(step))
    if len(repeats) != len(sizes) or any(times < 1 for times in repeats):
        raise Refusal(f"Tile with the repeats {repeats} has no counterpart")
    ref = step.ref(0)
    for axis, times in enumerate(repeats):
        if times > 1:
            if times > 4096:
                raise Refusal(f"Tile {times:,} times has no counterpart")
            ref = step.op("concatenate", *[ref] * times, axis=axis)
    return ref


def _pad(step: Step) -> Ref:
    node, rank = step.node, step.rank(0)
    mode = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}.get(
        node.text("mode", "constant")
    )
    if mode is None:
        raise Refusal(f"mode = {node.text('mode')!r} has no counterpart")
    found = step.integers(1)
    axes = [step.axis(axis) for axis in step.integers(3)] if step.has(3) else list(range(rank))
    if len(found) != 2 * len(axes):
        raise Refusal(f"Pad has {len(found)} widths for {len(axes)} axes")
    pairs = [[0, 0] for _ in range(rank)]
    index: list[Any] = [[None, None, None] for _ in range(rank)]
    for place, axis in enumerate(axes):
        before, after = found[place], found[place + len(axes)]
        pairs[axis] = [max(before, 0), max(after, 0)]
        if min(before, after) < 0:
            index[axis] = [-before if before < 0 else None, after if after < 0 else None, None]
    ref = step.ref(0)
    if any(each != [None, None, None] for each in index):
        if mode != "constant":
            raise Refusal(f"cutting off in mode {mode!r} has no counterpart")
        ref = step.op("slice", ref, index=index)
    value: Any = step.number(2) if step.has(2) else 0
    if isinstance(value, float) and value - value != 0:
        value = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bool):
        value = int(value)
    return step.op("pad", ref, padding=pairs, mode=mode, value=value)


def _depth_to_space(step: Step) -> Ref:
    size, mode = step.node.integer("blocksize"), step.node.text("mode", "DCR")
    batch, channels, height, width = _four(step)
    inner = channels // (size * size) if isinstance(channels, int) and channels % (size * size) == 0 else None
    if inner is None or mode not in ("DCR", "CRD"):
        raise Refusal(f"DepthToSpace of {channels} channels by {size} in mode {mode!r} has no counterpart")
    split = [size, size, inner] if mode == "DCR" else [inner, size, size]
    ref = _to(step, step.ref(0), [batch, *split, height, width])
    order = [0, 3, 4, 1, 5, 2] if mode == "DCR" else [0, 1, 4, 2, 5, 3]
    return _to(step, step.op("transpose", ref, axes=order), [batch, inner, height * size, width * size])


def _space_to_depth(step: Step) -> Ref:
    size = step.node.integer("blocksize")
    step.node.expect("mode", "s", b"DCR")
    batch, channels, height, width = _four(step)
    if not all(isinstance(each, int) and each % size == 0 for each in (height, width)):
        raise Refusal("SpaceToDepth of sizes that are not fixed has no counterpart: pass inputs=")
    ref = _to(step, step.ref(0), [batch, channels, height // size, size, width // size, size])
    moved = step.op("transpose", ref, axes=[0, 3, 5, 1, 2, 4])
    return _to(step, moved, [batch, channels * size * size, height // size, width // size])


def _four(step: Step) -> list[Any]:
    sizes = list(_sized(step))
    if len(sizes) != 4:
        raise Refusal(f"{step.node.op} of {len(sizes)} axes has no counterpart")
    return sizes


#: Name, what it becomes, how, what is lost.
MOVING: Final[list[Row]] = [
    ("Constant", "constant, parameter", _constant, "no sparse arrays, no strings"),
    ("ConstantOfShape", "constant, broadcast_to", _constant_of_shape, ""),
    ("Shape", "(a constant), shape_of", _shape, ""),
    ("Size", "(a constant), shape_of", _size, ""),
    ("Range", "(a constant), cumsum", _range, "a step other than 1 only where all is constant"),
    ("Reshape", "reshape", _reshape, "the shape known but for sizes that are not fixed"),
    ("Transpose", "transpose", _transpose, ""),
    ("Squeeze", "squeeze", _squeeze, ""),
    ("Unsqueeze", "expand_dims", _unsqueeze, ""),
    ("Flatten", "Flatten, reshape", _flatten, ""),
    ("Concat", "concatenate", _concat, ""),
    ("Split", "split", _split, ""),
    ("Expand", "broadcast_to, multiply", _expand, ""),
    ("Tile", "concatenate", _tile, "repeats known"),
    ("Pad", "pad, slice", _pad, "widths and value known"),
    ("DepthToSpace", "reshape, transpose", _depth_to_space, ""),
    ("SpaceToDepth", "reshape, transpose", _space_to_depth, "height and width known"),
]
