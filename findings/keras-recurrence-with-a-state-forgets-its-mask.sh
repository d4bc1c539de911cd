#!/usr/bin/env bash
# keras 3.15.1 with torch 2.13.0 as its backend (keras.layers.GRU in a functional model)
# An Embedding with mask_zero=True masks what follows. GRU(x) leaves out the masked steps; GRU(x, initial_state=h) in the
# same model, with h an input of zeros, which is the state that it begins with anyway, runs through them.
# One would have guessed that naming the state that is used anyway changes nothing.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'keras==3.15.1' 'numpy==2.4.6'
KERAS_BACKEND=torch "$folder/environment/bin/python" - <<'PYTHON'
import keras
import numpy as np

words, state = keras.Input((None,), dtype="int32"), keras.Input((4,))
vectors = keras.layers.Embedding(8, 5, mask_zero=True)(words)
layer = keras.layers.GRU(4)
model = keras.Model([words, state], [layer(vectors), layer(vectors, initial_state=state)])
zeros = np.zeros((1, 4), "float32")
plain, begun = model.predict([np.array([[1, 2, 0, 0]]), zeros], verbose=0)
short, _ = model.predict([np.array([[1, 2]]), zeros], verbose=0)
print("two words and two masked:     ", plain[0].tolist())
print("the same, with a state of 0:  ", begun[0].tolist())
print("the two words alone:          ", short[0].tolist())
assert np.allclose(plain, short, atol=1e-6)
assert not np.allclose(begun, short, atol=1e-6), "the mask is heeded with a state, too"
PYTHON
