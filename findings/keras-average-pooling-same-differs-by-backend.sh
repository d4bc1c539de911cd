#!/usr/bin/env bash
# keras 3.15.1 on its backends torch 2.13.0 and jax 0.10.2 (keras.ops.average_pool, keras.layers.AveragePooling1D)
# Average pooling with padding="same" gives other numbers on the PyTorch backend than on JAX where the padding is uneven:
# JAX leaves what is padded out of the mean, PyTorch's backend pads the longer side with copies of the edge and counts them.
# One would have guessed that one model computes the same on every backend of Keras: the last mean of 1..6 in windows of
# three, two apart, is (5 + 6) / 2 = 5.5, not 5.67.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'keras==3.15.1' 'torch==2.13.0' 'jax==0.10.2' 'numpy==2.4.6'
pool() {
  KERAS_BACKEND=$1 "$folder/environment/bin/python" - <<'PYTHON'
import keras
import numpy as np

x = np.arange(1, 7, dtype="float32").reshape(1, 6, 1)
means = keras.ops.average_pool(x, 3, 2, padding="same", data_format="channels_last")
print([round(float(each), 2) for each in keras.ops.convert_to_numpy(means).reshape(-1)])
PYTHON
}
torch=$(pool torch)
jax=$(pool jax)
echo "torch: $torch"
echo "jax:   $jax"
[ "$torch" = "[2.0, 4.0, 5.67]" ]
[ "$jax" = "[2.0, 4.0, 5.5]" ]
