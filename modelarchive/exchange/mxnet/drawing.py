"""What the entries of a symbol become in a Graph under construction: results, inputs and stored parameters."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import GraphBuilder, Ref
from modelarchive.exchange.mxnet.symbol import Entry, SymbolGraph, SymbolNode
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.evaluate import Abstract, Value
from modelarchive.nn.parameter import as_dtype, dtype_name
from modelarchive.nn.trials import Trial
from modelarchive.ops.precision import common_dtype
from modelarchive.store.deferred import Deferred

#: Elements of a constant that is written into the architecture.
_MAX_INLINE: Final = 64
#: Operators that do the same for each of a batch, and take one beside many.
_OF_EACH: Final = frozenset(
    [
        "FullyConnected",
        "Convolution",
        "elemwise_add",
        "elemwise_sub",
        "elemwise_mul",
        "_plus",
        "_minus",
        "_mul",
        "where",
    ]
)


@dataclass(frozen=True)
class Zeros:
    """The result of a node that makes zeros: a recurrence that starts from them needs no state.

    Attributes:
        shape: The sizes, that of the batch too; before NumPy's shapes 0 is one that is not known.
        dtype: Their dtype.
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Packed:
    """Parameters that were made flat and put together, as a fused recurrence takes them.

    Attributes:
        parts: The parameters' names in the file.
    """

    parts: tuple[str, ...]


@dataclass(frozen=True)
class Truth:
    """What a comparison gives: truths here, in MXNet 0 and 1 in the dtype of the arrays.

    Attributes:
        ref: The truths.
        name: The operator's.
        dtype: That of the arrays.
    """

    ref: Ref
    name: str
    dtype: str


class SymbolBuilder(GraphBuilder):
    """The Graph that a symbol becomes.

    Args:
        symbol: The symbol.
        stored: Name in the file -> array.
        trial: Its inputs, as far as they are known, with sizes for free axes.

    Attributes:
        declared: Name of an input -> the input, as an architecture declares it.
        results: Result of a symbol's node -> reference, Zeros, Packed, Truth, or None: not supported, reported already.
    """

    def __init__(
        self,
        symbol: SymbolGraph,
        stored: Mapping[str, Deferred],
        trial: Trial,
    ) -> None:
        super().__init__()
        self.symbol = symbol
        self.stored = stored
        self.declared: dict[str, dict[str, Any]] = {}
        self.results: dict[Entry, Any] = {}
        self._inputs = {each["name"]: (each, value) for each, value in zip(trial.renamed(), trial.values, strict=True)}
        self._positions: dict[str, int] = {}
        #: Dtypes of results of whose shapes nothing is known.
        self._unshaped: dict[str, np.dtype] = {}

    def inferred(self, what: str, infer: Callable[[], Value]) -> Value:
        """Where shapes do not fit nothing is known: the sizes of inputs may be guessed, and the check finds it."""
        with contextlib.suppress(ValueError, LookupError):
            return infer()
        return None

    def reference(self, entry: Entry) -> Ref:
        """The reference to a result; inputs and parameters are declared when they are first asked for."""
        if entry not in self.results:
            self.results[entry] = self._variable(entry[0])
        found = self.results[entry]
        if isinstance(found, Truth):
            found = self.results[entry] = self.op(found.name, "cast", (found.ref,), {"dtype": found.dtype})
        if isinstance(found, Zeros):
            sizes = found.shape
            if not self.symbol.is_numpy and sizes[:1] == (0,) and self._meets_batches(entry):
                sizes = (1, *sizes[1:])
            if self.symbol.is_numpy or 0 not in sizes:
                name = self.symbol.nodes[entry[0]].name
                found = self.results[entry] = self.filled(name, 0.0, found.dtype, sizes)
        if not isinstance(found, Ref):
            raise Refusal("zeros of a size that is not said, and packed parameters, are what a recurrence takes only")
        return found

    def _meets_batches(self, entry: Entry) -> bool:
        """Whether zeros for each of a batch, the state that a cell begins with, are the same as zeros for one."""
        return all(node.op in _OF_EACH for node in self.symbol.nodes if entry in node.inputs)

    def dtype(self, ref: Ref) -> np.dtype:
        """The dtype of a result; where nothing is known of its shape, what its node says, else float32."""
        value = self.value(ref)
        if isinstance(value, Abstract):
            return value.array_dtype
        return self._unshaped.get(ref.name, np.dtype(np.float32))

    def op(self, preferred: str, name: str, refs: Sequence[Ref], arguments: dict[str, Any]) -> Ref:
        """Add an op of the vocabulary; its dtype is known where its shape is not, too."""
        ref = super().op(preferred, name, refs, arguments)
        if self.value(ref) is None:
            self._unshaped[ref.name] = self._dtype_of(name, refs, arguments)
        return ref

    def _dtype_of(self, name: str, refs: Sequence[Ref], arguments: dict[str, Any]) -> np.dtype:
        if name == "cast":
            return as_dtype(arguments["dtype"])
        if name in ("equal", "greater", "less"):
            return np.dtype(bool)
        if name in ("argmax", "shape_of"):
            return np.dtype(np.int64)
        taking = refs[1:] if name == "where" else refs[:1] if name in ("take", "gather", "broadcast_to") else refs
        return common_dtype(*(self._weak_or_dtype(ref) for ref in taking))

    def _weak_or_dtype(self, ref: Ref) -> Any:
        value = self.value(ref)
        return value.dtype if isinstance(value, Abstract) else self.dtype(ref)

    def filled(self, preferred: str, value: float, dtype: str, shape: Sequence[int]) -> Ref:
        """Add an array of one number."""
        number = literal(value, dtype)
        one = self.op(f"{preferred}_number" if shape else preferred, "constant", (), {"value": number, "dtype": dtype})
        return self.op(preferred, "broadcast_to", (one, one), {"shape": list(shape)}) if shape else one

    def made(self, preferred: str, array: np.ndarray) -> Ref:
        """Add an array that the symbol makes; a large one is a parameter that training does not change."""
        if array.size <= _MAX_INLINE:
            value = literal(array.tolist(), dtype_name(array.dtype))
            return self.op(preferred, "constant", (), {"value": value, "dtype": dtype_name(array.dtype)})
        if (array == array.flat[0]).all():
            return self.filled(preferred, array.flat[0].item(), dtype_name(array.dtype), array.shape)
        spend("arrays that it makes", steps=array.size)
        name = self.free(preferred)
        stored = Deferred.of(array)
        self.declare(name, stored, is_trained=False)
        self.keep("", {name: ("", stored)})
        return self.parameter(f"{preferred}_value", name, stored)

    def _variable(self, position: int) -> Ref:
        node = self.symbol.nodes[position]
        if node.name not in self.stored:
            return self._input(node, position)
        array = self.stored[node.name]
        if node.name not in self.owners:
            name = self.free(node.name)
            self.declare(name, array)
            self.keep("", {name: (node.name, array)})
        name = self.owners[node.name]
        return self.parameter(f"{node.name}_value", name, self.arrays[name])

    def _input(self, node: SymbolNode, position: int) -> Ref:
        declared, value = self._inputs[node.name]
        ref = self.input(node.name, value)
        self._unshaped[ref.name] = as_dtype(declared["dtype"])
        self.declared[ref.name] = declared | {"name": ref.name}
        self._positions[ref.name] = input_position(node.name, position)
        return ref

    def architecture(self, outputs: Sequence[Ref]) -> dict[str, Any]:
        """The whole, its inputs in MXNet's order; they are declared where the shapes of all are known."""
        self.inputs = sorted(self.declared, key=lambda name: self._positions[name])
        inputs = [self.declared[name] for name in self.inputs]
        known = all(each["shape"] is not None for each in inputs)
        self._leave_out_unused(outputs)
        return {"vocabulary": 1, "inputs": inputs if known else [], "model": self.graph(outputs)}

    def _leave_out_unused(self, outputs: Sequence[Ref]) -> None:
        """Of some results only the shape was asked for; what computes these and nothing else is no part of it."""
        used = {ref.name for ref in outputs}
        kept = []
        for node in reversed(self.nodes):
            if node["name"] in used or "block" in node:
                used.update(ref if isinstance(ref, str) else ref[0] for ref in node.get("inputs", ()))
                kept.append(node)
        self.nodes = kept[::-1]


def input_position(name: str, position: int) -> int:
    """What orders the inputs: Gluon calls several data0, data1, ...; other symbols have them in order of use."""
    several = re.fullmatch(r"data(\d{1,9})", name)
    return int(several[1]) if several else position


def literal(value: Any, dtype: str | None = None) -> Any:
    """A number, or lists of them, as an architecture writes them: it has no infinities, and integers are whole."""
    if isinstance(value, list):
        return [literal(each, dtype) for each in value]
    if dtype is not None and dtype != "bool" and as_dtype(dtype).kind in "iu":
        return int(value)
    if dtype == "bool" or isinstance(value, bool | int):
        return bool(value) if dtype == "bool" else value
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
