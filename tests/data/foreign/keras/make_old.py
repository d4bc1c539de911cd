"""Makes the files `old-*` beside it, with TensorFlow 2.15.1 and its Keras 2.15.0: ``python make_old.py``.

Each model is saved in all formats of that Keras: ``.keras``, ``.h5``, and weights in both of its HDF5 formats;
``.npz`` has inputs and the outputs that Keras gives for them.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

HERE = Path(__file__).parent
rng = np.random.default_rng(0)


def save(name, model, shapes, suffixes):
    for each in model.weights:
        low = 0.5 if "variance" in each.name else -1
        each.assign(rng.uniform(low, 1, each.shape))
    inputs = [rng.normal(size=(2, *shape)).astype("float32") for shape in shapes]
    if name in ("old-text", "old-masks"):
        inputs = [rng.integers(0, 4, (2, *shape)).astype("float32") for shape in shapes]
    outputs = tf.nest.flatten(model(inputs if len(inputs) > 1 else inputs[0], training=False))
    arrays = {f"input_{at}": each for at, each in enumerate(inputs)}
    arrays |= {f"output_{at:02}": np.asarray(each) for at, each in enumerate(outputs)}
    np.savez(HERE / f"{name}.npz", **arrays)
    for suffix in suffixes:
        path = str(HERE / f"{name}{suffix}")
        if suffix == ".json":
            Path(path).write_text(model.to_json() + "\n")
        elif suffix == ".weights.h5":
            model.save_weights(path)
        elif suffix == "-weights.h5":
            model.save_weights(path, save_format="h5")
        else:
            model.save(path)


image = keras.Sequential(
    [
        layers.Input((8, 8, 3)),
        layers.SeparableConv2D(4, 3, depth_multiplier=2, padding="same", name="conv/first"),
        layers.PReLU(shared_axes=[1, 2]),
        layers.DepthwiseConv2D(3),
        layers.Conv2DTranspose(3, 4, strides=2, padding="same"),
        layers.UpSampling2D(interpolation="bilinear"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="hard_sigmoid"),
    ]
)
save("old-image", image, [(8, 8, 3)], (".keras", ".h5", ".weights.h5", "-weights.h5", ".json"))

text = keras.Sequential(
    [
        layers.Embedding(7, 4, input_length=5),
        layers.LSTM(3, return_sequences=True),
        layers.Bidirectional(layers.GRU(3, reset_after=False)),
        layers.Dense(2),
    ]
)
text.build((None, 5))
save("old-text", text, [(5,)], (".keras", ".h5"))

row = keras.Sequential([layers.Input((6,)), layers.Dense(6, activation="tanh"), layers.LeakyReLU(0.2)], name="row")
inner_input = layers.Input((6,))
inner = keras.Model(inner_input, [layers.Dense(6)(inner_input), layers.Dense(4)(inner_input)], name="inner")
left, right = layers.Input((6,), name="left"), layers.Input((6,), name="right")
first, second = row(left), row(right)
one, two = inner(first)
total = layers.Add()([one, second])
shared = layers.Dense(3, name="shared")
outputs = [shared(total), shared(layers.Multiply()([one, second])), layers.Concatenate()([two, first]), row(total)]
save("old-nested", keras.Model([left, right], outputs), [(6,), (6,)], (".keras", ".h5"))

x, y = layers.Input((5, 6)), layers.Input((5, 6))
results = [x + 3.0, x - y, 2.0 * x, 1.0 - x, x / (y * y + 1.0), 2.0 / (x * x + 1.0), -x, abs(x), x**2, x[:, 0]]
results += [tf.maximum(x, 0.0), tf.minimum(x, y), tf.nn.relu(x), tf.nn.relu6(x), tf.nn.sigmoid(x), tf.tanh(x)]
results += [tf.nn.softmax(x, axis=-1), tf.nn.silu(x), tf.nn.gelu(x), tf.nn.elu(x), tf.nn.selu(x), tf.nn.softplus(x)]
results += [tf.nn.leaky_relu(x, alpha=0.1), tf.exp(x), tf.math.log(x * x + 1.0), tf.sqrt(x * x), tf.square(x)]
results += [tf.math.rsqrt(x * x + 1.0), tf.math.erf(x), tf.sin(x), tf.cos(x), tf.cast(x, tf.int32), tf.identity(x)]
results += [tf.reduce_mean(x, axis=1, keepdims=True), tf.reduce_sum(x, axis=[1, 2]), tf.reduce_max(x, 1)]
results += [tf.reduce_min(x, -1), tf.concat([x, y], axis=1), tf.stack([x, y], axis=1), tf.reshape(x, (-1, 30))]
results += [tf.transpose(x, (0, 2, 1)), tf.expand_dims(x, 1), tf.squeeze(tf.expand_dims(x, 1), 1), x[:, 1:3, ::2]]
results += [tf.clip_by_value(x, -0.5, 0.5), tf.matmul(x, tf.transpose(y, (0, 2, 1))), tf.stop_gradient(x)]
save("old-functions", keras.Model([x, y], results), [(5, 6), (5, 6)], (".h5",))

first, second = layers.Input((5,)), layers.Input((5,))
rows = layers.Embedding(7, 4, mask_zero=True)
one, two = rows(first), rows(second)
merging = (layers.Add, layers.Multiply, layers.Maximum, layers.Average, layers.Concatenate)
results = [layers.LSTM(2)(kind()(pair)) for kind in merging for pair in ([one, two], [one, two[:, :, ::-1]])]
results += [layers.LSTM(2)(layers.Concatenate(axis=1)([one, two])), layers.GlobalAveragePooling1D()(one)]
results += [layers.Bidirectional(layers.GRU(2, return_sequences=True))(one), layers.LSTM(2, stateful=False)(two * 2.0)]
results += [layers.LSTM(2, recurrent_activation="hard_sigmoid", return_sequences=True)(one)]
inner_input, own = layers.Input((5,)), layers.Embedding(7, 4, mask_zero=True)
inner = keras.Model(inner_input, layers.LSTM(3, return_sequences=True)(own(inner_input)), name="inside")
results += [layers.GRU(2)(inner(first))]
save("old-masks", keras.Model([first, second], results), [(5,), (5,)], (".h5", ".keras"))
