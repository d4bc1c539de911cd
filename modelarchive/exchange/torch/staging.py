"""Arrays from files onto a device: read by threads into small buffers, hashed on the way, and copied meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from blake3 import blake3

from modelarchive import dtypes
from modelarchive.errors import IntegrityError, OutOfMemoryError
from modelarchive.exchange.torch import devices
from modelarchive.exchange.torch.devices import BUFFER, Lane
from modelarchive.exchange.torch.tensors import TORCH, tensor_of
from modelarchive.store.deferred import Deferred
from modelarchive.store.digest import PIECE

#: Threads that read, hash and copy, each through buffers of its own.
THREADS: Final = min(16, os.cpu_count() or 1)
#: What arrays in a buffer begin at a multiple of.
_ALIGNMENT: Final = 64


@dataclass
class _Move:
    """An array on its way.

    Attributes:
        name: Its name, for messages.
        array: Where it comes from.
        target: The tensor on the device, as bytes.
        found: The digest of what was read; None: nobody asked.
    """

    name: str
    array: Deferred
    target: torch.Tensor
    found: str | None = None

    @property
    def is_damaged(self) -> bool:
        """Whether it is not what its digest says."""
        expected = None if self.array.extent is None else self.array.extent.digest
        return None not in (expected, self.found) and expected != self.found


def tensors_on(device: Any, arrays: Mapping[str, Deferred], *, verify: bool = False) -> dict[str, torch.Tensor]:
    """Arrays as tensors on a device. Host memory holds no more of them than two small buffers for each thread.

    Args:
        device: Where they go.
        arrays: Name -> array; the same object under two names is one tensor.
        verify: Compare each array that has a digest with it, on its way.

    Raises:
        ValueError: There is no such device.
        IntegrityError: With `verify`, bytes differ from their digest; names all of them.
        OutOfMemoryError: The device has no room for them.
    """
    place = devices.device_of(device)
    tensors: dict[int, torch.Tensor] = {}
    moves: list[_Move] = []
    for name, array in arrays.items():
        if id(array) in tensors:
            continue
        dtype = dtypes.dense_name(array.dtype)
        if array.extent is None or dtype is None:
            tensors[id(array)] = tensor_of(array.read() if array.view is None else array.view()).to(place)
            continue
        tensor = tensors[id(array)] = _allocated(array.shape, TORCH[dtype], place, arrays)
        moves.append(_Move(name, array, tensor.reshape(-1).view(torch.uint8) if array.nbytes else tensor))
    _carry_out(moves, place, verify=verify)
    if damaged := {move.name: (str(_digest(move)), str(move.found)) for move in moves if move.is_damaged}:
        first = next(move.array.extent for move in moves if move.name in damaged)
        raise IntegrityError(damaged, file=None if first is None else first.place.path)
    return {name: tensors[id(array)] for name, array in arrays.items()}


def _digest(move: _Move) -> str | None:
    return None if move.array.extent is None else move.array.extent.digest


def _allocated(
    shape: Sequence[int], dtype: torch.dtype, device: torch.device, arrays: Mapping[str, Deferred]
) -> torch.Tensor:
    try:
        return torch.empty(shape, dtype=dtype, device=device)
    except torch.OutOfMemoryError as error:
        needed = sum(array.nbytes for array in {id(each): each for each in arrays.values()}.values())
        hint = "a block takes less, and so does dtype='bfloat16' of an archive that was repacked so"
        raise OutOfMemoryError(f"{device} has no room for {needed:,} bytes of arrays", hint=hint) from error


def _carry_out(moves: Sequence[_Move], device: torch.device, *, verify: bool) -> None:
    jobs = list(_jobs(moves))
    if not jobs:
        return
    count = min(THREADS, len(jobs))
    # One array's digest is one chain of updates: where arrays are fewer than threads, BLAKE3's own help.
    hash_threads = max(1, THREADS // len(jobs))
    pending = iter(jobs)
    behind = devices.work_on(device)

    def run(_: int) -> None:
        lane = devices.lane_to(device, behind)
        try:
            for job in iter(lambda: next(pending, None), None):
                if len(job) > 1:
                    _together(job, lane, verify=verify)
                else:
                    _alone(job[0], lane, hash_threads if verify else 0)
        except BaseException:
            jobs.clear()  # the others read no more than what they have begun
            raise
        finally:
            lane.close()

    if count == 1:
        run(0)
        return
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, range(count)))


def _jobs(moves: Sequence[_Move]) -> Iterator[list[_Move]]:
    """Neighbours that fit into one buffer together, and single arrays; large ones come first, as they take longest."""
    large = [move for move in moves if move.array.nbytes > BUFFER // 2]
    yield from ([move] for move in sorted(large, key=lambda move: -move.array.nbytes))
    job: list[_Move] = []
    room = BUFFER
    for move in moves:
        size = _aligned(move.array.nbytes)
        if size > BUFFER // 2:
            continue
        if job and size > room:
            yield job
            job, room = [], BUFFER
        job.append(move)
        room -= size
    if job:
        yield job


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def _alone(move: _Move, lane: Lane, hash_threads: int) -> None:
    """Move one array, a buffer after another."""
    hasher = blake3(max_threads=hash_threads) if hash_threads else None
    for start in range(0, move.array.nbytes, BUFFER):
        buffer = lane.buffer()[: move.array.nbytes - start]
        _read(move, buffer.numpy(), start, hasher, piece=PIECE * max(1, hash_threads))
        lane.copy(move.target[start : start + BUFFER], buffer)
        lane.copied()
    if hasher is not None:
        move.found = hasher.hexdigest()


def _together(moves: Sequence[_Move], lane: Lane, *, verify: bool) -> None:
    """Move several small arrays through one buffer."""
    buffer = lane.buffer()
    start = 0
    for move in moves:
        part = buffer[start : start + move.array.nbytes]
        hasher = blake3() if verify else None
        _read(move, part.numpy(), 0, hasher, piece=PIECE)
        if hasher is not None:
            move.found = hasher.hexdigest()
        if len(part):
            lane.copy(move.target, part)
        start += _aligned(move.array.nbytes)
    lane.copied()


def _read(move: _Move, memory: np.ndarray, start: int, hasher: Any, *, piece: int) -> None:
    """Fill memory with a part of an array, and hash it while it is in the cache."""
    extent = move.array.extent
    if extent is None:
        return
    data = memory.data
    for at in range(0, len(data), piece):
        part = data[at : at + piece]
        extent.fill(part, start + at)
        if hasher is not None:
            hasher.update(part)
