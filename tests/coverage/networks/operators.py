"""Networks around operators that are seldom used: windows, orders, places, complex numbers, patterns of products."""

# A table, one network a line; and code as it is found, which is not as ours is.
# ruff: noqa: E501

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.coverage.constructs import IMAGE, SEQUENCE, Module, X, _x


class Overlapped(nn.Module):
    """Patches that overlap, changed each, and put back by fold over what they are counted by."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3 * 4 * 4, 3 * 4 * 4)
        self.unfold = nn.Unfold(4, stride=2, padding=1, dilation=1)

    def forward(self, x: Any) -> Any:
        patches = self.unfold(x)
        patches = self.mix(patches.transpose(1, 2)).transpose(1, 2)
        size = x.shape[-2:]
        summed = F.fold(patches, size, 4, stride=2, padding=1)
        return summed / F.fold(torch.ones_like(patches), size, 4, stride=2, padding=1).clamp(min=1)


class Volumes(nn.Module):
    """Transposed convolutions of three axes with output padding, grouped and dilated, pooled in three ways."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(2, 4, (3, 3, 2), stride=(2, 1, 2), padding=(1, 1, 0), dilation=(1, 2, 1), groups=2)
        self.up = nn.ConvTranspose3d(4, 2, 3, stride=2, padding=1, output_padding=(1, 0, 1), groups=2)
        self.norm = nn.BatchNorm3d(4, affine=False)

    def forward(self, x: Any) -> Any:
        y = self.norm(self.down(x))
        z = F.avg_pool3d(y, 2, stride=1, count_include_pad=False, ceil_mode=True) + F.max_pool3d(y, 2, stride=1)
        return self.up(y), z.flatten(2).median(-1)[0], F.lp_pool2d(y.flatten(0, 1), 2, 2)


class Ordered(nn.Module):
    """Orders and places: sorting, ranks, the largest few, boundaries, cumulated products and extremes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.register_buffer("edges", torch.tensor([-1.0, -0.3, 0.0, 0.4, 1.0]))
        self.table = nn.Embedding(6, 3)

    def forward(self, x: Any) -> Any:
        x = self.layer(x)
        values, order = torch.sort(x, dim=-1, descending=True, stable=True)
        ranks = order.argsort(-1).float()
        nucleus = values.softmax(-1).cumsum(-1) - values.softmax(-1) < 0.9
        kept = torch.zeros_like(nucleus).scatter(-1, order, nucleus)
        codes = self.table(torch.bucketize(x, self.edges)).sum(1)
        top, at = x.abs().topk(3, dim=1)
        sparse = torch.zeros_like(x).scatter_(1, at, x.gather(1, at))
        return (
            x.masked_fill(~kept, float("-inf")).softmax(-1),
            ranks,
            codes,
            sparse,
            x.cummax(1)[0],
            (x.tanh() + 1.5).cumprod(1),
            top.prod(1),
        )


class Written(nn.Module):
    """Elements written at computed places: index_put_ by several indices, masks, diagonals, slices that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(8, 6)

    def forward(self, x: Any) -> Any:
        b, n, _ = x.shape
        scores = self.scores(x)
        best = scores.argmax(-1)
        rows = torch.arange(b).unsqueeze(1).expand(b, n)
        table = torch.zeros(b, 6, n)
        table[rows, best, torch.arange(n)] = scores.max(-1).values
        counts = torch.zeros(b, 6).index_put_((rows, best), torch.ones(b, n), accumulate=True)
        square = scores[:, :, :, None] * scores[:, :, None, :]
        square.diagonal(dim1=-2, dim2=-1).fill_(0)
        square[..., 0, 1:] = -1
        scores[scores > 1] = 1
        scores[:, ::2] *= 2
        scores[torch.arange(b), best[:, 0] % n] += 5
        return table, counts, square.amax(1), scores


class Contracted(nn.Module):
    """Einstein's sums with dots and repeated letters, tensordot, outer products, tensors in trains."""

    def __init__(self) -> None:
        super().__init__()
        self.cores = nn.ParameterList([nn.Parameter(_x(1, 2, 2, 3)), nn.Parameter(_x(3, 4, 3, 1))])
        self.third = nn.Parameter(_x(3, 8, 8))

    def forward(self, x: Any) -> Any:
        weight = torch.einsum("aijb,bklc->ikjl", self.cores[0], self.cores[1]).reshape(8, 6)
        y = torch.tensordot(x, weight, dims=([-1], [0]))
        z = torch.einsum("...i,oij,...j->...o", x, self.third, x)
        gram = torch.einsum("bni,bnj->bij", x, x)
        trace = torch.einsum("bii->b", gram)
        return (
            y,
            z,
            trace,
            torch.einsum("...ij->...ji", gram) @ gram,
            torch.linalg.multi_dot([x[0], self.third[0], x[1].T]),
        )


class Waves(nn.Module):
    """Complex numbers all along: spectra, phases, a complex layer with modReLU, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.real, self.imag = nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False)
        self.threshold = nn.Parameter(torch.tensor(-0.1))
        self.register_buffer("window", torch.hamming_window(16))

    def forward(self, x: Any) -> Any:
        s = torch.fft.rfft(x, dim=-1)
        y = torch.complex(self.real(s.real) - self.imag(s.imag), self.real(s.imag) + self.imag(s.real))
        size = y.abs()
        y = y * (torch.relu(size + self.threshold) / (size + 1e-5))
        y = y * torch.exp(1j * torch.angle(y) * 0.5) + y.conj() * (0.3 - 0.2j)
        coherence = (y[:, :1] * y.conj()).mean(0).abs()
        signal = torch.fft.irfft(y, n=8, dim=-1)
        frames = torch.stft(x.flatten(1), 16, hop_length=4, window=self.window, return_complex=True, onesided=True)
        again = torch.istft(frames * 2, 16, hop_length=4, window=self.window, length=x.shape[1] * x.shape[2])
        return signal, coherence, torch.view_as_real(frames.mean(-1)), again


class Sampled(nn.Module):
    """Grids that are sampled in three ways, of pictures and volumes, and pictures that are warped by flow."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Any, volume: Any) -> Any:
        b, _, h, w = x.shape
        ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack((xs, ys), 0).float().unsqueeze(0) + self.flow(x)
        grid = torch.stack((2.0 * grid[:, 0] / max(w - 1, 1) - 1.0, 2.0 * grid[:, 1] / max(h - 1, 1) - 1.0), -1)
        warped = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
        valid = (
            F.grid_sample(torch.ones_like(x[:, :1]), grid, mode="nearest", padding_mode="zeros", align_corners=True)
            > 0.999
        )
        theta = torch.eye(3, 4).unsqueeze(0).repeat(b, 1, 1)
        turned = F.grid_sample(
            volume,
            F.affine_grid(theta * 0.8, list(volume.shape), align_corners=False),
            padding_mode="reflection",
            align_corners=False,
        )
        return warped * valid, turned, F.grid_sample(x, grid.flip(-1), mode="bicubic", align_corners=False)


class Distances(nn.Module):
    """Distances of all kinds, and assignments made of them: k-means, soft nearest, Sinkhorn, Chamfer."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(_x(4, 8))

    def forward(self, x: Any, y: Any) -> Any:
        far = torch.cdist(x, self.centres, p=2)
        near = far.argmin(-1)
        hot = F.one_hot(near, 4).to(x.dtype)
        means = hot.transpose(1, 2) @ x / hot.sum(1).unsqueeze(-1).clamp(min=1)
        cost = torch.cdist(x, y, p=1)
        log = -cost / 0.5
        for _ in range(3):
            log = log - torch.logsumexp(log, -1, keepdim=True)
            log = log - torch.logsumexp(log, -2, keepdim=True)
        chamfer = cost.min(1)[0].mean(-1) + cost.min(2)[0].mean(-1)
        return (
            means,
            log.exp(),
            chamfer,
            F.cosine_similarity(x.unsqueeze(2), y.unsqueeze(1), dim=-1),
            F.pairwise_distance(x[:, 0], y[:, 0], p=3),
        )


class Attended(nn.Module):
    """scaled_dot_product_attention in its ways: causal, masks of truths and of numbers, a scale, fewer heads of keys."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.bias = nn.Parameter(_x(1, 2, 6, 6))

    def forward(self, x: Any, kept: Any) -> Any:
        q, k, v = (each.unflatten(-1, (2, 4)).transpose(1, 2) for each in self.qkv(x).split(8, dim=-1))
        one = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3)
        two = F.scaled_dot_product_attention(q, k, v, attn_mask=kept[:, None, None, :].expand(-1, 1, 6, -1))
        three = F.scaled_dot_product_attention(
            q, k, v, attn_mask=self.bias.masked_fill(~kept[:, None, None], float("-inf"))
        )
        four = F.scaled_dot_product_attention(q, k[:, :1], v[:, :1], enable_gqa=True)
        five = F.scaled_dot_product_attention(
            q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), dropout_p=0.1 if self.training else 0.0
        )
        return one, two, three, four, five


class Rounded(nn.Module):
    """Numbers with few bits: levels that are rounded to, scales by rows, bits packed and unpacked, signs."""

    def __init__(self) -> None:
        super().__init__()
        w = _x(4, 8)
        scale = w.abs().amax(1, keepdim=True) / 7
        q = (w / scale).round().clamp(-8, 7).to(torch.int8) + 8
        self.register_buffer("packed", (q[:, ::2] | (q[:, 1::2] << 4)).to(torch.uint8))
        self.register_buffer("scale", scale.half())
        self.register_buffer("zero", torch.tensor(8, dtype=torch.int8))

    def forward(self, x: Any) -> Any:
        low, high = self.packed & 15, self.packed >> 4
        w = torch.stack([low, high], -1).flatten(1).to(torch.int8) - self.zero
        w = w.to(self.scale.dtype) * self.scale
        y = F.linear(x, w.float())
        step = y.abs().amax(-1, keepdim=True).clamp(min=1e-5) / 127
        levels = torch.clamp((y / step).round(), -128, 127).to(torch.int8)
        return levels, levels.float() * step, torch.sign(y) * y.abs().mean(-1, keepdim=True)


def _fixed_lists(self: Any, x: Any) -> Any:
    found = []
    for start, stop in zip([0, 2, 4], [2, 4, 8], strict=True):
        found.append(self.parts[start // 2](x[..., start:stop]))
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=x.dtype, device=x.device)
    return sum(w * each for w, each in zip(weights, found, strict=True)), torch.vstack([each.mean(0) for each in found])


def _masks(self: Any, x: Any, lengths: Any) -> Any:
    n = x.shape[1]
    kept = torch.arange(n)[None, :] < lengths[:, None]
    pooled = (self.l(x) * kept.unsqueeze(-1)).sum(1) / lengths.unsqueeze(-1).clamp(min=1)
    last = x[torch.arange(x.size(0)), (lengths - 1).clamp(min=0)]
    backwards = x.gather(1, (lengths[:, None] - 1 - torch.arange(n)[None]).remainder(n).unsqueeze(-1).expand_as(x))
    return pooled, last, torch.where(kept.unsqueeze(-1), backwards, x), kept.logical_not().any(), kept.all(1)


#: What makes a network, and an example.
OPERATORS: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "patches that overlap": (Overlapped, (IMAGE,)),
    "volumes up and down": (Volumes, (_x(2, 2, 5, 7, 6),)),
    "orders and places": (Ordered, (X,)),
    "elements that are written": (Written, (SEQUENCE,)),
    "Einstein's sums": (Contracted, (SEQUENCE,)),
    "complex numbers all along": (Waves, (SEQUENCE,)),
    "grids of all kinds": (Sampled, (IMAGE, _x(2, 1, 4, 5, 6))),
    "distances of all kinds": (Distances, (SEQUENCE, SEQUENCE.flip(1)[:, :4] * 2)),
    "attention in its ways": (Attended, (SEQUENCE, torch.tensor([[True] * 6, [True] * 4 + [False] * 2]))),
    "four bits": (Rounded, (X,)),
    "lists that are fixed": (lambda: Module(_fixed_lists, parts=nn.ModuleList([nn.Linear(2, 3), nn.Linear(2, 3), nn.Linear(4, 3)])), (X,)),
    "lengths of a batch": (lambda: Module(_masks, l=nn.Linear(8, 4)), (SEQUENCE, torch.tensor([6, 4]))),
    "an LSTM with projections in layers": (lambda: Module(lambda self, x: self.r(x), r=nn.LSTM(8, 6, 2, batch_first=True, proj_size=3, bidirectional=True)), (SEQUENCE,)),
    "a GRU of computed weights": (lambda: Module(lambda self, x: self.r(x)[0], r=nn.utils.parametrizations.weight_norm(nn.GRU(8, 4, batch_first=True), "weight_ih_l0")), (SEQUENCE,)),
    "a pyramid of sines": (lambda: Module(lambda self, x: torch.cat([x, *(f(x * 2.0**at * math.pi) for at in range(3) for f in (torch.sin, torch.cos))], -1) @ self.w, w=nn.Parameter(_x(56, 3))), (X,)),
}  # fmt: skip
