"""Names for the free axes of declared inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from modelarchive import names

#: (number of the input, number of the axis)
Axis: TypeAlias = tuple[int, int]
_SPATIAL: Final = {4: ("height", "width"), 5: ("depth", "height", "width")}


def axis_names(inputs: Sequence[Mapping[str, Any]], groups: Iterable[set[Axis]] | None = None) -> list[list[str]]:
    """Each declared input's axes as words: fixed sizes as numbers, free ones by name.

    Args:
        inputs: As an architecture declares them.
        groups: The axes that have one name; None: those that have one role.

    Returns:
        ``[["batch", "length"], ["batch", "3", "height", "width"]]``.
    """
    roles = roles_of(inputs)
    named: dict[Axis, str] = {}
    taken = names.Taken()
    for group in sorted(by_role(roles) if groups is None else groups, key=min):
        named |= dict.fromkeys(group, taken.free(roles[min(group)]))
    return [
        [named[number, axis] if size is None else str(size) for axis, size in enumerate(each["shape"])]
        for number, each in enumerate(inputs)
    ]


def roles_of(inputs: Sequence[Mapping[str, Any]]) -> dict[Axis, str]:
    """What each free axis usually is at its place."""
    return {
        (number, axis): _role(each["shape"], axis)
        for number, each in enumerate(inputs)
        for axis, size in enumerate(each["shape"])
        if size is None
    }


def _role(shape: Sequence[int | None], axis: int) -> str:
    if axis == 0:
        return "batch"
    spatial = _SPATIAL.get(len(shape))
    if spatial is None:
        return "length"
    # Channels stand behind the batch, or last.
    at = axis - (2 if shape[1] is not None or shape[-1] is None else 1)
    return spatial[at] if 0 <= at < len(spatial) else "channels"


def by_role(roles: Mapping[Axis, str]) -> list[set[Axis]]:
    """The axes of each role."""
    return [{axis for axis, other in roles.items() if other == role} for role in dict.fromkeys(roles.values())]


def described(inputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each declared input in words: ``"float32 (batch, 3, height, width)"``."""
    return [f"{each['dtype']} ({', '.join(axes)})" for each, axes in zip(inputs, axis_names(inputs), strict=True)]
