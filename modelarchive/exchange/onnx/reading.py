"""Read an ONNX model: its graph as an architecture, its initialisers as parameters."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelarchive.architecture import check
from modelarchive.architecture.declarations import by_name
from modelarchive.errors import ConversionError, FormatError, SpecError, UnsafeFileError
from modelarchive.exchange import budget
from modelarchive.exchange.bundle import Bundle, Note, fitted
from modelarchive.exchange.onnx.deciding import deciding, sizes_in
from modelarchive.exchange.onnx.ending import ended, endings
from modelarchive.exchange.onnx.importing import COUNTING, Importer
from modelarchive.exchange.onnx.inputs import declared_inputs, inputs_of, values_of
from modelarchive.exchange.onnx.lifting import LIFTINGS, OPSETS
from modelarchive.exchange.onnx.model import Model, metadata_of, read_model
from modelarchive.exchange.onnx.parameters import bundle_of_stored
from modelarchive.exchange.onnx.values import Constant, Scope, Unsupported
from modelarchive.exchange.refusal import problems_of
from modelarchive.exchange.trying import as_argument, read_fitting
from modelarchive.formats import explain
from modelarchive.nn.axes import Size
from modelarchive.nn.trials import Trial
from modelarchive.store.deferred import Deferred

_Shape = Sequence[Size]
#: Values of inputs that are tried where a model cannot be read without: each is as much work as reading it.
_TRIED: Final = 6
_ML: Final = "ai.onnx.ml"
_ALONE: Final = "only the arrays were asked for, not the graph"


def read(
    path: str | os.PathLike[str],
    *,
    inputs: Mapping[str, _Shape] | Sequence[_Shape] | Sequence[Mapping[str, Any]] | None = None,
    until: str | Sequence[str] | None = None,
    parameters_only: bool = False,
) -> Bundle:
    """Read an ONNX model, without the ``onnx`` package.

    Args:
        path: The model. Files with its data lie in its folder.
        inputs: Shapes of the inputs, by name, in order or as declarations, instead of those that the model declares:
            None for an axis that stays as free as it is there, or a name. A fixed size where the model has a free one
            fixes all axes of its name, and lets more be converted. A declaration with a value, ``{"name": "rate",
            "value": 16000}``, is computed with while reading, and the model has no such input any more.
        until: Values of the graph, or nodes, that the model is to end with, instead of its outputs.
        parameters_only: Read no graph, only what is stored: initialisers, constants that may be weights, those of
            branches and loops under the names of their nodes, and what ai.onnx.ml keeps in lists; of any opset,
            and whatever the operators are. Their names are those in the file, with a note on each that had to
            be changed.

    Returns:
        The bundle. Arrays are views of the mapped file.

    Raises:
        OSError: A file cannot be read.
        FormatError: It is no ONNX model, or damaged.
        UnsafeFileError: Its data is to come from outside its folder, or it is deeper or larger than a model can be.
        ConversionError: It has operators, or uses of them, that are not supported; lists
            all of them.
    """
    with budget.reading(path, Path(os.fsdecode(path)).stat().st_size), np.errstate(all="ignore"):
        try:
            model = read_model(path)
            if parameters_only:
                return bundle_of_stored(model, reason=_ALONE)
        except FormatError as error:
            raise explain(error, path) from error
        if until is None:
            return _converted(model, inputs)
        model, note = ended(model, until)
        bundle = _converted(model, inputs)
        bundle.notes.insert(0, note)
        return bundle


def _converted(model: Model, inputs: Any) -> Bundle:
    problems = [*model.problems, *_opset(model)]
    if problems:
        raise ConversionError(problems, file=model.file.path)
    notes: list[Note] = []
    given = {} if inputs is None else by_name(inputs, [value.name for value in inputs_of(model)])
    values = values_of(model, given, notes)
    declared = [each for each in declared_inputs(model, given, notes) if each["name"] not in values]
    try:
        bundle = _fitted(model, declared, values, notes)
    except ConversionError as error:
        if not values:
            _decided(error, model, declared)
        if not error.hint:
            _cut(error, model, declared, values)
        raise
    bundle.notes.extend(_made_one(declared, (bundle.architecture or {}).get("inputs", [])))
    return bundle


def _decided(error: ConversionError, model: Model, declared: list[dict[str, Any]]) -> None:
    """Name the values of an input, by which the graph decides, with which the model can be read, in the hint."""
    known: list[str] = []
    tried = [(name, number) for name, numbers in deciding(model).items() for number in numbers]
    for name, number in tried[:_TRIED]:
        argument = as_argument([{"name": name, "value": number}])
        values = values_of(model, {name: {"value": number}}, [])
        try:
            _fitted(model, [each for each in declared if each["name"] != name], values, [])
            known.append(argument)
        except ConversionError as other:
            if other.hint and argument[:-1] in other.hint:  # with a size beside
                known.append(f"inputs={other.hint.rpartition('inputs=')[2]}")
        except UnsafeFileError:
            return
    if known:
        error.hint = f"it can be read with, for example, {' or with '.join(known)}"


def _cut(
    error: ConversionError, model: Model, declared: list[dict[str, Any]], values: Mapping[str, np.ndarray]
) -> None:
    """Name the values up to which the model can be read, where results are counted by their values, in the hint."""
    for names in endings(model, COUNTING):
        try:
            _fitted(ended(model, names)[0], declared, values, [])
        except (ConversionError, UnsafeFileError):
            continue
        error.hint = f"convert() keeps what comes before, with until={names if len(names) > 1 else names[0]!r}"
        return


def _fitted(
    model: Model, declared: list[dict[str, Any]], values: Mapping[str, np.ndarray], notes: Sequence[Note]
) -> Bundle:
    """The model at sizes that fit it; where none does, as a file may say "any" of what it has for one only, at 1."""
    given = [{"name": name, "value": array.item()} for name, array in values.items()]

    def read(trial: Trial) -> Bundle:
        return _read_at(trial, model, values, notes)

    try:
        return read_fitting(declared, read, sizes=lambda: sizes_in(model), given=given)
    except ConversionError as error:
        single = [_of_one(each) for each in declared]
        # What is refused for another reason than two sizes that differ has no other meaning at 1.
        if single == declared or not all(_DIFFERS.search(what) for _, what in error.unsupported):
            raise
        try:
            bundle = read_fitting(single, read)
        except (ConversionError, UnsafeFileError):
            raise error from None
    return bundle


#: Two shapes that are told, of which one should be the other, or as large.
_DIFFERS: Final = re.compile(r"expected .*\(\d.*found \(\d|expected a shape of \d+ elements, found")


def _of_one(declared: dict[str, Any]) -> dict[str, Any]:
    """An input with one thing in its batch."""
    shape = declared["shape"]
    return declared if not shape or isinstance(shape[0], int) else declared | {"shape": [1, *shape[1:]]}


def _made_one(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterator[Note]:
    """Axes of several names that have one now, and free ones that are fixed: the model was read with no others."""
    names: dict[str, set[str]] = {}
    for old, new in zip(before, after, strict=True):
        for axis, (one, other) in enumerate(zip(old["shape"] or (), new["shape"] or (), strict=False)):
            if isinstance(other, int) and not isinstance(one, int):
                yield Note(
                    new["name"], f"its axis {axis} is {other}: the file lets it be of any size, and the model fits no "
                    "other that was tried"
                )  # fmt: skip
            if isinstance(one, str) and isinstance(other, str):
                names.setdefault(other, set()).add(one)
    for name, found in names.items():
        if len(found) > 1:
            yield Note(
                name, f"is one axis for {', '.join(sorted(found))}: the model is read for equal sizes of them only"
            )


def _read_at(trial: Trial, model: Model, values: Mapping[str, np.ndarray], notes: Sequence[Note]) -> Bundle:
    """The model at some sizes of its free axes."""
    for writes_out in (False, True):
        importer = Importer(model, writes_out=writes_out)
        for note in notes:
            importer.report.note(note.where, note.what)
        scope, declared = _inputs(model, importer, trial, values)
        outputs = importer.run(model.graph, scope)
        # What a Scan cannot say, the steps of a loop may that are written out one by one.
        if not importer.report.problems or not importer.builder.rolled:
            break
    if importer.report.problems:
        raise ConversionError(importer.report.problems, file=model.file.path)
    architecture = {"vocabulary": 1, "inputs": declared, "model": importer.builder.graph(outputs)}
    return _bundle(model, importer, architecture)


def _opset(model: Model) -> list[tuple[str, str]]:
    version = model.opsets.get("", 0)
    if version in OPSETS:
        return []
    if not version:
        if model.graph.nodes and all(node.op in LIFTINGS and "::" in node.op for node in model.graph.nodes):
            return []
        domains = sorted(model.opsets)
        what = f"is of {', '.join(domains[:4])} only" if domains else "is not in the file"
        kinds = ", ".join(sorted({node.op.rpartition("::")[2] for node in model.graph.nodes})[:4])
        learning = ": classical machine learning, and no network" if _ML in domains else ""
        return [("(opset)", f"{what}, not of ONNX's own operators{learning} ({kinds})")]
    return [("(opset)", f"is {version}, and {OPSETS.stop - 1} is the newest whose operators are known")]


def _inputs(
    model: Model, importer: Importer, trial: Trial, values: Mapping[str, np.ndarray]
) -> tuple[Scope, list[dict[str, Any]]]:
    """What the names of the inputs stand for, and the inputs as an architecture declares them."""
    scope: Scope = {name: Constant(Deferred.of(array)) for name, array in values.items()}
    known = {
        each["name"]: (each, value)
        for each, value in zip(trial.renamed(), trial.values, strict=True)
        if value is not None
    }
    declared = []
    for value in inputs_of(model):
        if value.name in values:
            continue
        if value.problem or value.dtype is None:
            scope[value.name] = Unsupported()
            importer.report.refuse(value.name, f"the input {value.problem}")
            continue
        if value.name not in known:
            scope[value.name] = Unsupported()
            importer.report.refuse(value.name, "the shape of this input is not in the file: pass inputs=")
            continue
        each, abstract = known[value.name]
        ref = importer.builder.input(value.name, abstract)
        scope[value.name] = ref
        declared.append(each | {"name": ref.name})
        if ref.name != value.name:
            importer.report.note(value.name, f"the input is called {ref.name!r}")
    return scope, declared


def _bundle(model: Model, importer: Importer, architecture: dict[str, Any]) -> Bundle:
    try:
        checked = check(architecture)
    except SpecError as error:
        raise ConversionError(problems_of(error), file=model.file.path) from error
    parameters = fitted(checked, importer.builder.arrays)
    notes = [*model.notes, *model.tensors.unread(), *importer.left_out(), *importer.report.notes] + [
        Note(name, "is not used by the graph, or only by what is computed while reading, and is left out")
        for name in model.graph.stored
        if name not in importer.uses
    ]
    for path, (stored, changed) in importer.builder.sources.items():
        what = [f"is the parameter {path!r}"] if path != stored else []
        what += ["its elements in another order or shape"] if changed else []
        notes += [Note(stored, ", ".join(what))] if what else []
    return Bundle(parameters, architecture, metadata=metadata_of(model), notes=_once(notes), known=checked)


def _once(notes: Sequence[Note]) -> list[Note]:
    return list(dict.fromkeys(notes))
