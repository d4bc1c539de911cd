"""A run of Lightning's on digits, killed behind a step: ``... lightning_run PACKAGE FOLDER EPOCHS [STEP] [async]``."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from modelarchive.checkpoints.lightning import ArchiveCheckpointIO
from modelarchive.cli.demo_torch import network
from tests.checkpoints.training import digits, one_thread


def made(pl: Any, **hyper: Any) -> Any:
    """The demo's LeNet as a module of Lightning's."""

    class Digits(pl.LightningModule):  # type: ignore[misc]
        def __init__(self, **hyper: Any) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = torch.nn.Sequential(network(torch), torch.nn.Dropout(0.1))

        def training_step(self, batch: Any, at: int) -> Any:
            loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            decayed = [each for each in self.parameters() if each.dim() > 1]
            others = [each for each in self.parameters() if each.dim() <= 1]
            optimizer = torch.optim.AdamW([{"params": others, "weight_decay": 0.0}, {"params": decayed}], lr=0.01)
            return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2, 3], 0.5)]

    torch.manual_seed(0)
    return Digits(**hyper)


def loader(count: int = 96) -> Any:
    images, labels = (torch.from_numpy(each[:count]) for each in digits())
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=16, shuffle=True)


def trainer_of(pl: Any, saving: Any, folder: Path, epochs: int, *callbacks: Any, **options: Any) -> Any:
    every = pl.callbacks.ModelCheckpoint(folder, filename="{epoch}", save_top_k=2, monitor="loss", save_last=True)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return pl.Trainer(
        max_epochs=epochs, plugins=[saving], callbacks=[every, *callbacks], **(quiet | {"devices": 1} | options)
    )


def fit(package: str, folder: Path, epochs: int, *, kill: int | None = None, **options: Any) -> tuple[Any, Any]:
    """Train to an epoch from the newest checkpoint on; killed behind a step, in the middle of an epoch."""
    pl = importlib.import_module(package)

    class Killed(pl.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == kill:
                os.kill(os.getpid(), signal.SIGKILL)

    net = made(pl, width=8)
    saving = ArchiveCheckpointIO(net, **options)
    trainer = trainer_of(pl, saving, folder, epochs, Killed())
    with one_thread():
        trainer.fit(net, loader(), ckpt_path=saving.newest(folder))
    return net, trainer


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    fit(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), kill=int(sys.argv[4]), asynchronous="async" in sys.argv)
