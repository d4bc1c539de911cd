"""How MXNet's reductions are lifted: sums, means, spreads, norms, products, and the places of what is largest."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.lifting_context import Context, Lift
from modelarchive.exchange.mxnet.lifting_dtypes import is_whole
from modelarchive.exchange.mxnet.lifting_selection import key
from modelarchive.exchange.mxnet.lifting_truths import truth
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting


def _reduction(name: str) -> Lift:
    """Over axes, or over all of them."""

    def lift(context: Context) -> Ref:
        context.attributes.expect("initial", "None")
        axis, keepdims = _axes(context)
        x, dtype = _summands(context, name)
        found = context.op(name, x, axis=axis, keepdims=keepdims)
        return _shaped(context, context.cast(found, dtype), axis, keepdims=keepdims)

    return lift


def _axes(context: Context) -> tuple[list[int] | None, bool]:
    at = context.attributes
    axis, keepdims = at.axes(), at.flag("keepdims", default=False)
    if at.flag("exclude", default=False):
        rank = context.rank(0)
        axis = [each for each in range(rank) if each not in [(one + rank) % rank for one in axis or range(rank)]]
    return axis, keepdims


def _summands(context: Context, name: str) -> tuple[Ref, np.dtype]:
    """What is reduced, and the dtype of the result: MXNet keeps that of integers, and means of them are float32."""
    wanted, x = context.attributes.text("dtype", "None"), context.ref(0)
    if wanted != "None":
        if is_whole(np.dtype(wanted)) and (name == "mean" or not is_whole(context.dtype(x))):
            raise Refusal(f"the {name} of {context.dtype(x)} in {wanted} is not supported")
        x = context.cast(x, wanted)
    dtype = context.dtype(x)
    if name in ("mean", "var") and is_whole(dtype) and not context.is_numpy:
        raise Refusal(f"the {name} of integers, which MXNet makes integers again, is not supported")
    if name == "mean" and is_whole(dtype):
        x = context.cast(x, np.float32)
        dtype = context.dtype(x)
    elif name == "sum" and dtype.kind == "b":
        dtype = np.dtype(np.int64)
    elif name in ("var",) and is_whole(dtype):
        raise Refusal("the spread of integers, which MXNet rounds, is not supported")
    return x, dtype


def _shaped(context: Context, found: Ref, axis: list[int] | None, *, keepdims: bool) -> Ref:
    """Without NumPy's shapes, what is reduced to nothing has one axis."""
    if context.is_numpy or keepdims or (axis is not None and len({*axis}) < context.rank(0)):
        return found
    return context.op("reshape", found, shape=[1])


def _spread(*, root: bool) -> Lift:
    """The variance, or its root."""

    def lift(context: Context) -> Ref:
        ddof = context.attributes.integer("ddof", 0)
        axis, keepdims = _axes(context)
        x, _ = _summands(context, "var")
        if ddof not in (0, 1):
            raise Refusal(f"ddof = {ddof} is not supported, only 0 and 1")
        found = context.op("var", x, axis=axis, keepdims=keepdims, ddof=ddof)
        return context.op("sqrt", found) if root else found

    return lift


def _quantifier(name: str) -> Lift:
    """Whether all are true (the least truth), or any."""

    def lift(context: Context) -> Ref:
        axis, keepdims = _axes(context)
        numbers = context.cast(truth(context, context.ref(0)), np.float32)
        found = context.op(name, numbers, axis=axis, keepdims=keepdims)
        return context.op("greater", found, context.constant(0.0))

    return lift


def _average(context: Context) -> Ref:
    """The mean, weighted or not."""
    at = context.attributes
    at.off("returned")
    axis, x = at.axes(), context.ref(0)
    if is_whole(context.dtype(x)):
        raise Refusal("the average of integers, which MXNet makes integers again, is not supported")
    if not at.flag("weighted", default=True):
        return context.op("mean", x, axis=axis, keepdims=False)
    weights = context.ref(1)
    if context.rank(1) != context.rank(0):
        if axis is None or len(axis) != 1 or context.rank(1) != 1:
            raise Refusal(f"weights of {context.rank(1)} axes for {context.rank(0)} are not supported")
        behind = context.rank(0) - 1 - context.axis(axis[0])
        weights = context.op("reshape", weights, shape=[-1, *[1] * behind])
        weights = context.op("broadcast_to", weights, x, shape=[None] * context.rank(0))
    total = context.op("sum", context.op("multiply", x, weights), axis=axis, keepdims=False)
    return context.op("divide", total, context.op("sum", weights, axis=axis, keepdims=False))


def _product(context: Context) -> Ref:
    """The product of the elements along one axis of a known size, or of all: halves are multiplied."""
    at = context.attributes
    at.expect("initial", "None")
    wanted, axes, keepdims = at.text("dtype", "None"), at.axes(), at.flag("keepdims", default=False)
    x = context.ref(0)
    dtype: Any = context.dtype(x) if wanted == "None" else np.dtype(wanted)
    if is_whole(dtype) and not is_whole(context.dtype(x)):
        raise Refusal(f"the product of {context.dtype(x)} in {wanted} is not supported")
    x = context.cast(x, np.int64 if dtype.kind == "b" else dtype)
    sizes = context.shape(0)
    dropped = list(range(len(sizes))) if axes is None else [context.axis(axis) for axis in axes]
    for axis in dropped:
        size = sizes[axis]
        if size is None:
            raise Refusal("a product along a free axis is not supported: pass inputs= with fixed sizes")
        x = _multiplied(context, x, axis, size)
    if keepdims or not dropped:
        return x
    return _shaped(context, context.op("squeeze", x, axis=dropped), axes, keepdims=False)


def _multiplied(context: Context, x: Ref, axis: int, size: int) -> Ref:
    if not size:
        raise Refusal("a product of no elements is not supported")

    def part(begin: int, end: int) -> Ref:
        return context.op("slice", x, index=[*[[None, None, None]] * axis, [begin, end, None]])

    while size > 1:
        half, rest = divmod(size, 2)
        last = part(2 * half, size) if rest else None
        x = context.op("multiply", part(0, half), part(half, 2 * half))
        x = x if last is None else context.op("concatenate", x, last, axis=axis)
        size = half + rest
    return x


def _norm(context: Context) -> Ref:
    """The sum of sizes, or the root of the sum of squares; in NumPy's mode the largest size, too."""
    at = context.attributes
    axis, keepdims = at.axes(), at.flag("keepdims", default=False)
    order = at.real("ord", 2.0)
    wanted = at.text("out_dtype", "None")
    flag = at.text("flag", "1")
    x = context.ref(0)
    # 1 is that of Frobenius, -2 the same of all elements, -1 what the order says.
    if flag not in ("1", "-2", "-1") or (flag == "-1" and axis is not None and len(axis) > 1):
        raise Refusal("a norm of matrices is not supported, only one of numbers")
    x = x if wanted == "None" else context.cast(x, wanted)
    if is_whole(context.dtype(x)):
        raise Refusal("the norm of integers, which MXNet makes integers again, is not supported")
    size = context.op("abs", x)
    if order == 1:
        found = context.op("sum", size, axis=axis, keepdims=keepdims)
    elif order == 2:
        squares = context.op("sum", context.op("multiply", x, x), axis=axis, keepdims=keepdims)
        found = context.op("sqrt", squares)
    else:
        raise Refusal(f"ord = {at.text('ord')} is not supported, only 1 and 2")
    return _shaped(context, found, axis, keepdims=keepdims)


def _place_of(*, largest: bool) -> Lift:
    """The place of the largest element, or of the least; in the dtype of the elements where arrays are not NumPy's."""

    def lift(context: Context) -> Ref:
        at = context.attributes
        axis, keepdims = at.optional("axis"), at.flag("keepdims", default=False)
        x = context.ref(0)
        found = context.op("argmax", key(context, x, is_turned=not largest), axis=axis, keepdims=keepdims)
        if context.is_numpy:
            return found
        found = context.cast(found, context.dtype(x))
        return _shaped(context, found, None if axis is None else [axis], keepdims=keepdims)

    return lift


def _cumsum(context: Context) -> Ref:
    """The sum so far along an axis, or of all elements in a row."""
    axis, wanted = context.attributes.optional("axis"), context.attributes.text("dtype", "None")
    x = context.ref(0)
    dtype = context.dtype(x) if wanted == "None" else np.dtype(wanted) if wanted != "bfloat16" else wanted
    x = x if wanted == "None" else context.cast(x, wanted)
    if axis is None:
        x, axis = context.op("reshape", x, shape=[-1]), 0
    found = context.op("cumsum", x, axis=axis)
    return found if context.dtype(x).kind == "b" else context.cast(found, dtype)


_NO_AXES: Final = "without NumPy's shapes, what is reduced to nothing has one axis of size 1, also here"
ROWS: Final = (
    *(
        Lifting(names, name, _reduction(name), _NO_AXES)
        for name, names in {
            "mean": "mean _npi_mean",
            "sum": "sum sum_axis _npi_sum _np_sum",
            "max": "max max_axis _npi_max _npi_amax _np_max",
            "min": "min min_axis _npi_min _npi_amin _np_min",
        }.items()
    ),
    Lifting("_npi_var", "var", _spread(root=False)),
    Lifting("_npi_std", "var, sqrt", _spread(root=True)),
    Lifting("_npi_any", "max", _quantifier("max")),
    Lifting("_npi_all", "min", _quantifier("min")),
    Lifting("_npi_average", "mean", _average),
    Lifting("prod _npi_prod _np_prod", "multiply", _product, "along axes of known sizes"),
    Lifting("norm _npi_norm _npx_norm", "sum, sqrt", _norm, "of numbers, by ord 1 and 2"),
    Lifting("argmax _npi_argmax", "argmax", _place_of(largest=True)),
    Lifting("argmin _npi_argmin", "argmax", _place_of(largest=False)),
    Lifting("cumsum _np_cumsum _npi_cumsum", "cumsum", _cumsum),
)
