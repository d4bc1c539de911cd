"""What Keras' layers become in a Graph under construction: blocks under the layers' names, and the masks beside."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import NODE_STEPS, Description, GraphBuilder, Ref, Report
from modelarchive.exchange.keras.naming import RENAMED, block_names
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.evaluate import Abstract, Value
from modelarchive.store.deferred import Deferred

#: Where a block under construction keeps what its own parameters are: own name -> key of the array.
HELD: Final = "(held)"
_CONTAINERS: Final = ("Graph", "Sequential")
#: The result of a call that is not supported, which is reported already.
UNSUPPORTED: Final = Ref("?")


@dataclass(frozen=True, eq=False)
class Mask:
    """Which steps of a tensor count.

    Attributes:
        layer: The layer that says so.
        make: Adds it to the graph, truths of ``(batch, steps)``, when somebody takes it.
    """

    layer: str
    make: Callable[[], Ref]


class MaskWantedError(Exception):
    """The mask of what a model inside gives is taken: it is to give it as a result of its own.

    Attributes:
        model: What identifies the model.
    """

    def __init__(self, model: Hashable) -> None:
        super().__init__()
        self.model = model


@dataclass(frozen=True)
class Known:
    """What is known of a tensor that goes into a model, or comes out of it.

    Attributes:
        value: Its shape and dtype; None: nothing.
        mask: The layer whose mask goes with it; "": there is none.
    """

    value: Value
    mask: str = ""


@dataclass(frozen=True, eq=False)
class Made:
    """A model as a block.

    Attributes:
        block: The block.
        known: What is known of its outputs.
        size: How many nodes there are in it, those of blocks inside of it included.
        masks: The places of those of its inputs whose masks are inputs, too, behind the others.
        given: The places of those of its outputs whose masks are outputs, too, behind the others.
    """

    block: Description
    known: list[Known]
    size: int
    masks: Sequence[int] = ()
    given: Sequence[int] = ()


class LayerBuilder(GraphBuilder):
    """The Graph that a model, or a layer of operations, becomes.

    Args:
        report: Where it is reported what is changed or lost.
        arrays: Key -> array, of all parameters of the whole: their names are settled when that is there.
        results: Takes the block of a layer's parameters -> the node behind it that is the layer's result.
        is_trainable: Whether training changes what is in it.
        layers: The names of all layers that will be in it.
    """

    def __init__(
        self,
        report: Report,
        arrays: dict[str, Deferred],
        results: dict[str, str],
        *,
        is_trainable: bool,
        layers: Sequence[str] = (),
    ) -> None:
        self._names = block_names(layers)
        super().__init__(reserved=self._names.values())
        self.report = report
        self.arrays = arrays
        self.is_trainable = is_trainable
        self._results = results
        self._layer = ""
        self._begin = 0
        #: Nodes of the models inside of it.
        self._size_inside = 0
        #: Name of a parameter of its own -> key of the array; and back.
        self._held: dict[str, str] = {}
        self._owns: dict[str, str] = {}
        self._masks: dict[Ref, Mask | None] = {}
        self._made: dict[Mask, Ref] = {}
        #: Places of the inputs whose masks are asked for: these are inputs behind them, in this order.
        self.mask_inputs: list[int] = []
        #: Name of a block -> its keys: the inverse of what is declared.
        self._keys: dict[str, list[Hashable]] = {}

    @property
    def size(self) -> int:
        """How many nodes it has, those of models inside of it included."""
        return len(self.nodes) + self._size_inside

    def inside(self) -> LayerBuilder:
        """The Graph of a layer of this one."""
        return LayerBuilder(self.report, self.arrays, self._results, is_trainable=self.is_trainable)

    # ----------------------------------------------------------------- names

    @contextlib.contextmanager
    def naming(self, layer: str) -> Iterator[None]:
        """While a layer is lifted: what is called after it begins with the name that its block has."""
        before = self._layer, self._begin
        self._layer, self._begin = layer, len(self.nodes)
        try:
            yield
        finally:
            self._layer, self._begin = before

    def free(self, preferred: str) -> str:
        """A name of the grammar that nothing has yet; that of a layer's block for the layer's own name."""
        block = self._names.get(self._layer)
        if block is not None and preferred == self._layer and self.take(block):
            return block
        if block is not None and (preferred == self._layer or preferred.startswith(f"{self._layer}_")):
            preferred = block + preferred[len(self._layer) :]
        return super().free(preferred)

    def settled(self, layer: str, results: list[Ref]) -> list[Ref]:
        """See to it that a layer's name leads to its result, and report where it is another name than Keras'.

        A layer whose parameters are in one block of several keeps its name for that one: they are called after it.
        """
        block, nodes = self._names.get(layer), self.nodes[self._begin :]
        if block is None or not nodes or not results or results[0] == UNSUPPORTED:
            return results
        if block != layer:
            self.report.note(layer, RENAMED.format(block))
        by_name = {node["name"]: node for node in nodes}
        last, own = results[0].name, by_name.get(block)
        if len(results) > 1 or last == block or last not in by_name or (own is None and block in self._taken):
            return results
        if own is not None and HELD in json.dumps(own):
            self.report.note(layer, f"has its parameters in {block!r}, and its result is that of {last!r} behind it")
            self._results[block] = last
            return results
        renamed = {last: block}
        if own is not None:
            what = own.get("op") or own.get("block", {}).get("kind", "value")
            renamed[block] = self.free(f"{block}_{what.lower()}")
        self._rename(nodes, renamed)
        return [_renamed(ref, renamed) for ref in results]

    def _rename(self, nodes: Sequence[dict[str, Any]], renamed: Mapping[str, str]) -> None:
        """Give nodes that only these know other names."""
        for node in nodes:
            node["name"] = renamed.get(node["name"], node["name"])
            if "inputs" in node:
                node["inputs"] = [
                    renamed.get(ref, ref) if isinstance(ref, str) else [renamed.get(ref[0], ref[0]), ref[1]]
                    for ref in node["inputs"]
                ]
        refs = [each for name in renamed for each in (Ref(name), *self.results_of(Ref(name)))]
        masks = {_renamed(ref, renamed): self._masks.pop(ref) for ref in refs if ref in self._masks}
        values = {new: self._values.pop(old) for old, new in renamed.items()}
        keys = {new: self._keys.pop(old) for old, new in renamed.items() if old in self._keys}
        for name, several in keys.items():
            self._declared |= dict.fromkeys(several, name)
        self._masks |= masks
        self._values |= values
        self._keys |= keys
        for name in renamed.values():
            self.take(name)

    # --------------------------------------------------------------- tensors

    def layer_input(self, preferred: str, known: Known, *, is_layer: bool) -> Ref:
        """Add an input; with the name of the layer that it is in Keras, if it is one."""
        with self.naming(preferred if is_layer else ""):
            ref = self.input(preferred, known.value)
        if is_layer and ref.name != preferred:
            self.report.note(preferred, RENAMED.format(ref.name))
        place = len(self.inputs) - 1
        if known.mask:
            self.set_mask(ref, Mask(known.mask, lambda: self._mask_input(place, known)))
        return ref

    def _mask_input(self, place: int, known: Known) -> Ref:
        """The mask of an input, which is an input of its own."""
        if not isinstance(known.value, Abstract):
            raise Refusal("takes a mask of an input whose shape is not known: pass inputs=")
        self.mask_inputs.append(place)
        one, two = (shape[:2] for shape in known.value.shapes)
        return self.input("mask", Abstract((one, two), np.dtype(bool)))

    def known_of(self, ref: Ref) -> Known:
        """What is known of a tensor."""
        mask = self.mask(ref)
        return Known(self.value(ref), "" if mask is None else mask.layer)

    def mask(self, ref: Ref) -> Mask | None:
        """The mask that goes with a tensor."""
        return self._masks.get(ref)

    def set_mask(self, ref: Ref, mask: Mask | None) -> None:
        """Say which mask goes with a tensor."""
        self._masks[ref] = mask

    def made(self, mask: Mask) -> Ref:
        """A mask as a tensor."""
        if mask not in self._made:
            self._made[mask] = mask.make()
        return self._made[mask]

    def variable(self, preferred: str, key: str, *, is_trained: bool) -> Ref:
        """A parameter of the Graph's own, as a tensor.

        Args:
            preferred: Its name, if that is free.
            key: The key of its array.
            is_trained: Whether training changes it.
        """
        array = self.arrays[key]
        own = self._owns.get(key)
        if own is None:
            own = self._owns[key] = self.free(preferred)
            self.declare(own, array)
            self._held[own] = key
        if not (is_trained and self.is_trainable):
            self.frozen[own] = None
        return self.parameter(f"{own}_value", own, array)

    # ---------------------------------------------------------------- blocks

    def block(self, preferred: str, block: Description, refs: Sequence[Ref], value: Value, key: Hashable = "") -> Ref:
        """Add a block; a further call of one that there is already, where it has the same parameters."""
        signature = json.dumps(block, sort_keys=True)
        key = signature if HELD in signature or block["kind"] in _CONTAINERS else ""
        if key in self._declared:
            preferred = f"{preferred}_again"
        ref = super().block(preferred, block, refs, value, key)
        if key and "block" in self.nodes[-1]:
            self._declare(key, ref.name)
        return ref

    def _declare(self, key: Hashable, name: str) -> None:
        self._declared[key] = name
        self._keys.setdefault(name, []).append(key)

    def model(self, preferred: str, made: Made, refs: Sequence[Ref]) -> list[Ref]:
        """Add a model inside of this one; a further call of one that there is already."""
        values = [each.value for each in made.known]
        value = tuple(values) if len(values) != 1 else values[0]
        if made in self._declared:
            return self.results_of(super().block(f"{preferred}_again", made.block, refs, value, made))
        # The same model elsewhere is written out there, too.
        spend("a model inside of others", steps=NODE_STEPS * made.size)
        ref = self.block(preferred, copy.deepcopy(made.block), refs, value)
        node = self.nodes[-1]
        self._declare(made, str(node.get("call", node["name"])))
        self._size_inside += made.size
        return self.results_of(ref)

    def row(self, outputs: Sequence[Ref]) -> Description | None:
        """The graph as a Sequential, if it is one."""
        ref = Ref(self.inputs[0])
        for node in self.nodes:
            if "block" not in node or node["inputs"] != [ref.json]:
                return None
            ref = Ref(node["name"])
        if list(outputs) != [ref]:
            return None
        children = [{"name": node["name"], "block": node["block"]} for node in self.nodes]
        return {"kind": "Sequential", "children": children}

    def graph(self, outputs: Sequence[Ref] = ()) -> Description:
        """The graph."""
        return super().graph(outputs) | ({HELD: self._held} if self._held else {})


def _renamed(ref: Ref, names: Mapping[str, str]) -> Ref:
    return Ref(names.get(ref.name, ref.name), ref.index)
