"""Whole small networks on words, sounds and steps of time, of kinds that papers publish and people copy."""

# A table, one network a line; and code as it is found, which is not as ours is.
# ruff: noqa: E501

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.coverage.constructs import SEQUENCE, _x

_WORDS = torch.tensor([[3, 5, 1, 2, 9, 4], [4, 4, 7, 8, 2, 1]])
_KEPT = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])


class Receptance(nn.Module):
    """RWKV: time mixed by weights that fade, the largest kept out of the exponents; channels mixed with the step before."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.emb, self.ln = nn.Embedding(12, dim), nn.LayerNorm(dim)
        self.time_decay, self.time_first = nn.Parameter(_x(dim)), nn.Parameter(_x(dim))
        self.mix_k, self.mix_v, self.mix_r = (nn.Parameter(_x(1, 1, dim).sigmoid()) for _ in range(3))
        self.key, self.value, self.receptance, self.output = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.shift = nn.ZeroPad2d((0, 0, 1, -1))
        self.head = nn.Linear(dim, 12, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, ids: Any) -> Any:
        x = self.emb(ids)
        h = self.ln(x)
        past = self.shift(h)
        k = self.key(h * self.mix_k + past * (1 - self.mix_k))
        v = self.value(h * self.mix_v + past * (1 - self.mix_v))
        r = torch.sigmoid(self.receptance(h * self.mix_r + past * (1 - self.mix_r)))
        w, u = -torch.exp(self.time_decay), self.time_first
        aa, bb, pp = torch.zeros_like(k[:, 0]), torch.zeros_like(k[:, 0]), torch.full_like(k[:, 0], -1e38)
        out = torch.empty_like(v)
        for t in range(k.shape[1]):
            kk, vv = k[:, t], v[:, t]
            ww = u + kk
            qq = torch.maximum(pp, ww)
            e1, e2 = torch.exp(pp - qq), torch.exp(ww - qq)
            out[:, t] = (e1 * aa + e2 * vv) / (e1 * bb + e2)
            ww = pp + w
            qq = torch.maximum(ww, kk)
            e1, e2 = torch.exp(ww - qq), torch.exp(kk - qq)
            aa, bb, pp = e1 * aa + e2 * vv, e1 * bb + e2, qq
        return self.head(x + self.output(r * out))


class Selective(nn.Module):
    """Mamba: a causal convolution of each channel, and a scan whose steps the words choose."""

    def __init__(self, dim: int = 8, state: int = 4) -> None:
        super().__init__()
        self.in_proj, self.conv = (
            nn.Linear(dim, 4 * dim, bias=False),
            nn.Conv1d(2 * dim, 2 * dim, 4, padding=3, groups=2 * dim),
        )
        self.x_proj, self.dt_proj = nn.Linear(2 * dim, 2 + 2 * state, bias=False), nn.Linear(2, 2 * dim)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, state + 1, dtype=torch.float32).repeat(2 * dim, 1)))
        self.D, self.out = nn.Parameter(torch.ones(2 * dim)), nn.Linear(2 * dim, dim, bias=False)
        self.state = state

    def forward(self, x: Any) -> Any:
        length = x.shape[1]
        x, z = self.in_proj(x).chunk(2, dim=-1)
        x = F.silu(self.conv(x.transpose(1, 2))[:, :, :length].transpose(1, 2))
        dt, b, c = torch.split(self.x_proj(x), [2, self.state, self.state], dim=-1)
        dt = F.softplus(self.dt_proj(dt))
        a = torch.exp(torch.einsum("bld,dn->bldn", dt, -torch.exp(self.A_log.float())))
        bx = torch.einsum("bld,bln,bld->bldn", dt, b, x)
        h = x.new_zeros(x.shape[0], x.shape[2], self.state)
        ys = []
        for t in range(length):
            h = a[:, t] * h + bx[:, t]
            ys.append(torch.einsum("bdn,bn->bd", h, c[:, t]))
        return self.out((torch.stack(ys, dim=1) + x * self.D) * F.silu(z)), h


class Experts(nn.Module):
    """Experts of which a router takes the best two for each word, by torch.where and index_add_, and a loss of balance."""

    def __init__(self, dim: int = 8, experts: int = 4, k: int = 2) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, experts, bias=False)
        self.w1, self.w2 = nn.Parameter(0.3 * _x(experts, dim, 16)), nn.Parameter(0.3 * _x(experts, 16, dim))
        self.shared = nn.Sequential(nn.Linear(dim, 16), nn.SiLU(), nn.Linear(16, dim))
        self.k, self.experts = k, experts
        self.register_buffer("bias", torch.zeros(experts))

    def forward(self, x: Any) -> Any:
        shape = x.shape
        x = x.view(-1, shape[-1])
        scores = self.gate(x).softmax(dim=-1, dtype=torch.float32)
        _, index = torch.topk(scores + self.bias, self.k, dim=-1)
        weights = scores.gather(1, index)
        weights = (weights / weights.sum(-1, keepdim=True)).type_as(x)
        hot = F.one_hot(index, self.experts).to(x.dtype)
        each = torch.einsum("nd,edh->neh", x, self.w1).relu().square()
        each = torch.einsum("neh,ehd->ned", each, self.w2)
        y = torch.einsum("nk,nke,ned->nd", weights, hot, each) + self.shared(x)
        load = hot.sum(1).mean(0)
        return y.view(shape), self.experts * (load * scores.mean(0)).sum()


class Grouped(nn.Module):
    """A decoder of today: RMSNorm, rotated queries and keys, few heads of keys, a gated network, tied words."""

    def __init__(self, dim: int = 16, heads: int = 4, kv: int = 2, depth: int = 2) -> None:
        super().__init__()
        self.heads, self.kv, self.size = heads, kv, dim // heads
        self.embed = nn.Embedding(12, dim)
        self.layers = nn.ModuleList(
            nn.ModuleDict({
                "n1": nn.RMSNorm(dim, eps=1e-6), "n2": nn.RMSNorm(dim, eps=1e-6), "qn": nn.RMSNorm(self.size), "kn": nn.RMSNorm(self.size),
                "q": nn.Linear(dim, dim, bias=False), "k": nn.Linear(dim, kv * self.size, bias=False), "v": nn.Linear(dim, kv * self.size, bias=False),
                "o": nn.Linear(dim, dim, bias=False), "gate": nn.Linear(dim, 24, bias=False), "up": nn.Linear(dim, 24, bias=False), "down": nn.Linear(24, dim, bias=False),
            })
            for _ in range(depth)
        )  # fmt: skip
        inv = 1.0 / 10000 ** (torch.arange(0, self.size, 2).float() / self.size)
        self.register_buffer("inv", inv, persistent=False)

    def rotate(self, x: Any, cos: Any, sin: Any) -> Any:
        a, b = x[..., ::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)

    def forward(self, ids: Any, mask: Any) -> Any:
        b, t = ids.shape
        x = self.embed(ids) * self.embed.embedding_dim**0.5
        angle = torch.outer(torch.arange(t).float(), self.inv)
        cos, sin = angle.cos()[None, None], angle.sin()[None, None]
        causal = torch.ones(t, t, dtype=torch.bool).tril()
        see = causal[None, None] & mask[:, None, None, :]
        for layer in self.layers:
            h = layer["n1"](x)
            q = layer["qn"](layer["q"](h).view(b, t, self.heads, -1)).transpose(1, 2)
            k = layer["kn"](layer["k"](h).view(b, t, self.kv, -1)).transpose(1, 2)
            v = layer["v"](h).view(b, t, self.kv, -1).transpose(1, 2)
            q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
            k, v = (
                e[:, :, None]
                .expand(b, self.kv, self.heads // self.kv, t, self.size)
                .reshape(b, self.heads, t, self.size)
                for e in (k, v)
            )
            x = x + layer["o"](F.scaled_dot_product_attention(q, k, v, attn_mask=see).transpose(1, 2).reshape(b, t, -1))
            h = layer["n2"](x)
            x = x + layer["down"](F.silu(layer["gate"](h)) * layer["up"](h))
        return 30.0 * torch.tanh((x @ self.embed.weight.t()) / 30.0)


class Biased(nn.Module):
    """Attention with a bias of distances: T5's buckets, and ALiBi's slopes."""

    def __init__(self, dim: int = 8, heads: int = 2, buckets: int = 8, far: int = 16) -> None:
        super().__init__()
        self.table, self.qkv, self.heads, self.buckets, self.far = (
            nn.Embedding(buckets, heads),
            nn.Linear(dim, 3 * dim),
            heads,
            buckets,
            far,
        )
        self.register_buffer(
            "slopes", torch.tensor([2 ** (-8 * (h + 1) / heads) for h in range(heads)]), persistent=False
        )

    def bucket(self, relative: Any) -> Any:
        half = self.buckets // 2
        found = (relative > 0).to(torch.long) * half
        relative = torch.abs(relative)
        exact = half // 2
        large = exact + (torch.log(relative.float() / exact) / math.log(self.far / exact) * (half - exact)).to(
            torch.long
        )
        large = torch.min(large, torch.full_like(large, half - 1))
        return found + torch.where(relative < exact, relative, large)

    def forward(self, x: Any) -> Any:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        at = torch.arange(n)
        relative = at[None, :] - at[:, None]
        bias = self.table(self.bucket(relative)).permute(2, 0, 1).unsqueeze(0)
        bias = bias - relative.abs()[None] * self.slopes[:, None, None]
        scores = torch.matmul(q, k.transpose(3, 2)) + bias
        return (
            torch.matmul(F.softmax(scores.float(), dim=-1).type_as(scores), v)
            .transpose(1, 2)
            .contiguous()
            .view(b, n, -1)
        )


class Latents(nn.Module):
    """Perceiver: a few latents look at all words, one block again and again; then queries look at the latents."""

    def __init__(self) -> None:
        super().__init__()
        self.latents, self.queries = nn.Parameter(_x(3, 8)), nn.Parameter(_x(2, 8))
        self.cross = nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True)
        self.block = nn.TransformerEncoderLayer(
            8, 2, 16, dropout=0.1, activation=F.gelu, batch_first=True, norm_first=True
        )
        self.decode = nn.MultiheadAttention(8, 4, batch_first=True, add_zero_attn=True, bias=False)

    def forward(self, x: Any, kept: Any) -> Any:
        z = self.latents.unsqueeze(0).repeat(x.size(0), 1, 1)
        for _ in range(3):
            z = z + self.cross(z, x, x, key_padding_mask=~kept, need_weights=False)[0]
            z = self.block(z)
        out, weights = self.decode(self.queries.expand(x.size(0), -1, -1), z, z, average_attn_weights=False)
        return out, weights


class Translated(nn.Module):
    """Encoder and decoder with every mask that there is, and positions in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(12, 8, padding_idx=0), nn.Embedding(12, 8)
        position = torch.arange(16).unsqueeze(1) * torch.exp(torch.arange(0, 8, 2) * (-math.log(10000.0) / 8))
        table = torch.zeros(16, 1, 8)
        table[:, 0, 0::2], table[:, 0, 1::2] = torch.sin(position), torch.cos(position)
        self.register_buffer("pe", table)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, norm_first=True), 2, nn.LayerNorm(8))
        self.out = nn.Linear(8, 12)

    def forward(self, source: Any, target: Any) -> Any:
        s, t = source.transpose(0, 1), target.transpose(0, 1)
        padded = source == 0
        causal = nn.Transformer.generate_square_subsequent_mask(t.size(0))
        memory = self.encoder(self.source(s) * math.sqrt(8) + self.pe[: s.size(0)], src_key_padding_mask=padded)
        y = self.target(t) * math.sqrt(8) + self.pe[: t.size(0)]
        y = self.decoder(
            y,
            memory,
            tgt_mask=causal,
            tgt_is_causal=True,
            memory_key_padding_mask=padded,
            tgt_key_padding_mask=torch.zeros_like(target, dtype=torch.bool),
        )
        return self.out(y).permute(1, 2, 0)


class States(NamedTuple):
    hidden: Any
    cell: Any


class Listened(nn.Module):
    """Two layers of an LSTM both ways, with the states of before, then a GRU; what is returned is named."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 4, num_layers=2, bidirectional=True, dropout=0.2)
        self.gru = nn.GRU(8, 6, num_layers=2, batch_first=True, bidirectional=True, bias=False)
        self.bridge = nn.Linear(8, 6)

    def forward(self, x: Any, h: Any, c: Any) -> Any:
        out, (h, c) = self.lstm(x.transpose(0, 1), (h, c))
        first = torch.cat([h[-2], h[-1]], dim=-1)
        start = self.bridge(first).tanh().unsqueeze(0).repeat(4, 1, 1)
        again, last = self.gru(out.transpose(0, 1), start)
        return again, last.view(2, 2, -1, 6).sum(1), States(h, c)


class Pointed(nn.Module):
    """A network that points at its input, step by step, with what was taken masked (pointer networks)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.cell = nn.LSTM(8, 8, batch_first=True), nn.LSTMCell(8, 8)
        self.w1, self.w2, self.v = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False), nn.Linear(8, 1, bias=False)
        self.start = nn.Parameter(_x(8))

    def forward(self, x: Any) -> Any:
        memory, (h, c) = self.encoder(x)
        h, c = h[0], c[0]
        taken = torch.zeros(x.size(0), x.size(1), dtype=torch.bool)
        step = self.start.expand(x.size(0), -1)
        chosen, scores = [], []
        for _ in range(3):
            h, c = self.cell(step, (h, c))
            u = self.v(torch.tanh(self.w1(memory) + self.w2(h).unsqueeze(1))).squeeze(-1)
            u = u.masked_fill(taken, float("-inf"))
            p = u.log_softmax(-1)
            index = p.argmax(-1)
            taken = taken.scatter(1, index.unsqueeze(1), True)
            step = x[torch.arange(x.size(0)), index]
            chosen.append(index)
            scores.append(p)
        return torch.stack(chosen, 1), torch.stack(scores, 1).exp()


class Retained(nn.Module):
    """Retention: what is kept fades with distance, in parallel and with groups normalised (RetNet)."""

    def __init__(self, dim: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.g, self.o = (nn.Linear(dim, dim, bias=False) for _ in range(5))
        self.norm = nn.GroupNorm(heads, dim, affine=False)
        self.register_buffer("gamma", 1 - torch.exp2(-5 - torch.arange(heads, dtype=torch.float)))

    def forward(self, x: Any) -> Any:
        b, n, d = x.shape
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).movedim(-2, 1) for f in (self.q, self.k, self.v))
        at = torch.arange(n)
        decay = torch.tril(self.gamma[:, None, None] ** (at[:, None] - at[None]).clamp(min=0))
        y = ((q @ k.mT) / math.sqrt(d // self.heads) * decay) @ v
        y = self.norm(y.transpose(1, 2).reshape(b * n, d)).view(b, n, d)
        return self.o(F.silu(self.g(x)) * y)


class Sampled(nn.Module):
    """Words by hashing: many tables and one index of each (hash embeddings), characters by convolution and highways."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(7, 4) for _ in range(3))
        self.importance, self.conv = nn.Embedding(50, 3), nn.Conv1d(4, 6, 3, padding="same")
        self.highway, self.gate = nn.Linear(6, 6), nn.Linear(6, 6)
        self.register_buffer("primes", torch.tensor([31, 37, 41]))

    def forward(self, ids: Any) -> Any:
        hashed = (ids.unsqueeze(-1) * self.primes + 17) % 101 % 7
        found = torch.stack([table(hashed[..., at]) for at, table in enumerate(self.tables)], -2)
        x = (found * self.importance(ids).unsqueeze(-1)).sum(-2)
        x = self.conv(x.transpose(1, 2)).amax(-1)
        g = torch.sigmoid(self.gate(x))
        return torch.addcmul((1 - g) * x, g, torch.relu(self.highway(x)))


#: What makes a network, and an example.
WORDS: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "RWKV": (Receptance, (_WORDS,)),
    "Mamba": (Selective, (SEQUENCE,)),
    "experts of a router": (Experts, (SEQUENCE,)),
    "a decoder of grouped heads": (Grouped, (_WORDS, _KEPT)),
    "attention with a bias of distances": (Biased, (SEQUENCE,)),
    "a Perceiver": (Latents, (_x(2, 6, 6), _KEPT)),
    "encoder and decoder with all masks": (Translated, (torch.tensor([[3, 5, 1, 2, 0, 0], [4, 4, 7, 8, 9, 1]]), _WORDS[:, :4])),
    "an LSTM and a GRU with their states": (Listened, (SEQUENCE, _x(4, 2, 4), _x(4, 2, 4) * 2)),
    "a pointer network": (Pointed, (SEQUENCE,)),
    "retention": (Retained, (SEQUENCE,)),
    "words by hashing": (Sampled, (_WORDS + 30,)),
}  # fmt: skip
