#!/usr/bin/env bash
# keras 3.15.1 with torch 2.13.0 as its backend (keras.layers.MultiHeadAttention in a functional model)
# An Embedding with mask_zero=True masks what follows. Of three blocks of self-attention with an Add behind each, built
# as Keras' own examples build them, the first gives padding no weight; the second and the third give it as much as any
# word: the attention has taken the mask off the tensor it was given, and nothing behind it has one. No warning says so.
# One would have guessed that all blocks of an encoder leave padding out, or none.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'keras==3.15.1' 'numpy==2.4.6'
KERAS_BACKEND=torch "$folder/environment/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import keras
from keras import layers

keras.utils.set_random_seed(0)


def weight_of_padding(blocks):
    words = keras.Input((3,), dtype="int64")
    x = layers.Embedding(5, 4, mask_zero=True)(words)
    found = []
    for _ in range(blocks):
        attended, scores = layers.MultiHeadAttention(1, 4)(x, x, return_attention_scores=True)
        found.append(scores)
        x = layers.Add()([x, attended])
    model = keras.Model(words, found)
    several = model(np.array([[1, 2, 0]]))
    several = several if isinstance(several, list) else [several]
    return [float(keras.ops.convert_to_numpy(each)[0, 0, :, 2].max()) for each in several]


found = weight_of_padding(3)
print("largest weight of the padding, block by block:", [round(each, 3) for each in found])
assert found[0] < 1e-6
assert all(each > 0.01 for each in found[1:])
PYTHON
