"""Architectures as Keras models, and their files, which Keras itself writes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from modelarchive.architecture import check
from modelarchive.architecture.declaring import declared_inputs
from modelarchive.errors import ConversionError, MissingDependencyError, SpecError
from modelarchive.exchange.bundle import Bundle, Note, Source, bundle_of
from modelarchive.exchange.refusal import problems_of
from modelarchive.nn import Block
from modelarchive.store.replace import replacing

if TYPE_CHECKING:
    import keras

#: How the files end that Keras writes.
_SUFFIXES: Final = (".keras", ".weights.h5")


def keras_module() -> ModuleType:
    """Keras, with the backend that it chooses: by ``KERAS_BACKEND``, by its own file, else TensorFlow.

    Where nobody has set the variable or imported Keras yet, and the backend that Keras would take is not installed,
    ``KERAS_BACKEND`` is set to one that is: a framework that is imported already, else torch, jax, tensorflow in
    this order.

    Raises:
        MissingDependencyError: It, or its backend, is not installed.
    """
    if "keras" not in sys.modules:
        _choose_backend()
    try:
        import keras
    except ImportError as error:
        raise MissingDependencyError(f"Keras is missing: {error}", extra="keras") from error
    module: ModuleType = keras
    return module


#: Backends that Keras has, in the order in which one is chosen.
BACKENDS: Final = ("torch", "jax", "tensorflow")


def _choose_backend() -> None:
    """Have ``KERAS_BACKEND`` name a backend that is installed."""
    installed = [name for name in BACKENDS if importlib.util.find_spec(name) is not None]
    asked = os.environ.get("KERAS_BACKEND", "")
    named = asked or _configured()
    if named not in BACKENDS and asked and importlib.util.find_spec(asked.partition(".")[0]) is not None:
        return  # one of which only Keras knows
    if named in installed:
        return
    if not installed:
        raise MissingDependencyError(
            "Keras computes with torch, jax or tensorflow, and none is installed", extra="keras,torch"
        )
    if not asked:
        os.environ["KERAS_BACKEND"] = next((name for name in installed if name in sys.modules), installed[0])
        return
    what = f"KERAS_BACKEND is {asked!r}, which is not installed here; installed: {', '.join(installed)}"
    missing = MissingDependencyError(what, extra="keras")
    missing.hint = f"set KERAS_BACKEND={installed[0]} before Python starts, or before Keras is imported"
    raise missing


def _configured() -> str:
    """The backend that Keras' own file names, or the one that it takes without."""
    try:
        home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
        found = json.loads((home / "keras.json").read_bytes())["backend"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return "tensorflow"
    return str(found)


def build_model(source: Source, *, inputs: Any = None) -> keras.Model:
    """A model as a functional ``keras.Model`` of Keras' own layers and operations, on any backend.

    Layers are named by their path with ``-`` for the dots, ``layer1-0-conv1``. Images are computed with their
    channels last, as every backend can; a model that takes them second has a Permute for that. Frozen
    parameters make layers that are not trainable.

    Args:
        source: The path of an archive, an open one, a bundle with an architecture, or a network in NumPy.
        inputs: What the model takes, where the architecture does not say: an example, a declaration
            ``{"shape": [None, 3, 32, 32]}``, or a tuple of several.

    Returns:
        The model; its parameters are copies. What was changed or lost is reported in warnings.

    Raises:
        MissingDependencyError: Keras is not installed.
        SpecError: There is no architecture, or an invalid one.
        ParameterError: Parameters are missing or of other shapes.
        ConversionError: Something is not supported in Keras; lists all of it.
    """
    model, notes = build_with_notes(bundle_of(source, inputs=inputs), inputs=inputs)
    for note in notes:
        warnings.warn(str(note), stacklevel=2)
    return model


def build_with_notes(bundle: Bundle, *, inputs: Any = None) -> tuple[keras.Model, list[Note]]:
    """As :func:`build_model`, with what was changed or lost."""
    keras = keras_module()
    from modelarchive.exchange.keras.exporting import model_of

    block: Block = bundle.build()
    checked = bundle.checked()
    if not checked.inputs and inputs is not None:
        try:
            checked = check(checked.architecture | {"inputs": declared_inputs(block, inputs)})
        except SpecError as error:
            raise ConversionError(problems_of(error), hint=error.hint) from error
    if not checked.inputs:
        what = "the shapes of the model's inputs are not known, and Keras' layers are made for shapes"
        hint = 'pass inputs={"shape": [None, 3, 32, 32]}, with the sizes of what it takes'
        raise ConversionError([("(inputs)", what)], hint=hint)
    return model_of(block, checked.trial, keras)


def write(source: Source, path: str | os.PathLike[str], *, inputs: Any = None, durable: bool = True) -> list[Note]:
    """Write a model as a file that Keras itself saves.

    Args:
        source: A bundle with an architecture, an open archive, the path of an archive, or a network.
        path: ``.keras``: the whole model, for ``keras.saving.load_model``; ``.weights.h5``: its parameters, for
            ``load_weights`` of the model that :func:`build_model` gives.
        inputs: As for :func:`build_model`.
        durable: Have the system put the file on the disk before returning.

    Returns:
        What was changed or lost.

    Raises:
        ConversionError: Something is not supported in Keras; lists all of it. Nothing is written.
        MissingDependencyError: Keras is not installed.
        ValueError: The name ends otherwise.
        OSError: The file cannot be written.
    """
    target = Path(os.fsdecode(path))
    suffix = next((each for each in _SUFFIXES if target.name.lower().endswith(each)), None)
    if suffix is None:
        raise ValueError(f"{target.name!r} ends in neither {' nor '.join(_SUFFIXES)}")
    bundle = bundle_of(source, inputs=inputs)
    if bundle.architecture is None:
        what = f"{bundle.reason or 'there is none'}: Keras' files hold whole models"
        raise ConversionError([("(architecture)", what)], hint="nothing was written")
    model, notes = build_with_notes(bundle, inputs=inputs)
    with replacing(target, durable=durable) as temporary:
        _save(model, temporary, suffix, durable=durable)
    if suffix == ".weights.h5":
        notes.append(Note("(architecture)", "left out: name the file .keras to have it too"))
    notes += [Note(f"metadata[{key!r}]", "left out: Keras' files hold none") for key in bundle.metadata]
    notes += [Note(f"tokens[{name!r}]", "left out: Keras' files hold none") for name in bundle.tokens]
    return notes


def _save(model: Any, temporary: Path, suffix: str, *, durable: bool) -> None:
    """Keras goes by a name's end, which that of a temporary file does not have, and HDF5 locks what it writes."""
    named = temporary.with_name(f"{temporary.name}{suffix}")
    try:
        (model.save if suffix == ".keras" else model.save_weights)(named, overwrite=True)
        shutil.copymode(temporary, named)
        if durable:
            with named.open("rb") as file:
                os.fsync(file.fileno())
        named.replace(temporary)
    finally:
        named.unlink(missing_ok=True)
