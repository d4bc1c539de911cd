"""Small networks to move parts between, and what is in them before and after."""

from __future__ import annotations

import numpy as np

from modelarchive import nn

X = np.arange(24, dtype="f4").reshape(2, 12) / 24


class Donor(nn.Block):
    """features: 12 -> 8 -> 6; output: 6 -> 3."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Dense(8, activation="relu"), nn.Dense(6))
        self.output = nn.Dense(3)

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.output(self.features(x))


class Receiver(nn.Block):
    """The donor's features under another name, and another head."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Dense(8, activation="relu"), nn.Dense(6))
        self.output = nn.Dense(classes)

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.output(self.backbone(x))


class Words(nn.Block):
    """An embedding and a classifier over the mean of its rows."""

    def __init__(self, words: int, width: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.output = nn.Dense(2)

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.output(self.embedding(x))


class Tied(nn.Block):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Dense(6, use_bias=False, in_units=6)
        self.second = nn.Dense(6, use_bias=False, in_units=6)
        self.second.weight = self.first.weight

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.second(self.first(x))


def ready(net: nn.Block, seed: int = 0, x: np.ndarray | None = None) -> nn.Block:
    """Initialised, every shape known."""
    net.initialize("normal", seed=seed)
    net(X if x is None else x)
    return net


def state(net: nn.Block) -> dict[str, tuple[int, bytes, bool]]:
    """Identity, bits and trainability of every parameter."""
    return {
        name: (id(p.data()), p.data().tobytes(), p.trainable) if p.is_initialized else (0, b"", p.trainable)
        for name, p in net.collect_params().items()
    }


def values(net: nn.Block) -> dict[str, bytes]:
    return {name: bits for name, (_, bits, _) in state(net).items()}
