"""Folders that timm wrote, and what it computes: ``python -m tests.exchange.huggingface.timm_folders NAME...``

timm needs torchvision, which needs the very build of PyTorch: an environment of its own. A line a network: the largest
difference of the archive in NumPy from the module, relative to its largest output.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from timm.models import save_for_hf

import modelarchive as ma
from tests.zoo.comparison import error, randomised

NAMES = ("test_resnet", "test_vit", "test_convnext", "test_efficientnet", "resnet18", "vit_tiny_patch16_224",
         "convnext_atto", "mobilenetv3_small_050", "swin_tiny_patch4_window7_224")  # fmt: skip


def main(names: list[str]) -> None:
    """Print the table."""
    for name in names or NAMES:
        torch.manual_seed(0)
        module = randomised(timm.create_model(name, num_classes=7), torch)
        with tempfile.TemporaryDirectory() as folder:
            save_for_hf(module, folder, safe_serialization=True)
            archive = Path(folder) / "x.h5"
            ma.convert(folder, archive, durable=False)
            with ma.open(archive) as opened:
                shape = opened.architecture["inputs"][0]["shape"]
            x = np.random.default_rng(0).standard_normal((2, *shape[1:]), np.float32)
            with torch.no_grad():
                wanted = module(torch.from_numpy(x)).numpy()
            print(f"{name:32} {shape} {error(ma.load_model(archive)(x), wanted):.1e}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
