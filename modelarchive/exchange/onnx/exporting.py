"""From a network to an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange.formulas import FORMULAS
from modelarchive.exchange.onnx.emitting import Body, Emitter, Entry
from modelarchive.exchange.onnx.lowering import LOWERINGS
from modelarchive.exchange.onnx.lowering_context import Context, Lowering, Value, by_formula, computed
from modelarchive.exchange.onnx.words import CODES
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.walking import Walker
from modelarchive.names import joined
from modelarchive.nn import Block, Scan, nesting
from modelarchive.nn.evaluate import Abstract, constant_value, without_axis
from modelarchive.nn.parameter import Parameter
from modelarchive.ops.precision import is_narrow
from modelarchive.store.deferred import Deferred


class Exporter(Walker[Value, Lowering]):
    """Lowers a network to the nodes of one graph.

    Args:
        arrays: Structural name -> array.
        inputs: Names of the inputs, which stay.
    """

    system = "ONNX"

    def __init__(self, arrays: Mapping[str, Deferred], inputs: Sequence[str] = ()) -> None:
        super().__init__({**{kind: by_formula(each) for kind, each in FORMULAS.items()}, **LOWERINGS})
        self.emitter = Emitter(arrays, inputs, self.report)

    def run(self, block: Block, inputs: Sequence[tuple[str, Abstract]]) -> list[tuple[Entry, Abstract]]:
        """The results of a network; what is not supported is reported."""
        self.emitter.own(block)
        for name, known in inputs:
            if problem := _problem_with(known.array_dtype):
                self.report.refuse(name, problem)
        if self.report.problems:
            return []
        found = self.walk(block, [Value(name, known) for name, known in inputs])
        return [(self._array(each, each.dtype, "output"), each.known) for each in found]

    def parameter(self, parameter: Parameter, path: str) -> Value:
        """The initialiser of a parameter."""
        if problem := _problem_with(parameter.dtype):
            raise Refusal(problem)
        shape = parameter.known_shape
        return Value(self.emitter.parameter(parameter), Abstract((shape, shape), parameter.dtype))

    def constant(self, value: Any, path: str) -> Value:
        """An array as a constant of the graph; numbers become one where they are used."""
        known = constant_value(value)
        if not isinstance(value, np.ndarray):
            return Value(None, known, value)
        return Value(self.emitter.made(value, path), known, value)

    def lower(
        self, row: Lowering, path: str, subject: Any, inputs: list[Value], known: Sequence[Any]
    ) -> Sequence[Value]:
        """In the dtypes that runtimes have operators for; what is made is named after the block or node."""
        for each in (*(value.known for value in inputs), *known):
            if problem := _problem_with(each.array_dtype):
                raise Refusal(problem)
        context = Context(self, path, known, self.emitter, computed(known[0].array_dtype))
        context = context.single() if row.single else context
        since = len(self.emitter.steps)
        entries = self._entries(row, context, subject, inputs)
        entries = entries if self.in_formula else self.emitter.rename(entries, path, since)
        return [Value(entry, each) for entry, each in zip(entries, known, strict=True)]

    def scan(self, scan: Scan, path: str, inputs: list[Value]) -> list[Value | None]:
        """ONNX's own operator, whose body sees the names around it."""
        known = nesting.flattened(self._evaluator.scan(scan, [each.known for each in inputs]))
        states, sequences, others = scan.parted(inputs)
        for each in (*states, *sequences):
            if problem := _problem_with(each.known.array_dtype):
                raise Refusal(problem)
        given = [
            *(Abstract(each.known.shapes, each.known.array_dtype) for each in states),
            *(without_axis(each.known, axis) for each, axis in zip(sequences, scan.axes, strict=True)),
        ]
        entries = [self._array(each, each.known.array_dtype, path) for each in (*states, *sequences)]
        own = [Value(self.emitter.free(joined(path, "step")), each) for each in given]
        with self.emitter.inside() as steps:
            found = self._block(scan.body, joined(path, "body"), [*own, *others])
            if any(each is None for each in found):
                return [None] * len(found)
            outputs = [self._own(each, joined(path, "body")) for each in found if each is not None]
        made = self.emitter.operator("Scan", path, entries, len(outputs), {
            "num_scan_inputs": len(scan.axes), "scan_input_axes": scan.axes, "scan_output_axes": scan.output_axes,
        })  # fmt: skip
        self.emitter.steps[-1].name = self.emitter.free(path)
        self.emitter.steps[-1].body = Body([(each.tensor, each.known) for each in own], steps, outputs)
        several = known if isinstance(known, tuple) else (known,)
        return [Value(entry, each) for entry, each in zip(made, several, strict=True)]

    def _own(self, value: Value, path: str) -> tuple[Entry, Abstract]:
        """An output of a body, which is made in it and is no other."""
        entry = self._array(value, value.known.array_dtype, path)
        return self.emitter.operator("Identity", path, [entry], 1, {})[0], value.known

    def _entries(self, row: Lowering, context: Context, subject: Any, inputs: list[Value]) -> list[Entry]:
        known = context.known
        if row.wide:
            if any(each.dtype == np.uint64 for each in inputs):
                context.note("unsigned numbers of 64 bits are computed as signed ones")
            inside = [context.dtype] * len(known)
            inputs = [self._cast(each, context.dtype, context.path) for each in inputs]
        else:
            inside = [_movable(each.array_dtype) for each in known]
            moved = [Abstract(each.shapes, dtype) for each, dtype in zip(known, inside, strict=True)]
            context = replace(context, known=moved)
            inputs = [
                each if each.tensor is None else self._cast(each, _movable(each.dtype), context.path) for each in inputs
            ]
        found = row.lower(context, subject, inputs)
        return [
            self.emitter.cast(entry, dtype, each.array_dtype, context.path)
            for entry, dtype, each in zip(found if isinstance(found, tuple) else [found], inside, known, strict=True)
        ]

    def _array(self, value: Value, dtype: np.dtype[Any], path: str) -> Entry:
        if value.tensor is None:
            return self.emitter.made(np.asarray(value.constant).astype(dtype), path)
        return self.emitter.cast(value.tensor, value.dtype, dtype, path)

    def _cast(self, value: Value, dtype: np.dtype[Any], path: str) -> Value:
        return Value(self._array(value, dtype, path), Abstract(value.known.shapes, dtype), value.constant)


def _movable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which elements are moved: of eight bits there are no floats that ONNX's operators move."""
    return np.dtype(np.float32) if is_narrow(dtype) and dtype.itemsize == 1 else dtype


def output_names(structure: Any, preferred: str = "output") -> list[str]:
    """Names for the outputs of a model: the keys of dicts, and numbers in tuples and lists."""
    if isinstance(structure, int):
        return [preferred]
    if "dict" in structure:
        inside = structure["dict"]
        pairs = [(key if preferred == "output" else f"{preferred}_{key}", inside[key]) for key in sorted(inside)]
    else:
        pairs = [(f"{preferred}_{index}", each) for index, each in enumerate(next(iter(structure.values())))]
    return [name for key, each in pairs for name in output_names(each, key)]


def _problem_with(dtype: np.dtype[Any]) -> str | None:
    name = dtypes.dense_name(dtype)
    if name is None or name not in CODES:
        return f"ONNX has no {dtype}"
    return "ONNX's operators take no complex numbers" if dtype.kind == "c" else None
