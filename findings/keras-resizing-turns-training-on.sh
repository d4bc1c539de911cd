#!/usr/bin/env bash
# keras 3.15.1, torch 2.13.0
# A functional model is called without `training`, and has a Resizing layer in it: the layers behind it run as in
# training. BatchNormalization takes the batch's own statistics and moves its averages at each call, where the same
# model without Resizing, `training=False` and `predict` take the averages that it keeps. Resizing's own `call` has
# `training=True` as its default, which the layers that are called later inherit. One would have guessed that a layer
# that does the same either way says nothing to others.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'keras==3.15.1' 'torch==2.13.0' 'numpy==2.4.6'
KERAS_BACKEND=torch KERAS_HOME="$folder" "$folder/environment/bin/python" -W ignore - <<'PYTHON'
import keras
import numpy as np

x = np.random.default_rng(0).standard_normal((4, 6, 6, 2)).astype("f4") * 3 + 1


def model(*layers):
    given = keras.Input((6, 6, 2))
    found = given
    for layer in (*layers, keras.layers.BatchNormalization()):
        found = layer(found)
    return keras.Model(given, found)


def numbers(result):
    array = keras.ops.convert_to_numpy(result)
    return f"mean {array.mean():.3f}, deviation {array.std():.3f}"


plain, resized = model(), model(keras.layers.Resizing(6, 6))
print("without Resizing:", numbers(plain(x)))
print("with it, training=False:", numbers(resized(x, training=False)))
print("with it, predict:", numbers(resized.predict(x, verbose=0)))
averages = [keras.ops.convert_to_numpy(each).copy() for each in resized.layers[-1].non_trainable_variables]
found = resized(x)
print("with it:", numbers(found))
moved = [keras.ops.convert_to_numpy(each) for each in resized.layers[-1].non_trainable_variables]
print("averages moved:", [not np.array_equal(one, two) for one, two in zip(averages, moved, strict=True)])
assert abs(keras.ops.convert_to_numpy(plain(x)).mean() - x.mean()) < 0.01
assert abs(keras.ops.convert_to_numpy(found).mean()) < 1e-3
assert not any(np.array_equal(one, two) for one, two in zip(averages, moved, strict=True))
PYTHON
