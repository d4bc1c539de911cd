"""Layers that run as one: the same as one by one, and nothing of others is written over."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from modelarchive import nn
from modelarchive.nn.calling import last_inputs
from modelarchive.nn.fusing import together
from modelarchive.nn.graph import Node
from modelarchive.nn.recording import RECORDER

RNG = np.random.default_rng(5)

#: What stands first, and the shape of its input.
HEADS: dict[str, tuple[Callable[[], nn.Block], tuple[int, ...]]] = {
    "conv": (lambda: nn.Conv2D(6, 3, padding=1), (2, 4, 9, 8)),
    "conv1d": (lambda: nn.Conv1D(6, 3, strides=2, use_bias=False), (2, 4, 31)),
    "pointwise": (lambda: nn.Conv2D(6, 1), (2, 4, 9, 8)),
    "depthwise": (lambda: nn.Conv2D(6, 3, groups=6, padding=1), (2, 6, 9, 8)),
    "channels last": (lambda: nn.Conv2D(6, 3, layout="NHWC"), (2, 9, 8, 4)),
    "channels last, pointwise": (lambda: nn.Conv2D(6, 1, layout="NHWC"), (2, 9, 8, 4)),
    "volumes": (lambda: nn.Conv3D(6, (2, 3, 1), padding=1), (1, 4, 5, 6, 7)),
    "transposed": (lambda: nn.Conv2DTranspose(6, 3, strides=2), (2, 4, 5, 4)),
    "transposed, apart": (lambda: nn.Conv2DTranspose(6, 2, strides=3), (2, 4, 5, 4)),
    "dense": (lambda: nn.Dense(6, flatten=False), (2, 5, 4)),
    "batch norm": (lambda: nn.BatchNorm(), (2, 6, 9, 8)),
}
TAILS: dict[str, Callable[[bool], list[nn.Block]]] = {
    "norm": lambda last: [nn.BatchNorm(axis=-1 if last else 1)],
    "norm, relu": lambda last: [nn.BatchNorm(axis=-1 if last else 1), nn.Activation("relu")],
    "silu": lambda last: [nn.Activation("silu")],
    "norm, sigmoid": lambda last: [nn.BatchNorm(axis=-1 if last else 1), nn.Activation("sigmoid")],
    "leaky": lambda last: [nn.Activation("leaky_relu", 0.3)],
    "norm, slopes": lambda last: [
        nn.BatchNorm(axis=-1 if last else 1),
        nn.PReLU(in_channels=0, axis=-1 if last else 1),
    ],
    "one slope": lambda last: [nn.PReLU()],
    "slopes of another axis": lambda last: [nn.PReLU(in_channels=0, axis=-2)],
    "norm of another axis": lambda last: [nn.BatchNorm(axis=2), nn.Activation("relu6")],
    "two": lambda last: [nn.Activation("tanh"), nn.Activation("relu")],
}


def normal(shape: tuple[int, ...], dtype: object = np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def filled(net: nn.Block, x: np.ndarray, dtype: object = np.float32) -> None:
    """Random parameters everywhere, of statistics too."""
    net.initialize(seed=0)
    net.cast(np.dtype(dtype).name)
    net(x)
    for name, parameter in net.collect_params().items():
        values = RNG.uniform(0.5, 1.5, parameter.shape) if "var" in name else RNG.standard_normal(parameter.shape)
        parameter.set_data(values.astype(parameter.dtype))


def one_by_one(net: nn.Sequential, x: np.ndarray) -> np.ndarray:
    for layer in net:
        x = layer(x)
    return x


def close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    digits = 1e-13 if found.dtype == np.float64 else 3e-6
    limit = digits * max(1.0, float(np.abs(expected.astype(np.float64)).max()))
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=0, atol=limit)


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_one_by_one(head: str, tail: str, dtype: str) -> None:
    make, shape = HEADS[head]
    last = head.startswith("channels last") or head == "dense"
    net = nn.Sequential(make(), *TAILS[tail](last))
    x = normal(shape, dtype)
    filled(net, x, dtype)
    kept = x.copy()
    expected = one_by_one(net, x)
    found = net(x)
    close(found, expected)
    np.testing.assert_array_equal(x, kept)
    assert not np.shares_memory(found, x)
    np.testing.assert_array_equal(found, net(x))
    held = [parameter.data() for parameter in net.collect_params().values()]
    assert not any(np.shares_memory(found, each) for each in held)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_floats_are_rounded_between_the_layers(dtype: object) -> None:
    net = nn.Sequential(nn.Conv2D(6, 3), nn.BatchNorm(), nn.Activation("relu"))
    x = normal((2, 4, 9, 8), dtype)
    filled(net, x, dtype)
    np.testing.assert_array_equal(net(x), one_by_one(net, x))


def test_what_is_not_finite_stays_where_it_is() -> None:
    net = nn.Sequential(nn.Conv2D(6, 3, padding=1, groups=6), nn.BatchNorm(), nn.Activation("relu6"))
    x = normal((2, 6, 40, 40))
    filled(net, x)
    clean = net(x)
    x[0, 1, 20, 20], x[1, 3, 0, 39] = np.nan, np.inf
    found, expected = net(x), one_by_one(net, x)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    touched = np.zeros(x.shape, bool)
    touched[0, 1, 19:22, 19:22] = touched[1, 3, :2, 38:] = True
    np.testing.assert_array_equal(found[~touched], clean[~touched])


def test_an_infinite_factor_is_no_weight() -> None:
    """A variance of almost nothing: the factor is large, and what it is multiplied with small."""
    net = nn.Sequential(nn.Conv2D(2, 1, use_bias=False), nn.BatchNorm(epsilon=0.0))
    x = np.full((1, 3, 8, 8), 1e-20, np.float32)
    filled(net, x)
    net[0].weight.set_data(np.full((2, 3, 1, 1), 1e19, np.float32))
    net[1].running_var.set_data(np.full(2, 1e-40, np.float32))
    assert np.isfinite(net(x)).all()
    close(net(x), one_by_one(net, x))


def test_changed_parameters_are_used() -> None:
    net = nn.Sequential(nn.Conv2D(6, 3), nn.BatchNorm(), nn.Activation("relu"))
    x = normal((2, 4, 9, 8))
    filled(net, x)
    net(x)
    net[1].weight.data()[...] *= 3
    net[0].weight.data()[...] += 1
    close(net(x), one_by_one(net, x))


def test_read_only_parameters_and_strange_strides() -> None:
    net = nn.Sequential(nn.Conv2D(6, 3, padding=1), nn.BatchNorm(), nn.Activation("relu"))
    x = normal((8, 9, 4, 2))
    filled(net, np.ascontiguousarray(x.T))
    for parameter in net.collect_params().values():
        parameter.data().flags.writeable = False
    x.flags.writeable = False
    close(net(x.T), one_by_one(net, np.ascontiguousarray(x.T)))
    close(net(x.T[:, :, ::-2]), one_by_one(net, np.ascontiguousarray(x.T[:, :, ::-2])))


@pytest.mark.parametrize("head", HEADS)
def test_no_images_at_all(head: str) -> None:
    make, shape = HEADS[head]
    net = nn.Sequential(make(), nn.Activation("silu"))
    filled(net, normal(shape))
    found = net(normal((0, *shape[1:])))
    assert found.shape == (0, *net(normal(shape)).shape[1:])


def test_every_layer_remembers_what_it_was_given() -> None:
    net = nn.Sequential(nn.Conv2D(6, 3), nn.BatchNorm(), nn.Activation("relu"))
    x = normal((2, 4, 9, 8))
    filled(net, x)
    net(normal((5, 4, 9, 8)))
    assert [last_inputs(layer)[0][0] for layer in net] == [(5, 4, 9, 8), (5, 6, 7, 6), (5, 6, 7, 6)]


def test_the_layer_that_does_not_fit_says_so() -> None:
    net = nn.Sequential(nn.Conv2D(6, 3), nn.BatchNorm(in_channels=5), nn.Activation("relu"))
    net.initialize(seed=0)
    with pytest.raises(ValueError, match=r"1 \(BatchNorm\).*expected size 5 at axis 1, found 6"):
        net(normal((2, 4, 9, 8)))


def test_a_layer_of_ones_own_is_called() -> None:
    class Doubled(nn.BatchNorm):
        def forward(self, x: np.ndarray) -> np.ndarray:
            return 2 * super().forward(x)

    net = nn.Sequential(nn.Conv2D(6, 3), Doubled(), nn.Activation("relu"))
    x = normal((2, 4, 9, 8))
    filled(net, x)
    np.testing.assert_array_equal(net(x), one_by_one(net, x))
    assert together(list(net)) == 1
    plain = nn.Sequential(nn.Conv2D(6, 3), nn.Activation("relu"))
    filled(plain, x)
    plain[1].forward = lambda x: -x
    assert together(list(plain)) == 1
    np.testing.assert_array_equal(plain(x), -plain[0](x))


def test_an_activation_of_its_own_comes_first() -> None:
    net = nn.Sequential(nn.Conv2D(6, 3, activation="relu"), nn.BatchNorm(), nn.Activation("tanh"))
    x = normal((2, 4, 9, 8))
    filled(net, x)
    close(net(x), one_by_one(net, x))


def test_observers_see_every_layer() -> None:
    net = nn.Sequential(nn.Conv2D(6, 3), nn.BatchNorm(), nn.Activation("relu"))
    filled(net, normal((2, 4, 9, 8)))
    assert net.summary(normal((2, 4, 9, 8))).count("2 x 6 x 7 x 6") >= 3 or "(2, 6, 7, 6)" in net.summary(
        normal((2, 4, 9, 8))
    )
    assert RECORDER.get() is None


def graph(nodes: list[Node], outputs: list[str], **children: nn.Block) -> nn.Graph:
    return nn.Graph(["x"], nodes, [(name, None) for name in outputs], children)


def block(name: str, source: str) -> Node:
    return Node(name, "block", name, ((source, None),))


def op(name: str, target: str, *sources: str) -> Node:
    return Node(name, "op", target, tuple((source, None) for source in sources))


def test_what_others_need_is_not_written_over() -> None:
    """Inputs, outputs, values that are used twice, and what may be a view of one of these."""
    net = graph(
        [
            block("conv", "x"),
            op("doubled", "add", "conv", "conv"),
            block("relu", "conv"),
            op("sum", "add", "relu", "x"),
            block("same", "x"),
            op("of_input", "multiply", "same", "sum"),
            block("gelu", "of_input"),
        ],
        ["conv", "doubled", "sum", "gelu"],
        conv=nn.Conv2D(4, 3, padding=1),
        relu=nn.Activation("relu"),
        same=nn.Identity(),
        gelu=nn.Activation("gelu"),
    )
    x = normal((2, 4, 9, 8))
    filled(net, x)
    kept = x.copy()
    conv, doubled, total, last = net(x)
    np.testing.assert_array_equal(x, kept)
    expected = net.conv(x)
    np.testing.assert_array_equal(conv, expected)
    np.testing.assert_array_equal(doubled, expected + expected)
    np.testing.assert_array_equal(total, np.maximum(expected, 0) + x)
    close(last, net.gelu(x * total))
    outputs = [x, conv, doubled, total, last]
    assert not any(np.shares_memory(one, two) for at, one in enumerate(outputs) for two in outputs[:at])


def test_a_residual_block_in_a_graph() -> None:
    inner = nn.Sequential(nn.Conv2D(4, 3, padding=1), nn.BatchNorm())
    net = graph(
        [block("inner", "x"), op("sum", "add", "inner", "x"), block("relu", "sum")],
        ["relu"],
        inner=inner,
        relu=nn.Activation("relu"),
    )
    x = normal((2, 4, 9, 8))
    filled(net, x)
    kept = x.copy()
    close(net(x), np.maximum(one_by_one(inner, x) + x, 0))
    np.testing.assert_array_equal(x, kept)


def test_a_smaller_operand_is_not_the_place_of_the_result() -> None:
    net = graph(
        [block("conv", "x"), block("pool", "conv"), op("scaled", "multiply", "pool", "x")],
        ["scaled"],
        conv=nn.Conv2D(4, 1),
        pool=nn.GlobalAvgPool2D(),
    )
    x = normal((2, 4, 9, 8))
    filled(net, x)
    np.testing.assert_array_equal(net(x), net.pool(net.conv(x)) * x)


def test_other_dtypes_promote() -> None:
    net = graph([block("relu", "x"), op("sum", "add", "relu", "x")], ["sum"], relu=nn.Activation("relu"))
    x = RNG.integers(-5, 5, (3, 4)).astype(np.int8)
    np.testing.assert_array_equal(net(x), np.maximum(x, 0) + x)
    assert net(x).dtype == np.int8


@pytest.mark.parametrize(
    "head", [lambda: nn.Dense(3), nn.BatchNorm, lambda: nn.Conv1D(3, 1), lambda: nn.Conv1DTranspose(3, 1)]
)
@pytest.mark.parametrize("name", ["silu", "sigmoid", "hard_swish", "quick_gelu"])
def test_what_is_large_warns_as_little_as_one_by_one(head: Callable[[], nn.Block], name: str) -> None:
    net = nn.Sequential(head(), nn.Activation(name))
    x = np.full((2, 3) if isinstance(net[0], nn.Dense) else (2, 3, 4), 1e4, np.float32)
    net.initialize(seed=0)
    with np.errstate(all="raise", under="ignore"):
        for each in (x, -x):
            assert np.isfinite(net(each)).all()
            np.testing.assert_allclose(net(each), one_by_one(net, each), rtol=1e-6)
