"""Regions of programs, and functions that are said by others: as PyTorch itself computes them, for any batch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch._higher_order_ops.scan import scan  # noqa: E402
from torch.nn.attention.flex_attention import create_block_mask, flex_attention  # noqa: E402

from modelarchive.exchange.torch import build_module, read_module  # noqa: E402

X = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))


class Of(torch.nn.Module):
    """A function of a layer and what it is given."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = torch.nn.Linear(8, 8), function

    def forward(self, *inputs):
        return self.function(self.layer, *inputs)


def _both_ways(layer, x):
    return torch.cond(x.sum() > 0, lambda y: (y * 2, y.mean()), lambda y: (y - 1, y.amax()), (layer(x),))


def _steps(layer, x):
    start = torch.zeros(x.shape[0], 8)
    return scan(lambda state, y: (state * 0.5 + y, state + y), start, layer(x).movedim(1, 0), dim=0)


def _heads(x):
    return x.unflatten(-1, (2, 4)).transpose(1, 2)


def _later(score, batch, head, query, key):
    return torch.where(query >= key, score - 0.1 * head, -torch.inf)


MASK = create_block_mask(lambda b, h, q, k: (q >= k) & (q - k < 3), None, None, 6, 6, device="cpu")
FUNCTIONS = {
    "cond": (_both_ways, (X,)),
    "cond by names": (
        lambda layer, x: torch.cond(pred=x.sum() > 0, true_fn=torch.sin, false_fn=torch.cos, operands=(layer(x),)), (X,)
    ),
    "scan": (_steps, (X,)),
    "flex_attention": (lambda layer, x: flex_attention(_heads(layer(x)), _heads(x), _heads(x), score_mod=_later), (X,)),
    "flex_attention of windows": (
        lambda layer, x: flex_attention(_heads(layer(x)), _heads(x), _heads(x), block_mask=MASK), (X,)
    ),
    "take_along_dim": (lambda layer, x: torch.take_along_dim(layer(x), x.argsort(-1), dim=-1), (X[:, 0],)),
    "take_along_dim of one": (lambda layer, x: layer(x).take_along_dim(x[:, :1].argsort(-1), 1), (X[:, 0],)),
    "kron": (lambda layer, x: torch.kron(layer(x), torch.ones(1, 2)), (X[:, 0],)),
    "cov": (lambda layer, x: torch.cov(layer(x).T), (X[:, 0],)),
    "corrcoef": (lambda layer, x: torch.corrcoef(layer(x).flatten(0, 1)), (X,)),
    "a place": (lambda layer, x, t: layer(x) + torch.arange(8.0)[t], (X[:, 0], torch.tensor(3))),
    "the place of the largest": (lambda layer, x: x[:, layer(x)[0].argmax()], (X[:, 0],)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_read_as_it_computes_for_any_batch(name):
    function, given = FUNCTIONS[name]
    module = Of(function).eval()
    bundle = read_module(module, given)
    network, built = bundle.build(), build_module(bundle)
    for batch in (2, 1, 5):
        inputs = [torch.randn(batch, *each.shape[1:]) if each.ndim else each - batch for each in given]
        with torch.no_grad():
            wanted = module(*inputs)
            rebuilt = built(*inputs)
        found = network(*(each.numpy() for each in inputs))
        several = [wanted] if isinstance(wanted, torch.Tensor) else wanted
        pairs = zip(
            several,
            found if isinstance(found, tuple | list) else [found],
            rebuilt if isinstance(rebuilt, tuple | list) else [rebuilt],
            strict=True,
        )
        for theirs, ours, again in pairs:
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=2e-5)
            np.testing.assert_allclose(again.numpy(), theirs.numpy(), rtol=0, atol=2e-5)
