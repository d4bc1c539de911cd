"""Copies of blocks of the vocabulary: the same structure, with parameters of their own."""

from __future__ import annotations

import copy
from types import NoneType
from typing import Any, Final, TypeVar

from modelarchive.nn.block import Block
from modelarchive.nn.parameter import Parameter

B = TypeVar("B", bound=Block)

#: Of these a copy holds the very objects: nothing changes in them.
_SHARED: Final = frozenset({bool, int, float, str, tuple, NoneType})


def copied(block: B) -> B:
    """A block like one that was read from an architecture, as ``copy.deepcopy`` gives it, in a tenth of the time.

    Args:
        block: A layer, a Sequential or a Graph, whose parameters have no values.

    Returns:
        Blocks and parameters of its own; those that are shared within `block` are shared within the copy.
    """
    return _copied(block, {})


def _copied(block: B, parameters: dict[int, Parameter]) -> B:
    children = {name: _copied(child, parameters) for name, child in block._children.items()}
    own = {}
    for name, parameter in block._parameters.items():
        if id(parameter) not in parameters:
            parameters[id(parameter)] = parameter.without_values()
        own[name] = parameters[id(parameter)]
    found = object.__new__(type(block))
    found.__dict__.update(block.__dict__, _children=children, _parameters=own)
    for name, value in block.__dict__.items():
        if type(value) not in _SHARED and name not in ("_children", "_parameters"):
            found.__dict__[name] = _attribute(block, name, value, children, own)
    return found


def _attribute(
    block: Block, name: str, value: Any, children: dict[str, Block], parameters: dict[str, Parameter]
) -> Any:
    """What the copy of an attribute is: of a child or parameter the copy that is there already."""
    if block._children.get(name) is value:
        return children[name]
    if block._parameters.get(name) is value:
        return parameters[name]
    return copy.deepcopy(value)
