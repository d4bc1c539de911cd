"""Attention, positions and experts as people write them."""

# A table, one block a line; and code as it is found, which is not as ours is.
# ruff: noqa: E501

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.coverage.constructs import SEQUENCE, Module, _x

_MASK = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
_WORDS = torch.tensor([[3, 5, 1, 2, 0, 0], [4, 4, 7, 8, 9, 1]])
_Q = _x(2, 2, 3, 4)
_K = _x(2, 2, 5, 4)


class Rearranged(nn.Module):
    """Attention with its heads split and joined by hand, and a relative bias."""

    def __init__(self, dim: int = 8, heads: int = 2, window: int = 6) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.to_qkv, self.out = nn.Linear(dim, dim * 3, bias=False), nn.Linear(dim, dim)
        self.bias = nn.Parameter(_x(2 * window - 1, heads))
        place = torch.arange(window)
        self.register_buffer("places", place[:, None] - place + window - 1, persistent=False)

    def forward(self, x: Any) -> Any:
        b, n, _ = x.shape
        q, k, v = (t.reshape(b, n, self.heads, -1).transpose(1, 2) for t in self.to_qkv(x).chunk(3, dim=-1))
        dots = torch.einsum("bhid,bhjd->bhij", q, k) * self.scale + self.bias[self.places].permute(2, 0, 1)
        found = torch.einsum("bhij,bhjd->bhid", dots.softmax(dim=-1), v)
        return self.out(found.permute(0, 2, 1, 3).reshape(b, n, -1))


class Linearised(nn.Module):
    """Attention without softmax over places (elu + 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Any, mask: Any) -> Any:
        q, k = F.elu(self.q(x)) + 1, F.elu(self.k(x)) + 1
        k = k * mask[..., None]
        context = torch.einsum("bnd,bne->bde", k, self.v(x))
        below = 1 / (torch.einsum("bnd,bd->bn", q, k.sum(1)) + 1e-6)
        return torch.einsum("bnd,bde,bn->bne", q, context, below)


class Experts(nn.Module):
    """A mixture of experts, each run on everything, the best two kept."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 4, bias=False)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8)) for _ in range(4))

    def forward(self, x: Any) -> Any:
        weights, chosen = torch.topk(self.gate(x).softmax(-1), 2, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        share = torch.zeros(*x.shape[:-1], 4, dtype=x.dtype).scatter_(-1, chosen, weights)
        found = torch.stack([each(x) for each in self.experts], -2)
        return (found * share.unsqueeze(-1)).sum(-2)


class Sinusoids(nn.Module):
    """Positions and time steps as sines, of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 8))

    def forward(self, x: Any, t: Any) -> Any:
        half = 4
        f = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=x.device) / half)
        a = t[:, None].float() * f[None]
        x = x + self.time(torch.cat([torch.cos(a), torch.sin(a)], dim=-1))[:, None]
        place = torch.arange(x.size(1), device=x.device).unsqueeze(1) * f
        return x + torch.stack((place.sin(), place.cos()), dim=2).flatten(1)[None]


class Rotary(nn.Module):
    """Positions by rotation, in a cache that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / (10000 ** (torch.arange(0, 4, 2).float() / 4)))
        self.cached = None
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Any) -> Any:
        b, t, _ = x.shape
        if self.cached is None or self.cached[0].shape[0] < t:
            angle = torch.outer(torch.arange(t, device=x.device).type_as(self.inv_freq), self.inv_freq)
            both = torch.cat((angle, angle), -1)
            self.cached = (both.cos(), both.sin())
        cos, sin = (each[:t] for each in self.cached)
        q, k, v = self.qkv(x).view(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        turn = lambda y: torch.cat((-y[..., 2:], y[..., :2]), -1)  # noqa: E731
        q, k = q * cos + turn(q) * sin, k * cos + turn(k) * sin
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, -1)


class Gathering(nn.Module):
    """The tokens that score best are kept, in their order, and put back (token pruning, MAE)."""

    def __init__(self) -> None:
        super().__init__()
        self.score, self.layer, self.token = nn.Linear(8, 1), nn.Linear(8, 8), nn.Parameter(_x(1, 1, 8))

    def forward(self, x: Any) -> Any:
        b, n, d = x.shape
        order = torch.argsort(self.score(x).squeeze(-1), dim=1, descending=True)
        back = torch.argsort(order, dim=1)
        keep = order[:, :3]
        kept = self.layer(torch.gather(x, 1, keep.unsqueeze(-1).repeat(1, 1, d)))
        whole = torch.cat([kept, self.token.repeat(b, n - 3, 1)], 1)
        mask = torch.ones([b, n])
        mask[:, :3] = 0
        return torch.gather(whole, 1, back.unsqueeze(-1).expand(-1, -1, d)), torch.gather(mask, 1, back)


class Memory(nn.Module):
    """Keys and values that were seen before, and go in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv = nn.Linear(8, 8), nn.Linear(8, 16)

    def forward(self, x: Any, past_k: Any, past_v: Any) -> Any:
        q = self.q(x).unflatten(-1, (2, 4)).transpose(1, 2)
        k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in self.kv(x).chunk(2, -1))
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        length, whole = q.shape[2], k.shape[2]
        mask = torch.ones(length, whole, dtype=torch.bool).tril(diagonal=whole - length)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return found.transpose(1, 2).flatten(2), k, v


class Slots(nn.Module):
    """Slot attention, with its slots from parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = nn.Parameter(_x(1, 3, 8))
        self.q, self.k, self.v, self.gru = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.GRUCell(8, 8)
        self.norm, self.mlp = nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Linear(16, 8))

    def forward(self, x: Any) -> Any:
        b, _, d = x.shape
        slots = self.slots.expand(b, -1, -1)
        k, v = self.k(x), self.v(x)
        for _ in range(2):
            before = slots
            share = torch.einsum("bid,bjd->bij", self.q(self.norm(slots)), k).mul(d**-0.5).softmax(dim=1) + 1e-8
            share = share / share.sum(dim=-1, keepdim=True)
            slots = self.gru(torch.einsum("bjd,bij->bid", v, share).reshape(-1, d), before.reshape(-1, d)).reshape(
                b, -1, d
            )
            slots = slots + self.mlp(slots)
        return slots


class Options(nn.Module):
    """Many inputs by name, some of them not given, and results in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.kinds = nn.Embedding(12, 8), nn.Embedding(16, 8), nn.Embedding(2, 8)
        self.norm = nn.LayerNorm(8, eps=1e-12)

    def forward(
        self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *, hidden: bool = False
    ) -> Any:
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        places = torch.arange(input_ids.shape[1], device=input_ids.device).expand(input_ids.shape)
        places = torch.cumsum(attention_mask, dim=1) * attention_mask + places * 0
        x = self.norm(self.words(input_ids) + self.places(places) + self.kinds(token_type_ids))
        bias = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        pooled = (x * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True).clamp(min=1e-9)
        return {"last": x, "bias": bias, "pooled": pooled, **({"hidden": x} if hidden else {})}


def _attend(**more: Any) -> Callable[..., Any]:
    return lambda self, q, k: F.scaled_dot_product_attention(q, k, k, **more)


#: What makes a network, and an example.
ATTENTION: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "heads split by hand": (Rearranged, (SEQUENCE,)),
    "linear attention": (Linearised, (SEQUENCE, _MASK)),
    "experts": (Experts, (SEQUENCE,)),
    "sines of places and time": (Sinusoids, (SEQUENCE, torch.tensor([3, 500]))),
    "rotation with a cache": (Rotary, (SEQUENCE,)),
    "tokens kept and put back": (Gathering, (SEQUENCE,)),
    "keys and values of before": (Memory, (SEQUENCE, _x(2, 2, 3, 4), _x(2, 2, 3, 4))),
    "slots": (Slots, (SEQUENCE,)),
    "optional inputs": (Options, (_WORDS, (_WORDS != 0).long())),
    "attention with a scale": (lambda: Module(_attend(scale=0.3)), (_Q, _K)),
    "attention with dropout": (lambda: Module(_attend(dropout_p=0.0, attn_mask=torch.ones(3, 5, dtype=torch.bool).tril())), (_Q, _K)),
    "causal attention of another length": (lambda: Module(_attend(is_causal=True)), (_Q, _K)),
    "attention of three axes": (lambda: Module(lambda self, x: F.scaled_dot_product_attention(x, x, x)), (SEQUENCE,)),
    "attention with a key mask": (lambda: Module(lambda self, x, m: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], m[:, None, None])), (SEQUENCE, _MASK)),
    "einsum of three": (lambda: Module(lambda self, x: torch.einsum("bnd,de,bme->bnm", x, self.w, x), w=nn.Parameter(_x(8, 8))), (SEQUENCE,)),
    "einsum with dots": (lambda: Module(lambda self, x: torch.einsum("...d,ed->...e", x, self.w), w=nn.Parameter(_x(3, 8))), (SEQUENCE,)),
    "softmax of what is hidden": (lambda: Module(lambda self, x, m: (x.masked_fill(~m[..., None], -torch.inf).softmax(1), x.masked_fill(~m[..., None], -torch.inf).amax(1))), (SEQUENCE, _MASK)),
    "where with minus infinity": (lambda: Module(lambda self, x, m: torch.where(m[..., None], x, torch.tensor(float("-inf"))).logsumexp(1)), (SEQUENCE, _MASK)),
}  # fmt: skip
