"""Makes the files `new-*` beside it, with Keras 3.15.1 on PyTorch 2.13.0: ``KERAS_BACKEND=torch python make.py``.

Each model is saved as a whole (``.keras``, some as ``.h5``) or as weights, and ``.npz`` has inputs and the outputs
that Keras gives for them.
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

HERE = Path(__file__).parent
rng = np.random.default_rng(0)


def randomised(model):
    for each in model.weights:
        if "seed" in each.path or each.dtype == "uint32":
            continue
        low = 0.5 if "variance" in each.path else -1
        each.assign(rng.uniform(low, 1, each.shape))
    return model


def save(name, model, *suffixes):
    randomised(model)
    inputs = []
    for each in model.inputs:
        shape = [size or 2 for size in each.shape]
        whole = each.dtype.startswith("int")
        inputs.append(
            rng.integers(0, 4, shape).astype(each.dtype) if whole else rng.normal(size=shape).astype("float32")
        )
    outputs = keras.tree.flatten(model(inputs if len(inputs) > 1 else inputs[0], training=False))
    arrays = {f"input_{at}": each for at, each in enumerate(inputs)}
    arrays |= {f"output_{at}": ops.convert_to_numpy(ops.cast(each, "float32")) for at, each in enumerate(outputs)}
    np.savez(HERE / f"{name}.npz", **arrays)
    for suffix in suffixes:
        path = HERE / f"{name}{suffix}"
        if suffix == ".json":
            path.write_text(model.to_json() + "\n")
        elif suffix == ".weights.h5":
            model.save_weights(path)
        else:
            model.save(path)


image = keras.Sequential(
    [
        keras.Input((8, 9, 3)),
        layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(3, activation="softmax"),
    ]
)
image.layers[0].trainable = False
save("new-image", image, ".keras", ".h5", ".weights.h5", ".json")

text = keras.Sequential(
    [
        keras.Input((5,), dtype="int32"),
        layers.Embedding(7, 4),
        layers.LSTM(3, return_sequences=True),
        layers.Bidirectional(layers.GRU(3)),
        layers.Dense(2, activation="leaky_relu"),
    ]
)
save("new-text", text, ".keras", ".h5")

inner_input = keras.Input((6,))
inner = keras.Model(inner_input, [layers.Dense(6)(inner_input), layers.Dense(4)(inner_input)], name="inner")
row = keras.Sequential([keras.Input((6,)), layers.Dense(6, activation="tanh"), layers.LeakyReLU()], name="row")
left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
one, two = inner(row(left))
total = layers.Add()([one, row(right)])
shared = layers.Dense(3, name="shared")
save(
    "new-nested",
    keras.Model(
        {"left": left, "right": right},
        {"z": shared(total), "a": shared(ops.relu(one) * 2.0 - right), "m": layers.Concatenate()([two, total[:, :2]])},
    ),
    ".keras",
    ".h5",
)

# One layer in two models: Keras writes such a file, and cannot read it.
dense = layers.Dense(4, name="both")
first_input, second_input, x = keras.Input((4,)), keras.Input((4,)), keras.Input((4,))
first = keras.Model(first_input, dense(first_input), name="first")
second = keras.Model(second_input, dense(second_input), name="second")
save("new-shared", keras.Model(x, [first(x), second(ops.tanh(x))]), ".keras")

tokens = keras.Input((6, 8))
mask = keras.Input((6, 6), dtype="bool")
attended = layers.MultiHeadAttention(2, 4)(tokens, tokens, attention_mask=mask)
normal = layers.LayerNormalization()(layers.Add()([tokens, attended]))
mixed = layers.EinsumDense("abc,cd->abd", output_shape=(None, 8), bias_axes="d", activation="gelu")(normal)
attention = keras.Model([tokens, mask], mixed)
randomised(attention)
array, allowed = rng.normal(size=(2, 6, 8)).astype("float32"), np.tril(np.ones((2, 6, 6), bool))
np.savez(
    HERE / "new-attention.npz",
    input_0=array,
    input_1=allowed,
    output_0=ops.convert_to_numpy(attention([array, allowed])),
)
attention.save(HERE / "new-attention.keras")

narrow = keras.Sequential([keras.Input((4,)), layers.Dense(3, dtype="bfloat16"), layers.Dense(2, dtype="float16")])
save("new-narrow", narrow, ".keras")

compiled = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.GaussianNoise(0.1)])
compiled.compile("adam", "mse", metrics=["mae"])
compiled.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
save("new-compiled", compiled, ".keras")
