"""How ops that select elements are lowered to Keras."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelarchive.exchange.keras.emitting import Tensor
from modelarchive.exchange.keras.lowering_context import Context, Value, is_tensor
from modelarchive.exchange.keras.lowering_shapes import sliced
from modelarchive.exchange.refusal import Refusal

_Arguments = dict[str, Any]


def cut(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    """Axes that are passed backwards are turned round first."""
    x = context.plain(given[0])
    index: list[Any] = []
    axis = 0
    for each in arguments["index"]:
        if each is None:
            index.append(None)
            continue
        if isinstance(each, int):
            index.append(each)
        else:
            start, stop, step = each
            if (step or 1) < 0:
                x = context.op("flip", x, axis=axis)
                # Element i is -1 - i now.
                start, stop = (None if each is None else -1 - each for each in (start, stop))
                index.append(slice(start, stop, -step))
            else:
                index.append(slice(start, stop, step))
        axis += 1
    return context.result(sliced(context, x, tuple(index)) if index else x)


def split(context: Context, arguments: _Arguments, given: list[Value]) -> tuple[Value, ...]:
    """Parts one after another; slices, unless only Keras knows how large equal parts are."""
    value = given[0]
    axis = arguments["axis"] % value.rank
    tensor = context.plain(value)
    asked = arguments["sizes"]
    sizes = [known.declared[axis] for known in context.known]
    if isinstance(asked, int) and None in sizes and asked > 1:
        parts = list(context.op("split", tensor, asked, axis=axis))
    else:
        sizes = [None] if isinstance(asked, int) and None in sizes else sizes
        parts = [sliced(context, tensor, (slice(None),) * axis + (part,)) for part in _parts(sizes)]
    return tuple(Value(part, known) for known, part in zip(context.known, parts, strict=True))


def _parts(sizes: list[int | None]) -> list[slice]:
    """Slices of these sizes one after another; behind one that is open they count from the end."""
    opened = sizes.index(None) if None in sizes else len(sizes)
    ends = [0, *np.cumsum([size or 0 for size in sizes]).tolist()]
    return [
        slice(
            ends[at] if at <= opened else ends[at] - ends[-1],
            ends[at + 1] if at < opened else (ends[at + 1] - ends[-1]) or None,
        )
        for at in range(len(sizes))
    ]


def take(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    """Slices along an axis, in any order."""
    values, indices = given
    chosen = _indices(context, indices, values.sizes[arguments["axis"]])
    return context.result(context.op("take", context.argument(values), chosen, axis=arguments["axis"]))


def _indices(context: Context, indices: Value, size: int | None) -> Any:
    """Indices from 0 on, where the size that negative ones count from is known."""
    if indices.tensor is None:
        found = np.asarray(indices.constant)
        if (found < 0).any() and size is None:
            raise Refusal("a negative index into an axis of free size is not supported")
        return np.where(found < 0, found + (size or 0), found).astype("int32")
    chosen = context.plain(indices)
    if size is None or indices.dtype.startswith("uint"):
        return chosen
    return context.op("where", context.op("less", chosen, 0), context.op("add", chosen, size), chosen)


def gather(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    """An element for each index."""
    values, indices = given
    axis = arguments["axis"] % values.rank
    chosen = _indices(context, indices, values.sizes[axis])
    if not is_tensor(chosen):
        chosen = context.held(chosen)
    tensor = context.plain(values)
    # All axes but that one are stretched to the sizes of the result.
    wanted = [None if at == axis else size for at, size in enumerate(context.known[0].declared)]
    tensor, chosen = (
        _stretched(context, each, value.sizes, [old if at == axis else new for at, (old, new) in pairs])
        for each, value in ((tensor, values), (chosen, indices))
        for pairs in [list(enumerate(zip(value.sizes, wanted, strict=True)))]
    )
    return context.result(context.op("take_along_axis", tensor, chosen, axis=axis))


def _stretched(context: Context, tensor: Tensor, sizes: list[int | None], wanted: list[int | None]) -> Tensor:
    if sizes == wanted:
        return tensor
    if None in wanted:
        raise Refusal("a gather whose arrays are stretched to free sizes is not supported")
    return context.op("broadcast_to", tensor, tuple(wanted))


def argsort(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    """From behind where the largest comes first, so that equal ones stay in their order."""
    value = given[0]
    axis = arguments["axis"] % value.rank
    x = context.plain(value)
    x = context.cast(x, "int32") if value.dtype == "bool" else x
    if not arguments["descending"]:
        return context.result(context.cast(context.op("argsort", x, axis=axis), "int64"))
    size = value.sizes[axis]
    if size is None:
        raise Refusal("an order of sizes that are free, the largest first, is not supported")
    turned = context.op("flip", context.op("argsort", context.op("flip", x, axis=axis), axis=axis), axis=axis)
    return context.result(context.cast(context.op("subtract", size - 1, turned), "int64"))


_SCATTERED = {"none": None, "add": "add", "multiply": "mul", "maximum": "max", "minimum": "min"}


def scatter(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    """Keras writes at places in all axes."""
    x, indices, updates = given
    axis = arguments["axis"] % x.rank
    sizes = indices.sizes
    if None in sizes or None in x.sizes:
        raise Refusal("elements written into sizes that are free are not supported")
    shape = tuple(int(size or 0) for size in sizes)
    chosen = _indices(context, indices, x.sizes[axis])
    chosen = chosen if is_tensor(chosen) else context.held(np.asarray(chosen))
    grid = np.indices(shape).reshape(len(shape), -1)
    columns = [
        context.op("reshape", context.cast(chosen, "int32"), (-1,)) if at == axis else context.held(one.astype("int32"))
        for at, one in enumerate(grid)
    ]
    places = context.op("stack", columns, axis=-1)
    written = context.op("broadcast_to", context.plain(updates, context.dtype), shape)
    reduction = _SCATTERED[arguments["reduction"]]
    found = context.op(
        "scatter_update", context.plain(x, context.dtype), places, context.op("reshape", written, (-1,)),
        **({} if reduction is None else {"reduction": reduction}),
    )  # fmt: skip
    return context.result(found)
