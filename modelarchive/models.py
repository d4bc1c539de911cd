"""Save, load and convert models: the native archive or the right exchange, by an object's type or a file's content."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

from modelarchive import archive
from modelarchive.archive import Archive
from modelarchive.archive.choices import Choice
from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.bundle import Bundle, Note, Parameters, Progress, bundle_of, deferred, save_bundle
from modelarchive.formats import FORMATS, format_of_name, recognise

#: Backend -> the function of its room that builds its models.
_BUILDS: Final = {"torch": "build_module", "keras": "build_model"}


def load(path: str | os.PathLike[str], *, mmap: bool = False, verify: bool = False) -> Any:
    """Load what :func:`save` stored, or the arrays of another format's file, which is told by its content.

    Args:
        path: An archive: the same structure, dtypes, shapes and bits come back. One with a network, and a
            safetensors, npz, MXNet or PyTorch file, give the dict of their parameters; an npy file its array.
        mmap: Return views of the mapped file, copy-on-write, where the format allows, instead of reading it.
        verify: Compare each array with its digest while reading; only archives have digests.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is of no format that is known, or damaged.
        UnsafeFileError: It breaks a safety rule.
        IntegrityError: With `verify`, bytes differ from their digest; names all of them.
        ConversionError: It holds arrays that NumPy has no word for; lists all of them.
    """
    name = recognise(path)
    if name == "archive":
        return archive.load(path, mmap=mmap, verify=verify)
    if verify:
        _without_digests(path, name)
    bundle = _read(name, path)
    for note in bundle.notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    arrays: dict[int, Any] = {}
    found = {}
    for key, entry in deferred(bundle.parameters).items():
        if id(entry) not in arrays:
            arrays[id(entry)] = bundle.parameters[key] if mmap else entry.read()
        found[key] = arrays[id(entry)]
    if Path(os.fsdecode(path)).is_dir():
        return found
    with Path(os.fsdecode(path)).open("rb") as file:
        return found["array"] if file.read(6) == b"\x93NUMPY" else found


def save_model(
    path: str | os.PathLike[str],
    model: Any,
    *,
    inputs: Any = None,
    metadata: Mapping[str, Any] | None = None,
    tokens: Mapping[str, Sequence[str]] | None = None,
    compression: Choice = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> list[Note] | None:
    """Save a whole model: the architecture that its ``forward`` draws, and its parameters.

    Args:
        path: The file; an old one is replaced as a whole, or left as it was.
        model: A network: a Block, a ``torch.nn.Module``, a ``keras.Model``, or a Bundle that an exchange has read.
        inputs: An example input, or a tuple of several, to record ``forward`` on with a symbolic batch axis.
            A network that was rebuilt remembers its own.
        metadata: Anything JSON can say, under string keys: licence, training data, measured accuracy.
        tokens: Parameter name -> the word that each of its rows belongs to, for embeddings.
        compression: "deflate" compresses the arrays that shrink by it; a dict chooses by name; as in :func:`save`.
        durable: As in :func:`save`.
        progress: As in :func:`save`.

    Returns:
        What was changed or lost of another framework's model; None for a Block, of which nothing is.

    Raises:
        SpecError: ``forward`` cannot be recorded; names class, file and line.
        ConversionError: Another framework's model does what the vocabulary cannot say; lists all of it.
        DeferredShapeError: Parameters have no values yet; lists all of them.
        OSError: The file cannot be written.
    """
    from modelarchive.nn import Block

    if isinstance(model, Block):
        archive.save_model(
            path,
            model,
            inputs=inputs,
            metadata=metadata,
            tokens=tokens,
            compression=compression,
            durable=durable,
            progress=progress,
        )
        return None
    if isinstance(model, Bundle):
        bundle = model
    elif _is_keras_model(model):  # first: with PyTorch as Keras' backend it is a torch.nn.Module too
        bundle = _room("keras").read_model(model, inputs)
    elif _is_torch_module(model):
        bundle = _room("torch").read_module(model, inputs)
    else:
        expected = "a Block, a torch.nn.Module, a keras.Model or a Bundle"
        raise TypeError(f"model is {type(model).__name__}, expected {expected}")
    if bundle.architecture is None:
        raise ConversionError([("(architecture)", bundle.reason or "there is none")])
    bundle = replace(
        bundle, metadata=bundle.metadata | dict(metadata or {}), tokens={**bundle.tokens, **(tokens or {})}
    )
    return [*bundle.notes, *save_bundle(path, bundle, compression=compression, durable=durable, progress=progress)]


def load_model(
    path: str | os.PathLike[str],
    *,
    block: str = "",
    backend: str = "numpy",
    verify: bool = False,
    **options: Any,
) -> Any:
    """Rebuild a network, or one block of it, from its architecture; no class of the original is needed.

    Args:
        path: An archive that :func:`save_model` wrote, or another format's file that holds an architecture.
        block: Path of the block to rebuild; "" is the whole model. Only that block's bytes are read.
        backend: "numpy" gives a Block, "torch" a ``torch.nn.Module`` with the original names, "keras" a
            functional ``keras.Model`` on the backend that Keras is set to.
        verify: Check the whole file first, see :meth:`Archive.verify`; archives only.
        **options: `device` and `dtype` for "torch"; `inputs` for "keras", where the architecture has none.

    Returns:
        The network, its parameters views of the mapped file, copy-on-write.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is of no format that is known, holds no architecture, or is damaged.
        SpecError: The architecture is invalid, or has no such block.
        ParameterError: Parameters are missing or of other shapes than it declares.
        ConversionError: The backend cannot express the network; lists all of what it cannot.
        MissingDependencyError: The backend is not installed.
    """
    if backend not in ("numpy", *_BUILDS):
        raise ValueError(f"backend is {backend!r}, expected 'numpy', 'torch' or 'keras'")
    if backend == "numpy" and options:
        raise TypeError(f"{', '.join(options)}: only a backend other than numpy has such options")
    name = recognise(path)
    if name == "archive" and backend == "numpy":
        return archive.load_model(path, block=block, verify=verify)
    if verify and name != "archive":
        _without_digests(path, name)
    if verify:
        with Archive(path) as opened:
            opened.verify()
    bundle = _read(name, path)
    if bundle.architecture is None:
        what = f"{FORMATS[name].what} without an architecture: {bundle.reason}"
        raise FormatError(f"is {what}", file=path, hint="load() gives its arrays, load_parameters() takes an archive")
    part = _part(bundle, block)
    return part.build() if backend == "numpy" else getattr(_room(backend), _BUILDS[backend])(part, **options)


def read(path: str | os.PathLike[str], *, inputs: Sequence[Mapping[str, Any]] | None = None) -> Bundle:
    """Read a file of any format that is known, told by its content.

    Args:
        path: The file, or a Hugging Face folder.
        inputs: As in :func:`convert`.

    Returns:
        Architecture (or why there is none), parameters, metadata, and notes of what was changed or lost.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is of no format that is known, or damaged.
        UnsafeFileError: It breaks a safety rule.
        ConversionError: It holds what cannot be read; lists all of it.
    """
    name = recognise(path)
    if inputs is None or name not in _TAKE_INPUTS:
        return _declared(_read(name, path), inputs)
    return _read(name, path, inputs=_TAKE_INPUTS[name](inputs))


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    inputs: Sequence[Mapping[str, Any]] | None = None,
    compression: Choice = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> list[Note]:
    """Convert a file into another format: from what its content says, to what the target's suffix says.

    Args:
        source: A file of any format that is known, or a Hugging Face folder.
        target: The file to write; an old one is replaced as a whole, or left as it was. A folder that is there,
            or a name that ends in a slash, is a Hugging Face folder.
        inputs: What the model takes, in order: ``{"name": "x", "shape": [None, 3, 224, 224], "dtype": "float32"}``,
            for sources that do not say, such as MXNet's symbols, and for others than they say. A Hugging Face
            folder needs the names only, to leave others out or to have the mask of GPT-2 and Llama.
        compression: As in :func:`save`; only where the target is an archive.
        durable: As in :func:`save`.
        progress: As in :func:`save`; called only where the target is an archive.

    Returns:
        Everything that was changed or lost, in reading and in writing.

    Raises:
        ConversionError: Something cannot be said in the target's format; lists all of it; nothing is written.
        FormatError: The source is of no format that is known, or damaged.
        SpecError: The model does not take such `inputs`.
        ValueError: The target's suffix names no format, or one that has no `compression`.
    """
    name = format_of_name(target)
    if compression is not None and name != "archive":
        raise ValueError(f"compression is {compression!r}, and only archives are compressed, not {FORMATS[name].what}")
    if recognise(source) == "archive":
        with Archive(source) as opened:
            bundle = _declared(bundle_of(opened), inputs)
            return _write(name, bundle, target, compression=compression, durable=durable, progress=progress)
    bundle = read(source, inputs=inputs)
    written = _write(name, bundle, target, compression=compression, durable=durable, progress=progress)
    return [*bundle.notes, *written]


def _part(bundle: Bundle, block: str) -> Bundle:
    """One block of a bundle as a bundle of its own."""
    if not block or bundle.architecture is None:
        return bundle
    from modelarchive import spec

    architecture = spec.part(bundle.architecture, block)
    entries = deferred(bundle.parameters)
    found = {name: entries[f"{block}.{name}"] for name in spec.parameter_shapes(architecture)}
    return Bundle(Parameters(found), architecture)


def _is_keras_model(model: object) -> bool:
    """Whether it is one; Keras is not imported for that: who has a model has imported it."""
    found = getattr(sys.modules.get("keras"), "Model", None)
    return found is not None and isinstance(model, found)


def _is_torch_module(model: object) -> bool:
    """Whether it is one; torch is not imported for that: who has a module has imported it."""
    module = getattr(sys.modules.get("torch"), "nn", None)
    return module is not None and isinstance(model, module.Module)


def _write(
    name: str,
    bundle: Bundle,
    target: str | os.PathLike[str],
    *,
    compression: Choice,
    durable: bool,
    progress: Progress | None,
) -> list[Note]:
    if name == "archive":
        return save_bundle(target, bundle, compression=compression, durable=durable, progress=progress)
    notes: list[Note] = _room(name).write(bundle, target, durable=durable)
    return notes


def _read(name: str, path: str | os.PathLike[str], **options: Any) -> Bundle:
    if name == "archive":
        return bundle_of(path)
    try:
        bundle: Bundle = _room(name).read(path, **options)
    except FormatError as error:
        error.hint = error.hint or f"by its first bytes it is {FORMATS[name].what}"
        raise
    return bundle


#: Format -> what its reader takes as inputs: declarations, or names only.
_TAKE_INPUTS: Final[dict[str, Callable[[Sequence[Mapping[str, Any]]], Any]]] = {
    "mxnet": lambda inputs: inputs,
    "onnx": lambda inputs: inputs,
    "keras": lambda inputs: inputs,
    "huggingface": lambda inputs: [each.get("name") for each in inputs],
}


def _declared(bundle: Bundle, inputs: Sequence[Mapping[str, Any]] | None) -> Bundle:
    """The same model with other inputs declared, which must fit it."""
    if inputs is None:
        return bundle
    if bundle.architecture is None:
        hint = "inputs belong to whole models: leave them out"
        raise ConversionError([("(inputs)", f"are not known without an architecture: {bundle.reason}")], hint=hint)
    from modelarchive import spec
    from modelarchive.spec.describe import declared_inputs

    network = spec.build(bundle.architecture)
    architecture = bundle.architecture | {"inputs": declared_inputs(network, list(inputs))}
    spec.validate(architecture)
    return replace(bundle, architecture=architecture)


def _without_digests(path: str | os.PathLike[str], name: str) -> NoReturn:
    hint = "load it without verify=True, or convert it into an archive"
    raise FormatError(f"is {FORMATS[name].what}, which has no digests to verify", file=path, hint=hint)


def _room(name: str) -> Any:
    return importlib.import_module(f"modelarchive.exchange.{name}")
