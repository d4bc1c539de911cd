"""What ONNX's values become in a Graph under construction: constants, sizes, and layers under dotted names."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import names
from modelarchive.errors import SpecError
from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Description, GraphBuilder, Ref, described, layer_key
from modelarchive.exchange.onnx.naming import block_path, part, path_of, scope_of
from modelarchive.exchange.onnx.protobuf import Message
from modelarchive.exchange.onnx.values import Constant, Operand, Several, Sizes, Unsupported
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.dim import Dim
from modelarchive.nn.evaluate import Abstract, Value
from modelarchive.nn.scope import json_numbers

#: Elements up to which an array may stand in the architecture.
_MAX_LITERAL: Final = 64


class NestedBuilder(GraphBuilder):
    """The Graph that a model becomes, with Graphs inside of it where the names of stored arrays have dots.

    Args:
        stored: Name -> message of the arrays that the file has.
        is_own: Whether this package wrote the file.

    Attributes:
        origins: The two sizes of a free axis -> an input that has it, and where.
        sources: Dotted name of a parameter -> name in the file, and how it was changed.
        prefix: The Graph's dotted name in the whole model.
        prefixes: Names of blocks that stored arrays have in front of their own.
        rolled: The loops of a known count that have become a Scan; None: all are written out.
    """

    prefix = ""

    def __init__(self, stored: Mapping[str, Message], *, is_own: bool = False) -> None:
        paths = [path_of(name) or [] for name in stored]
        super().__init__({path[0] for path in paths if len(path) > 1})
        self.stored, self.is_own = stored, is_own
        self.rolled: list[str] | None = []
        self.prefixes = {".".join(path[:size]) for path in paths for size in range(1, len(path))}
        self.origins: dict[tuple[int, int], tuple[Ref, int]] = {}
        self.sources: dict[str, tuple[str, str]] = {}
        #: Result -> the sizes that it is in another dtype.
        self.casts: dict[Ref, Sizes] = {}
        #: Result of a Dense without bias -> the block, and what it is known by; and back.
        self._without_bias: dict[Ref, tuple[Description, str]] = {}
        self._first_result: dict[str, Ref] = {}
        self._literals: dict[str, Ref] = {}
        self._emitted: dict[int, tuple[Constant, Ref]] = {}

    def free(self, preferred: str) -> str:
        """A name of the grammar that nothing here has yet."""
        return self._taken.free(part(preferred), self._reserved)

    def inferred(self, what: str, infer: Callable[[], Value]) -> Value:
        """What is known of a new result.

        Raises:
            Refusal: Shapes or dtypes do not fit.
        """
        try:
            return infer()
        except (ValueError, LookupError) as error:
            raise Refusal(f"{what}: {error}") from error

    def input(self, preferred: str, value: Value) -> Ref:
        """Add an input."""
        ref = super().input(preferred, value)
        for axis, pair in enumerate(zip(*value.shapes, strict=True)):
            if pair[0] != pair[1]:
                self.origins.setdefault(pair, (ref, axis))
        return ref

    # ---------------------------------------------------------------- values

    def literal(self, array: np.ndarray, preferred: str = "constant") -> Ref:
        """A small array, written into the architecture."""
        if array.dtype.kind == "c":
            raise Refusal("a number beside complex ones is not supported")
        if array.size == 0 and array.ndim > 1:
            # Lists cannot say of which sizes the axes are around one that is 0.
            flat = self.literal(array.reshape(-1), preferred)
            return self.op(preferred, "reshape", [flat], {"shape": list(array.shape)})
        values = array if array.dtype.kind in "biuf" else array.astype(np.float32)
        arguments = {"value": json_numbers(values.tolist()), "dtype": str(array.dtype.newbyteorder("="))}
        key = json.dumps(arguments)
        if key not in self._literals:
            self._literals[key] = self.op(preferred, "constant", [], arguments)
        return self._literals[key]

    def reference(self, operand: Operand, preferred: str = "constant") -> Ref:
        """The reference to a value; constants come into the graph when they are first asked for."""
        if isinstance(operand, Sizes):
            found = self._sizes(operand.array, preferred)
            return found if operand.dtype == "int64" else self.op(preferred, "cast", [found], {"dtype": operand.dtype})
        if not isinstance(operand, Constant):
            if operand is None or isinstance(operand, Unsupported):
                raise Refusal("an input is left out that has to be there")
            if isinstance(operand, Several):
                raise Refusal("a sequence is not supported where an array is expected")
            return operand
        if id(operand) not in self._emitted:
            self._emitted[id(operand)] = (operand, self._constant(operand, preferred))
        return self._emitted[id(operand)][1]

    def _constant(self, constant: Constant, preferred: str) -> Ref:
        array = constant.array
        if constant.part is not None and array.dtype.kind not in "biu":
            with contextlib.suppress(Refusal, SpecError):
                return constant.part()
        if self.is_literal(constant):
            return self.literal(constant.numpy(), preferred)
        named = bool(constant.stored) and not constant.changed
        name = (self.owners.get(constant.stored) if named else None) or self._own(constant, preferred)
        return self.parameter(preferred, name, array)

    def is_literal(self, constant: Constant) -> bool:
        """Whether a constant stands in the architecture, and is no parameter."""
        array = constant.array
        named = bool(constant.stored) and not constant.changed
        is_parameter = named and (self.is_own or (array.shape and array.dtype.kind not in "biu"))
        return array.size <= _MAX_LITERAL and array.dtype.kind != "c" and not is_parameter

    def _own(self, constant: Constant, preferred: str) -> str:
        """Make a constant a parameter of the Graph that its name leads to; the parameter's dotted name."""
        array = constant.array
        if 0 in array.shape:
            raise Refusal(f"the stored array {constant.stored!r} without elements is not supported")
        named = bool(constant.stored) and not constant.changed
        stored = self.inside(constant.stored)
        path = (path_of(stored) if named else None) or scope_of(stored if named else preferred)
        graph, last, name = self.find(path)
        graph.declare(last, array, is_trained=named and array.dtype.kind not in "biuc")
        self.keep("", {name: (constant.stored if named else "", array)})
        if constant.stored:
            self.sources[names.joined(self.prefix, name)] = (constant.stored, constant.changed)
        return name

    def inside(self, name: str) -> str:
        """A name of the whole model as it is in this Graph."""
        return name.removeprefix(f"{self.prefix}.") if self.prefix else name

    def _sizes(self, array: np.ndarray, preferred: str) -> Ref:
        """Sizes as an array: those that are not fixed are asked of an input when the network runs."""
        if array.ndim > 1:
            raise Refusal("sizes that are not fixed, in more than one axis, are not supported: pass inputs=")
        parts: list[Ref] = []
        for each in array.reshape(-1):
            if not isinstance(each, Dim):
                parts.append(self.literal(np.asarray(each, np.int64), preferred))
                continue
            parts.append(self._size(each.pair, preferred))
        return parts[0] if array.ndim == 0 else self.op(preferred, "stack", parts, {"axis": 0})

    def _size(self, pair: tuple[int, int], preferred: str) -> Ref:
        """A size that is not fixed: of an axis that has it, or so many more or fewer, or times as many, as one has."""
        found = self.origins.get(pair) or next(self.with_axis(pair), None)
        if found is not None:
            ref, axis = found
            return self.op(preferred, "slice", [self.op(preferred, "shape_of", [ref], {})], {"index": [axis]})
        one, two = pair
        for first, second in (*self.origins, *self._free_sizes()):
            more = one - first
            if more == two - second:
                operands = [self._size((first, second), preferred), self.literal(np.asarray(abs(more), np.int64))]
                return self.op(preferred, "add" if more > 0 else "subtract", operands, {})
            if one % first == two % second == 0 and one // first == two // second:
                times = self.literal(np.asarray(one // first, np.int64))
                return self.op(preferred, "multiply", [self._size((first, second), preferred), times], {})
        raise Refusal("depends on sizes that are not fixed: pass inputs= with fixed ones")

    def _free_sizes(self) -> list[tuple[int, int]]:
        """The sizes that are not fixed of all results, each once."""
        budget.spend("a size", steps=1 + len(self._values) // 8)
        values = (value for value in self._values.values() if isinstance(value, Abstract))
        pairs = (pair for value in values for pair in zip(*value.shapes, strict=True))
        return list(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1] and all(pair)))

    def with_axis(self, pair: tuple[int, int]) -> Iterator[tuple[Ref, int]]:
        """The first result that has an axis of a size, and which one."""
        budget.spend("a size", steps=1 + len(self._values) // 8)
        for name, value in self._values.items():
            if isinstance(value, Abstract):
                for axis, each in enumerate(zip(*value.shapes, strict=True)):
                    if each == pair:
                        yield Ref(name), axis
                        return

    # ---------------------------------------------------------------- layers

    def stored_layer(
        self,
        preferred: str,
        kind: str,
        fields: Mapping[str, Any],
        refs: Sequence[Ref],
        parameters: Mapping[str, Constant],
    ) -> Ref:
        """Add a layer where the names of its stored arrays, or its node's, say; or a further call of it.

        Args:
            preferred: The node's name.
            kind: Its kind.
            fields: Its fields.
            refs: What it is called on.
            parameters: Own name -> array.

        Raises:
            Refusal: Shapes or dtypes do not fit.
        """
        try:
            block = described(kind, fields)
        except (ValueError, TypeError, LookupError, OverflowError) as error:
            raise Refusal(f"{kind}: {error}") from error
        arrays = {own: (each.key, each.array) for own, each in parameters.items()}
        key = layer_key(block, arrays)
        if key in self._first_result:  # it is called again: a bias would be added to both results
            self._without_bias.pop(self._first_result[key], None)
        is_first = key not in self._declared
        path = self._path(preferred, kind, parameters) if parameters else []
        ref = self.layer(preferred, block, refs, arrays, path=path, key=key)
        for own, each in parameters.items():
            name = names.joined(self.prefix, names.joined(self._declared[key], own))
            if each.key and self.owners[each.key] == name:
                self.sources[name] = (each.stored, each.changed)
        if kind == "Dense" and "bias" not in parameters and is_first and key:
            self._without_bias[ref] = (block, key)
            self._first_result[key] = ref
        return ref

    def declare_layer(
        self, preferred: str, kind: str, fields: Mapping[str, Any], parameters: Mapping[str, Constant]
    ) -> tuple[Description, str]:
        """Declare a layer that is not called here; the block, and its name."""
        block = described(kind, fields)
        where, last, name = self.find(self._path(preferred, kind, parameters))
        block |= self.keep(name, {own: (each.key, each.array) for own, each in parameters.items()})
        where.nodes.append({"name": last, "block": block})
        for own, each in parameters.items():
            self.sources[names.joined(name, own)] = (each.stored, each.changed)
        return block, name

    def give_bias(self, block: Description, name: str, bias: Constant) -> None:
        """Give a Dense that is declared here a bias."""
        block["use_bias"] = True
        shares = self.keep(name, {"bias": (bias.key, bias.array)}).get("shares", {})
        if shares:
            block.setdefault("shares", {}).update(shares)
        elif bias.key:
            self.sources[names.joined(self.prefix, names.joined(name, "bias"))] = (bias.stored, bias.changed)

    def _path(self, preferred: str, kind: str, parameters: Mapping[str, Constant]) -> list[str]:
        """Where a layer shall be declared."""
        fresh = {own: each.stored for own, each in parameters.items() if each.stored and each.key not in self.owners}
        path = block_path(self.inside(preferred), {own: self.inside(stored) for own, stored in fresh.items()})
        if not fresh and ".".join(path) in self.prefixes and not self._are_stored(path, parameters):
            return [*path, kind]  # the name is that of other parameters
        return path

    def _are_stored(self, path: Sequence[str], parameters: Mapping[str, Constant]) -> bool:
        """Whether the file has arrays of the names and shapes that a layer's parameters would get."""
        stored = self.stored
        wanted = {".".join([*path, own]): each.array.shape for own, each in parameters.items()}
        return all(name in stored and tuple(stored[name].get("dims", ())) == shape for name, shape in wanted.items())

    def with_bias(self, ref: Ref, bias: Constant) -> Ref | None:
        """Give the Dense that made a result a bias; None if there is no such Dense, or it is called again."""
        block, key = self._without_bias.get(ref, ({}, ""))
        if not block or bias.array.shape != (block["units"],):
            return None
        del self._without_bias[ref], self._first_result[key]
        self.give_bias(block, self._declared.pop(key), bias)
        return ref
