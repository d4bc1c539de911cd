"""Makes the files of this folder: a small network as torch.export saves it now, and as it did before PyTorch 2.8.

python -m tests.data.foreign.pt2.make
"""

from __future__ import annotations

from pathlib import Path

import torch

from tests.exchange.pt2.programs import exported, saved

FOLDER = Path(__file__).parent


def main() -> None:
    """Write them."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    program = exported(net, (torch.randn(2, 3),))
    saved(program, FOLDER / "now.pt2")
    saved(program, FOLDER / "before.pt2", layout="old")


if __name__ == "__main__":
    main()
