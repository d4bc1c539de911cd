"""Load arrays and networks from a file of any format that is known."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final

from modelarchive import archive
from modelarchive.archive import Archive
from modelarchive.errors import FormatError
from modelarchive.exchange.bundle import Bundle, Parameters, deferred
from modelarchive.formats import is_bare
from modelarchive.formats.systems import BACKENDS, FORMATS, listed
from modelarchive.models.reading import arrays_of, format_of_file, read_as, refuse_verify
from modelarchive.models.rooms import room
from modelarchive.names import joined
from modelarchive.remote import RemoteFile, located
from modelarchive.store.deferred import expect

#: Backends that `load` has arrays of.
_ARRAYS: Final = {name: known.arrays for name, known in BACKENDS.items() if known.arrays is not None}


def load(
    path: str | os.PathLike[str],
    *,
    mmap: bool = False,
    verify: bool = False,
    backend: str = "numpy",
    device: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    cache: str | Mapping[str, Any] | None = None,
) -> Any:
    """Load what :func:`save` stored, or the arrays of another format's file, which is recognised by its content.

    Args:
        path: A file, or the URL of an archive or a safetensors file. An archive: the same structure, dtypes, shapes
            and bits come back. One with a network, and a safetensors, npz, MXNet or PyTorch file, give the dict of
            their parameters; an npy file its array. A Keras or ONNX file, or a Hugging Face folder, whose
            architecture cannot be said gives its parameters under the names that they have there, with a warning.
        mmap: Return views of the mapped file, copy-on-write, where the format allows, instead of reading it.
        verify: Compare each array with its digest while reading; only archives have digests.
        backend: "numpy" gives arrays, "torch" tensors of the same dtypes: views of the mapped file, copy-on-write,
            where they stay on the CPU.
        device: For "torch": where the tensors go, as PyTorch takes it; None: the CPU.
        storage_options: As :class:`modelarchive.Archive` takes it, where `path` is a URL.
        cache: As there.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is of no format that is known, or damaged.
        UnsafeFileError: It breaks a safety rule.
        IntegrityError: With `verify`, bytes differ from their digest; names all of them.
        ConversionError: It holds arrays that NumPy has no word for; lists all of them.
        MissingDependencyError: The backend is not installed.
    """
    if backend not in _ARRAYS:
        raise ValueError(f"backend is {backend!r}, expected {_named(_ARRAYS)}")
    path = located(path, storage_options, cache)
    if function := _ARRAYS[backend]:
        return getattr(room(backend), function)(_arrays(path, mmap=True, verify=verify), device=device)
    if device is not None:
        takers = _named(name for name, function in _ARRAYS.items() if function)
        raise ValueError(f"device is {device!r}, and arrays of NumPy have none: give backend={takers}")
    return _arrays(path, mmap=mmap, verify=verify)


def _named(backends: Iterable[str]) -> str:
    return listed(map(repr, backends), last="or")


def _arrays(path: str | os.PathLike[str], *, mmap: bool, verify: bool) -> Any:
    """What :func:`load` gives, in NumPy."""
    name = format_of_file(path)
    if name == "archive":
        return archive.load(path, mmap=mmap, verify=verify)
    if verify:
        refuse_verify(path, name)
    bundle = arrays_of(name, path)
    for note in bundle.notes:
        warnings.warn(f"{path}: {note}", stacklevel=3)
    arrays: dict[int, Any] = {}
    found = {}
    expect(deferred(bundle.parameters).values())
    for key, entry in deferred(bundle.parameters).items():
        if id(entry) not in arrays:
            arrays[id(entry)] = bundle.parameters[key] if mmap else entry.read()
        found[key] = arrays[id(entry)]
    return next(iter(found.values())) if is_bare(path, name) else found


def load_model(
    path: str | os.PathLike[str],
    *,
    block: str = "",
    until: str | None = None,
    after: str | None = None,
    backend: str = "numpy",
    verify: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    cache: str | Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Rebuild a network, or one block of it, from its architecture; no class of the original is needed.

    Args:
        path: An archive that :func:`save_model` wrote, or its URL, or another format's file that holds an
            architecture.
        block: Path of the block to rebuild; "" is the whole model. Only that block's bytes are read.
        until: The layer in it to end with: its output is the network's, see :meth:`Archive.build`.
        after: The layer in it to begin after: its output is the network's input.
        backend: "numpy" gives a Block, "torch" a ``torch.nn.Module`` with the original names, "keras" a
            functional ``keras.Model`` on the backend that Keras is set to.
        verify: Check the file first, of a block no more than its own arrays (:meth:`Archive.verify`); archives only.
        storage_options: As :class:`modelarchive.Archive` takes it, where `path` is a URL.
        cache: As there.
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
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}, expected {_named(BACKENDS)}")
    for option in options:
        if option not in BACKENDS[backend].options:
            takers = [other for other, known in BACKENDS.items() if option in known.options]
            way = f"give backend={takers[0]!r}" if takers else "no backend does"
            raise TypeError(f"load_model() got {option}=, which backend={backend!r} does not take: {way}")
    path = located(path, storage_options, cache)
    name = format_of_file(path)
    if name == "archive" and backend == "numpy":
        return archive.load_model(path, block=block, until=until, after=after, verify=verify)
    if verify and name != "archive":
        refuse_verify(path, name)
    if verify and not isinstance(path, RemoteFile):  # what comes from there is compared as it is read
        with Archive(path) as opened:
            opened.verify(block=block)
    bundle = read_as(name, path)
    if bundle.architecture is None:
        what = f"{FORMATS[name].what} without an architecture: {bundle.reason}"
        raise FormatError(f"is {what}", file=path, hint="load() gives its arrays")
    part = _part(bundle, block, until, after)
    expect(deferred(part.parameters).values())
    build = BACKENDS[backend].build
    return getattr(room(backend), build)(part, **options) if build else part.build()


def _part(bundle: Bundle, block: str, until: str | None, after: str | None) -> Bundle:
    """A part of a bundle as a bundle of its own."""
    if bundle.architecture is None or not (block or until is not None or after is not None):
        return bundle
    from modelarchive.architecture import building
    from modelarchive.architecture.places import result_of

    until, after = (name and result_of(name, bundle.metadata) for name in (until, after))
    part = building.part(bundle.checked(), block, until=until, after=after)
    entries = deferred(bundle.parameters)
    found = {name: entries[joined(block, name)] for name in part.shapes}
    return Bundle(Parameters(found), part.architecture, known=part)
