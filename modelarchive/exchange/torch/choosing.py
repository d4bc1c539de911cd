"""Rows that truths choose (``x[mask]``, ``torch.where(mask)``): all are computed, and left out where they are put."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from modelarchive.exchange.torch.chosen_rows import ENDS, ORIGINS, Choice, Step, within_bounds
from modelarchive.exchange.torch.lifting import CHECKS, arguments, word
from modelarchive.exchange.torch.picked_rows import pick_by_number
from modelarchive.exchange.torch.rowwise import MixedRowsError, expression, is_rowwise
from modelarchive.exchange.torch.writing_calls import Writer

_ATEN: Final = torch.ops.aten
#: Operators that take sizes as such.
_OF_SIZES: Final = frozenset(
    {"view", "_unsafe_view", "reshape", "expand", "zeros", "ones", "full", "new_zeros", "new_ones", "new_full"}
)
#: Operators that give the same in each row, of nothing that has rows.
_CREATING: Final = frozenset({"zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "expand"})


def choose_later(graph: torch.fx.Graph) -> None:
    """Compute all rows where truths choose some, if each is computed by itself; else the graph stays as it is.

    Args:
        graph: Calls of which none writes into what another one gave, each once.
    """
    pick_by_number(graph)
    followed = _Followed(graph)
    try:
        followed.follow()
    except MixedRowsError:
        return
    followed.rewrite()
    graph.eliminate_dead_code()


def has_chosen(graph: torch.fx.Graph) -> bool:
    """Whether truths choose rows of arrays anywhere."""
    return any(word(node) in ORIGINS and _is_unbacked(node) for node in graph.nodes)


def _is_unbacked(node: Node) -> bool:
    return any(free_unbacked_symbols(size) for each in _arrays(node) for size in each.shape)


def _arrays(node: Node) -> list[torch.Tensor]:
    value = node.meta.get("val")
    several = value if isinstance(value, tuple | list) else [value]
    return [each for each in several if isinstance(each, torch.Tensor)]


def _is_number(node: Node) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymBool | torch.SymFloat)


def _is_unbacked_number(node: Node) -> bool:
    return _is_number(node) and bool(free_unbacked_symbols(node.meta["val"]))


class _Followed:
    """What is computed of chosen rows in a graph: followed first, so that nothing is changed where that fails.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: torch.fx.Graph) -> None:
        self._graph = graph
        self._choices: dict[Any, Choice] = {}
        self._by_mask: dict[Node, Choice] = {}
        self._joined_of: dict[Any, Choice] = {}
        self._steps: list[tuple[Node, Step | None]] = []

    def follow(self) -> None:
        """Decide what becomes of each call.

        Raises:
            MixedRowsError: Something else is done with chosen rows than what is known.
        """
        for node in self._graph.nodes:
            if node.op == "output" and any(map(_is_unbacked, node.all_input_nodes)):
                raise MixedRowsError
            if node.op == "call_function" and not word(node).startswith(CHECKS):
                self._follow(node)

    def _follow(self, node: Node) -> None:
        if _is_number(node):
            if _is_unbacked_number(node):
                self._steps.append((node, None))
            return
        if any(map(_is_unbacked_number, node.all_input_nodes)) and word(node) not in _OF_SIZES:
            raise MixedRowsError  # how many there are is computed with
        if word(node) == "cat" and (step := self._joined(node)) is not None:
            self._steps.append((node, step))
            return
        given = self._choice_of(node.all_input_nodes)
        if not _is_unbacked(node):
            if given is not None:
                self._steps.append((node, self._end(node, given)))
        elif given is None and word(node) in ORIGINS:
            self._begin(node)
        elif given is None:
            if word(node) not in _CREATING or self._choice_of([node]) is None:
                raise MixedRowsError
            self._steps.append((node, None))
        elif node.target is operator.getitem:
            self._steps.append((node, None))
            self._note_place(node, given)
        else:
            self._continue(node, given)

    def _continue(self, node: Node, choice: Choice) -> None:
        """A call that takes rows and gives rows."""
        if not is_rowwise(node, choice.has) or self._choice_of([node]) is not choice:
            raise MixedRowsError
        self._note_place(node, choice)
        self._steps.append((node, within_bounds(node, choice)))

    def _begin(self, node: Node) -> None:
        mask_of, all_rows = ORIGINS[word(node)]
        mask = mask_of(node)
        if mask is None:
            raise MixedRowsError
        choice = self._by_mask.setdefault(mask, Choice(mask))
        for each in _arrays(node):
            for size in each.shape:
                if free_unbacked_symbols(size):
                    if self._choices.setdefault(expression(size), choice) is not choice:
                        raise MixedRowsError
                    choice.sizes.add(expression(size))
        if word(node) in ("where", "nonzero", "nonzero_numpy"):
            choice.places[node] = -1
        self._steps.append((node, lambda writer: all_rows(writer, node, choice)))

    def _note_place(self, node: Node, choice: Choice) -> None:
        """Remember what gives the places of the rows along one axis of the mask."""
        first = node.args[0]
        if choice.places.get(first) != -1 or choice.mask is None:
            return
        rank = choice.mask.meta["val"].ndim
        if node.target is operator.getitem:
            choice.places[node] = int(node.args[1])
        elif word(node) == "unbind":
            choice.places[node] = -1
        elif word(node) == "select":
            choice.places[node] = int(node.args[2])
        elif rank == 1 and word(node) in ("squeeze", "view", "reshape", "flatten") and node.meta["val"].ndim == 1:
            choice.places[node] = 0

    def _choice_of(self, nodes: Sequence[Node]) -> Choice | None:
        """The rows that arrays have; None: they have none.

        Raises:
            MixedRowsError: They have several, or sizes of which nothing is known.
        """
        sizes = {
            expression(size)
            for node in nodes
            for each in _arrays(node)
            for size in each.shape
            if free_unbacked_symbols(size)
        }
        if sizes - self._choices.keys():
            raise MixedRowsError
        found = {self._choices[size] for size in sizes}
        if len(found) > 1:
            raise MixedRowsError
        return next(iter(found), None)

    def _joined(self, node: Node) -> Step | None:
        """Rows beside others, which are rows of another choice then; None: what is joined has none there.

        Arrays that have none are there in any case.
        """
        given = arguments(node)
        parts, dim = given["tensors"], given.get("dim", 0) % node.meta["val"].ndim
        choices = [self._choice_of([each]) for each in parts]
        along = [each is not None and each.axis(part) == dim for each, part in zip(choices, parts, strict=True)]
        if not any(along):
            return None
        if any(each is not None and not here for each, here in zip(choices, along, strict=True)):
            raise MixedRowsError
        made_of = tuple(
            each or expression(part.meta["val"].shape[dim]) for each, part in zip(choices, parts, strict=True)
        )
        joined = self._joined_of.setdefault(made_of, Choice())
        size = expression(node.meta["val"].shape[dim])
        if self._choices.setdefault(size, joined) is not joined:
            raise MixedRowsError
        joined.sizes.add(size)

        def step(writer: Writer) -> Node:
            found = writer.called(node.target, *node.args, **node.kwargs)
            present = [
                writer.called(_ATEN.ones.default, [writer.size(part, dim)], dtype=torch.bool)
                if choice is None
                else choice.present
                for choice, part in zip(choices, parts, strict=True)
            ]
            joined.present = writer.called(_ATEN.cat.default, present)
            return found

        return step

    def _end(self, node: Node, choice: Choice) -> Step:
        """What takes the place of a call that takes rows and gives none."""
        end = ENDS.get(word(node))
        step = None if end is None else end(node, choice)
        if step is None:
            raise MixedRowsError
        return step

    def rewrite(self) -> None:
        """Let all calls that were followed compute all rows."""
        for node in list(self._graph.nodes):
            if node.op == "call_function" and word(node).startswith(CHECKS):
                self._graph.erase_node(node)
        replaced: dict[Node, Node] = {}
        for node, step in self._steps:
            writer = Writer(node, replaced)
            if step is None:
                node.meta["val"] = writer.value(node.target, node.args, node.kwargs)
                continue
            found = step(writer)
            found = replaced.get(found, found)
            replaced |= {each: found for each, other in replaced.items() if other is node} | {node: found}
            node.meta["val"] = found.meta["val"]
            node.replace_all_uses_with(found, propagate_meta=False)
            self._graph.erase_node(node)
