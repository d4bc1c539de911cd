"""Programs of torch.export without calls that write, and with the operators that the table knows."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import torch
import torch.export
import torch.fx

from modelarchive.exchange.torch.decomposing_torchvision import TORCHVISION
from modelarchive.exchange.torch.lifting import is_known, layer_of, word
from modelarchive.exchange.torch.recurrences import STAND_INS, put
from modelarchive.exchange.torch.regions import put_in

#: How often operators are taken apart, of which others come.
_ROUNDS: Final = 4


def functional(exported: torch.export.ExportedProgram, *, by_values: bool = False) -> torch.export.ExportedProgram:
    """The program without regions and without calls that change views, in operators of the table as far as may be.

    Args:
        exported: The program.
        by_values: Whether nothing may be changed in place at all.
    """
    for node in exported.graph.nodes:
        if word(node) == "batch_norm":
            layer_of(node)  # before it is taken apart: it may be refused
    found = exported
    table: dict[Any, Callable[..., Any]] = {}
    if needs := by_values or _needs(exported.graph):
        table = _taken_apart(exported.graph)  # at once: each way through a program takes as long as exporting it
        found = _decomposed(exported, table)
        put_in(found.graph_module)
    plain = found
    for _ in range(_ROUNDS):
        more = _taken_apart(found.graph)
        if not more:
            break
        found = _decomposed(found, more)
    # What is refused is told by the names that people know, and by those alone that stand in the way.
    if not _unknown(found.graph) - _unknown(exported.graph):
        return found
    if needs and table:
        plain = _decomposed(exported, {})
        put_in(plain.graph_module)
    return plain if _unknown(found.graph) - _unknown(plain.graph) else found


def _decomposed(exported: torch.export.ExportedProgram, table: Any) -> torch.export.ExportedProgram:
    kept: Any = exported._example_inputs
    # With them the checks of an input's sizes are retraced too, which fails where a size is used in two ways.
    exported._example_inputs = None
    back = {each: recurrence for recurrence, each in STAND_INS.items()}
    put(STAND_INS, exported.graph_module)
    try:
        found = exported.run_decompositions(table)
    finally:
        exported._example_inputs = kept
        put(back, exported.graph_module)
    put(back, found.graph_module)
    found._example_inputs = kept
    return found


def _unknown(graph: torch.fx.Graph) -> set[Any]:
    """Operators that the table lacks."""
    return {
        node.target
        for node in graph.nodes
        if isinstance(node.target, torch._ops.OpOverload) and node.users and not is_known(node)
    }


def _taken_apart(graph: torch.fx.Graph) -> dict[Any, Callable[..., Any]]:
    """Operators that the table lacks -> PyTorch's own way of saying them by others."""
    unknown = _unknown(graph)
    if not unknown:
        return {}
    usual = torch.export.default_decompositions()
    more = torch._decomp.decomposition_table
    found = {
        target: usual[target] if target in usual else more.get(target) or TORCHVISION.get(target._schema.name)
        for target in unknown
    }
    found |= {each: each.decompose for each, other in found.items() if other is None and each._can_decompose()}
    return {target: each for target, each in found.items() if each is not None}


def _needs(graph: torch.fx.Graph) -> bool:
    """Whether something is changed through one name and used through another, or a region is entered."""
    owners: dict[torch.fx.Node, torch.fx.Node] = {}
    order = {node: at for at, node in enumerate(graph.nodes)}
    written: list[tuple[torch.fx.Node, torch.fx.Node]] = []
    for node in graph.nodes:
        target = node.target
        if isinstance(target, torch._ops.HigherOrderOperator):
            return True
        if not isinstance(target, torch._ops.OpOverload):
            if target is operator.getitem:
                owners[node] = owners.get(node.args[0], node)
            if str(getattr(target, "__module__", "")).startswith("torch._functorch"):
                return True
            continue
        if target._schema.name in _KEEPING:
            owners[node] = owners.get(node.args[0], node.args[0])
            continue
        if target._schema.is_mutable:
            if target._schema.name in _NO_CHANGE:
                continue
            if not _in_place(target):
                return True
            written.append((node, node.args[0]))
        if any(each.alias_info is not None for each in target._schema.returns):
            first = next((each for each in node.all_input_nodes), node)
            owners[node] = owners.get(first, first)
    for node, first in written:
        owner = owners.get(first, first)
        if owner.op == "placeholder":
            return True
        family = [each for each, its in owners.items() if its is owner] + [owner]
        later = {
            user for each in family if order[each] < order[node] for user in each.users if order[user] > order[node]
        }
        if later - {user for user in first.users if owner is first}:
            return True
    return False


#: Calls that give what they are given.
_KEEPING: Final = frozenset({"aten::detach_", "aten::detach", "aten::alias", "aten::lift_fresh"})
#: What their schema says to be written is not, in evaluation.
_NO_CHANGE: Final = frozenset({"aten::batch_norm", "aten::instance_norm"})


def _in_place(target: Any) -> bool:
    """Whether a call changes its first argument and returns it, and nothing else."""
    written = [each for each in target._schema.arguments if each.alias_info is not None and each.alias_info.is_write]
    first = target._schema.arguments[0]
    return (
        len(written) == 1
        and first.alias_info is not None
        and first.alias_info.is_write
        and not target._schema.name.endswith("copy_")
    )
