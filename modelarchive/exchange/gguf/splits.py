"""The files that llama.cpp splits a model into: found by their names, and joined."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from modelarchive.errors import FormatError
from modelarchive.exchange.budget import grow
from modelarchive.exchange.bundle import Note, few
from modelarchive.exchange.gguf.files import Contents, Tensor, contents
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.shards import is_there
from modelarchive.store.strict import short

#: How llama.cpp calls the files of a model that is split, and what it says there of them.
_SPLIT: Final = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
_SPLIT_KEYS: Final = ("split.no", "split.count", "split.tensors.count")
_MOST_SPLITS: Final = 10_000


def whole(file: MappedFile) -> tuple[Contents, list[Note]]:
    """What a file holds, or all files that a model is split into, whichever of them was given.

    Returns:
        Metadata and tensors, and notes of what is not read.

    Raises:
        FormatError: One of them is damaged, missing, or another than it says.
    """
    found = contents(file)
    count, name = found.values.get("split.count", 1), _SPLIT.fullmatch(file.path.name)
    if type(count) is not int or count <= 1:
        what = "is one of several by its name, and does not say so: what the others hold is not read"
        return found, [Note("(file)", what)] if name is not None and int(name[3]) > 1 else []
    if name is None or int(name[3]) != count or count > _MOST_SPLITS:
        hint = "call the files as llama.cpp does, NAME-00001-of-00002.gguf and so on, and give one of them"
        raise FormatError(f"is one of {count:,} files of a model, and not called so", file=file.path, hint=hint)
    places = [file.path.with_name(f"{name[1]}-{at:05}-of-{count:05}.gguf") for at in range(1, count + 1)]
    if absent := [each.name for each in places if not is_there(each)]:
        hint = "the files of a model lie in one folder: download those that are missing"
        raise FormatError(f"the other files are not all there: {few(absent)}", file=file.path, hint=hint)
    return _joined(list(_parts(file, found, places)), places), []


def _parts(file: MappedFile, found: Contents, places: Sequence[Path]) -> Iterator[Contents]:
    for at, place in enumerate(places):
        part = found
        if place != file.path:
            other = MappedFile(place)
            grow(other.size)
            part = contents(other)
        if part.values.get("split.count") != len(places) or part.values.get("split.no") != at:
            raise FormatError(f"is not file {at + 1} of {len(places)} by what it says", file=place)
        yield part


def _joined(parts: Sequence[Contents], places: Sequence[Path]) -> Contents:
    """All tensors; the metadata are the first file's."""
    tensors: dict[str, Tensor] = {}
    for part, place in zip(parts, places, strict=True):
        if twice := [name for name in part.tensors if name in tensors]:
            raise FormatError(f"has tensors that another of the files has, too: {few(map(short, twice))}", file=place)
        tensors |= part.tensors
    said = parts[0].values.get("split.tensors.count", len(tensors))
    if said != len(tensors):
        raise FormatError(f"claims {short(said)} tensors in all files, they have {len(tensors):,}", file=places[0])
    values = {key: value for key, value in parts[0].values.items() if key not in _SPLIT_KEYS}
    types = {key: parts[0].types[key] for key in values}
    return Contents(values, types, tensors, sum(part.unused for part in parts))
