"""Parts of graphs: what leads to a value, what a cut would have to cross, and a graph of some of the nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modelarchive.nn.block import Block
from modelarchive.nn.evaluate import Value
from modelarchive.nn.graph import Graph, Node, Ref
from modelarchive.nn.parameter import Parameter
from modelarchive.nn.sequential import Sequential


def needed(graph: Graph, wanted: Iterable[Ref], changed: Mapping[str, Node]) -> list[Node]:
    """The nodes that lead to some values, in order, some of them changed."""
    nodes = {node.name: changed.get(node.name, node) for node in graph.nodes if node.inputs is not None}
    pending = [name for name, _ in wanted]
    found = set()
    while pending:
        name = pending.pop()
        if name in nodes and name not in found:
            found.add(name)
            pending += [other for other, _ in nodes[name].inputs or ()]
    return [node for name, node in nodes.items() if name in found]


def crossing(graph: Graph, cut: Node) -> list[str] | None:
    """What is needed after a node and comes of the inputs without it; None: nothing is after it."""
    of_inputs, of_cut = set(graph.inputs), {cut.name}
    for node in graph.nodes:
        refs = {name for name, _ in node.inputs or ()}
        if node.name != cut.name and refs & of_cut:
            of_cut.add(node.name)
        elif refs & of_inputs:
            of_inputs.add(node.name)
    ends = [name for name, _ in graph.outputs]
    if not of_cut & set(ends):
        return None
    behind = [node for node in needed(graph, graph.outputs, {}) if node.name in of_cut and node.name != cut.name]
    used = [name for node in behind for name, _ in node.inputs or ()] + ends
    return [name for name in dict.fromkeys(used) if name in of_inputs and name not in of_cut]


def next_place(graph: Graph, cut: Node) -> str | None:
    """The first node after `cut` that all goes through: nothing else that comes of the inputs is needed later."""
    ends = {name for name, _ in graph.outputs}
    of_inputs, last = set(graph.inputs), dict.fromkeys(ends, len(graph.nodes))
    for position, node in enumerate(graph.nodes):
        refs = {name for name, _ in node.inputs or ()}
        last |= {name: max(position, last.get(name, 0)) for name in refs}
        if refs & of_inputs:
            of_inputs.add(node.name)
    live, is_after = {name for name in graph.inputs if name in last}, False
    for position, node in enumerate(graph.nodes):
        live -= {name for name, _ in node.inputs or () if last[name] == position}
        if node.name in of_inputs and node.name in last:
            live.add(node.name)
        if is_after and live == {node.name} and node.name not in ends:
            return node.name
        is_after = is_after or node.name == cut.name
    return None


def subgraph(
    graph: Graph,
    inputs: Sequence[tuple[str, Value]],
    nodes: Sequence[Node],
    outputs: Sequence[Ref],
    uses: Mapping[str, Block | None],
    structure: Any = None,
) -> Graph:
    """A graph of some of the nodes, with the blocks and parameters that they need.

    Args:
        graph: Where they are from.
        inputs: The new inputs.
        nodes: The nodes.
        outputs: The new outputs.
        uses: Path of a block -> what stands in its place.
        structure: The containers around the outputs; None: the usual ones.
    """
    blocks = {node.target: uses.get(node.target) for node in nodes if node.verb in ("block", "call")}
    parameters = {node.target for node in nodes if node.verb == "parameter"}
    children, own = _pruned(graph, blocks, parameters)
    return Graph([name for name, _ in inputs], nodes, outputs, children, own, structure)


def _pruned(
    block: Block, blocks: Mapping[str, Block | None], parameters: Iterable[str]
) -> tuple[dict[str, Block], dict[str, Parameter]]:
    """The children and parameters of `block` that are needed, each child with no more than is needed of it."""
    inside: defaultdict[str, dict[str, Block | None]] = defaultdict(dict)
    held: defaultdict[str, set[str]] = defaultdict(set)
    for path, other in blocks.items():
        name, _, rest = path.partition(".")
        inside[name][rest] = other
    for path in parameters:
        name, _, rest = path.partition(".")
        held[name].add(rest)
    children = {}
    for name, child in block.children.items():
        if "" in inside[name]:
            children[name] = inside[name][""] or child
        elif inside[name] or held[name]:
            children[name] = _container(child, inside[name], held[name])
    return children, {name: each for name, each in block.parameters.items() if "" in held[name]}


def _container(block: Block, blocks: Mapping[str, Block | None], parameters: set[str]) -> Block:
    """A block that is not called itself, as no more than what holds the needed ones."""
    if not isinstance(block, Graph | Sequential):
        return block
    children, own = _pruned(block, blocks, parameters)
    return sequential(children) if isinstance(block, Sequential) else Graph((), (), (), children, own)


def sequential(children: Mapping[str, Block]) -> Sequential:
    """A Sequential of children that have names already."""
    found = Sequential()
    for name, child in children.items():
        found.adopt(name, child)
    return found
