"""How MXNet's reshapes are lifted: the codes by which it keeps, drops, merges and splits axes, in both dialects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.drawing import Packed
from modelarchive.exchange.mxnet.lifting_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting


class Kept(NamedTuple):
    """An axis of the input, in a place of the result."""

    axis: int


class _Split(NamedTuple):
    """An axis of the input becomes two; one of their sizes may be -1."""

    sizes: tuple[int, int]


#: What stands in a shape: a size (-1: what is left), a word, or an axis that becomes two.
_Code: TypeAlias = int | str | _Split
_OLD: Final = {0: "keep", -2: "rest", -3: "merge"}
#: Those of ``npx.reshape``.
_NUMPY: Final = {-2: "keep", -3: "drop", -4: "rest", -5: "merge"}


def _reshape(context: Context) -> Any:
    """Another shape, by sizes and codes."""
    at = context.attributes
    shape = at.sizes("shape", at.text("newshape", at.text("target_shape", "()")))
    reverse = at.flag("reverse", default=False)
    at.flag("keep_highest", default=False)
    at.expect("order", "C")
    stored = context.variable(0)
    if shape == (-1,) and stored is not None:
        # A fused recurrence takes its parameters flat and put together.
        return Packed((stored,))
    if context.node.op in ("_npx_reshape", "_npi_reshape"):
        codes = list(_codes(shape, _NUMPY, -6))
    elif context.is_numpy:
        codes = list(shape)
    else:
        codes = list(_codes(shape, _OLD, -4))
    return _reshaped(context, codes, shape, reverse=reverse)


def _codes(shape: Sequence[int], words: dict[int, str], split: int) -> Iterator[_Code]:
    at = 0
    while at < len(shape):
        if shape[at] == split:
            if at + 2 >= len(shape):
                raise Refusal(f"the shape {tuple(shape)} ends within a split of an axis")
            yield _Split((shape[at + 1], shape[at + 2]))
            at += 2
        elif shape[at] in words:
            yield words[shape[at]]
        elif shape[at] < -1:
            raise Refusal(f"the shape {tuple(shape)} has a code that is not known")
        else:
            yield shape[at]
        at += 1


def _reshaped(context: Context, codes: list[_Code], shape: Sequence[int], *, reverse: bool) -> Ref:
    """Where several axes are open, those that are kept go to the front, and back behind it: there they need no size."""
    if all(isinstance(code, int) for code in codes) and not reverse:
        return context.op("reshape", context.ref(0), shape=codes)
    if reverse:
        known = context.shape(0)
        if any(isinstance(code, _Split) for code in codes):
            raise Refusal("a split of an axis is not supported in a reshape that is read from the end")
        entries = [
            Kept(len(known) - 1 - each.axis) if isinstance(each, Kept) else each
            for each in reversed(_entries(codes[::-1], known[::-1]))
        ]
    else:
        needs = any(isinstance(code, _Split) or code in ("rest", "merge", "drop") for code in codes)
        entries = _entries(codes, context.shape(0) if needs else None)
    sizes = [_size(context, place, each) for place, each in enumerate(entries)]
    if sizes.count(-1) < 2:
        return context.op("reshape", context.ref(0), shape=sizes)
    known = context.shape(0)
    kept = {place: each.axis for place, each in enumerate(entries) if isinstance(each, Kept)}
    front = {place: axis for place, axis in kept.items() if known[axis] is None}
    rest = [place for place in range(len(sizes)) if place not in front]
    inner = [known[kept[place]] if place in kept else sizes[place] for place in rest]
    others = [axis for axis in range(len(known)) if axis not in front.values()]
    if inner.count(-1) > 1 or math.prod(known[axis] or 1 for axis in others) % math.prod(
        size for size in inner if size and size > 0
    ):
        raise Refusal(f"the shape {tuple(shape)} leaves several axes open: pass inputs= with fixed sizes")
    turned = context.op("transpose", context.ref(0), axes=[*front.values(), *others])
    found = context.op("reshape", turned, shape=[*[None] * len(front), *inner])
    order = [*front, *rest]
    return context.op("transpose", found, axes=[order.index(place) for place in range(len(sizes))])


def _size(context: Context, place: int, entry: Any) -> int | None:
    """A size of the vocabulary: null keeps the axis of the same place, -1 is open."""
    if not isinstance(entry, Kept):
        return int(entry)
    if place == entry.axis:
        return None
    known = context.shape(0)
    size = known[entry.axis] if entry.axis < len(known) else None
    return -1 if size is None else size


def _entries(codes: Sequence[_Code], known: Sequence[int | None] | None) -> list[Any]:
    """What the codes are for an input: sizes, and axes that are kept."""
    found: list[Any] = []
    source = 0
    for code in codes:
        if isinstance(code, _Split):
            found += _split(code.sizes, known[source] if known is not None and source < len(known) else None)
        elif code == "keep":
            found.append(Kept(source))
        elif code == "rest" and known is not None:
            found += [Kept(axis) for axis in range(source, len(known))]
            source = len(known) - 1
        elif code == "merge" and known is not None and source + 1 < len(known):
            one, two = known[source], known[source + 1]
            found.append(-1 if one is None or two is None else one * two)
            source += 1
        elif code == "drop" and known is not None and source < len(known):
            if known[source] != 1:
                raise Refusal(f"axis {source} is dropped, and is not of size 1")
        elif isinstance(code, int):
            found.append(code)
        else:
            raise Refusal(f"a code of the shape, {code!r}, does not fit {len(known or ())} axes")
        source += 1
    return found


def _split(sizes: tuple[int, int], whole: int | None) -> list[int]:
    one, two = sizes
    if whole is not None and -1 in sizes and max(sizes) > 0 and whole % max(sizes) == 0:
        return [whole // two, two] if one == -1 else [one, whole // one]
    return [one, two]


def _reshape_like(context: Context) -> Ref:
    """The shape of another array."""
    at = context.attributes
    for name in ("lhs_begin", "lhs_end", "rhs_begin", "rhs_end"):
        at.expect(name, "None")
    shape = [-1 if size is None else size for size in context.shape(1)]
    if shape.count(-1) > 1:
        raise Refusal("a shape of which several sizes are not known is not supported: pass inputs= with fixed sizes")
    return context.op("reshape", context.ref(0), shape=shape)


ROWS: Final = (
    Lifting("Reshape reshape _np_reshape _npi_reshape _npx_reshape", "reshape", _reshape),
    Lifting("reshape_like _npx_reshape_like", "reshape", _reshape_like, "at most one size that is not known"),
)
