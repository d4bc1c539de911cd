"""How linear algebra is lifted: matrices of a known, small size, eliminated column by column."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_ordering import known_size, part
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal

#: Each column is a dozen steps.
_MOST: Final = 16
_SIZES: Final = f"of at most {_MOST} known rows"


def _square(context: Context, ref: Ref) -> tuple[Term, int]:
    """Square matrices of floats, and their size."""
    x = context.as_float(ref)
    size = known_size(context, x, -1)
    if context.rank(x) < 2 or context.dims(x)[-2] != size:
        raise Refusal(f"{context.layer.kind} of what is no square matrix")
    if size > _MOST or not size:
        raise Refusal(f"{context.layer.kind} of {size:,} rows is not supported, {_SIZES}")
    spend("linear algebra", elements=size * size * size)
    return Term(context, x), size


def _argument(context: Context, place: int, *names: str) -> Ref:
    """An argument, which Keras' own functions call by several names."""
    for name in names:
        if (found := context.argument(name, place)) is not None:
            return context.tensor_of(found)
    raise Refusal(f"{context.layer.kind} is called without {names[0]}")


def _cut(x: Term, axis: int, begin: int, end: int | None) -> Term:
    return Term(x.context, part(x.context, x.ref, axis, begin, end))


def _column(x: Term, at: int) -> Term:
    return _cut(x, -1, at, at + 1)


def _row(x: Term, at: int) -> Term:
    return _cut(x, -2, at, at + 1)


def _single(x: Term) -> Term:
    """Matrices of one element as that element."""
    return x.op("squeeze", axis=[-2, -1])


def _rows(x: Term, chosen: Callable[[np.ndarray], np.ndarray], size: int) -> Term:
    """A column of truths."""
    truths = chosen(np.arange(size))[:, None].tolist()
    return Term(x.context, x.context.constant(truths, "bool"))


def _identity(x: Term, size: int) -> Term:
    ones = x.context.constant(np.eye(size).tolist() if size <= 8 else np.eye(size), str(x.context.dtype(x.ref)))
    return x * 0.0 + Term(x.context, ones)


def _beside(*terms: Term, axis: int = -1) -> Term:
    context = terms[0].context
    if len(terms) == 1:
        return terms[0]
    rank = context.rank(terms[0].ref)
    return Term(context, context.op("concatenate", *(each.ref for each in terms), axis=axis % rank))


def _eliminated(x: Term, rest: Term, size: int, *, safe: bool = False) -> tuple[Term, list[Term], list[Term]]:
    """`rest` with the inverse of `x` applied, the pivots, and whether rows changed places for each (Gauss, Jordan).

    What a pivot of zero makes is infinite or no number; with `safe` it changes nothing, for who wants the pivots alone.
    """
    context = x.context
    whole, rank = _beside(x, rest), context.rank(x.ref)
    pivots, exchanges = [], []
    places = Term(context, context.constant(np.arange(size)[:, None].tolist(), "int64"))
    for at in range(size):
        below = abs(_cut(_column(whole, at), -2, at, None))
        place = below.op("argmax", axis=rank - 2, keepdims=True) + at
        # Row `at` and the one with the largest element take each other's places.
        order = place.equal(places).where(at, places)
        order = _rows(x, lambda rows, at=at: rows == at, size).where(place, order)  # type: ignore[misc]
        wide = context.op("broadcast_to", order.ref, whole.ref, shape=[None] * rank)
        whole = Term(context, context.op("gather", whole.ref, wide, axis=rank - 2))
        pivot = _column(_row(whole, at), at)
        own = _row(whole, at) / (pivot.equal(0.0).where(1.0, pivot) if safe else pivot)
        others = whole - _column(whole, at) * own
        whole = _rows(x, lambda rows, at=at: rows == at, size).where(own, others)  # type: ignore[misc]
        pivots.append(_single(pivot))
        exchanges.append(~_single(place).equal(at))
    return _cut(whole, -1, size, None), pivots, exchanges


def _inverse(context: Context) -> Ref:
    x, size = _square(context, _argument(context, 0, "x"))
    return _eliminated(x, _identity(x, size), size)[0].ref


def _solved(context: Context) -> Ref:
    """Solve, and SolveTriangular, which looks at one half of the matrix only."""
    a, b = _argument(context, 0, "a", "x1"), Term(context, context.as_float(_argument(context, 1, "b", "x2")))
    x, size = _square(context, a)
    if context.layer.kind == "SolveTriangular":
        x = _half(x, size, lower=context.config.flag("lower", default=False))
    is_vector = context.rank(b.ref) == context.rank(x.ref) - 1
    b = b.op("expand_dims", axis=-1) if is_vector else b
    if context.rank(b.ref) != context.rank(x.ref):
        raise Refusal(f"{context.layer.kind} of {context.rank(x.ref)} and {context.rank(b.ref)} axes is not supported")
    found = _eliminated(x, b, size)[0]
    return found.op("squeeze", axis=[-1]).ref if is_vector else found.ref


def _half(x: Term, size: int, *, lower: bool) -> Term:
    """What stands on the diagonal and on one side of it; zeros on the other."""
    kept = np.tri(size, dtype=bool) if lower else np.tri(size, dtype=bool).T
    columns = [
        Term(x.context, x.context.constant(kept[:, at : at + 1].tolist(), "bool")).where(_column(x, at), 0.0)
        for at in range(size)
    ]
    return _beside(*columns)


def _pivots(context: Context) -> tuple[list[Term], Term]:
    """The pivots of a matrix, and the sign that rows which changed places give."""
    x, size = _square(context, _argument(context, 0, "x"))
    _, pivots, exchanges = _eliminated(x, _column(x, 0), size, safe=True)
    sign = pivots[0] * 0.0 + 1.0
    for each in exchanges:
        sign = each.where(-sign, sign)
    return pivots, sign


def _determinant(context: Context) -> Ref:
    return _multiplied(*_pivots(context)).ref


def _multiplied(pivots: list[Term], sign: Term) -> Term:
    for each in pivots:
        sign = sign * each
    return sign


def _logarithm(context: Context) -> Ref:
    """Logdet: no number where the determinant is negative."""
    pivots, sign = _pivots(context)
    return (_signs(pivots, sign) < 0.0).where(math.nan, _logarithms(pivots)).ref


def _sign_and_logarithm(context: Context) -> list[Ref]:
    """Slogdet."""
    pivots, sign = _pivots(context)
    return [_signs(pivots, sign).ref, _logarithms(pivots).ref]


def _logarithms(pivots: list[Term]) -> Term:
    found = abs(pivots[0]).op("log")
    for each in pivots[1:]:
        found = found + abs(each).op("log")
    return found


def _signs(pivots: list[Term], sign: Term) -> Term:
    for each in pivots:
        sign = each.equal(0.0).where(0.0, (each < 0.0).where(-sign, sign))
    return sign


def _root(x: Term, size: int) -> Term:
    """The lower triangle that is a matrix times itself turned round (Cholesky)."""
    columns = []
    for at in range(size):
        column = _column(x, at) / _column(_row(x, at), at).op("sqrt")
        column = _rows(x, lambda rows, at=at: rows >= at, size).where(column, 0.0)  # type: ignore[misc]
        columns.append(column)
        x = x - column * _exchanged(column)
    return _beside(*columns)


def _exchanged(x: Term) -> Term:
    rank = x.context.rank(x.ref)
    return x.op("transpose", axes=[*range(rank - 2), rank - 1, rank - 2])


def _cholesky(context: Context) -> Ref:
    x, size = _square(context, _argument(context, 0, "x"))
    found = _root(x, size)
    return (_exchanged(found) if context.config.flag("upper", default=False) else found).ref


def _inverse_of_root(context: Context) -> Ref:
    """CholeskyInverse: the inverse of the matrix whose root it is given."""
    x, size = _square(context, _argument(context, 0, "x"))
    upper = context.config.flag("upper", default=False)
    x = _half(x, size, lower=not upper)
    whole = _exchanged(x).op("matmul", x) if upper else x.op("matmul", _exchanged(x))
    return _eliminated(whole, _identity(whole, size), size)[0].ref


def _rows_of(theirs: str, ours: str, lift: Lift) -> Lifting:
    return operation(theirs, ours, lift, _SIZES)


#: Operations of matrices.
ROWS: Final[tuple[Lifting, ...]] = (
    _rows_of("Inv", "argmax, gather, divide", _inverse),
    _rows_of("Solve", "argmax, gather, divide", _solved),
    _rows_of("SolveTriangular", "where, divide", _solved),
    _rows_of("Det", "argmax, gather, multiply", _determinant),
    _rows_of("Slogdet", "argmax, gather, log", _sign_and_logarithm),
    _rows_of("Logdet", "argmax, gather, log", _logarithm),
    _rows_of("Cholesky", "sqrt, divide", _cholesky),
    _rows_of("CholeskyInverse", "matmul, divide", _inverse_of_root),
)
