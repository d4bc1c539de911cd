"""Load arrays and networks from a file of any format that is known."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from modelarchive import archive
from modelarchive.archive import Archive
from modelarchive.errors import FormatError, IntegrityError
from modelarchive.exchange.bundle import Bundle, Parameters, bundle_of, deferred
from modelarchive.formats import is_bare
from modelarchive.formats.systems import BACKENDS, FORMATS, listed
from modelarchive.models.reading import arrays_of, declared, format_of_file, read, read_as, refuse_verify
from modelarchive.models.rooms import room
from modelarchive.names import joined
from modelarchive.remote import located
from modelarchive.store.deferred import Deferred, expect

if TYPE_CHECKING:
    from modelarchive.architecture import Checked

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
        device: For "torch": where the tensors go, as PyTorch takes it; None: the CPU. To a device they are read by
            several threads, hashed on the way with `verify`, and copied meanwhile.
        storage_options: As :class:`modelarchive.Archive` takes it, where `path` is a URL.
        cache: As there.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is of no format that is known, or damaged.
        UnsafeFileError: It breaks a safety rule.
        IntegrityError: With `verify`, bytes differ from their digest; names all of them.
        ConversionError: It holds arrays that NumPy has no word for; lists all of them.
        MissingDependencyError: The backend is not installed.
        ValueError: There is no such backend, or no such device.
    """
    if backend not in _ARRAYS:
        raise ValueError(f"backend is {backend!r}, expected {_named(_ARRAYS)}")
    path = located(path, storage_options, cache)
    if function := _ARRAYS[backend]:
        if _takes_bytes(backend, device):
            return _onto(path, backend, device, verify=verify)
        return getattr(room(backend), function)(_arrays(path, mmap=True, verify=verify), device=device)
    if device is not None:
        takers = _named(name for name, function in _ARRAYS.items() if function)
        raise ValueError(f"device is {device!r}, and arrays of NumPy have none: give backend={takers}")
    return _arrays(path, mmap=mmap, verify=verify)


def _named(backends: Iterable[str]) -> str:
    return listed(map(repr, backends), last="or")


def _takes_bytes(backend: str, device: Any) -> bool:
    """Whether a backend takes arrays to a device straight from the file."""
    return device is not None and bool(_ARRAYS.get(backend)) and room(backend).is_elsewhere(device)


def _onto(path: str | os.PathLike[str], backend: str, device: Any, *, verify: bool) -> Any:
    """What :func:`load` gives, its arrays on a device."""
    name = format_of_file(path)
    place = room(backend).tensors_on
    if name == "archive":
        with Archive(path) as opened:

            def load(names: Iterable[str]) -> Any:
                entries = opened.deferred({name: name for name in names})
                expect(entries.values())
                if verify:
                    _verify_before(opened, entries)
                return place(device, entries, verify=verify)

            return opened.data(load=load)
    if verify:
        refuse_verify(path, name)
    entries = deferred(_noted(name, path).parameters)
    expect(entries.values())
    found = place(device, entries)
    return next(iter(found.values())) if is_bare(path, name) else found


def _verify_before(archive: Archive, entries: Mapping[str, Deferred]) -> None:
    """Check what is not compared on the way to a device: texts, and all of a file of which HDF5 or deflate give arrays.

    Raises:
        IntegrityError: Something is damaged; names all of it.
    """
    if archive.is_remote:
        return  # all of it is compared as it is read
    if archive.is_stale or any(entry.extent is None for entry in entries.values()):
        archive.verify()
    elif damaged := archive.reader.damaged(only={*archive.reader.contents.texts}):
        raise IntegrityError(damaged, file=archive.path)


def _arrays(path: str | os.PathLike[str], *, mmap: bool, verify: bool) -> Any:
    """What :func:`load` gives, in NumPy."""
    name = format_of_file(path)
    if name == "archive":
        return archive.load(path, mmap=mmap, verify=verify)
    if verify:
        refuse_verify(path, name)
    bundle = _noted(name, path)
    arrays: dict[int, Any] = {}
    found = {}
    expect(deferred(bundle.parameters).values())
    for key, entry in deferred(bundle.parameters).items():
        if id(entry) not in arrays:
            arrays[id(entry)] = bundle.parameters[key] if mmap else entry.read()
        found[key] = arrays[id(entry)]
    return next(iter(found.values())) if is_bare(path, name) else found


def _noted(name: str, path: str | os.PathLike[str]) -> Bundle:
    """The arrays of another format's file, with a warning of each thing that was changed or lost."""
    bundle = arrays_of(name, path)
    for note in bundle.notes:
        warnings.warn(f"{path}: {note}", stacklevel=4)
    return bundle


def load_model(
    path: str | os.PathLike[str],
    *,
    block: str = "",
    until: str | None = None,
    after: str | None = None,
    backend: str = "numpy",
    inputs: Any = None,
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
            functional ``keras.Model`` on the backend that Keras is set to, "onnxruntime" a network that is called as
            the Block is, and that ONNX Runtime computes.
        inputs: What the network is to take, where that is not what the architecture declares: declarations as
            :func:`convert` takes them, of those inputs that change, ``{"x": (None, 3, None, None)}``. A network
            with a recorded forward refuses other sizes than it declares; a row of layers, and a block of it, take what
            their layers do.
        verify: Check the file first, of a block no more than its own arrays (:meth:`Archive.verify`); archives only.
        storage_options: As :class:`modelarchive.Archive` takes it, where `path` is a URL.
        cache: As there.
        **options: `device` and `dtype` for "torch"; `threads`, `providers` and `session_options` for "onnxruntime",
            see :func:`modelarchive.exchange.onnxruntime.build_network`.

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
            own = "block= gives a part; until=, after=, inputs= and verify= are the others that all take"
            way = f"give backend={takers[0]!r}" if takers else f"no backend does; {own}"
            raise TypeError(f"load_model() got {option}=, which backend={backend!r} does not take: {way}")
    path = located(path, storage_options, cache)
    name = format_of_file(path)
    build = BACKENDS[backend].build
    is_taken = _takes_bytes(backend, options.get("device"))
    if name == "archive" and BACKENDS[backend].of_blocks and not is_taken and inputs is None:
        network = archive.load_model(path, block=block, until=until, after=after, verify=verify)
        return getattr(room(backend), build)(network, **options) if build else network
    if name == "archive":
        with Archive(path) as opened:
            bundle = _of_archive(opened, path, block, until, after, is_open=is_taken)
            if verify and is_taken:
                _verify_before(opened, deferred(bundle.parameters))
                options["verify"] = True
            elif verify and not opened.is_remote:  # what comes from there is compared as it is read
                opened.verify(block=block)
            return _built(declared(bundle, inputs), backend, options)
    if verify:
        refuse_verify(path, name)
    is_part = bool(block) or until is not None or after is not None
    bundle = read(path, inputs=None if is_part else inputs)
    _require_architecture(path, name, bundle)
    if is_part:
        entries = deferred(bundle.parameters)
        stored = lambda names: {name: entries[other] for name, other in names.items()}  # noqa: E731
        bundle = declared(_part(bundle.checked(), bundle.metadata, stored, block, until, after), inputs)
    return _built(bundle, backend, options)


def _of_archive(
    archive: Archive,
    path: str | os.PathLike[str],
    block: str,
    until: str | None,
    after: str | None,
    *,
    is_open: bool,
) -> Bundle:
    """An archive's network, or a part of it, whose shards alone are opened.

    Args:
        archive: The archive.
        path: Its path.
        block: The part, as all that follow.
        until: Likewise.
        after: Likewise.
        is_open: Whether the bundle is used up before the archive is closed; else it has views, which outlive it.
    """
    if not archive.has_architecture:
        _require_architecture(path, "archive", bundle_of(archive))
    if block or until is not None or after is not None:
        get = archive.deferred if is_open else archive.held
        return _part(archive.checked, archive.metadata, get, block, until, after)
    return bundle_of(archive) if is_open else read_as("archive", path)


def _require_architecture(path: str | os.PathLike[str], name: str, bundle: Bundle) -> None:
    """Refuse what is no whole model.

    Raises:
        FormatError: It has no architecture; says why.
    """
    if bundle.architecture is None:
        what = f"{FORMATS[name].what} without an architecture: {bundle.reason}"
        hint = "load() gives its arrays, transplant() fills a network that you have in code with them; where that "
        hint += "network is, save_model(path, network, inputs=x) keeps the whole"
        raise FormatError(f"is {what}", file=path, hint=hint)


def _part(
    checked: Checked,
    metadata: Mapping[str, Any],
    get: Callable[[dict[str, str]], Mapping[str, Deferred]],
    block: str,
    until: str | None,
    after: str | None,
) -> Bundle:
    """A part of a model as a bundle of its own; `get` takes names in it and in the whole, and gives the arrays."""
    from modelarchive.architecture import building
    from modelarchive.architecture.places import result_of

    until, after = (name and result_of(name, metadata) for name in (until, after))
    part = building.part(checked, block, until=until, after=after)
    found = get({name: joined(block, name) for name in part.shapes})
    return Bundle(Parameters(found), part.architecture, known=part)


def _built(bundle: Bundle, backend: str, options: Mapping[str, Any]) -> Any:
    expect(deferred(bundle.parameters).values())
    build = BACKENDS[backend].build
    return getattr(room(backend), build)(bundle, **options) if build else bundle.build()
