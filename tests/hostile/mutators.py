"""Ways to change a file: bytes anywhere, and fields of its index, HDF5 structures and architecture, sealed again.

What is sealed carries right digests and checksums, as an attacker would write it: only the rules can refuse it.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any, Final

from blake3 import blake3

from modelarchive.store.contents import Contents
from tests.hostile import hdf5_structures
from tests.hostile.samples import Sample

Mutator = Callable[[Sample, random.Random], bytes | None]

ZEROS: Final = b"0" * 64
#: Numbers at the edges of what parsers hold them in.
NUMBERS: Final = (
    *(0, 1, -1, 2, 7, 8, 255, 256, 511, 512, 4096, 65535, 65536),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, 10**400),
)
VALUES: Final = (None, True, False, "", "x", "a", [], {}, [1], {"a": 1}, 0.5, -0.0, 1e308, "\0", "../x", "F64", "U9")
WORDS: Final = (
    *("dict", "list", "tuple", "single", "array", "literal", "int", "str", "text", "string", "U2", "S1", "complex64"),
    *("Dense", "Conv2D", "Sequential", "Graph", "BatchNorm", "relu", "softmax", "__import__", "NCHW", "parameters"),
)


def index_bytes(sample: Sample, rng: random.Random) -> bytes | None:
    """A byte of the index, which its own digest finds."""
    if sample.contents is None:
        return None
    used = len(sample.data[: sample.contents.user_block].rstrip())
    return changed(sample.data, [(0, used)], rng)


def index_fields(sample: Sample, rng: random.Random) -> bytes | None:
    """Fields of the index, its digest right."""
    if sample.contents is None:
        return None
    header, own = parts_of(sample.data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        target: Any = rng.choice((header, own))
        mutate_json(target, rng)
    return reindexed(sample.data, header, own)


def chunk_tables(sample: Sample, rng: random.Random) -> bytes | None:
    """Fields of the chunk tables in the index, its digest right; or bytes of the chunks."""
    if sample.contents is None or not sample.contents.chunks:
        return None
    if rng.random() < 0.3:
        ranges = [(each.offset, each.offset + each.nbytes) for each in sample.contents.chunks.values()]
        return changed(sample.data, ranges, rng)
    header, own = parts_of(sample.data)
    for _ in range(rng.choice((1, 1, 2))):
        mutate_json(own["compressed"], rng)
    return reindexed(sample.data, header, own)


def hdf5_bytes(sample: Sample, rng: random.Random) -> bytes | None:
    """Bytes of HDF5's own structures."""
    return changed(sample.data, sample.hdf5_ranges(), rng)


def hdf5_fields(sample: Sample, rng: random.Random) -> bytes | None:
    """Fields of HDF5's structures, their checksums right; the index finds it, and HDF5 is asked."""
    return _fields(sample, rng)


def hdf5_fields_sealed(sample: Sample, rng: random.Random) -> bytes | None:
    """The same with the index's digest of HDF5's structures right too: the index is believed until `verify`."""
    data = _fields(sample, rng)
    return None if data is None or sample.contents is None else sealed(data, sample.contents)


def hdf5_without_index(sample: Sample, rng: random.Random) -> bytes | None:
    """The same in a file whose index is gone."""
    data = _fields(sample, rng)
    if data is None or sample.contents is None:
        return None
    start = sample.contents.user_block
    return bytes(start) + data[start:]


def architecture(sample: Sample, rng: random.Random) -> bytes | None:
    """Fields of the architecture, and of the metadata, every digest right."""
    if sample.contents is None or not sample.is_model:
        return None
    path = "/architecture/data" if rng.random() < 0.9 else "/metadata/data"
    text = sample.contents.texts[path]
    assert text.offset is not None
    value = json.loads(sample.data[text.offset : text.offset + text.nbytes].rstrip(b"\0"))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        mutate_json(value, rng)
    raw = json.dumps(value).encode("utf-8", "surrogatepass")
    if rng.random() < 0.05:
        raw = bytes_changed(raw, rng)
    if len(raw) > text.nbytes:
        return None
    data = bytearray(sample.data)
    data[text.offset : text.offset + text.nbytes] = raw.ljust(text.nbytes)
    return sealed(bytes(data), sample.contents)


def values(sample: Sample, rng: random.Random) -> bytes | None:
    """Bytes of arrays and texts, which their digests find."""
    if sample.contents is None:
        return None
    parts = [*sample.contents.arrays.values(), *sample.contents.texts.values()]
    places = [(part.offset, part.offset + part.nbytes) for part in parts if part.offset is not None and part.nbytes]
    return changed(sample.data, places, rng)


def ends(sample: Sample, rng: random.Random) -> bytes | None:
    """A file cut off, grown, or with a stretch of itself elsewhere."""
    data = bytearray(sample.data)
    how = rng.randrange(4)
    at = rng.randrange(len(data))
    if how == 0:
        return bytes(data[:at])
    if how == 1:
        return bytes(data) + rng.randbytes(rng.choice((1, 8, 512, 4096)))
    size = rng.choice((8, 64, 512, 4096))
    other = rng.randrange(len(data))
    stretch = data[other : other + size]
    if how == 2:
        data[at:at] = stretch
    else:
        data[at : at + len(stretch)] = stretch
    return bytes(data)


#: What is changed -> how, and how many of a hundred mutants are of the sort.
FAMILIES: Final[dict[str, tuple[Mutator, int]]] = {
    "index: bytes": (index_bytes, 4),
    "index: fields, sealed": (index_fields, 32),
    "chunk tables: fields, sealed, and chunks": (chunk_tables, 12),
    "HDF5: bytes": (hdf5_bytes, 7),
    "HDF5: fields, checksums right": (hdf5_fields, 8),
    "HDF5: fields, checksums right, sealed": (hdf5_fields_sealed, 7),
    "HDF5: fields, checksums right, no index": (hdf5_without_index, 6),
    "architecture: fields, sealed": (architecture, 14),
    "values: bytes": (values, 5),
    "cut off, grown, moved": (ends, 5),
}


def mutant(samples: dict[str, Sample], seed: int, number: int) -> tuple[str, Sample, bytes]:
    """A changed file.

    Returns:
        What was changed, in which file, and the bytes; the same for the same seed and number.
    """
    rng = random.Random(f"{seed}/{number}")
    families = list(FAMILIES)
    while True:
        family = rng.choices(families, [FAMILIES[each][1] for each in families])[0]
        sample = samples[rng.choice(list(samples))]
        data = FAMILIES[family][0](sample, rng)
        if data is not None and data != sample.data:
            return family, sample, data


def changed(data: bytes, ranges: list[tuple[int, int]], rng: random.Random) -> bytes:
    """Copies of the data with a bit flipped, a byte or a number replaced, or a run moved, within the ranges."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        begin, end = rng.choices(ranges, [end - begin for begin, end in ranges])[0]
        out[begin:end] = bytes_changed(bytes(out[begin:end]), rng)
    return bytes(out)


def bytes_changed(data: bytes, rng: random.Random) -> bytes:
    """One change that keeps the length."""
    out = bytearray(data)
    at = rng.randrange(len(out))
    how = rng.randrange(5)
    if how == 0:
        out[at] ^= 1 << rng.randrange(8)
    elif how == 1:
        out[at] = rng.choice((0, 1, 0x22, 0x39, 0x7F, 0x80, 0xFF))
    elif how == 2:
        width = rng.choice((2, 4, 8))
        number = (rng.choice(NUMBERS) % 2 ** (8 * width)).to_bytes(width, "little")
        out[at : at + width] = number[: len(out) - at]
    elif how == 3:
        size = min(rng.choice((1, 2, 4, 8)), len(out) - at)
        out[at : at + size] = rng.randbytes(size)
    else:
        other = rng.randrange(len(out))
        size = min(rng.choice((1, 2, 8, 16)), len(out) - max(at, other))
        out[at : at + size] = data[other : other + size]
    return bytes(out)


def _fields(sample: Sample, rng: random.Random) -> bytes | None:
    if not sample.structures:
        return None
    data = bytearray(sample.data)
    for _ in range(rng.choice((1, 1, 2))):
        structure = rng.choice(sample.structures)
        begin, end = structure.begin + 4, structure.end
        if structure.messages and rng.random() < 0.8:
            begin, end = rng.choice(structure.messages)
        if begin < end:
            data[begin:end] = bytes_changed(bytes(data[begin:end]), rng)
            hdf5_structures.mended(data, structure)
    return bytes(data)


def mutate_json(value: Any, rng: random.Random) -> None:
    """Change one thing somewhere in an object or a list, in place."""
    places: list[tuple[Any, Any]] = []
    _collect(value, places)
    if not places:
        return
    owner, key = rng.choice(places)
    here = owner[key]
    how = rng.randrange(8)
    if how == 0:
        del owner[key]
    elif how == 1:
        other_owner, other_key = rng.choice(places)
        # Copies: one of the two may be inside the other.
        other, here = copy.deepcopy(other_owner[other_key]), copy.deepcopy(here)
        other_owner[other_key] = here
        owner[key] = other
    elif how == 2 and isinstance(owner, dict):
        owner[rng.choice((*WORDS, *map(str, owner), "x" * 200))] = owner.pop(key)
    elif how == 3 and isinstance(owner, list):
        owner.insert(key, copy.deepcopy(here))
    elif isinstance(here, bool) or not isinstance(here, int | float | str):
        owner[key] = copy.deepcopy(rng.choice(VALUES))
    elif isinstance(here, str):
        changed_text = _text_changed(here, rng), _text_changed(here, rng)
        owner[key] = copy.deepcopy(rng.choice((*WORDS, *VALUES, *changed_text)))
    else:
        owner[key] = rng.choice((rng.choice(NUMBERS), here + rng.choice((-8, -1, 1, 8)), here * 2, -here, 0.5))


def _text_changed(text: str, rng: random.Random) -> str:
    if not text:
        return "\ud800"
    at = rng.randrange(len(text))
    return text[:at] + rng.choice(("", ".", "/", "%", "é", "0", text[at] * 2, chr(ord(text[at]) ^ 1))) + text[at + 1 :]


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        places.append((value, key))
        _collect(value[key], places)


def parts_of(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The safetensors header and the archive's own part of an index."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header, json.loads(header["__metadata__"]["modelarchive"])


def reindexed(data: bytes, header: dict[str, Any], own: dict[str, Any]) -> bytes | None:
    """The data with another index, its digest right; None if it is longer than its place."""
    length = int.from_bytes(data[:8], "little")
    own["index_digest"] = ZEROS.decode()
    try:
        # As archives are written: an index may fill its user block to the last byte.
        header["__metadata__"] = {"format": "pt", "modelarchive": _compact(own)}
        raw = _compact(header).encode().ljust(length)
    except (ValueError, RecursionError):
        return None
    if len(raw) > length:
        return None
    return data[:8] + raw.replace(ZEROS, blake3(raw).hexdigest().encode(), 1) + data[8 + length :]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def sealed(data: bytes, contents: Contents) -> bytes:
    """The data with every digest in its index right again; `contents` says where things are."""
    header, own = parts_of(data)
    dense = [entry for name, entry in contents.arrays.items() if name not in contents.chunks]
    own["digests"] = "".join(_digest(data, entry.offset or 0, entry.nbytes) for entry in dense)
    for path, text in contents.texts.items():
        own["texts"][path]["digest"] = _digest(data, text.offset or 0, text.nbytes)
    hasher = blake3()
    for begin, end in contents.metadata_ranges():
        hasher.update(data[begin:end])
    own["metadata_digest"] = hasher.hexdigest()
    result = reindexed(data, header, own)
    assert result is not None
    return result


def _digest(data: bytes, offset: int, nbytes: int) -> str:
    return str(blake3(data[offset : offset + nbytes]).hexdigest())
