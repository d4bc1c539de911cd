#!/usr/bin/env bash
# keras 3.15.1 on its PyTorch backend, torch 2.13.0, numpy 2.4.6, Python 3.11
#
# `keras.ops.sparsemax` is the projection onto the probability simplex (Martins and Astudillo, 2016), so what it gives sums
# to 1. Of [0.5, 0.4, 0.3] it gives zeros, of [0.3, 0.3, 0.3] three times 0.033: the threshold is taken from sums of the
# cumulative sums. Where one element stands far above the others, the result is right. So it is on the JAX backend.
#
# One would have guessed the projection: [0.433, 0.333, 0.233] and three thirds.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'keras==3.15.1' 'torch==2.13.0' 'numpy==2.4.6'
KERAS_BACKEND=torch KERAS_HOME="$folder" "$folder/environment/bin/python" - <<'PYTHON'
import keras
import numpy as np


def projected(row):
    """The threshold is found by bisection: what is left above it sums to 1."""
    low, high = min(row) - 1, max(row)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(row - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(row - low, 0)


for row, is_right in (([0.5, 0.4, 0.3], False), ([0.3, 0.3, 0.3], False), ([2.0, 1.0, 0.1], True)):
    found = keras.ops.convert_to_numpy(keras.ops.sparsemax(np.array([row], np.float32)))[0]
    expected = projected(np.array(row))
    print(f"{row}: Keras {found.round(3)}, which sums to {found.sum():.3f}; projected {expected.round(3)}")
    assert np.allclose(found, expected, atol=1e-6) == is_right
PYTHON
