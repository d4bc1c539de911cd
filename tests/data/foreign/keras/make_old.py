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

x, y = layers.Input((4, 6)), layers.Input((4, 6))
sizes = tf.shape(x)
results = [tf.reshape(x, [sizes[0], sizes[1], 2, 3]), tf.reshape(y, [sizes[0], -1]), tf.split(x, 2, axis=2)[1]]
results += [tf.split(x, [2, 4], axis=2)[0], tf.where(x > 0, x, tf.zeros_like(x)), tf.argmax(x, -1), tf.argmin(x, 1)]
results += [tf.tile(x, [1, 2, 1]), tf.pad(x, [[0, 0], [1, 1], [0, 2]]), tf.nn.l2_normalize(x, -1), x[..., :2]]
results += [tf.gather(x, [0, 2], axis=1), tf.reverse(x, [1]), tf.one_hot(tf.argmax(x, -1), 6), tf.cumsum(x, 1)]
results += [tf.math.reduce_std(x, 1), tf.math.reduce_variance(x, 1), tf.unstack(x, axis=1)[2], tf.sign(x), tf.round(x)]
results += [tf.math.floor(x), tf.math.ceil(x), tf.math.add_n([x, y, x]), tf.matmul(x, y, transpose_b=True)]
results += [tf.equal(x, y), tf.logical_and(x > 0, y > 0), tf.logical_not(x > 0), x >= y, x <= y, tf.not_equal(x, y)]
results += [tf.math.squared_difference(x, y), tf.math.divide_no_nan(x, y), tf.norm(x - y, axis=-1)]
results += [tf.tensordot(x, tf.ones((6, 3)), 1), tf.nn.log_softmax(x), tf.reduce_prod(x, 1), tf.reduce_logsumexp(x, 1)]
results += [tf.slice(x, [0, 1, 0], [-1, 2, 3]), tf.repeat(x, 2, axis=1), tf.math.floormod(x, y), tf.math.log1p(x * x)]
results += [tf.roll(x, 1, 1), tf.math.atan2(x, y), tf.tan(x), tf.sinh(x), tf.math.reciprocal(x), tf.math.softsign(x)]
results += [tf.reduce_any(x > 1, 1), tf.reduce_all(x > -1, 1), tf.math.log_sigmoid(x), tf.math.expm1(x), x[:, None]]
images = layers.Input((8, 6, 4))
results += [tf.image.resize(images, (4, 9)), tf.nn.avg_pool2d(images, 2, 2, "VALID"), tf.nn.depth_to_space(images, 2)]
results += [tf.nn.max_pool2d(images, 3, 2, "SAME"), tf.nn.space_to_depth(images, 2), tf.image.flip_left_right(images)]
results += [tf.image.resize(images, (4, 9), method="nearest"), layers.ThresholdedReLU(0.3)(images)]
save("old-operations", keras.Model([x, y, images], results), [(4, 6), (4, 6), (8, 6, 4)], (".h5",))
