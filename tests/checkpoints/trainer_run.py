"""A run of transformers' Trainer on digits, killed behind a step: ``... trainer_run FOLDER STEPS STEP``."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, PreTrainedConfig, PreTrainedModel, Trainer, TrainerCallback
from transformers.training_args import TrainingArguments

import modelarchive as ma
from modelarchive.exchange.huggingface.callbacks import CheckpointCallback
from tests.checkpoints.training import digits, one_thread


class Config(PreTrainedConfig):  # type: ignore[misc]
    model_type = "digits"


class Model(PreTrainedModel):  # type: ignore[misc]
    """A classifier whose output layer shares its weight with another layer, with dropout and a norm."""

    config_class = Config
    _tied_weights_keys = {"output.weight": "hidden.weight"}  # noqa: RUF012

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.features = torch.nn.Linear(64, 10)
        self.hidden = torch.nn.Linear(10, 10, bias=False)
        self.norm = torch.nn.LayerNorm(10)
        self.drop = torch.nn.Dropout(0.2)
        self.output = torch.nn.Linear(10, 10)
        self.post_init()
        self.output.weight = self.hidden.weight

    def forward(self, images: Any = None, labels: Any = None) -> dict[str, Any]:
        found = self.output(self.drop(self.norm(self.hidden(torch.relu(self.features(images))))))
        return {"loss": torch.nn.functional.cross_entropy(found, labels), "logits": found}


class Kill(TrainerCallback):  # type: ignore[misc]
    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def data(count: int = 80) -> list[dict[str, Any]]:
    images, labels = digits()
    several = zip(images[:count].reshape(count, 64), labels[:count].tolist(), strict=True)
    return [{"images": np.ascontiguousarray(image), "labels": label} for image, label in several]


def train(folder: Path, steps: int, *, kill: int | None = None, every: int = 3, **options: Any) -> Trainer:
    """Train to a step from the newest checkpoint on; five steps are an epoch, two batches a step."""
    torch.manual_seed(0)
    arguments = TrainingArguments(
        output_dir=str(folder.with_name(f"{folder.name}-trainer")),
        max_steps=steps,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        save_strategy="no",
        eval_strategy="steps",
        eval_steps=2,
        logging_steps=2,
        learning_rate=0.01,
        weight_decay=0.1,
        lr_scheduler_type="cosine",
        metric_for_best_model="loss",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        restore_callback_states_from_checkpoint=True,
        **options,
    )
    with one_thread(), ma.Checkpoints(folder, keep=2) as run:
        saving = CheckpointCallback(run, every=every)
        trainer = Trainer(
            Model(Config()),
            arguments,
            train_dataset=data(),
            eval_dataset=data(16),
            callbacks=[saving, Kill(kill), EarlyStoppingCallback(50)],
        )
        trainer.train(resume_from_checkpoint=saving.resume(trainer))
    return trainer


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    train(Path(sys.argv[1]), int(sys.argv[2]), kill=int(sys.argv[3]))
