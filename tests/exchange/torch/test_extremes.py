"""Numbers at the ends: sums that narrow floats cannot hold, infinities, and what is no number."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from modelarchive.exchange.torch import read_module  # noqa: E402
from tests.exchange.torch.test_free_axes import Of  # noqa: E402

EXTREME = torch.tensor(
    [[0.0, -0.0, math.inf, -math.inf, math.nan, 1e30, 1e-30, -2.5], [0.5, 1, 3.5, -0.5, -3, 9, 1e10, -1e10]]
)
LARGE = (torch.randn(3, 8, generator=torch.Generator().manual_seed(0)) * 300).half()

FUNCTIONS = {
    "a norm": lambda x: x.norm(dim=-1),
    "a norm of order 3": lambda x: torch.linalg.vector_norm(x, 3, dim=-1),
    "a deviation": lambda x: (x * 4).std(-1),
    "a variance and a mean": lambda x: torch.var_mean(x / 16, -1),
    "cosines": lambda x: F.cosine_similarity(x, x.flip(-1), dim=-1),
    "distances": lambda x: F.pairwise_distance(x, x.flip(-1)),
    "shortened": lambda x: torch.renorm(x, 2, 0, 5.0),
    "of unit length": lambda x: F.normalize(x, dim=-1),
    "places among boundaries": lambda x: torch.bucketize(x, torch.tensor([-1.0, 0, 1]).to(x.dtype)),
    "places behind equals": lambda x: torch.searchsorted(torch.tensor([-1.0, 0, 1]).to(x.dtype), x, right=True),
    **{name: getattr(torch, name) for name in ("acosh", "asinh", "sinh", "cosh", "expm1", "log1p", "erfc", "tan")},
    "a modulus": lambda x: torch.complex(x.float(), x.float().flip(-1)).abs(),
    "softplus from a threshold on": lambda x: F.softplus(x, 2, 5) + F.softplus(x, 1, 3),
}


@pytest.mark.parametrize(
    "values", [EXTREME, EXTREME.half(), LARGE, LARGE.float()], ids=["ends", "half ends", "half", "large"]
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_ends_are_as_pytorch_has_them(name, values):
    module = Of(FUNCTIONS[name])
    network = read_module(module, torch.randn(2, 8).to(values.dtype)).build()
    wanted = module(values)
    with np.errstate(all="ignore"):
        found = network(values.numpy())
    several = isinstance(wanted, tuple)
    for one, other in zip(found if several else [found], wanted if several else [wanted], strict=True):
        assert one.dtype == other.numpy().dtype
        # In half precision some of PyTorch's own are rounded on the way.
        tolerance = 4e-3 if other.dtype == torch.float16 else 1e-5
        np.testing.assert_allclose(one.astype("f8"), other.double().numpy(), rtol=tolerance, atol=tolerance)
