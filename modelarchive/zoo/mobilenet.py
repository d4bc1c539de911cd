"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381)."""

from __future__ import annotations

from typing import Any

from modelarchive import nn

#: Expansion, channels, blocks, step of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv(channels: int, kernel_size: int, strides: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2D(channels, kernel_size, strides, kernel_size // 2, groups=groups, use_bias=False),
        nn.BatchNorm(),
        nn.Activation("relu6"),
    )


class InvertedResidual(nn.Block):
    """Widen, filter each channel by itself, narrow again without activation.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        strides: Step of the filter; the input is added where it fits.
        expansion: How many times wider the inside is.
    """

    def __init__(self, in_channels: int, channels: int, strides: int, expansion: int) -> None:
        super().__init__()
        inside = in_channels * expansion
        self.adds = strides == 1 and in_channels == channels
        self.conv = nn.Sequential()
        if expansion != 1:
            self.conv.add(_conv(inside, 1))
        self.conv.add(_conv(inside, 3, strides, groups=inside))
        self.conv.add(nn.Conv2D(channels, 1, use_bias=False), nn.BatchNorm())

    def forward(self, x: Any) -> Any:
        """``(batch, in_channels, ...)`` to ``(batch, channels, ...)``."""
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Sequential):
    """A stem, 17 inverted residual blocks, a wide 1x1 convolution, the mean over the pixels, a dense layer.

    Input ``(batch, 3, height, width)``, output ``(batch, classes)``, logits. Parameter names are those of
    ``torchvision.models.mobilenet_v2``.

    Args:
        classes: Size of the output.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        features = nn.Sequential(_conv(32, 3, 2))
        before = 32
        for expansion, channels, count, strides in _STAGES:
            for at in range(count):
                features.add(InvertedResidual(before, channels, 1 if at else strides, expansion))
                before = channels
        features.add(_conv(1280, 1))
        classifier = nn.Sequential(nn.Dropout(0.2), nn.Dense(classes))
        self.add(features=features, pool=nn.GlobalAvgPool2D(), classifier=classifier)
