"""Makes `cudnn.h5` beside it, with TensorFlow 2.21.0 and Keras 2 as tf_keras 2.21.0: ``python make_cudnn.py``.

A model of plain recurrences is saved and run, and the file is then turned into one of the layers that ran on GPUs only,
with the weights as Keras itself turns them. ``.npz`` has inputs and what Keras gives for them.
"""

import json
from pathlib import Path

import h5py
import numpy as np
import tf_keras as keras
from tf_keras import layers
from tf_keras.src.saving.legacy.hdf5_format import _convert_rnn_weights  # what load_weights does

HERE = Path(__file__).parent
rng = np.random.default_rng(0)


def gru(units, **more):
    return layers.GRU(units, reset_after=True, **more)


given = keras.Input((7, 3))
x = layers.Bidirectional(gru(4, return_sequences=True))(given)
x = layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="sum")(x)
x = gru(5, return_sequences=True, go_backwards=True)(x)
x = keras.Model(given, layers.LSTM(4, return_state=True)(x))
for each in x.weights:
    each.assign(rng.uniform(-0.5, 0.5, each.shape))
inputs = rng.normal(size=(2, 7, 3)).astype("float32")
outputs = {f"output_{place}": each for place, each in enumerate(x.predict(inputs, verbose=0))}
np.savez(HERE / "cudnn.npz", input_0=inputs, **outputs)
x.save(HERE / "cudnn.h5")

KEPT = ("name", "trainable", "dtype", "units", "return_sequences", "return_state", "go_backwards", "stateful")


def renamed(value):
    if isinstance(value, dict):
        value = {name: renamed(each) for name, each in value.items()}
        if value.get("class_name") in ("LSTM", "GRU"):
            value["class_name"] = f"CuDNN{value['class_name']}"
            value["config"] = {name: each for name, each in value["config"].items() if name in KEPT}
    return [renamed(each) for each in value] if isinstance(value, list) else value


with h5py.File(HERE / "cudnn.h5", "r+") as file:
    file.attrs["model_config"] = json.dumps(renamed(json.loads(file.attrs["model_config"])))
    found = []
    file.visit(lambda path: found.append(file[path].parent) if path.endswith("recurrent_kernel:0") else None)
    for group in found:
        names = ("kernel:0", "recurrent_kernel:0", "bias:0")
        weights = [group[name][()] for name in names]
        is_lstm = weights[1].shape[1] == 4 * weights[1].shape[0]
        kind = type("CuDNNLSTM" if is_lstm else "CuDNNGRU", (), {"units": weights[1].shape[0]})()
        for name, array in zip(names, _convert_rnn_weights(kind, weights), strict=True):
            del group[name]
            group[name] = np.asarray(array, "float32")
