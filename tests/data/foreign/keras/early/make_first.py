"""Makes the files `first-*` and `theano-*` beside it: ``KERAS_BACKEND=theano python make_first.py``.

With Keras 1.2.2 it makes the first, with Keras 2.2.4 the others, both with Theano 1.0.5, NumPy 1.23.5 and h5py 3.10.
``.npz`` has inputs and what Keras gives for them.
"""

import collections
import collections.abc
import inspect
import sys
import types
from pathlib import Path

import numpy as np
import numpy.distutils.__config__ as blas
import scipy.signal

# What has moved or gone since in Python, NumPy and SciPy.
for name in ("Iterable", "Mapping", "MutableMapping", "Sequence", "Callable", "Hashable", "MutableSet", "Iterator"):
    setattr(collections, name, getattr(collections.abc, name))
Arguments = collections.namedtuple("Arguments", "args varargs keywords defaults")
inspect.getargspec = lambda function: Arguments(*inspect.getfullargspec(function)[:4])
blas.blas_opt_info = {}
tools = types.ModuleType("scipy.signal.signaltools")
tools.convolve = scipy.signal.convolve
tools._valfrommode = scipy.signal._signaltools._valfrommode
tools._bvalfromboundary = scipy.signal._signaltools._bvalfromboundary
more = types.ModuleType("scipy.signal.sigtools")
more._convolve2d = scipy.signal._sigtools._convolve2d
sys.modules.update({"scipy.signal.signaltools": tools, "scipy.signal.sigtools": more})

import theano  # noqa: E402
import theano.ifelse  # noqa: E402

theano.config.optimizer = "None"

import keras  # noqa: E402
from keras import layers  # noqa: E402
from keras.models import Model, Sequential  # noqa: E402

HERE = Path(__file__).parent
rng = np.random.RandomState(0)


def every(model):
    for layer in getattr(model, "flattened_layers", None) or model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from every(layer)


def save(name, model, tokens=()):
    model.set_weights([rng.uniform(-1, 1, each.shape) for each in model.get_weights()])
    for layer in every(model):
        if type(layer).__name__ == "BatchNormalization":
            *others, variance = layer.get_weights()
            layer.set_weights([*others, np.abs(variance) + 0.4])
    inputs = []
    for place, each in enumerate(model.inputs):
        shape = [2, *each._keras_shape[1:]]
        inputs.append(rng.randint(0, 5, shape) if place in tokens else rng.normal(size=shape).astype("float32"))
    found = model.predict(inputs if len(inputs) > 1 else inputs[0])
    outputs = found if isinstance(found, list) else [found]
    model.save(str(HERE / f"{name}.h5"))
    given = {f"input_{place}": each for place, each in enumerate(inputs)}
    np.savez(HERE / f"{name}.npz", **given, **{f"output_{place}": each for place, each in enumerate(outputs)})


def first():
    for order, shape in (("th", (3, 9, 8)), ("tf", (9, 8, 3))):
        where = {"dim_ordering": order}
        row = [
            layers.ZeroPadding2D((1, 2), input_shape=shape, **where),
            layers.Convolution2D(4, 3, 2, subsample=(2, 1), activation="relu", **where),
            layers.BatchNormalization(axis=1 if order == "th" else -1),
            layers.Convolution2D(5, 2, 3, border_mode="same", bias=False, **where),
            layers.Activation("tanh"),
            layers.MaxPooling2D((2, 2), **where),
            layers.Dropout(0.3),
            layers.AveragePooling2D((1, 2), strides=(1, 1), **where),
            layers.UpSampling2D((2, 1), **where),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
        save(f"first-image-{order}", Sequential(row))
    deconvolved = layers.Deconvolution2D(
        2, 3, 3, output_shape=(None, 2, 7, 7), input_shape=(2, 5, 5), dim_ordering="th"
    )
    save("first-deconvolved", Sequential([deconvolved]))

    row = [
        layers.Embedding(9, 4, input_length=6, mask_zero=True),
        layers.LSTM(4, return_sequences=True, dropout_W=0.1),
        layers.GRU(3, return_sequences=True, consume_less="gpu"),
        layers.Bidirectional(layers.GRU(2, return_sequences=True), merge_mode="sum"),
        layers.Bidirectional(layers.LSTM(3)),
        layers.Dense(2, activation="sigmoid"),
    ]
    save("first-text", Sequential(row), (0,))
    row = [
        layers.Convolution1D(5, 3, border_mode="same", subsample_length=2, input_shape=(9, 4)),
        layers.MaxPooling1D(2, stride=1),
        layers.AtrousConvolution1D(3, 2, atrous_rate=2),
        layers.UpSampling1D(2),
        layers.TimeDistributed(layers.Dense(2)),
        layers.LocallyConnected1D(3, 2),
        layers.GlobalMaxPooling1D(),
        layers.GaussianNoise(0.1),
        layers.ELU(0.5),
    ]
    save("first-signal", Sequential(row))

    one = Sequential([layers.Embedding(9, 3, input_length=4), layers.SimpleRNN(4, go_backwards=True)])
    two = Sequential([layers.Dense(4, input_dim=5), layers.BatchNormalization()])
    three = Sequential([layers.Merge([one, two], mode="mul"), layers.Dense(4, activation="relu")])
    four = Sequential([layers.Dense(3, input_dim=2)])
    save("first-branches", Sequential([layers.Merge([three, four], mode="concat"), layers.Dense(2)]), (0,))

    given = layers.Input((5,))
    inner = Model(given, layers.Dense(4, activation="tanh")(given))
    row = Sequential([layers.Dense(4, input_dim=4), layers.Dense(2)])
    ends = [layers.Input((5,)), layers.Input((5,))]
    both = [inner(each) for each in ends]
    merged = [layers.merge(both, mode=mode) for mode in ("sum", "ave", "max")]
    results = [row(merged[0]), layers.merge([merged[1], row(merged[2])], mode="concat"), layers.merge(both, "dot", -1)]
    save("first-nested", Model(ends, results))


def second():
    for order, shape in (("channels_first", (2, 8, 7)), ("channels_last", (8, 7, 2))):
        where = {"data_format": order}
        row = [
            layers.Conv2D(4, (3, 2), padding="same", strides=2, activation="relu", input_shape=shape, **where),
            layers.Conv2DTranspose(3, (2, 3), strides=2, **where),
            layers.DepthwiseConv2D((2, 3), **where),
            layers.SeparableConv2D(3, 2, **where),
            layers.MaxPooling2D(2, padding="same", **where),
            layers.AveragePooling2D(3, strides=1, padding="same", **where),
            layers.LocallyConnected2D(2, 2, **where),
        ]
        save(f"theano-image-{order.partition('_')[2]}", Sequential(row))
    video = layers.ConvLSTM2D(2, (2, 3), input_shape=(3, 5, 5, 2), return_sequences=True)
    inner = Sequential([layers.Conv2D(2, 2, input_shape=(4, 3, 2)), layers.Flatten()])
    row = [video, layers.TimeDistributed(inner), layers.Conv1D(3, 3, padding="causal"), layers.Conv1D(2, 2)]
    save("theano-video", Sequential(row))
    given = layers.Input((4,))
    row = Sequential([layers.Dense(3, input_shape=(4,)), layers.Dense(4)])
    save("theano-nested", Model(given, layers.add([row(given), row(row(given))])))


first() if keras.__version__.startswith("1") else second()
