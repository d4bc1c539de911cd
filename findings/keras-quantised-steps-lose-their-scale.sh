#!/usr/bin/env bash
# keras 3.15.1 on its NumPy and JAX backends, jax 0.10.2, Python 3.11
#
# `quantize("int8")` of a Dense inside of a TimeDistributed multiplies by the whole numbers of its kernel, and not by
# their scale: what the model predicts is tens of times too large, without a warning. The layer around it runs the
# `call` of the inner one, and what quantised layers do is chosen in `__call__`. The same Dense beside it, which takes
# tensors of three axes as well, gives what it gave before, but for rounding.
#
# One would have guessed that a quantised layer computes the same in a wrapper as outside of one.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'keras==3.15.1' 'jax==0.10.2' 'numpy==2.4.6'
for backend in numpy jax; do
    KERAS_BACKEND=$backend KERAS_HOME="$folder" "$folder/environment/bin/python" -W ignore - <<'PYTHON'
import keras
import numpy as np

x = np.random.default_rng(0).standard_normal((2, 3, 8), np.float32)
kernel = np.random.default_rng(1).standard_normal((8, 5), np.float32)
found = {}
for name in ("Dense", "TimeDistributed"):
    dense = keras.layers.Dense(5)
    layer = dense if name == "Dense" else keras.layers.TimeDistributed(dense)
    model = keras.Sequential([keras.Input((3, 8)), layer])
    model.set_weights([kernel, np.zeros(5, np.float32)])
    before = model.predict(x, verbose=0)
    model.quantize("int8")
    found[name] = np.abs(model.predict(x, verbose=0)).max() / np.abs(before).max()
    print(f"{keras.backend.backend()}, {name}: quantised, the largest number is {found[name]:.3g} times that of before")
assert abs(found["Dense"] - 1) < 0.05, found
assert found["TimeDistributed"] > 20, found
PYTHON
done
