"""VGG (Simonyan and Zisserman 2014, arXiv:1409.1556), configuration A with 11 layers."""

from __future__ import annotations

from modelarchive import nn

#: Channels of the convolutions; "M" is a pooling.
_LAYERS = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")


class VGG11(nn.Sequential):
    """Eight convolutions of 3x3 and three dense layers.

    Input ``(batch, 3, height, width)``, 32 or larger, 224 usually; output ``(batch, classes)``, logits.
    Parameter names are those of ``torchvision.models.vgg11``.

    Args:
        classes: Size of the output.
        units: Width of the two hidden dense layers.
    """

    def __init__(self, classes: int = 1000, units: int = 4096) -> None:
        super().__init__()
        features = nn.Sequential()
        for layer in _LAYERS:
            if isinstance(layer, int):
                features.add(nn.Conv2D(layer, 3, padding=1), nn.Activation("relu"))
            else:
                features.add(nn.MaxPool2D(2))
        classifier = nn.Sequential(
            nn.Dense(units),
            nn.Activation("relu"),
            nn.Dropout(0.5),
            nn.Dense(units),
            nn.Activation("relu"),
            nn.Dropout(0.5),
            nn.Dense(classes),
        )
        self.add(features=features, avgpool=nn.AdaptiveAvgPool2D(7), classifier=classifier)
