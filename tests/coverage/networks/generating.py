"""Whole small networks that make pictures, or make them again, of kinds that papers publish and people copy."""

# A table, one network a line; and code as it is found, which is not as ours is.

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.coverage.constructs import IMAGE, _x


class Codes(nn.Module):
    """A picture as codes of a table, the nearest ones, and back; the table's running means are buffers (VQ-VAE)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 6, 3, 1, 1))
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(6, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1), nn.Tanh()
        )
        self.register_buffer("embed", _x(6, 16))
        self.register_buffer("cluster_size", torch.zeros(16))
        self.register_buffer("embed_avg", self.embed.clone())

    def forward(self, x: Any) -> Any:
        z = self.encoder(x).permute(0, 2, 3, 1)
        flat = z.reshape(-1, 6)
        dist = flat.pow(2).sum(1, keepdim=True) - 2 * flat @ self.embed + self.embed.pow(2).sum(0, keepdim=True)
        _, index = (-dist).max(1)
        onehot = F.one_hot(index, 16).type(flat.dtype)
        index = index.view(*z.shape[:-1])
        quantised = F.embedding(index, self.embed.transpose(0, 1))
        if self.training:
            self.cluster_size.mul_(0.99).add_(onehot.sum(0), alpha=0.01)
        diff = (quantised.detach() - z).pow(2).mean()
        quantised = z + (quantised - z).detach()
        used = torch.exp(-torch.sum(onehot.mean(0) * torch.log(onehot.mean(0) + 1e-10)))
        return self.decoder(quantised.permute(0, 3, 1, 2)), diff, index, used


class Denoiser(nn.Module):
    """A step of diffusion: sines of time, residues that time changes, attention between them."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, 16), nn.SiLU(), nn.Linear(16, 16))
        self.inp, self.out = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        self.norm1, self.norm2, self.norm3 = (nn.GroupNorm(4, width) for _ in range(3))
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.emb, self.qkv, self.proj = (
            nn.Linear(16, 2 * width),
            nn.Conv1d(width, 3 * width, 1),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Any, t: Any) -> Any:
        half = self.width // 2
        freqs = torch.exp(-math.log(10000) * torch.arange(start=0, end=half, dtype=torch.float32) / half)
        args = t[:, None].float() * freqs[None]
        emb = self.time(torch.cat([torch.cos(args), torch.sin(args)], dim=-1))
        x = self.inp(x)
        scale, shift = torch.chunk(self.emb(F.silu(emb))[..., None, None], 2, dim=1)
        x = x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x)))) * (1 + scale) + shift))
        b, c, *spatial = x.shape
        flat = x.reshape(b, c, -1)
        q, k, v = self.qkv(self.norm3(flat)).reshape(b * 2, 3 * c // 2, -1).split(c // 2, dim=1)
        weight = (
            torch.einsum("bct,bcs->bts", q * (c // 2) ** -0.25, k * (c // 2) ** -0.25).float().softmax(-1).type(q.dtype)
        )
        flat = flat + self.proj(torch.einsum("bts,bcs->bct", weight, v).reshape(b, -1, flat.shape[-1]))
        return self.out(flat.reshape(b, c, *spatial))


class Masked(nn.Module):
    """A masked autoencoder: half of the patches, chosen by a given noise, and all of them again."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mask, self.head = nn.Linear(48, 8), nn.Parameter(_x(1, 1, 8)), nn.Linear(8, 48)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Any, noise: Any) -> Any:
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // 4, 4, w // 4, 4)
        x = self.embed(torch.einsum("nchpwq->nhwpqc", x).reshape(n, (h // 4) * (w // 4), -1))
        length = x.shape[1]
        kept = length // 2
        shuffled = torch.argsort(noise, dim=1)
        restored = torch.argsort(shuffled, dim=1)
        x = torch.gather(x, 1, shuffled[:, :kept].unsqueeze(-1).repeat(1, 1, x.shape[-1]))
        mask = torch.ones([n, length])
        mask[:, :kept] = 0
        mask = torch.gather(mask, 1, restored)
        x = self.block(x)
        x = torch.cat([x, self.mask.repeat(n, length - kept, 1)], 1)
        x = torch.gather(x, 1, restored.unsqueeze(-1).repeat(1, 1, x.shape[2]))
        return self.head(x), mask


#: What makes a network, and an example.
GENERATING: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "VQ-VAE": (Codes, (IMAGE,)),
    "a step of diffusion": (Denoiser, (IMAGE, torch.tensor([3, 700]))),
    "a masked autoencoder": (Masked, (IMAGE, _x(2, 16))),
}  # fmt: skip
