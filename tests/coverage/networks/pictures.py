"""Whole small networks on pictures, volumes and signals, of kinds that papers publish and people copy."""

# A table, one network a line; and code as it is found, which is not as ours is.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.coverage.constructs import IMAGE, _x


class Pyramid(nn.Module):
    """Dilated convolutions side by side, and the mean of the picture (ASPP)."""

    def __init__(self, rates: tuple[int, ...] = (1, 2, 3)) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, 4, 3, padding=r, dilation=r, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
            )
            for r in rates
        )
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU())
        self.project = nn.Sequential(nn.Conv2d(16, 8, 1), nn.Dropout2d(0.5), nn.Conv2d(8, 5, 1))

    def forward(self, x: Any) -> Any:
        size = x.shape[-2:]
        y = self.stem(x)
        found = [branch(y) for branch in self.branches]
        found.append(F.interpolate(self.pooled(y), size=y.shape[-2:], mode="bilinear", align_corners=False))
        out = F.interpolate(self.project(torch.cat(found, dim=1)), size=size, mode="bilinear", align_corners=True)
        return {"out": out, "classes": out.argmax(1)}


class Attentive(nn.Module):
    """Attention to channels, and to places (CBAM)."""

    def __init__(self, channels: int = 8, reduction: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.mlp = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels, channels // reduction),
            nn.ReLU(),
            nn.Linear(channels // reduction, channels),
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        scale = self.mlp(F.avg_pool2d(x, x.shape[2:])) + self.mlp(F.max_pool2d(x, (x.size(2), x.size(3))))
        x = x * scale.sigmoid().unsqueeze(2).unsqueeze(3).expand_as(x)
        pair = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.spatial(pair))


class UNet(nn.Module):
    """Down and up again over 1, 2 or 3 axes, with what was cut off padded."""

    def __init__(self, rank: int, depth: int = 2, width: int = 4) -> None:
        super().__init__()
        conv, up = getattr(nn, f"Conv{rank}d"), getattr(nn, f"ConvTranspose{rank}d")
        norm, pool = getattr(nn, f"InstanceNorm{rank}d"), getattr(nn, f"MaxPool{rank}d")

        def double(i: int, o: int) -> nn.Sequential:
            return nn.Sequential(
                conv(i, o, 3, padding=1), norm(o, affine=True), nn.LeakyReLU(0.01), conv(o, o, 3, padding=1), nn.SiLU()
            )

        self.downs = nn.ModuleList(
            double(1 if at == 0 else width * 2 ** (at - 1), width * 2**at) for at in range(depth)
        )
        self.middle = double(width * 2 ** (depth - 1), width * 2**depth)
        self.ups = nn.ModuleDict(
            {
                str(at): nn.ModuleList(
                    [
                        up(width * 2 ** (at + 1), width * 2**at, 2, stride=2),
                        double(width * 2 ** (at + 1), width * 2**at),
                    ]
                )
                for at in reversed(range(depth))
            }
        )
        self.pool, self.head = pool(2), conv(width, 2, 1)

    def forward(self, x: Any) -> Any:
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
            x = self.pool(x)
        x = self.middle(x)
        for (up, block), skip in zip(self.ups.values(), skips[::-1], strict=True):
            x = up(x)
            pad: list[int] = []
            for axis in range(x.ndim - 1, 1, -1):
                diff = skip.size(axis) - x.size(axis)
                pad += [diff // 2, diff - diff // 2]
            x = block(torch.cat([skip, F.pad(x, pad)], dim=1))
        return self.head(x)


class Patches(nn.Module):
    """A ViT whose table of positions is stretched to the picture that comes in."""

    def __init__(self, grid: int = 3, dim: int = 16) -> None:
        super().__init__()
        self.grid = grid
        self.patch = nn.Conv2d(3, dim, 4, 4)
        self.cls = nn.Parameter(_x(1, 1, dim))
        self.registers = nn.Parameter(_x(1, 2, dim))
        self.pos = nn.Parameter(_x(1, grid * grid + 1, dim))
        layer = nn.TransformerEncoderLayer(dim, 4, 32, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        self.head = nn.Linear(dim, 5)

    def positions(self, h: int, w: int) -> Any:
        table = self.pos[:, 1:].reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        table = F.interpolate(table, size=(h, w), mode="bicubic", align_corners=False)
        return torch.cat([self.pos[:, :1], table.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)

    def forward(self, x: Any) -> Any:
        b = x.shape[0]
        x = self.patch(x)
        h, w = x.shape[-2:]
        x = torch.cat([self.cls.expand(b, -1, -1), x.flatten(2).transpose(1, 2)], dim=1) + self.positions(h, w)
        x = torch.cat([x[:, :1], self.registers.repeat(b, 1, 1), x[:, 1:]], dim=1)
        x = self.encoder(x)
        return self.head(x[:, 0]), x[:, 3:].transpose(1, 2).reshape(b, -1, h, w)


class Sharper(nn.Module):
    """Super-resolution by pixels that are shuffled (ESPCN, with a residue of the picture enlarged)."""

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(12, 8, 3, padding=1, padding_mode="reflect"),
            nn.PReLU(8),
            nn.Conv2d(8, 12 * factor**2, 3, padding=1, padding_mode="replicate"),
        )
        self.down, self.up, self.out = nn.PixelUnshuffle(2), nn.PixelShuffle(factor), nn.PixelShuffle(2)
        self.register_buffer("mean", torch.tensor([0.45, 0.44, 0.41]).view(1, 3, 1, 1))
        self.factor = factor

    def forward(self, x: Any) -> Any:
        x = x - self.mean
        y = self.out(self.up(self.body(self.down(x))))
        return (y + F.interpolate(x, scale_factor=self.factor, mode="bicubic", align_corners=False) + self.mean).clamp(
            0, 1
        )


class Transformed(nn.Module):
    """A spatial transformer: the picture is sampled where a small network says."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Sequential(
            nn.Conv2d(3, 4, 5),
            nn.MaxPool2d(2, 2),
            nn.ReLU(True),
            nn.AdaptiveMaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 6),
        )
        self.where[-1].weight.data.mul_(0.1)
        self.where[-1].bias.data.copy_(torch.tensor([1, 0, 0, 0, 1, 0], dtype=torch.float))

    def forward(self, x: Any) -> Any:
        theta = self.where(x).view(-1, 2, 3)
        return F.grid_sample(
            x,
            F.affine_grid(theta, x.size(), align_corners=False),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )


class Mixer(nn.Module):
    """Patches and channels mixed in turn (MLP-Mixer), with residues that begin at nothing (ReZero)."""

    def __init__(self, patches: int = 16, dim: int = 8, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.tokens = nn.ModuleList(
            nn.Sequential(nn.Linear(patches, 8), nn.GELU(), nn.Linear(8, patches)) for _ in range(depth)
        )
        self.channels = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 16), nn.GELU(), nn.Linear(16, dim)) for _ in range(depth)
        )
        self.scales = nn.ParameterList([nn.Parameter(torch.tensor(0.3 + at)) for at in range(2 * depth)])
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Any) -> Any:
        x = self.embed(x).flatten(2).mT
        for at, (tokens, channels) in enumerate(zip(self.tokens, self.channels, strict=True)):
            x = x + self.scales[2 * at] * tokens(self.norm(x).mT).mT
            x = x + self.scales[2 * at + 1] * channels(self.norm(x))
        return self.norm(x).mean(dim=1)


class Modulated(nn.Module):
    """A picture that words change by scale and shift of its channels (FiLM)."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.rnn = nn.Embedding(20, 6, padding_idx=0), nn.GRU(6, 8, batch_first=True)
        self.film = nn.Linear(8, 2 * 2 * 4)
        self.convs = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)])
        self.norms = nn.ModuleList(nn.BatchNorm2d(4, affine=False) for _ in range(2))

    def forward(self, x: Any, words: Any) -> Any:
        _, last = self.rnn(self.words(words))
        film = self.film(last.squeeze(0)).view(-1, 2, 2, 4)
        h, w = x.shape[2], x.shape[3]
        rows = torch.linspace(-1, 1, h).view(1, 1, h, 1).expand(x.shape[0], 1, h, w)
        columns = torch.linspace(-1, 1, w).view(1, 1, 1, w).expand(x.shape[0], 1, h, w)
        for at, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if at:
                x = torch.cat([x, rows, columns], 1)
            gamma, beta = film[:, at, 0], film[:, at, 1]
            x = F.relu((1 + gamma[..., None, None]) * norm(conv(x)) + beta[..., None, None])
        return x.amax((-2, -1))


class Counted(nn.Module):
    """Backbone, pyramid of its levels and heads that all levels share, flattened into one row of boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.ModuleList([nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)])
        self.lateral = nn.ModuleDict({f"p{at}": nn.Conv2d(i, 6, 1) for at, i in enumerate((4, 8, 8))})
        self.cls, self.box = nn.Conv2d(6, 2 * 3, 3, padding=1), nn.Conv2d(6, 2 * 4, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(3))

    def forward(self, x: Any) -> Any:
        levels = []
        for conv in self.c:
            x = conv(x).relu()
            levels.append(x)
        top = None
        scores, boxes = [], []
        for at in (2, 1, 0):
            y = self.lateral[f"p{at}"](levels[at])
            top = y if top is None else y + F.interpolate(top, size=y.shape[-2:], mode="nearest")
            n, _, h, w = top.shape
            scores.append(self.cls(top).view(n, 2, 3, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, 3))
            ys, xs = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
            centre = torch.stack((xs, ys), -1).view(-1, 1, 2).repeat(1, 2, 1).view(1, -1, 2) * 2 ** (at + 1)
            size = (self.box(top) * self.scales[at]).view(n, 2, 4, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, 4).exp()
            boxes.append(torch.cat([centre - size[..., :2], centre + size[..., 2:]], -1).clamp(min=0, max=16))
        return torch.cat(boxes, 1), torch.cat(scores, 1).sigmoid().max(-1)


class Wavelets(nn.Module):
    """Grouped, dilated and causal convolutions, both halves gated (a TCN)."""

    def __init__(self, channels: int = 4, levels: int = 3) -> None:
        super().__init__()
        self.inp = nn.Conv1d(2, channels, 1)
        self.filters = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(nn.Conv1d(channels, 2 * channels, 2, dilation=2**at, groups=2))
            for at in range(levels)
        )
        self.skips = nn.ModuleList(nn.Conv1d(channels, 3, 1) for _ in range(levels))

    def forward(self, x: Any) -> Any:
        x = self.inp(x)
        total: Any = 0
        for conv, skip in zip(self.filters, self.skips, strict=True):
            y = F.glu(conv(F.pad(x, (conv.dilation[0], 0))), dim=1)
            total = total + skip(y)
            x = x + y
        return total[..., -1], total.cumsum(-1)


class Steered(nn.Module):
    """Kernels that each picture mixes from a few (CondConv), padding that goes round, running InstanceNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels, self.route = nn.Parameter(_x(3, 4, 3, 3, 3)), nn.Linear(3, 3)
        self.circular = nn.Conv2d(4, 4, 3, padding=(1, 2), dilation=(1, 2), padding_mode="circular", groups=2)
        self.norm = nn.InstanceNorm2d(4, affine=True, track_running_stats=True)

    def forward(self, x: Any) -> Any:
        b, c, h, w = x.shape
        weights = self.route(x.mean((2, 3))).sigmoid()
        kernels = (weights @ self.kernels.flatten(1)).view(b * 4, c, 3, 3)
        y = F.conv2d(x.reshape(1, b * c, h, w), kernels, padding=1, groups=b).view(b, 4, h, w)
        return self.norm(self.circular(y))


#: What makes a network, and an example.
PICTURES: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "dilated convolutions side by side": (Pyramid, (IMAGE,)),
    "attention to channels and places": (Attentive, (IMAGE,)),
    "U-Net of signals": (lambda: UNet(1), (_x(2, 1, 30),)),
    "U-Net of pictures": (lambda: UNet(2), (_x(2, 1, 18, 22),)),
    "U-Net of volumes": (lambda: UNet(3), (_x(2, 1, 8, 10, 12),)),
    "ViT with stretched positions": (Patches, (_x(2, 3, 16, 20),)),
    "super-resolution": (Sharper, (IMAGE,)),
    "a spatial transformer": (Transformed, (IMAGE,)),
    "MLP-Mixer with ReZero": (Mixer, (IMAGE,)),
    "words that modulate a picture": (Modulated, (IMAGE, torch.tensor([[3, 4, 0], [5, 6, 7]]))),
    "heads of a pyramid": (Counted, (IMAGE,)),
    "a gated TCN": (Wavelets, (_x(2, 2, 20),)),
    "kernels mixed by the picture": (Steered, (IMAGE,)),
}  # fmt: skip
