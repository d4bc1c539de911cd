"""The index: what the first bytes of an archive say about the rest, parsed with every number checked.

The index is at the same time the header of a safetensors file; docs/format.md is the normative text.
"""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any, Final

from modelarchive import names
from modelarchive.errors import FormatError, UnsupportedVersionError
from modelarchive.formats import content
from modelarchive.store import chunks, header, pieces
from modelarchive.store.contents import CONTAINERS, LITERALS, TRAINING, Contents, Text, is_position
from modelarchive.store.digest import HEX_LENGTH, NO_DIGEST, digest_pieces
from modelarchive.store.header import MAX_RANK
from modelarchive.store.strict import fail, integer, loads, mapping, short, string

#: The format that this package writes, and the newest that it reads. When it changes: add archives of the
#: old version to tests/data, keep the old reader, describe the change in docs/format.md.
FORMAT_VERSION: Final = 1
#: safetensors refuses headers above this size.
MAX_INDEX_BYTES: Final = content.MAX_HEADER_BYTES
#: The smallest HDF5 user block; larger ones are this times a power of two.
MIN_USER_BLOCK: Final = content.MIN_USER_BLOCK

_PARAMETER_NAMES: Final = re.compile(rf"(?:{names.NAME.pattern}\n)*")
#: Codes of texts.
TEXT_DTYPE: Final = re.compile(r"text|string|U\d{1,9}|S\d{1,9}|" + "|".join(LITERALS))
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
#: How the members of a dict of arrays are written, none deeper; what stands between two; how they end.
_FLAT_DICT: Final = ',"members":[["","dict"],["'
_NEXT_ARRAY: Final = '","array"],["'
_FLAT_DICT_END: Final = '","array"]]}'
#: What a name may not hold, to be spelt in JSON as it is, and to be no path.
_SPECIAL: Final = re.compile(r'["\\/\x00-\x1f]')


def is_user_block_size(size: int) -> bool:
    """Whether an HDF5 superblock may stand at this offset."""
    return size >= MIN_USER_BLOCK and size % MIN_USER_BLOCK == 0 and (size & (size - 1)) == 0


def is_intact(raw: bytes, contents: Contents) -> bool:
    """Whether an index is as it was written: it carries the digest of itself with sixty-four zeros there."""
    at = raw.find(contents.index_digest.encode())
    parts = memoryview(raw)
    return digest_pieces((parts[:at], NO_DIGEST.encode(), parts[at + HEX_LENGTH :])) == contents.index_digest


class NotAnArchive(Exception):  # noqa: N818 - a signal between reader and index, never seen by users
    """The bytes are well formed, and no archive: a plain safetensors file, say."""


def parse(raw: bytes, *, file_size: int) -> Contents:
    """Parse an index and check every number in it against the file's size.

    Args:
        raw: The JSON bytes, padding included.
        file_size: Size of the file on disk, bytes.

    Returns:
        The contents. Whether they still hold is for the reader to check (size and metadata digest), and with
        that whether texts overlap (:meth:`Contents.metadata_ranges`).

    Raises:
        FormatError: The index is damaged, or says something impossible.
        UnsupportedVersionError: It was written by a newer format.
        NotAnArchive: It is a safetensors header without an archive's part.
    """
    entries, metadata = header.split(raw)
    own_text = metadata.get("modelarchive") if isinstance(metadata, dict) else None
    if not isinstance(own_text, str):
        entries = entries if isinstance(entries, dict) else {}
        if all(isinstance(entry, dict) and "data_offsets" in entry for entry in entries.values()):
            raise NotAnArchive
        fail("the index is neither an archive's nor a safetensors header")
    own, flat = _record(own_text)
    version = own.get("format_version")
    if type(version) is not int or version < 1:
        fail(f"format_version is {version!r}, expected a positive integer")
    if version > FORMAT_VERSION:
        raise UnsupportedVersionError(
            f"written in format {version}, this package reads up to {FORMAT_VERSION}",
            hint="pip install --upgrade modelarchive",
        )
    start = len(raw) + 8
    size = integer(own, "file_size", low=start)
    section = own.get("section")
    if section not in ("parameters", "arrays"):
        fail(f"section is {section!r}, expected 'parameters' or 'arrays'")
    contents = Contents(
        section=section,
        generator=string(own, "generator"),
        user_block=start,
        arrays={},
        metadata_digest=string(own, "metadata_digest"),
        index_digest=string(own, "index_digest"),
        size=size,
    )
    contents.arrays, contents.declared = header.listed(entries, own, start=start, size=size)
    compressed, contents.chunks = chunks.parse(own, contents)
    contents.arrays |= compressed
    contents.texts = _texts(own, contents)
    contents.aliases = _aliases(own, contents)
    contents.pieces = pieces.parse(own, contents)
    contents.kinds = mapping(own, "kinds")
    if not all(type(kind) is str for kind in contents.kinds.values()):
        fail("a kind is no string")
    if section == "parameters":
        contents.order = _order(own, contents)
        contents.training = _training(own, contents)
    elif flat and flat.keys() == {"", *contents.arrays} and "" not in contents.arrays:
        contents.members, contents.order = flat, [*flat][1:]
    else:
        contents.members = flat or _listed(own, "members")
        _check_members(contents.members, contents, "")
        contents.order = [path for path, kind in contents.members.items() if kind == "array"]
    return contents


def _record(text: str) -> tuple[dict[str, Any], dict[str, str] | None]:
    """The archive's part of the index; and its members, if they stand last and are a dict of arrays, none deeper.

    Most archives hold such a dict, and names without escapes are found apart in a fraction of JSON's time.
    """
    what = "the archive's part of the index"
    head, _, tail = text.partition(_FLAT_DICT)
    if tail.endswith(_FLAT_DICT_END):
        names = tail[: -len(_FLAT_DICT_END)].split(_NEXT_ARRAY)
        flat = {"": "dict"} | dict.fromkeys(names, "array")
        with contextlib.suppress(FormatError):  # whatever it is, it is said of the whole text
            own = loads(head + "}", what=what, strict=True)
            if "members" not in own and len(flat) == len(names) + 1 and not _SPECIAL.search("".join(names)):
                return own, flat
    return loads(text, what=what, strict=True), None


def _texts(own: dict[str, Any], contents: Contents) -> dict[str, Text]:
    texts: dict[str, Text] = {}
    high = contents.size - contents.user_block
    utf8 = _utf8(own)
    for path, value in mapping(own, "texts").items():
        if not isinstance(value, dict) or not path.startswith("/"):
            fail(f"the text {short(path)} is not described by an object")
        shape = value.get("shape")
        if not isinstance(shape, list) or len(shape) > MAX_RANK:
            fail(f"the text {short(path)} has no shape")
        if any(type(length) is not int or length < 0 for length in shape):
            fail(f"the text {short(path)} has the shape {shape!r}")
        dtype = string(value, "dtype")
        if not TEXT_DTYPE.fullmatch(dtype):
            fail(f"the text {short(path)} has the dtype {dtype[:20]!r}")
        if dtype in (*LITERALS, "text") and shape:
            fail(f"the text {short(path)} is one {dtype} and has a shape")
        itemsize = integer(value, "itemsize", low=1, high=high)
        digest = string(value, "digest")
        if not _DIGEST.fullmatch(digest):
            fail(f"the text {short(path)} has no digest")
        nbytes = itemsize * math.prod(shape)
        offset = None
        if nbytes:
            offset = integer(value, "offset", low=0, high=high) + contents.user_block
        is_ascii = dtype[0] == "S" or (utf8 is not None and path not in utf8)
        texts[path] = Text(dtype, tuple(shape), itemsize, offset, digest, is_ascii)
    if utf8 and not utf8 <= texts.keys():
        fail(f"{short(min(utf8 - texts.keys()))} is said to be UTF-8 and is no text")
    return texts


def _utf8(own: dict[str, Any]) -> set[str] | None:
    """Paths of the texts that HDF5 calls UTF-8; None in files from before some were called ASCII."""
    paths = own.get("utf8")
    if paths is None:
        return None
    if not isinstance(paths, list) or not all(type(path) is str for path in paths):
        fail("utf8 is no list of paths")
    return set(paths)


def _aliases(own: dict[str, Any], contents: Contents) -> dict[str, str]:
    aliases = mapping(own, "aliases")
    for alias, name in aliases.items():
        if not isinstance(name, str) or name not in contents.arrays or alias in contents.arrays:
            fail(f"the alias {short(alias)} does not name one array")
    # One path, two contents: what is loaded would depend on which of them a reader asks first.
    prefixes = (f"/{contents.section}/", f"/{TRAINING}")
    for path in contents.texts:
        if path.startswith(prefixes):
            name = contents.name(path)
            if name in contents.arrays or name in aliases:
                fail(f"{short(path)} is an array and a text")
    return aliases


def _order(own: dict[str, Any], contents: Contents) -> list[str]:
    known = [*contents.arrays, *contents.aliases]
    together = "\n".join([*known, ""])
    if "/" in together:
        known = [name for name in known if not name.startswith(TRAINING)]
        together = "\n".join([*known, ""])
    # All at once takes a tenth of the time.
    if together.count("\n") > len(known) or not _PARAMETER_NAMES.fullmatch(together):
        for name in known:
            if not names.NAME.fullmatch(name):
                fail(f"{short(name)} is no parameter name")
    if both := [block for block in names.blocks_of(known) if block in contents.arrays or block in contents.aliases]:
        fail(f"{short(min(both))} is a parameter and a block")
    order = own.get("order")
    if order is None:
        return known
    is_listed = isinstance(order, list) and len(order) == len(known) and set(map(type, order)) <= {str}
    if not is_listed or {*order} != {*known}:
        fail("order does not list every parameter once")
    return list(order)


def _training(own: dict[str, Any], contents: Contents) -> dict[str, str] | None:
    """The members of the training structure; an array of it may be a parameter too, a parameter no array of it."""
    for alias, name in contents.aliases.items():
        if name.startswith(TRAINING) and not alias.startswith(TRAINING):
            fail(f"the parameter {short(alias)} is another name of an array of the training structure")
    if own.get("training") is None:
        if found := [name for name in (*contents.arrays, *contents.aliases) if name.startswith(TRAINING)]:
            fail(f"{short(found[0])} is no member of a training structure")
        return None
    members = _listed(own, "training")
    _check_members(members, contents, TRAINING)
    return members


def _listed(own: dict[str, Any], what: str) -> dict[str, str]:
    listed = own.get(what)
    try:
        members: dict[str, str] = dict(listed)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        members = {}
    if not isinstance(listed, list) or len(members) != len(listed) or not all(type(path) is str for path in members):
        fail(f"{what} is no list of pairs that names each path once")
    if next(iter(members), None) != "" or members[""] not in CONTAINERS:
        fail("the saved structure has no root")
    return members


def _check_members(members: dict[str, str], contents: Contents, prefix: str) -> None:
    """Check the members of a structure; `prefix` stands before the names of its arrays."""
    arrays = {*contents.arrays, *contents.aliases}
    texts = "/training/" if prefix else "/arrays/"
    containers: dict[str, str] = {}
    positions: dict[str, int] = {}
    for path, kind in members.items():
        owner, _, name = path.rpartition("/")
        if path and owner not in containers:
            fail(f"the member {short(path)} has no container before it")
        if path and containers[owner] in ("list", "tuple"):
            if not is_position(name) or int(name) <= positions.get(owner, -1):
                fail(f"the member {short(path)} is not listed in the order of its number")
            positions[owner] = int(name)
        if kind == "array":
            if prefix + path not in arrays and texts + path not in contents.texts:
                fail(f"the member {short(path)} has no data")
        elif kind == "literal":
            if contents.texts.get(texts + path, Text("", (), 1, None, None)).dtype not in LITERALS:
                fail(f"the member {short(path)} has no value")
        elif kind in CONTAINERS:
            containers[path] = kind
        else:
            fail(f"the member {short(path)} is of the kind {short(kind)}")
    own = [name.removeprefix(prefix) for name in (arrays if prefix else contents.arrays) if name.startswith(prefix)]
    if any(members.get(name) != "array" for name in own):
        fail("an array is no member of the saved structure")
