"""A callback for Keras' ``fit`` that saves the run at the end of epochs, and goes on from the newest checkpoint."""

from __future__ import annotations

from typing import Any, Protocol

import keras


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
        **parts: What else is saved with each, as ``Checkpoints.save`` takes it.

    Raises:
        ValueError: `every` is no number from 1 on.
    """

    def __init__(self, run: Run, *, every: int = 1, **parts: Any) -> None:
        super().__init__()
        if type(every) is not int or every < 1:
            raise ValueError(f"every is {every!r}, expected a number from 1 on")
        self.run = run
        self._every = every
        self._parts = parts

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
            # As Keras' own BackupAndRestore says where fit() begins.
            self.model._initial_epoch = epoch

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
