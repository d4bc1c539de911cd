"""Cutting a network at a named place: what leads to it, or what comes after it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelarchive import names
from modelarchive.errors import SpecError
from modelarchive.names import joined
from modelarchive.nn import nesting
from modelarchive.nn.block import Block
from modelarchive.nn.evaluate import Abstract, Value
from modelarchive.nn.graph import Graph, Node, Ref
from modelarchive.nn.parameter import Parameter, dtype_name
from modelarchive.nn.sequential import Sequential
from modelarchive.spec import places, vocabulary
from modelarchive.spec.emit import Emitter
from modelarchive.spec.validate import Checked, checked


def cut(architecture: Mapping[str, Any], *, until: str | None = None, after: str | None = None) -> dict[str, Any]:
    """The architecture of what lies between two places of a network.

    Args:
        architecture: The whole.
        until: What to end with: the name of a node or child, or the dotted path of a block that is called. The
            outputs are those of that place, the inputs those that they depend on. None: the whole's outputs.
        after: What to begin after, named in the same way: its outputs are the inputs. None: the whole's inputs.

    Returns:
        An architecture whose parameters have the names that they have in the whole. Inputs are declared as far
        as the whole's shapes are known.

    Raises:
        SpecError: The whole is invalid, there is no such place, or what comes after `after` needs more than its
            outputs.
    """
    if until is not None:
        whole = checked(architecture)
        head = Cutter(whole).head(whole.block, until)
        kept = range(len(whole.inputs)) if head.kept is None else head.kept
        architecture = architecture_of(head.block, _kept([whole.inputs[at] for at in kept] if whole.inputs else []))
    if after is not None:
        whole = checked(architecture)
        tail = Cutter(whole).tail(whole.block, after)
        architecture = architecture_of(tail.block, declared(tail.inputs))
    return dict(architecture)


def architecture_of(block: Block, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """The architecture of a block whose parts are of the vocabulary.

    Args:
        block: The block.
        inputs: What is declared of its inputs; left out where shapes cannot be followed from it.
    """
    result = {"vocabulary": vocabulary.VERSION, "inputs": inputs, "model": Emitter(block, {}).model()}
    try:
        checked(result)
    except SpecError:
        # A free size that the whole allows at this place need not be among those that are tried.
        result["inputs"] = []
    return result


def _kept(inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Declarations of some of a network's inputs, which may be left out where the first is still one like them."""
    first = inputs[0] if inputs else {}
    can_be_left_out = all(each["shape"] == first["shape"] for each in inputs if "default" in each)
    return [
        {key: value for key, value in each.items() if key != "default" or (can_be_left_out and each is not first)}
        for each in inputs
    ]


def declared(inputs: Sequence[tuple[str, Value]]) -> list[dict[str, Any]]:
    """What an architecture declares of inputs: names, and what is known; nothing where one is not known."""
    if not inputs or not all(isinstance(value, Abstract) for _, value in inputs):
        return []
    return [{"name": name, "shape": value.declared, "dtype": dtype_name(value.array_dtype)} for name, value in inputs]


@dataclass(frozen=True)
class Head:
    """A block cut short.

    Attributes:
        block: What is left of it.
        kept: Which of its inputs that needs; None: all.
        outputs: How many outputs there are; None: a bare one.
    """

    block: Block
    kept: tuple[int, ...] | None
    outputs: int | None


@dataclass(frozen=True)
class Tail:
    """What a block does after a place in it.

    Attributes:
        block: What is left of it.
        inputs: Name of each input, and what is known of it.
    """

    block: Block
    inputs: list[tuple[str, Value]]


@dataclass(frozen=True)
class Cutter:
    """Cuts the blocks of one network.

    Attributes:
        whole: The network.
    """

    whole: Checked

    # ------------------------------------------------------------------ until

    def head(self, block: Block, path: str, above: str = "", *, all_inputs: bool = False) -> Head:
        """From the inputs of `block` to the output of what stands at `path` in it.

        Args:
            block: The block.
            path: Name of a node or child, or a dotted path.
            above: Path of the block itself, for what is said.
            all_inputs: Keep inputs that are not needed.

        Raises:
            SpecError: There is no such place, or no such cut.
        """
        if isinstance(block, Sequential):
            return self._head_of_sequential(block, path, above, all_inputs=all_inputs)
        if not isinstance(block, Graph):
            places.refuse_layer(block, path, above)
        node, rest = places.found(block, path, above)
        outputs = self._count(block, node)
        uses: dict[str, Block | None] = {}
        if rest:
            inner = self.head(block.find(node.target), rest, joined(above, node.target))
            outputs = inner.outputs
            if inner.kept is not None:
                node = replace(node, inputs=tuple((node.inputs or ())[at] for at in inner.kept))
            uses[node.target] = inner.block
        nodes = _needed(block, [(node.name, None)], {node.name: node})
        if rest:
            places.refuse_second_use(nodes, node, joined(above, path))
        wanted = {name for each in nodes for name, _ in each.inputs or ()}
        kept = tuple(at for at, name in enumerate(block.inputs) if all_inputs or name in wanted)
        kept = kept or tuple(range(len(block.inputs)))
        refs: list[Ref] = [(node.name, index) for index in range(outputs)] if outputs else [(node.name, None)]
        inputs = [(block.inputs[at], None) for at in kept]
        return Head(_graph(block, inputs, nodes, refs, uses), kept, outputs)

    def _head_of_sequential(self, block: Sequential, path: str, above: str, *, all_inputs: bool) -> Head:
        name, rest, row = places.child(block, path, above)
        at = list(row).index(name)
        result = nesting.flattened(self.whole.returned.get(id(row[name])))
        found = Head(row[name], None, len(result) if isinstance(result, tuple) else None)
        if rest:
            found = self.head(row[name], rest, joined(above, name), all_inputs=all_inputs or at > 0)
        kept = found.kept if at == 0 else None
        return Head(_sequential({**dict(list(row.items())[:at]), name: found.block}), kept, found.outputs)

    def _count(self, graph: Graph, node: Node) -> int | None:
        """How many outputs a node has; None: a bare one."""
        result = self.whole.results.get((id(graph), node.name))
        if result is not None:
            return len(result) if isinstance(result, tuple) else None
        refs = [*graph.outputs, *(ref for each in graph.nodes for ref in each.inputs or ())]
        used = [index for name, index in refs if name == node.name and index is not None]
        return max(used) + 1 if used else None

    # ------------------------------------------------------------------ after

    def tail(self, block: Block, path: str, above: str = "") -> Tail:
        """From the output of what stands at `path` in `block`, which is the input then, to the block's outputs.

        Args:
            block: The block.
            path: Name of a node or child, or a dotted path.
            above: Path of the block itself, for what is said.

        Raises:
            SpecError: There is no such place, or more than its output is needed.
        """
        if isinstance(block, Sequential):
            return self._tail_of_sequential(block, path, above)
        if not isinstance(block, Graph):
            places.refuse_layer(block, path, above)
        node, rest = places.found(block, path, above)
        where = joined(above, path)
        if rest and _is_result(block.find(node.target), rest, joined(above, node.target)):
            rest = ""
        self._refuse_crossing(block, node, where, above)
        nodes = _needed(block, block.outputs, {node.name: replace(node, inputs=())})
        if rest:
            places.refuse_second_use(nodes, node, where)
            inner = self.tail(block.find(node.target), rest, joined(above, node.target))
            inputs = _freed(inner.inputs, nodes)
            refs = tuple((name, None) for name, _ in inputs)
            nodes = [replace(each, inputs=refs) if each.name == node.name else each for each in nodes]
            return Tail(
                _graph(block, inputs, nodes, block.outputs, {node.target: inner.block}, block.structure), inputs
            )
        if {name for name, _ in block.outputs} == {node.name}:
            places.refuse(where, f"{where!r} is the last: nothing comes after it", "cut after an earlier one")
        nodes = [each for each in nodes if each.name != node.name]
        result = self.whole.results.get((id(block), node.name))
        inputs = _freed(_named(node.name, result, self._count(block, node)), nodes)

        def moved(ref: Ref) -> Ref:
            return (inputs[ref[1] or 0][0], None) if ref[0] == node.name else ref

        nodes = [replace(each, inputs=each.inputs and tuple(map(moved, each.inputs))) for each in nodes]
        return Tail(_graph(block, inputs, nodes, list(map(moved, block.outputs)), {}, block.structure), inputs)

    def _tail_of_sequential(self, block: Sequential, path: str, above: str) -> Tail:
        name, rest, row = places.child(block, path, above)
        behind = dict(list(row.items())[list(row).index(name) + 1 :])
        if rest and not _is_result(row[name], rest, joined(above, name)):
            inner = self.tail(row[name], rest, joined(above, name))
            return Tail(_sequential({name: inner.block, **behind}), inner.inputs)
        if not behind:
            where = joined(above, path)
            places.refuse(where, f"{where!r} is the last: nothing comes after it", "cut after an earlier one")
        result = nesting.flattened(self.whole.returned.get(id(row[name])))
        count = len(result) if isinstance(result, tuple) else None
        return Tail(_sequential(behind), _named("x", result, count))

    def _refuse_crossing(self, graph: Graph, node: Node, where: str, above: str) -> None:
        others = _crossing(graph, node)
        if others is None:
            places.refuse(where, f"no output comes from {where!r}", "cut until it instead")
        if not others:
            return
        listed = ", ".join(repr(joined(above, name)) for name in others[:8])
        more = f" and {len(others) - 8} more" if len(others) > 8 else ""
        near = _next_place(graph, node)
        hint = "cut until it instead"
        if near is not None:
            hint = f"all of it passes through {joined(above, near)!r}: cut after that"
        places.refuse(where, f"what comes after {where!r} also needs {listed}{more}, which lies before the cut", hint)


# ---------------------------------------------------------------------- parts of graphs


def _is_result(block: Block, path: str, above: str) -> bool:
    """Whether what stands at `path` is just what `block` returns."""
    if isinstance(block, Sequential):
        name, rest, row = places.child(block, path, above)
        return name == list(row)[-1] and (not rest or _is_result(row[name], rest, joined(above, name)))
    if not isinstance(block, Graph):
        places.refuse_layer(block, path, above)
    node, rest = places.found(block, path, above)
    is_all = block.outputs == ((node.name, None),) and block.structure == 0
    return is_all and (not rest or _is_result(block.find(node.target), rest, joined(above, node.target)))


def _needed(graph: Graph, wanted: Iterable[Ref], changed: Mapping[str, Node]) -> list[Node]:
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


def _crossing(graph: Graph, cut: Node) -> list[str] | None:
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
    behind = [node for node in _needed(graph, graph.outputs, {}) if node.name in of_cut and node.name != cut.name]
    needed = [name for node in behind for name, _ in node.inputs or ()] + ends
    return [name for name in dict.fromkeys(needed) if name in of_inputs and name not in of_cut]


def _next_place(graph: Graph, cut: Node) -> str | None:
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


def _graph(
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


def _named(name: str, result: Value, count: int | None) -> list[tuple[str, Value]]:
    """The results of a node as inputs: their names, and what is known of them."""
    if count is None:
        return [(name, result)]
    values = result if isinstance(result, tuple) else (None,) * count
    return [(f"{name}_{at}", value) for at, value in enumerate(values)]


def _freed(inputs: Iterable[tuple[str, Value]], nodes: Sequence[Node]) -> list[tuple[str, Value]]:
    """Inputs under names that no node has, and no block that one needs."""
    taken = {name for node in nodes for name in (node.name, node.target.partition(".")[0] if node.verb != "op" else "")}
    found = []
    for name, value in inputs:
        free = names.free(name, taken)
        taken.add(free)
        found.append((free, value))
    return found


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
    return _sequential(children) if isinstance(block, Sequential) else Graph((), (), (), children, own)


def _sequential(children: Mapping[str, Block]) -> Sequential:
    found = Sequential()
    for name, child in children.items():
        found.adopt(name, child)
    return found
