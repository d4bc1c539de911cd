"""Names for what a recording names: inputs after the arguments of ``forward``, nodes after what they do."""

from __future__ import annotations

import inspect
import re
from itertools import count

from modelarchive import names
from modelarchive.nn.block import Block


def input_names(block: Block, number: int) -> list[str]:
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
