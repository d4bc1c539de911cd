"""Made with: numpy 2.4.6 and 1.23.5 (old.npz), by `python tests/data/foreign/numpy/make.py NAME`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
arrays = {
    "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12, dtype=np.float64).reshape(3, 4)),
    "big_endian": np.arange(6, dtype=">i4"),
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 3), np.int8),
    "flags": np.array([True, False]),
    "complex": np.array([1 + 2j], np.complex64),
}
name = sys.argv[1]
np.savez(FOLDER / f"{name}.npz", **arrays)
np.savez_compressed(FOLDER / f"{name}-compressed.npz", **arrays)
np.save(FOLDER / f"{name}.npy", arrays["fortran"])
