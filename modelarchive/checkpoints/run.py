"""A run that is saved while it goes on: checkpoints in a folder, written behind the training, whole or not at all."""

from __future__ import annotations

import os
import time
import warnings
import weakref
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from modelarchive.archive import Archive
from modelarchive.checkpoints import folder as folders
from modelarchive.checkpoints import restoring, snapshot, together
from modelarchive.checkpoints.describing import Architecture
from modelarchive.checkpoints.folder import DamagedCheckpointWarning
from modelarchive.checkpoints.incremental import Shards
from modelarchive.checkpoints.retention import Retention
from modelarchive.checkpoints.snapshot import RESERVED, Snapshot
from modelarchive.checkpoints.staging import Staging
from modelarchive.checkpoints.turns import Turns
from modelarchive.errors import CheckpointError
from modelarchive.store.replace import expect_on_disk


class Checkpoints:
    """The checkpoints of one run.

    ::

        run = ma.Checkpoints("run", keep=3, best=("accuracy", "max"))
        with run:
            step = run.restore(model=net, optimizer=optimizer) or 0
            while step < total:
                train(step); step += 1
                if step % 100 == 0:
                    run.save(step, model=net, optimizer=optimizer, metrics={"accuracy": accuracy})

    Each checkpoint is an archive, ``run/step-00000100.h5``, which everything takes that takes archives.

    Args:
        folder: Where they lie; it is made at the first save.
        keep: How many of the newest stay; None: all.
        keep_every: Those whose step is a multiple of it stay, too.
        best: A metric and "max" or "min": the checkpoint that is best by it stays, too.
        incremental: Write only what changed: a checkpoint is a folder of shards then, and files whose arrays are all
            as they were in the last one are taken over by a hard link. Each stays whole by itself, whatever is
            removed. Every array is compared, bit by bit, with a copy that is kept.
        frozen: With `incremental`: patterns of names of arrays that never change, ``"backbone.*"``: they are compared
            at the second save and at the end only, which raises if they did change.
        asynchronous: Write behind the training: :meth:`save` returns once the state is copied. The copies are kept
            for the next save; memory beyond the state is one copy of it.
        process_group: The processes of a distributed run, PyTorch's group or True for all of them: each makes this
            object, and calls its methods with the others. A checkpoint is a folder of shards then, in which
            distributed tensors (FSDP2, DTensor) lie in pieces; it is restored on any number of processes. The model
            and optimizers are all processes' together, everything else is each one's own.
        inputs: An example of the network's inputs, as :func:`modelarchive.save_model` takes it: with it each
            checkpoint is a whole model, which :func:`modelarchive.load_model` loads. The network is described once, at
            the first save; one that cannot be is told by a warning, and its parameters are saved alone.
        random: Save and restore the random states of Python, NumPy and the frameworks in use, too.
        durable: Have the system put each checkpoint on the disk before it counts.

    Attributes:
        folder: The folder.
        waited: Seconds for which :meth:`save` has waited for the checkpoint before to be written.
        restored: What was saved beside the model, by name, in the checkpoint that :meth:`restore` took; its
            metrics are ``restored["checkpoint"]["metrics"]``.

    Raises:
        ValueError: A number or `best` is none that can be.
        NotADirectoryError: `folder` is a file.
        RemoteError: It is a URL: checkpoints are written on a disk.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep: int | None = None,
        keep_every: int | None = None,
        best: tuple[str, str] | None = None,
        incremental: bool = False,
        frozen: str | Iterable[str] | None = None,
        asynchronous: bool = True,
        process_group: Any = None,
        inputs: Any = None,
        random: bool = True,
        durable: bool = True,
    ) -> None:
        expect_on_disk(folder)
        self.folder = Path(os.fsdecode(folder)).absolute()  # whatever folder the program goes to
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(20, "is a file, expected the folder of a run", str(self.folder))
        self.waited = 0.0
        self.restored: dict[str, Any] = {}
        self._stays = Retention(self.folder, keep, keep_every, best)
        self._asynchronous, self._random, self._durable = asynchronous, random, durable
        if frozen is not None and not incremental:
            raise ValueError("frozen says what an incremental run need not compare, and this one is not incremental")
        if incremental and process_group is not None:
            raise ValueError("an incremental run is of one process: give process_group or incremental, not both")
        self._group = None if process_group is None else together.sharing().Group(process_group)
        self._frozen = frozen
        self._architecture = Architecture(inputs)
        self._latest: int | None = None
        self._turns = Turns()
        #: What failed behind the training, until somebody is told.
        self._unheard: list[Exception] = []
        weakref.finalize(self, folders.tell, self.folder, self._unheard)
        self._shards = Shards(frozen) if incremental else None
        self._begin_process()

    def _begin_process(self) -> None:
        """Have nothing under way, as in a process that was forked: threads and the right to write stay behind."""
        self._process = os.getpid()
        self._staging = Staging()
        self._shards = None if self._shards is None else Shards(self._frozen)
        self._writer: folders.Writer | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[Path] | None = None
        self._is_handing_over = False
        self._unheard.clear()

    def __enter__(self) -> Self:
        """The run itself."""
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Wait for what is being written; raise what failed, unless an error is on its way already."""
        try:
            self.close()
        except Exception as failed:
            if error is None:
                raise
            error.add_note(f"the last checkpoint failed: {failed}")

    def close(self) -> None:
        """Wait for what is being written, and give memory and folder back; the run may go on all the same.

        Raises:
            OSError: The last checkpoint could not be written.
            CheckpointError: What is `frozen` has changed; a signal handler calls it in the middle of another call.
        """
        self._turns.do("close", self._end)
        if self._pending is not None:  # a signal handler has saved meanwhile
            self.close()

    def _end(self) -> None:
        try:
            self._wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
            self._staging.close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            if self._shards is not None:
                self._shards.close()

    def wait(self) -> None:
        """Wait until the last checkpoint is written.

        Raises:
            OSError: It could not be; what was there is there still.
            CheckpointError: A signal handler calls it in the middle of another call.
        """
        self._turns.do("wait", self._wait)
        if self._pending is not None:
            self.wait()

    def _wait(self) -> None:
        if self._process != os.getpid():
            self._begin_process()
        if self._is_handing_over:  # whatever interrupted that: it may be in the hands of the other thread
            self._behind().submit(int).result()
            self._is_handing_over = False
        if self._pending is not None:
            wait([self._pending])
            # Not before: who is interrupted while waiting, and saves then, must wait for it, too.
            pending, self._pending = self._pending, None
            self._unheard.clear()
            pending.result()

    def save(
        self,
        step: int,
        *,
        model: Any = None,
        metrics: Mapping[str, Any] | None = None,
        inputs: Any = None,
        **parts: Any,
    ) -> Future[Path]:
        """Save a checkpoint.

        Args:
            step: How far the run is; a checkpoint of the same step is replaced.
            model: A ``torch.nn.Module``, a ``keras.Model``, a Block, or a dict of arrays.
            metrics: Name -> number.
            inputs: At the first save: an example of the network's inputs, where the run was made without.
            **parts: All else that training goes on from, under any names: optimizers, schedulers, scalers, loaders,
                whatever has ``state_dict`` and ``load_state_dict``; further networks; structures of such, and of
                anything that :func:`modelarchive.save` takes.

        Returns:
            A handle: ``done()``, and ``result()``, which waits and gives the path. The state may be changed as soon
            as it is returned. What could not be written is raised by the next call too.

        Raises:
            UnsupportedDataError: Something cannot be stored; lists all of it with its place.
            CheckpointError: Another run writes in the folder; a signal handler calls it in the middle of
                :meth:`restore`. In the middle of another save it is done right behind it.
            OSError: The checkpoint before this one could not be written, or this one where it is written in place.
        """
        return self._turns.save(partial(self._saved, step, model, metrics or {}, inputs, parts))

    def _saved(
        self, step: int, model: Any, metrics: Mapping[str, Any], inputs: Any, parts: Mapping[str, Any]
    ) -> Future[Path]:
        step = folders.step_of(step)
        began = time.perf_counter()
        self._wait()
        self.waited += time.perf_counter() - began
        self._begin(step)
        self._latest = step
        if self._group is not None:
            share: Any = partial(together.take_share, self._group)
        else:
            share = snapshot.take if self._shards is None else partial(snapshot.take, settled=self._shards.settled)
        describe = partial(self._architecture.of, inputs=inputs)
        taken = share(step, model, parts, metrics, random=self._random, describe=describe)
        if self._shards is not None:
            taken = self._shards.staged(taken)
        elif self._asynchronous:
            taken = taken.on(self._staging.copied(taken.arrays))
        if self._asynchronous:
            self._is_handing_over = True
            self._pending = self._behind().submit(self._write_behind, taken)
            self._is_handing_over = False
            return self._pending
        handle: Future[Path] = Future()
        handle.set_result(self._write(taken))
        return handle

    def restore(self, *, step: int | None = None, model: Any = None, **parts: Any) -> int | None:
        """Put the newest checkpoint that is whole into the objects of the run.

        Every digest is compared while it is read. A damaged checkpoint is passed over, with a warning that names
        what is damaged, and is never removed.

        Args:
            step: This step, and no other; None: the newest.
            model: What :meth:`save` was given; it is filled where it stands.
            **parts: The same, by name. A dict or a list of plain values gets what was saved in place of its own.

        Returns:
            The step; None if there is no checkpoint.

        Raises:
            CheckpointError: There are checkpoints, and none is whole; what was given may hold parts of them.
            ParameterError: An object does not take what the checkpoint has: other names, shapes, dtypes, another
                optimizer; lists everything. Nothing was changed.
            KeyError: There is no such step.
        """
        reserved = [name for name in parts if name in RESERVED]
        if reserved:
            raise TypeError(f"{reserved[0]} is a name that checkpoints use themselves")
        return self._turns.do("restore", partial(self._restored, step, model, parts))

    def _restored(self, step: int | None, model: Any, parts: Mapping[str, Any]) -> int | None:
        self._wait()
        found = folders.checkpoints(self.folder)
        if step is not None:
            found = {folders.step_of(step): self.path(step)}
        if self._group is not None:
            found = self._group.told(found)
        damaged: dict[int, str] = {}
        for number, path in reversed(found.items()):
            note = partial(self._stays.note, number)
            problem, found_there = restoring.put_if_whole(
                path, model, parts, note=note, random=self._random, group=self._group
            )
            if problem is not None:
                if not problem:  # removed by the run that writes here, which has newer ones
                    return self._restored(step, model, parts)
                damaged[number] = problem
                continue
            self.restored, self._stays.whole = found_there, number
            if self._shards is not None and path.is_dir():
                self._shards.read(path)
            self._stays.damaged = {*damaged}
            if damaged:
                words = "\n".join(["damaged checkpoints were passed over:", *damaged.values()])
                warnings.warn(words, DamagedCheckpointWarning, stacklevel=4)
            return number
        if damaged:
            several = "the checkpoint is not whole:" if len(damaged) == 1 else "no checkpoint is whole:"
            raise CheckpointError(
                "\n".join([several, *damaged.values()]),
                file=self.folder,
                hint="what was given to restore() may hold parts of them: make it anew before training",
            )
        return None

    def steps(self) -> list[int]:
        """The steps of all checkpoints, the first one first; whether they are whole is not looked at."""
        return list(folders.checkpoints(self.folder))

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies; one that is being written is waited for.

        Raises:
            KeyError: There is none.
        """
        if self._pending is not None and self._process == os.getpid() and step == self._latest:
            wait([self._pending])
        found = folders.checkpoints(self.folder)
        step = folders.step_of(step)
        if step not in found:
            there = ", ".join(map(str, found)) or "none"
            raise KeyError(f"{self.folder} has no checkpoint of step {step}; there are: {there}")
        return found[step]

    def load(self, step: int) -> Archive:
        """The checkpoint of a step as an open archive, as :func:`modelarchive.open` gives it.

        Raises:
            KeyError: There is none.
            FormatError: It is damaged.
        """
        return Archive(self.path(step))

    def metrics(self, step: int) -> dict[str, float]:
        """The metrics that a checkpoint was saved with.

        Raises:
            KeyError: There is no such step.
            FormatError: It is damaged.
        """
        return self._stays.metrics(step, self.path(step))

    def best(self) -> int | None:
        """The step that is best by the metric of `best`; None where no checkpoint has that metric.

        Raises:
            ValueError: The run was made without `best`.
        """
        return self._stays.best()

    def _begin(self, step: int) -> None:
        """Take the right to write in the folder, and remove what a killed run has left there."""
        if self._writer is None and (self._group is None or self._group.rank == 0):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer = folders.Writer(self.folder)
            folders.clean(self.folder)
            self._stays.warn_of_later(step)

    def _behind(self) -> ThreadPoolExecutor:
        """What is done behind the training, one thing after another."""
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        return self._pool

    def _write_behind(self, taken: Snapshot) -> Path:
        try:
            return self._write(taken)
        except Exception as error:
            self._unheard.append(error)
            raise

    def _write(self, taken: Snapshot) -> Path:
        name = folders.file_name if self._group is None and self._shards is None else folders.folder_name
        path = self.folder / name(taken.step)
        if self._group is not None:
            finished = partial(self._finished, path, taken)
            together.write(self._group, path, taken, durable=self._durable, finished=finished)
            return path
        if self._shards is None:
            taken.write(path, durable=self._durable)
        else:
            self._shards.write(path, taken, durable=self._durable)
        self._finished(path, taken)
        return path

    def _finished(self, path: Path, taken: Snapshot) -> None:
        self._stays.written(taken.step, taken.metrics)
        self._stays.tidy(path, lambda hidden: self._behind().submit(folders.remove, hidden))
