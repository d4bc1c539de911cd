"""ATen operators that put something around an array, in ops; how much may depend on sizes that are not fixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.torch.lifting_context import Context, counted, same
from modelarchive.exchange.torch.lifting_sizes import number_of
from modelarchive.nn.dim import Dim


def _pad(context: Context, x: Any, *, pad: Sequence[Any], mode: str = "constant", value: Any = None) -> Any:
    pairs = [(pad[at], pad[at + 1]) for at in range(0, len(pad), 2)][::-1]
    first = x.ndim - len(pairs)
    for at, pair in enumerate(pairs):
        if any(isinstance(size, Dim) for size in pair):
            x = padded_to(x, first + at, context.shape[first + at], pair[0], mode, value)
            pairs[at] = (0, 0)
    return padded(x, pairs, mode, value)


def padded(x: Any, pairs: Sequence[tuple[int, int]], mode: str = "constant", value: Any = None) -> Any:
    """More elements along the last axes, or fewer where numbers are negative; modes by PyTorch's words."""
    words = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if any(size < 0 for pair in pairs for size in pair):
        x = x[(..., *(slice(-min(one, 0), min(other, 0) or None) for one, other in pairs))]
    whole = [(max(one, 0), max(other, 0)) for one, other in pairs]
    if not any(size for pair in whole for size in pair):
        return x
    return ops.pad(x, padding=whole, mode=words[mode], value=value or 0)


def padded_to(x: Any, axis: int, wanted: Any, before: Any, mode: str = "constant", value: Any = None) -> Any:
    """An axis made as long as something, fewer elements where it is longer: each is taken by the place that it had.

    Args:
        x: The array.
        axis: The axis.
        wanted: Its size afterwards.
        before: How much of that is before the array; less than nothing: so much of it is left out.
        mode: PyTorch's word for what is put around it.
        value: The number of the mode ``constant``.
    """
    if same(x.shape[axis], wanted) and not isinstance(before, Dim) and before == 0:
        return x
    places = counted(wanted)
    if isinstance(before, Dim) or before:
        places = ops.subtract(places, number_of(before))
    size = number_of(x.shape[axis])
    last = ops.subtract(size, 1)
    inside = ops.maximum(ops.minimum(places, last), 0)
    if mode == "circular":
        return ops.take(x, ops.remainder(places, size), axis=axis)
    if mode == "reflect":
        turned = ops.subtract(last, ops.abs(ops.subtract(last, ops.abs(places))))
        return ops.take(x, turned, axis=axis)
    found = ops.take(x, inside, axis=axis)
    if mode == "replicate":
        return found
    others = tuple(range(1, x.ndim - axis))
    is_inside = ops.equal(inside, places)
    is_inside = ops.expand_dims(is_inside, axis=others) if others else is_inside
    return ops.where(is_inside, found, np.asarray(value or 0, x.dtype))


def _named(mode: str) -> Callable[..., Any]:
    return lambda context, x, *, padding: _pad(context, x, pad=padding, mode=mode)


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **{f"reflection_pad{rank}d": _named("reflect") for rank in (1, 2, 3)},
    **{f"replication_pad{rank}d": _named("replicate") for rank in (1, 2, 3)},
}
