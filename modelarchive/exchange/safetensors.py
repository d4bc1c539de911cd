"""safetensors files: one, or several with the index.json that Hugging Face writes beside them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from modelarchive import dtypes, names
from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.budget import reading
from modelarchive.exchange.bundle import Bundle, Note, Parameters, Source, bundle_of, deferred, few, shared_names
from modelarchive.exchange.mapped import MappedFile, little_endian
from modelarchive.exchange.metadata import escaped
from modelarchive.exchange.remote import RemoteArrays
from modelarchive.exchange.shards import read_one_or_all
from modelarchive.formats import explain
from modelarchive.formats.mistakes import SHARDING, pieces
from modelarchive.remote import RemoteFile
from modelarchive.store.deferred import Deferred
from modelarchive.store.fill import Fill, fill
from modelarchive.store.replace import replacing
from modelarchive.store.strict import loads, short

#: safetensors refuses longer headers; so do we, and longer index files too.
MAX_HEADER_BYTES: Final = 100_000_000
#: Names of what PEFT adds to a model.
_ADAPTER: Final = re.compile(r"\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)\b|\.(ia3_l|hada_w\d_[ab])\b")
_REASON: Final = "safetensors holds parameters only"
#: What the header says of an array.
_KEYS: Final = frozenset(("dtype", "shape", "data_offsets"))
#: NumPy's limit on axes.
MAX_RANK: Final = 64
#: Bytes of a shard unless another number is given, as Hugging Face has it.
_SHARD_BYTES: Final = 5_000_000_000
INDEX_SUFFIX: Final = ".index.json"

#: Code -> dtype.
_DTYPES: Final = {code: dtypes.DENSE[name] for code, name in dtypes.FROM_SAFETENSORS.items()} | {
    "C64": np.dtype(np.complex64),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
}
_CODES: Final = {dtype: code for code, dtype in _DTYPES.items()}


def read(path: str | os.PathLike[str]) -> Bundle:
    """Read a safetensors file, or all files that an ``*.index.json`` names.

    Args:
        path: The file, or the index file; the shards lie in its folder.

    Returns:
        Parameters as views of the mapped files, metadata, no architecture.

    Raises:
        OSError: A file cannot be read.
        FormatError: It is no safetensors file, or damaged.
        UnsafeFileError: The index names a file outside its folder.
        ConversionError: Arrays are of dtypes that NumPy has no word for; lists all of them.
    """
    place: Any = path if isinstance(path, RemoteFile) else Path(os.fsdecode(path))
    if isinstance(place, RemoteFile) and place.is_dir():
        place /= f"model.safetensors{INDEX_SUFFIX}"
    return read_one_or_all(place, _read_file, reason=_REASON)


def write(
    source: Source,
    path: str | os.PathLike[str],
    *,
    max_shard_bytes: int | None = None,
    durable: bool = True,
) -> list[Note]:
    """Write parameters and metadata as safetensors.

    Args:
        source: A bundle, archive, network or mapping of arrays.
        path: ``model.safetensors``, or ``model.safetensors.index.json`` for several files. All of them are complete
            before the first takes the place of an old one, the index last; shards that an old index names beside
            those are removed.
        max_shard_bytes: Begin a new file when one has so many bytes of arrays; None: one file, or 5 GB each
            under an index.
        durable: As in :func:`modelarchive.save`.

    Returns:
        What safetensors cannot say: the architecture, words of rows, that arrays are shared.

    Raises:
        ConversionError: Arrays are of dtypes that safetensors has no code for; lists all of them.
        OSError: A file cannot be written.
    """
    bundle = bundle_of(source).state()
    entries = deferred(bundle.parameters)
    problems = [
        (name, f"safetensors has no code for {entry.dtype}")
        for name, entry in entries.items()
        if _native(entry.dtype) not in _CODES
    ]
    problems += names.problems_with_texts(entries)
    problems += [(name, "is the name of safetensors' own entry") for name in entries if name == "__metadata__"]
    if problems:
        raise ConversionError(problems, hint="nothing was written")
    metadata, notes = _strings(bundle.metadata)
    metadata.setdefault("format", "pt")
    notes += _losses(bundle)
    target = Path(os.fsdecode(path))
    if not target.name.endswith(INDEX_SUFFIX) and max_shard_bytes is None:
        _write_file(target, entries, metadata, durable=durable)
        return notes
    target = target if target.name.endswith(INDEX_SUFFIX) else target.with_name(target.name + INDEX_SUFFIX)
    _write_sharded(target, entries, metadata, max_shard_bytes or _SHARD_BYTES, durable=durable)
    return notes


def _read_file(path: Path) -> Bundle:
    file: Any = RemoteArrays(path) if isinstance(path, RemoteFile) else MappedFile(path)
    with reading(str(file.path), file.size):
        try:
            header, metadata, entries = _read_header(file)
        except FormatError as error:
            raise explain(error, file.path) from error
    notes = _unknown(header)
    if "modelarchive" in metadata:
        # An archive is a safetensors file too; HDF5's own bytes are declared in it as arrays.
        metadata = {key: value for key, value in metadata.items() if key not in ("modelarchive", "total_parameters")}
        entries = {name: entry for name, entry in entries.items() if not name.startswith("__hdf5__.")}
        what = "is a model archive, of which the arrays alone are read: modelarchive.open() gives all of it"
        notes.append(Note("(archive)", what))
    if SHARDING in metadata:
        metadata = {key: value for key, value in metadata.items() if not key.startswith("DCP_")}
        if not _is_named(path):
            what = "torch.distributed.checkpoint wrote this: if it was one of several processes, parts are elsewhere"
            notes.append(Note("(shards)", what))
    if any(_ADAPTER.search(name) for name in entries):
        what = "these are a PEFT adapter's: what is added to a model's parameters, and not the model"
        notes.append(Note("(adapter)", f"{what}; merge_and_unload() of peft makes the whole"))
    return Bundle(Parameters(entries), reason=_REASON, metadata=metadata, notes=notes)


def _read_header(file: MappedFile) -> tuple[dict[str, Any], dict[str, str], dict[str, Deferred]]:
    """What the header says of each array, what it says beside that, and the arrays."""
    length = int.from_bytes(file.read(0, 8), "little")
    if file.size < 10 or length > MAX_HEADER_BYTES or length + 8 > file.size:
        raise FormatError(f"is no safetensors file: its {file.size:,} bytes hold no header of {length:,}")
    header = loads(file.read(8, length), what="the safetensors header", strict=True)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("__metadata__ is no object of strings")
    if SHARDING in metadata and pieces(file) is not None:
        # What is missing cannot be seen in the pieces that are there: they are never put together here.
        raise FormatError("is a shard of torch.distributed.checkpoint, whose tensors are pieces")
    return header, metadata, _checked(header, file, start=length + 8)


def _unknown(header: Mapping[str, Any]) -> list[Note]:
    """What the header says of arrays that the format has no word for."""
    found = dict.fromkeys(key for entry in header.values() for key in entry if key not in _KEYS)
    listed = few(map(short, found))
    return [Note("(header)", f"left out, as nothing is known of them: {listed}")] if found else []


def _is_named(path: Path) -> bool:
    """Whether an index beside a file names it: no index is written of the files of several processes."""
    if isinstance(path, RemoteFile):
        return False
    name = json.dumps(path.name).encode()
    return any(
        index.is_file() and index.stat().st_size <= MAX_HEADER_BYTES and name in index.read_bytes()
        for index in path.parent.glob(f"*.safetensors{INDEX_SUFFIX}")
    )


def _checked(header: Mapping[str, Any], file: MappedFile, *, start: int) -> dict[str, Deferred]:
    """Every array, after every number was checked against the others and the file's size."""
    room = file.size - start
    entries: dict[str, Deferred] = {}
    extents = []
    unknown: list[tuple[str, str]] = []
    for name, value in header.items():
        try:
            code, shape = value["dtype"], value["shape"]
            begin, end = value["data_offsets"]
        except (TypeError, KeyError, ValueError):
            raise FormatError(f"the entry of {short(name)} has no dtype, shape and data_offsets") from None
        numbers = [begin, end, *shape] if isinstance(shape, list) else [None]
        if not isinstance(code, str) or any(type(number) is not int or not 0 <= number < 2**63 for number in numbers):
            raise FormatError(f"the entry of {short(name)} has a dtype, shape or data_offsets of the wrong type")
        if not begin <= end <= room:
            raise FormatError(f"{short(name)} claims bytes {begin} to {end}, the file has {room} for arrays")
        extents.append((begin, end, name))
        if len(shape) > MAX_RANK:
            raise FormatError(f"{short(name)} has {len(shape):,} axes, expected at most {MAX_RANK}")
        dtype = _DTYPES.get(code)
        if dtype is None:
            unknown.append((name, f"is of the dtype {short(code)}"))
            continue
        needed = dtype.itemsize * math.prod(shape)
        if needed != end - begin or math.prod(filter(None, shape)) * dtype.itemsize >= 2**63:
            raise FormatError(f"{short(name)} has {end - begin:,} bytes, its shape {short(shape)} needs {needed:,}")
        entries[name] = file.array(start + begin, little_endian(dtype), tuple(shape))
    position = 0
    for begin, end, name in sorted(extents):
        if begin != position:
            raise FormatError(f"{short(name)} begins at {begin}, expected {position}: arrays overlap or leave a gap")
        position = end
    if position != room:
        raise FormatError(f"the arrays end at {position}, the file has {room} bytes for them")
    if unknown:
        raise ConversionError(unknown)
    return entries


def _write_file(path: Path, entries: Mapping[str, Deferred], metadata: Mapping[str, str], *, durable: bool) -> None:
    content = _content(entries, metadata)
    size = sum(entry.nbytes for entry in entries.values())
    with replacing(path, durable=durable, size=size) as temporary:
        _fill(temporary, *content)


def _content(entries: Mapping[str, Deferred], metadata: Mapping[str, str]) -> tuple[bytes, list[Fill]]:
    """The header of a file, and what stands behind it."""
    # The header in the model's order, the data by falling item size: so every array is aligned.
    begins = {}
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: -item[1].itemsize):
        begins[name] = position
        position += entry.nbytes
    described = {
        name: {
            "dtype": _CODES[_native(entry.dtype)],
            "shape": list(entry.shape),
            "data_offsets": [begins[name], begins[name] + entry.nbytes],
        }
        for name, entry in entries.items()
    }
    header = json.dumps({"__metadata__": metadata, **described}, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER_BYTES:
        raise ConversionError([("(header)", f"takes {len(header):,} bytes, safetensors reads {MAX_HEADER_BYTES:,}")])
    start = 8 + len(header)
    fills = [Fill(start + begin, entries[name]) for name, begin in begins.items() if entries[name].nbytes]
    return len(header).to_bytes(8, "little") + header, fills


def _fill(path: Path, head: bytes, fills: list[Fill]) -> None:
    path.write_bytes(head)
    fill(path, fills)


def _write_sharded(
    index: Path, entries: Mapping[str, Deferred], metadata: Mapping[str, str], limit: int, *, durable: bool
) -> None:
    shards: list[dict[str, Deferred]] = [{}]
    room = limit
    for name, entry in entries.items():
        if shards[-1] and entry.nbytes > room:
            shards.append({})
            room = limit
        shards[-1][name] = entry
        room -= entry.nbytes
    stem = index.name.removesuffix(INDEX_SUFFIX).removesuffix(".safetensors")
    files = [f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    weight_map = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
    document = {"metadata": {"total_size": sum(entry.nbytes for entry in entries.values())}, "weight_map": weight_map}
    contents = [_content(shard, metadata) for shard in shards]
    old = _shards_of(index, stem)
    # Every file is complete before the first takes its place; the index, which is the first here, is the last then.
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(replacing(index, durable=durable))
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
        for file, content in zip(files, contents, strict=True):
            path = stack.enter_context(replacing(index.with_name(file), durable=durable))
            _fill(path, *content)
            if durable:
                with path.open("rb+") as written:
                    os.fsync(written.fileno())
    for file in old.difference(files):
        index.with_name(file).unlink(missing_ok=True)


def _shards_of(index: Path, stem: str) -> set[str]:
    """The shards that an index which is there names, of those that are called after it."""
    try:
        named = json.loads(index.read_bytes())["weight_map"].values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()
    return {each for each in named if re.fullmatch(rf"{re.escape(stem)}-\d{{5}}-of-\d{{5}}\.safetensors", str(each))}


def _native(dtype: np.dtype) -> np.dtype:
    """The dtype in this machine's byte order."""
    return dtype.newbyteorder("=") if dtype.kind in "iufc" else dtype


def _strings(metadata: Mapping[str, Any]) -> tuple[dict[str, str], list[Note]]:
    """Metadata as safetensors holds it, strings only."""
    notes = [
        Note(f"metadata[{key!r}]", "written as JSON text") for key, value in metadata.items() if type(value) is not str
    ]
    as_text = names.as_text
    strings = {as_text(key): as_text(each) if type(each) is str else json.dumps(each) for key, each in metadata.items()}
    return strings, notes + escaped(metadata)


def _losses(bundle: Bundle) -> list[Note]:
    notes = []
    if bundle.architecture is not None:
        notes.append(Note("(architecture)", "left out: safetensors holds parameters only"))
    notes += [Note(name, "the words of its rows are left out") for name in bundle.tokens]
    notes += [Note(name, f"written again: {other} is the same array, and a safetensors file shares none")
              for name, other in shared_names(bundle.parameters).items()]  # fmt: skip
    return notes
