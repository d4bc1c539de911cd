"""Write arrays in the order in which an iterator gives them, each to its place in the file: none is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from blake3 import blake3

from modelarchive import dtypes, names
from modelarchive.errors import ParameterError, counted
from modelarchive.store.deferred import Deferred
from modelarchive.store.digest import WORTH_THREADS
from modelarchive.store.fill import Fill, pieces, write_all
from modelarchive.store.threads import THREADS


@dataclass
class _Begun:
    """An array of which parts have come."""

    offset: int
    left: int
    hasher: blake3


def fill_stream(
    path: Path,
    fills: Mapping[str, Fill],
    stream: Iterable[tuple[str, np.ndarray]],
    *,
    progress: Callable[[int], None] | None = None,
) -> dict[str, str]:
    """Write every array as it comes, in C order, little-endian.

    Args:
        path: An existing file.
        fills: Name -> what was announced, and its offset.
        stream: Pairs of a name and an array, in any order. An array may come in parts, as runs of rows of its
            first axis, the first run first; parts of several arrays may alternate.
        progress: Called with the number of bytes written.

    Returns:
        Name -> BLAKE3 digest.

    Raises:
        ParameterError: Something came that was not announced, or did not come that was.
    """
    begun: dict[str, _Begun] = {}
    digests: dict[str, str] = {}
    with path.open("r+b", buffering=0) as file:
        for name, part in stream:
            if name not in fills:
                raise _unexpected(name, fills)
            announced = fills[name].array
            if name not in begun and name not in digests:
                threads = THREADS if announced.nbytes >= WORTH_THREADS else 1
                begun[name] = _Begun(fills[name].offset, announced.nbytes, blake3(max_threads=threads))
            if problem := _problem(part, announced, begun[name].left if name in begun else 0):
                raise ParameterError(
                    f"{name}: expected {problem[0]}, {problem[1]} came",
                    mismatched={name: problem},
                    hint="nothing was changed; the arrays are what was announced, or runs of its rows",
                )
            if name in begun:
                _write(file, begun[name], part, progress)
                if not begun[name].left:
                    # With its hasher go the threads that it has of its own.
                    digests[name] = begun.pop(name).hasher.hexdigest()
    missing = [name for name, fill in fills.items() if fill.array.nbytes and name not in digests]
    if missing:
        raise ParameterError(
            title=f"{counted(len(missing), 'array')} announced did not come whole",
            missing=missing,
            remarks={name: _lack(fills[name], begun.get(name)) for name in missing},
            hint="nothing was changed",
        )
    return digests


def _write(file: BinaryIO, begun: _Begun, part: np.ndarray, progress: Callable[[int], None] | None) -> None:
    file.seek(begun.offset)
    for piece in pieces(part):
        begun.hasher.update(piece)
        write_all(file, piece)
        if progress is not None:
            progress(len(piece))
    begun.offset += part.nbytes
    begun.left -= part.nbytes


def _problem(part: object, announced: np.ndarray | Deferred, left: int) -> tuple[str, str] | None:
    """What was expected and what came instead, in words; None if the part has a place."""
    expected = f"{announced.dtype} {announced.shape}"
    if not isinstance(part, np.ndarray):
        return expected, type(part).__name__
    is_part = part.shape[1:] == announced.shape[1:] and part.ndim == announced.ndim
    if dtypes.dense_name(part.dtype) != dtypes.dense_name(announced.dtype) or not is_part:
        return expected, f"{part.dtype} {part.shape}"
    if part.nbytes > left:
        return f"{left:,} more bytes of {expected}", f"{part.nbytes:,}"
    return None


def _unexpected(name: object, fills: Mapping[str, Fill]) -> ParameterError:
    near = names.near(str(name), list(fills))
    return ParameterError(
        f"{name!r} came and was not announced",
        unexpected=[str(name)],
        hint="nothing was changed" + (f"; did you mean {near!r}?" if near else ""),
    )


def _lack(fill: Fill, begun: _Begun | None) -> str:
    came = "" if begun is None else f", {begun.left:,} of its {fill.array.nbytes:,} bytes are missing"
    return f": {fill.array.dtype} {fill.array.shape}{came}"
