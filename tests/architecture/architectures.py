"""Networks and architectures that the tests of modelarchive.architecture share."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelarchive import nn, ops

X = np.random.default_rng(0).standard_normal((3, 2, 8, 8)).astype(np.float32)


class Residual(nn.Block):
    """Two convolutions and a shortcut, with constants, a reduction and an own parameter."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2D(channels, 3, padding=1, use_bias=False), nn.BatchNorm(), nn.Activation("relu")
        )
        self.shortcut = nn.Conv2D(channels, 1)
        self.gain = nn.Parameter((channels, 1, 1), init="ones")

    def forward(self, x: Any) -> Any:
        y = self.body(x) * self.gain.data() + self.shortcut(x)
        return ops.relu(y - 0.25) / np.float32(1.5)


class Net(nn.Block):
    """Nested blocks, a block called twice, a loop over children, tied weights, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Residual(4)
        self.pool = nn.MaxPool2D(2)
        self.again = Residual(4)
        self.tail = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Dense(6))
        self.mix = nn.Dense(6, activation="tanh")
        self.tied = nn.Dense(6)
        self.tied.weight = self.mix.weight
        self.spare = nn.Sequential(nn.Dense(2, in_units=3))

    def forward(self, x: Any) -> Any:
        y = self.again(self.pool(self.stem(x)))
        z = self.again(y)
        for layer in self.tail:
            z = layer(z)
        z = self.tied(self.mix(self.mix(z)))
        return z.reshape(x.shape[0], -1, 2).mean(axis=1), np.concatenate([z, z[:, :2]], axis=1)


def network() -> Net:
    """The network above, initialised, with one frozen parameter."""
    net = Net()
    net.initialize(seed=0)
    net(X)
    net.freeze("stem.shortcut.bias")
    return net


def dense(units: int = 3, in_units: int = 4, **fields: Any) -> dict[str, Any]:
    """The architecture of a Dense."""
    config = {"activation": None, "use_bias": True, "flatten": True, "in_units": in_units, "dtype": "float32"}
    return {"kind": "Dense", "units": units, **config, **fields}


def row(*blocks: dict[str, Any]) -> dict[str, Any]:
    """The architecture of a Sequential."""
    return {"kind": "Sequential", "children": [{"name": str(at), "block": each} for at, each in enumerate(blocks)]}


def graph(*nodes: dict[str, Any], outputs: tuple[Any, ...] = ("out",), **fields: Any) -> dict[str, Any]:
    """The architecture of a Graph of one input."""
    return {"kind": "Graph", "inputs": ["x"], "nodes": list(nodes), "outputs": list(outputs), **fields}


def op(name: str, word: str, *inputs: Any, **arguments: Any) -> dict[str, Any]:
    """An op node."""
    return {"name": name, "op": word, "inputs": list(inputs), "arguments": arguments}


def whole(model: Any, shape: tuple[int | None, ...] = (None, 4)) -> dict[str, Any]:
    """A whole architecture of one input."""
    return {"vocabulary": 1, "inputs": [{"name": "x", "shape": list(shape), "dtype": "float32"}], "model": model}
