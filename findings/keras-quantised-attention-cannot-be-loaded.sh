#!/usr/bin/env bash
# keras 3.15.1 on its PyTorch backend, torch 2.13.0, Python 3.11
#
# `model.quantize("int8")` of a model with a MultiHeadAttention, and `model.save("model.keras")` of that, both work. Keras
# does not load the file: the layers inside of the attention find none of the variables that they were saved with. A model
# with a Dense in its place comes back.
#
# One would have guessed that what is saved without an error can be loaded.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'keras==3.15.1' 'torch==2.13.0' 'numpy==2.4.6'
KERAS_BACKEND=torch KERAS_HOME="$folder" "$folder/environment/bin/python" -W ignore - "$folder" <<'PYTHON'
import sys

import keras
import numpy as np

x = np.random.default_rng(0).standard_normal((2, 5, 8), np.float32)
for name, layer, is_loaded in (
    ("attention", lambda each: keras.layers.MultiHeadAttention(2, 4)(each, each), False),
    ("dense", keras.layers.Dense(8), True),
):
    given = keras.Input((5, 8))
    model = keras.Model(given, layer(given))
    model.quantize("int8")
    path = f"{sys.argv[1]}/{name}.keras"
    model.save(path)
    try:
        again = keras.saving.load_model(path)
        assert np.allclose(again.predict(x, verbose=0), model.predict(x, verbose=0))
        print(f"{name}: saved, and loaded with the same outputs")
        assert is_loaded
    except ValueError as error:
        print(f"{name}: saved, and not loaded: {str(error).splitlines()[0]}")
        assert not is_loaded
PYTHON
