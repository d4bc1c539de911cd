"""Tensors of ONNX as arrays: views of the mapped file, or of files beside it."""

from __future__ import annotations

import math
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from modelarchive import dtypes
from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.exchange import budget
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.mapped import MappedFile, little_endian
from modelarchive.exchange.onnx.protobuf import Message, Span, varints
from modelarchive.exchange.onnx.words import DTYPES
from modelarchive.exchange.refusal import Refusal
from modelarchive.formats import refusing
from modelarchive.store.deferred import Deferred

MAX_RANK: Final = 64
MAX_ELEMENTS: Final = 2**40
_EXTERNAL: Final = 1
#: The largest pages that arrays in files of their own are aligned to.
_PAGE: Final = 1 << 16
#: Field of a tensor -> dtype of the numbers in it (None: of variable length), and of which tensors they are.
_FIELDS: Final[dict[str, tuple[str | None, frozenset[int]]]] = {
    "float_data": ("<f4", frozenset([1, 14])),
    "double_data": ("<f8", frozenset([11, 15])),
    "int64_data": (None, frozenset([7])),
    "uint64_data": (None, frozenset([12, 13])),
    "int32_data": (None, frozenset([2, 3, 4, 5, 6, 9, 10, 16, 17, 19])),
}
#: Those whose bits are kept in the lower bits of an int32.
_BITS: Final = frozenset([10, 16, 17, 19])

#: The numbers of one sign that float4e2m1 has.
_FLOATS_OF_FOUR: Final = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@dataclass(frozen=True)
class _Packed:
    """An element type that the vocabulary has not, whose numbers one of its own holds.

    Attributes:
        called: Its name in ONNX.
        bits: Of one element; several are in a byte, the first in its lowest bits.
        kept: The dtype that holds them.
        numbers: What each pattern of bits stands for; None: a whole number, of the sign of `kept`.
    """

    called: str
    bits: int
    kept: str
    numbers: tuple[float, ...] | None = None


def _patterns(dtype: Any) -> tuple[float, ...]:
    return tuple(np.arange(256).astype(np.uint8).view(dtype).astype(np.float64).tolist())


#: Codes of such element types.
PACKED: Final[dict[int, _Packed]] = {
    18: _Packed("float8e4m3fnuz", 8, "float16", _patterns(ml_dtypes.float8_e4m3fnuz)),
    20: _Packed("float8e5m2fnuz", 8, "float16", _patterns(ml_dtypes.float8_e5m2fnuz)),
    21: _Packed("uint4", 4, "uint8"),
    22: _Packed("int4", 4, "int8"),
    23: _Packed("float4e2m1", 4, "float8_e4m3fn", (*_FLOATS_OF_FOUR, *(-each for each in _FLOATS_OF_FOUR))),
    24: _Packed("float8e8m0", 8, "float32", (*(2.0 ** (power - 127) for power in range(255)), math.nan)),
    25: _Packed("uint2", 2, "uint8"),
    26: _Packed("int2", 2, "int8"),
}
_BYTE: Final = 2


class Tensors:
    """Makes arrays of a file's tensors.

    Args:
        file: The mapped model.
    """

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self._beside: dict[str, MappedFile] = {}
        #: Name of a file beside -> where tensors lie in it: beginnings and ends.
        self._spans: dict[str, set[Span]] = {}

    def array(self, tensor: Message) -> Deferred:
        """The array of a tensor.

        Raises:
            Refusal: It is of strings, or of a dtype that the vocabulary does not have.
            FormatError: It is damaged.
            UnsafeFileError: Its data is in a file that is not the model's own.
        """
        name = tensor.get("name", "")[:200]
        code, shape = tensor.get("data_type", 0), tuple(tensor.get("dims", ()))
        if code not in DTYPES:
            raise Refusal(f"is of the element type {code}, which is not supported")
        self._check_shape(name, shape)
        if "segment" in tensor:
            raise Refusal("is stored in segments")
        dtype = little_endian(dtypes.DENSE[DTYPES[code]])
        nbytes = math.prod(shape) * dtype.itemsize
        if tensor.get("data_location", 0) == _EXTERNAL:
            return self._external(tensor, dtype, shape, nbytes)
        filled = [field for field in ("raw_data", *_FIELDS) if field in tensor]
        if len(filled) > 1:
            raise self._damaged(name, f"has data in {' and '.join(filled)}")
        if not filled:
            if nbytes:
                raise self._damaged(name, f"has the shape {shape} and no data")
            return Deferred.of(np.empty(shape, dtype))
        if filled[0] == "raw_data":
            offset, length = tensor["raw_data"]
            if length != nbytes:
                raise self._damaged(name, f"has {length:,} bytes, expected {nbytes:,} for {dtype} {shape}")
            return self.file.array(offset, dtype, shape)
        return self._listed(name, filled[0], tensor[filled[0]], code, dtype, shape)

    def unpacked(self, tensor: Message) -> Deferred:
        """The array of a tensor of an element type that the vocabulary has not, in one that holds its numbers.

        Raises:
            Refusal: It is of no such type.
            FormatError: It is damaged.
            UnsafeFileError: Its data is in a file that is not the model's own.
        """
        name, shape = tensor.get("name", "")[:200], tuple(tensor.get("dims", ()))
        packed = PACKED[tensor.get("data_type", 0)]
        bits, dtype = packed.bits, dtypes.DENSE[packed.kept]
        table = None if packed.numbers is None else np.asarray(packed.numbers).astype(dtype)
        self._check_shape(name, shape)
        count = math.prod(shape)
        budget.spend(f"the tensor {name!r}", elements=count)
        whole = self.array({**tensor, "data_type": _BYTE, "dims": (-(-count * bits // 8),)})

        def unpack(content: np.ndarray) -> np.ndarray:
            parts = [content >> np.uint8(low) & np.uint8(2**bits - 1) for low in range(0, 8, bits)]
            numbers = np.stack(parts, axis=1).reshape(-1)[:count].reshape(shape)
            if table is not None:
                return table[numbers]
            if dtype.kind == "u":
                return numbers
            half = np.int8(2 ** (bits - 1))
            return (numbers.view(np.int8) ^ half) - half

        return whole.changed(unpack, shape, dtype)

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        # A size of 0 makes no other one small.
        if len(shape) > MAX_RANK or min(shape, default=0) < 0 or math.prod(filter(None, shape)) > MAX_ELEMENTS:
            raise self._damaged(name, f"has the shape {shape[:70]}")

    def _listed(
        self, name: str, field: str, spans: list[Span], code: int, dtype: np.dtype, shape: tuple[int, ...]
    ) -> Deferred:
        wire, codes = _FIELDS[field]
        if code not in codes:
            raise self._damaged(name, f"of element type {code} has data in {field}")
        count = math.prod(shape)
        if wire is not None:
            if sum(length for _, length in spans) != count * dtype.itemsize:
                raise self._damaged(name, f"has not the {count:,} elements of the shape {shape}")
            if len(spans) == 1:
                return self.file.array(spans[0][0], dtype, shape)
        # Of these each use makes an array anew.
        budget.spend(f"the tensor {name!r}", elements=sum(length for _, length in spans))
        if wire is not None:
            raw = np.frombuffer(b"".join(self.file.read(*span) for span in spans), dtype)
            return Deferred.of(raw.reshape(shape))
        raw = np.frombuffer(b"".join(self.file.read(*span) for span in spans), np.uint8)
        # Each number has at least one byte: what is declared is bounded by what is there.
        numbers = varints(raw)
        if numbers is None or numbers.size != count:
            raise self._damaged(name, f"has not the {count:,} elements of the shape {shape}")
        if code in _BITS:
            found = numbers.astype(f"u{dtype.itemsize}").view(dtype)
        else:
            found = numbers.view(np.int64).astype(dtype)
        return Deferred.of(found.reshape(shape))

    def _external(self, tensor: Message, dtype: np.dtype, shape: tuple[int, ...], nbytes: int) -> Deferred:
        name = tensor.get("name", "")[:200]
        entries = {pair.get("key", ""): pair.get("value", "") for pair in tensor.get("external_data", ())}
        numbers = {}
        for key in ("offset", "length"):
            text = entries.get(key, "0" if key == "offset" else str(nbytes))
            if not text.isascii() or not text.isdigit() or len(text) > 18:
                raise self._damaged(name, f"has the {key} {text[:40]!r}")
            numbers[key] = int(text)
        location = entries.get("location", "")
        if location not in self._beside:
            self._beside[location] = _file_beside(self.file.path, location)
            budget.grow(self._beside[location].size)
        file = self._beside[location]
        if numbers["length"] != nbytes:
            raise self._damaged(name, f"has {numbers['length']:,} bytes, expected {nbytes:,} for {dtype} {shape}")
        if numbers["offset"] + nbytes > file.size:
            if mistake := refusing.find(file):
                raise mistake
            raise self._damaged(name, f"reaches beyond the end of {location!r}, which has {file.size:,} bytes")
        self._spans.setdefault(location, set()).add((numbers["offset"], numbers["offset"] + nbytes))
        return file.array(numbers["offset"], dtype, shape)

    def unread(self) -> list[Note]:
        """What of the files beside belongs to no tensor that was asked for; gaps up to a page are for alignment."""
        notes = []
        for location, spans in self._spans.items():
            end = left = 0
            for begin, after in [*sorted(spans), (self._beside[location].size,) * 2]:
                gap = begin - end
                left += gap if gap > (_PAGE if after > begin else 0) else 0
                end = max(end, after)
            if left:
                notes.append(Note(location, f"has {left:,} bytes that belong to no array: they are not read"))
        return notes

    def _damaged(self, name: str, what: str) -> FormatError:
        return FormatError(f"the tensor {name!r} {what}", file=self.file.path)


def _file_beside(model: Path, location: str) -> MappedFile:
    """The file that holds external data, which lies in the model's own folder or below.

    Raises:
        UnsafeFileError: The name leads out of it, or through a link.
        FormatError: There is no such file.
    """
    parts = location.split("/")
    outside = any(part in ("", ".", "..") or "\\" in part or ":" in part or "\0" in part for part in parts)
    if outside or len(location) > 1024:
        raise UnsafeFileError(
            f"its external data is {location[:200]!r}, expected a name in the model's own folder",
            rule="own folder only",
            file=model,
        )
    path = model.parent
    for part in parts:
        path = path / part
        try:
            mode = path.lstat()
        except OSError as error:
            raise FormatError(f"its external data {location!r} cannot be read: {error.strerror}", file=model) from error
        if stat.S_ISLNK(mode.st_mode):
            raise UnsafeFileError(
                f"its external data {location!r} is a link, which may lead anywhere",
                rule="own folder only",
                file=model,
                hint="copy the file itself beside the model",
            )
    if not stat.S_ISREG(mode.st_mode):
        raise FormatError(f"its external data {location!r} is no file", file=model)
    return MappedFile(path)
