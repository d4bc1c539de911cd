"""AlexNet (Krizhevsky 2014, arXiv:1404.5997, the single-column version)."""

from __future__ import annotations

from modelarchive import nn


class AlexNet(nn.Sequential):
    """Five convolutions and three dense layers.

    Input ``(batch, 3, height, width)``, 63 or larger, 224 usually; output ``(batch, classes)``, logits.
    Parameter names are those of ``torchvision.models.alexnet``.

    Args:
        classes: Size of the output.
        units: Width of the two hidden dense layers.
    """

    def __init__(self, classes: int = 1000, units: int = 4096) -> None:
        super().__init__()
        features = nn.Sequential(
            nn.Conv2D(64, 11, strides=4, padding=2),
            nn.Activation("relu"),
            nn.MaxPool2D(3, 2),
            nn.Conv2D(192, 5, padding=2),
            nn.Activation("relu"),
            nn.MaxPool2D(3, 2),
            nn.Conv2D(384, 3, padding=1),
            nn.Activation("relu"),
            nn.Conv2D(256, 3, padding=1),
            nn.Activation("relu"),
            nn.Conv2D(256, 3, padding=1),
            nn.Activation("relu"),
            nn.MaxPool2D(3, 2),
        )
        classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Dense(units),
            nn.Activation("relu"),
            nn.Dropout(0.5),
            nn.Dense(units),
            nn.Activation("relu"),
            nn.Dense(classes),
        )
        self.add(features=features, avgpool=nn.AdaptiveAvgPool2D(6), classifier=classifier)
