"""How much memory a forward pass takes: at most twice its two largest activations, however deep the network."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, zoo
from modelarchive.nn.evaluate import Abstract, Evaluator

X = np.random.default_rng(7)


class Sizes(Evaluator):
    """Notes the elements of what every layer and op gives, by its own rule for shapes."""

    def __init__(self) -> None:
        self.found: list[int] = []

    def layer(self, layer, values):
        return self._noted(super().layer(layer, values))

    def op(self, name, values, arguments):
        return self._noted(super().op(name, values, arguments))

    def _noted(self, value):
        self.found += [math.prod(each.shapes[0]) for each in (value if isinstance(value, tuple) else (value,))]
        return value


def deep() -> nn.Block:
    """Blocks within blocks, twelve of them."""
    net: nn.Block = nn.Conv2D(32, 1)
    for _ in range(12):
        layers = nn.Conv2D(32, 3, padding=1, groups=32), nn.BatchNorm(), nn.Activation("silu")
        net = nn.Sequential(net, nn.Sequential(*layers), nn.Conv2D(32, 1))
    return net


def waves() -> nn.Block:
    layers: list[nn.Block] = []
    for place in range(6):
        layers += [nn.Conv1D(128, 3, padding=2**place, dilation=2**place, groups=128), nn.PReLU()]
        layers += [nn.GroupNorm(1), nn.Conv1D(128, 1), nn.Activation("relu")]
    return nn.Sequential(nn.Conv1D(128, 16, strides=8), *layers)


NETWORKS: dict[str, tuple[Callable[[], nn.Block], tuple[int, ...]]] = {
    "ResNet-18": (zoo.resnet18, (1, 3, 160, 160)),
    "MobileNetV2": (zoo.MobileNetV2, (1, 3, 160, 160)),
    "U-Net": (lambda: zoo.UNet(2, 32), (1, 3, 192, 192)),
    "deep": (deep, (1, 32, 128, 128)),
    "waves": (waves, (1, 1, 32_000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_peak(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, shape = NETWORKS[name]
    written, x = make(), X.standard_normal(shape, np.float32)
    written.initialize(seed=0)
    ma.save_model(tmp_path / "net.h5", written, inputs=x, durable=False)
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        net = ma.load_model(tmp_path / "net.h5")
        sizes = Sizes()
        sizes.block(net, [Abstract((shape, shape), np.dtype(np.float32))])
        net(x)  # what is made once
        tracemalloc.start()
        try:
            net(x)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak <= 2 * 4 * sum(sorted(sizes.found)[-2:]), threads
