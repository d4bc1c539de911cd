"""What ``forward`` takes, and names for what a recording names: inputs by its arguments, nodes by what they do."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Protocol

from modelarchive import names


class Called(Protocol):
    """A block, as far as its calls need it."""

    def execute(self, *inputs: Any, **named: Any) -> Any:
        """Run its forward."""

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Compute its outputs."""

    def named_blocks(self) -> Iterator[tuple[str, Any]]:
        """It and all blocks below it, with their paths."""


def input_names(block: Called, number: int) -> list[str]:
    """Names for `number` inputs of `block`: the arguments of its forward, ``x_0``, ``x_1`` for ``*x``.

    Raises:
        ValueError: Its forward takes fewer.
    """
    signature = inspect.signature(block.forward)
    parameters = signature.parameters.values()
    found = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    star = next((each.name for each in parameters if each.kind is each.VAR_POSITIONAL), None)
    rest = number - len(found)
    if rest > 0 and star is None:
        raise ValueError(f"{type(block).__name__}.forward takes {signature}, found {number} inputs")
    if number == 1 and star == "inputs":
        return ["x"]
    return (found + [f"{star}_{index}" for index in range(rest)])[:number]


def free_name(wanted: str, taken: set[str]) -> str:
    """`wanted` in the grammar of names, with a number if it is `taken`; it is taken then."""
    wanted = re.sub(r"[^A-Za-z0-9_-]", "_", wanted)[:100]
    if names.problem_with_part(wanted) is not None:
        wanted = f"x{wanted}"
    name = wanted
    for number in count(1):
        if name not in taken:
            break
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


def bound(
    forward: Callable[..., Any], inputs: Sequence[Any], named: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call's arguments, by position as far as possible, the others by keyword in the order of the signature.

    Raises:
        TypeError: The call does not fit the signature.
    """
    if not named:
        return tuple(inputs), {}
    found = inspect.signature(forward).bind(*inputs, **named)
    return found.args, {name: found.kwargs[name] for name in found.signature.parameters if name in found.kwargs} | {
        name: value for name, value in found.kwargs.items() if name not in found.signature.parameters
    }


def positional(forward: Callable[..., Any], inputs: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
    """A call's arguments by position, with the defaults of those that are left out in between.

    What is None at the end is left out: an optional input that is not given.

    Raises:
        TypeError: The call does not fit the signature, or an argument goes by keyword only.
    """
    row = list(inputs)
    if named:
        found = inspect.signature(forward).bind(*inputs, **named)
        given = set(found.arguments)
        found.apply_defaults()
        if found.kwargs:
            raise TypeError(f"expected arguments by position, found {', '.join(found.kwargs)}")
        last = max(place for place, name in enumerate(found.arguments) if name in given)
        row = list(found.args[: max(last + 1, len(inputs))])
    while row and row[-1] is None:
        row.pop()
    return tuple(row)
