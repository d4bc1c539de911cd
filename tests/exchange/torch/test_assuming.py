"""Forwards that ask, expert by expert, whether any row is chosen: read where that makes no difference."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import ConversionError
from modelarchive.exchange.torch import read_module

torch = pytest.importorskip("torch")

EXPERTS = 4


class Mixture(torch.nn.Module):
    def __init__(self, add):
        super().__init__()
        self.gate, self.add = torch.nn.Linear(4, EXPERTS), add
        self.experts = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(EXPERTS))

    def forward(self, x):
        rows = x.reshape(-1, 4)
        weight, chosen = self.gate(rows).softmax(-1).topk(2)
        found = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            found = self.add(found, rows, chosen == number, weight, expert)
        return found.view(x.shape)


def by_any(found, rows, mask, weight, expert):
    if mask.any():
        row, which = torch.where(mask)
        found = found.index_add(0, row, expert(rows[row]) * weight[row, which, None])
    return found


def by_number(found, rows, mask, weight, expert):
    row = mask.any(-1).nonzero().squeeze(-1)
    if row.numel() == 0:
        return found
    found[row] += expert(rows[row]) * (weight * mask).sum(-1)[row].unsqueeze(-1)
    return found


def by_size(found, rows, mask, weight, expert):
    kept = mask.any(-1)
    inside = rows[kept]
    if inside.shape[0] > 0:
        found[kept] = found[kept] + expert(inside) * (weight * mask).sum(-1)[kept][:, None]
    return found


def other_without(found, rows, mask, weight, expert):
    return by_any(found, rows, mask, weight, expert) if mask.any() else found + 1


def scaled_with(found, rows, mask, weight, expert):
    return by_any(found * 0.5, rows, mask, weight, expert) if mask.any() else found


@pytest.mark.parametrize("add", [by_any, by_number, by_size])
def test_experts_that_are_passed_over_without_rows(add, tmp_path):
    torch.manual_seed(0)
    module = Mixture(add).eval()
    assert ma.save_model(tmp_path / "net.h5", module, inputs=torch.randn(3, 6, 4)) == []
    net = ma.load_model(tmp_path / "net.h5")
    for batch in (1, 2, 5):
        for x in (torch.randn(batch, 6, 4), torch.randn(1, 1, 4).expand(batch, 6, 4).contiguous()):
            np.testing.assert_allclose(net(x.numpy()), module(x).detach().numpy(), atol=1e-5)


class OneByOne(Mixture):
    """Goes through those experts alone that are chosen, as transformers does."""

    def __init__(self, way, add=0.0):
        super().__init__(None)
        self.way, self.more = way, add

    def forward(self, x):
        rows = x.reshape(-1, 4)
        weight, chosen = self.gate(rows).softmax(-1).topk(2)
        found = torch.zeros_like(rows)
        mask = torch.nn.functional.one_hot(chosen, EXPERTS).permute(2, 1, 0)
        hit = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
        for each in hit.squeeze(-1).tolist() if self.way == "listed" else hit:
            number = each if self.way == "listed" else each[0]
            if number == EXPERTS:
                continue
            which, row = torch.where(mask[each].squeeze(0))
            if self.way == "asked" and row.numel() == 0:
                continue
            result = self.experts[number](rows[row]) * weight[row, which, None]
            found = found.index_add(0, row, result) + self.more
        return found.view(x.shape)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["each", "asked", "listed"])
def test_experts_that_are_gone_through_one_by_one(way, tmp_path):
    torch.manual_seed(0)
    module = OneByOne(way).eval()
    assert ma.save_model(tmp_path / "net.h5", module, inputs=torch.randn(3, 6, 4)) == []
    net = ma.load_model(tmp_path / "net.h5")
    for x in (torch.randn(4, 6, 4), torch.randn(1, 1, 4).expand(2, 6, 4).contiguous()):
        np.testing.assert_allclose(net(x.numpy()), module(x).detach().numpy(), atol=1e-5)


@pytest.mark.slow
def test_a_loop_that_does_something_else_for_those_that_are_not_chosen_is_refused():
    torch.manual_seed(0)
    with pytest.raises(ConversionError, match="was not seen to do the same"):
        read_module(OneByOne("each", 1.0).eval(), torch.randn(3, 6, 4))


@pytest.mark.parametrize("add", [other_without, scaled_with])
def test_a_forward_that_does_something_else_without_rows_is_refused(add, tmp_path):
    torch.manual_seed(0)
    with pytest.raises(ConversionError, match=r"differs from the module's|was not seen to do the same|in more than"):
        ma.save_model(tmp_path / "net.h5", Mixture(add), inputs=torch.randn(3, 6, 4))
    assert not list(tmp_path.iterdir())


def test_what_is_never_seen_without_rows_is_refused(tmp_path):
    def always(found, rows, mask, weight, expert):
        mask = mask | (rows[:, :1] > -1e9)
        return by_any(found, rows, mask, weight, expert) if mask.any() else found + 1

    with pytest.raises(ConversionError, match="was not seen to do the same"):
        ma.save_model(tmp_path / "net.h5", Mixture(always), inputs=torch.randn(3, 6, 4))
