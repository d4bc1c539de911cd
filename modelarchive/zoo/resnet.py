"""ResNet (He et al. 2015, arXiv:1512.03385)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelarchive import nn, ops


def _shortcut(channels: int, strides: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2D(channels, 1, strides, use_bias=False), nn.BatchNorm())


class BasicBlock(nn.Block):
    """Two convolutions of 3x3 beside a shortcut.

    Args:
        channels: Channels of the convolutions and of the output.
        strides: Step of the first convolution.
        downsample: Whether the shortcut needs a convolution to fit.
    """

    expansion = 1

    def __init__(self, channels: int, strides: int = 1, *, downsample: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(channels, 3, strides, 1, use_bias=False)
        self.bn1 = nn.BatchNorm()
        self.conv2 = nn.Conv2D(channels, 3, padding=1, use_bias=False)
        self.bn2 = nn.BatchNorm()
        self.downsample = _shortcut(channels, strides) if downsample else None

    def forward(self, x: Any) -> Any:
        """``relu(convolutions(x) + shortcut(x))``."""
        y = ops.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return ops.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Block):
    """Convolutions of 1x1, 3x3 and 1x1 beside a shortcut; the step is at the 3x3, as in torchvision.

    Args:
        channels: Channels of the inner convolutions; the output has four times as many.
        strides: Step of the 3x3 convolution.
        downsample: Whether the shortcut needs a convolution to fit.
    """

    expansion = 4

    def __init__(self, channels: int, strides: int = 1, *, downsample: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(channels, 1, use_bias=False)
        self.bn1 = nn.BatchNorm()
        self.conv2 = nn.Conv2D(channels, 3, strides, 1, use_bias=False)
        self.bn2 = nn.BatchNorm()
        self.conv3 = nn.Conv2D(4 * channels, 1, use_bias=False)
        self.bn3 = nn.BatchNorm()
        self.downsample = _shortcut(4 * channels, strides) if downsample else None

    def forward(self, x: Any) -> Any:
        """``relu(convolutions(x) + shortcut(x))``."""
        y = ops.relu(self.bn1(self.conv1(x)))
        y = ops.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return ops.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Sequential):
    """A stem, four stages of residual blocks, the mean over the pixels, a dense layer.

    Input ``(batch, 3, height, width)``, output ``(batch, classes)``, logits. Parameter names are those of
    ``torchvision.models.resnet``.

    Args:
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        layers: Blocks in each of the four stages.
        classes: Size of the output.
    """

    def __init__(self, block: type[BasicBlock | Bottleneck], layers: Sequence[int], classes: int = 1000) -> None:
        super().__init__()
        self.add(
            conv1=nn.Conv2D(64, 7, 2, 3, use_bias=False),
            bn1=nn.BatchNorm(),
            relu=nn.Activation("relu"),
            maxpool=nn.MaxPool2D(3, 2, 1),
        )
        for stage, count in enumerate(layers):
            channels, strides = 64 << stage, 2 if stage else 1
            fits = strides == 1 and block.expansion == 1
            blocks = [block(channels, strides, downsample=not fits), *(block(channels) for _ in range(count - 1))]
            self.add(**{f"layer{stage + 1}": nn.Sequential(*blocks)})
        self.add(avgpool=nn.GlobalAvgPool2D(), fc=nn.Dense(classes))


def resnet18(classes: int = 1000) -> ResNet:
    """ResNet-18: 2, 2, 2, 2 basic blocks."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes)


def resnet50(classes: int = 1000) -> ResNet:
    """ResNet-50: 3, 4, 6, 3 bottlenecks."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes)
