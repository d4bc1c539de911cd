#!/usr/bin/env bash
# keras 3.15.1 on its backend torch 2.13.0 (keras.ops.cross)
# The cross product of vectors of three depends on how many there are: of a batch of two or four it is that of each pair
# of vectors, of a batch of three it is taken along the batch, for torch.cross without an axis takes the first of size 3.
# One would have guessed that each row of a batch is computed by itself, along the last axis, as the documentation says.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'keras==3.15.1' 'torch==2.13.0' 'numpy==2.4.6'
found=$(KERAS_BACKEND=torch "$folder/environment/bin/python" -W ignore - <<'PYTHON'
import keras
import numpy as np

x = np.arange(12, dtype="float32").reshape(4, 3)
y = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], "float32")
for batch in (2, 3, 4):
    first = keras.ops.convert_to_numpy(keras.ops.cross(x[:batch], y[:batch]))[0]
    print(batch, [int(each) for each in first], [int(each) for each in np.cross(x[0], y[0])])
PYTHON
)
echo "batch, first product, NumPy's of the first two vectors:"
echo "$found"
[ "$found" = "2 [0, 2, -1] [0, 2, -1]
3 [0, -7, 5] [0, 2, -1]
4 [0, 2, -1] [0, 2, -1]" ]
