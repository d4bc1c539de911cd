"""A graph under construction: its inputs, its nodes, the parameters of its own, and what they are called."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from modelarchive import names
from modelarchive.exchange.budget import spend
from modelarchive.exchange.keras.naming import RENAMED, block_names
from modelarchive.nn.evaluate import Abstract, Evaluator, constant_value, declared
from modelarchive.nn.kinds import KINDS
from modelarchive.nn.parameter import dtype_name

if TYPE_CHECKING:
    from modelarchive.exchange.keras.importing import Importer

#: A block of an architecture.
Block = dict[str, Any]
#: Where a block under construction keeps what its own parameters are: own name -> key of the array.
HELD: Final = "(held)"


@dataclass(frozen=True)
class At:
    """A reference to a result inside of one graph."""

    name: str
    index: int | None = None

    @property
    def ref(self) -> str | list[Any]:
        """As an architecture writes it."""
        return self.name if self.index is None else [self.name, self.index]


@dataclass(frozen=True)
class Known:
    """What is known of a result.

    Attributes:
        value: Its shape and dtype; None: nothing.
        mask: The layer whose mask goes with it; "": there is none.
    """

    value: Abstract | None
    mask: str = ""


@dataclass(frozen=True, eq=False)
class Made:
    """A model as a block.

    Attributes:
        block: The block.
        known: What is known of its outputs.
        size: How many nodes there are in it, those of blocks inside of it included.
    """

    block: Block
    known: list[Known]
    size: int


_CONTAINERS: Final = ("Graph", "Sequential")
#: Steps of the budget that a node takes: it is made, and validated with the rest.
_NODE: Final = 2
#: The result of a call that could not be said, which is told already.
LOST: Final = At("?")


class Scope:
    """One graph under construction.

    Args:
        importer: Whose it is.
        is_trainable: Whether training changes what is in it.
        layers: The names of all layers that will be in it.
    """

    def __init__(self, importer: Importer, is_trainable: bool, layers: Sequence[str] = ()) -> None:
        self.importer = importer
        self._names = block_names(layers)
        self._reserved = frozenset(self._names.values())
        self._layer = ""
        self._begin = 0
        self.is_trainable = is_trainable
        self.inputs: list[str] = []
        self.nodes: list[dict[str, Any]] = []
        self.own: dict[str, dict[str, Any]] = {}
        #: Nodes, those of blocks inside included.
        self.size = 0
        #: Name of a parameter of its own -> key of the array; and back.
        self._held: dict[str, str] = {}
        self._owns: dict[str, str] = {}
        self._frozen: dict[str, None] = {}
        self._known: dict[At, Known] = {LOST: Known(None)}
        self._taken = names.Taken()
        #: What a block is, in JSON or as a model that was made -> the node that declares it; and back.
        self._declared: dict[str | Made, str] = {}
        self._declares: dict[str, list[str | Made]] = {}
        self._evaluator = Evaluator()

    @contextlib.contextmanager
    def naming(self, layer: str) -> Iterator[None]:
        """While a layer is converted: what is called after it begins with the name that its block has."""
        before = self._layer, self._begin
        self._layer, self._begin = layer, len(self.nodes)
        try:
            yield
        finally:
            self._layer, self._begin = before

    def free(self, wish: str) -> str:
        """A name of the grammar that nothing has yet; that of a layer's block for the layer's own name."""
        block = self._names.get(self._layer)
        if block is not None and wish == self._layer and block not in self._taken:
            self._taken.add(block)
            return block
        if block is not None and (wish == self._layer or wish.startswith(f"{self._layer}_")):
            wish = block + wish[len(self._layer) :]
        return self._taken.free(names.as_part(wish), self._reserved)

    def settled(self, layer: str, results: list[At]) -> list[At]:
        """See to it that a layer's name leads to its result, and tell where it is another name than Keras'.

        A layer whose parameters are in one block of several keeps its name for that one: they are called after it.
        """
        block, nodes = self._names.get(layer), self.nodes[self._begin :]
        if block is None or not nodes or not results or results[0] == LOST:
            return results
        if block != layer:
            self.importer.note(layer, RENAMED.format(block))
        by_name = {node["name"]: node for node in nodes}
        last, own = results[0].name, by_name.get(block)
        if len(results) > 1 or last == block or last not in by_name or (own is None and block in self._taken):
            return results
        if own is not None and HELD in json.dumps(own):
            self.importer.note(layer, f"has its parameters in {block!r}, and its result is that of {last!r} behind it")
            self.importer.results[block] = last
            return results
        renamed = {last: block}
        if own is not None:
            what = own.get("op") or own.get("block", {}).get("kind", "value")
            renamed[block] = self.free(f"{block}_{what.lower()}")
        self._rename(nodes, renamed)
        return [At(renamed.get(at.name, at.name), at.index) for at in results]

    def _rename(self, nodes: Sequence[dict[str, Any]], renamed: Mapping[str, str]) -> None:
        """Give nodes that only these know other names."""
        for node in nodes:
            node["name"] = renamed.get(node["name"], node["name"])
            if "inputs" in node:
                node["inputs"] = [
                    renamed.get(ref, ref) if isinstance(ref, str) else [renamed.get(ref[0], ref[0]), ref[1]]
                    for ref in node["inputs"]
                ]
        moved = {new: self._declares.pop(old) for old, new in renamed.items() if old in self._declares}
        for name, keys in moved.items():
            self._declared |= dict.fromkeys(keys, name)
        self._declares |= moved
        for name in renamed.values():
            self._taken.add(name)
        for old, known in [(at, self._known.pop(at)) for name in renamed for at in self._results(name)]:
            self._known[At(renamed[old.name], old.index)] = known

    def _results(self, name: str) -> list[At]:
        whole, index = At(name), 0
        found = [whole] if whole in self._known else []
        while At(name, index) in self._known:
            found.append(At(name, index))
            index += 1
        return found

    def input(self, wish: str, known: Known, *, is_layer: bool = False) -> At:
        """Add an input; with the name of the layer that it is in Keras, if it is one."""
        with self.naming(wish if is_layer else ""):
            at = At(self.free(wish))
        if is_layer and at.name != wish:
            self.importer.note(wish, RENAMED.format(at.name))
        self.inputs.append(at.name)
        self._known[at] = known
        return at

    def known(self, at: At) -> Known:
        """What is known of a result."""
        return self._known.get(at, Known(None))

    def set_mask(self, at: At, mask: str) -> None:
        """Say that a mask goes with a result."""
        self._known[at] = Known(self.known(at).value, mask)

    def _emit(self, wish: str, node: dict[str, Any], value: Any) -> list[At]:
        spend("its network", steps=_NODE)
        self.size += 1
        name = self.free(wish)
        self.nodes.append({"name": name, **node})
        if isinstance(value, tuple):
            several = [At(name, index) for index in range(len(value))]
            self._known |= {at: Known(each) for at, each in zip(several, value, strict=True)}
            return several
        self._known[At(name)] = Known(value)
        return [At(name)]

    def op(self, wish: str, name: str, refs: Sequence[At], arguments: dict[str, Any]) -> list[At]:
        """Add an op of the vocabulary.

        Raises:
            ValueError: It does not take these.
        """
        if name == "constant":
            value = constant_value(arguments["value"])
            if arguments["dtype"] is not None:
                import numpy as np

                value = constant_value(np.asarray(arguments["value"], arguments["dtype"]))
        else:
            value = self._evaluator.op(name, [self.known(ref).value for ref in refs], arguments)
        return self._emit(wish, {"op": name, "inputs": [ref.ref for ref in refs], "arguments": arguments}, value)

    def parameter(self, wish: str, key: str) -> At:
        """A parameter of the graph's own, as a result."""
        array = self.importer.arrays[key]
        own = self._owns.get(key)
        if own is None:
            own = self._owns[key] = self.free(wish)
            self.own[own] = {"shape": list(array.shape), "dtype": dtype_name(array.dtype)}
            self._held[own] = key
            if not self.is_trainable:
                self._frozen[own] = None
        value = declared(array.shape, dtype_name(array.dtype))
        return self._emit(f"{own}_value", {"parameter": own}, value)[0]

    def freeze(self, key: str) -> None:
        """Say that training does not change a parameter of the graph's own."""
        if key in self._owns:
            self._frozen[self._owns[key]] = None

    def block(self, wish: str, block: Block, refs: Sequence[At], value: Any = ...) -> list[At]:
        """Add a block; a further call of one that there is already, where it has the same parameters.

        Args:
            wish: Its name, if that is free.
            block: It.
            refs: What it is called on.
            value: What it gives, for a container.
        """
        if value is ...:
            value = self.layer_value(block, refs)
        inputs = [ref.ref for ref in refs]
        signature = json.dumps(block, sort_keys=True)
        if (HELD in signature or block["kind"] in _CONTAINERS) and signature in self._declared:
            return self._emit(f"{wish}_again", {"call": self._declared[signature], "inputs": inputs}, value)
        found = self._emit(wish, {"block": block, "inputs": inputs}, value)
        self._declare(signature, found[0].name)
        return found

    def _declare(self, key: str | Made, name: str) -> None:
        self._declared[key] = name
        self._declares.setdefault(name, []).append(key)

    def model(self, wish: str, made: Made, refs: Sequence[At]) -> list[At]:
        """Add a model inside of this one; a further call of one that there is already."""
        values = [each.value for each in made.known]
        value = tuple(values) if len(values) != 1 else values[0]
        if made in self._declared:
            node = {"call": self._declared[made], "inputs": [ref.ref for ref in refs]}
            return self._emit(f"{wish}_again", node, value)
        # The same model elsewhere is written out there, too.
        spend("a model inside of others", steps=_NODE * made.size)
        before = self.size
        found = self.block(wish, copy.deepcopy(made.block), refs, value)
        node = self.nodes[-1]
        self._declare(made, str(node.get("call", node["name"])))
        self.size = before + 1 + made.size
        return found

    def layer_value(self, block: Block, refs: Sequence[At]) -> Any:
        """What a layer gives."""
        fields = {name: each for name, each in block.items() if name not in ("kind", "frozen", HELD)}
        return self._evaluator.layer(KINDS[block["kind"]].from_config(fields), [self.known(ref).value for ref in refs])

    def row(self, outputs: Sequence[At]) -> Block | None:
        """The graph as a Sequential, if it is one."""
        at = At(self.inputs[0])
        for node in self.nodes:
            if "block" not in node or node["inputs"] != [at.ref]:
                return None
            at = At(node["name"])
        if list(outputs) != [at]:
            return None
        return {
            "kind": "Sequential",
            "children": [{"name": node["name"], "block": node["block"]} for node in self.nodes],
        }

    def graph(self, outputs: Sequence[At]) -> Block:
        """The graph."""
        block: Block = {"kind": "Graph", "inputs": self.inputs}
        if self.own:
            block |= {"parameters": self.own, HELD: self._held}
        block |= {"nodes": self.nodes, "outputs": [at.ref for at in outputs]}
        return block | ({"frozen": list(self._frozen)} if self._frozen else {})
