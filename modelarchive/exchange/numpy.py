"""NumPy's files: .npz and .npy, read without pickle and without trusting a size that they declare."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from modelarchive import dtypes, names
from modelarchive.errors import ConversionError
from modelarchive.exchange import npz
from modelarchive.exchange.budget import reading
from modelarchive.exchange.bundle import Bundle, Note, Parameters, Source, bundle_of, deferred, shared_names
from modelarchive.exchange.mapped import MappedFile
from modelarchive.formats.refusing import refusal
from modelarchive.store.deferred import Deferred
from modelarchive.store.fill import pieces
from modelarchive.store.replace import replacing

#: The name of a lone array.
_SINGLE: Final = "array"

#: NumPy has no code for these; the wider dtype holds every value of them exactly.
_WIDENED: Final[dict[np.dtype, np.dtype]] = {
    dtypes.DENSE["bfloat16"]: np.dtype(np.float32),
    dtypes.DENSE["float8_e4m3fn"]: np.dtype(np.float16),
    dtypes.DENSE["float8_e5m2"]: np.dtype(np.float16),
}


def read(path: str | os.PathLike[str]) -> Bundle:
    """Read an .npz or .npy file, told apart by content.

    Args:
        path: The file.

    Returns:
        The arrays under their names; the one of an .npy file under the name "array". Those that are not
        compressed are views of the mapped file.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is neither, or damaged.
        UnsafeFileError: It declares more bytes than it can hold, or compresses in a way that has no bound.
        ConversionError: Arrays are of pickled objects, strings or records; lists all of them.
    """
    file = MappedFile(path)
    with reading(file.path, file.size):
        if file.read(0, 6) == npz.MAGIC:
            found = {_SINGLE: npz.array_at(file, 0, file.size)}
        elif file.read(0, 2) == b"PK":
            found = npz.members(file)
        else:
            raise refusal(file, "is no .npy and no .npz file")
        entries, notes = npz.supported(found)
    return Bundle(Parameters(entries), reason="NumPy's files hold arrays only", notes=notes)


def write(
    source: Source, path: str | os.PathLike[str], *, compressed: bool = False, durable: bool = True
) -> list[Note]:
    """Write arrays as .npz, or one array as .npy, by the path's suffix.

    Args:
        source: A bundle, archive, network or mapping of arrays.
        path: ``x.npz`` or ``x.npy``.
        compressed: Deflate the arrays of an .npz file.
        durable: As in :func:`modelarchive.save`.

    Returns:
        What NumPy's files cannot say: architecture, metadata, words of rows, dtypes, that arrays are shared.

    Raises:
        ConversionError: Several arrays into an .npy file, or a dtype that NumPy has no code for.
        OSError: The file cannot be written.
    """
    bundle = bundle_of(source).state()
    entries = deferred(bundle.parameters)
    is_single = Path(os.fsdecode(path)).suffix == ".npy"
    if is_single and len(entries) != 1:
        raise ConversionError(
            [(name, "an .npy file holds one array") for name in entries] or [("(arrays)", "none")],
            hint="an .npz file holds several",
        )
    problems = [
        (name, f"NumPy has no code for {entry.dtype}")
        for name, entry in entries.items()
        if entry.dtype.isbuiltin == 2 and entry.dtype not in _WIDENED
    ]
    problems += names.problems_with_texts(entries)
    if problems:
        raise ConversionError(problems, hint="nothing was written")
    notes = _losses(bundle)
    notes += [
        Note(name, f"{entry.dtype} became {_WIDENED[entry.dtype]}, which holds its values exactly")
        for name, entry in entries.items()
        if entry.dtype in _WIDENED
    ]
    size = sum(entry.nbytes for entry in entries.values())
    with replacing(path, durable=durable, size=size) as temporary:
        if is_single:
            with temporary.open("wb") as out:
                _write_array(out, *entries.values())
            return notes
        method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        with zipfile.ZipFile(temporary, "w", method) as archive:
            for name, entry in entries.items():
                # The time of an entry is fixed: the same arrays give the same bytes.
                member = zipfile.ZipInfo(f"{name}.npy")
                member.compress_type = method
                with archive.open(member, "w", force_zip64=True) as stream:
                    _write_array(stream, entry)
    return notes


def _write_array(out: BinaryIO | Any, entry: Deferred) -> None:
    array = entry.read()
    if entry.dtype in _WIDENED:
        array = array.astype(_WIDENED[entry.dtype])
    little = array.dtype.newbyteorder("<")
    header = {"descr": np.lib.format.dtype_to_descr(little), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(out, header)
    for piece in _in_order(array):
        out.write(piece)


def _in_order(array: np.ndarray) -> Iterator[memoryview]:
    return pieces(array) if array.size else iter(())


def _losses(bundle: Bundle) -> list[Note]:
    notes = []
    if bundle.architecture is not None:
        notes.append(Note("(architecture)", "left out: NumPy's files hold arrays only"))
    if bundle.metadata:
        notes.append(Note("(metadata)", f"left out: {', '.join(map(str, bundle.metadata))}"))
    notes += [Note(name, "the words of its rows are left out") for name in bundle.tokens]
    notes += [Note(name, f"written again: {other} is the same array") for name, other in
              shared_names(bundle.parameters).items()]  # fmt: skip
    return notes
