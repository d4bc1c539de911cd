#!/usr/bin/env bash
# keras 3.15.1 on its JAX backend, jax 0.10.2, Python 3.11
#
# A layer's config says the rank and the alpha of its LoRA. A Dense that is made of such a config has the rank alone: it
# counts its factors once, as if alpha were the rank. So a model with `enable_lora(2, lora_alpha=8)` on a Dense comes
# back from a file of the older `.h5`, which keeps kernel and factors apart, with other outputs than it was saved with.
# An EinsumDense comes back as it was. A `.keras` file has the product in the kernel already, and its outputs are right.
#
# One would have guessed that all layers with a LoRA are made of their configs alike.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'keras==3.15.1' 'jax==0.10.2' 'numpy==2.4.6' 'h5py==3.16.0'
KERAS_BACKEND=jax KERAS_HOME="$folder" "$folder/environment/bin/python" -W ignore - "$folder" <<'PYTHON'
import sys

import keras
import numpy as np

generator = np.random.default_rng(0)
x = generator.standard_normal((4, 6), np.float32)
is_alike = {}
for layer in (keras.layers.Dense(5), keras.layers.EinsumDense("ab,bc->ac", 5)):
    model = keras.Sequential([keras.Input((6,)), layer])
    layer.enable_lora(2, lora_alpha=8)
    for each in model.weights:
        each.assign(generator.standard_normal(each.shape))
    wanted = model.predict(x, verbose=0)
    for suffix in (".h5", ".keras"):
        path = f"{sys.argv[1]}/{type(layer).__name__}{suffix}"
        model.save(path)
        again = keras.saving.load_model(path, compile=False)
        gap = np.abs(again.predict(x, verbose=0) - wanted).max()
        is_alike[type(layer).__name__, suffix] = gap < 1e-5
        alpha = again.layers[-1].lora_alpha
        print(f"{type(layer).__name__}, {suffix}: alpha 8 when saved, {alpha} when loaded; outputs differ by {gap:.2g}")
assert is_alike == {("Dense", ".h5"): False, ("Dense", ".keras"): True,
                    ("EinsumDense", ".h5"): True, ("EinsumDense", ".keras"): True}, is_alike
PYTHON
