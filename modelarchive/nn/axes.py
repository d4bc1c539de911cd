"""The free axes of declared inputs: which of them are one, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from modelarchive import names

#: (number of the input, number of the axis)
Axis: TypeAlias = tuple[int, int]
#: An axis as a declaration has it: a size, the name of a free axis, or None: a free axis of its own.
Size: TypeAlias = int | str | None
#: Declared inputs, as an architecture has them; the shape of one may not be known.
Inputs: TypeAlias = Sequence[Mapping[str, Any]]
_NAME: Final = re.compile("[A-Za-z_][A-Za-z0-9_]{0,127}")
_SPATIAL: Final = {4: ("height", "width"), 5: ("depth", "height", "width")}


def is_axis_name(name: object) -> bool:
    """Whether a free axis may be called so: letters, digits and ``_``, no digit first, at most 128."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def free_axes(inputs: Inputs) -> dict[Axis, str | None]:
    """Each free axis of the inputs, in their order: its name, or None."""
    return {
        (number, axis): size
        for number, each in enumerate(inputs)
        for axis, size in enumerate(each["shape"] or ())
        if not isinstance(size, int)
    }


def groups_of(inputs: Inputs) -> list[set[Axis]]:
    """The free axes that are declared to be one: those of one name, and those of an input that may be left out.

    It has the shape of the first then.
    """
    found: dict[Any, set[Axis]] = {}
    for (number, axis), name in free_axes(inputs).items():
        key: Any = (0 if "default" in inputs[number] else number, axis) if name is None else name
        found.setdefault(key, set()).add((number, axis))
    return list(found.values())


def named_axes(inputs: Inputs) -> dict[str, list[Axis]]:
    """Each name that several axes have, and these axes: they are of one size in each call."""
    found: dict[str, list[Axis]] = {}
    for at, name in free_axes(inputs).items():
        if name is not None:
            found.setdefault(name, []).append(at)
    return {name: axes for name, axes in found.items() if len(axes) > 1}


def unequal(inputs: Inputs, called: Sequence[str], shapes: Sequence[Sequence[int] | None]) -> Iterator[str]:
    """The axes of one name that are of several sizes, in words.

    Args:
        inputs: As an architecture declares them.
        called: What each is called.
        shapes: The shape of each that is given.
    """
    for name, axes in named_axes(inputs).items():
        found: list[tuple[int, int, Sequence[int]]] = []
        for number, axis in axes:
            shape = shapes[number] if number < len(shapes) else None
            if shape is not None and axis < len(shape):
                found.append((shape[axis], number, shape))
        for size, number, shape in found[1:]:  # one by one: a size may be a symbol
            if size != found[0][0]:
                first, other, own = found[0]
                told = f"{first} in {called[other]} {tuple(own)} and {size} in {called[number]} {tuple(shape)}"
                yield f"the axis {name!r} has one size in all inputs, found {told}"
                break


def axis_names(inputs: Inputs, groups: Iterable[set[Axis]] | None = None) -> list[list[str]]:
    """Each declared input's axes as words: fixed sizes as numbers, free ones by name.

    Args:
        inputs: As an architecture declares them.
        groups: The axes that are one; None: those that have one name or, without names, one role.

    Returns:
        ``[["batch", "length"], ["batch", "3", "height", "width"]]``.
    """
    free = free_axes(inputs)
    roles = roles_of(inputs)
    named = {at: name for at, name in free.items() if name is not None}
    taken = names.Taken(named.values())
    several = by_role({at: role for at, role in roles.items() if at not in named}) if groups is None else groups
    for group in sorted(several, key=min):
        own = next((named[at] for at in sorted(group) if at in named), None)
        own = taken.free(roles[min(group)]) if own is None else own
        named |= {at: own for at in group if at not in named}
    return [
        [str(size) if isinstance(size, int) else named[number, axis] for axis, size in enumerate(each["shape"] or ())]
        for number, each in enumerate(inputs)
    ]


def roles_of(inputs: Inputs) -> dict[Axis, str]:
    """What each free axis usually is at its place."""
    return {(number, axis): _role(inputs[number]["shape"], axis) for number, axis in free_axes(inputs)}


def _role(shape: Sequence[Size], axis: int) -> str:
    if axis == 0:
        return "batch"
    spatial = _SPATIAL.get(len(shape))
    if spatial is None:
        return "length"
    # Channels stand behind the batch, or last.
    at = axis - (2 if isinstance(shape[1], int) or not isinstance(shape[-1], int) else 1)
    return spatial[at] if 0 <= at < len(spatial) else "channels"


def by_role(roles: Mapping[Axis, str]) -> list[set[Axis]]:
    """The axes of each role."""
    return [{axis for axis, other in roles.items() if other == role} for role in dict.fromkeys(roles.values())]


def described(inputs: Inputs) -> list[str]:
    """Each declared input in words: ``"float32 (batch, 3, height, width)"``."""
    return [f"{each['dtype']} ({', '.join(axes)})" for each, axes in zip(inputs, axis_names(inputs), strict=True)]
