"""Detection, flow, pyramids and generators of pictures as people write them."""

# A table, one block a line; and code as it is found, which is not as ours is.
# ruff: noqa: E501

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.coverage.constructs import IMAGE, Module, X, _x


class Scales(nn.Module):
    """Dicts of dicts of layers in loops, and a pyramid of their results."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleDict(
            {
                f"level{at}": nn.ModuleDict(
                    {
                        "down": nn.Conv2d(3 if at == 0 else 4, 4, 3, 2, 1),
                        "convs": nn.ModuleList(
                            nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.BatchNorm2d(4)) for _ in range(2)
                        ),
                    }
                )
                for at in range(3)
            }
        )
        self.heads = nn.ModuleDict({name: nn.Conv2d(4, 2, 1) for name in ("class", "box")})

    def forward(self, x: Any) -> Any:
        found = []
        for parts in self.levels.values():
            x = parts["down"](x)
            for each in parts["convs"]:
                x = x + F.relu(each(x), inplace=True)
            found.append(x)
        top = found[-1]
        for each in found[-2::-1]:
            top = each + F.interpolate(top, scale_factor=2.0, mode="nearest")
        return OrderedDict((name, [head(each) for each in (top, *found)]) for name, head in self.heads.items())


class Deformed(nn.Module):
    """Samples at places that a layer says (deformable attention, in short)."""

    def __init__(self) -> None:
        super().__init__()
        self.offset, self.weight, self.value = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)

    def forward(self, x: Any) -> Any:
        b, _, h, w = x.shape
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        grid = torch.stack((xs, ys), -1)[None, None] + 0.1 * self.offset(x).view(b, 4, 2, h, w).permute(0, 1, 3, 4, 2)
        share = self.weight(x).softmax(1)
        found = [
            F.grid_sample(self.value(x), grid[:, at], align_corners=True) * share[:, at : at + 1] for at in range(4)
        ]
        return torch.stack(found).sum(0)


class Warped(nn.Module):
    """Flow, and a picture warped by it."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, one: Any, other: Any) -> Any:
        flow = self.flow(torch.cat([one, other], 1))
        b, _, h, w = one.size()
        xx = torch.arange(0, w).view(1, -1).repeat(h, 1).view(1, 1, h, w).repeat(b, 1, 1, 1)
        yy = torch.arange(0, h).view(-1, 1).repeat(1, w).view(1, 1, h, w).repeat(b, 1, 1, 1)
        grid = torch.cat((xx, yy), 1).float() + flow
        grid = torch.stack((2.0 * grid[:, 0] / max(w - 1, 1) - 1.0, 2.0 * grid[:, 1] / max(h - 1, 1) - 1.0), dim=-1)
        found = F.grid_sample(other, grid, align_corners=True)
        inside = F.grid_sample(torch.ones_like(other), grid, align_corners=True)
        return found * (inside > 0.999).to(found.dtype), flow


class Correlation(nn.Module):
    """A volume of costs: products with a picture moved by each of 9 steps (PWC-Net)."""

    def forward(self, one: Any, other: Any) -> Any:
        padded, (h, w) = F.pad(other, (1, 1, 1, 1)), one.shape[-2:]
        found = [
            (one * padded[:, :, dy : dy + h, dx : dx + w]).mean(1, keepdim=True) for dy in range(3) for dx in range(3)
        ]
        return torch.cat(found, 1)


class Styled(nn.Module):
    """Modulated convolution (StyleGAN 2) with blur."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.style = nn.Parameter(_x(1, 4, 3, 3, 3)), nn.Linear(8, 3)
        k = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", (k[None] * k[:, None]) / 64)
        self.strength = nn.Parameter(torch.zeros(1))

    def forward(self, x: Any, w: Any) -> Any:
        b, c, h, wi = x.shape
        s = self.style(w).view(b, 1, c, 1, 1)
        weight = self.weight * s
        weight = weight * torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8).view(b, 4, 1, 1, 1)
        x = F.conv2d(x.view(1, b * c, h, wi), weight.view(b * 4, c, 3, 3), padding=1, groups=b).view(b, 4, h, wi)
        x = F.conv2d(F.pad(x, (2, 1, 2, 1)), self.kernel[None, None].repeat(4, 1, 1, 1), groups=4)
        return F.leaky_relu(x, 0.2) * 2**0.5


class Haar(nn.Module):
    """A wavelet by slices, and a shuffle back."""

    def forward(self, x: Any) -> Any:
        a, b, c, d = x[:, :, 0::2, 0::2], x[:, :, 1::2, 0::2], x[:, :, 0::2, 1::2], x[:, :, 1::2, 1::2]
        both = torch.cat((a + b + c + d, b + d - a - c, c + d - a - b, a + d - b - c), 1) / 2
        return both, F.pixel_shuffle(torch.stack((a, c, b, d), 2).flatten(1, 2), 2)


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 8))
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, one: Any, other: Any) -> Any:
        one, other = F.normalize(self.body(one), dim=-1), F.normalize(self.body(other), dim=-1)
        logits = self.log_scale.exp().clamp(max=100) * one @ other.t()
        return logits, (one - other).norm(dim=1), F.cosine_similarity(one, other)


class Equalised(nn.Module):
    """Weights scaled at each call, and a mean over the batch (ProGAN)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 1, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(4))
        self.out = nn.Conv2d(5, 2, 3)

    def forward(self, x: Any) -> Any:
        x = F.conv2d(x, self.conv.weight * math.sqrt(2 / 27), padding=1) + self.bias.view(1, -1, 1, 1)
        x = x * torch.rsqrt(torch.mean(x**2, dim=1, keepdim=True) + 1e-8)
        spread = x.std(dim=0).mean().expand(x.shape[0], 1, *x.shape[2:])
        return self.out(torch.cat([x, spread], 1))


class Boxes(nn.Module):
    """Anchors on a grid and boxes of what a head says (YOLO)."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 2 * 7, 4, 4)
        self.register_buffer("anchors", torch.tensor([[10.0, 13.0], [16.0, 30.0]]).view(1, 2, 1, 1, 2))

    def forward(self, x: Any) -> Any:
        p = self.head(x)
        bs, _, ny, nx = p.shape
        p = p.view(bs, 2, 7, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
        yv, xv = torch.meshgrid([torch.arange(ny), torch.arange(nx)], indexing="ij")
        grid = torch.stack((xv, yv), 2).view((1, 1, ny, nx, 2)).float()
        y = p.sigmoid()
        y[..., 0:2] = (y[..., 0:2] * 2.0 - 0.5 + grid) * 4
        y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * self.anchors
        best, kind = y[..., 5:].max(-1)
        y = torch.cat((y, best[..., None] * (best > 0.2)[..., None], kind[..., None].type_as(y)), -1)
        return y.view(bs, -1, y.shape[-1])


class Keypoints(nn.Module):
    """Places as means of softmax over a map, and the highest elements of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Any) -> Any:
        heat = self.conv(x)
        b, k, h, w = heat.shape
        share = heat.flatten(2).softmax(-1).view(b, k, h, w)
        xs = (share.sum(2) * torch.arange(w, dtype=x.dtype)).sum(-1) / (w - 1)
        ys = (share.sum(3) * torch.arange(h, dtype=x.dtype)).sum(-1) / (h - 1)
        top, place = heat.view(b, k, -1).topk(4)
        peaks = (F.max_pool2d(heat, 3, 1, 1) == heat).float() * heat
        return torch.stack([xs, ys], -1), top, place // w, torch.div(place, w, rounding_mode="trunc"), place % w, peaks


class Windows(nn.Module):
    """Pictures cut into windows, padded to a multiple, and joined."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Any) -> Any:
        x = x.permute(0, 2, 3, 1)
        b, h, w, c = x.shape
        ws = 5
        x = F.pad(x, (0, 0, 0, (ws - w % ws) % ws, 0, (ws - h % ws) % ws))
        hp, wp = x.shape[1:3]
        parts = x.view(b, hp // ws, ws, wp // ws, ws, c).permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, ws * ws, c)
        parts = self.layer(parts)
        x = parts.view(b, hp // ws, wp // ws, ws, ws, c).permute(0, 1, 3, 2, 4, 5).reshape(b, hp, wp, c)
        return x[:, :h, :w].permute(0, 3, 1, 2)


class Stacked(nn.Module):
    """A Sequential of classes of the author's own, inherited from Sequential and from layers."""

    class Block(nn.Sequential):
        def __init__(self, i: int, o: int) -> None:
            super().__init__(OrderedDict(conv=nn.Conv2d(i, o, 3, 1, 1), norm=nn.BatchNorm2d(o), act=nn.SiLU()))

    class Residual(nn.Sequential):
        def forward(self, x: Any) -> Any:
            return x + super().forward(x)

    def __init__(self) -> None:
        super().__init__()
        self.stem = self.Block(3, 4)
        self.body = nn.Sequential(self.Residual(self.Block(4, 4), self.Block(4, 4)), self.Residual(self.Block(4, 4)))

    def forward(self, x: Any) -> Any:
        return self.body(self.stem(x))


class Convolved(nn.Module):
    """A ConvLSTM over frames."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3 + 4, 16, 3, padding=1)

    def forward(self, x: Any) -> Any:
        b, t, _, h, w = x.size()
        hidden = cell = torch.zeros(b, 4, h, w, device=self.conv.weight.device)
        found = []
        for at in range(t):
            i, f, o, g = torch.split(self.conv(torch.cat([x[:, at], hidden], dim=1)), 4, dim=1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
            found.append(hidden)
        return torch.stack(found, 1), (hidden, cell)


#: What makes a network, and an example.
IMAGES: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "dicts of lists of layers": (Scales, (IMAGE,)),
    "deformable sampling": (Deformed, (IMAGE,)),
    "a warped picture": (Warped, (IMAGE, IMAGE.flip(0))),
    "a volume of costs": (Correlation, (IMAGE, IMAGE.flip(0))),
    "modulated convolution": (Styled, (IMAGE, X)),
    "a wavelet": (Haar, (IMAGE,)),
    "two pictures compared": (Siamese, (IMAGE, IMAGE.flip(0))),
    "equalised weights": (Equalised, (IMAGE,)),
    "boxes of anchors": (Boxes, (IMAGE,)),
    "key points": (Keypoints, (IMAGE,)),
    "windows of padded pictures": (Windows, (IMAGE,)),
    "classes made of Sequential": (Stacked, (IMAGE,)),
    "a convolutional LSTM": (Convolved, (_x(2, 3, 3, 5, 5),)),
    "grouped, dilated, strided": (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, (2, 1), (1, 2), (1, 2), 3), nn.ConvTranspose2d(6, 4, 3, 2, 1, 1, 2, dilation=1), nn.Conv2d(4, 4, (1, 3), groups=4)), (IMAGE,)),
    "transposed with dilation": (lambda: nn.Sequential(nn.ConvTranspose2d(3, 6, (3, 2), (1, 2), (1, 0), (0, 1), 3, dilation=(2, 1)),), (IMAGE,)),
    "transposed of volumes": (lambda: nn.ConvTranspose3d(2, 3, 2, 2), (_x(2, 2, 3, 3, 3),)),
    "transposed to a size": (lambda: Module(lambda self, x: self.t(self.c(x), output_size=x.size()), c=nn.Conv2d(3, 4, 3, 2, 1), t=nn.ConvTranspose2d(4, 3, 3, 2, 1)), (IMAGE,)),
    "an empty Sequential in a row": (lambda: nn.Sequential(nn.Linear(8, 4), nn.Sequential(), nn.Identity(), nn.Dropout(0.5)), (X,)),
}  # fmt: skip
