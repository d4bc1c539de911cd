"""How what moves elements and changes none is lowered to ONNX: op -> operators. One row an op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange.axes import several, sliced
from modelarchive.exchange.onnx.emitting import Entry
from modelarchive.exchange.onnx.lowering_context import Context, Lowering, Value
from modelarchive.ops.selection import pad_value

_Arguments = dict[str, Any]

#: What stands for "to the end" in a slice, and for "to before the first" where the step is negative.
_END: Final = 2**63 - 1


def reshaped(context: Context, x: Value, shape: Sequence[int | None]) -> Entry:
    """Reshape: ONNX's 0 is what null is here. Sizes that are known are written out, so that none is inferred from 0."""
    known = context.known[0].declared
    sizes: list[int | None] = []
    for wanted, found in zip(shape, known, strict=True):
        sizes.append(found if wanted == -1 and found is not None else wanted)
    if 0 in sizes and None in sizes:
        return _shaped(context, "Reshape", x, sizes, x, allowzero=1)
    if 0 in sizes:
        return context.op("Reshape", context.array(x), context.ints([size or 0 for size in sizes]), allowzero=1)
    return context.op("Reshape", context.array(x), context.ints([0 if size is None else size for size in sizes]))


def _shaped(context: Context, op: str, x: Value, sizes: Sequence[int | None], like: Value, **attributes: Any) -> Entry:
    """Reshape or Expand to sizes of which some (None) are those of another array at the same place."""
    parts: list[Entry] = []
    row: list[int] = []
    for axis, size in enumerate(sizes):
        fixed = size if size is not None else like.sizes[axis]
        if fixed is not None:
            row.append(fixed)
            continue
        parts += [context.ints(row)] if row else []
        row = []
        parts.append(context.size(context.array(like), axis))
    parts += [context.ints(row)] if row or not parts else []
    wanted = context.op("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
    found = context.op(op, context.array(x, context.dtype), wanted, **attributes)
    return context.cast(found, context.dtype, x.dtype)


def transposed(context: Context, x: Value, axes: Sequence[int] | None) -> Entry:
    """Transpose."""
    order = list(range(x.rank))[::-1] if axes is None else [axis % x.rank for axis in axes]
    return context.op("Transpose", context.array(x), perm=order)


def padded(context: Context, x: Value, pairs: Sequence[Sequence[int]], mode: str, value: Any) -> Entry:
    """Pad along the last axes."""
    front = [0] * (x.rank - len(pairs))
    sides = [*front, *(before for before, _ in pairs), *front, *(after for _, after in pairs)]
    inputs = [context.array(x, context.dtype), context.ints(sides)]
    if mode == "constant":
        inputs.append(context.made(pad_value(value, x.dtype)))
    return context.cast(context.op("Pad", *inputs, mode=mode), context.dtype, x.dtype)


def _reshape(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return reshaped(context, given[0], several(arguments["shape"]))


def _broadcast_to(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return _shaped(context, "Expand", given[0], several(arguments["shape"]), given[1])


def _squeeze(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    x = given[0]
    axes = [axis for axis, size in enumerate(x.sizes) if size == 1]
    if arguments["axis"] is not None:
        axes = [axis % x.rank for axis in several(arguments["axis"])]
    elif None in x.sizes:
        context.note("an axis whose size is not fixed stays, also where it is 1")
    return (
        context.op("Squeeze", context.array(x), context.ints(axes))
        if axes
        else context.op("Identity", context.array(x))
    )


def _expand_dims(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return context.op("Unsqueeze", context.array(given[0]), context.ints(several(arguments["axis"])))


def _slice(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    """Slice takes ranges; then the axes that a number drops go, and new ones come."""
    ranges, dropped, new = sliced(arguments["index"])
    x = context.array(given[0])
    if ranges:
        axes = [axis for axis, *_ in ranges]
        steps = [step for *_, step in ranges]
        starts = [(0 if step > 0 else _END) if start is None else start for _, start, _, step in ranges]
        ends = [(_END if step > 0 else -_END) if stop is None else stop for _, _, stop, step in ranges]
        x = context.op("Slice", x, *map(context.ints, (starts, ends, axes, steps)))
    x = context.op("Squeeze", x, context.ints(dropped)) if dropped else x
    x = context.op("Unsqueeze", x, context.ints(new)) if new else x
    return x if ranges or new else context.op("Identity", x)


def _split(context: Context, arguments: _Arguments, given: list[Value]) -> tuple[Entry, ...]:
    axis = arguments["axis"] % given[0].rank
    found = [each.declared[axis] for each in context.known]
    x = context.array(given[0])
    if None not in found:
        sizes = context.ints([int(size or 0) for size in found])
        return tuple(context.ops("Split", len(found), x, sizes, axis=axis))
    if isinstance(arguments["sizes"], int):
        return tuple(context.ops("Split", len(found), x, axis=axis, num_outputs=len(found)))
    open_ = arguments["sizes"].index(-1)
    before = [sum(arguments["sizes"][:part]) for part in range(open_ + 1)]
    after = [-sum(arguments["sizes"][part:]) for part in range(open_ + 1, len(found))] + [_END]
    ends = [*before[1:], *after]
    starts = [*before, *after[:-1]]
    return tuple(
        context.op("Slice", x, context.ints([start]), context.ints([end]), context.ints([axis]))
        for start, end in zip(starts, ends, strict=True)
    )


def _concatenate(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    dtype = context.known[0].array_dtype
    return context.op("Concat", *(context.array(each, dtype) for each in given), axis=arguments["axis"])


def _stack(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    dtype, axis = context.known[0].array_dtype, arguments["axis"] % (given[0].rank + 1)
    rows = [context.op("Unsqueeze", context.array(each, dtype), context.ints([axis])) for each in given]
    return context.op("Concat", *rows, axis=axis)


def indices(context: Context, given: Value) -> Entry:
    """Whole numbers as Gather takes them."""
    keeps = given.dtype in (np.int32, np.int64)
    return context.array(given, given.dtype if keeps else np.dtype(np.int64))


def _take(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return context.op("Gather", context.array(given[0]), indices(context, given[1]), axis=arguments["axis"])


def _gather(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    """GatherElements does not broadcast, so that the other axes are stretched before."""
    x, where = given
    axis = arguments["axis"] % x.rank
    values, places = context.array(x), indices(context, where)
    other = [each for each in range(x.rank) if each != axis]
    if any(x.sizes[each] is None or x.sizes[each] != where.sizes[each] for each in other):
        one = context.ints([1])
        sizes = [
            context.op(
                "Concat", *(one if each == axis else context.size(array, each) for each in range(x.rank)), axis=0
            )
            for array in (values, places)
        ]
        wide = context.array(x, context.dtype)
        values = context.cast(context.op("Expand", wide, sizes[1]), context.dtype, x.dtype)
        places = context.op("Expand", places, sizes[0])
    return context.op("GatherElements", values, places, axis=axis)


def _where(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    wanted = context.known[0].array_dtype
    condition = context.array(given[0], np.dtype(np.bool_))
    found = context.op(
        "Where", condition, *(context.cast(context.array(each, wanted), wanted, context.dtype) for each in given[1:])
    )
    return context.cast(found, context.dtype, wanted)


def _shape_of(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return context.op("Shape", context.array(given[0]))


#: Op -> how it is lowered.
SHAPES: Final[dict[str, Lowering]] = {
    "reshape": Lowering("Reshape", _reshape, wide=False),
    "broadcast_to": Lowering("Expand", _broadcast_to, wide=False),
    "transpose": Lowering(
        "Transpose", lambda context, arguments, given: transposed(context, given[0], arguments["axes"]), wide=False
    ),
    "squeeze": Lowering("Squeeze", _squeeze, wide=False, losses="without axes, those of a size that is not fixed stay"),
    "expand_dims": Lowering("Unsqueeze", _expand_dims, wide=False),
    "slice": Lowering("Slice Squeeze Unsqueeze", _slice, wide=False),
    "split": Lowering("Split Slice", _split, wide=False),
    "concatenate": Lowering("Concat", _concatenate, wide=False),
    "stack": Lowering("Unsqueeze Concat", _stack, wide=False),
    "take": Lowering("Gather", _take, wide=False),
    "gather": Lowering("GatherElements", _gather, wide=False),
    "where": Lowering("Where", _where, wide=False),
    "pad": Lowering(
        "Pad",
        lambda context, arguments, given: padded(
            context, given[0], arguments["padding"], arguments["mode"], arguments["value"]
        ),
        wide=False,
    ),
    "shape_of": Lowering("Shape", _shape_of, wide=False),
}
