"""ATen operators that solve and take apart square matrices of a fixed size, row by row in ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, uses
from modelarchive.exchange.torch.lifting_shapes import exchanged, picked, stretched
from modelarchive.exchange.torch.recorded import cast
from modelarchive.nn.dim import Dim

#: Rows of a matrix up to which what is done row by row is said so.
_MOST: Final = 64
#: Squarings of an exponential: norms up to half of two to their number.
_SQUARINGS: Final = 16


def _side(context: Context, x: Any) -> int:
    size = x.shape[-1]
    if isinstance(size, Dim) or size > _MOST:
        found = "a size that is not fixed" if isinstance(size, Dim) else f"{size} rows"
        raise Refusal(f"{context.name} of matrices is said row by row, of {_MOST} rows at most, and these have {found}")
    return int(size)


def _column(x: Any, at: int) -> Any:
    return picked(x, -1, slice(at, at + 1))


def _row(x: Any, at: int) -> Any:
    return picked(x, -2, slice(at, at + 1))


def _mask(size: int, rows: Any, dtype: Any) -> Any:
    """A column of ones in some rows."""
    return rows(np.arange(size))[:, None].astype(dtype)


def _eliminated(x: Any, rest: Any) -> tuple[Any, list[Any], list[Any]]:
    """`rest` with the inverse of `x` applied, the pivots, whether rows were exchanged for each (Gauss, Jordan)."""
    size = x.shape[-1]
    whole = ops.concatenate([x, rest], axis=-1)
    pivots, exchanges = [], []
    for at in range(size):
        below = ops.abs(picked(_column(whole, at), -2, slice(at, None)))
        place = ops.add(ops.argmax(picked(below, -1, 0), axis=-1, keepdims=True), at)
        rows = np.arange(size)
        # Row `at` and the one with the largest element take each other's places.
        order = ops.where(ops.equal(place, rows), np.asarray(at), rows)
        order = ops.where(rows == at, place, order)
        whole = ops.gather(whole, stretched(ops.expand_dims(order, axis=order.ndim), whole.shape), axis=-2)
        pivot = _column(_row(whole, at), at)
        own = ops.divide(_row(whole, at), pivot)
        others = ops.subtract(whole, ops.multiply(_column(whole, at), own))
        whole = ops.where((rows == at)[:, None], own, others)
        pivots.append(picked(picked(pivot, -1, 0), -1, 0))
        exchanges.append(np.not_equal(picked(place, -1, 0), np.asarray(at)))
    return picked(whole, -1, slice(size, None)), pivots, exchanges


def _identity(x: Any) -> Any:
    """Identity matrices in the shape of `x`."""
    return ops.add(ops.multiply(x, 0), np.eye(x.shape[-1], dtype=x.dtype))


def _batched(x: Any, rest: Any) -> tuple[Any, Any]:
    """Two rows of matrices, as many of one as of the other."""
    while x.ndim < rest.ndim:
        x = ops.expand_dims(x, axis=0)
    while rest.ndim < x.ndim:
        rest = ops.expand_dims(rest, axis=0)
    lead = [one if isinstance(one, Dim) or one != 1 else other for one, other in zip(x.shape, rest.shape, strict=True)]
    return stretched(x, [*lead[:-2], *x.shape[-2:]]), stretched(rest, [*lead[:-2], *rest.shape[-2:]])


def _solve(context: Context, x: Any, b: Any, *, left: bool = True) -> Any:
    _side(context, x)
    is_vector = b.ndim == 1 or (b.ndim == x.ndim - 1 and list(b.shape) == list(x.shape[:-1]))
    if is_vector:
        b = ops.expand_dims(b, axis=b.ndim)
    if not left:
        x, b = exchanged(x, -1, -2), exchanged(b, -1, -2)
    found, *_ = _eliminated(*_batched(x, b))
    found = found if left else exchanged(found, -1, -2)
    return ops.squeeze(found, axis=-1) if is_vector else found


def _inverse(context: Context, x: Any) -> Any:
    _side(context, x)
    return _eliminated(x, _identity(x))[0]


def _pivots(context: Context, x: Any) -> tuple[Any, Any]:
    """The pivots of a matrix as the last axis, and the sign that exchanged rows give."""
    _side(context, x)
    _, pivots, exchanges = _eliminated(x, _column(x, 0))
    sign: Any = np.ones((), x.dtype)
    for each in exchanges:
        sign = ops.multiply(sign, ops.subtract(1, ops.multiply(cast(each, x.dtype), 2)))
    return ops.stack(pivots, axis=-1), sign


def _determinant(context: Context, x: Any) -> Any:
    pivots, found = _pivots(context, x)
    for at in range(x.shape[-1]):
        found = ops.multiply(found, picked(pivots, -1, at))
    return found


def _signed_logarithm(context: Context, x: Any) -> tuple[Any, Any]:
    pivots, sign = _pivots(context, x)
    for at in range(x.shape[-1]):
        each = picked(pivots, -1, at)
        sides = ops.subtract(cast(ops.greater(each, 0), x.dtype), cast(ops.less(each, 0), x.dtype))
        sign = ops.multiply(sign, sides)
    return sign, ops.sum(ops.log(ops.abs(pivots)), axis=-1)


def _logarithm(context: Context, x: Any) -> Any:
    sign, size = _signed_logarithm(context, x)
    return ops.where(ops.less(sign, 0), np.asarray(np.nan, x.dtype), size)


def _cholesky(context: Context, x: Any, *, upper: bool = False, **ignored: Any) -> Any:
    size = _side(context, x)
    x = exchanged(x, -1, -2) if upper else x
    found: Any = None
    for at in range(size):
        column = _column(x, at)
        if found is not None:
            column = ops.subtract(column, ops.matmul(found, exchanged(_row(found, at), -1, -2)))
        column = ops.divide(column, ops.sqrt(_row(column, at)))
        column = ops.multiply(column, _mask(size, lambda rows, at=at: rows >= at, x.dtype))
        found = column if found is None else ops.concatenate([found, column], axis=-1)
    return exchanged(found, -1, -2) if upper else found


def _substituted(x: Any, b: Any, *, upper: bool, unitriangular: bool = False) -> Any:
    """The solution of a triangular system."""
    size = x.shape[-1]
    x, b = _batched(x, b)
    found: dict[int, Any] = {}
    for at in reversed(range(size)) if upper else range(size):
        row = _row(b, at)
        for other, value in found.items():
            row = ops.subtract(row, ops.multiply(_column(_row(x, at), other), value))
        found[at] = row if unitriangular else ops.divide(row, _column(_row(x, at), at))
    return ops.concatenate([found[at] for at in range(size)], axis=-2)


def _solve_triangular(
    context: Context, x: Any, b: Any, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    _side(context, x)
    if left:
        return _substituted(x, b, upper=upper, unitriangular=unitriangular)
    turned = (exchanged(each, -1, -2) for each in (x, b))
    return exchanged(_substituted(*turned, upper=not upper, unitriangular=unitriangular), -1, -2)


def _cholesky_solve(context: Context, b: Any, x: Any, *, upper: bool = False) -> Any:
    _side(context, x)
    lower = exchanged(x, -1, -2) if upper else x
    half = _substituted(lower, b, upper=False)
    return _substituted(exchanged(lower, -1, -2), half, upper=True)


def _exponential(context: Context, x: Any) -> Any:
    """Taylor's sum of a matrix that is halved until it is small, squared as often."""
    norm = ops.max(ops.sum(ops.abs(x), axis=-2, keepdims=True), axis=-1, keepdims=True)
    is_larger = [ops.greater(norm, 0.5 * 2**at) for at in range(_SQUARINGS)]
    small = x
    for each in is_larger:
        small = ops.where(each, ops.multiply(small, 0.5), small)
    one = _identity(x)
    found = one
    for number in range(16 if x.dtype == np.float64 else 10, 0, -1):
        found = ops.add(one, ops.divide(ops.matmul(small, found), number))
    for each in is_larger:
        found = ops.where(each, ops.matmul(found, found), found)
    return found


def _reflections(context: Context, x: Any, tau: Any) -> Any:
    """The product of Householder's reflections, as many columns of it as there are."""
    height, width = x.shape[-2:]
    number = tau.shape[-1]
    if any(isinstance(each, Dim) for each in (height, width, number)) or number > 2 * _MOST:
        raise Refusal(f"{context.name} of more than {2 * _MOST} reflections, or of a size that is not fixed")
    found: Any = np.eye(height, width, dtype=x.dtype)
    for at in reversed(range(number)):
        own = ops.multiply(_column(x, at), _mask(height, lambda rows, at=at: rows > at, x.dtype))
        own = ops.add(own, _mask(height, lambda rows, at=at: rows == at, x.dtype))
        scale = ops.expand_dims(picked(tau, -1, slice(at, at + 1)), axis=tau.ndim)
        along = ops.matmul(exchanged(own, -1, -2), found)
        found = ops.subtract(found, ops.multiply(scale, ops.matmul(own, along)))
    return found


def _among_others(row: Callable[..., Any], number: int = 1) -> Callable[..., Any]:
    """The same where PyTorch gives more beside it: factors, and the numbers of rows at which a matrix fails."""

    def found(context: Context, x: Any, *, check_errors: bool = False, **more: Any) -> Any:
        others = range(number, len(context.value))
        if any(uses(context.node, at) for at in others):
            raise Refusal(f"{context.name} gives more than its result, which is not supported")
        result = row(context, x, **more)
        return *(result if number > 1 else (result,)), *(None for _ in others)

    return found


def _solved(context: Context, x: Any, **given: Any) -> Any:
    return _solve(context, x, given.pop("B"), **given)


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "linalg_solve": _solved, **dict.fromkeys(("linalg_solve_ex", "_linalg_solve_ex"), _among_others(_solved)),
    **dict.fromkeys(("linalg_inv", "inverse"), _inverse), "linalg_inv_ex": _among_others(_inverse),
    **dict.fromkeys(("linalg_det", "det"), _determinant), "_linalg_det": _among_others(_determinant),
    **dict.fromkeys(("linalg_slogdet", "slogdet"), _signed_logarithm),
    "_linalg_slogdet": _among_others(_signed_logarithm, 2), "logdet": _logarithm,
    **dict.fromkeys(("linalg_cholesky", "cholesky"), _cholesky), "linalg_cholesky_ex": _among_others(_cholesky),
    "linalg_solve_triangular": lambda context, x, **given: _solve_triangular(context, x, given.pop("B"), **given),
    "cholesky_solve": lambda context, x, *, input2, upper=False: _cholesky_solve(context, x, input2, upper=upper),
    **dict.fromkeys(("linalg_matrix_exp", "matrix_exp"), _exponential),
    **dict.fromkeys(
        ("linalg_householder_product", "orgqr"),
        lambda context, x, *, tau=None, input2=None: _reflections(context, x, input2 if tau is None else tau),
    ),
}  # fmt: skip
