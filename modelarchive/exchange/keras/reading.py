"""Read Keras' files: whole models (`.keras`, the older `.h5`), and weights (`.weights.h5`)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from modelarchive import names, spec
from modelarchive.errors import ConversionError, FormatError, SpecError, UnsafeFileError
from modelarchive.exchange.bundle import Bundle, Note, Parameters
from modelarchive.exchange.keras import files
from modelarchive.exchange.keras.calling import converted
from modelarchive.exchange.keras.importing import Importer, Known, leaves
from modelarchive.exchange.keras.model import Layer, Model, Parser, Tensor, load_json
from modelarchive.exchange.keras.storage import Names, Paths, Storage
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.zipped import content
from modelarchive.nn import nesting
from modelarchive.nn.evaluate import declared
from modelarchive.store import strict
from modelarchive.store.deferred import Deferred

#: Inputs as an architecture declares them, or shapes by name.
Inputs = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[int | None]]
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_DTYPES: Final = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
                  "float16", "float32", "float64", "bfloat16")  # fmt: skip


def read(
    path: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    inputs: Inputs | None = None,
) -> Bundle:
    """Read a file of Keras, without Keras.

    Args:
        path: A ``.keras`` file, an ``.h5`` file of a whole model, or of weights (``.weights.h5``, and what
            ``save_weights`` wrote before Keras 3). Whole models come with their architecture.
        config: The architecture that weights belong to: the file that ``model.to_json()`` was written into,
            or its content.
        inputs: Shapes of the inputs, by name or as declarations in order, None for a free axis; for models that
            were saved without sizes that their meaning depends on.

    Returns:
        The bundle. Arrays are views of the mapped file, in the axes' order of the vocabulary.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is no file of Keras, or damaged.
        UnsafeFileError: It breaks a safety rule.
        ConversionError: The model has layers without a counterpart, custom classes or code; lists all of them.
    """
    file = MappedFile(path)
    try:
        if file.read(0, 2) == b"PK":
            return _zip(file, inputs)
        if file.read(0, 8) != _HDF5:
            raise FormatError("is neither a .keras nor an HDF5 file")
        return _hdf5(file, config, inputs)
    except (FormatError, UnsafeFileError, ConversionError) as error:
        error.file = error.file or str(file.path)
        raise


def bundle_of_config(
    config: Mapping[str, Any], variables: Mapping[str, Deferred], *, version: str = "3", inputs: Inputs | None = None
) -> Bundle:
    """A model from what ``model.to_json()`` says, and its variables.

    Args:
        config: The JSON.
        variables: Path in a ``.weights.h5`` file ("layers/dense/vars/0") -> array.
        version: Keras' version.
        inputs: As in :func:`read`.

    Raises:
        ConversionError: Something has no counterpart; lists all of it.
    """
    return bundle_of_storage(config, Paths(variables), version, inputs)


def bundle_of_storage(
    config: Mapping[str, Any], storage: Storage, version: str = "3", inputs: Inputs | None = None
) -> Bundle:
    """As :func:`bundle_of_config`, with variables that are anywhere."""
    return _model(config, storage, version, inputs, [])


def _zip(file: MappedFile, inputs: Inputs | None) -> Bundle:
    members = files.members(file)
    if files.CONFIG not in members or files.VARIABLES not in members:
        missing = files.CONFIG if files.CONFIG not in members else files.VARIABLES
        raise FormatError(f"is no .keras file: it holds no {missing}")
    config = load_json(content(file, members[files.CONFIG]), files.CONFIG)
    metadata: dict[str, Any] = {}
    if files.METADATA in members:
        metadata = strict.loads(content(file, members[files.METADATA]), what=files.METADATA, strict=True)
    notes = []
    known = (files.CONFIG, files.METADATA, files.VARIABLES)
    if others := [name for name in members if name not in known and not name.endswith("/")]:
        notes.append(Note("(assets)", f"left out: {', '.join(others[:8])}"))
    version = str(metadata.get("keras_version", "3"))[:40]
    stored = files.variables(file, members[files.VARIABLES])
    bundle = _model(config, Paths(stored.arrays), version, inputs, notes)
    saved = metadata.get("date_saved")
    if isinstance(saved, str):
        bundle.metadata["source"]["saved"] = saved[:40]
    return bundle


def _hdf5(file: MappedFile, config: Any, inputs: Inputs | None) -> Bundle:
    stored = files.variables(file)
    version = stored.attributes.get("keras_version", "")
    if "model_config" in stored.attributes:
        found = load_json(stored.attributes["model_config"], "model_config")
        inside = "model_weights/"
        arrays = {path.removeprefix(inside): array for path, array in stored.arrays.items() if path.startswith(inside)}
        notes = [_optimizer()] if any(path.startswith("optimizer_weights/") for path in stored.arrays) else []
        if "training_config" in stored.attributes:
            notes.append(_compiled())
        return _model(found, Names(arrays), version or "1", inputs, notes)
    is_old = "layer_names" in stored.attributes
    if not is_old and config is None and not any("vars" in path.split("/") for path in stored.arrays):
        raise FormatError(
            "is an HDF5 file, but neither a model nor weights of Keras",
            hint="model.save() and model.save_weights() write such files",
        )
    if config is None:
        return _weights(stored.arrays)
    if not isinstance(config, Mapping):
        config = load_json(Path(os.fsdecode(config)).read_bytes(), os.fsdecode(config))
    storage: Storage = Names(stored.arrays) if is_old else Paths(stored.arrays)
    version = version or str(config.get("keras_version", "3"))[:40]
    return _model(config, storage, version, inputs, [])


def _weights(arrays: Mapping[str, Deferred]) -> Bundle:
    """A file of weights: their names are the paths, and nothing tells what they are for."""
    notes = []
    if any(path.startswith(_OPTIMIZER) for path in arrays):
        notes.append(_optimizer())
    found: dict[str, Deferred] = {}
    for path in sorted(arrays, key=names.natural_key):
        if path.startswith(_OPTIMIZER):
            continue
        parts = re.sub(r":\d+$", "", path).split("/")
        name = ".".join(re.sub(r"[^A-Za-z0-9_-]", "_", part)[:128] or "_" for part in parts)
        if name in found:
            raise FormatError(f"two arrays would be called {name!r}")
        found[name] = arrays[path]
    reason = "a file of weights holds no architecture: pass config=, the JSON of the model"
    return Bundle(Parameters(found), reason=reason, metadata={"source": {"format": "Keras weights"}}, notes=notes)


_OPTIMIZER: Final = ("optimizer/", "_optimizer/", "optimizer_weights/")
_METRICS: Final = ("metrics/", "_metrics/", "compile_metrics/", "_compile_metrics/", "_loss_tracker/", "loss_tracker/")


def _optimizer() -> Note:
    return Note("(optimizer)", "its state is left out")


def _compiled() -> Note:
    return Note("(training)", "how the model was compiled is left out: optimizer, loss, metrics")


def _model(
    config: Mapping[str, Any], storage: Storage, version: str, inputs: Inputs | None, notes: list[Note]
) -> Bundle:
    parser = Parser()
    model = parser.root(config)
    importer = Importer(storage, parser, version, converted)
    importer.notes = list(notes)
    if model is None:
        raise ConversionError(parser.problems, hint=_HINT)
    storage.assign(model, "")
    declarations = _declarations(model, inputs)
    if not model.is_sequential and not leaves(model.outputs):
        raise FormatError(f"the model {model.name!r} has no outputs")
    block, _ = importer.model(model, [_known(each) for each in declarations])
    problems = list(dict.fromkeys([*parser.problems, *importer.problems]))
    if problems:
        raise ConversionError(problems, hint=_HINT)
    parameters = importer.finished(block)
    if block["kind"] == "Graph":
        for each, name in zip(declarations, block["inputs"], strict=True):
            each["name"] = name
        if isinstance(model.outputs, dict | list) and not _is_flat(model.outputs):
            block["structure"] = _structure(model.outputs)
    is_known = all(each["shape"] is not None for each in declarations)
    architecture = {"vocabulary": 1, "inputs": declarations if is_known else [], "model": block}
    if not is_known:
        importer.note("(inputs)", "their shapes are not in the file: pass inputs= to have them declared")
    return _bundle(architecture, parameters, importer, config)


_HINT: Final = "a model with layers of its own is rebuilt by its author's code only"


def _bundle(
    architecture: dict[str, Any], parameters: Mapping[str, Deferred], importer: Importer, config: Mapping[str, Any]
) -> Bundle:
    try:
        spec.validate(architecture)
    except SpecError as error:
        problems = [(pointer or "(model)", message) for pointer, _, message in error.problems]
        raise ConversionError(problems) from error
    expected = spec.parameter_shapes(architecture)
    wrong = [
        (name, f"expected shape {shape}, found {parameters[name].shape}")
        for name, shape in expected.items()
        if tuple(shape) != tuple(parameters[name].shape)
    ]
    if wrong:
        raise ConversionError(wrong)
    if config.get("compile_config"):
        importer.notes.append(_compiled())
    _tell_unused(importer)
    source = {"format": "Keras", "version": importer.version}
    found = Parameters({name: parameters[name] for name in expected})
    return Bundle(found, architecture, metadata={"source": source}, notes=importer.notes)


def _tell_unused(importer: Importer) -> None:
    storage = importer.storage
    unused = [path for path in storage.arrays if path not in storage.used]
    if any(path.startswith(_OPTIMIZER) for path in unused):
        importer.note(*_pair(_optimizer()))
    if any("/seed_generator" in path for path in unused):
        importer.note("(random)", "the states of random generators are left out")
    if any(path.startswith(_METRICS) for path in unused):
        importer.note("(metrics)", "their states are left out")
    for path in unused:
        if not path.startswith((*_OPTIMIZER, *_METRICS)) and "/seed_generator" not in path:
            importer.note(path, "is not used by the model, and is left out")


def _pair(note: Note) -> tuple[str, str]:
    return note.where, note.what


def _declarations(model: Model, inputs: Inputs | None) -> list[dict[str, Any]]:
    """The inputs of a model; shape None where it is not known."""
    layers = {layer.name: layer for layer in model.layers}
    if model.is_sequential:
        first = model.layers[0] if model.layers else None
        found = [_declared(first, "x", model.input_shape)]
    else:
        tensors = leaves(model.inputs)
        wrong = [each for each in tensors if not isinstance(each, Tensor) or each.layer not in layers]
        if wrong:
            raise FormatError(f"an input of {model.name!r} is no layer of it")
        found = [_declared(layers[each.layer], each.layer, None) for each in tensors]
    if inputs is None:
        return found
    own = [each["name"] for each in found]
    if not isinstance(inputs, Mapping):
        if len(inputs) != len(found):
            raise ValueError(f"inputs declares {len(inputs)} inputs, the model has {own}")
        return [
            each | {"shape": list(new["shape"]), "dtype": new.get("dtype", each["dtype"])}
            for each, new in zip(found, inputs, strict=True)
        ]
    if unknown := [name for name in inputs if name not in own]:
        raise ValueError(f"inputs names {unknown}, the model has {own}")
    return [each | ({"shape": list(inputs[each["name"]])} if each["name"] in inputs else {}) for each in found]


def _declared(layer: Layer | None, name: str, shape: list[int | None] | None) -> dict[str, Any]:
    dtype: Any = "float32"
    if layer is not None:
        config = layer.config.values
        stated = config.get("batch_shape", config.get("batch_input_shape"))
        if isinstance(stated, list):
            shape = stated
        if layer.is_input:
            name, dtype = layer.name, config.get("dtype", "float32")
            if isinstance(dtype, dict):
                dtype = (dtype.get("config") or {}).get("name")
            if config.get("sparse") or config.get("ragged"):
                raise ConversionError([(name, "is a sparse or ragged input, which has no counterpart")])
    if dtype not in _DTYPES:
        raise ConversionError([(name, f"is an input of {str(dtype)[:40]!r}, which has no counterpart")])
    if shape is not None and not all(size is None or (type(size) is int and 0 < size < 2**31) for size in shape):
        raise ConversionError([(name, f"has the shape {str(shape)[:80]}")])
    # The first axis is the batch: that it was fixed while the model was made says nothing of its meaning.
    return {"name": name, "shape": None if shape is None else list(shape), "dtype": dtype}


def _known(each: Mapping[str, Any]) -> Known:
    return Known(None if each["shape"] is None else declared(each["shape"], each["dtype"]))


def _is_flat(outputs: Any) -> bool:
    return isinstance(outputs, list) and all(isinstance(each, Tensor) for each in outputs)


def _structure(outputs: Any) -> Any:
    """The containers of the outputs, as an architecture writes them."""
    return nesting.structure_of(_emptied(outputs))


def _emptied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _emptied(each) for key, each in value.items()}
    return [_emptied(each) for each in value] if isinstance(value, list) else 0
