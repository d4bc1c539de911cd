#!/usr/bin/env bash
# lightning 2.6.5 with torch 2.13.0 (Trainer, ModelCheckpoint, ReduceLROnPlateau as configure_optimizers returns it)
# A run that goes on from its last checkpoint has another learning rate than one that nobody ended: ModelCheckpoint saves
# at the end of an epoch before ReduceLROnPlateau has seen that epoch, and the epoch that follows does not make up for it.
# Other schedulers have taken their step by then. One would have guessed that `ckpt_path=` goes on with the same numbers.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'lightning==2.6.5' 'torch==2.13.0' 'numpy==2.4.6'
cat >"$folder/train.py" <<'PYTHON'
import sys
import warnings

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

warnings.simplefilter("ignore")
kind, folder, epochs, checkpoint = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] or None


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(2, 1)

    def training_step(self, batch, index):
        return self.net(batch[0]).square().mean()

    def validation_step(self, batch, index):
        self.log("val", 1.0)  # never better: every epoch halves the rate

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        if kind == "step":
            return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)}
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val"}}


data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 2)), batch_size=2)
trainer = lightning.Trainer(
    max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[ModelCheckpoint(folder, save_last=True)],
)
trainer.fit(Model(), data, data, ckpt_path=checkpoint)
print(trainer.optimizers[0].param_groups[0]["lr"])
PYTHON
run() { "$folder/environment/bin/python" "$folder/train.py" "$@" 2>/dev/null | tail -n 1; }
for kind in step plateau; do
  run "$kind" "$folder/$kind-whole" 6 "" >"$folder/whole"
  run "$kind" "$folder/$kind-parts" 3 "" >/dev/null
  run "$kind" "$folder/$kind-parts" 6 "$folder/$kind-parts/last.ckpt" >"$folder/parts"
  echo "$kind: $(cat "$folder/whole") after six epochs, $(cat "$folder/parts") after three and three"
  declare "$kind=$(cat "$folder/whole") $(cat "$folder/parts")"
done
[ "$step" = "0.015625 0.015625" ]
[ "$plateau" = "0.03125 0.0625" ]
