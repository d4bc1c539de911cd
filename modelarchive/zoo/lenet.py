"""LeNet-5 (LeCun et al. 1998, "Gradient-based learning applied to document recognition")."""

from __future__ import annotations

from modelarchive import nn


class LeNet(nn.Sequential):
    """Two convolutions and three dense layers for handwritten digits, with tanh and plain average pooling.

    Input ``(batch, 1, 28, 28)``, output ``(batch, classes)``, logits.

    Args:
        classes: Size of the output.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        features = nn.Sequential(
            nn.Conv2D(6, 5, padding=2, activation="tanh"),
            nn.AvgPool2D(2),
            nn.Conv2D(16, 5, activation="tanh"),
            nn.AvgPool2D(2),
        )
        classifier = nn.Sequential(nn.Dense(120, "tanh"), nn.Dense(84, "tanh"), nn.Dense(classes))
        self.add(features=features, classifier=classifier)
