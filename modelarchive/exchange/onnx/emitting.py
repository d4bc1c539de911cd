"""An ONNX graph under construction: nodes and initialisers, with names that come once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange.drawing import Report
from modelarchive.exchange.onnx.words import CODES
from modelarchive.exchange.walking import owners_of
from modelarchive.names import Taken
from modelarchive.nn import Block
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.parameter import Parameter
from modelarchive.store.deferred import Deferred

#: The name of a tensor in the graph.
Entry: TypeAlias = str
#: Constants of more elements are initialisers, as parameters are, instead of nodes.
_INLINE: Final = 64


@dataclass
class Step:
    """A node of the graph: operator, name, inputs, outputs, attributes, and the graph that it runs, if it runs one."""

    op: str
    name: str
    inputs: list[Entry]
    outputs: list[Entry]
    attributes: dict[str, Any]
    body: Body | None = None

    def uses(self) -> set[Entry]:
        """All that it takes from the graph in which it stands."""
        return {*self.inputs, *(self.body.uses() if self.body is not None else ())}

    def rename(self, new: Mapping[Entry, Entry]) -> None:
        """Call what it takes and makes by other names."""
        self.inputs = [new.get(name, name) for name in self.inputs]
        self.outputs = [new.get(name, name) for name in self.outputs]
        for step in () if self.body is None else self.body.steps:
            step.rename(new)


@dataclass(frozen=True)
class Body:
    """A graph inside of another, whose names it sees.

    Attributes:
        inputs: Name of each input, and what is known of it.
        steps: Its nodes.
        outputs: Name of each output, and what is known of it.
    """

    inputs: Sequence[tuple[Entry, Abstract]]
    steps: Sequence[Step]
    outputs: Sequence[tuple[Entry, Abstract]]

    def uses(self) -> set[Entry]:
        """All that it takes from outside."""
        made = {name for step in self.steps for name in step.outputs} | {name for name, _ in self.inputs}
        return {name for step in self.steps for name in step.uses()} - made


class Emitter:
    """Collects what an ONNX graph is made of, with names that come once.

    Args:
        arrays: Structural name -> array.
        inputs: Names of the inputs, which stay.
        report: Takes what is changed or lost.
    """

    def __init__(self, arrays: Mapping[str, Deferred], inputs: Sequence[str], report: Report) -> None:
        self.report = report
        self.steps: list[Step] = []
        #: Small constants, which stand before all steps.
        self.constants: list[Step] = []
        #: Name -> array, of what the graph takes from the archive, or from a table made of it.
        self.initialisers: dict[str, Deferred] = {}
        #: Name of an initialiser -> structural names of the parameters that it is, or is made of.
        self.sources: dict[Entry, list[str]] = {}
        self._stored = arrays
        self._owners: dict[int, str] = {}
        self._names: dict[str, Entry] = {}
        self._made: dict[Any, Entry] = {}
        self._casts: dict[tuple[Entry, np.dtype[Any]], Entry] = {}
        self._inputs = frozenset(inputs)
        self._taken = Taken([*arrays, *inputs])

    def own(self, block: Block) -> None:
        """Find the stored array of each parameter, whose dtype wins; report what is missing or does not fit."""
        self._owners, missing = owners_of(block, self._stored)
        for name, parameter in block.collect_stored().items():
            if self._owners.get(id(parameter)) == name:
                try:
                    parameter.shape = self._stored[name].shape
                    parameter.cast(self._stored[name].dtype)
                except ValueError as error:
                    self.report.refuse(name, str(error))
        for name, what in missing:
            self.report.refuse(name, what)

    def free(self, preferred: str) -> str:
        """A name that nothing has yet."""
        return self._taken.free(preferred)

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
        preferred = [path] if len(found) == 1 else [f"{path}_{index}" for index in range(len(found))]
        new = {old: self.free(name) for old, name in zip(found, preferred, strict=True) if path and old in own}
        for step in self.steps[since:]:
            step.rename(new)
            step.name = new.get(step.name, step.name)
        self._casts = {(new.get(old, old), to): new.get(name, name) for (old, to), name in self._casts.items()}
        return [new.get(name, name) for name in found]

    @contextmanager
    def inside(self) -> Iterator[list[Step]]:
        """A graph inside of this one: what is made meanwhile are its steps, and nothing outside takes from them."""
        outside, casts = self.steps, dict(self._casts)
        self.steps = []
        try:
            yield self.steps
        finally:
            self.steps, self._casts = outside, casts

    def cast(self, entry: Entry, found: np.dtype[Any], wanted: np.dtype[Any], path: str) -> Entry:
        """A tensor in another dtype; the same one each time."""
        if found == wanted:
            return entry
        if (entry, wanted) not in self._casts:
            name = str(dtypes.dense_name(wanted))
            # What is beyond a float8 is infinite or NaN, as here.
            attributes = {"to": CODES[name], **({"saturate": 0} if name.startswith("float8") else {})}
            self._casts[entry, wanted] = self.operator("Cast", path, [entry], 1, attributes)[0]
        return self._casts[entry, wanted]

    def parameter(self, parameter: Parameter) -> Entry:
        """The initialiser of a stored parameter; the same one each time."""
        stored = self._owners[id(parameter)]
        if stored not in self._names:
            taken = stored in self.initialisers or stored in self._inputs
            self._names[stored] = name = self.free(stored) if taken else stored
            if taken:
                self.report.note(stored, f"is called {name!r}: the other name is taken")
            self.initialisers[name], self.sources[name] = self._stored[stored], [stored]
        return self._names[stored]

    def packed(
        self,
        preferred: str,
        parameters: Sequence[Parameter],
        shape: Sequence[int],
        dtype: np.dtype[Any],
        pack: Callable[[list[np.ndarray]], np.ndarray],
    ) -> Entry:
        """The initialiser of an array that is made of stored ones; the same one for the same ones.

        Args:
            preferred: Its name, if that is free.
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
                preferred
                if preferred in names and preferred not in {*self.initialisers, *self._inputs}
                else self.free(preferred)
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
                wanted |= step.uses()
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


def _values(stored: Deferred) -> np.ndarray:
    return stored.read() if stored.view is None else stored.view()
