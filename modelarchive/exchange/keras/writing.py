"""Architectures as Keras models, and their files, which Keras itself writes."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from modelarchive.errors import ConversionError, MissingDependencyError
from modelarchive.exchange.bundle import Bundle, Note, Source, bundle_of
from modelarchive.nn import Block
from modelarchive.spec.describe import declared_inputs
from modelarchive.store.replace import replacing

if TYPE_CHECKING:
    import keras

#: How the files end that Keras writes.
SUFFIXES: Final = (".keras", ".weights.h5")


def keras_module() -> ModuleType:
    """Keras, with the backend that it chooses (``KERAS_BACKEND``).

    Raises:
        MissingDependencyError: It, or its backend, is not installed.
    """
    try:
        import keras
    except ImportError as error:
        message = f"Keras, or the backend that KERAS_BACKEND names (torch, jax, tensorflow), is missing: {error}"
        raise MissingDependencyError(message, extra="keras") from error
    module: ModuleType = keras
    return module


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
        The model; its parameters are copies. What was changed or lost is told in warnings.

    Raises:
        MissingDependencyError: Keras is not installed.
        SpecError: There is no architecture, or an invalid one.
        ParameterError: Parameters are missing or of other shapes.
        ConversionError: Something has no counterpart in Keras; lists all of it.
    """
    model, notes = build_with_notes(bundle_of(source, inputs=inputs), inputs=inputs)
    for note in notes:
        warnings.warn(str(note), stacklevel=2)
    return model


def build_with_notes(bundle: Bundle, *, inputs: Any = None) -> tuple[keras.Model, list[Note]]:
    """As :func:`build_model`, with what was changed or lost."""
    keras = keras_module()
    from modelarchive.exchange.keras.building import model_of

    block: Block = bundle.build()
    architecture = bundle.architecture or {}
    declarations = architecture.get("inputs") or (declared_inputs(block, inputs) if inputs is not None else [])
    if not declarations:
        what = "the shapes of the model's inputs are not known, and Keras' layers are made for shapes"
        hint = 'pass inputs={"shape": [None, 3, 32, 32]}, with the sizes of what it takes'
        raise ConversionError([("(inputs)", what)], hint=hint)
    return model_of(block, declarations, keras)


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
        ConversionError: Something has no counterpart in Keras; lists all of it. Nothing is written.
        MissingDependencyError: Keras is not installed.
        ValueError: The name ends otherwise.
        OSError: The file cannot be written.
    """
    target = Path(os.fsdecode(path))
    suffix = next((each for each in SUFFIXES if target.name.lower().endswith(each)), None)
    if suffix is None:
        raise ValueError(f"{target.name!r} ends in neither {' nor '.join(SUFFIXES)}")
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
