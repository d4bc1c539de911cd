"""GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842), with batch normalisation."""

from __future__ import annotations

from typing import Any

from modelarchive import nn, ops


class BasicConv(nn.Block):
    """Convolution, batch normalisation, relu."""

    def __init__(self, channels: int, kernel_size: int, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2D(channels, kernel_size, use_bias=False, **options)
        self.bn = nn.BatchNorm(epsilon=0.001)

    def forward(self, x: Any) -> Any:
        """``(batch, channels, height, width)``."""
        return ops.relu(self.bn(self.conv(x)))


class Inception(nn.Block):
    """Four branches side by side, joined along the channels.

    Args:
        one: Channels of the 1x1 branch.
        three: Channels of the 3x3 branch, before and after.
        five: Channels of the branch of the paper's 5x5, which torchvision makes 3x3; before and after.
        pooled: Channels of the pooling branch.
    """

    def __init__(self, one: int, three: tuple[int, int], five: tuple[int, int], pooled: int) -> None:
        super().__init__()
        self.branch1 = BasicConv(one, 1)
        self.branch2 = nn.Sequential(BasicConv(three[0], 1), BasicConv(three[1], 3, padding=1))
        self.branch3 = nn.Sequential(BasicConv(five[0], 1), BasicConv(five[1], 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2D(3, 1, 1, ceil_mode=True), BasicConv(pooled, 1))

    def forward(self, x: Any) -> Any:
        """Height and width are kept."""
        return ops.concatenate([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], axis=1)


class GoogLeNet(nn.Sequential):
    """22 layers, nine of them Inception blocks; without the auxiliary classifiers, which only training uses.

    Input ``(batch, 3, height, width)``, output ``(batch, classes)``, logits. Parameter names are those of
    ``torchvision.models.googlenet``.

    Args:
        classes: Size of the output.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.add(
            conv1=BasicConv(64, 7, strides=2, padding=3),
            maxpool1=nn.MaxPool2D(3, 2, ceil_mode=True),
            conv2=BasicConv(64, 1),
            conv3=BasicConv(192, 3, padding=1),
            maxpool2=nn.MaxPool2D(3, 2, ceil_mode=True),
            inception3a=Inception(64, (96, 128), (16, 32), 32),
            inception3b=Inception(128, (128, 192), (32, 96), 64),
            maxpool3=nn.MaxPool2D(3, 2, ceil_mode=True),
            inception4a=Inception(192, (96, 208), (16, 48), 64),
            inception4b=Inception(160, (112, 224), (24, 64), 64),
            inception4c=Inception(128, (128, 256), (24, 64), 64),
            inception4d=Inception(112, (144, 288), (32, 64), 64),
            inception4e=Inception(256, (160, 320), (32, 128), 128),
            maxpool4=nn.MaxPool2D(2, ceil_mode=True),
            inception5a=Inception(256, (160, 320), (32, 128), 128),
            inception5b=Inception(384, (192, 384), (48, 128), 128),
            avgpool=nn.GlobalAvgPool2D(),
            dropout=nn.Dropout(0.2),
            fc=nn.Dense(classes),
        )
