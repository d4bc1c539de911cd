"""Which axes of an example may have any size: the first ones, and those that are as long as the first one of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modelarchive.nn.axes import Axis, Inputs
from modelarchive.nn.trials import Groups, groupings

Shapes = Sequence[Sequence[int]]


def agreeing(inputs: Inputs, shapes: Shapes) -> list[Groups]:
    """Which axes may be one: those that are in the example."""

    def agree(group: set[Axis]) -> bool:
        return len({shapes[number][axis] for number, axis in group}) == 1

    first, *merged = groupings(inputs)
    return [first, *(groups for groups in merged if all(map(agree, groups)))]


def with_states(inputs: Inputs, shapes: Shapes) -> Iterator[list[dict[str, Any]]]:
    """Declarations of which the batch is the first axis of the first input, and where others have it.

    A state of a recurrence has it second, a matrix beside nodes has it twice, others do not have it at all.
    """
    batch = shapes[0][0] if shapes and shapes[0] else None
    if len(shapes) < 2 or batch is None:
        return
    done: list[list[dict[str, Any]]] = []
    for some in (slice(1), slice(-1, None), slice(None)):
        found = []
        for number, (each, shape) in enumerate(zip(inputs, shapes, strict=True)):
            axes = [axis for axis, size in enumerate(shape[:2]) if size == batch][some]
            named = [0] if number == 0 else axes
            found.append({**each, "shape": ["batch" if axis in named else size for axis, size in enumerate(shape)]})
        if found not in done:
            done.append(found)
            yield found
