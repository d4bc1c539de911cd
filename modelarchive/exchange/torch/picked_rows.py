"""Rows that truths choose, picked by their number among them (``x[mask].view(batch, -1, size)[:, -1]``)."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from modelarchive.exchange.torch.chosen_rows import ORIGINS, merged
from modelarchive.exchange.torch.lifting import CHECKS, arguments, word
from modelarchive.exchange.torch.rowwise import expression
from modelarchive.exchange.torch.writing_calls import Writer

_ATEN: Final = torch.ops.aten
_VIEWS: Final = frozenset({"view", "_unsafe_view", "reshape", "unflatten"})


def pick_by_number(graph: torch.fx.Graph) -> None:
    """Find such rows where they lie, by counting truths; nothing is changed where more is done with them.

    Where PyTorch raises an error, as there are not so many rows or not as many in each part, they are NaN.

    Args:
        graph: Calls of which none writes into what another one gave, each once.
    """
    found = [(node, pick) for node in graph.nodes if (mask := _mask(node)) is not None for pick in _picks(node, mask)]
    for node, (picked, parts, number) in found:
        writer = Writer(picked, {})
        new = _found(writer, node, parts, number)
        picked.replace_all_uses_with(new, propagate_meta=False)
    if found:
        for node in list(graph.nodes):
            if node.op == "call_function" and word(node).startswith(CHECKS):
                graph.erase_node(node)
        graph.eliminate_dead_code()


def _mask(node: Node) -> Node | None:
    """What chooses the rows that a call gives, if they are numbers that have a NaN; None: it is no such call."""
    if node.op != "call_function" or word(node) != "index" or not node.meta["val"].is_floating_point():
        return None
    mask = ORIGINS["index"][0](node)
    indices = node.args[1]
    is_first = isinstance(indices, list | tuple) and indices[0] is mask and not any(indices[1:])
    return mask if is_first else None


def _picks(node: Node, mask: Node) -> list[tuple[Node, Any, int]]:
    """Each call that picks of the rows, the number of parts that they are taken as, and the number in each; or none."""
    found: list[tuple[Node, Any, int]] = []
    for user in _users(node):
        several = _users(user) if word(user) in _VIEWS else []
        if word(user) == "select" and _at(user, 0):
            found.append((user, None, int(arguments(user)["index"])))
        elif several and _is_apart(user, node) and all(word(each) == "select" and _at(each, 1) for each in several):
            parts = user.meta["val"].shape[0]
            size = parts if isinstance(parts, int) else user.args[1][0]
            found += [(each, size, int(arguments(each)["index"])) for each in several]
        else:
            return []
    return found


def _users(node: Node) -> list[Node]:
    """The calls that are given an array of a call, also through slices that are the whole."""
    found: list[Node] = []
    for user in node.users:
        if not isinstance(user.meta.get("val"), torch.Tensor):
            continue
        is_whole = word(user) == "slice" and _shape(user) == _shape(node)
        found += _users(user) if is_whole else [user]
    return found


def _shape(node: Node) -> list[Any]:
    return [expression(size) for size in node.meta["val"].shape]


def _at(node: Node, axis: int) -> bool:
    given = arguments(node)
    return given["dim"] == axis and type(given["index"]) is int


def _is_apart(view: Node, node: Node) -> bool:
    """Whether the rows are taken as parts of as many each, and nothing else is changed."""
    parts = view.meta["val"].shape[0]
    is_known = isinstance(parts, int) or not free_unbacked_symbols(parts)
    is_given = isinstance(parts, int) or (isinstance(view.args[1], list | tuple) and isinstance(view.args[1][0], Node))
    return is_known and is_given and _shape(view)[2:] == _shape(node)[1:] and len(_shape(view)) == len(_shape(node)) + 1


def _found(writer: Writer, node: Node, parts: Any, number: int) -> Node:
    x, mask = node.args[0], ORIGINS["index"][0](node)
    rows = merged(writer, x, 0, mask.meta["val"].ndim)
    truths = writer.shaped(mask, [-1])
    order = writer.called(_ATEN.cumsum.default, truths, 0)
    count = writer.called(_ATEN.sum.default, truths)
    several = 1 if parts is None else parts
    each = writer.called(_ATEN.floor_divide.default, count, several)
    first = writer.called(_ATEN.mul.Tensor, writer.called(_ATEN.arange.default, several), each)
    wanted = writer.called(_ATEN.add.Tensor, first, number)
    if number < 0:
        wanted = writer.called(_ATEN.add.Tensor, wanted, each)
    before = writer.called(_ATEN.le.Tensor, writer.along(order, 1, 2), writer.along(wanted, 0, 2))
    place = writer.called(_ATEN.sum.dim_IntList, before, [1])
    is_even = writer.called(_ATEN.eq.Tensor, writer.called(_ATEN.mul.Tensor, each, several), count)
    are_many = writer.called(_ATEN.ge.Scalar, each, number + 1 if number >= 0 else -number)
    is_there = writer.called(_ATEN.logical_and.default, is_even, are_many)
    place = writer.called(_ATEN.where.self, is_there, place, writer.zero(place))
    found = writer.called(_ATEN.index.Tensor, rows, [place])
    missing = writer.called(_ATEN.full.default, [], math.nan, dtype=found.meta["val"].dtype)
    found = writer.called(_ATEN.where.self, is_there, found, missing)
    return found if parts is not None else writer.called(_ATEN.select.int, found, 0, 0)
