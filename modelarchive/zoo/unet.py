"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597), with batch normalisation and images of the input's size."""

from __future__ import annotations

from typing import Any

from modelarchive import nn, ops


class DoubleConv(nn.Block):
    """Twice a convolution of 3x3, batch normalisation and relu."""

    def __init__(self, channels: int, inside: int | None = None) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2D(inside or channels, 3, padding=1, use_bias=False),
            nn.BatchNorm(),
            nn.Activation("relu"),
            nn.Conv2D(channels, 3, padding=1, use_bias=False),
            nn.BatchNorm(),
            nn.Activation("relu"),
        )

    def forward(self, x: Any) -> Any:
        """``(batch, channels, height, width)``."""
        return self.double_conv(x)


class Down(nn.Block):
    """Halves height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2D(2), DoubleConv(channels))

    def forward(self, x: Any) -> Any:
        """``(batch, channels, height / 2, width / 2)``."""
        return self.maxpool_conv(x)


class Up(nn.Block):
    """Doubles height and width, and joins what had that size on the way down.

    Args:
        channels: Channels of the output.
        half: Half of the channels that are there once both are joined.
        bilinear: Double by interpolation instead of a transposed convolution.
    """

    def __init__(self, channels: int, half: int, *, bilinear: bool) -> None:
        super().__init__()
        self.up: nn.Layer
        if bilinear:
            self.up = nn.Upsample(scale=2, mode="bilinear", align_corners=True)
            self.conv = DoubleConv(channels, half)
        else:
            self.up = nn.Conv2DTranspose(half, 2, 2)
            self.conv = DoubleConv(channels)

    def forward(self, x: Any, skipped: Any) -> Any:
        """``(batch, ..., height / 2, width / 2)`` and ``(batch, ..., height, width)``."""
        return self.conv(ops.concatenate([skipped, self.up(x)], axis=1))


class OutConv(nn.Block):
    """A convolution of 1x1."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2D(classes, 1)

    def forward(self, x: Any) -> Any:
        """``(batch, classes, height, width)``."""
        return self.conv(x)


class UNet(nn.Block):
    """Says for every pixel what it belongs to: four steps down, four up, joined at each size.

    Input ``(batch, channels, height, width)``, height and width multiples of 16; output
    ``(batch, classes, height, width)``, logits. Parameter names are those of the much used
    ``milesial/Pytorch-UNet``.

    Args:
        classes: Channels of the output.
        width: Channels after the first step; each step down doubles them.
        bilinear: Double by interpolation instead of transposed convolutions.
    """

    def __init__(self, classes: int = 2, width: int = 64, *, bilinear: bool = False) -> None:
        super().__init__()
        less = 2 if bilinear else 1
        self.inc = DoubleConv(width)
        self.down1 = Down(2 * width)
        self.down2 = Down(4 * width)
        self.down3 = Down(8 * width)
        self.down4 = Down(16 * width // less)
        self.up1 = Up(8 * width // less, 8 * width, bilinear=bilinear)
        self.up2 = Up(4 * width // less, 4 * width, bilinear=bilinear)
        self.up3 = Up(2 * width // less, 2 * width, bilinear=bilinear)
        self.up4 = Up(width, width, bilinear=bilinear)
        self.outc = OutConv(classes)

    def forward(self, x: Any) -> Any:
        """Logits for every pixel."""
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x5 = self.down4(x4)
        x = self.up1(x5, x4)
        x = self.up2(x, x3)
        x = self.up3(x, x2)
        x = self.up4(x, x1)
        return self.outc(x)
