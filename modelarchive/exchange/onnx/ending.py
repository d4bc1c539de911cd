"""Where a model is to end: values of its graph in the place of its outputs, and those that it can end with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from modelarchive import names
from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note, few
from modelarchive.exchange.onnx.model import Model, Value

#: So many values are named as what a model can end with.
_MOST: Final = 12


def ended(model: Model, until: str | Sequence[str]) -> tuple[Model, Note]:
    """The model that ends with values of its graph; those of a node, where a node has that name.

    Raises:
        ConversionError: There is no such value or node; lists all of them.
    """
    asked = [until] if isinstance(until, str) else list(until)
    of_node = {node.name: node.outputs for node in model.graph.nodes if node.name}
    known = {name for node in model.graph.nodes for name in node.outputs if name}
    missing = [name for name in asked if name not in known and name not in of_node]
    if missing or not asked:
        problems = [(name, f"is no value of the graph{_near(name, known)}") for name in missing]
        raise ConversionError(problems or [("until", "names nothing")], file=model.file.path)
    found = [name for each in asked for name in ((each,) if each in known else of_node[each]) if name]
    outputs = [Value(name, None, None) for name in dict.fromkeys(found)]
    left = [each.name for each in model.graph.outputs if each.name not in found]
    note = Note("(outputs)", f"are {few(found)}, as asked for" + (f"; {few(left)} left out" if left else ""))
    return replace(model, graph=replace(model.graph, outputs=outputs)), note


def _near(name: str, known: Collection[str]) -> str:
    near = names.near(name, list(known)[:10_000])
    return f"; did you mean {near!r}?" if near else ""


def endings(model: Model, unsupported: Collection[str]) -> list[list[str]]:
    """What a model may end with, so that no node of some operators is needed.

    These are all values that lead to what depends on such nodes, and else those that the first of them take.

    Args:
        model: The model.
        unsupported: The operators.
    """
    given = {each.name for each in model.graph.inputs if each.name not in model.graph.stored}
    #: Values that come from inputs; those of them that depend on nodes that are not supported.
    made, behind = set[str](), set[str]()
    before: dict[str, None] = {}
    first: dict[str, None] = {}
    for node in model.graph.nodes:
        if node.op in unsupported and behind.isdisjoint(node.inputs):
            first |= dict.fromkeys(name for name in node.inputs if name in made)
        if node.op in unsupported or not behind.isdisjoint(node.inputs):
            behind.update(filter(None, node.outputs))
            before |= dict.fromkeys(name for name in node.inputs if name in made)
        elif not given.isdisjoint(node.inputs) or not made.isdisjoint(node.inputs):
            made.update(filter(None, node.outputs))
    before |= dict.fromkeys(each.name for each in model.graph.outputs if each.name in made)
    return [list(each) for each in (before, first) if behind and 0 < len(each) <= _MOST]
