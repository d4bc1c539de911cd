"""Reading an architecture into blocks, with every problem noted and what is unreadable left unknown."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from modelarchive import names
from modelarchive.architecture import limits, schema, vocabulary
from modelarchive.architecture.ordering import tell_order
from modelarchive.architecture.schema import Problem
from modelarchive.architecture.unreadable import Unknown, behind_unknown, holding
from modelarchive.names import joined
from modelarchive.nn import nesting
from modelarchive.nn.block import Block
from modelarchive.nn.copying import copied
from modelarchive.nn.evaluate import UNKNOWN
from modelarchive.nn.graph import Graph, Node, Ref, constant
from modelarchive.nn.kinds import KINDS
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Parameter
from modelarchive.nn.scan import Scan
from modelarchive.nn.sequential import Sequential

#: The grammar of names as schemas write it, which cannot say all of it.
_SCHEMA_NAME = re.compile("^[A-Za-z0-9_-]{1,128}$")
_META = ("kind", "frozen", "shares")
_MAX_BLOCK_PARTS = names.MAX_PARTS - 1  # a parameter of it has one part more


class TooManyError(Exception):
    """Reading stops here: a limit, or more problems than anyone reads."""


@dataclass(frozen=True)
class Sharing:
    """What one block says of shared parameters.

    Attributes:
        path: The block's path from the root.
        block: The block.
        pointer: Where it stands.
        shares: The field "shares".
    """

    path: str
    block: Block
    pointer: str
    shares: Any


class Reader:
    """Reads blocks, and keeps what is needed to go on checking them.

    Attributes:
        problems: What was found so far.
        pointers: ``id(block)`` -> JSON pointer.
        sharings: All fields "shares".
        steps: ``id(block)`` -> how many steps one call of it takes.
        contents: ``id(layer)`` -> its JSON as text, of layers whose parameters' shapes are all known.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.pointers: dict[int, str] = {}
        self.sharings: list[Sharing] = []
        self.steps: dict[int, int] = {}
        self.contents: dict[int, str] = {}
        self._layers: dict[str, Layer] = {}
        self._told: set[Problem] = set()
        self._count = 0
        self._kept: list[Block] = []  # so that no id() comes twice

    def tell(self, pointer: str, rule: str, message: str) -> None:
        """Note a problem, each once.

        Raises:
            TooManyError: There are too many to go on.
        """
        problem = (schema.shortened(pointer, 1000), rule, schema.shortened(message, 600))
        if problem in self._told:
            return
        self._told.add(problem)
        self.problems.append(problem)
        if len(self.problems) >= limits.MAX_PROBLEMS:
            self.stop("", f"{limits.MAX_PROBLEMS} problems are told, there may be more")

    def forget(self) -> None:
        """Forget the problems of sizes that others take the place of."""
        self.problems, self._told = [], set()

    def stop(self, pointer: str, message: str) -> NoReturn:
        """Note a broken limit, and give up.

        Raises:
            TooManyError: Always.
        """
        self.problems.append((pointer, "limit", message))
        raise TooManyError

    def _counted(self, pointer: str) -> None:
        self._count += 1
        if self._count > limits.MAX_NODES:
            self.stop(pointer, f"expected at most {limits.MAX_NODES:,} blocks and nodes")

    def fits(self, piece: str, value: Any, pointer: str) -> bool:
        """Whether `value` obeys a schema; its problems are noted."""
        found = schema.problems(piece, value, pointer)
        for problem in found:
            self.tell(*problem)
        return not found

    # ------------------------------------------------------------------ blocks

    def block(self, data: Any, pointer: str, path: str) -> Block:
        """The block of a JSON object; :class:`Unknown` where it cannot be read.

        Args:
            data: The object.
            pointer: Where it stands.
            path: The block's dotted path from the root.
        """
        self._counted(pointer)
        block = self._read(data, pointer, path)
        self._kept.append(block)
        self.pointers[id(block)] = pointer
        if isinstance(data, dict) and "shares" in data and not isinstance(block, Unknown):
            self.sharings.append(Sharing(path, block, pointer, data["shares"]))
        return block

    def _read(self, data: Any, pointer: str, path: str) -> Block:
        kind = data.get("kind") if type(data) is dict else None
        if type(kind) is not str or not vocabulary.is_kind(kind):
            self._tell_kind(data, kind, pointer)
            return Unknown()
        if path.count(".") >= _MAX_BLOCK_PARTS:
            self.stop(pointer, f"expected at most {_MAX_BLOCK_PARTS} nested blocks")
        if kind == "Sequential":
            return self._sequential(data, pointer, path)
        if kind == "Graph":
            return self._graph(data, pointer, path)
        if kind == "Scan":
            return self._scan(data, pointer, path)
        return self._layer(kind, data, pointer)

    def _layer(self, kind: str, data: dict[str, Any], pointer: str) -> Block:
        """One layer; those that say the same are checked once, and copies of the first."""
        content = repr(data)
        first = self._layers.get(content)
        if first is not None:
            layer = copied(first)
            is_known = id(first) in self.contents
        elif self.fits(kind, data, pointer):
            try:
                layer = KINDS[kind].from_config({key: value for key, value in data.items() if key not in _META})
            except (ValueError, TypeError, ArithmeticError) as error:
                self.tell(pointer, "value", str(error))
                return Unknown()
            self._freeze(layer, data, pointer)
            is_known = all(parameter.is_known for parameter in layer.collect_params().values())
            if not self.problems:  # or what is wrong with others like it would not be told
                self._layers[content] = layer
        else:
            return Unknown()
        # A stack of layers in one block is as much to build as that many blocks.
        self._count += data.get("num_layers", 1) - 1
        if is_known:
            self.contents[id(layer)] = content
        return layer

    def _tell_kind(self, data: Any, kind: Any, pointer: str) -> None:
        if type(data) is not dict:
            return  # the schema of what holds it has told that
        hint = schema.did_you_mean(kind, [*KINDS, *vocabulary.CONTAINERS])
        found = schema.shortened(repr(kind), 80) if "kind" in data else "nothing"
        self.tell(pointer, "kind", f"expected a kind of vocabulary {vocabulary.VERSION}, found {found}{hint}")

    def _freeze(self, block: Block, data: dict[str, Any], pointer: str) -> None:
        if "frozen" not in data:
            return
        stored = block.parameters if isinstance(block, Graph) else block.collect_stored()
        own = {name: each for name, each in stored.items() if each.persistent}
        before: set[str] = set()
        for position, name in enumerate(data["frozen"]):
            if name in before:
                self.tell(f"{pointer}/frozen/{position}", "name", f"{name!r} is there already")
            elif name in own:
                own[name].trainable = False
            else:
                known = ", ".join(own) or "none"
                self.tell(f"{pointer}/frozen/{position}", "parameter", f"{name!r} is no parameter here ({known})")
            before.add(name)

    def named(self, name: Any, taken: set[str], pointer: str, *, key: str = "/name") -> str | None:
        """`name` if it is in the grammar and free; it is taken then."""
        if type(name) is not str:
            return None  # the schema has told that
        problem = names.problem_with_part(name)
        if problem is None and name in taken:
            problem = f"{name!r} is there already"
        if problem is not None:
            if not _SCHEMA_NAME.search(name):
                return None  # likewise
            self.tell(f"{pointer}{key}", "name", problem)
            return None
        taken.add(name)
        return name

    def _sequential(self, data: dict[str, Any], pointer: str, path: str) -> Block:
        fits = self.fits("Sequential", data, pointer)
        block = Sequential()
        taken: set[str] = set()
        steps = 0
        children = data.get("children")
        for position, item in enumerate(children if type(children) is list else []):
            where = f"{pointer}/children/{position}"
            if not self.fits("child", item, where) and (type(item) is not dict or "block" not in item):
                continue
            name = self.named(item.get("name"), taken, where)
            child = self.block(item["block"], f"{where}/block", joined(path, name or str(position)))
            steps += 1 + self.steps.get(id(child), 0)
            if name is not None:
                block.adopt(name, child)
        self._set_steps(block, steps, pointer)
        return block if fits else holding(block)

    def _scan(self, data: dict[str, Any], pointer: str, path: str) -> Block:
        fits = self.fits("Scan", data, pointer)
        unknown = Unknown()
        if "body" in data:
            body = self.block(data["body"], f"{pointer}/body", joined(path, "body"))
            unknown.adopt("body", body)
        if not fits:
            return unknown
        try:
            block = Scan(body, data["states"], data["axes"], data["output_axes"])
        except ValueError as error:
            self.tell(pointer, "value", str(error))
            return unknown
        self._set_steps(block, 1 + self.steps.get(id(body), 0), pointer)
        return block

    def _set_steps(self, block: Block, steps: int, pointer: str) -> None:
        if steps > limits.MAX_STEPS:
            self.stop(pointer, f"expected at most {limits.MAX_STEPS:,} steps in one call, found more")
        self.steps[id(block)] = steps

    # ------------------------------------------------------------------ graphs

    def _graph(self, data: dict[str, Any], pointer: str, path: str) -> Block:
        fits = self.fits("Graph", data, pointer)
        inputs, items = ([*each] if type(each := data.get(key)) is list else [] for key in ("inputs", "nodes"))
        inputs = [name for name in inputs if type(name) is str]
        taken: set[str] = set()
        for position, name in enumerate(inputs):
            self.named(name, taken, f"{pointer}/inputs/{position}", key="")
        children: dict[str, Block] = {}
        nodes = [
            self._node(item, f"{pointer}/nodes/{position}", path, taken, children, f"?{position}")
            for position, item in enumerate(items)
        ]
        if not fits:
            return holding(Graph((), (), (), children))
        parameters = self._own_parameters(data, children, pointer)
        nodes = self._resolved(nodes, children, parameters, pointer)
        outputs = [_ref(each) for each in data["outputs"]]
        structure = data.get("structure")
        problem = None if structure is None else nesting.problem_with(structure, len(outputs))
        if problem is not None:
            self.tell(f"{pointer}/structure", "structure", problem)
            return holding(Graph((), (), (), children))
        bad = tell_order(inputs, nodes, outputs, pointer, self.tell)
        if bad:
            nodes = [_without(node, bad) for node in nodes]
            outputs = [(UNKNOWN, None) if name in bad else (name, index) for name, index in outputs]
        graph = Graph(inputs, nodes, outputs, children, parameters, structure)
        self._set_steps(graph, sum(self._steps_of(graph, node) for node in nodes), pointer)
        self._freeze(graph, data, pointer)
        return graph

    def _node(
        self, item: Any, pointer: str, path: str, taken: set[str], children: dict[str, Block], label: str
    ) -> Node:
        """One node, its child read into `children`; what is not readable gives an unknown value.

        Args:
            item: The node.
            pointer: Where it stands.
            path: The graph's path.
            taken: Names of the graph's inputs and nodes so far.
            children: The graph's children so far.
            label: A name outside the grammar, for a node without one.
        """
        self._counted(pointer)
        fits = self.fits("node", item, pointer)
        if type(item) is not dict:
            return Node(label, "block", UNKNOWN)
        if fits and "op" in item:
            fits = self._op_fits(item, pointer)
        name = self.named(item.get("name"), taken, pointer)
        if "block" in item:
            child = self.block(item["block"], f"{pointer}/block", joined(path, name or label))
            if name is not None:
                children[name] = child
        if not fits or name is None:
            return Node(name or label, "block", UNKNOWN)
        called = "inputs" in item or "block" not in item
        refs = tuple(_ref(each) for each in item.get("inputs", ())) if called else None
        for verb in ("call", "op", "parameter"):
            if verb in item:
                return Node(name, verb, item[verb], refs, item.get("arguments", {}))
        return Node(name, "block", name, refs)

    def _op_fits(self, item: dict[str, Any], pointer: str) -> bool:
        name = item["op"]
        if not vocabulary.is_op(name):
            hint = schema.did_you_mean(name, list(vocabulary.op_schemas()))
            self.tell(f"{pointer}/op", "op", f"{name!r} is no op of vocabulary {vocabulary.VERSION}{hint}")
            return False
        if not self.fits(f"op {name}", item, pointer):
            return False
        if name != "constant":
            return True
        try:
            value = constant(item["arguments"])
            if math.prod(getattr(value, "shape", ())) > 64 or isinstance(value, list | bool):
                raise ValueError("expected a number, or with a dtype up to 64 elements")
        except (ValueError, TypeError, ArithmeticError) as error:
            self.tell(f"{pointer}/arguments/value", "value", str(error))
            return False
        return True

    def _own_parameters(self, data: dict[str, Any], children: dict[str, Block], pointer: str) -> dict[str, Parameter]:
        found: dict[str, Parameter] = {}
        for name, declared in data.get("parameters", {}).items():
            where = f"{pointer}/parameters/{schema.escaped(name)}"
            problem = names.problem_with_part(name)
            if problem is None and name in children:
                problem = f"{name!r} is a block already"
            if problem is not None:
                self.tell(where, "name", problem)
            else:
                kept = declared.get("persistent", True)
                found[name] = Parameter(declared["shape"], declared["dtype"], trainable=kept, persistent=kept)
        return found

    def _resolved(
        self, nodes: list[Node], children: dict[str, Block], parameters: dict[str, Parameter], pointer: str
    ) -> list[Node]:
        """The nodes; one that calls or takes what is not there gives an unknown value."""
        if not any(node.verb in ("call", "parameter") for node in nodes):
            return nodes
        graph = Graph((), (), (), children, parameters)
        return [
            node if self._is_there(graph, node, f"{pointer}/nodes/{at}") else Node(node.name, "block", UNKNOWN)
            for at, node in enumerate(nodes)
        ]

    def _is_there(self, graph: Graph, node: Node, pointer: str) -> bool:
        """Whether what a node calls or takes from below the graph is there."""
        try:
            if node.verb == "call":
                graph.find(node.target)
            elif node.verb == "parameter":
                graph.find_parameter(node.target)
        except LookupError:
            if not behind_unknown(graph, node.target):
                below = [path for path, _ in graph.named_blocks() if path] if node.verb == "call" else []
                hint = schema.did_you_mean(node.target, below)
                what = f"{'block' if node.verb == 'call' else 'parameter'} {schema.shortened(node.target, 200)!r}"
                self.tell(f"{pointer}/{node.verb}", "reference", f"there is no {what} here{hint}")
            return False
        return True

    def _steps_of(self, graph: Graph, node: Node) -> int:
        if node.inputs is None:
            return 0
        own = 1 + (len(node.inputs) + limits.listed(node.arguments)) // limits.REFERENCES_A_STEP
        if node.verb in ("op", "parameter") or node.target == UNKNOWN:
            return own
        return own + self.steps.get(id(graph.find(node.target)), 0)


def _ref(data: Any) -> Ref:
    return (data, None) if type(data) is str else (data[0], data[1])


def _without(node: Node, bad: set[str]) -> Node:
    if not node.inputs or not any(name in bad for name, _ in node.inputs):
        return node
    refs = tuple((name, index) if name not in bad else (UNKNOWN, None) for name, index in node.inputs)
    return Node(node.name, node.verb, node.target, refs, node.arguments)
