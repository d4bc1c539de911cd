"""Read an ONNX model: its graph as an architecture, its initialisers as parameters."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelarchive.architecture import check
from modelarchive.errors import ConversionError, FormatError, SpecError
from modelarchive.exchange import budget
from modelarchive.exchange.bundle import Bundle, Note, fitted
from modelarchive.exchange.onnx.importing import Importer
from modelarchive.exchange.onnx.lifting import OPSETS
from modelarchive.exchange.onnx.model import Model, Value, metadata_of, read_model
from modelarchive.exchange.onnx.parameters import bundle_of_stored
from modelarchive.exchange.onnx.values import Scope, Unsupported
from modelarchive.exchange.refusal import problems_of
from modelarchive.formats import explain
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.parameter import as_dtype

Shape = Sequence[int | None]
_ML: Final = "ai.onnx.ml"
_ALONE: Final = "only the arrays were asked for, not the graph"
#: Pairs of sizes that are tried for axes that are free: the first for batches, then one for each name.
_BATCH: Final = (12, 20)
_FREE: Final = ((64, 96), (80, 112), (48, 144), (128, 160), (176, 208), (192, 240), (224, 272), (288, 304))


def read(
    path: str | os.PathLike[str],
    *,
    inputs: Mapping[str, Shape] | Sequence[Shape] | Sequence[Mapping[str, Any]] | None = None,
    parameters_only: bool = False,
) -> Bundle:
    """Read an ONNX model, without the ``onnx`` package.

    Args:
        path: The model. Files with its data lie in its folder.
        inputs: Shapes of the inputs, by name, in order or as declarations, None for a free axis; instead of those
            that the model declares. A fixed size where the model has a free one lets more be converted.
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
        return _converted(model, inputs)


def _converted(model: Model, inputs: Any) -> Bundle:
    importer = Importer(model)
    problems = [*model.problems, *_opset(model)]
    if problems:
        raise ConversionError(problems, file=model.file.path)
    scope, declared = _inputs(model, importer, inputs)
    outputs = importer.run(model.graph, scope)
    if importer.report.problems:
        raise ConversionError(importer.report.problems, file=model.file.path)
    architecture = {"vocabulary": 1, "inputs": declared, "model": importer.builder.graph(outputs)}
    return _bundle(model, importer, architecture)


def _opset(model: Model) -> list[tuple[str, str]]:
    version = model.opsets.get("", 0)
    if version in OPSETS:
        return []
    if not version:
        domains = sorted(model.opsets)
        what = f"is of {', '.join(domains[:4])} only" if domains else "is not in the file"
        kinds = ", ".join(sorted({node.op.rpartition("::")[2] for node in model.graph.nodes})[:4])
        learning = ": classical machine learning, and no network" if _ML in domains else ""
        return [("(opset)", f"{what}, not of ONNX's own operators{learning} ({kinds})")]
    return [("(opset)", f"is {version}, and {OPSETS.stop - 1} is the newest whose operators are known")]


def _inputs(model: Model, importer: Importer, given: Any) -> tuple[Scope, list[dict[str, Any]]]:
    """What the names of the inputs stand for, and the inputs as an architecture declares them."""
    values = [value for value in model.graph.inputs if value.name not in model.graph.stored]
    shapes = _given(values, given)
    sizes: dict[str, tuple[int, int]] = {}
    scope: Scope = {}
    declared = []
    for value in values:
        if value.problem or value.dtype is None:
            scope[value.name] = Unsupported()
            importer.report.refuse(value.name, f"the input {value.problem}")
            continue
        shape = shapes.get(value.name, value.shape)
        if shape is None:
            scope[value.name] = Unsupported()
            importer.report.refuse(value.name, "the shape of this input is not in the file: pass inputs=")
            continue
        pairs = [_pair(size, axis, sizes) for axis, size in enumerate(shape)]
        abstract = Abstract((tuple(one for one, _ in pairs), tuple(two for _, two in pairs)), as_dtype(value.dtype))
        ref = importer.builder.input(value.name, abstract)
        scope[value.name] = ref
        declared.append({"name": ref.name, "shape": abstract.declared, "dtype": value.dtype})
        if ref.name != value.name:
            importer.report.note(value.name, f"the input is called {ref.name!r}")
    return scope, declared


def _pair(size: int | str | None, axis: int, sizes: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """The two sizes that stand for a free one; the same for the same name."""
    if isinstance(size, int):
        return size, size
    key = size or ("" if axis == 0 else f" {len(sizes)}")
    if key not in sizes:
        many = len(sizes)
        # Beyond all of them nothing is left to look for.
        taken = set(sizes.values()) if many <= 2 * len(_FREE) else {_BATCH, *_FREE}
        free = [pair for pair in (_BATCH, *_FREE) if pair not in taken and (pair != _BATCH or axis == 0)]
        sizes[key] = free[0] if free else (320 + 16 * many, 352 + 32 * many)
    return sizes[key]


def _given(values: Sequence[Value], given: Any) -> dict[str, Shape]:
    names = [value.name for value in values]
    if given is None:
        return {}
    if not isinstance(given, Mapping) and all(isinstance(each, Mapping) for each in given):
        given = {each["name"]: each["shape"] for each in given}
    shapes = dict(given) if isinstance(given, Mapping) else dict(zip(names, given, strict=False))
    if unknown := [name for name in shapes if name not in names]:
        raise ValueError(f"inputs names {unknown}, the model has the inputs {names}")
    if not isinstance(given, Mapping) and len(given) > len(names):
        raise ValueError(f"inputs has {len(given)} shapes, the model the inputs {names}")
    for value in values:
        if value.name in shapes and value.shape is not None and len(shapes[value.name]) != len(value.shape):
            raise ValueError(f"inputs: {value.name} has {len(value.shape)} axes, found {tuple(shapes[value.name])}")
    return {name: list(shape) for name, shape in shapes.items()}


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
