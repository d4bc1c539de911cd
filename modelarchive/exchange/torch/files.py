"""``.pt`` and ``.pth`` files: tensors through PyTorch's weights-only loader, and never through pickle itself."""

from __future__ import annotations

import itertools
import mmap
import os
import pickle
import re
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import torch

from modelarchive import tensors
from modelarchive.errors import ConversionError, FormatError, UnsafeFileError, UnsupportedDataError
from modelarchive.exchange.bundle import Bundle, Note, Parameters, deferred, shared_names
from modelarchive.exchange.shards import read_shards
from modelarchive.exchange.torch.tensors import tensor_of
from modelarchive.formats import explain
from modelarchive.names import CHECKPOINT_KEYS
from modelarchive.store.replace import replacing

_REASON: Final = "a state_dict holds parameters only"
#: Tensors that are no plain runs of memory are copied: to so many times the size of the file, and a little.
_COPIES: Final = 4
_ROOM: Final = 1 << 20
#: Arrays of so many bytes are not gathered in memory.
_SPOOLED: Final = 1 << 20
#: Entries of all dicts together.
_MAX_ENTRIES: Final = 1_000_000
_MAX_DEPTH: Final = 16


def read(path: str | os.PathLike[str]) -> Bundle:
    """Parameters of a file that ``torch.save`` wrote, see :func:`modelarchive.exchange.torch.read`."""
    path = Path(os.fsdecode(path))
    return read_shards(path, _read_file, reason=_REASON) if path.name.endswith(".json") else _read_file(path)


def _read_file(path: Path) -> Bundle:
    try:
        value = _loaded(path)
    except FormatError as error:
        raise explain(error, path) from error
    notes: list[Note] = []
    metadata: dict[str, Any] = {}
    if isinstance(value, torch.Tensor):
        value = {"array": value}
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
        notes.append(Note("(names)", "the file is a list: its tensors are called by their places, from 0"))
    if not isinstance(value, Mapping):
        raise FormatError(f"holds a {type(value).__name__}, expected a dict of tensors", file=path)
    state = value
    inner = (each for each in CHECKPOINT_KEYS if isinstance(value.get(each), Mapping))
    key = next((each for each in inner if _has_tensors(value[each])), None)
    if key is not None and not any(isinstance(each, torch.Tensor) for each in value.values()):
        state = value[key]
        for name, other in value.items():
            if name == key:
                continue
            if isinstance(name, str) and (other is None or isinstance(other, str | int | float | bool)):
                metadata[name] = other if other == other and other not in (float("inf"), -float("inf")) else str(other)
            else:
                notes.append(Note(str(name), f"is left out: a {type(other).__name__} beside the parameters"))
    parameters, problems = _arrays(state, notes, room=_COPIES * path.stat().st_size + _ROOM)
    if problems:
        raise ConversionError(
            problems, file=path, hint="save them with .to_dense() or .dequantize() where they are made"
        )
    if not parameters:
        raise FormatError("holds no tensors", file=path, hint="torch.save(module.state_dict(), path) writes some")
    return Bundle(parameters, reason=_REASON, metadata=metadata, notes=notes)


def write(bundle: Bundle, path: str | os.PathLike[str], *, durable: bool = True) -> list[Note]:
    """Write a ``state_dict``, see :func:`modelarchive.exchange.torch.write`."""
    first = shared_names(bundle.parameters)
    state: dict[str, torch.Tensor] = {}
    problems = []
    with replacing(path, durable=durable) as temporary, tempfile.TemporaryFile(dir=temporary.parent) as spool:
        for name in deferred(bundle.parameters):
            try:
                state[name] = state[first[name]] if name in first else _compact(bundle, name, spool)
            except (ValueError, TypeError) as error:
                problems.append((name, str(error)))
        if problems:
            raise ConversionError(problems, hint="nothing was written")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    notes = []
    if bundle.architecture is not None:
        notes.append(Note("(architecture)", "is left out: a state_dict holds parameters only"))
    notes += [Note(f"metadata {key!r}", "is left out") for key in bundle.metadata]
    notes += [Note(name, "its words (tokens) are left out") for name in bundle.tokens]
    return notes


def _compact(bundle: Bundle, name: str, spool: BinaryIO) -> torch.Tensor:
    """A parameter as a tensor of its own: one that is a part of another drags all of it into the file."""
    found = bundle.parameters[name]
    array = np.ascontiguousarray(found).reshape(found.shape)
    # PyTorch writes all tensors at once: what was read for this is kept in a file, not in memory.
    is_read = isinstance(bundle.parameters, Parameters) and not _is_mapped(array)
    return tensor_of(_spooled(array, spool) if is_read and array.nbytes >= _SPOOLED else array)


def _is_mapped(array: Any) -> bool:
    """Whether an array is a view of a mapped file."""
    while isinstance(array, np.ndarray | memoryview):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    return isinstance(array, mmap.mmap)


def _spooled(array: np.ndarray, spool: BinaryIO) -> np.ndarray:
    begin = spool.seek(0, os.SEEK_END)
    spool.truncate(begin + array.nbytes)
    place = np.memmap(spool, array.dtype, "r+", begin, array.shape)
    place[...] = array
    return np.asarray(place)


def _can_be_mapped(path: Path) -> bool:
    """Whether the file's system maps it; PyTorch would fail if not."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
            return True
    except (OSError, ValueError):
        return False


def _loaded(path: Path) -> Any:
    size = path.stat().st_size
    is_zip = _check_zip(path, size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch about its own classes
            if is_zip:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=_can_be_mapped(path))
            found, left = _loaded_stream(path, size)
    except FormatError:
        raise
    except pickle.UnpicklingError as error:
        what = str(error).split("\n")[0][:300]
        if "Unsupported" in what or "GLOBAL" in str(error) or "global" in str(error):
            raise UnsafeFileError(
                f"holds more than tensors, and loading it would run code: {_reason(str(error))}",
                rule="pickle",
                file=path,
                hint="where the file comes from, save module.state_dict() instead of the module",
            ) from error
        raise FormatError(f"is no file of torch.save: {what}", file=path) from error
    except MemoryError as error:
        raise UnsafeFileError("asks for more memory than there is", rule="size", file=path) from error
    except Exception as error:
        # Damaged files make the loader raise nearly anything: RuntimeError, EOFError, KeyError, AttributeError.
        what = str(error).split("\n")[0][:300]
        raise FormatError(f"is no file of torch.save, or damaged: {type(error).__name__}: {what}", file=path) from error
    if left:
        what = f"goes on for {left:,} bytes behind the first object: several torch.save wrote into one file"
        raise FormatError(what, file=path, hint="save each into a file of its own")
    return found


def _loaded_stream(path: Path, size: int) -> tuple[Any, int]:
    """What a file of PyTorch before 1.6 holds, and how many bytes come behind it."""
    with path.open("rb") as file:
        try:
            found = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, EOFError, IndexError, struct.error, RuntimeError) as error:
            # A name that stops with the file is no name of code: there is nothing behind it.
            if file.tell() >= size or "unexpected EOF" in str(error):
                raise FormatError(f"is cut short: what torch.save wrote goes on after its {size:,} bytes") from error
            raise
        return found, size - file.tell()


def _reason(message: str) -> str:
    if named := re.search(r"GLOBAL ([\w.]+)", message):
        return named[1]
    lines = [line.strip() for line in message.splitlines() if "Unsupported" in line]
    return (lines or message.splitlines())[0][:300]


def _check_zip(path: Path, size: int) -> bool:
    """Whether it is a zip file; torch.save compresses nothing, so nothing in it is larger than the file."""
    with path.open("rb") as file:
        if not file.read(4).startswith(b"PK"):
            return False
    try:
        with zipfile.ZipFile(path) as opened:
            entries = opened.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OverflowError) as error:
        raise FormatError(f"is a damaged zip file: {error}", file=path) from error
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise FormatError("is a TorchScript program, which is code", file=path)
    if min((entry.header_offset for entry in entries), default=0):
        raise FormatError("holds several zip files one behind the other", file=path)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UnsafeFileError("is a compressed zip file, which torch.save never writes", rule="compression", file=path)
    if sum(entry.file_size for entry in entries) > size:
        raise UnsafeFileError("claims to hold more than its own size", rule="size", file=path)
    return True


def _inside(value: Any) -> Iterable[tuple[Any, Any]]:
    """What dicts and lists hold, with its keys or places."""
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, list | tuple) else ()


def _has_tensors(value: Any) -> bool:
    """Whether there are tensors in it, or in what it holds."""
    seen: set[int] = set()
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, torch.Tensor):
            return True
        if id(found) not in seen and len(seen) <= _MAX_ENTRIES:
            seen.add(id(found))
            pending += [each for _, each in _inside(found)]
    return False


def _arrays(
    state: Mapping[Any, Any], notes: list[Note], *, room: int
) -> tuple[dict[str, np.ndarray], list[tuple[str, str]]]:
    """The tensors of a state_dict as arrays; the same one where two are the same memory.

    Args:
        state: The dict, with dicts inside.
        notes: Takes what is left out.
        room: Bytes that copies may take.
    """
    found: dict[str, np.ndarray] = {}
    problems: list[tuple[str, str]] = []
    known: dict[Hashable, np.ndarray] = {}
    for name, value in _tensors(state, notes):
        if name in found:
            problems.append((name, "is the name of two tensors, once the keys of dicts are put together"))
        try:
            if (tensor := tensors.foreign(value)) is None:
                continue  # _tensors gives tensors only
            place = (name,) if tensor.memory is None else tensor.memory
            if place not in known and not tensor.is_plain:
                room -= value.numel() * value.element_size()
            if room < 0:
                # Strides of 0 make a large tensor of a few bytes.
                problems.append((name, f"a view of shape {tensor.shape} that is far larger than what is stored"))
                break
            if place not in known:
                known[place] = tensor.read()
            found[name] = known[place]
        except UnsupportedDataError as error:
            problems += [(name, what) for _, what in error.problems]
    return found, problems


def _tensors(state: Mapping[Any, Any], notes: list[Note]) -> Iterator[tuple[str, torch.Tensor]]:
    pending: list[tuple[str, Any, int]] = [(str(key), value, 1) for key, value in reversed([*_inside(state)])]
    for count in itertools.count():
        if not pending:
            return
        name, value, depth = pending.pop()
        if depth > _MAX_DEPTH or count > _MAX_ENTRIES:
            raise FormatError(f"holds dicts inside dicts without end, at {name[:80]!r}")
        if isinstance(value, torch.Tensor):
            yield name, value
        elif _has_tensors(value):
            pending += [(f"{name}.{key}", inside, depth + 1) for key, inside in reversed([*_inside(value)])]
        else:
            notes.append(Note(name, f"is left out: a {type(value).__name__}, no tensor"))
