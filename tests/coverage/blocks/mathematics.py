"""Graphs, flows, splines, solvers and losses as people write them."""

# A table, one block a line; and code as it is found, which is not as ours is.
# ruff: noqa: E501

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.coverage.constructs import IMAGE, SEQUENCE, Module, X, _x

_WORDS = torch.tensor([[3, 5, 1, 2, 0, 0], [4, 4, 7, 8, 9, 1]])
_EDGES = torch.tensor([[0, 1, 2, 3, 4, 0, 2], [1, 2, 3, 4, 0, 2, 4]])


Pair = namedtuple("Pair", ["mean", "log_variance"])


class Codebook(nn.Module):
    """Vectors of a codebook, the nearest ones (VQ-VAE)."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Embedding(16, 8)

    def forward(self, z: Any) -> Any:
        flat = z.reshape(-1, 8)
        far = flat.pow(2).sum(1, keepdim=True) - 2 * flat @ self.codes.weight.t() + self.codes.weight.pow(2).sum(1)
        places = far.argmin(1)
        found = self.codes(places).view_as(z)
        loss = F.mse_loss(found.detach(), z) + 0.25 * F.mse_loss(found, z.detach())
        return z + (found - z).detach(), loss, places.view(z.shape[:-1])


class Losses(nn.Module):
    """What a network is trained with, in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 5)

    def forward(self, x: Any, wanted: Any) -> Any:
        logits = self.layer(x)
        soft = F.one_hot(wanted, 5).float() * 0.9 + 0.02
        return {
            "cross": F.cross_entropy(logits, wanted), "smooth": F.cross_entropy(logits, wanted, label_smoothing=0.1),
            "ignored": F.cross_entropy(logits, wanted, ignore_index=1, reduction="none"), "soft": F.cross_entropy(logits, soft),
            "nll": F.nll_loss(logits.log_softmax(-1), wanted), "binary": F.binary_cross_entropy_with_logits(logits, soft),
            "kl": F.kl_div(logits.log_softmax(-1), soft, reduction="batchmean"), "huber": F.smooth_l1_loss(logits, soft),
            "gathered": logits.gather(1, wanted[:, None]).squeeze(1), "cosine": F.cosine_embedding_loss(logits, soft, torch.ones(x.shape[0])),
            "margin": F.triplet_margin_loss(logits, soft, logits.flip(0)), "focal": ((1 - logits.softmax(-1)) ** 2 * soft).sum(-1).mean(),
        }  # fmt: skip


class Graph(nn.Module):
    """Messages along edges, added where they arrive (GCN), with counts of them."""

    def __init__(self) -> None:
        super().__init__()
        self.message, self.own = nn.Linear(16, 8), nn.Linear(8, 8)

    def forward(self, x: Any, edges: Any) -> Any:
        source, target = edges
        message = self.message(torch.cat([x[source], x[target]], -1)).relu()
        found = torch.zeros_like(x).index_add_(0, target, message)
        count = torch.zeros(x.size(0)).scatter_add_(0, target, torch.ones(target.numel()))
        return self.own(x) + found / count.clamp(min=1)[:, None]


class GraphAttention(nn.Module):
    """Softmax over the edges of each node (GAT), by scatter."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.a = nn.Linear(8, 8, bias=False), nn.Parameter(_x(16))

    def forward(self, x: Any, edges: Any) -> Any:
        h = self.w(x)
        score = F.leaky_relu(torch.cat([h[edges[0]], h[edges[1]]], 1) @ self.a, 0.2)
        top = torch.full((x.shape[0],), -torch.inf).scatter_reduce(0, edges[1], score, "amax")
        e = (score - top[edges[1]]).exp()
        below = torch.zeros(x.shape[0]).index_add(0, edges[1], e)
        return torch.zeros_like(h).index_add(0, edges[1], h[edges[0]] * (e / below[edges[1]])[:, None])


class Points(nn.Module):
    """Neighbours of points and the largest of their edges (DGCNN)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.2))

    def forward(self, x: Any) -> Any:
        b, _, n = x.shape
        inner = -2 * torch.matmul(x.transpose(2, 1), x)
        xx = torch.sum(x**2, dim=1, keepdim=True)
        idx = (-xx - inner - xx.transpose(2, 1)).topk(k=3, dim=-1)[1]
        idx = (idx + torch.arange(0, b).view(-1, 1, 1) * n).view(-1)
        y = x.transpose(2, 1).contiguous()
        near = y.view(b * n, -1)[idx, :].view(b, n, 3, 3)
        y = y.view(b, n, 1, 3).repeat(1, 1, 3, 1)
        return self.conv(torch.cat((near - y, y), dim=3).permute(0, 3, 1, 2)).max(dim=-1, keepdim=False)[0]


class Flow(nn.Module):
    """Affine coupling and an invertible 1x1 convolution, with log-determinants (Glow)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 8))
        self.register_buffer("mask", torch.arange(8) % 2)
        self.weight = nn.Parameter(torch.linalg.qr(_x(8, 8))[0])
        self.log_s, self.bias = nn.Parameter(torch.zeros(1, 8)), nn.Parameter(torch.zeros(1, 8))

    def forward(self, x: Any) -> Any:
        x = (x + self.bias) * torch.exp(self.log_s)
        x = x @ self.weight
        one, two = x.chunk(2, 1)
        shift, scale = self.net(one).chunk(2, 1)
        scale = torch.sigmoid(scale + 2.0)
        log_det = scale.log().sum(-1) + self.log_s.sum()
        x = torch.cat([one, (two + shift) * scale], 1)
        prior = torch.distributions.Normal(torch.zeros(8), torch.ones(8))
        return x, log_det + prior.log_prob(x).sum(-1)


class Variational(nn.Module):
    """A VAE whose sampling stops in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_variance, self.back = nn.Linear(8, 3), nn.Linear(8, 3), nn.Linear(3, 8)

    def forward(self, x: Any) -> Any:
        mean, log_variance = self.mean(x), self.log_variance(x)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance) if self.training else mean
        kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp(), dim=1)
        return self.back(z).sigmoid(), Pair(mean, log_variance), kl.mean()


class Trees(nn.Module):
    """Soft decision trees: products along the ways (NODE)."""

    def __init__(self) -> None:
        super().__init__()
        self.choose, self.leaves = nn.Linear(8, 7), nn.Parameter(_x(8, 3))

    def forward(self, x: Any) -> Any:
        right = self.choose(x).sigmoid()
        way = torch.ones(x.shape[0], 1)
        begin = 0
        for depth in range(3):
            p = right[:, begin : begin + 2**depth]
            way = torch.stack([way * (1 - p), way * p], -1).flatten(1)
            begin += 2**depth
        return way @ self.leaves


class Cosine(nn.Module):
    """A head of cosines with an angle added (ArcFace), in evaluation without."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(_x(5, 8))

    def forward(self, x: Any, label: Any = None) -> Any:
        cosine = F.linear(F.normalize(x), F.normalize(self.weight)).clamp(-1 + 1e-7, 1 - 1e-7)
        if label is None:
            return cosine * 30
        one_hot = torch.zeros_like(cosine).scatter_(1, label.view(-1, 1).long(), 1)
        return torch.cos(torch.acos(cosine) + 0.5 * one_hot) * 30


class Spline(nn.Module):
    """Splines on edges (KAN), by the recursion of de Boor."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-2, 2, 10).expand(8, -1).contiguous())
        self.weight, self.base = nn.Parameter(_x(4, 8, 6)), nn.Parameter(_x(4, 8))

    def forward(self, x: Any) -> Any:
        base = F.linear(F.silu(x), self.base)
        x, grid = x.unsqueeze(-1), self.grid
        bases = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
        for k in range(1, 4):
            bases = (x - grid[:, : -(k + 1)]) / (grid[:, k:-1] - grid[:, : -(k + 1)]) * bases[:, :, :-1] + (
                grid[:, k + 1 :] - x
            ) / (grid[:, k + 1 :] - grid[:, 1:(-k)]) * bases[:, :, 1:]
        return base + F.linear(bases.view(x.size(0), -1), self.weight.view(4, -1))


class Solver(nn.Module):
    """A layer in equilibrium, and Runge-Kutta steps of a network (DEQ, neural ODE)."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(8, 8), nn.Tanh())

    def forward(self, x: Any) -> Any:
        z = torch.zeros_like(x)
        for _ in range(5):
            z = self.f(z + x)
        h, y = 0.25, x
        for _ in range(2):
            k1 = self.f(y)
            k2 = self.f(y + h / 2 * k1)
            k3 = self.f(y + h / 2 * k2)
            k4 = self.f(y + h * k3)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return z, y


class Whitened(nn.Module):
    """Second-order pooling: covariance and its square root by Newton's steps (iSQRT-COV)."""

    def forward(self, x: Any) -> Any:
        b, c, h, w = x.shape
        x = x.flatten(2)
        centre = torch.eye(h * w) / (h * w) - torch.full((h * w, h * w), 1 / (h * w) ** 2)
        cov = x @ centre @ x.transpose(1, 2)
        norm = cov.diagonal(dim1=1, dim2=2).sum(-1).view(b, 1, 1)
        y, z = cov / norm, torch.eye(c).expand(b, c, c)
        for _ in range(3):
            t = 0.5 * (3.0 * torch.eye(c) - z.bmm(y))
            y, z = y.bmm(t), t.bmm(z)
        rows, columns = torch.triu_indices(c, c)
        return (y * norm.sqrt())[:, rows, columns]


class Capsules(nn.Module):
    """Routing between capsules."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(_x(1, 6, 3, 4, 8))

    def forward(self, x: Any) -> Any:
        u = (self.weight @ x[:, :, None, :, None]).squeeze(-1)
        b = x.new_zeros(x.size(0), 6, 3, 1)
        for at in range(3):
            s = (b.softmax(dim=2) * u).sum(dim=1)
            norm = s.norm(dim=-1, keepdim=True)
            v = norm**2 / (1 + norm**2) * s / (norm + 1e-8)
            if at < 2:
                b = b + (u * v.unsqueeze(1)).sum(-1, keepdim=True)
        return v, v.norm(dim=-1)


#: What makes a network, and an example.
MATHEMATICS: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "a codebook": (Codebook, (SEQUENCE,)),
    "losses": (Losses, (X, torch.tensor([1, 4]))),
    "messages along edges": (Graph, (_x(5, 8), _EDGES)),
    "attention along edges": (GraphAttention, (_x(5, 8), _EDGES)),
    "neighbours of points": (Points, (_x(2, 3, 7),)),
    "an invertible flow": (Flow, (X,)),
    "a VAE": (Variational, (X,)),
    "soft trees": (Trees, (X,)),
    "a head of cosines": (Cosine, (X,)),
    "a head of angles": (Cosine, (X, torch.tensor([1, 4]))),
    "splines": (Spline, (X,)),
    "solvers": (Solver, (X,)),
    "square roots of covariance": (Whitened, (IMAGE[..., :4, :4],)),
    "capsules": (Capsules, (SEQUENCE,)),
    "index_put of losses": (lambda: Module(lambda self, x, i: torch.zeros(x.shape[0], 12).index_put((torch.arange(x.shape[0])[:, None], i), x.mean(-1), accumulate=True)), (SEQUENCE, _WORDS)),
    "gumbel in evaluation": (lambda: Module(lambda self, x: F.gumbel_softmax(self.l(x), hard=True) if self.training else F.one_hot(self.l(x).argmax(-1), 4).float(), l=nn.Linear(8, 4)), (X,)),
    "a straight-through sign": (lambda: Module(lambda self, x: (x.sign() - x.clamp(-1, 1)).detach() + x.clamp(-1, 1)), (X,)),
    "adaptive softmax": (lambda: Module(lambda self, x: self.a.log_prob(x), a=nn.AdaptiveLogSoftmaxWithLoss(8, 12, [4, 8], div_value=2.0)), (X,)),
}  # fmt: skip
