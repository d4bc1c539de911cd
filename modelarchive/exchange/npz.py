"""Arrays in NumPy's own format: the members of an .npz file, one of which is what an .npy file holds."""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange import zipped
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.zipped import Member
from modelarchive.store.contents import MAX_INFLATION
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: How an array begins.
MAGIC: Final = b"\x93NUMPY"
#: NumPy itself accepts headers of 10,000 characters.
_MAX_HEADER: Final = 10_012
#: Dtypes as headers spell those of numbers, and bytes without a dtype; the sizes that there are.
_DESCR: Final = re.compile(r"[<>|=](?:b1|[iu][1248]|f(?:1|2|4|8)|c(?:8|16)|V[12])")


def members(file: MappedFile) -> dict[str, Deferred | str]:
    """The arrays of an .npz file; in the place of an array that cannot be read, why.

    Raises:
        FormatError: It is none, or damaged.
        UnsafeFileError: It declares more bytes than it can hold, or compresses in a way that has no bound.
    """
    found: dict[str, Deferred | str] = {}
    for member in zipped.members(file, most=lambda stored: MAX_INFLATION * stored):
        name = member.name.removesuffix(".npy")
        if name == member.name:
            raise FormatError(f"is no .npz file: it holds {member.name[:80]!r}")
        found[name] = _member(file, member)
    return found


def _member(file: MappedFile, member: Member) -> Deferred | str:
    if not member.is_compressed:
        return array_at(file, member.offset, member.size)
    head = bytearray(min(_MAX_HEADER, member.size))
    zipped.inflate(file, member, head, is_whole=False)
    described = _header(bytes(head), member.size)
    if isinstance(described, str):
        return described
    dtype, shape, order, skip = described

    def load() -> np.ndarray:
        data = np.empty(member.size, np.uint8)
        zipped.inflate(file, member, data.data, is_whole=True)
        return np.ndarray(shape, dtype, data.data, skip, order=order)  # type: ignore[arg-type]

    return Deferred(shape, dtype, load)


def array_at(file: MappedFile, start: int, nbytes: int) -> Deferred | str:
    """An array as an .npy file has it, which stands somewhere in a file; or why such an array is not read.

    Raises:
        FormatError: It is damaged.
    """
    described = _header(file.read(start, min(nbytes, _MAX_HEADER)), nbytes)
    if isinstance(described, str):
        return described
    dtype, shape, order, skip = described
    return file.array(start + skip, dtype, shape, order)


def _header(head: bytes, nbytes: int) -> tuple[np.dtype, tuple[int, ...], str, int] | str:
    """Dtype, shape, order and where the data begins; or why such an array is not read.

    Raises:
        FormatError: The header is damaged, or declares other than `nbytes` bytes.
    """
    length_bytes = {1: 2, 2: 4, 3: 4}.get(head[6]) if head.startswith(MAGIC) and len(head) > 12 else None
    if length_bytes is None:
        raise FormatError("is no array in NumPy's format, or of a version that is not known")
    skip = 8 + length_bytes + int.from_bytes(head[8 : 8 + length_bytes], "little")
    if skip > _MAX_HEADER:
        raise FormatError("the header of an array is longer than any")
    if skip > len(head):
        raise FormatError(f"the header of an array takes {skip:,} bytes, and has {len(head):,}: it is cut short")
    shape, is_fortran, descr = _parsed(head[8 + length_bytes : skip].decode("latin-1"))
    if "O" in short(descr):
        return "is an array of Python objects, which only pickle can read, and pickle runs code"
    if not isinstance(descr, str) or not _DESCR.fullmatch(descr):
        return f"is an array of {short(descr)}"
    # So np.save writes float8_e5m2, and NumPy cannot read it again.
    dtype = np.dtype("V1" if descr[1:] == "f1" else descr)
    if any(type(length) is not int or not 0 <= length < 2**63 for length in shape):
        raise FormatError(f"an array has the shape {short(shape)}")
    if math.prod(filter(None, shape)) * max(dtype.itemsize, 1) >= 2**63 or len(shape) > 64:
        raise FormatError(f"an array has the shape {str(shape)[:80]}, which no memory can hold")
    needed, found = dtype.itemsize * math.prod(shape), nbytes - skip
    if needed != found:
        how = "it is cut short" if found < needed else "nothing tells what the rest is"
        hint = None if found < needed else "np.savez writes several arrays into one file, np.save one"
        what = f"an array of {dtype} {str(shape)[:80]} needs {needed:,} bytes, and has {found:,}: {how}"
        raise FormatError(what, hint=hint)
    return dtype, tuple(shape), "F" if is_fortran else "C", skip


def _parsed(text: str) -> tuple[tuple[Any, ...], bool, object]:
    """Shape, whether in Fortran's order, and dtype of a header, which is a Python literal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the spelling of a stranger's literal
            # Python 2 wrote lengths as 3L.
            found = ast.literal_eval(re.sub(r"(\d)L\b", r"\1", text).strip())
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        # What Python says of it names parts of Python.
        raise FormatError(f"the header of an array is no literal: {short(text.strip())}") from error
    if not isinstance(found, dict) or set(found) != {"descr", "fortran_order", "shape"}:
        raise FormatError("the header of an array has not the keys descr, fortran_order, shape")
    if not isinstance(found["shape"], tuple) or not isinstance(found["fortran_order"], bool):
        raise FormatError(
            f"an array has the shape {short(found['shape'])}, fortran_order {short(found['fortran_order'])}"
        )
    return found["shape"], found["fortran_order"], found["descr"]


def supported(found: Mapping[str, Deferred | str]) -> tuple[dict[str, Deferred], list[Note]]:
    """Those of numbers, and what is changed.

    Raises:
        ConversionError: Some are not read; lists all of them.
    """
    entries: dict[str, Deferred] = {}
    notes: list[Note] = []
    problems: list[tuple[str, str]] = []
    for name, entry in found.items():
        if isinstance(entry, str):
            problems.append((name, entry))
        elif dtypes.dense_name(entry.dtype) is not None:
            entries[name] = entry
        elif entry.dtype.kind == "V" and entry.dtype.names is None and entry.dtype.itemsize in (1, 2):
            # So np.save writes bfloat16 and float8, and nothing says which of them it was.
            raw = np.dtype(f"u{entry.dtype.itemsize}")
            entries[name] = entry.changed(lambda array, raw=raw: array.view(raw), dtype=raw)  # type: ignore[misc]
            notes.append(
                Note(name, f"its dtype was not saved ({entry.dtype}); kept as {raw}: .view(ml_dtypes.bfloat16), say")
            )
        else:
            problems.append((name, f"is an array of {entry.dtype}"))
    if problems:
        raise ConversionError(problems, hint="numbers and booleans are read; save other arrays in another way")
    return entries, notes
