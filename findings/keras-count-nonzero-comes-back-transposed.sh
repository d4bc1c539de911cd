#!/usr/bin/env bash
# keras 3.15.1 on its PyTorch backend, torch 2.13.0, numpy 2.4.6, Python 3.11
#
# `keras.ops.count_nonzero(x, axis)` over one axis of an array with three gives the counts transposed: of (2, 5, 6) along
# the last axis (5, 2) comes back, and element [j, i] is the count of row [i, j]. Over two axes, and over all, it is right.
#
# One would have guessed NumPy's result, whose name and arguments it has: (2, 5).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'keras==3.15.1' 'torch==2.13.0' 'numpy==2.4.6'
KERAS_BACKEND=torch KERAS_HOME="$folder" "$folder/environment/bin/python" - <<'PYTHON'
import keras
import numpy as np

x = np.arange(60).reshape(2, 5, 6) % 4
for axis in (0, 1, 2):
    found = keras.ops.convert_to_numpy(keras.ops.count_nonzero(x, axis=axis))
    expected = np.count_nonzero(x, axis=axis)
    print(f"axis {axis}: NumPy {expected.shape}, Keras {found.shape}")
    assert found.shape == expected.shape[::-1]
    assert (found == expected.T).all()
for axes in ((0, 2), None):
    found = keras.ops.convert_to_numpy(keras.ops.count_nonzero(x, axis=axes))
    assert (found == np.count_nonzero(x, axis=axes)).all()
    print(f"axes {axes}: as NumPy")
PYTHON
