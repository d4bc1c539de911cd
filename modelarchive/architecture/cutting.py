"""Cutting a network at a named place: what leads to it, or what comes after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelarchive import names
from modelarchive.architecture import places, vocabulary
from modelarchive.architecture.checking import Checked, check
from modelarchive.architecture.emitting import Emitter
from modelarchive.architecture.subgraphs import crossing, needed, next_place, sequential, subgraph
from modelarchive.errors import SpecError
from modelarchive.names import joined
from modelarchive.nn import nesting
from modelarchive.nn.axes import Axis, free_axes
from modelarchive.nn.block import Block
from modelarchive.nn.evaluate import Abstract, Value
from modelarchive.nn.graph import Graph, Node, Ref
from modelarchive.nn.parameter import dtype_name
from modelarchive.nn.sequential import Sequential
from modelarchive.nn.trials import Pair, Trial, first_trial


def cut(architecture: Mapping[str, Any] | Checked, *, until: str | None = None, after: str | None = None) -> Checked:
    """What lies between two places of a network.

    Args:
        architecture: The whole.
        until: What to end with: the name of a node or child, or the dotted path of a block that is called. The
            outputs are those of that place, the inputs those that they depend on. None: the whole's outputs.
        after: What to begin after, named in the same way: its outputs are the inputs. None: the whole's inputs.

    Returns:
        A model whose parameters have the names that they have in the whole. Inputs are declared as far
        as the whole's shapes are known.

    Raises:
        SpecError: The whole is invalid, there is no such place, or what comes after `after` needs more than its
            outputs.
    """
    whole = check(architecture)
    if until is not None:
        head = Cutter(whole).head(whole.block, until)
        kept = range(len(whole.inputs)) if head.kept is None else head.kept
        whole = _followed(head.block, _kept([whole.inputs[at] for at in kept] if whole.inputs else []))
    if after is not None:
        tail = Cutter(whole).tail(whole.block, after)
        whole = _followed(tail.block, declared(tail.inputs, whole.trial))
    return whole


def _followed(block: Block, inputs: list[dict[str, Any]]) -> Checked:
    """A block whose parts are of the vocabulary, checked as a model.

    Args:
        block: The block.
        inputs: What is declared of its inputs; left out where shapes cannot be followed from it.
    """
    architecture = {"vocabulary": vocabulary.VERSION, "inputs": inputs, "model": Emitter(block, {}).model()}
    try:
        return check(architecture)
    except SpecError:
        # A free size that the whole allows at this place need not be among those that are tried.
        return check(architecture | {"inputs": []})


def part_of(whole: Checked, block: Block, inputs: list[dict[str, Any]], given: Sequence[Value] | None) -> Checked:
    """A block of a checked network as a model of its own.

    Args:
        whole: The network.
        block: The block, one of the network's.
        inputs: What is declared of its inputs.
        given: What the network gives it.
    """
    trial = first_trial(inputs)
    if inputs and trial.values != list(given or ()):
        return _followed(block, inputs)
    # Its shapes were followed from these very sizes, in the whole.
    return replace(whole, block=block, inputs=inputs, trial=trial)


def _kept(inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Declarations of some of a network's inputs, which may be left out where the first is still one like them."""
    first = inputs[0] if inputs else {}
    can_be_left_out = all(each["shape"] == first["shape"] for each in inputs if "default" in each)
    return [
        {key: value for key, value in each.items() if key != "default" or (can_be_left_out and each is not first)}
        for each in inputs
    ]


def declared(inputs: Sequence[tuple[str, Value]], trial: Trial) -> list[dict[str, Any]]:
    """What an architecture declares of inputs: names, and what is known; nothing where one is not known.

    Args:
        inputs: Name of each input, and what is known of it.
        trial: The sizes at which the whole was followed: an axis that is one with a named one of its inputs has that
            name, and axes that are one with each other have a name as well.
    """
    if not inputs or not all(isinstance(value, Abstract) for _, value in inputs):
        return []
    called = {trial.sizes[at]: name for at, name in free_axes(trial.inputs).items() if name is not None}
    found = [
        {
            "name": name,
            "shape": [one if one == two else called.get((one, two)) for one, two in zip(*value.shapes, strict=True)],
            "dtype": dtype_name(value.array_dtype),
        }
        for name, value in inputs
    ]
    pairs: dict[Pair, set[Axis]] = {}
    for number, axis in free_axes(found):
        shapes = inputs[number][1].shapes
        pairs.setdefault((shapes[0][axis], shapes[1][axis]), set()).add((number, axis))
    sizes = {at: pair for pair, group in pairs.items() for at in group}
    return Trial(found, list(pairs.values()), sizes).named()


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
        nodes = needed(block, [(node.name, None)], {node.name: node})
        if rest:
            places.refuse_second_use(nodes, node, joined(above, path))
        wanted = {name for each in nodes for name, _ in each.inputs or ()}
        kept = tuple(at for at, name in enumerate(block.inputs) if all_inputs or name in wanted)
        kept = kept or tuple(range(len(block.inputs)))
        refs: list[Ref] = [(node.name, index) for index in range(outputs)] if outputs else [(node.name, None)]
        inputs = [(block.inputs[at], None) for at in kept]
        return Head(subgraph(block, inputs, nodes, refs, uses), kept, outputs)

    def _head_of_sequential(self, block: Sequential, path: str, above: str, *, all_inputs: bool) -> Head:
        name, rest, row = places.child(block, path, above)
        at = list(row).index(name)
        result = nesting.flattened(self.whole.returned.get(id(row[name])))
        found = Head(row[name], None, len(result) if isinstance(result, tuple) else None)
        if rest:
            found = self.head(row[name], rest, joined(above, name), all_inputs=all_inputs or at > 0)
        kept = found.kept if at == 0 else None
        return Head(sequential({**dict(list(row.items())[:at]), name: found.block}), kept, found.outputs)

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
        nodes = needed(block, block.outputs, {node.name: replace(node, inputs=())})
        if rest:
            places.refuse_second_use(nodes, node, where)
            inner = self.tail(block.find(node.target), rest, joined(above, node.target))
            inputs = _freed(inner.inputs, nodes)
            refs = tuple((name, None) for name, _ in inputs)
            nodes = [replace(each, inputs=refs) if each.name == node.name else each for each in nodes]
            return Tail(
                subgraph(block, inputs, nodes, block.outputs, {node.target: inner.block}, block.structure),
                inputs,
            )
        if {name for name, _ in block.outputs} == {node.name}:
            places.refuse(where, f"{where!r} is the last: nothing comes after it", "cut after an earlier one")
        nodes = [each for each in nodes if each.name != node.name]
        result = self.whole.results.get((id(block), node.name))
        inputs = _freed(_named(node.name, result, self._count(block, node)), nodes)

        def moved(ref: Ref) -> Ref:
            return (inputs[ref[1] or 0][0], None) if ref[0] == node.name else ref

        nodes = [replace(each, inputs=each.inputs and tuple(map(moved, each.inputs))) for each in nodes]
        return Tail(subgraph(block, inputs, nodes, list(map(moved, block.outputs)), {}, block.structure), inputs)

    def _tail_of_sequential(self, block: Sequential, path: str, above: str) -> Tail:
        name, rest, row = places.child(block, path, above)
        behind = dict(list(row.items())[list(row).index(name) + 1 :])
        if rest and not _is_result(row[name], rest, joined(above, name)):
            inner = self.tail(row[name], rest, joined(above, name))
            return Tail(sequential({name: inner.block, **behind}), inner.inputs)
        if not behind:
            where = joined(above, path)
            places.refuse(where, f"{where!r} is the last: nothing comes after it", "cut after an earlier one")
        result = nesting.flattened(self.whole.returned.get(id(row[name])))
        count = len(result) if isinstance(result, tuple) else None
        return Tail(sequential(behind), _named("x", result, count))

    def _refuse_crossing(self, graph: Graph, node: Node, where: str, above: str) -> None:
        others = crossing(graph, node)
        if others is None:
            places.refuse(where, f"no output comes from {where!r}", "cut until it instead")
        if not others:
            return
        listed = ", ".join(repr(joined(above, name)) for name in others[:8])
        more = f" and {len(others) - 8} more" if len(others) > 8 else ""
        near = next_place(graph, node)
        hint = "cut until it instead"
        if near is not None:
            hint = f"all of it passes through {joined(above, near)!r}: cut after that"
        places.refuse(where, f"what comes after {where!r} also needs {listed}{more}, which lies before the cut", hint)


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


def _named(name: str, result: Value, count: int | None) -> list[tuple[str, Value]]:
    """The results of a node as inputs: their names, and what is known of them."""
    if count is None:
        return [(name, result)]
    values = result if isinstance(result, tuple) else (None,) * count
    return [(f"{name}_{at}", value) for at, value in enumerate(values)]


def _freed(inputs: Iterable[tuple[str, Value]], nodes: Sequence[Node]) -> list[tuple[str, Value]]:
    """Inputs under names that no node has, and no block that one needs."""
    taken = names.Taken(
        name for node in nodes for name in (node.name, node.target.partition(".")[0] if node.verb != "op" else "")
    )
    return [(taken.free(name), value) for name, value in inputs]
