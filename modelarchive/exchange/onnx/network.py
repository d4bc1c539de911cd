"""The architecture that an ONNX model becomes, while it is made: nodes, layers, and the arrays that they own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange import budget
from modelarchive.exchange.onnx.placing import Place, block_path, path_of
from modelarchive.exchange.onnx.protobuf import Message
from modelarchive.exchange.onnx.values import Constant, Ref, nested, numbers
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.evaluate import Abstract, Evaluator, Value, constant_value
from modelarchive.nn.kinds import KINDS
from modelarchive.store.deferred import Deferred

#: Steps that a node takes once it is in the architecture, and references that take one more.
_NODE_STEPS: Final = 2
_REFS_A_STEP: Final = 8


class Network:
    """A Graph that nodes and layers are added to.

    Args:
        stored: Name -> message of the arrays that the file has.
    """

    def __init__(self, stored: Mapping[str, Message]) -> None:
        self._stored = stored
        paths = [path_of(name) or [] for name in stored]
        self.place = Place({path[0] for path in paths if len(path) > 1})
        #: Names of blocks that stored arrays have in front of their own.
        self.prefixes = {".".join(path[:size]) for path in paths for size in range(1, len(path))}
        self.parameters: dict[str, Deferred] = {}
        #: Name in the file -> dotted name of the parameter that it became.
        self.owner: dict[str, str] = {}
        #: Dotted name of a parameter -> name in the file, and how it was changed.
        self.origin: dict[str, tuple[str, str]] = {}
        #: The two sizes of a free axis -> an input that has it, and where.
        self.origins: dict[tuple[int, int], tuple[Ref, int]] = {}
        self._values: dict[str, Value] = {}
        self._blocks: dict[str, str] = {}
        self._kept: list[Constant] = []
        #: Result of a Dense without bias -> its path, the block, and what it is known by.
        self._without_bias: dict[str, tuple[str, dict[str, Any], str]] = {}
        self._first_result: dict[str, str] = {}
        self._numbers: dict[str, Ref] = {}
        self._evaluator = Evaluator()

    def literal(self, array: np.ndarray, wish: str = "constant") -> Ref:
        """A small array, written into the architecture."""
        if array.dtype.kind == "c":
            raise Refusal("a number beside complex ones has no counterpart")
        values = (array if array.dtype.kind in "biuf" else array.astype(np.float32)).reshape(-1).tolist()
        if array.size == 0 and array.ndim > 1:
            # Lists cannot say of which sizes the axes are around one that is 0.
            return self.op(wish, "reshape", [self.literal(array.reshape(-1), wish)], {"shape": list(array.shape)})
        arguments = {"value": nested(values, array.shape), "dtype": str(array.dtype.newbyteorder("="))}
        key = json.dumps(arguments)
        if key not in self._numbers:
            self._numbers[key] = self.op(wish, "constant", [], arguments)
        return self._numbers[key]

    def emit(self, wish: str, node: dict[str, Any], value: Value) -> Ref:
        """Add a node; the reference to its result."""
        budget.spend(wish or "a node", steps=_NODE_STEPS + len(node.get("inputs", ())) // _REFS_A_STEP)
        name = self.place.free(wish)
        self.place.nodes.append({"name": name, **node})
        self._values[name] = value
        return name

    def declare_input(self, name: str, value: Abstract) -> str:
        """Add an input; its name here."""
        found = self.place.free(name)
        self._values[found] = value
        for axis, pair in enumerate(zip(*value.shapes, strict=True)):
            if pair[0] != pair[1]:
                self.origins.setdefault(pair, (found, axis))
        return found

    def value(self, ref: Ref) -> Value:
        """What is known of a result's shape and dtype; None: nothing."""
        if isinstance(ref, str):
            return self._values.get(ref)
        several = self._values.get(ref[0])
        return several[ref[1]] if isinstance(several, tuple) and ref[1] < len(several) else None

    def op(self, wish: str, name: str, refs: Sequence[Ref], arguments: dict[str, Any]) -> Ref:
        """Add an op of the vocabulary.

        Raises:
            Refusal: Shapes or dtypes do not fit.
        """
        try:
            if name == "constant":
                value = constant_value(np.array(numbers(arguments["value"]), dtypes.DENSE[arguments["dtype"]]))
            else:
                value = self._evaluator.op(name, [self.value(ref) for ref in refs], arguments)
        except (ValueError, LookupError) as error:
            raise Refusal(f"{name}: {error}") from error
        return self.emit(wish, {"op": name, "inputs": list(refs), "arguments": arguments}, value)

    def block(self, wish: str, config: dict[str, Any], refs: Sequence[Ref], parameters: Mapping[str, Constant]) -> Ref:
        """Add a layer, or a further call of one that there is already.

        Args:
            wish: The node's name.
            config: Kind and fields.
            refs: What it is called on.
            parameters: Own name -> array.

        Raises:
            Refusal: Shapes or dtypes do not fit.
        """
        kind = config["kind"]
        try:
            layer = KINDS[kind].from_config({k: v for k, v in config.items() if k != "kind"})
            config = layer.config()
            value = self._evaluator.layer(layer, [self.value(ref) for ref in refs])
        except (ValueError, TypeError, LookupError, OverflowError) as error:
            raise Refusal(f"{kind}: {error}") from error
        # Without a name of its own a constant is itself only, and is kept, so that no id() comes twice.
        self._kept += parameters.values()
        ids = {own: each.key or id(each) for own, each in parameters.items()}
        key = json.dumps([kind, config, ids], sort_keys=True)
        if parameters and key in self._blocks:
            self._without_bias.pop(self._first_result.get(key, ""), None)
            return self.emit(wish, {"call": self._blocks[key], "inputs": list(refs)}, value)
        fresh = {own: each.stored for own, each in parameters.items() if each.stored and each.key not in self.owner}
        path = block_path(wish, fresh)
        if not fresh and ".".join(path) in self.prefixes and not self._are_stored(path, parameters):
            path = [*path, kind]  # the name is that of other parameters
        place, last = self.place.find(path[:-1], path[-1]) if parameters else (self.place, self.place.free(wish))
        name = last if place is self.place else ".".join([*path[:-1], last])
        shares = {}
        for own, each in parameters.items():
            array = each.array
            if each.key:
                # What is kept in another order is another array.
                if each.key in self.owner:
                    shares[own] = self.owner[each.key]
                    array = self.parameters[self.owner[each.key]]
                self.owner.setdefault(each.key, f"{name}.{own}")
                self.origin[f"{name}.{own}"] = (each.stored, each.changed)
            self.parameters[f"{name}.{own}"] = array
        self._blocks[key] = name
        block = {"kind": kind, **config} | ({"shares": shares} if shares else {})
        if place is self.place:
            place.nodes.append({"name": name, "block": block, "inputs": list(refs)})
            self._values[name] = value
            ref: Ref = name
        else:
            place.nodes.append({"name": last, "block": block})
            ref = self.emit(path[-1], {"call": name, "inputs": list(refs)}, value)
        if kind == "Dense" and "bias" not in parameters and isinstance(ref, str):
            self._without_bias[ref] = (name, block, key)
            self._first_result[key] = ref
        return ref

    def _are_stored(self, path: Sequence[str], parameters: Mapping[str, Constant]) -> bool:
        """Whether the file has arrays of the names and shapes that a block's parameters would get."""
        stored = self._stored
        wanted = {".".join([*path, own]): each.array.shape for own, each in parameters.items()}
        return all(name in stored and tuple(stored[name].get("dims", ())) == shape for name, shape in wanted.items())

    def with_bias(self, ref: str, bias: Constant) -> Ref | None:
        """Give the Dense that made a result a bias; None if there is no such Dense, or it is called again."""
        name, block, key = self._without_bias.get(ref, ("", {}, ""))
        if not block or bias.array.shape != (block["units"],) or self._blocks.get(key) != name:
            return None
        del self._without_bias[ref], self._blocks[key]
        block["use_bias"] = True
        array = bias.array
        if bias.key in self.owner:
            block.setdefault("shares", {})["bias"] = self.owner[bias.key]
            array = self.parameters[self.owner[bias.key]]
        elif bias.key:
            self.owner[bias.key] = f"{name}.bias"
            self.origin[f"{name}.bias"] = (bias.stored, bias.changed)
        self.parameters[f"{name}.bias"] = array
        return ref
