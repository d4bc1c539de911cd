"""How operations are lifted that look for elements in others, leave NaN out, or weigh them by their order."""

from __future__ import annotations

import math
from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import FLOATS, Context, Lift
from modelarchive.exchange.keras.lifting_dtypes import settled, turned
from modelarchive.exchange.keras.lifting_ops import cumulated, one, two, untouched
from modelarchive.exchange.keras.lifting_ordering import known_size, numbered, part
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short


def _is_in(context: Context) -> Ref:
    """IsIn: whether an element is one of those of the other."""
    context.config.flag("assume_unique", default=False)
    x, others = two(context)
    flat = context.op("reshape", others, shape=[-1])
    equal = context.op("equal", context.op("expand_dims", x, axis=-1), flat)
    found = Term(context, context.op("max", context.op("cast", equal, dtype="int32"), axis=[-1], keepdims=False)) > 0
    return (~found).ref if context.config.flag("invert", default=False) else found.ref


def _places(context: Context) -> Ref:
    """SearchSorted: how many of a sorted row stand before each value."""
    row, values = settled(context, [context.argument("sorted_sequence", 0), context.argument("values", 1)])
    if context.rank(row) != 1:
        raise Refusal(f"SearchSorted in {context.rank(row)} axes is not supported, only in a row")
    wide = Term(context, context.op("expand_dims", values, axis=-1))
    before = wide > Term(context, row)
    if context.config.text("side", "left") == "right":
        before = before | wide.equal(Term(context, row))
    return context.op("cast", before.cast("int32").op("sum", axis=[-1], keepdims=False).ref, dtype="int32")


def _sums(context: Context) -> Ref:
    """Nancumsum: NaN is 0."""
    x = one(context)
    if context.dtype(x).name not in FLOATS:
        return cumulated(context, x)
    given = Term(context, x)
    return cumulated(context, given.is_number.where(given, 0.0).ref)


def _best(name: str) -> Lift:
    """Nanargmax, Nanargmin: the place among what is no NaN; -1 where there is nothing else."""

    def lift(context: Context) -> Ref:
        keep, axis = context.config.flag("keepdims", default=False), context.config.value("axis", None)
        x = one(context)
        ordered = Term(context, x if name == "max" else turned(context, x))
        if context.dtype(x).name not in FLOATS:
            return ordered.op("argmax", axis=axis, keepdims=keep).cast("int32").ref
        is_number = ordered.is_number
        place = is_number.where(ordered, -math.inf).op("argmax", axis=axis, keepdims=keep).cast("int32")
        axes = None if axis is None else [axis]
        is_there = is_number.cast("int32").op("max", axis=axes, keepdims=keep) > 0
        return is_there.where(place, -1).cast("int32").ref

    return lift


def _ldexp(context: Context) -> Ref:
    """Ldexp: times a power of two."""
    x, power = one(context, 0, "x1"), one(context, 1, "x2")
    return (Term(context, context.as_float(x)) * (2.0 ** Term(context, context.as_float(power)))).ref


def _area(context: Context) -> Ref:
    """Trapezoid: the area below points that stand evenly."""
    context.config.expect("x", None)
    y, axis = context.as_float(one(context, 0, "y")), context.config.integer("axis", -1)
    first, second = (Term(context, part(context, y, axis, *bounds)) for bounds in ((None, -1), (1, None)))
    total = (first + second).op("sum", axis=[axis], keepdims=False)
    return (total * (0.5 * context.config.number("dx", 1.0))).ref


def _sparse(context: Context) -> Ref:
    """Sparsemax."""
    return sparsemax(context, context.as_float(one(context)), context.config.integer("axis", -1))


def sparsemax(context: Context, ref: Ref, axis: int, role: str = "") -> Ref:
    """What is above a threshold, as Keras 3.15.1 has it: from sums of sums, so that the numbers do not sum up to 1."""
    axis = context.axis(ref, axis)
    x, count = Term(context, ref), known_size(context, ref, axis)
    order = context.op("argsort", ref, axis=axis, descending=True)
    ordered = Term(context, context.op("gather", ref, order, axis=axis))
    ranks = context.op("cast", numbered(context, count), dtype=context.dtype(ref).name)
    ranks = context.op("reshape", ranks, shape=[1] * axis + [count] + [1] * (context.rank(ref) - 1 - axis))
    place = Term(context, ranks) + 1.0
    sums = ordered.op("cumsum", axis=axis)
    kept = ((place * ordered + 1.0) > sums).cast(context.dtype(ref).name)
    size = kept.op("sum", axis=[axis], keepdims=True)
    threshold = ((kept * sums).op("sum", axis=[axis], keepdims=True) - 1.0) / size
    return context.op("maximum", (x - threshold).ref, context.constant(0.0), role=role)


def _distances(context: Context) -> Ref:
    """CDist: between each vector of the one and each of the other."""
    x, y = two(context) if "x1" in context.call.kwargs else settled(
        context, [context.argument("x", 0), context.argument("y", 1)]
    )  # fmt: skip
    apart = Term(context, context.op("expand_dims", x, axis=-2)) - Term(context, context.op("expand_dims", y, axis=-3))
    return (apart * apart).op("sum", axis=[-1], keepdims=False).op("sqrt").ref


def _is_real(context: Context) -> Ref:
    """Isreal: true, of what is no complex number."""
    x = one(context)
    return context.op("broadcast_to", context.constant(True, "bool"), x, shape=[None] * context.rank(x))


def _shifted(name: str) -> Lift:
    """LeftShift, RightShift."""

    def lift(context: Context) -> Ref:
        return context.op(name, *settled(context, [context.argument("x", 0), context.argument("y", 1)]))

    return lift


def _powers(context: Context) -> Ref:
    """Vander: the powers of each element of a row."""
    x, count = one(context), context.config.value("N", None)
    count = known_size(context, x, 0) if count is None else count
    if context.rank(x) != 1 or type(count) is not int or not 1 <= count <= 1024:
        raise Refusal(f"N = {short(count)} of {context.rank(x)} axes is not supported")
    columns: list[Any] = [None] * count
    power = x
    for at in range(count):
        power = context.op("power", x, context.constant(at))
        columns[at if context.config.flag("increasing", default=False) else count - 1 - at] = power
    return context.op("stack", *columns, axis=-1)


#: Operations that look for elements.
ROWS: Final[tuple[Lifting, ...]] = (
    operation("IsIn", "equal, max", _is_in),
    operation("SearchSorted", "greater, sum", _places, "in a row"),
    operation("Nancumsum", "where, cumsum", _sums),
    operation("Nanargmax", "where, argmax", _best("max")),
    operation("Nanargmin", "where, argmax", _best("min")),
    operation("Ldexp", "power, multiply", _ldexp),
    operation("Trapezoid", "slice, add, sum", _area, "evenly spaced"),
    operation(
        "Sparsemax",
        "argsort, cumsum, maximum",
        _sparse,
        "of a known size; as Keras 3.15.1 computes it, whose sum is not 1",
    ),
    operation("CDist", "subtract, sum, sqrt", _distances),
    operation("Vander", "power, stack", _powers, "of a known size"),
    operation("Isreal", "broadcast_to", _is_real),
    operation("LeftShift", "left_shift", _shifted("left_shift")),
    operation("RightShift", "right_shift", _shifted("right_shift")),
    *(operation(name, "Identity", untouched, "of real numbers") for name in ("Real", "Conj", "Conjugate")),
)
