"""Network in Network (Lin et al. 2013, arXiv:1312.4400), after AlexNet's outline."""

from __future__ import annotations

from modelarchive import nn


def _stage(channels: int, kernel_size: int, strides: int = 1, padding: int = 0) -> nn.Sequential:
    """A convolution, then two of 1x1: a small dense network at every pixel."""
    return nn.Sequential(
        nn.Conv2D(channels, kernel_size, strides, padding, activation="relu"),
        nn.Conv2D(channels, 1, activation="relu"),
        nn.Conv2D(channels, 1, activation="relu"),
    )


class NiN(nn.Sequential):
    """Four stages with poolings between; the mean of the last one's channels are the logits.

    Input ``(batch, 3, height, width)``, 63 or larger, 224 usually; output ``(batch, classes)``.

    Args:
        classes: Size of the output.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__(
            _stage(96, 11, strides=4),
            nn.MaxPool2D(3, 2),
            _stage(256, 5, padding=2),
            nn.MaxPool2D(3, 2),
            _stage(384, 3, padding=1),
            nn.MaxPool2D(3, 2),
            nn.Dropout(0.5),
            _stage(classes, 3, padding=1),
            nn.GlobalAvgPool2D(),
            nn.Flatten(),
        )
