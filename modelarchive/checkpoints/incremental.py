"""Checkpoints that share what did not change: folders of shards, whose files the next one takes over by a link."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import warnings
from collections.abc import Container, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from modelarchive import names
from modelarchive.archive.sharding import write_shard
from modelarchive.checkpoints.snapshot import Snapshot
from modelarchive.checkpoints.staging import Staging
from modelarchive.dtypes import dense_name
from modelarchive.errors import ModelArchiveError
from modelarchive.store.contents import TRAINING, Contents, Entry
from modelarchive.store.deferred import Deferred
from modelarchive.store.digest import WORTH_THREADS, digest_pieces
from modelarchive.store.fill import pieces_of
from modelarchive.store.replace import sync_files, sync_folder
from modelarchive.store.sharded import ShardedReader
from modelarchive.store.shards import INDEX, put_in_place, write_index
from modelarchive.store.threads import THREADS
from modelarchive.store.writeback import begin_writeback

#: Files that the arrays of a first checkpoint are divided into at most.
MOST_SHARDS: Final = 32
_VALUES: Final = "values"


class Shards:
    """What the last checkpoint of a run lies in, and what of it the next one can take over.

    Args:
        frozen: Patterns of names of arrays that never change.

    Attributes:
        path: The last checkpoint; None: there is none.
        files: File name -> what it holds.
    """

    def __init__(self, frozen: str | Iterable[str] | None = None) -> None:
        self.path: Path | None = None
        self.files: dict[str, Contents] = {}
        #: File name -> what the system said of it when it was written or read.
        self._stamps: dict[str, tuple[int, int]] = {}
        self._staging = Staging()
        self._frozen = [] if frozen is None else [frozen] if isinstance(frozen, str) else [*frozen]
        self._is_frozen = names.matcher(self._frozen).match
        self._is_new = True

    @property
    def settled(self) -> Mapping[Hashable, np.ndarray]:
        """Where an array lies -> the array, of those that are taken to stay as they are."""
        return self._staging.settled

    def staged(self, taken: Snapshot) -> Snapshot:
        """A snapshot on copies that are kept, with the digests of those that are as they were.

        Raises:
            CheckpointError: What never changes has changed.
        """
        unknown = [each for each in self._frozen if self._is_new and not names.select(taken.arrays, each)]
        self._is_new = False
        if unknown:
            several = ", ".join(map(repr, unknown))
            what = f"frozen says {several}, and no array is named so: those that never change are compared at each save"
            warnings.warn(what, UserWarning, stacklevel=6)
        return taken.on(self._staging.renewed(taken.arrays, self._is_frozen), self._staging.digests)

    def close(self) -> None:
        """Let go of the memory.

        Raises:
            CheckpointError: What never changes has changed.
        """
        try:
            self._staging.compare()
        finally:
            self._staging.close()

    def read(self, path: Path) -> None:
        """Know the shards of a checkpoint that is there; one that cannot be read is as none."""
        self.path, self.files = None, {}
        with contextlib.suppress(ModelArchiveError, OSError):
            reader = ShardedReader(path)
            reader.source.close()
            self._know(path, {name: each.contents for name, each in reader.shards.items()})

    def _know(self, path: Path, files: dict[str, Contents]) -> None:
        self._stamps = {name: stamp for name in files if (stamp := _stamp(path / name)) is not None}
        self.path, self.files = path, files

    def write(self, path: Path, taken: Snapshot, *, durable: bool = True) -> None:
        """Write a checkpoint; files whose arrays are all as they were are linked.

        Args:
            path: The folder to be.
            taken: What it shall hold.
            durable: Have the system put it on the disk before it takes its place.
        """
        arrays = taken.arrays
        # What is known to be another than before, or has none before it, is hashed while it is written.
        known_by_writing = self._staging.changed if self.files else arrays.keys()
        found = _entries(arrays, taken.digests, but=known_by_writing)
        temporary = path.with_name(f".{path.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
        except FileNotFoundError as error:
            raise FileNotFoundError(
                error.errno, "the folder of the run is not there any more", str(path.parent)
            ) from None
        try:
            files = self._take_over(temporary, found)
            written: dict[str, Contents] = {}
            *others, last = self._groups(arrays, found, kept=files)
            for group in others:
                written |= _write(temporary, taken, group, with_texts=False, durable=durable)
            written |= _write(temporary, taken, last, with_texts=True, durable=durable)
            files |= written
            taken.digests.update(
                (name, str(entry.digest)) for each in written.values() for name, entry in each.arrays.items()
            )
            write_index(temporary, files, list(taken.parameters), durable=False)
            if durable:
                sync_files([temporary / name for name in (*written, INDEX)])
            put_in_place(temporary, path, durable=durable)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._know(path, files)

    def _take_over(self, temporary: Path, found: Mapping[str, Entry]) -> dict[str, Contents]:
        """Link the files of the last checkpoint that hold nothing but what is as it was, if nobody wrote into them."""
        kept: dict[str, Contents] = {}
        for name, contents in self.files.items():
            if self.path is None or contents.texts or not contents.arrays:
                continue
            if all(array in found and _same(found[array], entry) for array, entry in contents.arrays.items()):
                if (stamp := _stamp(self.path / name)) is None or stamp != self._stamps.get(name):
                    continue
                try:
                    _link(self.path / name, temporary / name)
                except OSError:
                    continue  # it was removed meanwhile, or is of another system: it is written anew
                kept[name] = contents
        return kept

    def _groups(
        self, arrays: Mapping[str, np.ndarray | Deferred], found: Mapping[str, Entry], *, kept: Mapping[str, Contents]
    ) -> list[list[str]]:
        """What is to be written, and what of it goes into one file; last what goes with the texts: what changes."""
        there = {name for contents in kept.values() for name in contents.arrays}
        before = {name: entry for contents in self.files.values() for name, entry in contents.arrays.items()}
        groups: dict[tuple[bool, str], list[str]] = {}
        for name in arrays:
            if name not in there:
                stays = name in before and _same(found[name], before[name])
                # Of a first checkpoint nobody knows what will change; blocks do as a whole, mostly.
                key = (stays, "" if before else _block(name))
                groups.setdefault(key, []).append(name)
        changed = groups.pop((False, ""), []) if before else []
        several = list(groups.values())
        while len(several) > MOST_SHARDS:
            several = [[*itertools.chain(*several[at : at + 2])] for at in range(0, len(several), 2)]
        return [*several, changed]


def _block(name: str) -> str:
    """The outermost block that an array belongs to, an optimizer's state to that of its parameter."""
    part, _, path = name.removeprefix(TRAINING).partition("/state/")
    if name.startswith(TRAINING):
        return f"{part}/{path.partition('.')[0]}"
    return name.partition(".")[0]


def _entries(
    arrays: Mapping[str, np.ndarray | Deferred], digests: dict[str, str], *, but: Container[str]
) -> dict[str, Entry]:
    """Name -> dtype, shape and digest of each array; digests not known are found but of some, and put among them."""
    unknown = {name: array for name, array in arrays.items() if name not in digests and name not in but}
    if sum(array.nbytes for array in unknown.values()) < WORTH_THREADS:
        digests |= {name: _digest(array) for name, array in unknown.items()}
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            digests.update(zip(unknown, pool.map(_digest, unknown.values()), strict=True))
    return {
        name: Entry(str(dense_name(array.dtype)), array.shape, None, array.nbytes, digests.get(name))
        for name, array in arrays.items()
    }


def _digest(array: np.ndarray | Deferred) -> str:
    return digest_pieces(pieces_of(array))


def _same(one: Entry, other: Entry) -> bool:
    return (one.dtype, tuple(one.shape), one.digest) == (other.dtype, tuple(other.shape), other.digest)


def _write(
    folder: Path, taken: Snapshot, names: Iterable[str], *, with_texts: bool, durable: bool
) -> dict[str, Contents]:
    """Write one shard; its name comes from its content, so that no two files of a run have one name."""
    made = folder / f"{_VALUES if with_texts else 'model'}.new"
    contents = write_shard(
        made,
        taken.parameters,
        taken.training,
        {*names},
        with_texts=with_texts,
        kinds=taken.kinds,
        texts=taken.texts,
        durable=False,
    )
    if durable:
        with made.open("rb") as file:
            begin_writeback(file.fileno())  # all are waited for together, at the end
    name = f"{_VALUES if with_texts else 'model'}-{contents.index_digest[:16]}.safetensors"
    made.rename(folder / name)
    return {name: contents}


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes with a file; None of one that is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)  # a file system without hard links
        with target.open("rb") as file:
            os.fsync(file.fileno())
        sync_folder(target.parent)
