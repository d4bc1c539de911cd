"""A checkpoint of several processes: each writes its parts, one makes them a checkpoint, all hear what came of it."""

from __future__ import annotations

import hashlib
import importlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelarchive import dtypes, names, tensors
from modelarchive.archive.sharding import write_shard
from modelarchive.archive.training import Training, training_of
from modelarchive.checkpoints import parts as parts_in
from modelarchive.checkpoints import states
from modelarchive.checkpoints.networks import framework_of
from modelarchive.checkpoints.parts import Shared
from modelarchive.checkpoints.snapshot import RECORD, Describe, Snapshot, listed, take
from modelarchive.errors import CheckpointError, MissingDependencyError, ModelArchiveError, counted
from modelarchive.store.contents import TRAINING, Piece, members_of
from modelarchive.store.deferred import Deferred
from modelarchive.store.joining import check_joined
from modelarchive.store.reader import Reader
from modelarchive.store.sharded import ShardedReader
from modelarchive.store.shards import put_in_place, write_index

#: Where lies what each process has of its own, but for the first one.
RANKS: Final = "ranks"


def sharing() -> Any:
    """PyTorch's part in it.

    Raises:
        MissingDependencyError: PyTorch is not installed.
    """
    try:
        return importlib.import_module("modelarchive.exchange.torch.sharing")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError(
            "processes share a run by PyTorch, which is not installed", extra="torch"
        ) from error


def take_share(
    group: Any,
    step: int,
    model: Any,
    parts: Mapping[str, Any],
    metrics: Mapping[str, Any],
    *,
    random: bool = True,
    describe: Describe = lambda model, values: None,
) -> Snapshot:
    """The same of a run of several processes: what this one saves of it.

    The model, further networks, optimizers and distributed tensors are all processes' together, wherever they stand;
    everything else is each one's own.
    """
    distributed = sharing()
    called = states.parameter_names(model, parts)
    states_of = {name: states.taken(value, called) for name, value in parts.items()}
    shared = Shared.of(parts, states_of)
    local = {
        f"{TRAINING}{path}": distributed.local(tensor)
        for name, state in states_of.items()
        for path, tensor in parts_in.distributed(state, names.encode_key(name))
    }
    room = framework_of(model)
    if room is not None and hasattr(room, "whole_tensors_of"):
        tensors_of = room.whole_tensors_of(model)
        local |= {name: found for name, each in tensors_of.items() if (found := distributed.local(each)) is not None}
    if group.rank == 0:
        whole = parts_in.localised(states_of)
        taken = take(step, model, whole, metrics, random=random, called=called, describe=describe)
    else:
        places = {name: names.encode_key(name) for name in parts}
        own = {name: shared.of_one(states_of[name], at) for name, at in places.items() if at not in shared.paths}
        mine = take(step, None, own, metrics, random=random, called=called).data
        mine[RECORD] |= listed("shared", sorted(shared.paths - {*places.values()}))
        whole = parts_in.localised({name: shared.of_all(states_of[name], at) for name, at in places.items()})
        whole = {name: state for name, state in whole.items() if state is not None}
        taken = take(step, model, {}, metrics, random=False)
        taken = replace(taken, training=training_of({**whole, RANKS: {str(group.rank): mine}}))
    owned = {name for name in taken.arrays if (local[name].is_own if name in local else group.rank == 0)}
    prefixes = tuple(f"{TRAINING}{path}/" for path in shared.paths)
    wholes = {
        name: _whole(array, local.get(name))
        for name, array in taken.arrays.items()
        if not name.startswith(TRAINING) or f"{name}/".startswith(prefixes)
    }
    taken = replace(
        taken,
        pieces={name: each.piece for name, each in local.items() if each.piece is not None},
        order=tuple(taken.parameters),
        shared=wholes,
        doubtful={name: _begins(each) for name, each in local.items() if name in owned and not each.is_everywhere},
    )
    return _only(taken, owned | {name for name in taken.arrays if name.startswith(f"{TRAINING}{RANKS}/")}, group.rank)


def _whole(array: np.ndarray | Deferred, local: Any) -> tuple[str, tuple[int, ...]]:
    shape = array.shape if local is None or local.piece is None else local.piece.shape
    return array.dtype.name, tuple(shape)


def _begins(local: Any) -> tuple[int, ...]:
    return (0,) * local.tensor.ndim if local.piece is None else tuple(local.piece.offsets)


def _only(taken: Snapshot, owned: set[str], rank: int) -> Snapshot:
    """What one process writes of a snapshot."""
    return replace(
        taken,
        parameters={name: array for name, array in taken.parameters.items() if name in owned},
        training=own_share(taken.training, owned, rank),
        pieces={name: piece for name, piece in taken.pieces.items() if name in owned},
    )


def own_share(training: Training, owned: set[str], rank: int) -> Training:
    """What one process writes of a training structure that all of them have taken: the first one all that is shared."""
    if rank == 0:
        arrays = {name: array for name, array in training.arrays.items() if name in owned}
        return training._replace(arrays=arrays, members=_without(training.members, training.arrays.keys() - owned))
    inside = f"{RANKS}/{rank}"
    paths = {path for path in training.members if path == inside or path.startswith(f"{inside}/")}
    paths |= {name.removeprefix(TRAINING) for name in owned if name.startswith(TRAINING)}
    members = members_of(training.members, paths)
    known = {TRAINING + path for path in members}
    return Training(
        members,
        {name: array for name, array in training.arrays.items() if name in known},
        {alias: name for alias, name in training.aliases.items() if alias in known and name in known},
        {path: text for path, text in training.texts.items() if path[1:] in known},
    )


def _without(members: Mapping[str, str], gone: set[str]) -> dict[str, str]:
    return {path: kind for path, kind in members.items() if TRAINING + path not in gone}


def write(group: Any, path: Path, taken: Snapshot, *, durable: bool, finished: Callable[[], None]) -> None:
    """Write the checkpoint of all processes; each of them calls this.

    Args:
        group: The processes.
        path: The folder to be.
        taken: What this process holds, its own parts only.
        durable: Have the system put it on the disk before it takes its place.
        finished: Called by the first process once the checkpoint is in its place.

    Raises:
        CheckpointError: A process could not write its part, or has what would be lost; says which, and why. There is
            no checkpoint then.
    """
    taken = _agreed(group, taken)
    temporary = path.with_name(f".{path.name}.tmp")

    def begin() -> None:
        if group.rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()

    def part() -> str:
        file = f"model-{group.rank + 1:05d}-of-{group.size:05d}.safetensors"
        write_shard(
            temporary / file,
            taken.parameters,
            taken.training,
            {*taken.arrays},
            with_texts=True,
            kinds=taken.kinds if group.rank == 0 else {},
            texts=taken.texts,
            pieces={name: piece for name, piece in taken.pieces.items() if name in taken.arrays},
            durable=durable,
        )
        return file

    def commit(files: list[str]) -> None:
        if group.rank == 0:
            readers = {file: Reader(temporary / file) for file in files}
            for reader in readers.values():
                reader.source.close()
            check_joined(readers.values(), temporary)
            contents = {file: reader.contents for file, reader in readers.items()}
            write_index(temporary, contents, taken.order, durable=durable)
            put_in_place(temporary, path, durable=durable)
            finished()

    _all(group, begin)
    files = _all(group, part)
    _all(group, lambda: commit(files))


def _agreed(group: Any, taken: Snapshot) -> Snapshot:
    """A snapshot without the parts that another process writes, once it is known that nothing of any is lost.

    Raises:
        CheckpointError: A process saves another step, or has shared arrays that the first one has not, or otherwise.
    """
    said = hashlib.sha256(repr(sorted(taken.shared.items())).encode()).hexdigest()
    several = _all(group, lambda: (said, taken.doubtful, taken.step))
    for rank, (*_, step) in enumerate(several):
        if step != several[0][2]:
            raise CheckpointError(
                f"the checkpoint was not written: process 0 saves step {several[0][2]}, process {rank} step {step}",
                hint="all processes save at one step; after a signal they agree on it: all_reduce a flag in each step",
            )
    if len({each for each, *_ in several}) > 1:
        first, *others = _all(group, lambda: taken.shared)
        for rank, each in enumerate(others, 1):
            if lost := [name for name, what in each.items() if first.get(name) != what]:
                what = f"{counted(len(lost), 'array')} that process 0 has not, or has otherwise: {', '.join(lost[:5])}"
                raise CheckpointError(
                    f"the checkpoint was not written: process {rank} has {what}",
                    hint="parts of tensors are DTensors here; ArchiveWriter writes what processes have apart",
                )
    writers: dict[tuple[str, tuple[int, ...]], int] = {}
    for rank, (_, doubtful, _) in enumerate(several):
        for place in doubtful.items():
            writers.setdefault(place, rank)
    twice = {name for name, begins in taken.doubtful.items() if writers[name, begins] != group.rank}
    return _only(taken, taken.arrays.keys() - twice, group.rank) if twice else taken


def _all(group: Any, act: Callable[[], Any]) -> list[Any]:
    """Have each process do something; what each gave, or the failures of all.

    Raises:
        CheckpointError: Some failed.
    """
    value = problem = None
    try:
        value = act()
    except Exception as error:
        problem = error
    # Words alone: not every exception goes to another process, and all would wait for it.
    several = group.gathered((value, None if problem is None else str(problem) or type(problem).__name__))
    failed = [f"process {rank}: {what}" for rank, (_, what) in enumerate(several) if what is not None]
    if failed:
        raise CheckpointError("\n".join(["the checkpoint was not written:", *failed])) from problem
    return [each for each, _ in several]


def sent(error: Exception | None) -> Exception | None:
    """An error as it goes to another process: not every class of other libraries does, and all would wait for it."""
    if error is None or isinstance(error, ModelArchiveError):
        return error
    return CheckpointError(f"another process failed: {str(error) or type(error).__name__}")


class LocalReader:
    """An open checkpoint as one process sees it: of distributed tensors its own part.

    Args:
        reader: The checkpoint.
        likes: Name of an array in it -> the distributed tensor that is filled with it.
        rank: The number of the process.
    """

    def __init__(self, reader: Any, likes: Mapping[str, Any], rank: int) -> None:
        self._reader = reader
        self.source = reader.source
        self.boxes: dict[str, Piece] = {}
        arrays = dict(reader.contents.arrays)
        for name, like in likes.items():
            part = sharing().local(like)
            entry = arrays[name]
            if part.piece is not None and tuple(part.piece.shape) == tuple(entry.shape):
                shape = tuple(part.tensor.shape)
                self.boxes[name] = part.piece
                nbytes = int(np.prod(shape)) * dtypes.DENSE[entry.dtype].itemsize
                arrays[name] = entry._replace(shape=shape, nbytes=nbytes)
        self.contents = replace(reader.contents, arrays=arrays)

    def load(self, wanted: Any, *, verify: bool, into: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The named arrays, or this process's parts of them."""
        several = list(wanted)
        plain = [name for name in several if name not in self.boxes]
        found: dict[str, np.ndarray] = self._reader.load(plain, verify=verify, into=into)
        for name in self.boxes.keys() & {*several}:
            entry = self.contents.arrays[name]
            target = into.get(name)
            found[name] = np.empty(entry.shape, dtypes.numpy_dtype(entry.dtype)) if target is None else target
            self._fill(found[name], name, verify=verify)
        return {name: found[name] for name in several}

    def _fill(self, target: np.ndarray, name: str, *, verify: bool) -> None:
        begins = self.boxes[name].offsets
        for part in self._reader.parts(name) if isinstance(self._reader, ShardedReader) else ():
            if part.piece.offsets == begins and part.shape == target.shape and target.flags.c_contiguous:
                part.reader.load([name], verify=verify, into={name: target})
                return
        for begin, shape, read in _stored(self._reader, name, verify=verify):
            low = [max(one, two) for one, two in zip(begin, begins, strict=True)]
            high = [min(one + n, two + m) for one, n, two, m in zip(begin, shape, begins, target.shape, strict=True)]
            if all(one < two for one, two in zip(low, high, strict=True)):
                there = tuple(slice(a - at, b - at) for a, b, at in zip(low, high, begin, strict=True))
                here = tuple(slice(a - at, b - at) for a, b, at in zip(low, high, begins, strict=True))
                target[here] = read()[there]

    def deferred(self, name: str) -> Deferred:
        """One array, of which only shape and dtype are asked for."""
        entry = self.contents.entry(name)
        return Deferred(tuple(entry.shape), dtypes.numpy_dtype(entry.dtype), lambda: self._reader.load([name])[name])

    def text(self, hdf5_path: str) -> Any:
        """A text."""
        return self._reader.text(hdf5_path)

    def damaged(self, progress: Any = None, *, only: Any = None) -> dict[str, tuple[str, str]]:
        """Compare digests, as the checkpoint's reader does."""
        found: dict[str, tuple[str, str]] = self._reader.damaged(progress, only=only)
        return found


def _stored(reader: Any, name: str, *, verify: bool) -> list[tuple[tuple[int, ...], tuple[int, ...], Any]]:
    """(begin, shape, what reads it) of each stored part of an array."""
    if isinstance(reader, ShardedReader):
        return [
            (part.piece.offsets, part.shape, lambda part=part: part.reader.load([name], verify=verify)[name])
            for part in reader.parts(name)
        ]
    shape = tuple(reader.contents.arrays[name].shape)
    return [((0,) * len(shape), shape, lambda: reader.load([name], verify=verify)[name])]


def likes_of(
    reader: Any, model: Any, parts: Mapping[str, Any], called: Mapping[int, str], taken: Any
) -> dict[str, Any]:
    """Name in a checkpoint -> the distributed tensor of this process that is filled with it.

    Args:
        reader: The open checkpoint.
        model: The network, or None.
        parts: Name -> object.
        called: Tensor, by ``id`` -> the name of the parameter.
        taken: Gives the state of an object.
    """
    arrays = reader.contents.arrays
    found: dict[str, Any] = {}
    room = framework_of(model)
    if room is not None and room.is_module(model) and hasattr(room, "whole_tensors_of"):
        found = {name: each for name, each in room.whole_tensors_of(model).items() if tensors.is_distributed(each)}
    divided: dict[str, Any] = {}
    for part, value in parts.items():
        for path, each, state in parts_in.parts_of(value, taken(value), names.encode_key(part)):
            found |= {f"{TRAINING}{at}": tensor for at, tensor in parts_in.distributed(state, path)}
            room = framework_of(each)
            if room is not None and room.is_optimizer(each) and hasattr(room, "whole_tensors_of"):
                for name, tensor in room.parameters_of(each, called).items():
                    divided[f"{TRAINING}{path}/state/{names.encode_key(name)}"] = tensor
    for name in arrays:
        # A new optimizer has no state: what is of a parameter's shape is divided as the parameter is.
        like = next((divided[name[:at]] for at, sign in enumerate(name) if sign == "/" and name[:at] in divided), None)
        if tensors.is_distributed(like):
            found.setdefault(name, like)
    return {
        name: tensor
        for name, tensor in found.items()
        if name in arrays and tuple(arrays[name].shape) == tuple(tensor.shape)
    }
