"""The index of a folder of shards: the file that makes it one archive, written last."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.remote import RemoteFile
from modelarchive.store.contents import Contents
from modelarchive.store.replace import replacing, sync_folder
from modelarchive.store.strict import document_object, short

#: The file that makes a folder of shards an archive; it is written last.
INDEX: Final = "model.safetensors.index.json"
#: The archive's part of it.
RECORD: Final = "modelarchive"
MAX_INDEX_BYTES: Final = 100_000_000


def read_index(folder: Path | RemoteFile) -> dict[str, Any]:
    """The archive's part of a folder's index; its ``shards`` are file names with the digest of each shard's index.

    Raises:
        OSError: It cannot be read.
        FormatError: It is no index of an archive's shards.
        UnsafeFileError: It names a file that is not in the folder.
    """
    path = folder / INDEX
    size = size_of(path)
    if size > MAX_INDEX_BYTES:
        raise FormatError(f"has {size:,} bytes: it is no index of shards", file=path)
    try:
        whole = document_object(_bytes(path, size), what="the index of shards", strict=True)
    except FormatError as error:
        error.file = str(path)
        raise
    about = whole.get("metadata")
    record = about.get(RECORD) if isinstance(about, dict) else None
    shards = record.get("shards") if isinstance(record, dict) else None
    if not isinstance(shards, dict) or not shards or not all(isinstance(each, str) for each in shards.values()):
        raise FormatError("is no index of an archive's shards", file=path)
    for name in shards:
        if name in ("", ".", "..") or any(sign in name for sign in "/\\:\0"):
            raise UnsafeFileError(
                f"names the file {short(name)}, which is not in its own folder", rule="own folder only", file=path
            )
    return {**record, "shards": shards} if isinstance(record, dict) else {}


def size_of(path: Path | RemoteFile) -> int:
    """Bytes of a file, wherever it lies."""
    return path.size if isinstance(path, RemoteFile) else path.stat().st_size


def _bytes(path: Path | RemoteFile, size: int) -> bytes:
    return path.read(0, size) if isinstance(path, RemoteFile) else path.read_bytes()


def write_index(
    folder: Path, shards: Mapping[str, Contents], order: Sequence[str], *, durable: bool = True, more: Any = None
) -> None:
    """Write the index of a folder of shards; with it the folder is an archive.

    Args:
        folder: The folder.
        shards: File name -> what the shard holds, as it was written.
        order: The names of all parameters, in the model's order.
        durable: As in :func:`modelarchive.save`.
        more: What else the archive's part shall say.
    """
    weight_map = {name: file for file, contents in shards.items() for name in contents.arrays}
    total = sum(entry.nbytes for contents in shards.values() for entry in contents.arrays.values())
    digests = {file: contents.index_digest for file, contents in shards.items()}
    record = {"shards": digests, "order": list(order)}
    about = {"total_size": total, RECORD: record if more is None else record | more}
    with replacing(folder / INDEX, durable=durable) as temporary:
        temporary.write_text(json.dumps({"metadata": about, "weight_map": weight_map}), "utf-8")


def put_in_place(temporary: Path, path: Path, *, durable: bool) -> None:
    """Give a folder that is complete its name; one of that name goes out of sight first, and is removed last."""
    if durable:
        sync_folder(temporary)
    old = None
    if path.exists():
        old = path.with_name(f".{path.name}.{os.urandom(4).hex()}.old")
        path.rename(old)
    temporary.rename(path)
    if durable:
        sync_folder(path.parent)
    if old is not None:
        shutil.rmtree(old)
