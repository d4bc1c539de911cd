"""Makes the files `old-*` beside it, with TensorFlow 2.21.0 and Keras 2 as tf_keras 2.21.0: ``python make_old.py``.

Weights of a model of its author's own class in both HDF5 formats of Keras 2, and models whose layers have names inside
of each other; ``.npz`` has the model's weights by their names, or an input and what Keras gives for it.
"""

from pathlib import Path

import numpy as np
import tf_keras as keras
from tf_keras import layers

HERE = Path(__file__).parent
rng = np.random.default_rng(0)


def randomised(model):
    for each in model.weights:
        low = 0.5 if "variance" in each.name else -1
        each.assign(rng.uniform(low, 1, each.shape))
    return model


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential([layers.Dense(4, name="stem"), layers.BatchNormalization()])
        self.heads = [layers.Dense(4), layers.Dense(2)]
        self.bias = self.add_weight("bias", (2,))

    def call(self, x):
        return self.heads[1](self.heads[0](self.encoder(x))) + self.bias


x = rng.normal(size=(2, 5)).astype("float32")
net = Net()
net(x)
randomised(net)
net.compile("adam", "mse")
net.fit(x, np.ones((2, 2)), verbose=0)
net.save_weights(HERE / "old-own.h5")
net.save_weights(HERE / "old-own.weights.h5")
np.savez(HERE / "old-own.npz", **{each.name.replace("/", "."): each.numpy() for each in net.weights})

given = keras.Input((6,), name="given")
y = layers.Dense(4, name="conv1")(given)
y = layers.Dense(4, name="conv1/conv")(y)
inner_given = keras.Input((4,))
z = layers.Dense(4, name="conv")(layers.Dense(4, name="conv1/conv")(layers.Dense(4, name="conv1")(inner_given)))
inner = keras.Model(inner_given, z, name="inner/model")
names = randomised(keras.Model(given, layers.BatchNormalization(name="conv1/conv/norm")(inner(y))))
names.save(HERE / "old-names.h5")
x = rng.normal(size=(2, 6)).astype("float32")
np.savez(HERE / "old-names.npz", input_0=x, output_0=np.asarray(names(x)))
