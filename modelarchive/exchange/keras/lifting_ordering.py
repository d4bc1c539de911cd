"""How operations are lifted that put elements in order, count them, or tell classes apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.config import DTYPES
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import FLOATS, Context, Lift
from modelarchive.exchange.keras.lifting_dtypes import turned
from modelarchive.exchange.keras.lifting_ops import one, reduction
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: More classes are not told apart.
_MANY: Final = 1 << 20
#: So many factors are multiplied one after the other.
_FACTORS: Final = 256


def known_size(context: Context, x: Ref, axis: int) -> int:
    """The size of an axis, which has to be fixed."""
    size = context.dims(x)[context.axis(x, axis)]
    if size is None:
        raise Refusal(f"{context.layer.kind} along an axis of a size that is not known: pass inputs=")
    return size


def numbered(context: Context, size: int, dtype: str = "int64") -> Ref:
    """0, 1, 2, ..., as many as `size`."""
    if not 0 <= size <= _MANY:
        raise Refusal(f"{size:,} places are beyond all reason")
    spend("numbers in a row", elements=size)
    return context.constant(np.arange(size, dtype=dtype), dtype)


def part(context: Context, x: Ref, axis: int, begin: int | None, end: int | None, step: int | None = None) -> Ref:
    """A range along an axis."""
    index: list[Any] = [[None, None, None]] * context.axis(x, axis)
    return context.op("slice", x, index=[*index, [begin, end, step]])


def _ordered(context: Context, *, descending: bool = False) -> tuple[Ref, Ref, int]:
    """A tensor, the places of its elements in their order along an axis, and the axis."""
    x, axis = one(context), context.config.value("axis", -1)
    if axis is None:
        x, axis = context.op("reshape", x, shape=[-1]), 0
    if type(axis) is not int:
        raise Refusal(f"axis = {short(axis)} is no axis")
    if context.dtype(x).kind == "b":
        return x, context.op("argsort", context.op("cast", x, dtype="uint8"), axis=axis, descending=descending), axis
    return x, context.op("argsort", x, axis=axis, descending=descending), axis


def _sorted(context: Context) -> Ref:
    x, order, axis = _ordered(context)
    return context.op("gather", x, order, axis=axis)


def _places(context: Context) -> Ref:
    return context.op("cast", _ordered(context)[1], dtype="int32")


def _largest(context: Context) -> list[Ref]:
    """TopK: the largest first, of those alike the first first."""
    context.config.flag("sorted", default=True)
    count = context.config.integer("k")
    x, order, axis = _ordered(context, descending=True)
    order = part(context, order, axis, None, count)
    return [context.op("gather", x, order, axis=axis), context.op("cast", order, dtype="int32")]


def _in_top(context: Context) -> Ref:
    """InTopK: whether fewer than `k` predictions are larger than that of the target."""
    targets, found = one(context, 0, "targets"), Term(context, one(context, 1, "predictions"))
    wide = context.op("expand_dims", targets, axis=-1)
    own = Term(context, context.op("gather", found.ref, wide, axis=-1))
    larger = Term(context, context.op("sum", (found > own).cast("int32").ref, axis=[-1], keepdims=False))
    finite = Term(context, context.op("squeeze", (abs(own) < math.inf).ref, axis=[-1]))
    return ((larger < context.config.integer("k")) & finite).ref


def _least(context: Context) -> Ref:
    """Argmin."""
    axis = context.config.value("axis", None)
    if axis is not None and type(axis) is not int:
        raise Refusal(f"axis = {short(axis)} is no axis")
    keep = context.config.flag("keepdims", default=False)
    found = context.op("argmax", turned(context, one(context)), axis=axis, keepdims=keep)
    return context.op("cast", found, dtype="int32")


def _lined_up(context: Context) -> tuple[Ref, int, Callable[[Ref], Ref]]:
    """A tensor whose reduced axes are one, the last; its size; and what gives a result the axes that it keeps."""
    x, axes = context.as_float(one(context)), context.config.axes("axis", None)
    keep = context.config.flag("keepdims", default=False)
    rank = context.rank(x)
    gone = list(range(rank)) if axes is None else sorted({context.axis(x, each) for each in axes})
    kept = [axis for axis in range(rank) if axis not in gone]
    size = math.prod(known_size(context, x, axis) for axis in gone)
    if not size:
        raise Refusal(f"{context.layer.kind} of no elements")
    if kept + gone != list(range(rank)):
        x = context.op("transpose", x, axes=[*kept, *gone])
    if len(gone) != 1:
        x = context.op("reshape", x, shape=[*([None] * len(kept)), size])

    def finish(ref: Ref) -> Ref:
        for axis in gone if keep else ():
            ref = context.op("expand_dims", ref, axis=axis)
        return ref

    return x, size, finish


def _ranked(context: Context, share: float, how: str) -> Ref:
    """The element behind which a share of the others lies, or the mean of the two around that place."""
    x, size, finish = _lined_up(context)
    order = context.op("argsort", x, axis=-1, descending=False)
    place = share * (size - 1)
    low, high = math.floor(place), math.ceil(place)
    if how in ("lower", "higher", "nearest"):
        low = high = {"lower": low, "higher": high, "nearest": round(place)}[how]
    elif how not in ("linear", "midpoint"):
        raise Refusal(f"method = {short(how)} is not supported")
    whole: list[Any] = [[None, None, None]] * (context.rank(x) - 1)

    def at(number: int) -> Term:
        found = context.op("gather", x, part(context, order, -1, number, number + 1), axis=-1)
        return Term(context, context.op("slice", found, index=[*whole, 0]))

    found = at(low)
    if high != low:
        found = found + (at(high) - found) * (0.5 if how == "midpoint" else place - low)
    # A sum with NaN in it is NaN, and so is what it is the rank of.
    total = Term(context, context.op("sum", x, axis=[-1], keepdims=False))
    return finish(total.is_number.where(found, total).ref)


def _median(context: Context) -> Ref:
    return _ranked(context, 0.5, "linear")


def _quantile(whole: float) -> Lift:
    """Quantile, of which the share is a number; of Percentile it is one of a hundred."""

    def lift(context: Context) -> Ref:
        share = context.argument("q", 1)
        if type(share) not in (int, float) or not 0 <= share <= whole:
            raise Refusal(f"q = {short(share)}, expected one number from 0 to {whole:g}")
        return _ranked(context, share / whole, context.config.text("method", "linear"))

    return lift


def _factors(context: Context) -> Ref:
    """What is multiplied: floats, NaN being 1 where it is left out."""
    x = Term(context, one(context))
    if context.dtype(x.ref).kind != "f":
        raise Refusal(f"{context.layer.kind} of {context.dtype(x.ref).name} is not supported, only of floats")
    return (x.is_number.where(x, 1.0) if context.layer.kind.startswith("Nan") else x).ref


def _product(context: Context) -> Ref:
    """Prod: factor by factor."""
    context.config.expect("dtype", None)
    x, axes = _factors(context), context.config.axes("axis", None)
    keep = context.config.flag("keepdims", default=False)
    gone = range(context.rank(x)) if axes is None else [context.axis(x, each) for each in axes]
    for axis in sorted(gone, reverse=True):
        size = known_size(context, x, axis)
        if not 1 <= size <= _FACTORS:
            raise Refusal(f"Prod of {size:,} factors, at most {_FACTORS}")
        while size > 1:  # by halves: few steps, and as exact as any other order
            half = size // 2
            both = [part(context, x, axis, begin, begin + half) for begin in (0, half)]
            found = context.op("multiply", *both)
            x = context.op("concatenate", found, part(context, x, axis, -1, None), axis=axis) if size % 2 else found
            size = half + size % 2
    return x if keep else context.op("squeeze", x, axis=list(gone))


def _so_far(context: Context) -> Ref:
    """Cumprod: by doubling how far each product reaches back."""
    context.config.expect("dtype", None)
    x, axis = _factors(context), context.config.value("axis", None)
    if axis is None:
        x, axis = context.op("reshape", x, shape=[-1]), 0
    if type(axis) is not int:
        raise Refusal(f"{context.layer.kind} along {short(axis)} is not supported")
    size, back = known_size(context, x, axis), 1
    while back < size:
        moved = context.op("multiply", part(context, x, axis, back, None), part(context, x, axis, None, size - back))
        x = context.op("concatenate", part(context, x, axis, None, back), moved, axis=axis)
        back *= 2
    return x


def _counted(context: Context) -> Ref:
    """CountNonzero."""
    truths = Term(context, context.op("cast", one(context), dtype="bool"))
    return _count(truths, axis=context.config.axes("axis", None), keepdims=False).ref


def _count(truths: Term, **how: Any) -> Term:
    """How many are true, in int32 as in Keras."""
    return truths.cast("int32").op("sum", **how).cast("int32")


def _range(context: Context) -> Ref:
    """Ptp: the largest less the least."""
    axes, keep = context.config.axes("axis", None), context.config.flag("keepdims", default=False)
    ends = [context.op(name, one(context), axis=axes, keepdims=keep) for name in ("max", "min")]
    return context.op("subtract", *ends)


def _average(context: Context) -> Ref:
    """Average, weighed or not."""
    x, axes = context.as_float(one(context)), context.config.axes("axis", None)
    weights = context.argument("weights", 1)
    if weights is None:
        return context.op("mean", x, axis=axes, keepdims=False)
    given = context.as_float(context.tensor_of(weights))
    if context.rank(given) == 1 and axes is not None and len(axes) == 1:
        for _ in range(context.rank(x) - 1 - context.axis(x, axes[0])):
            given = context.op("expand_dims", given, axis=-1)
    elif context.rank(given) != context.rank(x):
        raise Refusal(f"weights of {context.rank(given)} axes for a tensor of {context.rank(x)}")
    both = context.op("sum", context.op("multiply", x, given), axis=axes, keepdims=False)
    every = context.op("broadcast_to", given, x, shape=[None] * context.rank(x))
    return context.op("divide", both, context.op("sum", every, axis=axes, keepdims=False))


def _norm(context: Context) -> Ref:
    """Norm of vectors: by squares, by sizes, or the largest."""
    x, axes = Term(context, context.as_float(one(context))), context.config.axes("axis", None)
    order, keep = context.config.value("ord", None), context.config.flag("keepdims", default=False)
    several = context.rank(x.ref) if axes is None else len(axes)
    if several > 2 or (several == 2 and order not in (None, "fro")):
        raise Refusal(f"ord = {short(order)} over {several} axes is not supported")
    how: dict[str, Any] = {"axis": axes, "keepdims": keep}
    if order in (None, "fro", 2):
        return (x * x).op("sum", **how).op("sqrt").ref
    if order in ("inf", "-inf", math.inf, -math.inf):
        return abs(x).op("max" if order in ("inf", math.inf) else "min", **how).ref
    if order == 0:
        return x.equal(0.0).op("equal", False).cast("float32").op("sum", **how).ref
    if type(order) not in (int, float):
        raise Refusal(f"ord = {short(order)} is not supported")
    found = abs(x).op("sum", **how) if order == 1 else (abs(x) ** float(order)).op("sum", **how) ** (1 / order)
    return found.ref


def _moments(context: Context) -> list[Ref]:
    context.config.flag("synchronized", default=False)
    axes, keep = context.config.axes("axes"), context.config.flag("keepdims", default=False)
    x = context.as_float(one(context))
    mean = context.op("mean", x, axis=axes, keepdims=keep)
    return [mean, context.op("var", x, axis=axes, keepdims=keep, ddof=0)]


def _without_nan(name: str) -> Lift:
    """A reduction of the elements that are numbers."""

    def lift(context: Context) -> Ref:
        if name != "mean" and context.dtype(one(context)).name not in FLOATS:
            return reduction(name)(context)  # type: ignore[return-value]
        context.config.expect("dtype", None)
        axes, keep = context.config.axes("axis", None), context.config.flag("keepdims", default=False)
        x = Term(context, context.as_float(one(context)))
        how: dict[str, Any] = {"axis": axes, "keepdims": keep}
        total = x.is_number.where(x, 0.0).op("sum", **how)
        if name == "sum":
            return total.ref
        count = x.is_number.cast(str(context.dtype(x.ref))).op("sum", **how)
        if name == "mean":
            return (total / count).ref
        end = -math.inf if name == "max" else math.inf
        return (count > 0.0).where(x.is_number.where(x, end).op(name, **how), total / count).ref

    return lift


def one_hot(context: Context, x: Ref, classes: int, axis: int, dtype: str) -> Ref:
    """1 at the class of each element along a new axis; 0 everywhere for what is no class."""
    places = numbered(context, classes)
    wide = context.op("expand_dims", context.op("cast", x, dtype="int64"), axis=-1)
    found = context.op("cast", context.op("equal", wide, places), dtype=dtype)
    rank = context.rank(found)
    at = context.axis(found, axis)
    if at != rank - 1:
        order = list(range(rank - 1))
        order.insert(at, rank - 1)
        found = context.op("transpose", found, axes=order)
    return found


def _dtype_of(context: Context, default: str = "float32") -> str:
    """The dtype that an operation's result is asked for in."""
    dtype = context.config.value("dtype", None)
    if dtype is not None and dtype not in DTYPES:
        raise Refusal(f"dtype = {short(dtype)} is not supported")
    return dtype or default


def _one_hot(context: Context) -> Ref:
    config = context.config
    config.expect("sparse", False)
    classes, axis = config.integer("num_classes"), config.integer("axis", -1)
    return one_hot(context, one(context), classes, axis, _dtype_of(context))


def _multi_hot(context: Context) -> Ref:
    """1 at each class that stands in the last axis of the classes."""
    config = context.config
    config.expect("sparse", False)
    x, axis = one(context, 0, "inputs"), config.integer("axis", -1)
    found = one_hot(context, x, config.integer("num_classes"), axis, _dtype_of(context))
    return context.op("max", found, axis=[1 if context.rank(found) > 2 else 0], keepdims=False)


def digitized(context: Context, x: Ref, bounds: Ref) -> Ref:
    """How many bounds are at most each element."""
    wide = Term(context, context.op("expand_dims", x, axis=-1))
    below = ~(wide < Term(context, bounds))
    return _count(below, axis=[-1], keepdims=False).ref


def _digitized(context: Context) -> Ref:
    return digitized(context, one(context), one(context, 1, "bins"))


def _deviation_of_numbers(context: Context) -> Ref:
    """Nanvar: how far the elements that are numbers lie from their mean."""
    axes, keep = context.config.axes("axis", None), context.config.flag("keepdims", default=False)
    x = Term(context, context.as_float(one(context)))
    every: dict[str, Any] = {"axis": axes, "keepdims": True}
    count = x.is_number.cast(str(context.dtype(x.ref))).op("sum", **every)
    apart = x.is_number.where(x - x.is_number.where(x, 0.0).op("sum", **every) / count, 0.0)
    found = (apart * apart).op("sum", **every) / count
    gone = list(range(context.rank(x.ref))) if axes is None else axes
    return found.ref if keep else context.op("squeeze", found.ref, axis=gone)


#: Operations that put in order, count, and reduce.
ROWS: Final[tuple[Lifting, ...]] = (
    operation("Sort", "argsort, gather", _sorted),
    operation("Argsort", "argsort", _places),
    operation("TopK", "argsort, gather", _largest, "of those alike the first come first"),
    operation("InTopK", "gather, sum", _in_top),
    operation("Argmin", "argmax", _least),
    operation("Median", "argsort, gather", _median, "of axes of known sizes"),
    operation("Quantile", "argsort, gather", _quantile(1), "of axes of known sizes, one number at a time"),
    operation("Percentile", "argsort, gather", _quantile(100), "of axes of known sizes, one number at a time"),
    operation("Prod", "multiply", _product, f"of floats, at most {_FACTORS} along an axis of a known size"),
    operation("Cumprod", "multiply", _so_far, "of floats, along an axis of a known size"),
    operation("Nanprod", "where, multiply", _product, f"of floats, at most {_FACTORS} along an axis of a known size"),
    operation("Nancumprod", "where, multiply", _so_far, "of floats, along an axis of a known size"),
    operation("CountNonzero", "sum", _counted),
    operation("Ptp", "max, min", _range),
    operation("Average", "mean, sum", _average),
    operation("Norm", "sum, sqrt", _norm, "of vectors"),
    operation("Moments", "mean, var", _moments),
    operation("Nansum", "sum", _without_nan("sum")),
    operation("Nanmean", "sum", _without_nan("mean")),
    operation("Nanmax", "max", _without_nan("max")),
    operation("Nanmin", "min", _without_nan("min")),
    operation("Nanvar", "sum", _deviation_of_numbers),
    operation("Nanstd", "sum, sqrt", lambda context: context.op("sqrt", _deviation_of_numbers(context))),
    operation("OneHot", "equal", _one_hot),
    operation("MultiHot", "equal, max", _multi_hot),
    operation("Digitize", "less, sum", _digitized),
)
