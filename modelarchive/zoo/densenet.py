"""DenseNet (Huang et al. 2016, arXiv:1608.06993)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelarchive import nn, ops


class DenseLayer(nn.Block):
    """Adds `growth` channels, computed from all that came before.

    Args:
        growth: Channels to add.
        width: The bottleneck has `width` times as many.
    """

    def __init__(self, growth: int, width: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm()
        self.conv1 = nn.Conv2D(width * growth, 1, use_bias=False)
        self.norm2 = nn.BatchNorm()
        self.conv2 = nn.Conv2D(growth, 3, padding=1, use_bias=False)

    def forward(self, x: Any) -> Any:
        """``(batch, channels, ...)`` to ``(batch, channels + growth, ...)``."""
        y = self.conv1(ops.relu(self.norm1(x)))
        y = self.conv2(ops.relu(self.norm2(y)))
        return ops.concatenate([x, y], axis=1)


class DenseNet(nn.Sequential):
    """Blocks of dense layers with transitions between that halve channels and pixels.

    Input ``(batch, 3, height, width)``, output ``(batch, classes)``, logits. Parameter names are those of
    ``torchvision.models.densenet``.

    Args:
        layers: Dense layers in each block.
        growth: Channels that each of them adds.
        channels: Channels after the stem.
        classes: Size of the output.
    """

    def __init__(self, layers: Sequence[int], growth: int = 32, channels: int = 64, classes: int = 1000) -> None:
        super().__init__()
        features = nn.Sequential().add(
            conv0=nn.Conv2D(channels, 7, 2, 3, use_bias=False),
            norm0=nn.BatchNorm(),
            relu0=nn.Activation("relu"),
            pool0=nn.MaxPool2D(3, 2, 1),
        )
        for number, count in enumerate(layers, 1):
            block = nn.Sequential().add(**{f"denselayer{at}": DenseLayer(growth) for at in range(1, count + 1)})
            features.add(**{f"denseblock{number}": block})
            channels += count * growth
            if number < len(layers):
                channels //= 2
                features.add(**{f"transition{number}": _transition(channels)})
        features.add(norm5=nn.BatchNorm(), relu5=nn.Activation("relu"))
        self.add(features=features, pool=nn.GlobalAvgPool2D(), classifier=nn.Dense(classes))


def _transition(channels: int) -> nn.Sequential:
    return nn.Sequential().add(
        norm=nn.BatchNorm(),
        relu=nn.Activation("relu"),
        conv=nn.Conv2D(channels, 1, use_bias=False),
        pool=nn.AvgPool2D(2),
    )


def densenet121(classes: int = 1000) -> DenseNet:
    """DenseNet-121: blocks of 6, 12, 24 and 16 layers."""
    return DenseNet((6, 12, 24, 16), classes=classes)
