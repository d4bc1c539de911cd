"""The nodes and initialisers of an ONNX graph on the way: what the tables make them with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange import rows
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.onnx.words import CODES
from modelarchive.names import Taken
from modelarchive.nn import Block
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.parameter import Parameter
from modelarchive.ops.precision import is_narrow
from modelarchive.store.deferred import Deferred

#: The name of a tensor in the graph.
Entry: TypeAlias = str
#: Constants of more elements are initialisers, as parameters are, instead of nodes.
_INLINE: Final = 64


@dataclass(frozen=True)
class Value:
    """A value on its way: a tensor of the graph, or a Python number.

    Attributes:
        entry: The tensor; None for a number.
        known: Its shape and dtype.
        number: The number.
    """

    entry: Entry | None
    known: Abstract
    number: Any = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its dtype as an array of its own."""
        return self.known.array_dtype

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.known.shapes[0])

    @property
    def sizes(self) -> list[int | None]:
        """Its shape, None where it is not fixed."""
        return self.known.declared


@dataclass(frozen=True)
class Lowering(rows.Lowering):
    """A row of what is written as ONNX; `lower` gives the tensor that is the result, or a tuple of several.

    Attributes:
        wide: Whether the inputs come in the dtype in which the result is computed (:func:`computed`), and what
            is made of them is cast to the dtype of the result; otherwise both are the row's own business.
        single: Whether runtimes have its operators for float32 only, so that float64 is computed in it.
    """

    wide: bool = True
    single: bool = False


@dataclass
class Step:
    """A node of the graph: operator, name, inputs, outputs, attributes."""

    op: str
    name: str
    inputs: list[Entry]
    outputs: list[Entry]
    attributes: dict[str, Any]


class Composition:
    """Collects what a graph is made of, with names that come once.

    Args:
        arrays: Structural name -> array.
        inputs: Names of the inputs, which stay.
    """

    def __init__(self, arrays: Mapping[str, Deferred], inputs: Sequence[str] = ()) -> None:
        self.steps: list[Step] = []
        #: Small constants, which stand before all steps.
        self.constants: list[Step] = []
        #: Name -> array, of what the graph takes from the archive, or from a table made of it.
        self.initialisers: dict[str, Deferred] = {}
        self.notes: list[Note] = []
        #: Name of an initialiser -> structural names of the parameters that it is, or is made of.
        self.sources: dict[Entry, list[str]] = {}
        self._stored = arrays
        self._owners: dict[int, str] = {}
        self._names: dict[str, Entry] = {}
        self._made: dict[Any, Entry] = {}
        self._casts: dict[tuple[Entry, np.dtype[Any]], Entry] = {}
        self._inputs = frozenset(inputs)
        self._taken = Taken([*arrays, *inputs])

    def own(self, block: Block) -> list[tuple[str, str]]:
        """Find the stored array of each parameter; its dtype wins. Returns what is missing or does not fit."""
        problems: list[tuple[str, str]] = []
        missing: dict[int, str] = {}
        for name, parameter in block.collect_params().items():
            if name not in self._stored:
                missing[id(parameter)] = name
                continue
            if id(parameter) not in self._owners:
                self._owners[id(parameter)] = name
                try:
                    parameter.shape = self._stored[name].shape
                    parameter.cast(self._stored[name].dtype)
                except ValueError as error:
                    problems.append((name, str(error)))
        gone = "the parameter has no values here"
        return problems + [(name, gone) for key, name in missing.items() if key not in self._owners]

    def free(self, wish: str) -> str:
        """A name that nothing has yet."""
        return self._taken.free(wish)

    def operator(
        self, op: str, path: str, inputs: Sequence[Entry], outputs: int, attributes: Mapping[str, Any]
    ) -> list[Entry]:
        """A node that computes; its outputs."""
        made = [self.free(f"{path}/{op}" if path else op) for _ in range(outputs)]
        self.steps.append(Step(op, made[0], list(inputs), made, dict(attributes)))
        return made

    def rename(self, found: Sequence[Entry], path: str, since: int) -> list[Entry]:
        """Call what was made by the steps from `since` on by the block or node that it belongs to.

        Returns:
            The new names, of all in `found`.
        """
        own = {name for step in self.steps[since:] for name in step.outputs}
        wishes = [path] if len(found) == 1 else [f"{path}_{index}" for index in range(len(found))]
        new = {old: self.free(wish) for old, wish in zip(found, wishes, strict=True) if path and old in own}
        for step in self.steps[since:]:
            step.inputs = [new.get(name, name) for name in step.inputs]
            step.outputs = [new.get(name, name) for name in step.outputs]
            step.name = new.get(step.name, step.name)
        self._casts = {(new.get(old, old), to): new.get(name, name) for (old, to), name in self._casts.items()}
        return [new.get(name, name) for name in found]

    def cast(self, entry: Entry, found: np.dtype[Any], wanted: np.dtype[Any], path: str) -> Entry:
        """A tensor in another dtype; the same one each time."""
        if found == wanted:
            return entry
        if (entry, wanted) not in self._casts:
            to = CODES[str(dtypes.dense_name(wanted))]
            self._casts[entry, wanted] = self.operator("Cast", path, [entry], 1, {"to": to})[0]
        return self._casts[entry, wanted]

    def array(self, given: Value, dtype: np.dtype[Any], path: str) -> Entry:
        """A value as a tensor of a dtype, a number too."""
        if given.entry is None:
            return self.made(np.asarray(given.number).astype(dtype), path)
        return self.cast(given.entry, given.dtype, dtype, path)

    def parameter(self, parameter: Parameter) -> Entry:
        """The initialiser of a stored parameter; the same one each time."""
        stored = self._owners[id(parameter)]
        if stored not in self._names:
            taken = stored in self.initialisers or stored in self._inputs
            self._names[stored] = name = self.free(stored) if taken else stored
            if taken:
                self.notes.append(Note(stored, f"is called {name!r}: the other name is taken"))
            self.initialisers[name], self.sources[name] = self._stored[stored], [stored]
        return self._names[stored]

    def packed(
        self,
        wish: str,
        parameters: Sequence[Parameter],
        shape: Sequence[int],
        dtype: np.dtype[Any],
        pack: Callable[[list[np.ndarray]], np.ndarray],
    ) -> Entry:
        """The initialiser of an array that is made of stored ones; the same one for the same ones.

        Args:
            wish: Its name, if that is free.
            parameters: What it is made of.
            shape: Its shape.
            dtype: Its dtype.
            pack: Makes it, when it is written.
        """
        names = [self._owners[id(each)] for each in parameters]
        key = (tuple(names), tuple(shape), dtype)
        if key not in self._made:
            stored = [self._stored[name] for name in names]
            # The name of what it is made of, which is not there itself, is the best one.
            self._made[key] = name = (
                wish if wish in names and wish not in {*self.initialisers, *self._inputs} else self.free(wish)
            )

            def read() -> np.ndarray:
                return pack([_values(each).astype(dtype) for each in stored])

            self.initialisers[name], self.sources[name] = Deferred(tuple(shape), dtype, read), names
        return self._made[key]

    def needed(self, outputs: Sequence[Entry]) -> list[Step]:
        """The steps that lead to outputs, constants first; initialisers that none of them takes are dropped."""
        wanted = set(outputs)
        kept = []
        for step in reversed([*self.constants, *self.steps]):
            if wanted.intersection(step.outputs):
                wanted.update(step.inputs)
                kept.append(step)
        self.initialisers = {name: array for name, array in self.initialisers.items() if name in wanted}
        return kept[::-1]

    def made(self, values: np.ndarray, path: str) -> Entry:
        """A constant that the archive does not have; the same one for the same values."""
        values = np.asarray(values)
        key = (values.dtype, values.shape, values.tobytes())
        if key not in self._made:
            if values.size > _INLINE:
                self._made[key] = name = self.free(f"{path}/table" if path else "table")
                self.initialisers[name] = Deferred.of(values)
            else:
                self._made[key] = name = self.free("constant")
                self.constants.append(Step("Constant", name, [], [name], {"value": values}))
        return self._made[key]


@dataclass(frozen=True)
class Context:
    """Where in the network nodes are made: what the tables work on.

    Attributes:
        graph: What collects them.
        path: The block or node.
        known: Shape and dtype of each result.
        dtype: The dtype in which they are computed.
    """

    graph: Composition
    path: str
    known: Sequence[Abstract]
    dtype: np.dtype[Any]

    def single(self) -> Context:
        """Where float64 is computed in float32, because runtimes have no operator for it."""
        if self.dtype != np.float64:
            return self
        note = Note(self.path or "(model)", "is computed in float32: ONNX Runtime has no float64 for its operators")
        if note not in self.graph.notes:
            self.graph.notes.append(note)
        return replace(self, dtype=np.dtype(np.float32))

    def op(self, op: str, *inputs: Entry, **attributes: Any) -> Entry:
        """Add an operator of one output."""
        return self.graph.operator(op, self.path, inputs, 1, attributes)[0]

    def ops(self, op: str, outputs: int, *inputs: Entry, **attributes: Any) -> list[Entry]:
        """Add an operator of several outputs."""
        return self.graph.operator(op, self.path, inputs, outputs, attributes)

    def parameter(self, parameter: Parameter, dtype: np.dtype[Any] | None = None) -> Entry:
        """A parameter, in the dtype in which the result is computed."""
        entry = self.graph.parameter(parameter)
        return self.graph.cast(entry, parameter.dtype, self.dtype if dtype is None else dtype, self.path)

    def array(self, given: Value, dtype: np.dtype[Any] | None = None) -> Entry:
        """A value as a tensor of a dtype: its own, if none is said."""
        return self.graph.array(given, given.dtype if dtype is None else dtype, self.path)

    def cast(self, entry: Entry, found: Any, wanted: Any) -> Entry:
        """A tensor in another dtype."""
        return self.graph.cast(entry, np.dtype(found), np.dtype(wanted), self.path)

    def made(self, values: Any, dtype: Any = None) -> Entry:
        """A constant, in the dtype in which the result is computed if none is said."""
        return self.graph.made(np.asarray(values).astype(self.dtype if dtype is None else dtype), self.path)

    def ints(self, values: Sequence[int]) -> Entry:
        """Sizes, places or axes: a constant of int64 with one axis."""
        return self.graph.made(np.asarray(list(values), np.int64), self.path)

    def size(self, entry: Entry, axis: int) -> Entry:
        """The size of one axis, as int64 with one axis."""
        return self.op("Shape", entry, start=axis, end=axis + 1)

    def length(self, entry: Entry, axis: int) -> Entry:
        """The size of one axis, as a number of int64."""
        return self.op("Squeeze", self.size(entry, axis), self.ints([0]))

    def range(self, length: Entry) -> Entry:
        """0, 1, 2, ... as many as `length`, a number of int64, says."""
        return self.op("Range", self.made(0, np.int64), length, self.made(1, np.int64))

    def note(self, what: str) -> None:
        """Tell what is changed or lost."""
        self.graph.notes.append(Note(self.path or "(model)", what))


def computed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that operators work in for a result of `dtype`: runtimes have few kernels for the narrow ones."""
    if is_narrow(dtype):
        return np.dtype(np.float32)
    if dtype.kind in "biu" and dtype.itemsize < 4:
        return np.dtype(np.int32)
    return np.dtype(np.int64) if dtype.kind == "u" else dtype


def _values(stored: Deferred) -> np.ndarray:
    return stored.read() if stored.view is None else stored.view()
