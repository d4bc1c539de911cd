"""The index of a folder of shards: the file that makes it one archive, written last."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.store.contents import Contents
from modelarchive.store.replace import exchange, replacing, sync_folder
from modelarchive.store.strict import document_object, short

#: The file that makes a folder of shards an archive; it is written last.
INDEX: Final = "model.safetensors.index.json"
#: The archive's part of it.
RECORD: Final = "modelarchive"
MAX_INDEX_BYTES: Final = 100_000_000
_SET_ASIDE: Final = re.compile(r"\.(.+)\.[0-9a-f]{8}\.old")


def read_index(folder: Path) -> dict[str, Any]:
    """The archive's part of a folder's index; its ``shards`` are file names with the digest of each shard's index.

    Raises:
        OSError: It cannot be read.
        FormatError: It is no index of an archive's shards.
        UnsafeFileError: It names a file that is not in the folder.
    """
    path = folder / INDEX
    size = path.stat().st_size
    if size > MAX_INDEX_BYTES:
        raise FormatError(f"has {size:,} bytes: it is no index of shards", file=path)
    try:
        whole = document_object(path.read_bytes(), what="the index of shards", strict=True)
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
    """Give a folder that is complete its name; one of that name changes places with it, and is removed last.

    Where the system cannot exchange two folders in one step, there is a moment in which the old one is there under
    the name that :func:`set_aside` knows, and none under its own.

    Raises:
        NotADirectoryError: There is a file of that name.
        OSError: The folder cannot be renamed; the old one is as it was.
    """
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is a file, expected a folder or nothing", str(path))
    if durable:
        sync_folder(temporary)
    old = None
    if not path.exists():
        temporary.rename(path)
    elif exchange(temporary, path):
        old = temporary
    else:
        old = path.with_name(f".{path.name}.{os.urandom(4).hex()}.old")
        path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            old.rename(path)
            raise
    if durable:
        sync_folder(path.parent)
    if old is not None:
        shutil.rmtree(old)


def set_aside(name: str) -> str | None:
    """The name that a folder had before :func:`put_in_place` renamed it; None of any other name."""
    match = _SET_ASIDE.fullmatch(name)
    return None if match is None else match[1]
