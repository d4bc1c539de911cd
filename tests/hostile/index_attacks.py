"""Forge an index: change what it says in one place, and seal it again so that only the rule can refuse it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelarchive.store.digest import digest

ZEROS = "0" * 64
#: Takes the safetensors header and the archive's own part of an index.
Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def parts_of(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The safetensors header and the archive's own part of an index."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header, json.loads(header["__metadata__"]["modelarchive"])


def forge(path: Path, change: Change) -> None:
    """Rewrite the index with `change(header, own)` applied, its digest right.

    The change sees the pairs of `members` as a dict, which is easier to change.
    """
    header, own = parts_of(path)
    if "members" in own:
        own["members"] = dict(own["members"])
    change(header, own)
    if isinstance(own.get("members"), dict):
        own["members"] = list(own["members"].items())
    own["index_digest"] = ZEROS
    header["__metadata__"] = {"format": "pt", "modelarchive": json.dumps(own, separators=(",", ":"))}
    write_text(path, json.dumps(header, separators=(",", ":")))


def write_text(path: Path, text: str) -> None:
    """Put any text where the index is, its digest right if it has a place for one."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    raw = text.encode("utf-8", "surrogatepass").ljust(length)
    assert len(raw) == length, "the forged index is longer than the user block"
    path.write_bytes(data[:8] + raw.replace(ZEROS.encode(), digest(raw).encode(), 1) + data[8 + length :])


def text_of(path: Path) -> str:
    """The index as text, with the place of its digest zeroed."""
    data = path.read_bytes()
    raw = data[8 : 8 + int.from_bytes(data[:8], "little")].decode().rstrip()
    return raw.replace(parts_of(path)[1]["index_digest"], ZEROS)


def entry(**values: Any) -> Change:
    return lambda header, own: header["a"].update(values)


def own(key: str, value: Any) -> Change:
    return lambda header, own: own.__setitem__(key, value)


def text(**values: Any) -> Change:
    return lambda header, own: own["texts"]["/arrays/s"].update(values)


def member(path: str, kind: Any) -> Change:
    return lambda header, own: own["members"].__setitem__(path, kind)


def swap(header: Any, own: Any) -> None:
    header["a"]["data_offsets"], header["b/0"]["data_offsets"] = (
        header["b/0"]["data_offsets"],
        header["a"]["data_offsets"],
    )


def gap(header: Any, own: Any) -> None:
    end = max(entry["data_offsets"][1] for entry in header.values() if "data_offsets" in entry)
    last = next(e for e in header.values() if e.get("data_offsets", [0, 0])[1] == end)
    last["shape"], last["data_offsets"] = [1], [end - 8, end]


def twice(header: Any, own: Any) -> None:
    own["members"] = [*own["members"].items(), ("a", "dict")]


#: Words of docs/format.md: the rule that is broken where no naive reader is harmed.
COVER = "the entries leave a gap, overlap, or do not end at `file_size` - U"
INTEGERS = "its `shape` holds a negative or something else than integers"
FIELDS = "Each value is an object of three fields"
CODE = "an entry's `dtype` is unknown"
VERSION = "`format_version` is no positive integer"
SIZE = "do not end at `file_size` - U"
DIGEST = "another digest is not 64 such digits"
DIGESTS = "`digests` is not 64 lowercase hexadecimal digits for each array"
DTYPES = 'array name -> `"complex64"` or `"complex128"`'
ALIAS = "an alias names no entry or is one"
TEXT = "its `dtype` is unknown; a literal or `text` has axes"
LEAF = "an `array` or `literal` without data"
MEMBER = "the value says what it is"
CONTAINER = "a member without container"
ROOT = "`members` has no root"
PAIRS = "list of pairs of strings"

#: Name -> what is changed, words of the error here, what it does to a naive reader or the rule that it breaks.
ATTACKS: dict[str, tuple[Change, str, str]] = {
    "beyond the file": (entry(data_offsets=[0, 1 << 40], shape=[1 << 38]), "claims bytes", "crash"),
    "before the file": (entry(data_offsets=[-128, 0]), "claims bytes", "lie"),
    "backwards": (entry(data_offsets=[128, 0]), "claims bytes", "lie"),
    "overlap with hdf5": (entry(data_offsets=[0, 128]), "overlaps or has a gap", "lie"),
    "swapped": (swap, "claims bytes", "leak"),
    "gap": (gap, "gap|covers", "lie"),
    "undeclared bytes": (lambda header, own: header.pop("__hdf5__.0"), "gap|begins at", COVER),
    "overflow": (entry(shape=[2**62, 2**62, 4]), "claims bytes", "crash"),
    "overflow of nothing": (entry(shape=[0, 2**62, 2**62], data_offsets=[0, 0]), "memory", "crash"),
    "length overflow": (entry(shape=[0, 2**70], data_offsets=[0, 0]), "shape of 'a' holds", "crash"),
    "negative length": (entry(shape=[-4, -8]), "holds -4", "lie"),
    "boolean length": (entry(shape=[True, 32]), "holds True", "lie"),
    "float length": (entry(shape=[32.0]), "32.0 is no integer", INTEGERS),
    "rank": (entry(shape=[1] * 40 + [32]), "wrong type|axes", "lie"),
    "shape is text": (entry(shape="32"), "wrong type", INTEGERS),
    "one offset": (entry(data_offsets=[0]), "cannot be read|can be read", FIELDS),
    "offsets are a dict": (entry(data_offsets={"0": 1, "1": 2}), "wrong type|can be read", FIELDS),
    "unknown dtype": (entry(dtype="F128"), "can be read", CODE),
    "dtype is a list": (entry(dtype=["F32"]), "can be read", CODE),
    "entry is a number": (lambda header, own: header.__setitem__("a", 3), "can be read", FIELDS),
    "version 0": (own("format_version", 0), "format_version", VERSION),
    "version is text": (own("format_version", "1"), "format_version", VERSION),
    "version is a boolean": (own("format_version", True), "format_version", VERSION),
    "negative size": (own("file_size", -1), "file_size", SIZE),
    "size beyond everything": (own("file_size", 10**30), "covers", SIZE),
    "section": (own("section", "weights"), "section", "lie"),
    "digest is a number": (own("metadata_digest", 5), "metadata_digest", DIGEST),
    "digests missing": (own("digests", "0" * 64), "digests of", DIGESTS),
    "digests no hex": (own("digests", "Z" * 64), "hexadecimal", DIGESTS),
    "complex of no pairs": (own("dtypes", {"a": "complex64"}), "is declared", "lie"),
    "dtype of nothing": (own("dtypes", {"nothing": "complex64"}), "not there", DTYPES),
    "dtypes is a list": (own("dtypes", [1]), "expected an object", DTYPES),
    "alias to nothing": (own("aliases", {"x": "nothing"}), "alias", ALIAS),
    "alias of an array": (own("aliases", {"a": "b/0"}), "alias", "lie"),
    "alias to a list": (own("aliases", {"x": ["a"]}), "alias", ALIAS),
    "text beyond the file": (text(offset=1 << 60), "offset is", "crash"),
    "text before the file": (text(offset=-8), "offset is", "lie"),
    "text longer than the file": (text(shape=[1 << 40]), "overlap|outside", "crash"),
    "text overflow": (text(shape=[2**62, 2**62]), "overlap|outside", "crash"),
    "text of no size": (text(itemsize=0), "itemsize", "lie"),
    "text dtype": (text(dtype="pickle"), "dtype 'pickle'", TEXT),
    "text wider than its bytes": (text(dtype="U999999999"), "not that long", "memory"),
    "text cut off": (text(dtype="S1"), "longer than its dtype", "lie"),
    "literal with a shape": (text(dtype="int"), "has a shape", TEXT),
    "text digest": (text(digest="0"), "digest", DIGEST),
    "member of nothing": (member("x", "array"), "no data", LEAF),
    "literal of nothing": (member("x", "literal"), "no value", LEAF),
    "member kind": (member("x", "pickle"), "kind 'pickle'", MEMBER),
    "member kind is a list": (member("x", ["dict"]), "kind", MEMBER),
    "orphan": (member("x/y/z", "dict"), "no container", CONTAINER),
    "name is no utf 8": (member("%66%66%FF", "dict"), "percent", "lie"),
    "no root": (member("", "array"), "no root", ROOT),
    "array of no member": (lambda header, own: own["members"].pop("a"), "no member", "lie"),
    "no members": (own("members", []), "no root", ROOT),
    "members is a number": (own("members", 3), "no list of pairs", PAIRS),
    "half a pair": (own("members", [["", "dict"], ["a"]]), "no list of pairs", PAIRS),
    "path is a list": (own("members", [["", "dict"], [["a"], "array"]]), "no list of pairs", PAIRS),
    "twice": (twice, "each path once", "lie"),
}


def signed(raw: bytes) -> bytes:
    """The index of a folder of shards with its digest again, where it has a place for one."""
    try:
        document = json.loads(raw)
        own = document["metadata"]["modelarchive"]
        if len(own["digest"]) != len(ZEROS):
            return raw
        own["digest"] = ZEROS
        raw = json.dumps(document).encode("utf-8", "surrogatepass")
    except (ValueError, KeyError, TypeError, RecursionError):
        return raw
    return raw.replace(ZEROS.encode(), digest(raw).encode(), 1)
