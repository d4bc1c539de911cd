"""The index as it is written: drafted once, for its length before anything has a place, and for the file."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from json.encoder import encode_basestring
from typing import Any, Final

from modelarchive import dtypes
from modelarchive.store import chunks, pieces
from modelarchive.store.contents import TRAINING, Contents, Entry
from modelarchive.store.digest import NO_DIGEST, digest
from modelarchive.store.header import HDF5_ENTRY
from modelarchive.store.index import FORMAT_VERSION, MIN_USER_BLOCK

#: How a record begins, inside of the JSON string that holds it.
_OWN_DIGEST: Final = re.compile(rb'\{\\"index_digest\\":\\"([0-9a-f]{64})')
#: What the index spends at most on declaring bytes that are no array.
_REGION_COST: Final = 160


def user_block_size(index_bytes: int) -> int:
    """The smallest HDF5 user block (512 times a power of two) that holds an index of so many bytes."""
    needed = -(-(index_bytes + 8) // MIN_USER_BLOCK)
    return MIN_USER_BLOCK << (needed - 1).bit_length()


def digest_in(head: bytes) -> str:
    """The digest of itself that a written index carries."""
    found = _OWN_DIGEST.search(head)
    return "" if found is None else found[1].decode()


class Draft:
    """An index of which all is known but places and digests.

    Args:
        contents: What the file will hold.
    """

    def __init__(self, contents: Contents) -> None:
        dense = _dense(contents)
        kinds: dict[tuple[Any, ...], str] = {}
        for dtype, shape in {entry[:2] for entry in dense.values()}:
            sizes = [*shape, 2] if dtype.startswith("complex") else list(shape)
            code = dtypes.SAFETENSORS[dtype]
            kinds[dtype, shape] = f':{{"dtype":"{code}","shape":{_compact(sizes)},"data_offsets":['
        #: What stands in each entry before its place.
        self._entries = [encode_basestring(name) + kinds[entry[:2]] for name, entry in dense.items()]
        self._renamed = {name: entry[0] for name, entry in dense.items() if entry[0].startswith("complex")}
        self._last = _compact(_without_places(contents))[1:]
        # What training goes on from is no parameter.
        counted = (entry[1] for name, entry in contents.arrays.items() if not name.startswith(TRAINING))
        self._total = sum(map(math.prod, counted))

    def bound(self, contents: Contents) -> int:
        """The length of the index if every offset were as long as the largest.

        Args:
            contents: The same as before, with a size, and nothing in its place.
        """
        largest = contents.size
        longest = replace(
            contents,
            user_block=0,
            texts={path: text._replace(offset=largest) for path, text in contents.texts.items()},
            chunks={name: each._replace(offset=largest) for name, each in contents.chunks.items()},
        )
        around = len("".join([*self._entries, self._metadata(longest), *_regions(longest)]).encode())
        sizes = Counter(entry[3] for entry in _dense(contents).values())
        places = sum(count * len(f"{largest},{largest + nbytes}]}},") for nbytes, count in sizes.items())
        # Nothing has a place yet, so all is one region without arrays; chunks behind the arrays are a second one.
        return around + places + len('{"__metadata__":,}') + (_REGION_COST if contents.chunks else 0)

    def render(self, contents: Contents) -> bytes:
        """The index as JSON, without padding.

        Args:
            contents: The same as before, by now with all places and digests.
        """
        start = contents.user_block
        entries = []
        for head, (_, _, offset, nbytes, _) in zip(self._entries, _dense(contents).values(), strict=True):
            begin = (contents.size if offset is None else offset) - start
            entries.append(f"{head}{begin},{begin + nbytes}]}}")
        lines = ",".join([self._metadata(contents), *entries, *_regions(contents)])
        return f'{{"__metadata__":{lines}}}'.encode()

    def framed(self, contents: Contents) -> bytes:
        """The bytes of the user block: length, index, padding; its own digest filled in.

        Args:
            contents: As in :meth:`render`.

        Raises:
            ValueError: The index is longer than the user block.
        """
        length = contents.user_block - 8
        raw = self.render(contents)
        if len(raw) > length:
            raise ValueError(f"its index needs {len(raw)} bytes, the user block has {length}")
        padded = raw.ljust(length)
        sealed = padded.replace(NO_DIGEST.encode(), digest(padded).encode(), 1)
        return length.to_bytes(8, "little") + sealed

    def _metadata(self, contents: Contents) -> str:
        dense = _dense(contents)
        first = _compact(_with_places(contents, dense, self._renamed))[:-1]
        record = first + (self._last if self._last == "}" else f",{self._last}")
        about = {"format": "pt", "modelarchive": record, "total_parameters": str(self._total)}
        if contents.pieces:
            about["DCP_SHARDING_INFO"] = _compact(pieces.sharding(contents, dense))
        return _compact(about)


def framed(contents: Contents) -> bytes:
    """The bytes of the user block, as :meth:`Draft.framed` gives them."""
    return Draft(contents).framed(contents)


def _dense(contents: Contents) -> dict[str, Entry]:
    """The arrays that lie in the file as they are."""
    if not contents.chunks:
        return contents.arrays
    return {name: entry for name, entry in contents.arrays.items() if name not in contents.chunks}


def _regions(contents: Contents) -> list[str]:
    """The entries of bytes that are no array."""
    start = contents.user_block
    places = ((begin - start, end - start) for begin, end in contents.regions())
    return [
        f'"{HDF5_ENTRY}{number}":{{"dtype":"U8","shape":[{end - begin}],"data_offsets":[{begin},{end}]}}'
        for number, (begin, end) in enumerate(places)
    ]


def _with_places(contents: Contents, dense: Mapping[str, Entry], renamed: Mapping[str, str]) -> dict[str, Any]:
    """The members of the archive's record that tell places and digests, which come first."""
    start = contents.user_block
    own: dict[str, Any] = {
        "index_digest": NO_DIGEST,
        "format_version": FORMAT_VERSION,
        "generator": contents.generator,
        "section": contents.section,
        "file_size": contents.size,
        "metadata_digest": contents.metadata_digest,
        "digests": "".join([entry[4] or "" for entry in dense.values()]),
        "texts": {
            path: {
                "dtype": text.dtype,
                "shape": list(text.shape),
                "itemsize": text.itemsize,
                "offset": None if text.offset is None else text.offset - start,
                "digest": text.digest,
            }
            for path, text in contents.texts.items()
        },
    }
    if contents.texts:
        own["utf8"] = [path for path, text in contents.texts.items() if not text.is_ascii]
    if renamed:
        own["dtypes"] = renamed
    if contents.chunks:
        own["compressed"] = chunks.record(contents)
    return own


def _without_places(contents: Contents) -> dict[str, Any]:
    """The other members, which follow."""
    own: dict[str, Any] = {}
    if contents.kinds and "/architecture/data" not in contents.texts:
        own["kinds"] = contents.kinds
    if contents.aliases:
        own["aliases"] = contents.aliases
    if contents.members is not None:
        own["members"] = list(contents.members.items())
    elif contents.order != [name for name in contents.arrays if not name.startswith(TRAINING)]:
        own["order"] = contents.order
    if contents.pieces:
        own["pieces"] = pieces.record(contents)
    if contents.training is not None:
        own["training"] = list(contents.training.items())
    return own


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
