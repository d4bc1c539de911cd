"""Write small exported models, one for a family of operators, with MXNet itself: mxnet==2.0.0b1, numpy==1.23.5.

Run with a folder: networks, and families of functions; with --each too: a model for each function of the families.
"""

import sys
from pathlib import Path

import mxnet as mx
import numpy as onp
from mxnet import gluon, np, npx
from mxnet.gluon import nn, rnn

npx.set_np()
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
rng = onp.random.RandomState(5)


def flat(y):
    return [each for part in y for each in flat(part)] if isinstance(y, (list, tuple)) else [y]


def save(name, net, *xs):
    mx.random.seed(3)
    onp.random.seed(3)
    net.initialize(mx.init.Uniform(0.5))
    net(*xs)
    for key, each in net.collect_params().items():
        if key.endswith(("running_mean", "beta", "bias")):
            each.set_data(np.array(rng.normal(0, 0.2, each.shape), dtype=each.dtype))
        elif key.endswith(("running_var", "gamma", "alpha")):
            each.set_data(np.array(rng.uniform(0.5, 1.5, each.shape), dtype=each.dtype))
    net.hybridize()
    net(*xs)
    y = flat(net(*xs))
    net.export(str(folder / name))
    stored = {f"x{at}": each.asnumpy() for at, each in enumerate(xs)} | {f"y{at}": each.asnumpy() for at, each in enumerate(y)}
    onp.savez_compressed(folder / f"{name}-io.npz", **stored)


class Function(nn.HybridBlock):
    def __init__(self, function, **children):
        super().__init__()
        self.function = function
        for key, each in children.items():
            setattr(self, key, each)

    def forward(self, *xs):
        return self.function(self, *xs)


def sequence(*layers):
    net = nn.HybridSequential()
    net.add(*layers)
    return net


def family(name, functions, *xs):
    if "--each" in sys.argv:
        for at, each in enumerate(functions):
            try:
                save(f"{name}{at:02}", Function(lambda own, *given, f=each: f(*given)), *xs)
            except Exception as error:
                print("MXNet refuses", name, at, str(error).strip().splitlines()[-1][:150])
        return
    save(name, Function(lambda own, *given: [each(*given) for each in functions]), *xs)


def uniform(*shape, low=-1.0, high=1.0, dtype="float32"):
    return np.array(rng.uniform(low, high, shape), dtype=dtype)


X = uniform(2, 3, 4, low=-2, high=2)
Y = uniform(2, 3, 4, low=-2, high=2)
IMAGE = uniform(2, 4, 6, 5)
INTEGERS = np.array([[5, -5, 7, 0], [-7, 3, -1, 2]], dtype="int32")
OTHERS = np.array([[3, 3, -3, 2], [2, -2, -3, 5]], dtype="int32")
HALVES = np.array([[-2.5, -1.5, -0.5, 0.0], [0.5, 1.5, 2.5, 1e9]], dtype="float32")

family("unary2", [
    np.absolute, np.negative, np.exp, np.expm1, np.sin, np.cos, np.tan, np.tanh, np.sinh, np.cosh, np.square, np.sign,
    np.reciprocal, np.cbrt, np.degrees, np.radians, np.logical_not, np.isnan, np.isinf, np.isfinite,
    lambda x: np.log(np.abs(x) + 1), lambda x: np.log1p(np.abs(x)), lambda x: np.log2(np.abs(x) + 1),
    lambda x: np.log10(np.abs(x) + 1), lambda x: np.sqrt(np.abs(x)), npx.relu, npx.sigmoid, npx.erf,
    lambda x: npx.activation(x, act_type="softrelu"), lambda x: npx.leaky_relu(x, act_type="gelu"),
    lambda x: npx.log_softmax(x, axis=1), lambda x: npx.softmax(x, axis=0, temperature=2.0),
    lambda x: np.clip(x, -0.5, 0.7), lambda x: np.nan_to_num(x), lambda x: npx.stop_gradient(x),
    lambda x: np.arctanh(x / 3), lambda x: np.arcsinh(x), lambda x: np.arccosh(np.abs(x) + 1),
], X)  # fmt: skip
family("rounding2", [np.floor, np.ceil, np.trunc, np.fix, np.around, np.rint, lambda x: np.around(x, 1)], HALVES)
family("binary2", [
    lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / y, lambda x, y: np.abs(x) ** y,
    np.maximum, np.minimum, lambda x, y: x % y, np.fmod, lambda x, y: x // y, lambda x, y: x > y, lambda x, y: x >= y,
    lambda x, y: x < y, lambda x, y: x <= y, lambda x, y: x == y, lambda x, y: x != y, np.hypot,
    np.logaddexp, lambda x, y: np.logical_and(x > 0, y > 0), lambda x, y: np.logical_or(x > 0, y > 0),
    lambda x, y: np.logical_xor(x > 0, y > 0), lambda x, y: np.where(x > 0, x, y), lambda x, y: np.where(x > y, x, 0.5),
    lambda x, y: np.where(x > y, -1.0, y), lambda x, y: np.where(x > y, 1.0, 2.0), lambda x, y: x[:, :1] * y[:1],
    lambda x, y: np.copysign(x, y), lambda x, y: np.fmax(x, y), lambda x, y: np.ldexp(x, y),
], X, Y)  # fmt: skip
family("scalars2", [
    lambda x: x + 2, lambda x: x - 1.5, lambda x: 2 - x, lambda x: x * 3, lambda x: x / 4, lambda x: 2 / x,
    lambda x: np.abs(x) ** 1.5, lambda x: 2**x, lambda x: np.maximum(x, 0.1), lambda x: np.minimum(x, 0), lambda x: x % 0.7,
    lambda x: 2 % x, lambda x: x // 0.5, lambda x: 1 // x, lambda x: x > 0.1, lambda x: x >= 0.1, lambda x: x < 0, lambda x: x <= 0,
    lambda x: x == 0, lambda x: x != 0, lambda x: np.where(x > 0, x, -np.inf), lambda x: np.fmod(x, 0.7),
    lambda x: np.logical_and(x, 0), lambda x: np.logical_or(x, 0), lambda x: np.logical_xor(x, 1), lambda x: x**2, lambda x: x**-2,
], X)  # fmt: skip
family("integers2", [
    lambda x, y: x + y, lambda x, y: x / y, lambda x, y: x % y, lambda x, y: x // y, lambda x, y: np.fmod(x, y), lambda x, y: x / 2,
    lambda x, y: x + 2, lambda x, y: x * 1.5, lambda x, y: x % 3, lambda x, y: x // 2, lambda x, y: np.exp(x), lambda x, y: np.sqrt(np.abs(x)),
    lambda x, y: np.sum(x, axis=1), lambda x, y: np.mean(x), lambda x, y: np.max(x, axis=0), lambda x, y: np.cumsum(x, axis=1),
    lambda x, y: x * y.astype("float32"), lambda x, y: x + y.astype("float16"), lambda x, y: x + y.astype("int8"),
    lambda x, y: x.astype("int64") + y.astype("float32"), lambda x, y: x > y, lambda x, y: np.where(x > y, x, y), lambda x, y: np.abs(x),
    lambda x, y: x.astype("int8") / 2, lambda x, y: np.exp(x.astype("int8")), lambda x, y: (x > 0) + 1, lambda x, y: (x > 0) * 1.5,
    lambda x, y: (x > 0) * y, lambda x, y: (x > 0) * (y > 0), lambda x, y: np.sum(x > 0), lambda x, y: x.astype("float64") / 3, lambda x, y: np.floor(x),
    lambda x, y: x.astype("bool"), lambda x, y: np.argmax(x, axis=1), lambda x, y: npx.one_hot(np.abs(x), 8), lambda x, y: x.astype("float64") * 1.5,
    lambda x, y: np.tanh(x), lambda x, y: npx.topk(x, k=2), lambda x, y: np.rint(x), lambda x, y: np.clip(x, -2, 2),
    lambda x, y: np.prod(x, axis=1), lambda x, y: np.maximum(x, 1), lambda x, y: np.maximum(x, 0.5), lambda x, y: x**2,
], INTEGERS, OTHERS)  # fmt: skip
family("reductions2", [
    np.sum, np.mean, np.max, np.min, np.std, np.var, np.prod, lambda x: np.sum(x, axis=(0, 2)), lambda x: np.mean(x, axis=-1, keepdims=True),
    lambda x: np.max(x, axis=1), lambda x: np.min(x, axis=(1, 2), keepdims=True), lambda x: np.std(x, axis=1), lambda x: np.var(x, axis=(0, 1), ddof=1),
    lambda x: np.std(x, axis=2, ddof=1, keepdims=True), lambda x: np.argmax(x, axis=1), np.argmax, lambda x: np.argmin(x, axis=-1),
    lambda x: np.argmax(x, axis=2, keepdims=True), lambda x: np.cumsum(x, axis=1), np.cumsum, lambda x: np.any(x > 1.8, axis=1),
    lambda x: np.all(x > -1.8, axis=1), lambda x: npx.norm(x, axis=1), lambda x: npx.norm(x, ord=1, axis=(1, 2), keepdims=True), lambda x: npx.norm(x),
    lambda x: np.linalg.norm(x, axis=-1), lambda x: np.linalg.norm(x), lambda x: np.prod(x, axis=1), lambda x: np.average(x, axis=1),
    lambda x: np.trace(x), lambda x: np.sum(x, dtype="float64"), lambda x: np.linalg.norm(x, ord=1, axis=1), lambda x: np.cumsum(x, axis=0, dtype="float64"),
], X)  # fmt: skip
family("moving0", [
    lambda x: x.reshape(2, 12), lambda x: x.reshape(-1), lambda x: npx.reshape(x, (-2, -1)), lambda x: npx.reshape(x, (-2, -5)), lambda x: npx.reshape(x, (-5, -4)),
], X)  # fmt: skip
family("moving1", [
    lambda x: npx.reshape(x, (-2, -2, 2, -1)), lambda x: npx.reshape(x, (-2, -2, -6, 2, -1)), lambda x: npx.reshape(x, (-6, 1, 2, -4)), lambda x: npx.reshape(x, (-5, -4)), lambda x: npx.reshape(x[:1], (-3, -4)), lambda x: npx.reshape(x, (-1, -2), reverse=True), lambda x: x.T, lambda x: x.transpose(0, 2, 1), lambda x: np.swapaxes(x, 0, 2),
], X)  # fmt: skip
family("moving2", [
    lambda x: np.moveaxis(x, 0, -1), lambda x: np.rollaxis(x, 2), lambda x: np.expand_dims(x, 1), lambda x: np.squeeze(x[:1]), lambda x: np.squeeze(x[:, :1], axis=1), lambda x: x[:, 1],
], X)  # fmt: skip
family("moving3", [
    lambda x: x[0], lambda x: x[:, 1:3, -2:], lambda x: x[:, -1, 1:], lambda x: np.flip(x, axis=1), lambda x: np.flip(x, axis=(0, 2)), lambda x: np.roll(x, 1, axis=1), lambda x: np.roll(x, -1), lambda x: np.roll(x, (1, 2), axis=(0, 2)),
], X)  # fmt: skip
family("moving4", [
    lambda x: np.rot90(x), lambda x: np.tile(x, 2), lambda x: np.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 1, 1)), lambda x: np.repeat(x, 2, axis=1), lambda x: np.repeat(x, 3), lambda x: np.repeat(x, (1, 0, 2), axis=1),
], X)  # fmt: skip
family("moving5", [
    lambda x: np.split(x, 2, axis=2), lambda x: np.split(x, (1, 3), axis=2), lambda x: np.hsplit(x, 3), lambda x: np.concatenate([x, x], axis=1), lambda x: np.stack([x, x], axis=-1),
], X)  # fmt: skip
family("moving6", [
    lambda x: np.vstack([x, x]), lambda x: np.hstack([x, x]), lambda x: np.dstack([x, x]), lambda x: np.column_stack([x, x]), lambda x: np.broadcast_to(x, (5, 2, 3, 4)), lambda x: np.pad(x, ((0, 0), (1, 2), (0, 1))),
], X)  # fmt: skip
family("moving7", [
    lambda x: np.pad(x, ((0, 0), (1, 1), (2, 0)), mode="edge"), lambda x: np.pad(x, ((0, 0), (1, 1), (2, 0)), mode="reflect"), lambda x: npx.batch_flatten(x), lambda x: npx.slice(x, begin=(None, 1), end=(None, 3)),
], X)  # fmt: skip
family("moving8", [
    lambda x: np.diagonal(x, axis1=1, axis2=2), lambda x: np.diff(x, axis=1), lambda x: np.atleast_2d(x), lambda x: x.flatten(), lambda x: np.ravel(x), lambda x: np.full_like(x, 2.5), lambda x: np.zeros_like(x) + x, lambda x: np.ones_like(x) * x,
], X)  # fmt: skip
family("moving9", [
    lambda x: npx.broadcast_like(x[:, :1], x), lambda x: npx.reshape_like(x, x.transpose(2, 1, 0)), lambda x: x.astype("float64"), lambda x: x.astype("float16"), lambda x: npx.slice_axis(x, axis=1, begin=1, end=None) if hasattr(npx, "slice_axis") else x,
], X)  # fmt: skip
family("triangles2", [lambda x: np.tril(x), lambda x: np.tril(x, -1), lambda x: np.triu(x, 1)], X)
INDEX = np.array([[0, 2], [1, 1]], dtype="int32")
family("selection2", [
    lambda x, i: np.take(x, i, axis=1), lambda x, i: np.take(x, i, axis=2, mode="wrap"), lambda x, i: npx.pick(x[:, :, :2].reshape(2, 6), i[:, 0], axis=1),
    lambda x, i: npx.pick(x[:, 0], i[:, 1], axis=1, keepdims=True), lambda x, i: npx.one_hot(i, 4), lambda x, i: npx.one_hot(i, 3, on_value=2.0, off_value=-1.0, dtype="int32"),
    lambda x, i: npx.topk(x, k=2), lambda x, i: npx.topk(x, k=2, ret_typ="value", axis=1), lambda x, i: npx.topk(x, k=3, ret_typ="both", is_ascend=True), lambda x, i: npx.topk(x, k=2, ret_typ="mask"), lambda x, i: npx.topk(x, k=1, axis=0, dtype="int64"),
    lambda x, i: np.sort(x, axis=1), lambda x, i: np.argsort(x, axis=-1), lambda x, i: npx.gather_nd(x, np.abs(i) // 2), lambda x, i: npx.embedding(i, x[0], input_dim=3, output_dim=4),
   
   
], X, INDEX)  # fmt: skip
MASK = np.array(rng.uniform(0, 1, (2, 3, 4)) > 0.4, dtype="bool")
family("masks2", [
    lambda x, m: npx.masked_softmax(x, m), lambda x, m: npx.masked_log_softmax(x, m), lambda x, m: npx.masked_softmax(x, m, temperature=2.0), lambda x, m: npx.masked_softmax(x, m[:, :1], axis=-1),
    lambda x, m: np.where(m, x, 0), lambda x, m: np.logical_not(m), lambda x, m: np.where(m, x, -1e9),
], X, MASK)  # fmt: skip
family("products2", [
    lambda x, y: np.matmul(x, y), lambda x, y: np.dot(x, y[0]), lambda x, y: np.dot(x[0], y[0]), lambda x, y: np.dot(x[0, 0], y[0, :, 0]), lambda x, y: np.dot(x, y[0, :, 0]), lambda x, y: np.dot(x, y),
    lambda x, y: np.einsum("bij,bjk->bik", x, y), lambda x, y: np.einsum("bij,bjk", x, y), lambda x, y: np.einsum("...ij,...jk->...ik", x, y), lambda x, y: np.einsum("bij->bi", x), lambda x, y: np.einsum("bij,bjk->", x, y), lambda x, y: np.inner(x, x), lambda x, y: np.outer(x, y), lambda x, y: np.tensordot(x, y, axes=([2], [1])), lambda x, y: np.tensordot(x, y[0], axes=1),
    lambda x, y: npx.batch_dot(x, y), lambda x, y: npx.batch_dot(x, x, transpose_b=True), lambda x, y: npx.batch_dot(x, x, transpose_a=True), lambda x, y: np.vdot(x, x), lambda x, y: np.kron(x[0], y[0]),
], X, uniform(2, 4, 5))  # fmt: skip
family("made2", [
    lambda x: x + np.arange(4), lambda x: x + np.ones((3, 1)), lambda x: x + np.zeros((1, 4)), lambda x: x * np.full((3, 4), 2.5), lambda x: x @ np.eye(4), lambda x: x @ np.tri(4, 4, -1), lambda x: x + np.linspace(0, 1, 4), lambda x: np.tril(np.ones((3, 4))) * x, lambda x: np.where(np.tril(np.ones((3, 4))), x, -1e4), lambda x: x + np.arange(1, 5, dtype="int32"), lambda x: np.mean(x) + np.zeros(()), lambda x: x @ np.identity(4), lambda x: x * np.ones(()),
    lambda x: x + np.arange(0.0, 1.0, 0.25), lambda x: np.sum(x[:, :0], axis=1), lambda x: x + np.logspace(0, 1, 4), lambda x: x + np.hanning(4),
], X)  # fmt: skip

if "--each" not in sys.argv or "--networks" in sys.argv:
    save("mlp", sequence(nn.Dense(8, activation="relu"), nn.BatchNorm(), nn.Dropout(0.3), nn.Dense(3)), uniform(2, 5))
    lenet = sequence(
        nn.Conv2D(4, 5, activation="tanh"), nn.AvgPool2D(), nn.Conv2D(6, 3), nn.BatchNorm(), nn.Activation("relu"),
        nn.MaxPool2D(2), nn.Flatten(), nn.Dense(10, activation="tanh"), nn.Dense(4),
    )  # fmt: skip
    save("lenet", lenet, uniform(2, 1, 20, 20))

    class Residual(nn.HybridBlock):
        def __init__(self, channels, stride):
            super().__init__()
            self.body = sequence(
                nn.Conv2D(channels, 3, stride, 1, use_bias=False), nn.BatchNorm(), nn.Activation("relu"),
                nn.Conv2D(channels, 3, 1, 1, use_bias=False), nn.BatchNorm(),
            )  # fmt: skip
            self.short = sequence(nn.Conv2D(channels, 1, stride, use_bias=False), nn.BatchNorm()) if stride > 1 else None

        def forward(self, x):
            beside = x if self.short is None else self.short(x)
            return npx.relu(self.body(x) + beside)

    save("resnet", sequence(nn.Conv2D(4, 3, 1, 1), Residual(4, 1), Residual(6, 2), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(3)), uniform(2, 3, 8, 8))
    layers = sequence(
        nn.Conv2D(6, (3, 2), strides=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2), nn.PReLU(),
        nn.Conv2DTranspose(4, 3, strides=2, padding=1, output_padding=1, groups=2, in_channels=6), nn.InstanceNorm(scale=True),
        nn.GroupNorm(2), nn.LeakyReLU(0.2), nn.ELU(0.7), nn.SELU(), nn.GELU(), nn.Swish(), nn.MaxPool2D(3, 2, 1, ceil_mode=True), nn.AvgPool2D(3, 2, 1, count_include_pad=False),
        nn.ReflectionPad2D(1), nn.GlobalMaxPool2D(), nn.Flatten(), nn.LayerNorm(),
    )  # fmt: skip
    save("layers", layers, uniform(2, 4, 11, 9))
    save("one_axis", sequence(nn.Conv1D(5, 3, padding=1), nn.MaxPool1D(2), nn.Conv1DTranspose(3, 2), nn.GlobalMaxPool1D()), uniform(2, 3, 10))
    save("three_axes", sequence(nn.Conv3D(5, 3, padding=1), nn.AvgPool3D(2), nn.GlobalAvgPool3D()), uniform(1, 2, 6, 6, 6))
    for word, cell in (("lstm", rnn.LSTM), ("gru", rnn.GRU), ("rnn", rnn.RNN)):
        save(word, sequence(cell(4, num_layers=2, layout="NTC"), nn.Dense(3, flatten=False)), uniform(2, 5, 3))
        save(word + "_both", sequence(cell(4, bidirectional=True), nn.Dense(3, flatten=False)), uniform(5, 2, 3))

    class States(nn.HybridBlock):
        def __init__(self):
            super().__init__()
            self.lstm = rnn.LSTM(4, layout="NTC", input_size=3)

        def forward(self, x, hidden, cell):
            y, states = self.lstm(x, [hidden, cell])
            return y, states[0], states[1]

    save("lstm_states", States(), uniform(2, 5, 3), uniform(1, 2, 4), uniform(1, 2, 4))

    class Cells(nn.HybridBlock):
        def __init__(self):
            super().__init__()
            self.cell = rnn.LSTMCell(4, input_size=3)

        def forward(self, x, hidden, cell):
            return self.cell.unroll(3, x, [hidden, cell], layout="NTC", merge_outputs=True)[0]

    save("lstm_cell", Cells(), uniform(2, 3, 3), uniform(2, 4), uniform(2, 4))

    class Encoder(nn.HybridBlock):
        """A transformer's layer, as people write it: words and places, heads, a mask by lengths, GELU, two norms."""

        def __init__(self, units=8, heads=2, words=20, length=16):
            super().__init__()
            self.heads, self.units = heads, units
            self.words, self.places = nn.Embedding(words, units), nn.Embedding(length, units)
            self.query, self.key, self.value, self.out = (nn.Dense(units, flatten=False) for _ in range(4))
            self.wide, self.narrow = nn.Dense(2 * units, flatten=False), nn.Dense(units, flatten=False)
            self.norm1, self.norm2 = nn.LayerNorm(), nn.LayerNorm()

        def split(self, x):
            return npx.reshape(x, (-2, -2, self.heads, -1)).transpose(0, 2, 1, 3)

        def forward(self, tokens, lengths):
            steps = npx.arange_like(tokens, axis=1)
            x = self.words(tokens) + np.expand_dims(self.places(steps), 0)
            query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
            scores = np.matmul(query, key.transpose(0, 1, 3, 2)) / np.sqrt(self.units // self.heads).item()
            mask = np.expand_dims(np.expand_dims(np.less(steps.reshape(1, -1), lengths.reshape(-1, 1)), 1), 1)
            weights = npx.masked_softmax(scores, mask, axis=-1)
            mixed = npx.reshape(np.matmul(weights, value).transpose(0, 2, 1, 3), (-2, -2, -1))
            x = self.norm1(x + self.out(mixed))
            return self.norm2(x + self.narrow(npx.leaky_relu(self.wide(x), act_type="gelu")))

    tokens = np.array(rng.randint(0, 20, (2, 7)), dtype="float32")
    save("encoder", Encoder(), tokens, np.array([7, 4], dtype="float32"))

    class Decoder(nn.HybridBlock):
        """A causal one, whose mask is a triangle of ones."""

        def __init__(self, units=8, heads=2, length=6):
            super().__init__()
            self.heads, self.length = heads, length
            self.qkv, self.out = nn.Dense(3 * units, flatten=False), nn.Dense(units, flatten=False)
            self.norm = nn.LayerNorm()

        def forward(self, x):
            query, key, value = np.split(self.qkv(self.norm(x)), 3, axis=-1)
            query, key, value = (npx.reshape(each, (-2, -2, self.heads, -1)).transpose(0, 2, 1, 3) for each in (query, key, value))
            scores = np.einsum("bhid,bhjd->bhij", query, key) * 0.5
            scores = np.where(np.tril(np.ones((self.length, self.length))), scores, -1e9)
            mixed = np.einsum("bhij,bhjd->bihd", npx.softmax(scores, axis=-1), value)
            return x + self.out(npx.reshape(mixed, (-2, -2, -5)))

    save("decoder", Decoder(), uniform(2, 6, 8))

    class Interleaved(nn.HybridBlock):
        """Attention as GluonNLP's BERT has it."""

        def __init__(self):
            super().__init__()
            self.qkv, self.other = nn.Dense(24, flatten=False), nn.Dense(16, flatten=False)

        def forward(self, x):
            qkv = self.qkv(x)
            weights = npx.softmax(npx.interleaved_matmul_selfatt_qk(qkv, heads=2), axis=-1)
            one = npx.interleaved_matmul_selfatt_valatt(qkv, weights, heads=2)
            both = self.other(one)
            weights = npx.softmax(npx.interleaved_matmul_encdec_qk(one, both, heads=2), axis=-1)
            return npx.interleaved_matmul_encdec_valatt(both, weights, heads=2)

    save("interleaved", Interleaved(), uniform(5, 2, 8))

    class Tied(nn.HybridBlock):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(7, 4)
            self.head = nn.Dense(7, in_units=4, use_bias=False, flatten=False)
            self.head.weight = self.embedding.weight
            self.scale = gluon.Parameter("scale", shape=(1, 4), init="ones")

        def forward(self, x):
            return self.head(np.mean(self.embedding(x), axis=1) * self.scale.data())

    save("tied", Tied(), np.array(rng.randint(0, 7, (2, 3)), dtype="float32"))
