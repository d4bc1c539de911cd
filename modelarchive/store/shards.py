"""The index of a folder of shards: the file that makes it one archive, written last."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeGuard

from modelarchive.errors import FormatError, ModelArchiveError, RemoteError, UnsafeFileError
from modelarchive.remote import RemoteFile
from modelarchive.store.contents import TRAINING, Contents
from modelarchive.store.digest import NO_DIGEST, digest_pieces
from modelarchive.store.replace import exchange, is_abandoned, lock_folder, replacing, sync_folder
from modelarchive.store.source import Source
from modelarchive.store.strict import document_object, short

#: The file that makes a folder of shards an archive; it is written last.
INDEX: Final = "model.safetensors.index.json"
#: The archive's part of it.
RECORD: Final = "modelarchive"
MAX_INDEX_BYTES: Final = 100_000_000
#: Bytes of the longest name that file systems have.
_LONGEST_NAME: Final = 255
#: HTTP's status for what is not there.
_NOT_FOUND: Final = 404
_SET_ASIDE: Final = re.compile(r"\.(.+)\.[0-9a-f]{8}\.old")


@dataclass(frozen=True)
class ShardIndex:
    """What the index of a folder of shards says, believed no further than the shards bear it out.

    Attributes:
        path: The index's file.
        shards: File name -> the digest of that shard's own index.
        order: Every parameter's name, aliases included; None: as the shards have them.
        objects: What PyTorch's distributed checkpoints say of names.
        map: What each shard holds; None: only the shards tell.
        files: Name of a file that is no shard -> its digest.
        digest: Digest of the index itself; "": it carries none.
        is_intact: Whether it is as it was written.
        total_size: Bytes of all arrays.
    """

    path: Path | RemoteFile
    shards: dict[str, str]
    order: list[str] | None
    objects: dict[str, Any]
    map: ShardMap | None
    files: dict[str, str]
    digest: str
    is_intact: bool
    total_size: int = 0


@dataclass(frozen=True)
class ShardMap:
    """Which shard holds what: with it a part of the model is read without opening the other shards.

    Attributes:
        texts: The shard that holds the texts.
        places: Name of an array -> its shard.
        aliases: Name of a shared parameter -> its canonical name.
        members: As in :class:`modelarchive.store.contents.Contents`; None: there are none.
        training: Likewise.
        stored: Name -> the name that the shards have for it, where that is another one.
    """

    texts: str
    places: dict[str, str]
    aliases: dict[str, str] = field(default_factory=dict)
    members: dict[str, str] | None = None
    training: dict[str, str] | None = None
    stored: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        """The other way: what the shards call an array -> its name."""
        return {other: name for name, other in self.stored.items()}


def read_index(folder: Path | RemoteFile) -> ShardIndex:
    """The index of a folder of shards.

    Raises:
        OSError: It cannot be read.
        FormatError: It is no index of an archive's shards.
        UnsafeFileError: It names a file that is not in the folder.
    """
    path = folder / INDEX
    raw = _content(path)
    try:
        return _parsed(raw, path)
    except FormatError as error:
        error.file = error.file or str(path)
        raise


def _parsed(raw: bytes, path: Path | RemoteFile) -> ShardIndex:
    whole = document_object(raw, what="the index of shards", strict=True)
    about = whole.get("metadata")
    record = about.get(RECORD) if isinstance(about, dict) else None
    shards = record.get("shards") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not shards or not _is_of_strings(shards):
        raise FormatError("is no index of an archive's shards")
    files = record.get("files", {})
    if not _is_of_strings(files):
        raise FormatError("files is no object of names and digests")
    for name in (*shards, *files):
        _check_place(name, path, is_shard=name in shards)
    listed, objects, digest = record.get("order"), record.get("objects"), record.get("digest", "")
    order = listed if isinstance(listed, list) and all(isinstance(each, str) for each in listed) else None
    if not isinstance(digest, str) or not digest.isascii():
        raise FormatError("digest is no string in ASCII")
    return ShardIndex(
        path,
        shards,
        order,
        objects if isinstance(objects, dict) else {},
        _map(record, order, whole.get("weight_map"), shards),
        files,
        digest,
        bool(digest) and digest_pieces((raw.replace(digest.encode(), NO_DIGEST.encode(), 1),)) == digest,
        _total(about),
    )


def _total(about: object) -> int:
    total = about.get("total_size") if isinstance(about, dict) else None
    return total if type(total) is int and total >= 0 else 0


def _check_place(name: str, path: Path | RemoteFile, *, is_shard: bool) -> None:
    """Refuse the name of a file that is not in the folder, or, of one beside the shards, in a folder of that."""
    parts = [name] if is_shard else name.split("/")
    if not all(map(is_own, parts)):
        raise UnsafeFileError(
            f"names the file {short(name)}, which is not in its own folder", rule="own folder only", file=path
        )


def is_own(name: str) -> bool:
    """Whether it is the name of a file in the folder itself, on any system."""
    return (
        name not in ("", ".", "..")
        and not any(sign in name for sign in "/\\:\0")
        and len(name.encode("utf-8", "surrogatepass")) <= _LONGEST_NAME
        and not any("\ud800" <= sign <= "\udfff" for sign in name)
    )


def _map(
    record: dict[str, Any], order: Sequence[str] | None, weight_map: object, shards: Mapping[str, str]
) -> ShardMap | None:
    """What each shard holds, if the index says it; nothing of it names what is not there.

    Raises:
        FormatError: It says something impossible.
    """
    if "texts" not in record:
        return None
    texts = record["texts"]
    aliases, stored = record.get("aliases", {}), record.get("stored", {})
    if (
        not _is_of_strings(weight_map)
        or {texts if isinstance(texts, str) else "", *weight_map.values()} - shards.keys()
    ):
        raise FormatError("names a shard for an array or the texts that it has no digest of")
    if not _is_of_strings(aliases) or not _is_of_strings(stored):
        raise FormatError("aliases or stored is no object of names")
    ours = {other: name for name, other in stored.items()}
    places = {ours.get(name, name): file for name, file in weight_map.items()}
    if len(ours) < len(stored) or ours.keys() - weight_map.keys():
        raise FormatError("stored does not name one array each")
    members, training = _pairs(record, "members"), _pairs(record, "training")
    known = [name for name in (*places, *aliases) if members is not None or not name.startswith(TRAINING)]
    if len(places) < len(weight_map) or aliases.keys() & places.keys() or {*aliases.values()} - places.keys():
        raise FormatError("an alias does not name one array, or two arrays have one name")
    if order is None or sorted(order) != sorted(known):
        raise FormatError("order does not list every parameter once")
    return ShardMap(texts, places, aliases, members, training, stored)


def _pairs(record: dict[str, Any], key: str) -> dict[str, str] | None:
    """The members of a structure: pairs of a path and what is there."""
    listed = record.get(key)
    if listed is None:
        return None
    if not isinstance(listed, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, str) for each in pair) for pair in listed
    ):
        raise FormatError(f"{key} is no list of pairs")
    return dict(listed)


def _is_of_strings(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def size_of(path: Path | RemoteFile) -> int:
    """Bytes of a file, wherever it lies."""
    return path.size if isinstance(path, RemoteFile) else path.stat().st_size


def read_beside(folder: Path | RemoteFile, name: str) -> bytes | None:
    """A file that lies beside the shards; None where there is none.

    Raises:
        UnsafeFileError: It is a link out of the folder, but for the Hub's cache.
        FormatError: It is too large to be one.
        RemoteError: It lies elsewhere, and does not come.
    """
    if isinstance(folder, RemoteFile):
        try:
            return _content(folder / name)
        except RemoteError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
    path = folder / name
    own, real = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    places = [own, own.parent.parent / "blobs"] if own.parent.name == "snapshots" else [own]
    if not any(real.is_relative_to(place) for place in places):
        raise UnsafeFileError("is a link out of its own folder", rule="own folder only", file=path)
    return _content(path) if path.is_file() else None


def _content(path: Path | RemoteFile) -> bytes:
    """A whole file, which is no pipe and no device, and not too large for a text."""
    source: Any = path if isinstance(path, RemoteFile) else Source(path)
    with contextlib.nullcontext() if source is path else contextlib.closing(source):
        if source.size > MAX_INDEX_BYTES:
            raise FormatError(f"has {source.size:,} bytes, expected a text beside shards", file=path)
        content: bytes = source.read(0, source.size)
        return content


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
    record = {"digest": NO_DIGEST, "shards": digests, "order": list(order)} | (more or {})
    document = {"metadata": {"total_size": total, RECORD: record}, "weight_map": weight_map}
    raw = json.dumps(document).encode()
    with replacing(folder / INDEX, durable=durable, size=len(raw)) as temporary:
        temporary.write_bytes(raw.replace(NO_DIGEST.encode(), digest_pieces((raw,)).encode(), 1))


def map_record(shards: ShardMap) -> dict[str, Any]:
    """What the archive's part of an index says of which shard holds what, beside its ``weight_map``."""
    found: dict[str, Any] = {"texts": shards.texts}
    found |= {key: dict(value) for key in ("aliases", "stored") if (value := getattr(shards, key))}
    found |= {key: [*value.items()] for key in ("members", "training") if (value := getattr(shards, key)) is not None}
    return found


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str], *, durable: bool) -> Iterator[Path]:
    """Yield a new folder beside `path`, which takes its place once it is complete, or is removed.

    Args:
        path: The folder to be. One that is there is a folder of shards, with nothing else in it, or empty; a symbolic
            link is followed, so that the link stays.
        durable: As in :func:`modelarchive.save`.

    Raises:
        OSError: There is something else at `path`, its folder is missing or read-only, the disk is full; the old
            folder is as it was.
    """
    target = Path(os.path.realpath(os.fsdecode(path)))
    _check_target(target)
    stem = f".{os.fsdecode(os.fsencode(target.name)[:200])}."
    _remove_abandoned(target, stem)
    temporary = target.with_name(f"{stem}{os.urandom(6).hex()}.partial")
    number = -1
    try:
        temporary.mkdir()
        number = temporary.stat().st_ino
        with lock_folder(temporary):
            yield temporary
            put_in_place(temporary, target, durable=durable)
    except BaseException as error:
        is_there = target.exists() and target.stat().st_ino == number
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and str(target.parent) in os.fsdecode(error.filename or target):
            words = os.strerror(error.errno) if error.errno else str(error)
            what = "the new folder is there, a power cut may undo that" if is_there else "nothing was changed"
            raise OSError(error.errno or errno.EIO, f"{words} while saving; {what}", str(target)) from error
        raise


def _check_target(target: Path) -> None:
    """Refuse to write over anything but a folder of shards."""
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder to save in does not exist", str(target.parent))
    if not target.exists():
        return
    if not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is a file, expected a folder for shards", str(target))
    inside = {each.name for each in target.iterdir()}
    known: set[str] = set()
    if INDEX in inside:
        with contextlib.suppress(ModelArchiveError, OSError):
            index = read_index(target)
            known = {INDEX, *index.shards, *(name.partition("/")[0] for name in index.files)}
    if others := sorted(inside - known):
        what = f"has files in it that are no shards of an archive, {others[0]!r} say; nothing was changed"
        raise FileExistsError(errno.EEXIST, f"the folder {what}", str(target))


def _remove_abandoned(target: Path, stem: str) -> None:
    """Remove what killed saves of this target have left: partial folders that nobody holds a lock on."""
    with contextlib.suppress(PermissionError), os.scandir(target.parent) as entries:
        found = [Path(each.path) for each in entries if each.name.startswith(stem) and each.is_dir()]
        for each in found:
            if set_aside(each.name) == target.name and not target.exists():
                each.rename(target)
            elif each.suffix in (".partial", ".old") and is_abandoned(each):
                shutil.rmtree(each, ignore_errors=True)


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
        shutil.rmtree(old, ignore_errors=True)  # what is left of it the next save removes


def set_aside(name: str) -> str | None:
    """The name that a folder had before :func:`put_in_place` renamed it; None of any other name."""
    match = _SET_ASIDE.fullmatch(name)
    return None if match is None else match[1]
