"""Whole small networks on series of numbers, of kinds that papers publish and people copy."""

# A table, one network a line; and code as it is found, which is not as ours is.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.coverage.constructs import _x


class Forecast(nn.Module):
    """N-BEATS: blocks that take away what they explain and add what they foresee; normalised by the series (RevIN)."""

    def __init__(self, past: int = 12, future: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(past, 16), nn.ReLU(), nn.Linear(16, 3 + 3)) for _ in range(3)
        )
        t = torch.arange(past + future, dtype=torch.float32) / past
        self.register_buffer("trend", torch.stack([t**p for p in range(3)]))
        self.affine = nn.Parameter(torch.tensor([1.1, 0.2]))
        self.past = past

    def forward(self, x: Any) -> Any:
        mean, std = x.mean(-1, keepdim=True), torch.sqrt(torch.var(x, dim=-1, keepdim=True, unbiased=False) + 1e-5)
        rest = (x - mean) / std * self.affine[0] + self.affine[1]
        total: Any = 0.0
        for block in self.blocks:
            back, fore = block(rest).tensor_split(2, dim=-1)
            rest = rest - torch.einsum("bp,pt->bt", back, self.trend[:, : self.past])
            total = total + torch.einsum("bp,pt->bt", fore, self.trend[:, self.past :])
        return ((total - self.affine[1]) / (self.affine[0] + 1e-10)) * std + mean


class Moving(nn.Module):
    """A series taken apart: moving means of what repeats at its ends, and Fourier's largest frequencies (Autoformer)."""

    def __init__(self, kernel: int = 5, k: int = 2) -> None:
        super().__init__()
        self.mean, self.kernel, self.k = nn.AvgPool1d(kernel, stride=1), kernel, k
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        front = x[:, 0:1, :].repeat(1, (self.kernel - 1) // 2, 1)
        end = x[:, -1:, :].repeat(1, (self.kernel - 1) // 2, 1)
        trend = self.mean(torch.cat([front, x, end], dim=1).permute(0, 2, 1)).permute(0, 2, 1)
        season = x - trend
        q, k = torch.fft.rfft(self.one(season), dim=1), torch.fft.rfft(self.two(season), dim=1)
        corr = torch.fft.irfft(q * torch.conj(k), n=x.size(1), dim=1).mean(-1)
        weights, delay = torch.topk(corr, self.k, dim=-1)
        weights = torch.softmax(weights, dim=-1)
        at = torch.arange(x.size(1)).unsqueeze(0)
        doubled = season.repeat(1, 2, 1)
        found = torch.zeros_like(season)
        for i in range(self.k):
            index = (at + delay[:, i : i + 1]).unsqueeze(-1).expand(-1, -1, x.size(-1))
            found = found + torch.gather(doubled, 1, index) * weights[:, i].view(-1, 1, 1)
        return found, trend


#: What makes a network, and an example.
SERIES: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "a forecast by trends": (Forecast, (_x(2, 12),)),
    "a series taken apart": (Moving, (_x(2, 12, 8),)),
}  # fmt: skip
