"""Read MXNet's files: NDArray files, Gluon's parameters, and exported models."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelarchive.architecture import Checked, check
from modelarchive.architecture.declarations import Inputs, by_name
from modelarchive.errors import ConversionError, FormatError, SpecError, counted
from modelarchive.exchange import npz
from modelarchive.exchange.budget import reading
from modelarchive.exchange.bundle import Bundle, Note, Parameters, deferred, few, fitted
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.mxnet import naming
from modelarchive.exchange.mxnet.drawing import SymbolBuilder, input_position
from modelarchive.exchange.mxnet.importing import Importer
from modelarchive.exchange.mxnet.inputs import candidates, declared_inputs, declared_shapes
from modelarchive.exchange.mxnet.ndarrays import is_ndarray_file, read_arrays
from modelarchive.exchange.mxnet.symbol import VARIABLE, SymbolGraph, read_symbol
from modelarchive.exchange.refusal import problems_of
from modelarchive.exchange.trying import read_fitting
from modelarchive.nn.trials import Trial, last_resort
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

_EXPORTED: Final = re.compile(r"(?P<prefix>.*)-(?P<epoch>\d{4,})\.params", re.DOTALL)
_SYMBOL: Final = re.compile(r"(?P<prefix>.*?)(-symbol)?\.json", re.DOTALL)
_PREFIX: Final = re.compile("^(arg|aux):")


def read(
    path: str | os.PathLike[str],
    *,
    parameters: str | os.PathLike[str] | Mapping[str, np.ndarray] | None = None,
    inputs: Inputs | None = None,
    parameters_only: bool = False,
) -> Bundle:
    """Read a file of MXNet, without MXNet.

    Args:
        path: A symbol (``net-symbol.json``) or a file of arrays (``net-0000.params``, ``net.params``, what
            ``nd.save`` wrote, the npz of MXNet 2). Symbol and parameters that ``export`` wrote side by side are
            found from each other and give a whole model; other files of arrays give parameters.
        parameters: The file of arrays that belongs to a symbol, if it is not found by its name; or the arrays
            themselves, by their names in the symbol.
        inputs: Shapes of the inputs, by name or in order, None for a free axis; or declarations
            ``{"name": "data", "shape": [None, 3, 224, 224], "dtype": "float32"}``. A symbol does not say them:
            without this they are inferred from what takes the inputs.
        parameters_only: Leave the architecture out, which may be one that is not supported.

    Returns:
        The bundle. Arrays are views of the mapped file; sparse ones are made dense when they are asked for.

    Raises:
        OSError: A file cannot be read.
        FormatError: A file is damaged, or neither of the two kinds.
        UnsafeFileError: A sparse array is far larger than the file when made dense.
        ConversionError: The symbol has operators that are not supported; lists all of them.
    """
    path = Path(os.fsdecode(path))
    start = MappedFile(path).read(0, 64)
    notes: list[Note] = []
    if is_ndarray_file(start) or _is_npz(start):
        exported = _EXPORTED.fullmatch(path.name)
        symbol = path.with_name(f"{exported['prefix']}-symbol.json") if exported else None
        arrays: Any = path
    elif start.lstrip()[:1] == b"{":
        symbol = path
        arrays = _beside(path, notes) if parameters is None else parameters
    else:
        raise FormatError("is neither a file of arrays nor a symbol of MXNet", file=path)
    files = [
        each for each in (symbol, arrays) if isinstance(each, str | os.PathLike) and Path(os.fsdecode(each)).is_file()
    ]
    with reading(path, sum(Path(os.fsdecode(each)).stat().st_size for each in files)):
        if parameters_only or symbol is None or not symbol.is_file():
            return _parameters(arrays, is_asked=symbol is not None and symbol.is_file())
        return _model(symbol, arrays, inputs, notes)


def _is_npz(start: bytes) -> bool:
    """Whether it is a zip file, with arrays in it or without; MXNet 2 writes such files."""
    return start.startswith((b"PK\3\4", b"PK\5\6"))


def _beside(path: Path, notes: list[Note]) -> Path:
    """The file of arrays that was exported with a symbol."""
    found = _SYMBOL.fullmatch(path.name)
    prefix = found["prefix"] if found else path.stem
    matches = {
        int(match["epoch"]): each
        for each in path.parent.iterdir()
        if (match := _EXPORTED.fullmatch(each.name)) and match["prefix"] == prefix
    }
    if not matches:
        raise FormatError(
            f"there is no {prefix}-0000.params beside it",
            file=path,
            hint="pass parameters=, the file that holds the arrays",
        )
    latest = matches[max(matches)]
    if len(matches) > 1:
        notes.append(Note(latest.name, f"taken, of {len(matches)} files of parameters, for its epoch"))
    return latest


def _parameters(source: Any, *, is_asked: bool) -> Bundle:
    arrays, notes = _arrays(source)
    new = naming.from_gluon(arrays)
    notes += [Note(name, f"is called {other!r}") for name, other in new.items() if name != other]
    return Bundle(
        Parameters({new[name]: array for name, array in arrays.items()}),
        reason="only the parameters were asked for" if is_asked else "a file of arrays holds no architecture",
        notes=notes,
    )


def _arrays(source: str | os.PathLike[str] | Mapping[str, np.ndarray]) -> tuple[dict[str, Deferred], list[Note]]:
    if isinstance(source, Mapping):
        return {_PREFIX.sub("", name): array for name, array in deferred(source).items()}, []
    path = Path(os.fsdecode(source))
    file = MappedFile(path)
    if _is_npz(file.read(0, 4)):
        members, notes = npz.supported(npz.members(file))
        return {_PREFIX.sub("", name): array for name, array in members.items()}, notes
    contents = read_arrays(path)
    stored = contents.names or [str(position) for position in range(len(contents.arrays))]
    notes = []
    if not contents.names and stored:
        notes.append(Note("(names)", "the file is a list: its arrays are called by their places, from 0"))
    found: dict[str, Deferred] = {}
    for position, (full, array) in enumerate(zip(stored, contents.arrays, strict=True)):
        name = _PREFIX.sub("", full)
        if name in found:
            raise FormatError(f"the name {name[:200]!r} comes twice", file=path)
        if array is None:
            notes.append(Note(name, "has neither shape nor values, and is left out"))
            continue
        if position in contents.sparse:
            notes.append(Note(name, f"is {contents.sparse[position]} and is made dense"))
        found[name] = array
    return found, notes


def _model(symbol_path: Path, arrays_path: Any, inputs: Inputs | None, notes: list[Note]) -> Bundle:
    symbol = read_symbol(symbol_path)
    arrays, more = _arrays(arrays_path)
    notes = [*notes, *more]
    said = {} if inputs is None else by_name(inputs, _names(symbol, arrays))
    shapes = declared_shapes(symbol, arrays) | {name: each["shape"] for name, each in said.items() if "shape" in each}
    dtypes_given = {name: each["dtype"] for name, each in said.items() if "dtype" in each}
    first: ConversionError | None = None
    tries = candidates(shapes) if inputs is None else iter([shapes])
    guesses = (each for each in [declared_shapes(symbol, arrays, guess=True)] if each != shapes)
    for number, each in enumerate(itertools.chain(tries, guesses)):
        if number and each.keys() != shapes.keys() and (inputs is not None or not first or not _wants_inputs(first)):
            break
        declared = declared_inputs(symbol, arrays, each, dtypes_given)
        try:
            bundle = read_fitting(declared, lambda trial: _read_at(trial, symbol, arrays, notes))
        except ConversionError as error:
            first = first or error
            continue
        if number:
            sizes = ", ".join(f"{name} {shape}" for name, shape in each.items())
            what = f"their sizes are not in the symbol; {sizes} is the first that fits"
            bundle.notes.insert(len(notes), Note("(inputs)", what))
        return bundle
    if inputs is None:
        trial = last_resort(declared_inputs(symbol, arrays, shapes, {}))
        with contextlib.suppress(ConversionError):
            return _read_at(trial, symbol, arrays, notes, is_declared=False)
    if first is None:
        raise FormatError("there is nothing to read", file=symbol_path)
    first.file = first.file or str(symbol_path)
    first.hint = first.hint or _hint(first)
    raise first


def _hint(error: ConversionError) -> str:
    """The next step where a symbol is refused."""
    alone = "its parameters still come: `modelarchive convert FILE OUT.h5 --parameters-only`, or load()"
    if _wants_inputs(error):
        return f"declare what the symbol does not say, the shapes and dtypes of its inputs; {alone}"
    return f"a symbol is read whole or not at all; {alone}"


def _wants_inputs(error: ConversionError) -> bool:
    return any("inputs=" in what for _, what in error.unsupported)


def _read_at(
    trial: Trial, symbol: SymbolGraph, arrays: Mapping[str, Deferred], notes: list[Note], *, is_declared: bool = True
) -> Bundle:
    """The model at some sizes of its free axes, or without inputs that are declared.

    Raises:
        ConversionError: Something is not supported, or does not fit.
    """
    importer = Importer(SymbolBuilder(symbol, arrays, trial))
    importer.run()
    architecture = importer.architecture()
    if importer.report.problems:
        raise ConversionError(importer.report.problems)
    try:
        model = check(architecture if is_declared else architecture | {"inputs": []})
    except SpecError as error:
        raise ConversionError(problems_of(error)) from error
    return _bundle(importer, model, symbol, arrays, notes)


def _names(symbol: SymbolGraph, arrays: Mapping[str, Deferred]) -> list[str]:
    """The inputs in their order; behind those that are given there may be the labels of a loss."""
    places = [
        (input_position(node.name, position), node.name)
        for position, node in enumerate(symbol.nodes)
        if node.op == VARIABLE and node.name not in arrays
    ]
    return [name for _, name in sorted(places)]


def _bundle(
    importer: Importer,
    model: Checked,
    symbol: SymbolGraph,
    arrays: Mapping[str, Deferred],
    notes: list[Note],
) -> Bundle:
    parameters = fitted(model, importer.builder.arrays)
    notes = [*notes, *importer.report.notes]
    if not model.inputs:
        notes.append(Note("(inputs)", "their shapes are in neither file: pass inputs= to have them declared"))
    used = {_PREFIX.sub("", name).partition("[")[0] for name in importer.builder.owners}
    reported = {note.what.partition(" is left out")[0] for note in importer.report.notes}
    notes += [
        Note(name, "is not used by the symbol, and is left out")
        for name in arrays
        if name not in used and repr(name) not in reported
    ]
    if unneeded := len(symbol.nodes) - len(symbol.needed()):
        notes.append(Note("(nodes)", f"{counted(unneeded, 'node')} left out: no output needs them"))
    variables = [node for node in symbol.nodes if node.op == VARIABLE]
    if about := list(dict.fromkeys(name for node in variables for name in node.attributes.unread())):
        listed = few(map(short, about))
        notes.append(Note("(attributes)", f"left out, where they stand at inputs and parameters: {listed}"))
    if symbol.left:
        notes.append(Note("(symbol)", f"left out, as nothing is known of them: {few(symbol.left)}"))
    metadata = {"source": {"format": "MXNet symbol", "version": symbol.version}}
    return Bundle(parameters, model.architecture, metadata=metadata, notes=notes, known=model)
