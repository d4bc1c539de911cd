"""Spectra, waves and lengths that are halved and doubled, as people write them."""

# A table, one block a line; and code as it is found, which is not as ours is.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.coverage.constructs import IMAGE, SEQUENCE, _x


class Fourier(nn.Module):
    """A layer of a Fourier neural operator: complex weights on the lowest frequencies."""

    def __init__(self, modes: int = 3) -> None:
        super().__init__()
        self.modes = modes
        self.one = nn.Parameter(0.1 * _x(3, 4, modes, modes, 2))
        self.two = nn.Parameter(0.1 * _x(3, 4, modes, modes, 2))
        self.skip = nn.Conv2d(3, 4, 1)

    def forward(self, x: Any) -> Any:
        batch, m = x.shape[0], self.modes
        spectrum = torch.fft.rfft2(x)
        out = torch.zeros(batch, 4, x.size(-2), x.size(-1) // 2 + 1, dtype=torch.cfloat, device=x.device)
        out[:, :, :m, :m] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :m, :m], torch.view_as_complex(self.one))
        out[:, :, -m:, :m] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, -m:, :m], torch.view_as_complex(self.two))
        return F.gelu(torch.fft.irfft2(out, s=(x.size(-2), x.size(-1))) + self.skip(x))


class FourierComplex(nn.Module):
    """The same with parameters of complex numbers, as it is published."""

    def __init__(self, modes: int = 3) -> None:
        super().__init__()
        self.modes = modes
        self.weights = nn.Parameter(0.1 * torch.view_as_complex(_x(6, 4, modes, 2)))

    def forward(self, x: Any) -> Any:
        spectrum = torch.fft.rfft(x.transpose(1, 2))
        out = torch.zeros(x.shape[0], 4, spectrum.shape[-1], device=x.device, dtype=torch.cfloat)
        out[:, :, : self.modes] = torch.einsum("bix,iox->box", spectrum[:, :, : self.modes], self.weights)
        return torch.fft.irfft(out, n=x.size(1))


class Mixing(nn.Module):
    """FNet: a transform of Fourier in the place of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.ff = (
            nn.LayerNorm(8),
            nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 8)),
        )

    def forward(self, x: Any) -> Any:
        x = self.norm(x + torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real)
        return x + self.ff(x)


class Halves(nn.Module):
    """Half of the axis that is free, and twice of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.up = nn.Linear(16, 8), nn.ConvTranspose1d(8, 8, 2, 2)

    def forward(self, x: Any) -> Any:
        b, n, c = x.shape
        x = x[:, : n // 2 * 2]
        pairs = self.layer(x.reshape(b, n // 2, 2 * c))
        doubled = self.up(pairs.transpose(1, 2)).transpose(1, 2)
        first, rest = doubled[:, : n // 2], doubled[:, n // 2 :]
        return pairs, doubled.reshape(b, -1, c), first + rest, torch.zeros(b, 2 * n, 1), x[:, -(n // 3) :]


class Mel(nn.Module):
    """Sound to a log-mel picture, with filters in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(32))
        self.register_buffer("filters", torch.rand(17, 6, generator=torch.Generator().manual_seed(0)))
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x: Any) -> Any:
        spec = torch.stft(x, 32, hop_length=8, window=self.window, center=True, return_complex=True)
        mel = torch.matmul(spec.abs().pow(2).transpose(1, 2), self.filters)
        log = torch.clamp(mel, min=1e-10).log10()
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
        return self.conv(((log + 4.0) / 4.0).unsqueeze(1)), torch.angle(spec[..., 1:-1])


class Separated(nn.Module):
    """Sound cut into overlapping frames by a convolution, masked, and added again (Conv-TasNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Conv1d(1, 8, 4, 2, bias=False), nn.ConvTranspose1d(8, 1, 4, 2, bias=False)
        self.norm, self.mask = nn.GroupNorm(1, 8, eps=1e-8), nn.Conv1d(8, 16, 1)

    def forward(self, x: Any) -> Any:
        w = self.encoder(x.unsqueeze(1)).relu()
        masks = self.mask(self.norm(w)).view(x.shape[0], 2, 8, -1).sigmoid()
        found = self.decoder((w.unsqueeze(1) * masks).flatten(0, 1))
        return F.pad(found, (0, x.shape[-1] - found.shape[-1])).view(x.shape[0], 2, -1)


#: What makes a network, and an example.
SIGNALS: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "a Fourier operator": (Fourier, (IMAGE,)),
    "a Fourier operator of complex weights": (FourierComplex, (SEQUENCE[..., :6],)),
    "FNet": (Mixing, (SEQUENCE,)),
    "half and double lengths": (Halves, (SEQUENCE,)),
    "a log-mel picture": (Mel, (_x(2, 200),)),
    "separated sounds": (Separated, (_x(2, 50),)),
}  # fmt: skip
