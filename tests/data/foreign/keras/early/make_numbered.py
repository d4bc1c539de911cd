"""Makes the files `numbered-*` beside it, with TensorFlow 2.13.1 and its Keras 2.13.1: ``python make_numbered.py``.

Its ``.keras`` files count layers that have weights twice. ``.npz`` has inputs and what Keras gives for them.
"""

from pathlib import Path

import numpy as np
from keras import Model, Sequential, layers

HERE = Path(__file__).parent
rng = np.random.RandomState(0)


def save(name, model):
    for each in model.weights:
        low = 0.4 if "variance" in each.name else -0.5
        each.assign(rng.uniform(low, 0.5, each.shape))
    inputs = [rng.normal(size=(2, *each.shape[1:])).astype("float32") for each in model.inputs]
    found = model.predict(inputs, verbose=0)
    model.save(HERE / f"{name}.keras")
    given = {f"input_{place}": each for place, each in enumerate(inputs)}
    np.savez(HERE / f"{name}.npz", **given, output_0=found)


given = layers.Input((6, 6, 2))
x = layers.BatchNormalization()(layers.Conv2D(2, 3, padding="same")(given))
x = layers.BatchNormalization()(layers.Conv2D(2, 3, padding="same")(layers.ReLU()(x)))
x = layers.Add()([layers.Conv2D(2, 3, padding="same")(x), x])
x = layers.LocallyConnected2D(2, (2, 3), strides=(2, 1), activation="tanh")(layers.ReLU()(x))
x = layers.Reshape((3, 8))(x)
x = layers.LocallyConnected1D(4, 2, data_format="channels_first")(x)
x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 3)(x, x))
save("numbered-image", Model(given, layers.Dense(2)(layers.Dense(2)(layers.Flatten()(x)))))

row = Sequential([layers.Input((4,)), layers.Dense(4), layers.ReLU(), layers.Dense(4)])
inner = layers.Input((4,))
model = Model(inner, layers.Dense(4, activation="tanh")(layers.Dense(4)(inner)))
ends = [layers.Input((4,)), layers.Input((4,))]
shared = layers.Dense(4)
x = layers.Concatenate()([row(ends[0]), row(ends[1]), model(shared(ends[0])), shared(ends[1])])
save("numbered-nested", Model(ends, layers.Dense(2)(layers.Dense(3)(x))))
