"""A callback for Keras' ``fit`` that saves the run at the end of epochs, and goes on from the newest checkpoint."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final, Protocol

import keras
import numpy as np

#: What every callback is given anew by ``fit``.
_GIVEN: Final = frozenset({"_model", "model", "params", "validation_data"})


class Run(Protocol):
    """What the callback asks of :class:`modelarchive.Checkpoints`."""

    def save(self, step: int, *, model: Any, metrics: Any, **parts: Any) -> object:
        """Save a checkpoint."""

    def restore(self, *, model: Any, **parts: Any) -> int | None:
        """Put the newest checkpoint into the objects."""

    def wait(self) -> None:
        """Wait for what is being written."""


class CheckpointCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves model, optimizer and random states at the end of epochs; ``fit`` goes on behind the newest checkpoint.

    What ``ModelCheckpoint`` and ``BackupAndRestore`` do together: steps are epochs, metrics those of the epoch, so
    that ``best=("val_accuracy", "max")`` of the run keeps the best one.

    Args:
        run: The run's :class:`modelarchive.Checkpoints`.
        every: Epochs between two checkpoints.
        callbacks: Those that keep something from epoch to epoch (``EarlyStopping``, ``ReduceLROnPlateau``,
            ``SwapEMAWeights``, one's own): it is saved and restored, too. ``fit`` is given them as well, this one
            behind them. What their constructors are given stays as it is in this program.
        **parts: What else is saved with each, as ``Checkpoints.save`` takes it.

    Raises:
        ValueError: `every` is no number from 1 on.
    """

    def __init__(
        self, run: Run, *, every: int = 1, callbacks: Sequence[keras.callbacks.Callback] = (), **parts: Any
    ) -> None:
        super().__init__()
        if type(every) is not int or every < 1:
            raise ValueError(f"every is {every!r}, expected a number from 1 on")
        self.run = run
        self._every = every
        self._parts = parts
        if callbacks:
            self._parts = {**parts, "callbacks": [_Kept(each) for each in callbacks]}
        self._callbacks = list(callbacks)

    def on_train_begin(self, logs: Any = None) -> None:
        """Restore the newest checkpoint, and begin with the epoch behind it.

        Raises:
            ParameterError: The model or its optimizer does not fit; or the model is not built.
        """
        optimizer = self.model.optimizer
        if optimizer is not None and self.model.built and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        epoch = self.run.restore(model=self.model, **self._optimizer(), **self._parts)
        if epoch is not None:
            # As Keras' own BackupAndRestore says where fit() begins; one that was ended early does not go on.
            is_ended = any(_has_ended(each, epoch) for each in self._callbacks)
            self.model._initial_epoch = max(epoch, self.params["epochs"]) if is_ended else epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save, if it is this epoch's turn."""
        if (epoch + 1) % self._every == 0:
            self.run.save(epoch + 1, model=self.model, metrics=dict(logs or {}), **self._optimizer(), **self._parts)

    def on_train_end(self, logs: Any = None) -> None:
        """Wait for the last checkpoint.

        Raises:
            OSError: It could not be written.
        """
        self.model._initial_epoch = None
        self.run.wait()

    def _optimizer(self) -> dict[str, Any]:
        return {} if self.model.optimizer is None else {"optimizer": self.model.optimizer}


class _Kept:
    """What a callback keeps from epoch to epoch: plain values and arrays that its constructor was not given.

    Args:
        callback: The callback.
    """

    def __init__(self, callback: keras.callbacks.Callback) -> None:
        self._callback = callback
        self._options = {*inspect.signature(type(callback).__init__).parameters}

    def state_dict(self) -> dict[str, Any]:
        """Its class, and the values by name."""
        values = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in vars(self._callback).items()
            if name not in _GIVEN and name not in self._options and _is_plain(value)
        }
        return {"class": type(self._callback).__name__, "values": values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them again.

        Raises:
            ValueError: They are of a callback of another class.
        """
        if state["class"] != type(self._callback).__name__:
            raise ValueError(f"it is of {state['class']}: callbacks are given in the order in which they were saved")
        for name, value in state["values"].items():
            setattr(self._callback, name, value)


def _has_ended(callback: Any, epoch: int) -> bool:
    """Whether an EarlyStopping has ended the run behind its last epoch, and would do so with its patience of now."""
    is_one = isinstance(callback, keras.callbacks.EarlyStopping)
    return is_one and callback.stopped_epoch == epoch - 1 > 0 and callback.wait >= callback.patience


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | np.generic | np.ndarray)
