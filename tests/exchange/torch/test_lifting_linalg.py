"""Square matrices that are solved and taken apart, as PyTorch does it; what is too large or not fixed is refused."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import Function, assert_read

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
SQUARE = RNG.standard_normal((2, 5, 5)).astype(np.float32)
#: Whose pivots are all elsewhere than on the diagonal.
EXCHANGED = (np.eye(5)[[3, 0, 4, 1, 2]] * [[[1]], [[-2]]]).astype(np.float32)
SIDE = RNG.standard_normal((2, 5, 3)).astype(np.float32)
EYE = torch.eye(5)


def positive(x):
    return x @ x.mT + EYE


def triangular(x):
    return x.tril(-1) + (1.5 + x.diagonal(dim1=-2, dim2=-1).abs()).diag_embed()


FUNCTIONS = {
    "solve": torch.linalg.solve,
    "solve for a vector": lambda x, b: torch.linalg.solve(x, b[..., 0]),
    "solve from the right": lambda x, b: torch.linalg.solve(x, b.mT, left=False),
    "solve for all": lambda x, b: torch.linalg.solve(x[0], b),
    "inverse": lambda x, b: torch.linalg.inv(x.double()) @ b.double(),
    "determinant": lambda x, b: torch.linalg.det(x),
    "signed logarithm of it": lambda x, b: torch.linalg.slogdet(x),
    "logarithm of it": lambda x, b: torch.logdet(positive(x)),
    "Cholesky": lambda x, b: torch.linalg.cholesky(positive(x)),
    "Cholesky above": lambda x, b: torch.linalg.cholesky(positive(x), upper=True),
    "Cholesky without a check": lambda x, b: torch.linalg.cholesky_ex(positive(x))[0],
    "solve by Cholesky": lambda x, b: torch.cholesky_solve(b, torch.linalg.cholesky(positive(x))),
    "below": lambda x, b: torch.linalg.solve_triangular(triangular(x), b, upper=False),
    "above from the right": lambda x, b: torch.linalg.solve_triangular(
        triangular(x).mT, b.mT, upper=True, left=False, unitriangular=True
    ),
    "exponential": lambda x, b: torch.linalg.matrix_exp(x * torch.tensor([[[0.01]], [[3.0]]])),
    "exponential in double precision": lambda x, b: torch.matrix_exp(x.double()),
    "reflections": lambda x, b: torch.linalg.householder_product(b.tril(-1), b[:, 0] * 0.3),
    "negative power": lambda x, b: torch.linalg.matrix_power(x, -2),
    "a density": lambda x, b: torch.distributions.MultivariateNormal(
        b[..., 0], covariance_matrix=positive(x)
    ).log_prob(b[..., 1]),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_matrices_are_solved_and_taken_apart(name):
    assert_read(Function(FUNCTIONS[name]), SQUARE, SIDE, limit=1e-4)


@pytest.mark.parametrize("name", ["solve", "inverse", "determinant", "signed logarithm of it"])
def test_rows_are_exchanged_where_a_pivot_is_nothing(name):
    assert_read(Function(FUNCTIONS[name]), EXCHANGED, SIDE, limit=1e-5)


def test_diagonals_are_written():
    def written(x):
        found = x * 1
        found.diagonal(0, -1, -3).mul_(-2)
        found.diagonal(-1, 1, 2).fill_(7)
        found.diagonal(2, 1, 2).zero_()
        return found

    assert_read(Function(written), RNG.standard_normal((2, 4, 5, 3)).astype(np.float32))


def test_matrices_of_many_rows_or_of_any_number_are_refused():
    module = Function(lambda x: torch.linalg.inv(x))
    with pytest.raises(ma.ConversionError, match="64 rows at most, and these have 72 rows"):
        read_module(module, np.eye(72, dtype=np.float32)[None].repeat(2, 0))
    with pytest.raises(ma.ConversionError, match="size that is not fixed"):
        read_module(module, {"shape": [None, "side", "side"]})


def test_the_numbers_of_rows_that_fail_are_refused():
    module = Function(lambda x: torch.linalg.cholesky_ex(positive(x)).info)
    with pytest.raises(ma.ConversionError, match="gives more than its result"):
        read_module(module, SQUARE)
