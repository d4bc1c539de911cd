"""Eight networks as people run them, as PyTorch modules with random weights; the shapes are those of the papers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

Activation = Callable[[], nn.Module]


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: Any = 1,
    *,
    groups: int = 1,
    activation: Activation | None = nn.SiLU,
) -> nn.Sequential:
    """Convolution, batch normalisation, activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([] if activation is None else [activation()]))


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module, shortcut: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.shortcut, self.after = shortcut or nn.Identity(), after or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.layers(x) + self.shortcut(x))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, inner: int, activation: Activation, gate: Activation) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), activation(), nn.Conv2d(inner, channels, 1), gate()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x)


def inverted(
    inputs: int, wide: int, outputs: int, kernel: int, stride: Any, activation: Activation, squeeze: nn.Module | None
) -> nn.Module:
    """A block of MobileNet and EfficientNet: wider, depthwise, narrower."""
    layers: list[nn.Module] = [] if wide == inputs else [conv(inputs, wide, 1, activation=activation)]
    layers.append(conv(wide, wide, kernel, stride, groups=wide, activation=activation))
    layers += [] if squeeze is None else [squeeze]
    layers.append(conv(wide, outputs, 1, activation=None))
    return Residual(*layers) if stride == 1 and inputs == outputs else nn.Sequential(*layers)


def classified(features: Sequence[nn.Module], width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def mobilenet_v2() -> nn.Module:
    """Sandler et al. 2018, arXiv:1801.04381."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2, activation=nn.ReLU6)]
    width = 32
    for times, outputs, count, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for place in range(count):
            stride = 1 if place else first
            layers.append(inverted(width, times * width, outputs, 3, stride, nn.ReLU6, None))
            width = outputs
    return classified([*layers, conv(320, 1280, 1, activation=nn.ReLU6)], 1280, 1000)


def resnet_18() -> nn.Module:
    """He et al. 2015, arXiv:1512.03385."""
    layers: list[nn.Module] = [conv(3, 64, 7, 2, activation=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    width = 64
    for outputs, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            short = None if stride == 1 and width == outputs else conv(width, outputs, 1, stride, activation=None)
            two = conv(width, outputs, 3, stride, activation=nn.ReLU), conv(outputs, outputs, activation=None)
            layers.append(Residual(*two, shortcut=short, after=nn.ReLU()))
            width = outputs
    return classified(layers, 512, 1000)


def efficientnet_b0() -> nn.Module:
    """Tan and Le 2019, arXiv:1905.11946."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2)]
    width = 32
    for times, kernel, first, outputs, count in (
        (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ):  # fmt: skip
        for place in range(count):
            wide = times * width
            squeeze = SqueezeExcitation(wide, width // 4, nn.SiLU, nn.Sigmoid)
            layers.append(inverted(width, wide, outputs, kernel, 1 if place else first, nn.SiLU, squeeze))
            width = outputs
    return classified([*layers, conv(320, 1280, 1)], 1280, 1000)


class C2f(nn.Module):
    """A stage of YOLOv8."""

    def __init__(self, inputs: int, outputs: int, count: int, *, residual: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.first, self.last = conv(inputs, outputs, 1), conv((2 + count) * half, outputs, 1)
        make = Residual if residual else nn.Sequential
        self.inner = nn.ModuleList(make(conv(half, half), conv(half, half)) for _ in range(count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.first(x).chunk(2, 1))
        for layer in self.inner:
            parts.append(layer(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Pooled(nn.Module):
    """The pyramid pooling of YOLOv8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.last = conv(channels, channels // 2, 1), conv(2 * channels, channels, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.last(torch.cat(parts, 1))


class YoloV8n(nn.Module):
    """Jocher et al. 2023, github.com/ultralytics/ultralytics: the smallest, without the decoding of boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.to3 = nn.Sequential(
            conv(3, 16, 3, 2),
            conv(16, 32, 3, 2),
            C2f(32, 32, 1, residual=True),
            conv(32, 64, 3, 2),
            C2f(64, 64, 2, residual=True),
        )
        self.to4 = nn.Sequential(conv(64, 128, 3, 2), C2f(128, 128, 2, residual=True))
        self.to5 = nn.Sequential(conv(128, 256, 3, 2), C2f(256, 256, 1, residual=True), Pooled(256))
        self.up4, self.up3 = C2f(384, 128, 1, residual=False), C2f(192, 64, 1, residual=False)
        self.down4, self.down5 = conv(64, 64, 3, 2), conv(128, 128, 3, 2)
        self.join4, self.join5 = C2f(192, 128, 1, residual=False), C2f(384, 256, 1, residual=False)
        self.twice = nn.Upsample(scale_factor=2)
        widths = (64, 128, 256)
        self.boxes = nn.ModuleList(nn.Sequential(conv(w, 64), conv(64, 64), nn.Conv2d(64, 64, 1)) for w in widths)
        self.classes = nn.ModuleList(nn.Sequential(conv(w, 80), conv(80, 80), nn.Conv2d(80, 80, 1)) for w in widths)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        three = self.to3(x)
        four = self.to4(three)
        five = self.to5(four)
        middle = self.up4(torch.cat([self.twice(five), four], 1))
        large = self.up3(torch.cat([self.twice(middle), three], 1))
        medium = self.join4(torch.cat([self.down4(large), middle], 1))
        small = self.join5(torch.cat([self.down5(medium), five], 1))
        found = [
            torch.cat([box(each), name(each).sigmoid()], 1).flatten(2)
            for box, name, each in zip(self.boxes, self.classes, (large, medium, small), strict=True)
        ]
        return torch.cat(found, 2)


class TextDetector(nn.Module):
    """As PP-OCR's detector: MobileNetV3 at half width, a feature pyramid, a probability map (arXiv:2009.09941)."""

    def __init__(self) -> None:
        super().__init__()
        rows = (
            (3, 8, 8, 0, 1), (3, 32, 16, 0, 2), (3, 40, 16, 0, 1), (5, 40, 24, 0, 2), (5, 64, 24, 0, 1),
            (5, 64, 24, 0, 1), (3, 120, 40, 1, 2), (3, 104, 40, 1, 1), (3, 96, 40, 1, 1), (3, 96, 40, 1, 1),
            (3, 240, 56, 1, 1), (3, 336, 56, 1, 1), (5, 336, 80, 1, 2), (5, 480, 80, 1, 1), (5, 480, 80, 1, 1),
        )  # fmt: skip
        stages: list[list[nn.Module]] = [[conv(3, 8, 3, 2, activation=nn.Hardswish)]]
        width = 8
        for place, (kernel, wide, outputs, hard, stride) in enumerate(rows):
            if stride == 2 and place > 1:
                stages.append([])
            activation = nn.Hardswish if hard else nn.ReLU
            stages[-1].append(inverted(width, wide, outputs, kernel, stride, activation, None))
            width = outputs
        stages[-1].append(conv(80, 480, 1, activation=nn.Hardswish))
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
        self.inner = nn.ModuleList(nn.Conv2d(width, 96, 1, bias=False) for width in (16, 24, 56, 480))
        self.outer = nn.ModuleList(nn.Conv2d(96, 24, 3, padding=1, bias=False) for _ in range(4))
        self.head = nn.Sequential(
            conv(96, 24, activation=nn.ReLU),
            nn.ConvTranspose2d(24, 24, 2, 2),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.ConvTranspose2d(24, 1, 2, 2),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels = []
        for stage, inner in zip(self.stages, self.inner, strict=True):
            x = stage(x)
            levels.append(inner(x))
        for place in (2, 1, 0):
            levels[place] = levels[place] + nn.functional.interpolate(levels[place + 1], scale_factor=2)
        found = [outer(level) for outer, level in zip(self.outer, levels, strict=True)]
        found = [
            found[0],
            *(nn.functional.interpolate(each, scale_factor=2**place) for place, each in enumerate(found[1:], 1)),
        ]
        return self.head(torch.cat(found, 1))


class TextRecogniser(nn.Module):
    """As PP-OCR's recogniser: a MobileNet that keeps the width, two bidirectional LSTMs (arXiv:2109.03144)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(3, 16, 3, 2, activation=nn.Hardswish)]
        width = 16
        for kernel, outputs, stride in (
            (3, 32, 1), (3, 64, 1), (3, 64, 1), (3, 128, (2, 1)), (3, 128, 1), (3, 256, (2, 1)), *[(5, 256, 1)] * 5,
            (5, 512, (2, 1)), (5, 512, 1),
        ):  # fmt: skip
            layers.append(conv(width, width, kernel, stride, groups=width, activation=nn.Hardswish))
            layers.append(conv(width, outputs, 1, activation=nn.Hardswish))
            width = outputs
        self.features = nn.Sequential(*layers, nn.AvgPool2d(2, 2))
        self.words = nn.LSTM(512, 48, 2, batch_first=True, bidirectional=True)
        self.letters = nn.Linear(96, 6625)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found, _ = self.words(self.features(x).flatten(2).transpose(1, 2))
        return self.letters(found).softmax(-1)


class UNet(nn.Module):
    """Ronneberger et al. 2015, arXiv:1505.04597, at half width."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 256, 512)) -> None:
        super().__init__()

        def twice(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(conv(inputs, outputs, activation=nn.ReLU), conv(outputs, outputs, activation=nn.ReLU))

        self.down = nn.ModuleList(twice(*pair) for pair in zip((3, *widths), widths, strict=False))
        pairs = list(itertools.pairwise(widths))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(high, low, 2, 2) for low, high in pairs)
        self.join = nn.ModuleList(twice(2 * low, low) for low, _ in pairs)
        self.pool, self.last = nn.MaxPool2d(2), nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for place, layers in enumerate(self.down):
            x = layers(self.pool(x) if place else x)
            kept.append(x)
        for up, join, past in zip(self.up, self.join, kept[-2::-1], strict=True):
            x = join(torch.cat([past, up(x)], 1))
        return self.last(x)


class AudioConvolutions(nn.Module):
    """As the separator of Conv-TasNet: dilated depthwise convolutions over time (arXiv:1809.07454)."""

    def __init__(self, width: int = 128, wide: int = 256) -> None:
        super().__init__()
        self.encoder, self.narrow = nn.Conv1d(1, wide, 16, 8), nn.Conv1d(wide, width, 1)
        self.blocks = nn.Sequential(*(self._block(width, wide, 2**place) for _ in range(2) for place in range(6)))
        self.mask = nn.Sequential(nn.PReLU(), nn.Conv1d(width, wide, 1), nn.Sigmoid())
        self.decoder = nn.ConvTranspose1d(wide, 1, 16, 8)

    def _block(self, width: int, wide: int, dilation: int) -> nn.Module:
        return Residual(
            nn.Conv1d(width, wide, 1),
            nn.PReLU(),
            nn.GroupNorm(1, wide),
            nn.Conv1d(wide, wide, 3, padding=dilation, dilation=dilation, groups=wide),
            nn.PReLU(),
            nn.GroupNorm(1, wide),
            nn.Conv1d(wide, width, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        encoded = torch.relu(self.encoder(x))
        return self.decoder(encoded * self.mask(self.blocks(self.narrow(encoded))))


#: Network -> what makes it, the shape of its input, and that of a small one for tests.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "MobileNetV2": (mobilenet_v2, (1, 3, 224, 224), (1, 3, 32, 32)),
    "ResNet-18": (resnet_18, (1, 3, 224, 224), (1, 3, 32, 32)),
    "YOLOv8n": (YoloV8n, (1, 3, 640, 640), (1, 3, 64, 64)),
    "EfficientNet-B0": (efficientnet_b0, (1, 3, 224, 224), (1, 3, 32, 32)),
    "text detector": (TextDetector, (1, 3, 640, 640), (1, 3, 64, 64)),
    "text recogniser": (TextRecogniser, (1, 3, 32, 320), (1, 3, 32, 64)),
    "U-Net": (UNet, (1, 3, 256, 256), (1, 3, 32, 32)),
    "audio convolutions": (AudioConvolutions, (1, 1, 16000), (1, 1, 800)),
}


def made(name: str, *, small: bool = False) -> tuple[nn.Module, torch.Tensor]:
    """A network in evaluation, its statistics random too, and an input."""
    torch.manual_seed(0)
    make, *shapes = NETWORKS[name]
    module = make().eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
    return module, torch.randn(shapes[small])
