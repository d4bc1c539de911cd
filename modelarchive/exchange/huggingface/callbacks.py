"""A callback for transformers' Trainer that saves the run, and has it go on from the newest checkpoint."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from safetensors.torch import save_file
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from modelarchive.exchange.torch import training

#: The files of a checkpoint that Trainer looks for: where the run stands, and the weights.
_STATE: Final = "trainer_state.json"
_WEIGHTS: Final = "model.safetensors"


class Run(Protocol):
    """What the callback asks of :class:`modelarchive.Checkpoints`."""

    restored: dict[str, Any]

    def save(self, step: int, *, model: Any, metrics: Any, **parts: Any) -> object:
        """Save a checkpoint."""

    def restore(self, *, step: int | None = None, model: Any = None, **parts: Any) -> int | None:
        """Put the newest checkpoint into the objects."""

    def wait(self) -> None:
        """Wait for what is being written."""


class CheckpointCallback(TrainerCallback):  # type: ignore[misc]
    """Saves what a Trainer trains, and has ``train`` go on behind the newest checkpoint, bit by bit.

    ::

        with ma.Checkpoints("run", keep=2) as run:
            saving = CheckpointCallback(run, every=100)
            trainer = Trainer(model, arguments, train_dataset=data, callbacks=[saving])  # save_strategy="no"
            trainer.train(resume_from_checkpoint=saving.resume(trainer))

    Saved are the model, the optimizer by the names of parameters, the scheduler, the gradient scaler, random states,
    and where Trainer and its callbacks stand. A step is saved once everything that belongs to it is done: what is
    logged and evaluated, too.

    Args:
        run: The run's :class:`modelarchive.Checkpoints`.
        every: Steps between two checkpoints; the last step is saved in any case.
        **parts: What else is saved with each, as ``Checkpoints.save`` takes it.

    Raises:
        ValueError: `every` is no number from 1 on.
    """

    def __init__(self, run: Run, *, every: int = 500, **parts: Any) -> None:
        if type(every) is not int or every < 1:
            raise ValueError(f"every is {every!r}, expected a number from 1 on")
        self.run = run
        self._every = every
        self._parts = parts
        self._trainer: Any = None
        #: The step that is saved once it is over.
        self._due: int | None = None
        self._saved: int | None = None
        #: The step that was restored, until Trainer has an optimizer; what its random functions go on from.
        self._resumed: int | None = None
        self._random: Any = None
        #: Removes the folder that Trainer reads from.
        self._remove: Callable[[], object] = lambda: None

    def resume(self, trainer: Any) -> str | None:
        """Restore the newest checkpoint that is whole; a folder for ``train(resume_from_checkpoint=...)``.

        The folder is there until training begins: Trainer reads from it where the run stands. Optimizer and
        scheduler are restored when Trainer has made them.

        Args:
            trainer: The Trainer that has this callback.

        Returns:
            The folder; None where there is no checkpoint.

        Raises:
            CheckpointError: There are checkpoints, and none is whole.
            ParameterError: The model is not the one that was saved.
        """
        self._trainer = trainer
        said: dict[str, Any] = {}
        self._resumed = self.run.restore(model=trainer.model, trainer=said)
        if self._resumed is None:
            return None
        self._remove()
        folder = Path(tempfile.mkdtemp(prefix="resume-"))
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        (folder / _STATE).write_text(said["state"], "utf-8")
        # Trainer goes on from nothing without weights; tied ones are written under each of their names.
        weights = {name: each.detach().clone().contiguous() for name, each in trainer.model.state_dict().items()}
        save_file(weights, folder / _WEIGHTS, {"format": "pt"})
        return str(folder)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Restore what Trainer has made since: optimizer, scheduler, scaler.

        Raises:
            ParameterError: An object does not take what was saved.
        """
        self._remove()
        step, self._resumed = self._resumed, None
        self._saved = step
        if step is None:
            return
        self.run.restore(step=step, **self._objects(kwargs))
        if "random" in self.run.restored:
            self._random = (random.getstate(), np.random.get_state(), training.random_states())

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save the step before, which is over now: what was logged and evaluated belongs to it."""
        if self._random is not None:
            # Behind what skipping batches has drawn, as Trainer itself does.
            python, numpy, torch = self._random
            random.setstate(python)
            np.random.set_state(numpy)
            training.put_random_states(torch)
            self._random = None
        if self._due is not None:
            self._save(state, control, kwargs)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note whether it is this step's turn."""
        if state.global_step % self._every == 0:
            self._due = state.global_step

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save the last step while the model is still its own: Trainer may load the best one at the end."""
        is_last = control.should_training_stop or state.global_step >= state.max_steps
        if args.load_best_model_at_end and is_last:
            self._save(state, control, kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save the last step, and wait until it is written.

        Raises:
            OSError: It could not be written.
        """
        if self._saved != state.global_step:
            self._save(state, control, kwargs)
        self.run.wait()

    def _save(self, state: Any, control: Any, kwargs: dict[str, Any]) -> None:
        self._due = None
        self._saved = step = state.global_step
        logged = [entry for entry in state.log_history if entry.get("step") == step]
        metrics = {name: value for entry in logged for name, value in entry.items() if name not in ("step", "epoch")}
        numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
        said = {"state": json.dumps({**dataclasses.asdict(state), "stateful_callbacks": self._callbacks(control)})}
        self.run.save(step, metrics=numbers, trainer=said, **self._objects(kwargs))

    def _objects(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """What is saved and restored, under the names that it has in a checkpoint."""
        accelerator = getattr(self._trainer, "accelerator", None)
        found = {
            "model": kwargs.get("model"),
            "optimizer": kwargs.get("optimizer"),
            "scheduler": kwargs.get("lr_scheduler"),
            "scaler": getattr(accelerator, "scaler", None),
            **self._parts,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _callbacks(self, control: Any) -> dict[str, Any]:
        """Where callbacks stand, as Trainer writes it: by class, several of one in a list."""
        handler = getattr(self._trainer, "callback_handler", None)
        found: dict[str, list[Any]] = {}
        for each in [*(() if handler is None else handler.callbacks), control]:
            if isinstance(each, ExportableState):
                found.setdefault(type(each).__name__, []).append(each.state())
        return {name: several[0] if len(several) == 1 else several for name, several in found.items()}
