"""How ops that select elements are said in Keras."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelarchive.exchange.keras.place import Place, Tensor, Value, is_tensor
from modelarchive.exchange.keras.saying_shapes import sliced
from modelarchive.exchange.refusal import Refusal

Arguments = dict[str, Any]


def cut(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    """Axes that are passed backwards are turned round first."""
    x = place.plain(given[0])
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
                x = place.op("flip", x, axis=axis)
                # Element i is -1 - i now.
                start, stop = (None if each is None else -1 - each for each in (start, stop))
                index.append(slice(start, stop, -step))
            else:
                index.append(slice(start, stop, step))
        axis += 1
    return place.result(sliced(place, x, tuple(index)) if index else x)


def split(place: Place, arguments: Arguments, given: list[Value]) -> tuple[Value, ...]:
    """Parts one after another; slices, unless only Keras knows how large equal parts are."""
    value = given[0]
    axis = arguments["axis"] % value.rank
    tensor = place.plain(value)
    asked = arguments["sizes"]
    sizes = [known.declared[axis] for known in place.known]
    if isinstance(asked, int) and None in sizes and asked > 1:
        parts = list(place.op("split", tensor, asked, axis=axis))
    else:
        sizes = [None] if isinstance(asked, int) and None in sizes else sizes
        parts = [sliced(place, tensor, (slice(None),) * axis + (part,)) for part in _parts(sizes)]
    return tuple(Value(known, part) for known, part in zip(place.known, parts, strict=True))


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


def take(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    """Slices along an axis, in any order."""
    values, indices = given
    chosen = _indices(place, indices, values.sizes[arguments["axis"]])
    return place.result(place.op("take", place.argument(values), chosen, axis=arguments["axis"]))


def _indices(place: Place, indices: Value, size: int | None) -> Any:
    """Indices from 0 on, where the size that negative ones count from is known."""
    if indices.tensor is None:
        found = np.asarray(indices.constant)
        if (found < 0).any() and size is None:
            raise Refusal("a negative index into an axis of free size has no counterpart")
        return np.where(found < 0, found + (size or 0), found).astype("int32")
    chosen = place.plain(indices)
    if size is None or indices.dtype.startswith("uint"):
        return chosen
    return place.op("where", place.op("less", chosen, 0), place.op("add", chosen, size), chosen)


def gather(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    """An element for each index."""
    values, indices = given
    axis = arguments["axis"] % values.rank
    chosen = _indices(place, indices, values.sizes[axis])
    if not is_tensor(chosen):
        chosen = place.builder.held(place, chosen)
    tensor = place.plain(values)
    # All axes but that one are stretched to the sizes of the result.
    wanted = [None if at == axis else size for at, size in enumerate(place.known.declared)]
    tensor, chosen = (
        _stretched(place, each, value.sizes, [old if at == axis else new for at, (old, new) in pairs])
        for each, value in ((tensor, values), (chosen, indices))
        for pairs in [list(enumerate(zip(value.sizes, wanted, strict=True)))]
    )
    return place.result(place.op("take_along_axis", tensor, chosen, axis=axis))


def _stretched(place: Place, tensor: Tensor, sizes: list[int | None], wanted: list[int | None]) -> Tensor:
    if sizes == wanted:
        return tensor
    if None in wanted:
        raise Refusal("a gather whose arrays are stretched to free sizes has no counterpart")
    return place.op("broadcast_to", tensor, tuple(wanted))
