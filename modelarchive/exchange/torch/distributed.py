"""Storage for ``torch.distributed.checkpoint``: folders of archives, whole or not there, every digest compared.

PyTorch's own engine plans, divides and reshards; what is here writes and reads the bytes.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch.distributed.checkpoint import HuggingFaceStorageReader
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, ReadItem, SavePlan, WriteItem, WriteItemType
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from modelarchive import names, tensors
from modelarchive.archive.sharding import write_shard
from modelarchive.archive.training import Training, load_training, training_of
from modelarchive.errors import UnsupportedDataError
from modelarchive.exchange.torch.tensors import TORCH, tensor_of
from modelarchive.formats.signs import shards_of_archive
from modelarchive.store.contents import TRAINING, Piece
from modelarchive.store.deferred import Deferred
from modelarchive.store.joining import check_joined
from modelarchive.store.reader import Reader
from modelarchive.store.sharded import ShardedReader
from modelarchive.store.shards import put_in_place, read_index, write_index

#: Where tensors lie whose names are no names of parameters, and all that is no tensor.
_TENSORS: Final = "tensors"
_VALUES: Final = "values"


class ArchiveWriter(StorageWriter):
    """Writes a distributed checkpoint as a folder of archives, one or more of each process.

    ``dcp.save(state, storage_writer=ArchiveWriter("run/step-100"))``. Everything is written into a hidden folder
    beside the target; the process that coordinates writes its index last and gives it its name. A process that dies
    leaves no checkpoint, and what it left is removed by the next save of that name.

    What is no tensor is stored as plain data; what cannot be said so is refused, with its place. Nothing is pickled.

    Args:
        path: The folder to be, on a file system that all processes see. One that is there is replaced.
        durable: Have the system put everything on the disk before it takes its place.
    """

    def __init__(self, path: str | os.PathLike[str], *, durable: bool = True) -> None:
        super().__init__()
        self.path = Path(os.fsdecode(path))
        self._durable = durable

    @property
    def _temporary(self) -> Path:
        return self.path.with_name(f".{self.path.name}.tmp")

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Begin a save, of another folder if one is named."""
        if checkpoint_id is not None:
            self.path = Path(os.fsdecode(checkpoint_id))

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Remove what a save that was killed has left."""
        if is_coordinator:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary.mkdir(parents=True)

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Nothing to add."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Number the files of all processes, and find the names that are no names of parameters."""
        called = {item.index.fqn for plan in plans for item in plan.items if item.type != WriteItemType.BYTE_IO}
        odd = frozenset(_odd(called))
        counts = [len(_files(plan.items)) for plan in plans]
        first = 1
        prepared = []
        for plan, count in zip(plans, counts, strict=True):
            storage = {"first": first, "of": sum(counts), "odd": odd}
            prepared.append(_replaced(plan, storage))
            first += count
        return prepared

    def write_data(self, plan: SavePlan, planner: Any) -> Future[list[WriteResult]]:
        """Write this process's tensors and values.

        Raises:
            UnsupportedDataError: Something cannot be stored; lists all of it.
            OSError: A file cannot be written.
        """
        results = []
        about = plan.storage_data
        for number, items in enumerate(_files(plan.items), about["first"]):
            file = f"model-{number:05d}-of-{about['of']:05d}.safetensors"
            results += _write(self._temporary / file, items, planner, about["odd"], durable=self._durable)
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write the index, and give the folder its name: from then on there is a checkpoint.

        Raises:
            FormatError: A file is not what a process has written.
            OSError: The folder cannot be written.
        """
        files = dict.fromkeys(sorted({result.storage_data for several in results for result in several}))
        readers = {file: Reader(self._temporary / file) for file in files}
        for reader in readers.values():
            reader.source.close()
        check_joined(readers.values(), self._temporary)
        contents = {file: reader.contents for file, reader in readers.items()}
        order = list(dict.fromkeys(name for each in contents.values() for name in each.order))
        paths = {name: list(path) for name, path in (metadata.planner_data or {}).items()}
        write_index(self._temporary, contents, order, durable=self._durable, more={"objects": paths})
        put_in_place(self._temporary, self.path, durable=self._durable)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Whether it is the path of a folder."""
        return "://" not in os.fsdecode(checkpoint_id)

    def storage_meta(self) -> StorageMeta | None:
        """Where it is written."""
        return StorageMeta(checkpoint_id=str(self.path))


def _replaced(plan: SavePlan, storage: dict[str, Any]) -> SavePlan:
    return SavePlan(
        plan.items, storage, plan.planner_data, **({"usable": plan.usable} if hasattr(plan, "usable") else {})
    )


def _odd(called: set[str]) -> Iterator[str]:
    """Names that are no parameters': outside the grammar, or those of a block that has others in it."""
    blocks = set()
    for name in called:
        while name := name.rpartition(".")[0]:
            blocks.add(name)
    yield from (name for name in called if names.problem_with_name(name) or name in blocks)


def _files(items: list[WriteItem]) -> list[list[WriteItem]]:
    """What goes into one file each: of each tensor one piece; and what is no tensor."""
    files: list[list[WriteItem]] = []
    seen: dict[str, int] = {}
    values = [item for item in items if item.type == WriteItemType.BYTE_IO]
    for item in items:
        if item.type != WriteItemType.BYTE_IO:
            at = seen[item.index.fqn] = seen.get(item.index.fqn, -1) + 1
            if at == len(files):
                files.append([])
            files[at].append(item)
    return [*files, *([values] if values else [])]


def _write(
    path: Path, items: list[WriteItem], planner: Any, odd: frozenset[str], *, durable: bool
) -> list[WriteResult]:
    parameters: dict[str, np.ndarray | Deferred] = {}
    others: dict[str, np.ndarray | Deferred] = {}
    pieces: dict[str, Piece] = {}
    values: dict[str, Any] = {}
    sizes: dict[int, int] = {}
    for item in items:
        fqn = item.index.fqn
        if item.type == WriteItemType.BYTE_IO:
            values[fqn] = planner.lookup_object(item.index)
            sizes[id(item)] = 0
            continue
        array = _array(fqn, planner.resolve_data(item).detach())
        name = f"{TRAINING}{_TENSORS}/{names.encode_key(fqn)}" if fqn in odd else fqn
        (others if fqn in odd else parameters)[name] = array
        sizes[id(item)] = array.nbytes
        data = item.tensor_data
        if data is not None and tuple(data.chunk.sizes) != tuple(data.size):
            pieces[name] = Piece(tuple(data.chunk.offsets), tuple(data.size))
    training = training_of({_VALUES: values} if values else {})
    if others:
        members = {"": "dict", _TENSORS: "dict"} | dict.fromkeys((name[len(TRAINING) :] for name in others), "array")
        training = Training(training.members | members, training.arrays | others, training.aliases, training.texts)
    write_shard(
        path,
        parameters,
        training,
        {*parameters, *training.arrays},
        with_texts=bool(values),
        pieces=pieces,
        durable=durable,
    )
    return [WriteResult(item.index, sizes[id(item)], path.name) for item in items]


def _array(fqn: str, tensor: torch.Tensor) -> np.ndarray | Deferred:
    try:
        found = tensors.foreign(tensor)
    except UnsupportedDataError as error:
        raise UnsupportedDataError([(fqn, what) for _, what in error.problems], hint="nothing was written") from error
    if found is None:
        raise UnsupportedDataError([(fqn, f"is {type(tensor).__name__}, expected a tensor")])
    return found.read() if found.is_plain else Deferred(found.shape, found.dtype, found.read)


class ArchiveReader(StorageReader):
    """Reads a folder that :class:`ArchiveWriter` wrote, on any number of processes and in any sharding.

    ``dcp.load(state, storage_reader=ArchiveReader("run/step-100"))``. Folders of PyTorch's own
    ``HuggingFaceStorageWriter`` are read too, as PyTorch reads them.

    Args:
        path: The folder.
        verify: Compare each piece that is needed with its digest. False: of a piece only the rows that are needed
            are read. A folder of PyTorch's has no digests.

    Damage is an ``IntegrityError``, which PyTorch's engine wraps into its ``CheckpointException``, a
    ``BaseException``: ``except Exception`` does not see it.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = True) -> None:
        super().__init__()
        self.path = Path(os.fsdecode(path))
        self._verify = verify
        self._load_id: str | None = None
        self._theirs: HuggingFaceStorageReader | None = None
        self._pieces: dict[tuple[str, tuple[int, ...]], tuple[Reader, str]] = {}
        self._values: dict[str, Any] = {}

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Begin a load, of another folder if one is named."""
        if checkpoint_id is not None:
            self.path = Path(os.fsdecode(checkpoint_id))
        self._theirs = None
        self._pieces, self._values = {}, {}

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """What the folder holds, as PyTorch's engine asks for it.

        Raises:
            FormatError: It is no such folder; a shard is missing, damaged or another one; pieces leave a gap.
            UnsafeFileError: It breaks a safety rule.
        """
        if not shards_of_archive(self.path) and any(self.path.glob("*.safetensors")):
            self._theirs = HuggingFaceStorageReader(str(self.path))
            return self._theirs.read_metadata()
        reader = ShardedReader(self.path)
        found: dict[str, Any] = {}
        for name in reader.contents.arrays:
            fqn = _fqn(name)
            if fqn is None:
                continue
            chunks = []
            for part in reader.parts(name):
                chunks.append(ChunkStorageMetadata(torch.Size(part.piece.offsets), torch.Size(part.shape)))
                self._pieces[fqn, tuple(part.piece.offsets)] = (part.reader, name)
            entry = reader.contents.arrays[name]
            properties = TensorProperties(dtype=TORCH[entry.dtype])
            found[fqn] = TensorStorageMetadata(properties, torch.Size(entry.shape), chunks)
        if self._verify and (damaged := reader.damaged(only={*reader.contents.texts})):
            reader.refuse(damaged)
        training = load_training(cast("Reader", reader), mmap=False) if reader.contents.training else {}
        self._values = {str(fqn): value for fqn, value in training.get(_VALUES, {}).items()}
        found |= {fqn: BytesStorageMetadata() for fqn in self._values}
        paths = read_index(self.path).objects
        data = {name: tuple(path) for name, path in paths.items() if isinstance(path, list)} if paths else None
        return Metadata(found, data, {}, StorageMeta(load_id=self._load_id))

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Nothing to add; PyTorch's own reader keeps what it found."""
        if self._theirs is not None:
            self._theirs.set_up_storage_reader(metadata, is_coordinator)

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """Nothing to add."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """Nothing to add."""
        return plans

    def read_data(self, plan: LoadPlan, planner: Any) -> Future[None]:
        """Read what this process needs into its tensors.

        Raises:
            IntegrityError: With `verify`, bytes differ from their digest.
        """
        if self._theirs is not None:
            return self._theirs.read_data(plan, planner)
        jobs: dict[int, tuple[Reader, dict[str, list[ReadItem]]]] = {}
        for item in plan.items:
            if item.type == LoadItemType.BYTE_IO:
                planner.load_bytes(item, _stream(self._values[item.storage_index.fqn]))
                continue
            offset = tuple(item.storage_index.offset or ())
            reader, name = self._pieces[item.storage_index.fqn, offset or (0,) * len(item.lengths)]
            jobs.setdefault(id(reader), (reader, {}))[1].setdefault(name, []).append(item)
        for reader, several in jobs.values():
            _read(reader, several, planner, verify=self._verify)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Whether it is the path of a folder."""
        return "://" not in os.fsdecode(checkpoint_id)


def _fqn(name: str) -> str | None:
    """What PyTorch calls an array; None for what is no tensor of a distributed checkpoint."""
    if not name.startswith(TRAINING):
        return name
    prefix = f"{TRAINING}{_TENSORS}/"
    return str(names.decode_key(name[len(prefix) :])) if name.startswith(prefix) else None


def _stream(value: Any) -> io.BytesIO:
    """A value as PyTorch's engine wants it: a stream of its own, which was made here and now."""
    stream = io.BytesIO()
    torch.save(value, stream)
    stream.seek(0)
    return stream


def _read(reader: Reader, several: Mapping[str, list[ReadItem]], planner: Any, *, verify: bool) -> None:
    """Read pieces of one file: a whole one straight into its tensor, of others what is asked for."""
    into: dict[str, np.ndarray] = {}
    targets: dict[int, torch.Tensor] = {}
    for name, items in several.items():
        shape = tuple(reader.contents.arrays[name].shape)
        for item in items:
            targets[id(item)] = planner.resolve_tensor(item).detach()
        memory = tensors.memory_of(targets[id(items[0])])
        is_whole = len(items) == 1 and memory is not None and tuple(items[0].lengths) == shape == memory.shape
        if memory is not None and is_whole and memory.dtype.name == reader.contents.arrays[name].dtype:
            into[name] = memory
    whole = reader.load(several, verify=True, into=into) if verify else {}
    for name, items in several.items():
        for item in items:
            target = targets[id(item)]
            if name not in into or not verify:
                box = tuple(slice(at, at + n) for at, n in zip(item.storage_offsets, item.lengths, strict=True))
                target.copy_(tensor_of(np.array(_box(reader, name, box, whole), order="C")))  # of one number, too
            planner.commit_tensor(item, target)


def _box(reader: Reader, name: str, box: tuple[slice, ...], whole: Mapping[str, np.ndarray]) -> np.ndarray:
    if name in whole:
        return whole[name][box]
    if not box:
        return reader.load([name])[name]
    return reader.rows(name, box[0].start, box[0].stop)[(slice(None), *box[1:])]
