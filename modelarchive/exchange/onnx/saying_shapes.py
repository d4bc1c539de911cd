"""How what moves elements and changes none is said in ONNX: op -> operators. One row an op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange.onnx.composing import Entry, Given, Place, Saying
from modelarchive.ops.selection import pad_value

Arguments = dict[str, Any]

#: What stands for "to the end" in a slice, and for "to before the first" where the step is negative.
_END: Final = 2**63 - 1


def reshaped(place: Place, x: Given, shape: Sequence[int | None]) -> Entry:
    """Reshape: ONNX's 0 is what null is here. Sizes that are known are written out, so that none is inferred from 0."""
    known = place.known[0].declared
    sizes: list[int | None] = []
    for wanted, found in zip(shape, known, strict=True):
        sizes.append(found if wanted == -1 and found is not None else wanted)
    if 0 in sizes and None in sizes:
        return _shaped(place, "Reshape", x, sizes, x, allowzero=1)
    if 0 in sizes:
        return place.op("Reshape", place.array(x), place.ints([size or 0 for size in sizes]), allowzero=1)
    return place.op("Reshape", place.array(x), place.ints([0 if size is None else size for size in sizes]))


def _shaped(place: Place, op: str, x: Given, sizes: Sequence[int | None], like: Given, **attributes: Any) -> Entry:
    """Reshape or Expand to sizes of which some (None) are those of another array at the same place."""
    parts: list[Entry] = []
    row: list[int] = []
    for axis, size in enumerate(sizes):
        fixed = size if size is not None else like.sizes[axis]
        if fixed is not None:
            row.append(fixed)
            continue
        parts += [place.ints(row)] if row else []
        row = []
        parts.append(place.size(place.array(like), axis))
    parts += [place.ints(row)] if row or not parts else []
    wanted = place.op("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
    found = place.op(op, place.array(x, place.dtype), wanted, **attributes)
    return place.cast(found, place.dtype, x.dtype)


def transposed(place: Place, x: Given, axes: Sequence[int] | None) -> Entry:
    """Transpose."""
    order = list(range(x.rank))[::-1] if axes is None else [axis % x.rank for axis in axes]
    return place.op("Transpose", place.array(x), perm=order)


def padded(place: Place, x: Given, pairs: Sequence[Sequence[int]], mode: str, value: Any) -> Entry:
    """Pad along the last axes."""
    front = [0] * (x.rank - len(pairs))
    sides = [*front, *(before for before, _ in pairs), *front, *(after for _, after in pairs)]
    inputs = [place.array(x, place.dtype), place.ints(sides)]
    if mode == "constant":
        inputs.append(place.made(pad_value(value, x.dtype)))
    return place.cast(place.op("Pad", *inputs, mode=mode), place.dtype, x.dtype)


def _reshape(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    return reshaped(place, given[0], _several(arguments["shape"]))


def _broadcast_to(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    return _shaped(place, "Expand", given[0], _several(arguments["shape"]), given[1])


def _squeeze(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    x = given[0]
    axes = [axis for axis, size in enumerate(x.sizes) if size == 1]
    if arguments["axis"] is not None:
        axes = [axis % x.rank for axis in _several(arguments["axis"])]
    elif None in x.sizes:
        place.note("an axis whose size is not fixed stays, also where it is 1")
    return place.op("Squeeze", place.array(x), place.ints(axes)) if axes else place.op("Identity", place.array(x))


def _expand_dims(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    return place.op("Unsqueeze", place.array(given[0]), place.ints(_several(arguments["axis"])))


def _slice(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    """Slice takes ranges; then the axes that a number drops go, and new ones come."""
    ranges: list[tuple[int, int, int, int]] = []
    dropped, new = [], []
    axis = result = 0
    for index in arguments["index"]:
        if index is None:
            new.append(result)
            result += 1
            continue
        if isinstance(index, int):
            ranges.append((axis, index, index + 1 if index != -1 else _END, 1))
            dropped.append(axis)
        else:
            begin, end, step = index
            step = 1 if step is None else step
            begin = (0 if step > 0 else _END) if begin is None else begin
            end = (_END if step > 0 else -_END) if end is None else end
            if (begin, end, step) != (0, _END, 1):
                ranges.append((axis, begin, end, step))
            result += 1
        axis += 1
    x = place.array(given[0])
    if ranges:
        axes, starts, ends, steps = (list(each) for each in zip(*ranges, strict=True))
        x = place.op("Slice", x, *map(place.ints, (starts, ends, axes, steps)))
    x = place.op("Squeeze", x, place.ints(dropped)) if dropped else x
    x = place.op("Unsqueeze", x, place.ints(new)) if new else x
    return x if ranges or new else place.op("Identity", x)


def _split(place: Place, arguments: Arguments, given: list[Given]) -> tuple[Entry, ...]:
    axis = arguments["axis"] % given[0].rank
    found = [each.declared[axis] for each in place.known]
    x = place.array(given[0])
    if None not in found:
        sizes = place.ints([int(size or 0) for size in found])
        return tuple(place.ops("Split", len(found), x, sizes, axis=axis))
    if isinstance(arguments["sizes"], int):
        return tuple(place.ops("Split", len(found), x, axis=axis, num_outputs=len(found)))
    open_ = arguments["sizes"].index(-1)
    before = [sum(arguments["sizes"][:part]) for part in range(open_ + 1)]
    after = [-sum(arguments["sizes"][part:]) for part in range(open_ + 1, len(found))] + [_END]
    ends = [*before[1:], *after]
    starts = [*before, *after[:-1]]
    return tuple(
        place.op("Slice", x, place.ints([start]), place.ints([end]), place.ints([axis]))
        for start, end in zip(starts, ends, strict=True)
    )


def _concatenate(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    dtype = place.known[0].array_dtype
    return place.op("Concat", *(place.array(each, dtype) for each in given), axis=arguments["axis"])


def _stack(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    dtype, axis = place.known[0].array_dtype, arguments["axis"] % (given[0].rank + 1)
    rows = [place.op("Unsqueeze", place.array(each, dtype), place.ints([axis])) for each in given]
    return place.op("Concat", *rows, axis=axis)


def indices(place: Place, given: Given) -> Entry:
    """Whole numbers as Gather takes them."""
    keeps = given.dtype in (np.int32, np.int64)
    return place.array(given, given.dtype if keeps else np.dtype(np.int64))


def _take(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    return place.op("Gather", place.array(given[0]), indices(place, given[1]), axis=arguments["axis"])


def _gather(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    """GatherElements does not broadcast, so that the other axes are stretched before."""
    x, where = given
    axis = arguments["axis"] % x.rank
    values, places = place.array(x), indices(place, where)
    other = [each for each in range(x.rank) if each != axis]
    if any(x.sizes[each] is None or x.sizes[each] != where.sizes[each] for each in other):
        one = place.ints([1])
        sizes = [
            place.op("Concat", *(one if each == axis else place.size(array, each) for each in range(x.rank)), axis=0)
            for array in (values, places)
        ]
        wide = place.array(x, place.dtype)
        values = place.cast(place.op("Expand", wide, sizes[1]), place.dtype, x.dtype)
        places = place.op("Expand", places, sizes[0])
    return place.op("GatherElements", values, places, axis=axis)


def _where(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    wanted = place.known[0].array_dtype
    condition = place.array(given[0], np.dtype(np.bool_))
    found = place.op(
        "Where", condition, *(place.cast(place.array(each, wanted), wanted, place.dtype) for each in given[1:])
    )
    return place.cast(found, place.dtype, wanted)


def _shape_of(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    return place.op("Shape", place.array(given[0]))


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, int) else list(value)


#: Op -> how it is said.
SHAPES: Final[dict[str, Saying]] = {
    "reshape": Saying(_reshape, ("Reshape",), wide=False),
    "broadcast_to": Saying(_broadcast_to, ("Expand",), wide=False),
    "transpose": Saying(
        lambda place, arguments, given: transposed(place, given[0], arguments["axes"]), ("Transpose",), wide=False
    ),
    "squeeze": Saying(
        _squeeze, ("Squeeze",), wide=False, losses="without axes, those of a size that is not fixed stay"
    ),
    "expand_dims": Saying(_expand_dims, ("Unsqueeze",), wide=False),
    "slice": Saying(_slice, ("Slice", "Squeeze", "Unsqueeze"), wide=False),
    "split": Saying(_split, ("Split", "Slice"), wide=False),
    "concatenate": Saying(_concatenate, ("Concat",), wide=False),
    "stack": Saying(_stack, ("Unsqueeze", "Concat"), wide=False),
    "take": Saying(_take, ("Gather",), wide=False),
    "gather": Saying(_gather, ("GatherElements",), wide=False),
    "where": Saying(_where, ("Where",), wide=False),
    "pad": Saying(
        lambda place, arguments, given: padded(
            place, given[0], arguments["padding"], arguments["mode"], arguments["value"]
        ),
        ("Pad",),
        wide=False,
    ),
    "shape_of": Saying(_shape_of, ("Shape",), wide=False),
}
