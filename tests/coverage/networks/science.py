"""Whole small networks on fields, graphs, points and densities, of kinds that papers publish and people copy."""

# A table, one network a line; and code as it is found, which is not as ours is.
# ruff: noqa: E501

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.coverage.constructs import X, _x

_EDGES = torch.tensor([[0, 1, 2, 3, 4, 0, 2, 4], [1, 2, 3, 4, 0, 2, 4, 1]])


class Splines(nn.Module):
    """A layer of a KAN: on each edge a spline over a grid that is a buffer."""

    def __init__(self, inputs: int, outputs: int, size: int = 5, order: int = 3) -> None:
        super().__init__()
        step = 2 / size
        grid = (torch.arange(-order, size + order + 1) * step - 1).expand(inputs, -1).contiguous()
        self.register_buffer("grid", grid)
        self.order = order
        self.base_weight = nn.Parameter(_x(outputs, inputs))
        self.spline_weight = nn.Parameter(0.1 * _x(outputs, inputs, size + order))
        self.spline_scaler = nn.Parameter(torch.ones(outputs, inputs))

    def b_splines(self, x: Any) -> Any:
        grid = self.grid
        x = x.unsqueeze(-1)
        bases = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            left = (x - grid[:, : -(k + 1)]) / (grid[:, k:-1] - grid[:, : -(k + 1)]) * bases[:, :, :-1]
            right = (grid[:, k + 1 :] - x) / (grid[:, k + 1 :] - grid[:, 1:(-k)]) * bases[:, :, 1:]
            bases = left + right
        return bases.contiguous()

    def forward(self, x: Any) -> Any:
        shape = x.shape
        x = x.reshape(-1, shape[-1])
        base = F.linear(F.silu(x), self.base_weight)
        scaled = self.spline_weight * self.spline_scaler.unsqueeze(-1)
        spline = F.linear(self.b_splines(x).view(x.size(0), -1), scaled.view(scaled.size(0), -1))
        return (base + spline).reshape(*shape[:-1], -1)


class Operator(nn.Module):
    """DeepONet: a branch for the function, a trunk for the places."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 12))
        self.trunk = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 12))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, u: Any, y: Any) -> Any:
        return torch.einsum("bk,...k->b...", self.branch(u), self.trunk(y)) + self.bias


class Spectral(nn.Module):
    """A Fourier neural operator of two axes: complex weights, lifted and projected, with places beside the field."""

    def __init__(self, modes: int = 3, width: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.modes = modes
        self.p, self.q = nn.Linear(3, width), nn.Conv2d(width, 1, 1)
        self.w1 = nn.ParameterList(
            nn.Parameter(0.1 * torch.complex(_x(width, width, modes, modes), _x(width, width, modes, modes)))
            for _ in range(layers)
        )
        self.w2 = nn.ParameterList(
            nn.Parameter(0.1 * torch.complex(_x(width, width, modes, modes), -_x(width, width, modes, modes)))
            for _ in range(layers)
        )
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(layers))

    def grid(self, shape: Any) -> Any:
        b, h, w = shape[0], shape[1], shape[2]
        gx = torch.linspace(0, 1, h, dtype=torch.float).reshape(1, h, 1, 1).repeat([b, 1, w, 1])
        gy = torch.linspace(0, 1, w, dtype=torch.float).reshape(1, 1, w, 1).repeat([b, h, 1, 1])
        return torch.cat((gx, gy), dim=-1)

    def forward(self, x: Any) -> Any:
        m = self.modes
        x = self.p(torch.cat((x.unsqueeze(-1), self.grid(x.shape)), dim=-1)).permute(0, 3, 1, 2)
        for w1, w2, conv in zip(self.w1, self.w2, self.convs, strict=True):
            ft = torch.fft.rfft2(x)
            out = torch.zeros(x.shape[0], conv.out_channels, x.size(-2), x.size(-1) // 2 + 1, dtype=torch.cfloat)
            out[:, :, :m, :m] = torch.einsum("bixy,ioxy->boxy", ft[:, :, :m, :m], w1)
            out[:, :, -m:, :m] = torch.einsum("bixy,ioxy->boxy", ft[:, :, -m:, :m], w2)
            x = F.gelu(torch.fft.irfft2(out, s=(x.size(-2), x.size(-1))) + conv(x))
        return self.q(x).squeeze(1)


class Radiance(nn.Module):
    """NeRF: places along rays, their density and colour, and what a camera sees."""

    def __init__(self, freqs: int = 3, samples: int = 6) -> None:
        super().__init__()
        self.samples = samples
        self.register_buffer("bands", 2.0 ** torch.arange(freqs), persistent=False)
        self.layers = nn.ModuleList(
            [nn.Linear(3 + 6 * freqs, 16), nn.Linear(16, 16), nn.Linear(16 + 3 + 6 * freqs, 16)]
        )
        self.sigma, self.rgb = (
            nn.Linear(16, 1),
            nn.Sequential(nn.Linear(16 + 3, 8), nn.ReLU(), nn.Linear(8, 3), nn.Sigmoid()),
        )

    def encode(self, x: Any) -> Any:
        scaled = (x[..., None, :] * self.bands[:, None] * math.pi).flatten(-2)
        return torch.cat([x, scaled.sin(), scaled.cos()], -1)

    def forward(self, origins: Any, directions: Any) -> Any:
        t = torch.linspace(2.0, 6.0, self.samples)
        points = origins[:, None] + directions[:, None] * t[None, :, None]
        code = self.encode(points)
        h = code
        for at, layer in enumerate(self.layers):
            h = F.relu(layer(torch.cat([h, code], -1) if at == 2 else h), inplace=True)
        sigma = F.softplus(self.sigma(h).squeeze(-1) - 1)
        view = F.normalize(directions, dim=-1)[:, None].expand_as(points)
        rgb = self.rgb(torch.cat([h, view], -1))
        delta = torch.cat([t[1:] - t[:-1], torch.full((1,), 1e10)])
        alpha = 1 - torch.exp(-sigma * delta)
        through = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], -1), -1)[:, :-1]
        weights = alpha * through
        return (weights[..., None] * rgb).sum(-2), (weights * t).sum(-1), weights.sum(-1)


class Siren(nn.Module):
    """Sines as activations, and the weights of it made by another network (a hypernetwork)."""

    def __init__(self, hidden: int = 6) -> None:
        super().__init__()
        self.shapes = [(hidden, 2), (hidden,), (1, hidden), (1,)]
        self.hyper = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, sum(math.prod(s) for s in self.shapes)))
        self.register_buffer("omega", torch.tensor(3.0))

    def forward(self, code: Any, places: Any) -> Any:
        flat = self.hyper(code).split([math.prod(s) for s in self.shapes], dim=-1)
        w1, b1, w2, b2 = (f.reshape(-1, *s) for f, s in zip(flat, self.shapes, strict=True))
        h = torch.sin(
            self.omega * (torch.baddbmm(b1.unsqueeze(1), places.expand(code.shape[0], -1, -1), w1.transpose(1, 2)))
        )
        return torch.baddbmm(b2.unsqueeze(1), h, w2.transpose(1, 2)).squeeze(-1)


class Graph(nn.Module):
    """A convolution of a graph by index_add_, with degrees and loops, twice, and the mean of each graph."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False), nn.Linear(8, 3)
        self.bias = nn.ParameterDict({"one": nn.Parameter(torch.zeros(8)), "two": nn.Parameter(_x(8))})

    def spread(self, x: Any, edges: Any) -> Any:
        n = x.size(0)
        loops = torch.arange(n)
        source, target = torch.cat([edges[0], loops]), torch.cat([edges[1], loops])
        degree = torch.zeros(n).scatter_add_(0, target, torch.ones(source.size(0)))
        scale = degree.pow(-0.5)
        scale.masked_fill_(scale == float("inf"), 0)
        weight = scale[source] * scale[target]
        return torch.zeros_like(x).index_add_(0, target, x[source] * weight.unsqueeze(-1))

    def forward(self, x: Any, edges: Any, graph: Any) -> Any:
        x = F.relu(self.spread(self.one(x), edges) + self.bias["one"])
        x = self.spread(self.two(x), edges) + self.bias["two"]
        sums = x.new_zeros(3, 8).index_add(0, graph, x)
        counts = torch.zeros(3, dtype=x.dtype).index_add_(0, graph, torch.ones_like(graph, dtype=x.dtype))
        largest = torch.full((3, 8), float("-inf")).scatter_reduce(
            0, graph[:, None].expand(-1, 8), x, "amax", include_self=False
        )
        return self.head(sums / counts.clamp(min=1)[:, None]), largest.nan_to_num(neginf=0.0)


class Points(nn.Module):
    """PointNet++: farthest points, the nearest of each, and what they have in common; a matrix that is learned (T-Net)."""

    def __init__(self, centres: int = 4, k: int = 3) -> None:
        super().__init__()
        self.centres, self.k = centres, k
        self.tnet = nn.Sequential(nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8), nn.ReLU())
        self.matrix = nn.Linear(8, 9)
        self.mlp = nn.Sequential(nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))
        self.fc = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))

    def farthest(self, xyz: Any) -> Any:
        b, n, _ = xyz.shape
        found = torch.zeros(b, self.centres, dtype=torch.long)
        distance = torch.ones(b, n) * 1e10
        farthest = torch.zeros(b, dtype=torch.long)
        batch = torch.arange(b, dtype=torch.long)
        for i in range(self.centres):
            found[:, i] = farthest
            centroid = xyz[batch, farthest, :].view(b, 1, 3)
            dist = torch.sum((xyz - centroid) ** 2, -1)
            distance = torch.min(distance, dist)
            farthest = torch.max(distance, -1)[1]
        return found

    def forward(self, xyz: Any) -> Any:
        b = xyz.shape[0]
        t = self.matrix(self.tnet(xyz.transpose(2, 1)).max(2)[0]).view(-1, 3, 3) + torch.eye(3).unsqueeze(0).repeat(
            b, 1, 1
        )
        xyz = torch.bmm(xyz, t)
        index = self.farthest(xyz)
        centres = torch.gather(xyz, 1, index[..., None].expand(-1, -1, 3))
        near = torch.cdist(centres, xyz).topk(self.k, dim=-1, largest=False, sorted=False)[1].sort(-1)[0]
        batch = torch.arange(b).view(b, 1, 1).expand_as(near)
        grouped = xyz[batch, near, :]
        grouped = torch.cat([grouped - centres.unsqueeze(2), centres.unsqueeze(2).expand(-1, -1, self.k, -1)], -1)
        features = self.mlp(grouped.permute(0, 3, 2, 1)).max(2)[0]
        return F.log_softmax(self.fc(features.max(-1)[0]), -1), index


class Coupled(nn.Module):
    """RealNVP: halves that scale and shift each other, a mask in a buffer, the density under a Gaussian."""

    def __init__(self, dim: int = 8, layers: int = 4) -> None:
        super().__init__()
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 16), nn.ReLU(), nn.Linear(16, 2 * dim)) for _ in range(layers)
        )
        self.register_buffer("masks", torch.stack([(torch.arange(dim) % 2 == at % 2).float() for at in range(layers)]))
        self.loc, self.log_scale = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.lu = nn.Parameter(torch.eye(dim) + 0.1 * _x(dim, dim))

    def forward(self, x: Any) -> Any:
        total = torch.zeros(x.shape[0])
        weight = torch.tril(self.lu, -1) + torch.eye(8)
        upper = torch.triu(self.lu)
        x = x @ (weight @ upper).T
        total = total + torch.log(torch.abs(torch.diagonal(upper))).sum()
        for mask, net in zip(self.masks, self.nets, strict=True):
            s, t = net(x * mask).chunk(2, -1)
            s = torch.tanh(s) * (1 - mask)
            x = x * torch.exp(s) + t * (1 - mask)
            total += s.sum(-1)
        prior = torch.distributions.Normal(self.loc, self.log_scale.exp())
        return x, prior.log_prob(x).sum(-1) + total


class Quadratic(nn.Module):
    """A rational-quadratic spline as a flow: bins by searchsorted, gathered (neural spline flows)."""

    def __init__(self, bins: int = 4) -> None:
        super().__init__()
        self.bins = bins
        self.net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 4 * (3 * bins + 1)))

    def forward(self, x: Any) -> Any:
        one, two = x.chunk(2, -1)
        params = self.net(one).view(-1, 4, 3 * self.bins + 1)
        w, h, d = params.split([self.bins, self.bins, self.bins + 1], -1)
        inside = (two >= -3) & (two <= 3)
        cum_w = F.pad(torch.cumsum(0.01 + 0.96 * w.softmax(-1), -1), (1, 0)) * 6 - 3
        cum_h = F.pad(torch.cumsum(0.01 + 0.96 * h.softmax(-1), -1), (1, 0)) * 6 - 3
        d = 0.01 + F.softplus(d)
        bin_at = torch.searchsorted(cum_w[..., 1:-1].contiguous(), two.unsqueeze(-1).contiguous())
        x0, y0 = cum_w.gather(-1, bin_at)[..., 0], cum_h.gather(-1, bin_at)[..., 0]
        width, height = (
            (cum_w[..., 1:] - cum_w[..., :-1]).gather(-1, bin_at)[..., 0],
            (cum_h[..., 1:] - cum_h[..., :-1]).gather(-1, bin_at)[..., 0],
        )
        slope = height / width
        d0, d1 = d.gather(-1, bin_at)[..., 0], d[..., 1:].gather(-1, bin_at)[..., 0]
        theta = ((two - x0) / width).clamp(0, 1)
        both = theta * (1 - theta)
        numerator = height * (slope * theta.pow(2) + d0 * both)
        denominator = slope + (d0 + d1 - 2 * slope) * both
        out = torch.where(inside, y0 + numerator / denominator, two)
        derivative = slope.pow(2) * (d1 * theta.pow(2) + 2 * slope * both + d0 * (1 - theta).pow(2))
        log_det = torch.where(inside, torch.log(derivative) - 2 * torch.log(denominator), torch.zeros_like(two))
        return torch.cat([one, out], -1), log_det.sum(-1)


class Differential(nn.Module):
    """An ordinary differential equation, solved by Runge and Kutta with time beside the state."""

    def __init__(self, steps: int = 4) -> None:
        super().__init__()
        self.steps = steps
        self.f = nn.Sequential(nn.Linear(9, 16), nn.Tanh(), nn.Linear(16, 8))

    def slope(self, t: Any, y: Any) -> Any:
        return self.f(torch.cat([y, torch.ones_like(y[:, :1]) * t], 1))

    def forward(self, y: Any) -> Any:
        found = [y]
        for t in torch.linspace(0, 1, self.steps + 1)[:-1]:
            h = 1 / self.steps
            k1 = self.slope(t, y)
            k2 = self.slope(t + h / 2, y + h / 2 * k1)
            k3 = self.slope(t + h / 2, y + h / 2 * k2)
            k4 = self.slope(t + h, y + h * k3)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            found.append(y)
        return torch.stack(found, dim=1)


class Equivariant(nn.Module):
    """EGNN: places that move along what lies between them, all pairs, with a mask for those that are none."""

    def __init__(self) -> None:
        super().__init__()
        self.edge = nn.Sequential(nn.Linear(8 + 8 + 1, 16), nn.SiLU(), nn.Linear(16, 8), nn.SiLU())
        self.place = nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 1, bias=False))
        self.node, self.gate = nn.Sequential(nn.Linear(16, 8), nn.SiLU(), nn.Linear(8, 8)), nn.Linear(8, 1)

    def forward(self, h: Any, x: Any, mask: Any) -> Any:
        diff = x.unsqueeze(2) - x.unsqueeze(1)
        radial = (diff**2).sum(-1, keepdim=True)
        n = h.shape[1]
        pair = torch.cat([h.unsqueeze(2).expand(-1, -1, n, -1), h.unsqueeze(1).expand(-1, n, -1, -1), radial], -1)
        m = self.edge(pair)
        m = m * torch.sigmoid(self.gate(m))
        both = (mask.unsqueeze(1) & mask.unsqueeze(2) & ~torch.eye(n, dtype=torch.bool)).unsqueeze(-1)
        m = m.masked_fill(~both, 0.0)
        x = x + (diff / (radial.sqrt() + 1) * self.place(m) * both).sum(2) / both.sum(2).clamp(min=1)
        return h + self.node(torch.cat([h, m.sum(2)], -1)), x


class Process(nn.Module):
    """A Gaussian process with a learned kernel: solved by Cholesky, its mean and variance at new places."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(3, 4)
        self.raw_length, self.raw_noise = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(-1.0))

    def kernel(self, a: Any, b: Any) -> Any:
        a, b = self.features(a), self.features(b)
        return torch.exp(-0.5 * torch.cdist(a, b).square() / F.softplus(self.raw_length) ** 2)

    def forward(self, x: Any, y: Any, new: Any) -> Any:
        k = self.kernel(x, x) + (F.softplus(self.raw_noise) + 1e-3) * torch.eye(x.shape[1])
        lower = torch.linalg.cholesky(k)
        cross = self.kernel(new, x)
        mean = cross @ torch.cholesky_solve(y.unsqueeze(-1), lower)
        v = torch.linalg.solve_triangular(lower, cross.transpose(-1, -2), upper=False)
        return mean.squeeze(-1), 1 - v.pow(2).sum(-2)


class Energy(nn.Module):
    """Clebsch-like products of angular parts, with spherical functions written out, and cut off smoothly."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centres", torch.linspace(0, 4, 8))
        self.radial, self.out = nn.Linear(8, 4), nn.Linear(4, 1)

    def forward(self, r: Any) -> Any:
        length = torch.linalg.norm(r, dim=-1)
        unit = r / length.unsqueeze(-1).clamp_min(1e-6)
        x, y, z = unit.unbind(-1)
        sphere = torch.stack(
            [torch.ones_like(x), y, z, x, x * y, y * z, 0.5 * (3 * z**2 - 1), x * z, 0.5 * (x**2 - y**2)], -1
        )
        basis = torch.exp(-((length.unsqueeze(-1) - self.centres) ** 2))
        cut = torch.where(length < 4.0, 0.5 * (torch.cos(math.pi * length / 4.0) + 1), torch.zeros(()))
        a = torch.einsum("bnl,bnk->bkl", sphere, self.radial(basis) * cut[..., None])
        power = torch.stack([a[..., 0] ** 2, (a[..., 1:4] ** 2).sum(-1), a[..., 4:].square().sum(-1)], -1)
        return self.out(power.sum(-1)).squeeze(-1), torch.atan2(y, x), torch.acos(z.clamp(-1, 1))


#: What makes a network, and an example.
SCIENCE: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "a KAN": (lambda: nn.Sequential(Splines(8, 5), Splines(5, 2)), (X,)),
    "a DeepONet": (Operator, (X, _x(5, 2))),
    "a Fourier operator of fields": (Spectral, (_x(2, 10, 12),)),
    "a radiance field": (Radiance, (_x(4, 3), _x(4, 3) + 1)),
    "a hypernetwork of sines": (Siren, (X, _x(1, 7, 2))),
    "a graph convolution by index_add_": (Graph, (_x(5, 8), _EDGES, torch.tensor([0, 0, 1, 1, 2]))),
    "points and their neighbours": (Points, (_x(2, 9, 3),)),
    "RealNVP": (Coupled, (X,)),
    "a flow of splines": (Quadratic, (X,)),
    "a differential equation": (Differential, (X,)),
    "an equivariant graph network": (Equivariant, (_x(2, 5, 8), _x(2, 5, 3), torch.tensor([[True] * 5, [True] * 3 + [False] * 2]))),
    "a Gaussian process": (Process, (_x(2, 6, 3), _x(2, 6), _x(2, 4, 3))),
    "energy of atoms": (Energy, (_x(2, 5, 3),)),
}  # fmt: skip
