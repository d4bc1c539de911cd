"""Read Keras' files: whole models (`.keras`, the older `.h5`), and weights (`.weights.h5`)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from modelarchive.architecture import check
from modelarchive.architecture.declarations import Inputs
from modelarchive.errors import ConversionError, FormatError, SpecError, UnsafeFileError, counted
from modelarchive.exchange.budget import reading
from modelarchive.exchange.bundle import Bundle, Note, few, fitted
from modelarchive.exchange.keras import files, shards, spelling, through
from modelarchive.exchange.keras.calling import lifted
from modelarchive.exchange.keras.declaring import declarations_of, is_flat, structure_of
from modelarchive.exchange.keras.drawing import Known, MaskWantedError
from modelarchive.exchange.keras.importing import Importer, leaves
from modelarchive.exchange.keras.model import MAX_BYTES, Model, Parser, load_json
from modelarchive.exchange.keras.naming import block_names
from modelarchive.exchange.keras.parameters import asides, by_layer, by_path, left_out
from modelarchive.exchange.keras.permitted import is_of_hub
from modelarchive.exchange.keras.presets import read_preset
from modelarchive.exchange.keras.renamed import renamed
from modelarchive.exchange.keras.storage import Names, Paths, Storage
from modelarchive.exchange.keras.unknown import unknown_keys
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.refusal import Refusal, problems_of, refusing
from modelarchive.exchange.trying import read_fitting
from modelarchive.exchange.zipped import content
from modelarchive.nn.trials import Trial
from modelarchive.store.deferred import Deferred

_HDF5: Final = b"\x89HDF\r\n\x1a\n"


def read(
    path: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    inputs: Inputs | None = None,
    parameters_only: bool = False,
) -> Bundle:
    """Read a file of Keras, without Keras.

    Args:
        path: A ``.keras`` file, an ``.h5`` file of a whole model, or of weights (``.weights.h5``, and what
            ``save_weights`` wrote before Keras 3), or the index ``.weights.json`` of weights in several files; or
            a preset folder of KerasHub. Whole models come with their architecture.
        config: The architecture that weights belong to: the file that ``model.to_json()`` was written into,
            or its content.
        inputs: Shapes of the inputs, by name or as declarations in order, None for a free axis; for models that
            were saved without sizes that their meaning depends on.
        parameters_only: Leave the architecture out, which may be one that is not supported. The parameters are
            those of the file as Keras stores them, all of them, ``conv1.kernel`` by the names that the layers have.

    Returns:
        The bundle. Arrays are views of the mapped file, in the axes' order of the vocabulary; without an
        architecture, in that of Keras.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is no file of Keras, or damaged.
        UnsafeFileError: It breaks a safety rule.
        ConversionError: The model has layers that are not supported, custom classes or code; lists all of them.
    """
    if (folder := Path(os.fsdecode(path))).is_dir():
        return read_preset(folder, inputs, parameters_only=parameters_only)
    file = MappedFile(path)
    given = _given(config)
    size = file.size + (given[1] if given is not None else 0)
    with reading(file.path, size):
        source = _source(file, None if given is None else given[0])
        if parameters_only:
            return _parameters(source, inputs)
        if source.config is None:
            return _weights(source)
        return _whole(source, inputs)


def _source(file: MappedFile, config: Mapping[str, Any] | None) -> _File:
    """What is in a file, by its content."""
    if file.read(0, 2) == b"PK":
        return _zip(file)
    if file.read(0, min(8, file.size)) == _HDF5:
        return _hdf5(file, config)
    if shards.is_index(file.read(0, min(64, file.size))):
        stored, notes = shards.read_index(file)
        return _File(stored, config, notes=notes)
    raise FormatError("is neither a .keras nor an HDF5 file")


def _given(config: str | os.PathLike[str] | Mapping[str, Any] | None) -> tuple[Mapping[str, Any], int] | None:
    """The architecture that belongs to weights, and the bytes that it has in a file."""
    if config is None or isinstance(config, Mapping):
        return None if config is None else (config, len(json.dumps(config, default=str)))
    file = MappedFile(config)
    with reading(file.path, file.size):
        return load_json(file.read(0, MAX_BYTES + 1), "the architecture"), file.size


@dataclass
class _File:
    """What is in a file.

    Attributes:
        stored: Its arrays.
        config: The model's JSON; None where it is not there.
        version: Keras' version.
        is_older: Whether it is of the older format, with its weights by name.
        notes: What is reported of it in any case.
        saved: When it was saved.
    """

    stored: files.Variables
    config: Mapping[str, Any] | None
    version: str = ""
    is_older: bool = False
    notes: list[Note] = field(default_factory=list)
    saved: Any = None

    def storage(self, config: Mapping[str, Any]) -> Storage:
        """Where the variables of the layers of a config are."""
        self.stored.checked()
        if not self.is_older:
            return Paths(self.stored.arrays)
        stored = renamed(self.stored, config) if self.is_of_first else self.stored
        return Names(stored.arrays, stored.groups, is_mirrored=self.is_of_theano)

    @property
    def is_of_first(self) -> bool:
        """Whether Keras 1 or an earlier one wrote it."""
        return self.is_older and self.version.startswith(("0", "1"))

    @property
    def is_of_theano(self) -> bool:
        """Whether Theano was what computed, as the file says, or in Keras 1 its names: TensorFlow's have numbers."""
        if "backend" in self.stored.attributes or not self.is_of_first:
            return self.stored.attributes.get("backend") == "theano"
        named = [name for each in self.stored.groups.values() for name in each.get("weight_names", ())]
        return not any(":" in name for name in named)

    @property
    def metadata(self) -> dict[str, Any]:
        """Where it comes from."""
        found: dict[str, Any] = {"format": "Keras" if self.config is not None else "Keras weights"}
        found |= {"version": self.version or "3"} if self.config is not None else {}
        return {"source": found | ({"saved": self.saved[:40]} if isinstance(self.saved, str) else {})}


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
        ConversionError: Something is not supported; lists all of it.
    """
    return bundle_of_storage(config, Paths(variables), version, inputs)


def bundle_of_storage(
    config: Mapping[str, Any], storage: Storage, version: str = "3", inputs: Inputs | None = None
) -> Bundle:
    """As :func:`bundle_of_config`, with variables that are anywhere."""
    return _model(config, storage, version, inputs, [])


def _zip(file: MappedFile) -> _File:
    members = files.members(file)
    if files.CONFIG not in members or files.VARIABLES not in members:
        missing = files.CONFIG if files.CONFIG not in members else files.VARIABLES
        raise FormatError(f"is no .keras file: it holds no {missing}")
    config = load_json(content(file, members[files.CONFIG]), files.CONFIG)
    metadata: dict[str, Any] = {}
    if files.METADATA in members:
        metadata = load_json(content(file, members[files.METADATA]), files.METADATA)
    notes = []
    known = (files.CONFIG, files.METADATA, files.VARIABLES)
    if others := [name for name in members if name not in known and not name.endswith("/")]:
        notes.append(Note("(assets)", f"left out: {few(others)}"))
    if unknown := [key for key in metadata if key not in ("keras_version", "date_saved")]:
        notes.append(Note(files.METADATA, f"left out: {few(unknown)}"))
    version = str(metadata.get("keras_version", "3"))[:40]
    stored = files.variables(file, members[files.VARIABLES]).with_slashes()
    return _File(stored, config, version, notes=notes, saved=metadata.get("date_saved"))


def _hdf5(file: MappedFile, config: Mapping[str, Any] | None) -> _File:
    stored = files.variables(file)
    version = stored.attributes.get("keras_version", "")
    if "model_config" in stored.attributes:
        found = load_json(stored.attributes["model_config"], "model_config")
        notes = [_optimizer()] if any(path.startswith("optimizer_weights/") for path in stored.arrays) else []
        if "training_config" in stored.attributes:
            notes.append(_compiled())
        own = ("model_weights/", "optimizer_weights/")
        if others := [path for path in (*stored.arrays, *stored.unknown) if not path.startswith(own)]:
            notes.append(Note("(datasets)", f"left out, as they are no weights of the model: {few(others)}"))
        return _File(stored.below("model_weights"), found, version or "1", is_older=True, notes=notes)
    is_older = "layer_names" in stored.groups[""]
    if not is_older:
        stored = stored.with_slashes()
    if not is_older and config is None and not any("vars" in path.split("/") for path in stored.arrays):
        raise files.no_keras(stored)
    if config is not None:
        version = version or str(config.get("keras_version", "3"))[:40]
    return _File(stored, config, version, is_older=is_older, notes=shards.told_apart(file, stored))


def _weights(source: _File) -> Bundle:
    """A file of weights: their names are the paths, and what they are for is not in it."""
    parameters, notes = by_path(source.stored.checked())
    reason = f"a file of weights holds no architecture: {_WITH_CONFIG}"
    notes = [Note("(architecture)", f"left out: {_NO_CONFIG}"), *source.notes, *_behind(source.stored), *notes]
    return Bundle(parameters, reason=reason, metadata=source.metadata, notes=notes)


#: What is reported of a variable that no layer of the config asks for.
UNUSED: Final = "is not used by the model, and is left out"
#: Variables that count by what a layer's settings say of them.
_FACTOR: Final = re.compile(r"(?:^|/)lora_(?:kernel|embeddings)_[ab](?::\d+)?$")
_WITH_CONFIG: Final = "convert takes config=, the file that model.to_json() was written into"
_NO_CONFIG: Final = f"a file of weights holds none: {_WITH_CONFIG}"


def _parameters(source: _File, inputs: Inputs | None) -> Bundle:
    """The parameters of any file, and why there is no architecture."""
    parameters, notes = by_layer(source.stored, source.config)
    notes += [Note(path[:200], "is left out: of a dtype that archives do not hold") for path in source.stored.unknown]
    if source.config is None:
        reason = _NO_CONFIG
    elif is_of_hub(source.config) and not source.is_older:
        reason = through.reason(source.config)
    else:
        try:
            _whole(source, inputs)
            reason = "only the parameters were asked for"
        except (ConversionError, FormatError, UnsafeFileError) as error:
            problems = getattr(error, "unsupported", [("", error.message)])
            listed = "; ".join(f"{where}: {what}".removeprefix(": ") for where, what in problems[:3])
            more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
            reason = f"it is not supported here: {listed}{more}"
    first = [
        Note("(architecture)", f"left out: {reason}"),
        Note("(parameters)", "are as Keras stores them: kernels have the axes (..., in, out)"),
    ]
    first += [*source.notes, *_behind(source.stored)]
    return Bundle(parameters, reason=reason, metadata=source.metadata, notes=[*first, *notes])


def _whole(source: _File, inputs: Inputs | None) -> Bundle:
    """A model with its architecture."""
    if source.config is None:
        raise FormatError(_NO_CONFIG)
    if is_of_hub(source.config) and not source.is_older:
        return _through(source, inputs)
    try:
        notes = [*source.notes, *_behind(source.stored)]
        config = source.config
        if source.is_of_first:
            with refusing("model"):
                config = spelling.modern(config)
        bundle = _model(config, source.storage(config), source.version or "3", inputs, notes)
    except Refusal as refusal:
        raise ConversionError([("(model)", str(refusal))], hint=_PARAMETERS) from refusal
    except ConversionError as error:
        if error.hint is None or error.hint == OWN:
            is_own = any(_OF_ITS_OWN.search(what) for _, what in error.unsupported)
            error.hint = f"{OWN}; {_PARAMETERS}" if is_own else _PARAMETERS
        raise
    results = {key: each for key, each in bundle.metadata["source"].items() if key == "results"}
    bundle.metadata = source.metadata | {"source": source.metadata["source"] | results}
    return bundle


def _through(source: _File, inputs: Inputs | None) -> Bundle:
    """A model with classes of KerasHub, as that builds it."""
    try:
        bundle = through.read(source.config or {}, [through.Part(source.stored.checked().arrays)], inputs)
    except ConversionError as error:
        if error.hint is None or through.OF_MODULES in error.hint:
            error.hint = _PARAMETERS
        raise
    bundle.metadata = source.metadata
    bundle.notes += [*source.notes, *_behind(source.stored)]
    return bundle


def _behind(stored: files.Variables) -> list[Note]:
    """That bytes stand behind HDF5's own."""
    what = f"{counted(stored.behind, 'byte')} behind the end of the HDF5 file, which nothing in it points to: left out"
    return [Note("(file)", what)] if stored.behind else []


def _optimizer() -> Note:
    return Note("(optimizer)", "its state is left out")


def _compiled() -> Note:
    return Note("(training)", "how the model was compiled is left out: optimizer, loss, metrics")


def _model(
    config: Mapping[str, Any], storage: Storage, version: str, inputs: Inputs | None, notes: list[Note]
) -> Bundle:
    parser = Parser()
    model = parser.root(config)
    if model is None:
        raise ConversionError(parser.problems, hint=OWN)
    if unknown := [*parser.left, *unknown_keys(config)]:
        notes = [*notes, Note("(config)", f"left out, as nothing is known of them: {few(unknown)}")]
    storage.assign(model, "")
    declarations = declarations_of(model, inputs)
    if not model.is_sequential and not leaves(model.outputs):
        raise FormatError(f"the model {model.name!r} has no outputs")

    giving_masks: set[Hashable] = set()

    def read_at(trial: Trial) -> Bundle:
        while True:
            importer = Importer(storage, parser, version, lifted, giving_masks)
            for note in notes:
                importer.report.note(note.where, note.what)
            try:
                return _model_at(trial, model, importer, config)
            except MaskWantedError as wanted:  # at most once for each model inside
                giving_masks.add(wanted.model)

    return read_fitting(declarations, read_at)


def _model_at(trial: Trial, model: Model, importer: Importer, config: Mapping[str, Any]) -> Bundle:
    """The model at some sizes of its free axes."""
    parser, declarations = importer.parser, trial.renamed()
    block = importer.model(model, [Known(value) for value in trial.values]).block
    problems = list(dict.fromkeys([*parser.problems, *importer.report.problems]))
    if problems:
        raise ConversionError(problems, hint=OWN)
    parameters = importer.finished(block)
    called = block.get("inputs") or block_names(each["name"] for each in declarations).values()
    for each, name in zip(declarations, called, strict=True):
        each["name"] = name
    if block["kind"] == "Graph" and isinstance(model.outputs, dict | list) and not is_flat(model.outputs):
        block["structure"] = structure_of(model.outputs)
    is_known = all(each["shape"] is not None for each in declarations)
    architecture = {"vocabulary": 1, "inputs": declarations if is_known else [], "model": block}
    if not is_known:
        importer.report.note("(inputs)", "their shapes are not in the file: pass inputs= to have them declared")
    return _bundle(architecture, parameters, importer, config)


#: The next step where a model has classes that nobody knows.
OWN: Final = "a model with layers of its own is rebuilt by its author's code only"
_PARAMETERS: Final = "its parameters still come: `modelarchive convert FILE OUT.h5 --parameters-only`, or load()"
_OF_ITS_OWN: Final = re.compile(r"its author's own|is code|^the layer '")


def _bundle(
    architecture: dict[str, Any], parameters: Mapping[str, Deferred], importer: Importer, config: Mapping[str, Any]
) -> Bundle:
    try:
        checked = check(architecture)
    except SpecError as error:
        raise ConversionError(problems_of(error)) from error
    found = fitted(checked, parameters)
    if config.get("compile_config"):
        importer.report.note(_compiled().where, _compiled().what)
    _report_unused(importer)
    source: dict[str, Any] = {"format": "Keras", "version": importer.version}
    if importer.results:
        source["results"] = importer.results
    return Bundle(found, architecture, metadata={"source": source}, notes=importer.report.notes, known=checked)


def _report_unused(importer: Importer) -> None:
    storage = importer.storage
    unused = {path: array for path, array in storage.arrays.items() if path not in storage.used}
    aside = asides(unused)
    for note in left_out(aside):
        importer.report.note(note.where, note.what)
    if factors := [path for path in unused if _FACTOR.search(path)]:
        what = "is a factor of a LoRA, and no setting says how much it counts: a .keras file has it merged"
        raise ConversionError([(path, what) for path in factors])
    for path in unused:
        if path not in aside:
            importer.report.note(path, UNUSED)
