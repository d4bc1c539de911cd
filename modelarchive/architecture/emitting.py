"""Blocks as JSON: the inverse of reading an architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelarchive.names import joined
from modelarchive.nn import nesting
from modelarchive.nn.block import Block
from modelarchive.nn.evaluate import is_code, is_kind
from modelarchive.nn.graph import Graph, Node, Ref
from modelarchive.nn.parameter import Parameter, dtype_name
from modelarchive.nn.scan import Scan
from modelarchive.nn.scope import Recorded


class Emitter:
    """Writes a tree of blocks as JSON.

    Args:
        root: The model: names of shared parameters count from here.
        recorded: What the forwards that are Python code did.
    """

    def __init__(self, root: Block, recorded: Mapping[int, Recorded]) -> None:
        self._root = root
        self._recorded = recorded
        self._first: dict[int, str] = {}
        self._owners: dict[str, Block] = {}
        for path, block in self._written(root):
            self._owners[path] = block
            for name, parameter in block.parameters.items():
                self._first.setdefault(id(parameter), joined(path, name))

    def _written(self, root: Block) -> Iterator[tuple[str, Block]]:
        """All blocks in the order in which they are written, which is that of a network built from it."""
        stack = [("", root)]
        while stack:
            path, block = stack.pop()
            yield path, block
            stack += [(joined(path, name), child) for name, child in reversed(self._children_in_order(block))]

    def _children_in_order(self, block: Block) -> list[tuple[str, Block]]:
        """The children by name, as the nodes come to them; those that none needs are last."""
        children = block.children
        nodes = self._recording(block).nodes if isinstance(block, Graph) or is_code(block) else ()
        needed = (node.target.partition(".")[0] for node in nodes if node.verb != "op")
        names = dict.fromkeys((*needed, *children)) if nodes else children
        return [(name, children[name]) for name in names if name in children]

    def _recording(self, block: Block) -> Recorded:
        if isinstance(block, Graph):
            usual = block.structure == nesting.usual(len(block.outputs))
            return Recorded(block.inputs, block.nodes, block.outputs, {}, (), None if usual else block.structure)
        # A block that is never called only holds its children.
        return self._recorded.get(id(block)) or Recorded((), (), (), {}, ())

    def model(self) -> dict[str, Any]:
        """The root block."""
        return self._block(self._root, "")

    def _block(self, block: Block, path: str) -> dict[str, Any]:
        if is_kind(block):
            data = {"kind": block.kind, **block.config()}
        elif isinstance(block, Scan) and not is_code(block):
            data = self._scan(block, path)
        elif not is_code(block) and not isinstance(block, Graph):
            data = {"kind": "Sequential", "children": list(self._children(block, path))}
        else:
            data = self._graph(block, path)
        # Of a kind it is known which parameters are never trained.
        frozen = [
            name
            for name, each in _own(block).items()
            if not each.trainable and each.persistent and (each.born_trainable or not is_kind(block))
        ]
        shares = self._shares(block, path)
        return data | ({"frozen": frozen} if frozen else {}) | ({"shares": shares} if shares else {})

    def _scan(self, block: Scan, path: str) -> dict[str, Any]:
        return {
            "kind": "Scan",
            "states": block.states,
            "axes": list(block.axes),
            "output_axes": list(block.output_axes),
            "body": self._block(block.body, joined(path, "body")),
        }

    def _children(self, block: Block, path: str) -> Iterator[dict[str, Any]]:
        for name, child in block.children.items():
            yield {"name": name, "block": self._block(child, joined(path, name))}

    def _shares(self, block: Block, path: str) -> dict[str, str] | str:
        """Which own parameters stand earlier in the model: the block's path, if it has all of them."""
        own = _own(block)
        firsts = {name: self._first[id(parameter)] for name, parameter in own.items()}
        shares = {name: first for name, first in firsts.items() if first != joined(path, name)}
        sources = {first.removesuffix(f".{name}") for name, first in shares.items()}
        # A path speaks of all that is below it, and the blocks below speak for themselves.
        if len(shares) == len(own) == len(block.collect_params()) and len(sources) == 1:
            source = sources.pop()
            same_names = all(first == joined(source, name) for name, first in shares.items())
            if same_names and source in self._owners and _own(self._owners[source]).keys() == own.keys():
                return source
        return shares

    # ------------------------------------------------------------------ graphs

    def _graph(self, block: Block, path: str) -> dict[str, Any]:
        recorded = self._recording(block)
        parameters = {name: _declared(parameter) for name, parameter in block.parameters.items()}
        return {
            "kind": "Graph",
            "inputs": list(recorded.inputs),
            **({"parameters": parameters} if parameters else {}),
            "nodes": list(self._nodes(block, path, recorded)),
            "outputs": [_ref(ref) for ref in recorded.outputs],
            **({} if recorded.structure is None else {"structure": recorded.structure}),
        }

    def _nodes(self, block: Block, path: str, recorded: Recorded) -> Iterator[dict[str, Any]]:
        children = block.children
        declared = {node.target for node in recorded.nodes if node.verb == "block"}
        for node in recorded.nodes:
            child = node.target.split(".")[0] if node.verb in ("call", "parameter") else ""
            if child in children and child not in declared:
                declared.add(child)
                yield {"name": child, "block": self._block(children[child], joined(path, child))}
            yield self._node(node, children, path, recorded)
        for name, each in children.items():
            if name not in declared:
                yield {"name": name, "block": self._block(each, joined(path, name))}

    def _node(self, node: Node, children: Mapping[str, Block], path: str, recorded: Recorded) -> dict[str, Any]:
        data: dict[str, Any] = {"name": node.name}
        if node.verb == "block" and node.target in recorded.layers:
            kind, config = recorded.layers[node.target]
            data["block"] = {"kind": kind, **config}
        elif node.verb == "block":
            data["block"] = self._block(children[node.target], joined(path, node.target))
        else:
            data[node.verb] = node.target
        if node.inputs is not None and node.verb != "parameter":
            data["inputs"] = [_ref(ref) for ref in node.inputs]
        return data | ({"arguments": dict(node.arguments)} if node.verb == "op" else {})


def _own(block: Block) -> dict[str, Parameter]:
    """The parameters that the JSON of `block` itself speaks of: those of a kind also in its children."""
    return block.collect_params() if is_kind(block) and block.children else block.parameters


def _ref(ref: Ref) -> Any:
    return ref[0] if ref[1] is None else list(ref)


def _declared(parameter: Parameter) -> dict[str, Any]:
    data: dict[str, Any] = {"shape": list(parameter.known_shape), "dtype": dtype_name(parameter.dtype)}
    return data if parameter.persistent else data | {"persistent": False}
