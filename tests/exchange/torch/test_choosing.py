"""Rows that truths choose: computed for all, and left out where they are put, added or summed."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import ConversionError

torch = pytest.importorskip("torch")
functional = torch.nn.functional


class Experts(torch.nn.Module):
    """A mixture of three experts, two of which each row is sent to."""

    def __init__(self, mix):
        super().__init__()
        self.gate = torch.nn.Linear(4, 3)
        self.experts = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.SiLU(), torch.nn.Linear(6, 4)) for _ in range(3)
        )
        self.mix = mix

    def forward(self, x):
        rows = x.reshape(-1, 4)
        weights, chosen = self.gate(rows).softmax(-1).topk(2)
        return self.mix(rows, weights, chosen, self.experts).view(x.shape)


def by_where(x, weights, chosen, experts):
    found = torch.zeros_like(x)
    masks = functional.one_hot(chosen, 3).permute(2, 1, 0)
    for number, expert in enumerate(experts):
        which, row = torch.where(masks[number])
        found.index_add_(0, row, expert(x[None, row].reshape(-1, 4)) * weights[row, which, None])
    return found


def by_assignment(x, weights, chosen, experts):
    found = torch.zeros_like(x)
    for number, expert in enumerate(experts):
        row, which = torch.where(chosen == number)
        found[row] += weights[row, which, None] * expert(x[row])
    return found


def by_truths(x, weights, chosen, experts):
    found = torch.zeros_like(x)
    for number, expert in enumerate(experts):
        mask = (chosen == number).any(-1)
        weight = (weights * (chosen == number)).sum(-1)
        found[mask] += expert(x[mask]) * weight[mask].unsqueeze(-1)
    return found


def by_nonzero(x, weights, chosen, experts):
    found = torch.zeros_like(x)
    for number, expert in enumerate(experts):
        place = (chosen == number).nonzero()
        row = place[:, 0]
        found = found.index_add(0, row, expert(x.index_select(0, row)) * weights[row, place[:, 1]].unsqueeze(1))
    return found


def by_scattering(x, weights, chosen, experts):
    found = torch.zeros_like(x)
    for number, expert in enumerate(experts):
        row = torch.nonzero((chosen == number).any(-1)).flatten()
        weight = (weights * (chosen == number)).sum(-1, keepdim=True)
        found = found.scatter_add(0, row[:, None].expand(-1, 4), expert(x[row]) * weight[row])
    return found


def _of(function):
    class Of(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, x):
            return function(x, self.layer)

    return Of()


def replaced(x, layer):
    y = x.clone()
    mask = x.sum(-1) > 0
    y[mask] = layer(x[mask])
    return y


def masked_scatter(x, layer):
    mask = (x[..., :1] > 0).expand_as(x)
    return x.masked_scatter(mask, layer(x)[mask].exp())


def by_two_masks(x, layer):
    mask = x[..., 0] > 0
    y = x.masked_scatter(mask.unsqueeze(-1), layer(x[mask]))
    return y.masked_scatter(~mask.unsqueeze(-1).expand(-1, -1, 4), layer(y[~mask]).tanh())


def pooled(x, layer):
    mask = x[..., 0] > 0
    return layer(x[mask]).sum(0), layer(x[mask]).mean(0, keepdim=True), x[mask].mean()


def selected(x, layer):
    return x.masked_select(x > 0).square().sum()


def filled(x, layer):
    y = layer(x)
    row, column = torch.where(x[..., 0] < 0)
    y[row, column] = 7.0
    return y


NETWORKS = {
    **{each.__name__: Experts(each) for each in (by_where, by_assignment, by_truths, by_nonzero, by_scattering)},
    **{each.__name__: _of(each) for each in (replaced, masked_scatter, by_two_masks, pooled, selected, filled)},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_that_truths_choose(name, tmp_path):
    module = NETWORKS[name].eval()
    generator = torch.Generator().manual_seed(1)
    assert ma.save_model(tmp_path / "net.h5", module, inputs=torch.randn(3, 5, 4, generator=generator)) == []
    net = ma.load_model(tmp_path / "net.h5")
    built = ma.load_model(tmp_path / "net.h5", backend="torch")
    for batch, scale in ((1, 1.0), (4, 1.0), (7, -1.0), (2, 0.0)):
        x = torch.randn(batch, 5, 4, generator=generator) * scale
        if scale < 0:
            x = -x.abs()  # nothing is chosen by its sign
        with np.errstate(invalid="ignore"):
            found = net(x.numpy())
        for one, other, rebuilt in zip(*map(_row, (found, module(x), built(x))), strict=True):
            np.testing.assert_allclose(one, other.detach().numpy(), atol=1e-5)
            np.testing.assert_allclose(rebuilt.detach().numpy(), other.detach().numpy(), atol=1e-5)
    built.load_state_dict(module.state_dict(), strict=True)


def _row(value):
    return list(value) if isinstance(value, tuple) else [value]


def test_edges_that_a_mask_leaves_are_summed(tmp_path):
    """What graph libraries do: loops are taken out, and others put in, before edges are summed."""

    class Convolution(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)

        def forward(self, x, edges):
            edges = edges[:, edges[0] != edges[1]]
            loops = torch.arange(x.shape[0])
            source, target = torch.cat([edges, torch.stack([loops, loops])], dim=1)
            ones = torch.ones(source.shape[0])
            degree = ones.new_zeros(x.shape[0]).scatter_add(0, target, ones)
            scale = degree.pow(-0.5)
            rows = self.layer(x)[source] * (scale[source] * scale[target]).unsqueeze(-1)
            return torch.zeros(x.shape[0], 3).index_add(0, target, rows)

    module = Convolution().eval()
    declared = ({"shape": ["nodes", 4]}, {"shape": [2, "edges"], "dtype": "int64"})
    ma.save_model(tmp_path / "net.h5", module, inputs=declared)
    net = ma.load_model(tmp_path / "net.h5")
    for nodes, edges in ((5, 9), (8, 3), (3, 40)):
        x, pairs = torch.randn(nodes, 4), torch.randint(nodes, (2, edges))
        np.testing.assert_allclose(net(x.numpy(), pairs.numpy()), module(x, pairs).detach().numpy(), atol=1e-5)


def test_tables_of_ranges_of_words(tmp_path):
    """Places that are computed may lie outside of a table, of rows that are not there."""

    class Ranges(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.tables = torch.nn.ModuleList([torch.nn.Embedding(4, 8), torch.nn.Embedding(6, 4)])
            self.widths = torch.nn.ParameterList([torch.randn(8, 8), torch.randn(8, 4)])

        def forward(self, words):
            flat = words.reshape(-1)
            found = torch.zeros(flat.size(0), 8)
            for number, (low, high) in enumerate(((0, 4), (4, 10))):
                place = ((flat >= low) & (flat < high)).nonzero().squeeze()
                if place.numel() == 0:
                    continue
                rows = self.tables[number](flat.index_select(0, place) - low)
                found.index_copy_(0, place, functional.linear(rows, self.widths[number]))
            return found.view(*words.shape, 8)

    module = Ranges().eval()
    ma.save_model(tmp_path / "net.h5", module, inputs=torch.arange(12).view(2, 6) % 10)
    net = ma.load_model(tmp_path / "net.h5")
    for batch, most in ((1, 10), (5, 10), (3, 4)):
        words = torch.randint(most, (batch, 6))
        np.testing.assert_allclose(net(words.numpy()), module(words).detach().numpy(), atol=1e-5)


ASSIGNED = {
    "a row for all": lambda x, rows: rows[0],
    "each its own": lambda x, rows: rows,
    "one number": lambda x, rows: 2.0,
    "one row": lambda x, rows: rows[:1],
}


@pytest.mark.parametrize("name", ASSIGNED)
def test_what_is_assigned_where_something_is_true(name, tmp_path):
    class Assigned(torch.nn.Module):
        def forward(self, x, ids, rows):
            y = x * 2
            y[ids == 1] = ASSIGNED[name](x, rows)
            return y

    def example(batch):
        ids = torch.tensor([[1, 0, 1], [0, 1, 1]])[torch.randint(2, (batch,))]
        return torch.randn(batch, 3, 4), ids, torch.randn(2 * batch, 4)

    ma.save_model(tmp_path / "net.h5", Assigned(), inputs=example(3))
    net = ma.load_model(tmp_path / "net.h5")
    given = example(3)
    np.testing.assert_allclose(net(*(each.numpy() for each in given)), Assigned()(*given).numpy(), atol=1e-6)


def spline(x, wide):
    """As flows of rational splines have it: of elements within bounds, each of which has bins of its own."""
    mask, found = (x >= -2) & (x <= 2), torch.zeros_like(x)
    found[~mask] = x[~mask]
    inside, bins = x[mask], functional.pad(wide[mask, :].softmax(-1).cumsum(-1), (1, 0)) * 4 - 2
    if torch.min(inside) < -2 or torch.max(inside) > 2:
        raise ValueError
    bins[..., 0], bins[..., -1] = -2.0, 2.0
    bins[..., -1] += 1e-6
    place = (torch.sum(inside[..., None] >= bins, dim=-1) - 1)[..., None]
    low, widths = bins.gather(-1, place)[..., 0], bins[..., 1:] - bins[..., :-1]
    found[mask] = (inside - low) / widths.gather(-1, place)[..., 0]
    return found


def elements(x, wide):
    rows = torch.stack([wide.floor(), wide % 1.5, wide.round()], -1).sum(-1)
    rows = torch.cat([rows, x[:, None] / 3, torch.atan2(x, x + 1)[:, None]], -1).repeat(1, 2)
    return rows.sum(-1) + torch.lgamma(x.abs() + 1) + torch.erfinv(x.tanh() * 0.9)


def places(x, wide):
    at = (x > 0).long()[:, None]
    rows = (
        wide.scatter(-1, at, 3.0) + wide.scatter_add(-1, at, x[:, None]) + wide.index_fill(-1, torch.tensor([1]), 2.0)
    )
    rows = rows + torch.select_scatter(wide, x, -1, 2) + torch.slice_scatter(wide, x[:, None], -1, 1, 2)
    return rows.sum(-1) + torch.bucketize(x, torch.tensor([-0.5, 0.5])) + wide.new_ones(wide.shape[0])


def sums(x, wide):
    found = (
        torch.einsum("ni,i->n", wide, torch.arange(5.0)) + torch.addmm(torch.ones(1, 2), wide, torch.ones(5, 2))[:, 0]
    )
    found = (
        found
        + functional.cosine_similarity(wide, wide * 2 + 1, dim=-1)
        + wide.norm(dim=-1)
        + torch.var_mean(wide, -1)[0]
    )
    found = found + functional.max_pool1d(wide[:, None], 2)[:, 0].sum(-1) + wide.median(-1)[0]
    return (
        found
        + (wide[..., None] * torch.ones(5)).tril().sum((-1, -2))
        + functional.prelu(wide, torch.tensor([0.1]))[:, 0]
    )


def of_elements(function):
    def run(x, wide):
        mask, found = x.abs() < 1, torch.zeros_like(x)
        found[mask] = function(x[mask], wide[mask, :])
        return found

    return run


ELEMENTS = {"spline": spline} | {each.__name__: of_elements(each) for each in (elements, places, sums)}


@pytest.mark.parametrize("name", ELEMENTS)
def test_what_is_computed_of_each_chosen_element(name, tmp_path):
    class Of(torch.nn.Module):
        def forward(self, x, wide):
            return ELEMENTS[name](x, wide)

    ma.save_model(tmp_path / "net.h5", Of(), inputs=(torch.randn(4, 3), torch.randn(4, 3, 5)))
    net = ma.load_model(tmp_path / "net.h5")
    for batch in (4, 7):
        given = torch.randn(batch, 3), torch.randn(batch, 3, 5)
        found = net(*(each.numpy() for each in given))
        np.testing.assert_allclose(found, Of()(*given).numpy(), rtol=1e-5, atol=1e-5)


MIXED = {
    "the rows are returned": lambda x, layer: layer(x[x[..., 0] > 0]),
    "softmax over them": lambda x, layer: x[x[..., 0] > 0].softmax(0).sum(),
    "their number": lambda x, layer: layer(x) / x[x[..., 0] > 0].shape[0],
    "a product over them": lambda x, layer: (lambda rows: rows.T @ rows)(x[x[..., 0] > 0]),
    "in order": lambda x, layer: x[x > 0].sort().values.sum(),
    "each with the next": lambda x, layer: x[x[..., 0] > 0].diff(dim=0).sum(),
    "counted up": lambda x, layer: x[x > 0].cumsum(0).sum(),
    "another mask": lambda x, layer: x.clone().masked_scatter(x > 1, x[x > 0]),
}


@pytest.mark.parametrize("name", MIXED)
def test_rows_that_depend_on_each_other_are_refused(name, tmp_path):
    with pytest.raises(ConversionError, match=r"depends on (the )?values"):
        ma.save_model(tmp_path / "net.h5", _of(MIXED[name]), inputs=torch.randn(3, 5, 4))


MASKS = {
    "of an axis": lambda x: x[:, torch.tensor([True, False, True, False])],
    "in the middle": lambda x: x[:, torch.tensor([True, False, True])] + 1,
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_that_the_code_says_chooses_as_many_each_time(name, tmp_path):
    class Masked(torch.nn.Module):
        def forward(self, x):
            return MASKS[name](x * 2)

    x = torch.randn((2, 4) if name == "of an axis" else (2, 3, 4))
    ma.save_model(tmp_path / "net.h5", Masked(), inputs=x)
    x = torch.cat([x, x + 1])
    np.testing.assert_array_equal(ma.load_model(tmp_path / "net.h5")(x.numpy()), Masked()(x).numpy())
