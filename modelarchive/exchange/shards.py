"""Parameters in several files: the index that names the file of each, as Hugging Face writes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from modelarchive.errors import FormatError, UnsafeFileError, counted
from modelarchive.exchange.budget import reading
from modelarchive.exchange.bundle import Bundle, Note, Parameters, deferred, few
from modelarchive.exchange.mapped import MappedFile
from modelarchive.formats import explain
from modelarchive.remote import RemoteFile
from modelarchive.remote.ranges import run
from modelarchive.store.shards import is_own
from modelarchive.store.strict import document_object, short

#: How Hugging Face numbers the files of a set; their index has the name without the numbers.
_NUMBERED: Final = re.compile(r"(.*)-\d{5}-of-(\d{5})(\.[a-z]+)")
#: Longest index file.
MAX_INDEX_BYTES: Final = 100_000_000
#: What it says of all arrays together.
_ABOUT: Final = frozenset(("total_size", "total_parameters"))


def read_one_or_all(place: Path, read: Callable[[Path], Bundle], *, reason: str) -> Bundle:
    """What a file holds, with a note if its name says that it is one of several; or all that an index names.

    Args:
        place: The file, or the index, which is JSON.
        read: Reads one file.
        reason: Why there is no architecture.

    Raises:
        OSError: A file cannot be read.
        FormatError: As :func:`_read_shards`, and as `read`.
        UnsafeFileError: As :func:`_read_shards`.
    """
    if place.name.endswith(".json"):
        return _read_shards(place, read, reason=reason)
    bundle = read(place)
    found = _NUMBERED.fullmatch(place.name)
    if found is not None and int(found[2]) > 1:
        what = f"is one of {int(found[2]):,} by its name: the rest is elsewhere; {found[1]}{found[3]}.index.json has"
        bundle.notes.append(Note("(shards)", f"{what} all of them read"))
    return bundle


def _read_shards(index: Path, read: Callable[[Path], Bundle], *, reason: str) -> Bundle:
    """The parameters of all files that an index names.

    Args:
        index: The index; the shards lie in its folder.
        read: Reads one of them.
        reason: Why there is no architecture.

    Raises:
        OSError: A file cannot be read.
        FormatError: It is no such index, a shard is not there, or does not hold what the index says.
        UnsafeFileError: It names a file outside its folder.
    """
    weight_map, notes = _weight_map(index)
    shards = list(dict.fromkeys(weight_map.values()))
    for shard in shards:
        if not is_own(shard):
            raise UnsafeFileError(
                f"names the file {short(shard)}, which is not in its own folder", rule="own folder only", file=index
            )
    if absent := [shard for shard in shards if not is_there(index.parent / shard)]:
        hint = "the shards lie in the folder of their index: download those that are missing"
        what = f"{counted(len(absent), 'file')} not there that it names: {few(map(short, absent))}"
        raise FormatError(what, file=index, hint=hint)
    if isinstance(index, RemoteFile):
        folder = index.parent
        run(lambda shard: (folder / shard).head(1), shards)
    found = {shard: read(index.parent / shard) for shard in shards}
    entries = {shard: deferred(bundle.parameters) for shard, bundle in found.items()}
    if missing := [name for name, shard in weight_map.items() if name not in entries[shard]]:
        hint = "index and shards are not of one model, or two shards have changed places: take all of them again"
        what = f"{counted(len(missing), 'array')} not in the shard that it names: {few(map(short, missing))}"
        raise FormatError(what, file=index, hint=hint)
    notes += [note for bundle in found.values() for note in bundle.notes]
    notes += [
        Note(name, f"left out: {shard} has it, the index does not name it there")
        for shard in shards
        for name in entries[shard]
        if weight_map.get(name) != shard
    ]
    metadata: dict[str, Any] = {}
    for shard in shards:
        for key, value in found[shard].metadata.items():
            if metadata.setdefault(key, value) != value:
                notes.append(Note(f"metadata[{short(key)}]", f"left out of {shard}: another shard says otherwise"))
    parameters = Parameters({name: entries[shard][name] for name, shard in weight_map.items()})
    return Bundle(parameters, reason=reason, metadata=metadata, notes=notes)


def is_there(path: Path) -> bool:
    """Whether there is such a file; none is where the system has no such names."""
    if isinstance(path, RemoteFile):
        return True  # and who reads it says that it is not
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _weight_map(index: Path) -> tuple[Mapping[str, str], list[Note]]:
    """Name of an array -> the file that has it; and what else the index says."""
    file: Any = index if isinstance(index, RemoteFile) else MappedFile(index)
    if file.size > MAX_INDEX_BYTES:
        raise FormatError(f"has {file.size:,} bytes: it is no index of shards", file=index)
    with reading(str(index), file.size):
        try:
            whole = document_object(file.read(0, file.size), what="the index of shards", strict=True)
            found = whole.get("weight_map")
            files = found.values() if isinstance(found, dict) else ()
            if any(isinstance(each, list) or (isinstance(each, str) and each.endswith(".h5")) for each in files):
                hint = "modelarchive.exchange.keras.read reads it, and load() and convert() do"
                raise FormatError("is Keras' index of sharded weights", file=index, hint=hint)
            if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
                raise FormatError("has no weight_map from names to file names")
        except FormatError as error:
            raise error if error.hint else explain(error, index) from error
    return found, unknown_keys(whole)


def unknown_keys(index: Mapping[str, Any]) -> list[Note]:
    """A note of what an index says beside where the arrays are, and how many bytes they have."""
    about = index.get("metadata", {})
    unknown = [key for key in index if key not in ("weight_map", "metadata")]
    unknown += [f"metadata.{key}" for key in about if key not in _ABOUT] if isinstance(about, dict) else ["metadata"]
    listed = few(map(short, unknown))
    return [Note("(index)", f"left out, as nothing is known of them: {listed}")] if unknown else []
