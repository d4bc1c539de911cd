"""Makes the files `new-*` beside it, with Keras 3.15.1 on PyTorch 2.13.0: ``KERAS_BACKEND=torch python make.py``.

Weights of a model of its author's own class, weights in several files, and a model whose layers have a LoRA; ``.npz``
has an input and what Keras gives for it, or the model's variables by their paths.
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

HERE = Path(__file__).parent
rng = np.random.default_rng(0)


def randomised(model):
    for each in model.weights:
        if "seed" not in each.path:
            each.assign(rng.uniform(-1, 1, each.shape))
    return model


class Block(layers.Layer):
    def __init__(self, units, **options):
        super().__init__(**options)
        self.fc = layers.Dense(units)
        self.norm = layers.LayerNormalization()
        self.dropout = layers.Dropout(0.1)

    def call(self, x):
        return self.norm(self.dropout(self.fc(x)))


class Net(keras.Model):
    """All of its attributes come before "layers", but for one."""

    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential([layers.Dense(4, name="stem"), layers.BatchNormalization()])
        self.blocks = [Block(4, name="first block"), Block(4)]
        self.heads = {"one": layers.Dense(2), "two": layers.Dense(3)}
        self.bias = self.add_weight(shape=(2,), name="bias")
        self.zoom = layers.Dense(2)

    def call(self, x):
        x = self.encoder(x)
        for block in self.blocks:
            x = block(x)
        return self.zoom(x) + self.heads["one"](x) + self.bias + ops.sum(self.heads["two"](x))


x = rng.normal(size=(2, 5)).astype("float32")
net = Net()
net(x)
randomised(net)
net.compile("adam", "mse", metrics=["mae"])
net.fit(x, np.ones((2, 2)), verbose=0)
net.save_weights(HERE / "new-own.weights.h5")
net.save(HERE / "new-own.keras")
np.savez(HERE / "new-own.npz", *[ops.convert_to_numpy(each) for each in net.weights if "seed" not in each.path])

row = randomised(
    keras.Sequential([keras.Input((6,)), layers.Dense(5, name="first"), layers.Dense(4), layers.Dense(3, name="last")])
)
# The kernel of the second layer is in the first file, its bias in the second.
row.save_weights(HERE / "new-shards.weights.json", max_shard_size=225 / 2**30)
(HERE / "new-shards.json").write_text(row.to_json() + "\n")
x = rng.normal(size=(2, 6)).astype("float32")
np.savez(HERE / "new-shards.npz", input_0=x, output_0=ops.convert_to_numpy(row(x)))

words = keras.Input((3,), dtype="int32", name="words")
y = layers.Embedding(5, 4, name="words_of")(words)
y = layers.EinsumDense("abc,cd->abd", output_shape=(3, 3), bias_axes="d", name="mixed")(y)
y = layers.Conv1D(2, 2, name="moved")(y)
lora = randomised(keras.Model(words, layers.Dense(4, name="head")(layers.Flatten()(y))))
for each in ("words_of", "mixed", "moved", "head"):
    lora.get_layer(each).enable_lora(2, lora_alpha=3)
randomised(lora)
x = rng.integers(0, 5, (2, 3)).astype("int32")
lora.save(HERE / "new-lora.keras")
lora.save(HERE / "new-lora.h5")
np.savez(HERE / "new-lora.npz", input_0=x, output_0=ops.convert_to_numpy(lora(x)))
