"""Networks that choose rows by values: mixtures that loop over experts, tokens of images in texts, parts of words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.coverage.constructs import SEQUENCE, _x


class Mixture(nn.Module):
    """A layer of experts, two for each token, as repositories spell it: `way` says which repository's loop."""

    def __init__(self, way: str, number: int = 6) -> None:
        super().__init__()
        self.gate = nn.Linear(8, number, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 12), nn.SiLU(), nn.Linear(12, 8)) for _ in range(number)
        )
        self.norm = nn.RMSNorm(8)
        self.loop = getattr(self, way)

    def forward(self, x: Any) -> Any:
        rows = self.norm(x).reshape(-1, 8)
        weights, chosen = torch.topk(F.softmax(self.gate(rows), -1, dtype=torch.float), 2, -1)
        weights = (weights / weights.sum(-1, keepdim=True)).to(rows.dtype)
        return x + self.loop(rows, weights, chosen).reshape(x.shape)

    def by_masks_of_experts(self, rows: Any, weights: Any, chosen: Any) -> Any:
        found = torch.zeros_like(rows)
        masks = F.one_hot(chosen, num_classes=len(self.experts)).permute(2, 1, 0)
        for number, expert in enumerate(self.experts):
            which, row = torch.where(masks[number])
            found.index_add_(0, row, expert(rows[None, row].reshape(-1, 8)) * weights[row, which, None])
        return found

    def by_assignment(self, rows: Any, weights: Any, chosen: Any) -> Any:
        found = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            row, which = torch.where(chosen == number)
            found[row] += weights[row, which, None] * expert(rows[row])
        return found

    def where_any(self, rows: Any, weights: Any, chosen: Any) -> Any:
        found = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            mask = (chosen == number).any(dim=-1)
            if mask.any():
                own = (weights * (chosen == number)).sum(-1)[mask]
                found[mask] += expert(rows[mask]) * own.unsqueeze(-1)
        return found

    def unless_none(self, rows: Any, weights: Any, chosen: Any) -> Any:
        found = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            row, which = (chosen == number).nonzero(as_tuple=True)
            if row.numel() == 0:
                continue
            found = found.index_add(0, row, expert(rows[row]) * weights[row, which].unsqueeze(-1))
        return found


class Pictured(nn.Module):
    """A language model whose texts have places for pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.tower = nn.Embedding(9, 8), nn.Linear(6, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, words: Any, pictures: Any) -> Any:
        x = self.words(words)
        x[words == 1] = self.tower(pictures).reshape(-1, 8).to(x.dtype)
        return self.layer(x)


class Masked(nn.Module):
    """A masked autoencoder that puts one token at all places that are hidden, and pools those that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.layer = nn.Parameter(_x(8)), nn.Linear(8, 8)

    def forward(self, x: Any, hidden: Any) -> Any:
        y = self.layer(x)
        y[hidden] = self.token
        return y, self.layer(x[~hidden]).mean(0)


_WORDS = torch.tensor([[1, 2, 1, 3, 4], [5, 1, 1, 6, 7], [8, 2, 3, 1, 1]])
_HIDDEN = torch.tensor([[True, False] * 3, [False, True] * 3])
MIXTURES: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "experts by their masks": (lambda: Mixture("by_masks_of_experts"), (SEQUENCE,)),
    "experts by assignment": (lambda: Mixture("by_assignment"), (SEQUENCE,)),
    "experts where any row is": (lambda: Mixture("where_any"), (SEQUENCE,)),
    "experts unless there is none": (lambda: Mixture("unless_none"), (SEQUENCE,)),
    "pictures in texts": (Pictured, (_WORDS, _x(3, 2, 6))),
    "hidden places": (Masked, (_x(2, 6, 8), _HIDDEN)),
}
