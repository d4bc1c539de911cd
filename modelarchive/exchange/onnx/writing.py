"""Write whole models as ONNX: any architecture of the vocabulary, its parameters streamed."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note, Source
from modelarchive.exchange.onnx import encoding
from modelarchive.exchange.onnx.assembling import assembled
from modelarchive.exchange.onnx.streaming import SMALL, Tensor, bytes_of, inside, outside, stream
from modelarchive.store.deferred import Deferred
from modelarchive.store.replace import replacing

#: Protocol buffers end below 2 GiB; some room for what is not data.
_MOST: Final = 2**31 - 2**24


def write(
    source: Source,
    path: str | os.PathLike[str],
    *,
    inputs: Any = None,
    external_data: bool | None = None,
    durable: bool = True,
) -> list[Note]:
    """Write a model as ONNX, as its checker accepts it and ONNX Runtime runs it.

    Parameters are initialisers under their names, as they are, and those that are shared stand there once; only
    recurrences have theirs packed and reordered. Dtypes narrower than float32 are computed in float32, as they are
    here. Every axis that the architecture leaves open is symbolic: its name, or what it usually is (``batch``).

    Args:
        source: A bundle with an architecture, an open archive, the path of an archive, or a network.
        path: The file, usually ``*.onnx``.
        inputs: An example of what the model takes, or declarations, as :func:`modelarchive.describe` takes them;
            None: those that the architecture declares.
        external_data: Whether the parameters are in a second file beside it, ``<name>.data``; None: where one file
            would not hold them (2 GiB). Where the model that is replaced has its data there, the new ones go to
            ``<name>.2.data``, and the old ones are removed last: a model is never beside another's data.
        durable: Have the system put the files on the disk before returning.

    Returns:
        What was changed or lost.

    Raises:
        ConversionError: There is no architecture, its inputs are not declared, or something is not supported in
            ONNX; lists all of it. Nothing is written.
        ParameterError: The parameters are not those of the architecture.
        SpecError: The architecture is invalid.
        OSError: A file cannot be written.
    """
    model = assembled(source, inputs, hint="nothing was written")
    _write(
        Path(os.fsdecode(path)),
        model.model,
        model.graph,
        model.initialisers,
        external_data=external_data,
        durable=durable,
    )
    return model.notes


def _write(
    path: Path,
    model: bytes,
    graph: bytes,
    arrays: Mapping[str, Deferred],
    *,
    external_data: bool | None,
    durable: bool,
) -> None:
    total = len(model) + len(graph) + sum(each.nbytes for each in arrays.values())
    if external_data is False and total > _MOST:
        raise ConversionError(
            [(str(path), f"{total:,} bytes are more than one file of ONNX holds")],
            hint="leave external_data to None or True; nothing was written",
        )
    path = Path(os.path.realpath(path))  # beside the file, where a link to it leads
    places = [path.with_name(f"{path.name}{suffix}") for suffix in (".data", ".2.data")]
    old = [each for each in places if each.exists() and _refers(path, each.name)]
    if not (total > _MOST if external_data is None else external_data):
        with replacing(path, durable=durable, size=total) as temporary, temporary.open("wb") as file:
            stream(file, model, graph, [inside(name, each) for name, each in arrays.items()])
    else:
        beside = next(each for each in places if each not in old or len(old) == len(places))
        _write_pair(path, beside, model, graph, arrays, durable=durable)
        old = [each for each in old if each != beside]
    for each in old:
        each.unlink(missing_ok=True)


def _refers(path: Path, name: str) -> bool:
    """Whether the model that is there has its data in the file of a name."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(encoding.entry("location", name)) >= 0


def _write_pair(
    path: Path, beside: Path, model: bytes, graph: bytes, arrays: Mapping[str, Deferred], *, durable: bool
) -> None:
    """A model and its data, which take their places first: the model that is replaced has others."""
    with replacing(path, durable=durable) as temporary, replacing(beside, durable=durable) as temporary_data:
        tensors: list[Tensor] = []
        with temporary_data.open("wb") as data:
            for name, each in arrays.items():
                if each.nbytes < SMALL:
                    tensors.append(inside(name, each))
                    continue
                tensors.append(outside(name, each, beside.name, _append(data, each)))
        with temporary.open("wb") as file:
            stream(file, model, graph, tensors)
            file.flush()
            if durable:
                os.fsync(file.fileno())


def _append(data: BinaryIO, array: Deferred) -> int:
    """Append an array where a page begins, so that it can be mapped; its offset."""
    step = 4096 if array.nbytes >= 2**16 else 64
    data.write(bytes(-data.tell() % step))
    begin = data.tell()
    for piece in bytes_of(array):
        data.write(piece)
    return begin
