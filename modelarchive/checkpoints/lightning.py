"""Lightning's checkpoints as archives: a ``CheckpointIO`` for its Trainer, whichever package that is of."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
import threading
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelarchive import names, tensors
from modelarchive.archive import Archive
from modelarchive.checkpoints import restoring, snapshot
from modelarchive.checkpoints.folder import DamagedCheckpointWarning
from modelarchive.checkpoints.networks import framework_of
from modelarchive.checkpoints.record import record_of
from modelarchive.checkpoints.staging import Staging
from modelarchive.checkpoints.turns import Turns
from modelarchive.errors import CheckpointError, FormatError, MissingDependencyError, ModelArchiveError
from modelarchive.store.opening import StaleIndexWarning

#: Where a CheckpointIO is looked for: Lightning is one package, or several.
_PACKAGES: Final = ("lightning.fabric.plugins", "lightning_fabric.plugins")
_STATE, _OPTIMIZERS, _REST = "state_dict", "optimizer_states", "lightning"
#: Keys that lead to a value, and the class that it has in memory.
_Class = tuple[tuple[Any, ...], str]


class ArchiveCheckpointIO:
    """Writes and reads what Lightning's Trainer saves, as archives.

    ::

        saving = ArchiveCheckpointIO(net)
        trainer = Trainer(plugins=[saving], callbacks=[ModelCheckpoint("run", every_n_train_steps=100)])
        trainer.fit(net, loader, ckpt_path=saving.newest("run"))

    A file is there whole or not at all, and every digest is compared when it is read. The network's ``state_dict`` is
    the archive's parameters; optimizer state lies under the names of parameters; random states go in, too. Nothing is
    pickled.

    Args:
        model: The LightningModule. Without it optimizer state stays under PyTorch's numbers.
        asynchronous: Write behind the training: the state is copied into memory that is kept. One file is written at
            a time, and removed only when all before it are written.
        random: Save the random states of Python, NumPy and the frameworks in use, and set them again where a
            Trainer goes on with ``fit``.
        durable: Have the system put each file on the disk before it counts.

    Raises:
        MissingDependencyError: Lightning is not installed.
        TypeError: `model` is no network.
    """

    def __init__(
        self, model: Any = None, *, asynchronous: bool = False, random: bool = True, durable: bool = True
    ) -> None:
        if model is not None and ((room := framework_of(model)) is None or not room.is_module(model)):
            raise TypeError(f"model is {type(model).__name__}, expected the LightningModule that is trained")
        _register()
        self._model = model
        self._asynchronous, self._random, self._durable = asynchronous, random, durable
        self._staging = Staging()
        self._pool: ThreadPoolExecutor | None = None
        self._pending: list[Future[Path]] = []
        self._turns = Turns()

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint; Lightning calls it.

        Args:
            checkpoint: What the Trainer, or Fabric, has put together.
            path: The file; one that is there is replaced as a whole.
            storage_options: None: there are none.

        Raises:
            UnsupportedDataError: Something cannot be stored; lists all of it with its place.
            CheckpointError: Another thread saves than the one that trains: its random states come too late.
            OSError: It cannot be written, or the one before could not be.
        """
        target = _local(path)
        if storage_options is not None:
            raise TypeError("storage_options are not supported: files are written where the path says")
        if self._random and threading.current_thread() is not threading.main_thread():
            raise CheckpointError(
                "is saved by another thread than the one that trains, whose random states are later ones",
                file=target,
                hint="ArchiveCheckpointIO(model, asynchronous=True) in place of AsyncCheckpointIO",
            )
        self._turns.save(partial(self._saved, checkpoint, target))

    def _saved(self, checkpoint: Mapping[str, Any], target: Path) -> Future[Path]:
        self._wait()
        taken = self._taken(checkpoint)
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._asynchronous:
            taken = taken.on(self._staging.copied(taken.arrays))

        def write() -> Path:
            taken.write(target, durable=self._durable)
            return target

        return self._do(write)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, every digest compared; Lightning calls it.

        Args:
            path: The file.
            map_location: The device that tensors come on; None: the CPU.
            weights_only: Nothing is unpickled in any case.

        Returns:
            What :meth:`save_checkpoint` was given.

        Raises:
            FileNotFoundError: There is none.
            IntegrityError: It is damaged; names all of it.
            FormatError: It is no such checkpoint.
        """
        self._wait()
        with warnings.catch_warnings():
            warnings.simplefilter("error", StaleIndexWarning)
            try:
                archive = Archive(_local(path))
            except StaleIndexWarning as warning:
                raise FormatError(str(warning)) from None
        with archive:
            data = restoring.put(archive.reader, None, {}, random=self._random and self._goes_on())
            order = archive.reader.contents.order
            found = archive.reader.load(order, verify=True, into={})
        if _REST not in data:
            raise FormatError("is an archive, but no checkpoint of Lightning", file=archive.path)
        try:
            checkpoint = _put_together(data, {name: tensors.as_torch(found[name]) for name in order})
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            what = "is no whole checkpoint of Lightning: what it says of its own parts is not so"
            raise FormatError(what, file=archive.path) from error
        return checkpoint if map_location is None else _on(checkpoint, map_location)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a checkpoint, behind those that are being written; Lightning calls it."""
        target = _local(path)
        self._do(partial(_remove, target))

    def teardown(self) -> None:
        """Wait for what is being written, and give memory back; Lightning calls it.

        Raises:
            OSError: It could not be written.
        """
        try:
            self._wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
            self._staging.close()

    def newest(self, folder: str | os.PathLike[str]) -> str | None:
        """The newest checkpoint in a folder that is whole, for ``fit(ckpt_path=...)``; None: there is none.

        A damaged one is passed over with one warning that names the damage, and stays.

        Args:
            folder: The folder of a ``ModelCheckpoint``, with those inside of it.

        Raises:
            CheckpointError: There are checkpoints, and none is whole.
        """
        self._wait()
        files = [each for each in _local(folder).rglob("*") if each.suffix in (".ckpt", ".h5") and each.is_file()]
        damaged = []
        for file in sorted(files, key=lambda each: each.stat().st_mtime_ns, reverse=True):
            try:
                with Archive(file) as archive:
                    record_of(archive.reader)
                    archive.verify()
            except (ModelArchiveError, OSError) as error:
                damaged.append(str(error) if isinstance(error, ModelArchiveError) else f"{file}: {error}")
                continue
            if damaged:
                words = "\n".join(["damaged checkpoints were passed over:", *damaged])
                warnings.warn(words, DamagedCheckpointWarning, stacklevel=2)
            return str(file)
        if damaged:
            raise CheckpointError("\n".join(["no checkpoint is whole:", *damaged]), file=folder)
        return None

    def _do(self, act: Callable[[], Path]) -> Future[Path]:
        """Do it now, or behind all that was to be done before."""
        if not self._asynchronous:
            handle: Future[Path] = Future()
            handle.set_result(act())
            return handle
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        handle = self._pool.submit(act)
        self._pending.append(handle)
        return handle

    def _wait(self) -> None:
        for each in self._pending:
            each.exception()
        # Not before: who is interrupted while waiting, and saves then, must wait for it, too.
        pending, self._pending = self._pending, []
        for each in pending:
            each.result()

    def _trainer(self) -> Any:
        """The Trainer that has the module, if one has."""
        with contextlib.suppress(RuntimeError, AttributeError):
            return self._model.trainer
        return None

    def _goes_on(self) -> bool:
        """Whether it is training that goes on, in the process that saved: evaluating changes no random states."""
        if self._model is None:
            return True
        trainer = self._trainer()
        if trainer is None or trainer.global_rank != 0:
            return False
        return (trainer.state.fn, trainer.state.status) == ("fit", "running")

    def _taken(self, checkpoint: Mapping[str, Any]) -> snapshot.Snapshot:
        rest = dict(checkpoint)
        state = rest.pop(_STATE, None)
        parameters: dict[str, Any] = {}
        if isinstance(state, Mapping):
            parameters, others = _parameters(state)
            rest[_STATE] = {"order": [*state], "others": others, "metadata": dict(getattr(state, "_metadata", {}))}
        elif state is not None:
            rest[_STATE] = state
        parts = {_REST: {"classes": list(_classes(rest)), "checkpoint": rest}}
        if (named := self._named(rest.get(_OPTIMIZERS))) is not None:
            del rest[_OPTIMIZERS]
            parts["optimizers"] = named
        trainer = self._trainer()
        metrics = {} if trainer is None else {name: float(value) for name, value in trainer.callback_metrics.items()}
        step = checkpoint.get("global_step", 0)
        return snapshot.take(step, parameters or None, parts, metrics, random=self._random)

    def _named(self, states: Any) -> Any:
        """Optimizer states under the names of parameters; None: nobody tells what they belong to."""
        trainer = self._trainer()
        optimizers = [] if trainer is None else list(trainer.optimizers)
        if not isinstance(states, list) or not states or len(states) != len(optimizers):
            return None
        room = importlib.import_module("modelarchive.exchange.torch.training")
        called = room.names_of(self._model)
        try:
            return [room.named(state, each, called) for state, each in zip(states, optimizers, strict=True)]
        except (KeyError, TypeError):  # a strategy that says states in a way of its own
            return None


def _register() -> None:
    """Have every Lightning that is in use take the class for a CheckpointIO."""
    if not any(name in sys.modules for name in _PACKAGES):
        for name in _PACKAGES:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    found = [sys.modules[name] for name in _PACKAGES if name in sys.modules]
    if not found:
        raise MissingDependencyError("Lightning is missing", extra="lightning")
    for module in found:
        module.CheckpointIO.register(ArchiveCheckpointIO)


def _local(path: str | os.PathLike[str]) -> Path:
    text = os.fsdecode(path).removeprefix("file://")
    if "://" in text:
        raise ValueError(f"{text} is no path of this machine's file systems: archives are written there only")
    return Path(text)


def _remove(path: Path) -> Path:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path


def _parameters(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of a ``state_dict`` is parameters of an archive, and the rest: extra states, and names that are none."""
    blocks = {name[:at] for name in state for at, sign in enumerate(name) if sign == "."}
    found = {
        name: value
        for name, value in state.items()
        if tensors.is_torch(value) and names.problem_with_name(name) is None and name not in blocks
    }
    return found, {name: value for name, value in state.items() if name not in found}


def _put_together(data: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    record = data[_REST]
    checkpoint: dict[str, Any] = _with_classes(record["checkpoint"], record["classes"])
    if "optimizers" in data:
        room = importlib.import_module("modelarchive.exchange.torch.training")
        checkpoint[_OPTIMIZERS] = [room.numbered(each) for each in data["optimizers"]]
    if isinstance(about := checkpoint.get(_STATE), Mapping) and {*about} == {"order", "others", "metadata"}:
        several = {**about["others"], **parameters}
        state = OrderedDict((str(name), several[name]) for name in about["order"])
        state._metadata = about["metadata"]  # type: ignore[attr-defined]
        checkpoint[_STATE] = state
    return checkpoint


def _on(value: Any, device: Any) -> Any:
    """The same with its tensors on a device."""
    if isinstance(value, dict):
        for key in value:
            value[key] = _on(value[key], device)
    elif isinstance(value, list | tuple):
        return type(value)(_on(each, device) for each in value)
    return value.to(device) if tensors.is_torch(value) else value


def _classes(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[_Class]:
    """Where values are of classes that an archive stores as another one's."""
    if isinstance(value, Counter | OrderedDict):
        yield keys, "Counter" if isinstance(value, Counter) else "OrderedDict"
    elif isinstance(value, np.generic) and not isinstance(value, np.str_):
        yield keys, "number"
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _classes(each, (*keys, key))
    elif isinstance(value, list | tuple):
        for at, each in enumerate(value):
            yield from _classes(each, (*keys, at))


def _with_classes(data: Any, classes: list[_Class]) -> Any:
    made: dict[str, Callable[[Any], Any]] = {
        "Counter": Counter, "OrderedDict": OrderedDict, "number": lambda value: value[()],
    }  # fmt: skip
    for keys, name in classes:
        above = data
        for key in keys[:-1]:
            above = above[key]
        if keys and isinstance(above, dict | list):
            above[keys[-1]] = made[name](above[keys[-1]])
    return data
