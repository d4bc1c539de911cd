"""Keras' weights in several files: the index ``x.weights.json``, and shards ``x_00000.weights.h5`` beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.bundle import Note, few
from modelarchive.exchange.keras import files
from modelarchive.exchange.keras.lifting import LAYERS
from modelarchive.exchange.keras.parameters import BY_STEM
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.shards import is_there, unknown_keys
from modelarchive.store.deferred import Deferred
from modelarchive.store.shards import is_own
from modelarchive.store.strict import document_object, short

MAX_BYTES: Final = 64 << 20
#: How Keras names shards, behind the name of their index: by numbers of so many digits.
_DIGITS: Final = 5
_NAME: Final = re.compile(r"(.*)_(\d+)\.weights\.h5")
_HINT: Final = "the index and its shards belong together: take all of them from where they came from again"


def is_index(head: bytes) -> bool:
    """Whether a file that begins so may be an index."""
    return head.lstrip()[:1] == b"{"


def read_index(file: MappedFile) -> tuple[files.Variables, list[Note]]:
    """All arrays that an index names, by the paths that they would have in one file; and what else it says.

    Args:
        file: The index; its shards lie in its folder.

    Raises:
        FormatError: It is no such index; a shard is missing, damaged, or holds what another one should.
        UnsafeFileError: It names a file outside its folder.
    """
    named, total, notes = _weight_map(file)
    shards = {
        shard: _shard(file.path, shard) for shard in dict.fromkeys(each for row in named.values() for each in row)
    }
    arrays: dict[str, Deferred] = {}
    groups: dict[str, dict[str, list[str]]] = {}
    unknown: list[str] = []
    behind = 0
    for shard, stored in shards.items():
        place = str(Path(file.path).with_name(shard))
        for path, array in stored.arrays.items():
            group = path.rpartition("/")[0]
            if shard not in named.get(group, ()):
                other = few(named.get(group, ())) or "no shard"
                raise FormatError(f"holds {short(path)}, which is in {other} by the index", file=place, hint=_HINT)
            if path in arrays:
                raise FormatError(f"holds {path!r}, which another shard has too", file=place, hint=_HINT)
            arrays[path] = array
        for group, attributes in stored.groups.items():
            groups.setdefault(group, {}).update({name: list(texts) for name, texts in attributes.items()})
        unknown += stored.unknown
        behind += stored.behind
    _compare(file.path, named, shards, arrays)
    bits = sum(array.nbytes * 8 // (8 if array.dtype.kind == "b" else 1) for array in arrays.values())
    if total is not None and not unknown and not total - 1 < bits / 8 < total + 1:
        what = f"its shards hold {bits // 8:,} bytes of arrays, expected {total:,}: one of them is of another model"
        raise FormatError(what, hint=_HINT)
    return files.Variables(arrays, {}, groups, unknown, behind), notes


def _weight_map(file: MappedFile) -> tuple[dict[str, list[str]], int | float | None, list[Note]]:
    """Path of a group -> the shards that hold its arrays; how many bytes all arrays have; what else is there."""
    if file.size > MAX_BYTES:
        raise FormatError(f"has {file.size:,} bytes: it is no index of shards")
    spend("the index of shards", nbytes=file.size)
    document = document_object(file.read(0, file.size), what="the index of shards", strict=True)
    if "class_name" in document and "config" in document:
        raise FormatError("is the JSON of a model, without weights", hint="pass it as config= beside its weights")
    found = document.get("weight_map")
    if not isinstance(found, dict) or not found:
        raise FormatError("has no weight_map from groups to shards: it is no .weights.json of Keras")
    named: dict[str, list[str]] = {}
    for group, value in found.items():
        several = value if isinstance(value, list) else [value]
        if not several or not all(isinstance(each, str) for each in several):
            raise FormatError(f"the weight_map has no file names for {short(group)}")
        for shard in several:
            if not is_own(shard):
                raise UnsafeFileError(
                    f"names the file {short(shard)}, which is not in its own folder", rule="own folder only"
                )
        named[str(group).strip("/")] = several
    metadata = document.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return named, total if type(total) in (int, float) else None, unknown_keys(document)


def _shard(index: Any, name: str) -> files.Variables:
    place = Path(index).with_name(name)
    if not is_there(place):
        raise FormatError(f"names the shard {short(name)}, which is not beside it", hint=_HINT)
    try:
        return files.variables(MappedFile(place))
    except (FormatError, UnsafeFileError) as error:
        error.file = str(place)
        error.hint = error.hint or f"{Path(index).name} names it as one of its shards; take it again"
        raise


def _compare(
    index: Any,
    named: Mapping[str, list[str]],
    shards: Mapping[str, files.Variables],
    arrays: Mapping[str, Deferred],
) -> None:
    """Whether every shard has what the index says."""
    numbers: dict[str, set[str]] = {}
    for path in arrays:
        group, _, number = path.rpartition("/")
        numbers.setdefault(group, set()).add(number)
    inside = {
        shard: {path.rpartition("/")[0] for path in (*stored.arrays, *stored.unknown)}
        for shard, stored in shards.items()
    }
    for group, several in named.items():
        for shard in several:
            if group not in inside[shard]:
                place = str(Path(index).with_name(shard))
                raise FormatError(f"holds no array of {group!r}, which the index says", file=place, hint=_HINT)
        # Of so many variables the names are the numbers below that.
        found = numbers.get(group, set())
        lost = next((at for at in range(len(found)) if str(at) not in found), None)
        if lost is not None:
            raise FormatError(f"{group[:200]}/{lost} is in none of {few(several)}", hint=_HINT)


def told_apart(file: MappedFile, stored: files.Variables) -> list[Note]:
    """Notes for a file of weights that is one shard of several, or seems to be."""
    name = Path(file.path).name
    found = _NAME.fullmatch(name)
    if found is not None:
        index = Path(file.path).with_name(f"{found[1]}.weights.json")
        others = _others(index)
        if name in others and len(others) == 1:
            return []
        if others:
            what = f"it is one of {len(others)} shards: the rest is elsewhere, and {index.name} has all of them read"
            return [Note("(shards)", what)]
    lacking = _lacking(stored)
    # Numbers of another length are those of epochs as well.
    if found is not None and len(found[2]) == _DIGITS:
        what = (
            "it is named like one shard of several, and no index is beside it: the rest of the model may be elsewhere"
        )
        return [Note("(shards)", what + (f"; {lacking}" if lacking else ""))]
    return [Note("(shards)", f"{lacking}: it may be one shard of several, the rest elsewhere")] if lacking else []


def _others(index: Path) -> list[str]:
    """The shards that an index names; none if it cannot be read."""
    try:
        weight_map = document_object(MappedFile(index).read(0, MAX_BYTES), what=index.name, strict=False)["weight_map"]
        several = [each if isinstance(each, list) else [each] for each in weight_map.values()]
        return list(dict.fromkeys(each for row in several for each in row if isinstance(each, str)))
    except (OSError, ValueError, KeyError, AttributeError):
        return []


def _lacking(stored: files.Variables) -> str:
    """The first group that has not all of its variables, in words."""
    numbers: dict[str, set[str]] = {}
    for path in (*stored.arrays, *stored.unknown):
        group, _, number = path.rpartition("/")
        if group.rpartition("/")[2] == "vars" and number.isdecimal():
            numbers.setdefault(group, set()).add(number)
    for group in stored.groups:
        if group.rpartition("/")[2] != "vars":
            continue
        stem = re.sub(r"_\d+$", "", group.split("/")[-2]) if "/" in group else ""
        row = LAYERS.get(BY_STEM.get(stem, ""))
        needs = row is not None and any(each.theirs in ("kernel", "embeddings") for each in row.weights)
        found = numbers.get(group, set())
        if (needs and not found) or found != set(map(str, range(len(found)))):
            return f"{group} has not all of its variables"
    return ""
