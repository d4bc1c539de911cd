"""Recurrences, packed sequences, decoding and bags of words as people write them."""

# A table, one block a line; and code as it is found, which is not as ours is.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.coverage.constructs import SEQUENCE, Module, X, _x

_MASK = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
_LENGTHS = torch.tensor([6, 4])
_WORDS = torch.tensor([[3, 5, 1, 2, 0, 0], [4, 4, 7, 8, 9, 1]])


class Decoding(nn.Module):
    """A GRU cell in a loop that feeds its own words back."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell, self.out = nn.Embedding(12, 8), nn.GRUCell(8, 8), nn.Linear(8, 12)

    def forward(self, h: Any) -> Any:
        word = torch.zeros(h.size(0), dtype=torch.long, device=h.device)
        logits = []
        for _ in range(4):
            h = self.cell(self.embed(word), h)
            logits.append(self.out(h))
            word = logits[-1].argmax(-1)
        return torch.stack(logits, 1)


class Attending(nn.Module):
    """Additive attention over an encoder, step by step (Bahdanau)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(8, 6, batch_first=True, bidirectional=True)
        self.w, self.u, self.v = nn.Linear(12, 10), nn.Linear(12, 10, bias=False), nn.Linear(10, 1)
        self.cell = nn.LSTMCell(12, 12)

    def forward(self, x: Any, mask: Any) -> Any:
        memory, _ = self.encoder(x)
        h = memory.new_zeros(x.shape[0], 12)
        c = torch.zeros_like(h)
        found = []
        for _ in range(3):
            score = self.v(torch.tanh(self.w(memory) + self.u(h).unsqueeze(1))).squeeze(-1)
            share = score.masked_fill(~mask, float("-inf")).softmax(-1)
            h, c = self.cell(torch.bmm(share.unsqueeze(1), memory).squeeze(1), (h, c))
            found.append(h)
        return torch.stack(found, dim=1), share


class Tagger(nn.Module):
    """Embeddings, a packed LSTM of two directions, and a mean over what is there."""

    def __init__(self, *, enforce_sorted: bool = False, total: bool = True, rnn: Any = nn.LSTM) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8, padding_idx=0)
        self.rnn = rnn(8, 5, 2, batch_first=True, bidirectional=True)
        self.out, self.sorted, self.total = nn.Linear(10, 4), enforce_sorted, total

    def forward(self, words: Any, lengths: Any) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(words), lengths, batch_first=True, enforce_sorted=self.sorted
        )
        found, _ = self.rnn(packed)
        found, _ = nn.utils.rnn.pad_packed_sequence(
            found, batch_first=True, total_length=words.shape[1] if self.total else None
        )
        return self.out(found)


class LastState(nn.Module):
    """The last states of a packed GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 5, batch_first=True, bidirectional=True)

    def forward(self, x: Any, lengths: Any) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, state = self.rnn(packed)
        return torch.cat([state[0], state[1]], -1)


class Scan(nn.Module):
    """A selective state space, step by step (Mamba)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 4, groups=8, padding=3)
        self.x_proj, self.dt_proj = nn.Linear(8, 2 + 4 + 4), nn.Linear(2, 8)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, 5.0)).repeat(8, 1))
        self.D = nn.Parameter(torch.ones(8))

    def forward(self, x: Any) -> Any:
        length = x.shape[1]
        x = F.silu(self.conv(x.transpose(1, 2))[..., :length].transpose(1, 2))
        dt, b, c = torch.split(self.x_proj(x), [2, 4, 4], dim=-1)
        dt = F.softplus(self.dt_proj(dt))
        a = torch.exp(dt.unsqueeze(-1) * -torch.exp(self.A_log))
        bx = dt.unsqueeze(-1) * b.unsqueeze(2) * x.unsqueeze(-1)
        state, ys = torch.zeros_like(bx[:, 0]), []
        for at in range(length):
            state = a[:, at] * state + bx[:, at]
            ys.append((state * c[:, at].unsqueeze(1)).sum(-1))
        return torch.stack(ys, 1) + x * self.D


class Causal(nn.Module):
    """Dilated causal convolutions with gates (WaveNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 12, 2, dilation=2**at)) for at in range(3)
        )
        self.skips = nn.ModuleList(nn.Conv1d(6, 6, 1) for _ in range(3))

    def forward(self, x: Any) -> Any:
        total = 0
        for at, (conv, skip) in enumerate(zip(self.convs, self.skips, strict=True)):
            one, two = conv(F.pad(x, (2**at, 0))).chunk(2, 1)
            gated = torch.tanh(one) * torch.sigmoid(two)
            total = total + skip(gated)
            x = x + gated
        return total


class Pointer(nn.Module):
    """Words copied from the text (pointer generator)."""

    def __init__(self) -> None:
        super().__init__()
        self.vocabulary, self.attend, self.gate = nn.Linear(8, 12), nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, x: Any, words: Any) -> Any:
        share = self.attend(x).squeeze(-1).masked_fill(words == 0, -1e9).softmax(-1)
        p, g = self.vocabulary(x.mean(1)).softmax(-1), torch.sigmoid(self.gate(x.mean(1)))
        return torch.log((p * g).scatter_add(1, words, share * (1 - g)) + 1e-12)


class Conditional(nn.Module):
    """A conditional random field: scores of all ways, forward in log space."""

    def __init__(self) -> None:
        super().__init__()
        self.emit, self.moves, self.start = nn.Linear(8, 4), nn.Parameter(_x(4, 4)), nn.Parameter(_x(4))

    def forward(self, x: Any, mask: Any) -> Any:
        emissions = self.emit(x)
        score = self.start + emissions[:, 0]
        best, history = score, []
        for at in range(1, x.shape[1]):
            after = torch.logsumexp(score.unsqueeze(2) + self.moves + emissions[:, at].unsqueeze(1), dim=1)
            score = torch.where(mask[:, at].unsqueeze(1), after, score)
            most, place = (best.unsqueeze(2) + self.moves).max(1)
            best = torch.where(mask[:, at, None], most + emissions[:, at], best)
            history.append(place)
        path = [best.argmax(1)]
        for place in reversed(history):
            path.append(place.gather(1, path[-1].unsqueeze(1)).squeeze(1))
        return torch.logsumexp(score, 1), torch.stack(path[::-1], 1)


class Highway(nn.Module):
    """Characters to words: convolutions of several widths, the largest, and highways (CharCNN)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 4)
        self.convs = nn.ModuleList([nn.Conv1d(4, 3, k) for k in (2, 3)])
        self.gate, self.layer = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, words: Any) -> Any:
        x = self.embed(words).transpose(1, 2)
        x = torch.cat([F.max_pool1d(c(x).relu(), c(x).shape[-1]).squeeze(-1) for c in self.convs], 1)
        g = torch.sigmoid(self.gate(x))
        return g * F.relu(self.layer(x)) + (1 - g) * x


def _gathered(batch: Any, x: Any) -> Any:
    return x[torch.arange(x.shape[0]), batch]


#: What makes a network, and an example.
SEQUENCES: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "greedy decoding": (Decoding, (X,)),
    "additive attention": (Attending, (SEQUENCE, _MASK)),
    "a packed tagger": (Tagger, (_WORDS, _LENGTHS)),
    "a packed tagger of GRUs": (lambda: Tagger(rnn=nn.GRU), (_WORDS, _LENGTHS)),
    "a packed tagger, sorted": (lambda: Tagger(enforce_sorted=True), (_WORDS, _LENGTHS)),
    "a packed tagger of the longest": (lambda: Tagger(total=False), (_WORDS, _LENGTHS)),
    "last states of what is packed": (LastState, (SEQUENCE, torch.tensor([4, 6]))),
    "a selective scan": (Scan, (SEQUENCE,)),
    "WaveNet": (Causal, (SEQUENCE.transpose(1, 2)[:, :6],)),
    "words copied": (Pointer, (SEQUENCE, _WORDS)),
    "a conditional random field": (Conditional, (SEQUENCE, _MASK)),
    "characters and highways": (Highway, (_WORDS,)),
    "chosen rows of a batch": (lambda: Module(lambda self, x, i: _gathered(i, self.l(x)), l=nn.Linear(8, 4)), (SEQUENCE, torch.tensor([2, 5]))),
    "the last word that is there": (lambda: Module(lambda self, x, m: self.l(x)[torch.arange(x.size(0)), m.long().sum(1) - 1], l=nn.Linear(8, 4)), (SEQUENCE, _MASK)),
    "EmbeddingBag with offsets": (lambda: Module(lambda self, i, o: self.e(i, o), e=nn.EmbeddingBag(12, 4, mode="sum")), (torch.tensor([1, 2, 4, 5, 4, 3]), torch.tensor([0, 4]))),
    "EmbeddingBag with a mask": (lambda: Module(lambda self, i: self.e(i), e=nn.EmbeddingBag(12, 4, mode="mean", padding_idx=0)), (_WORDS,)),
    "EmbeddingBag of the largest": (lambda: Module(lambda self, i, o: self.e(i, o), e=nn.EmbeddingBag(12, 4, mode="max", padding_idx=0, include_last_offset=True)), (torch.tensor([1, 0, 4, 0, 0, 3]), torch.tensor([0, 3, 3, 5, 6]))),
    "EmbeddingBag with weights": (lambda: Module(lambda self, i, w: self.e(i, per_sample_weights=w), e=nn.EmbeddingBag(12, 4, mode="sum")), (_WORDS, _x(2, 6))),
    "LSTM with projections": (lambda: nn.LSTM(8, 6, 2, proj_size=3, batch_first=True), (SEQUENCE,)),
    "LSTM with projections, both ways": (lambda: nn.LSTM(8, 6, 1, proj_size=3, bidirectional=True, bias=False), (SEQUENCE,)),
    "weight norm of LSTM": (lambda: Module(lambda self, x: self.r(x)[0], r=nn.utils.parametrizations.weight_norm(nn.LSTM(8, 4, batch_first=True), "weight_hh_l0")), (SEQUENCE,)),
}  # fmt: skip
