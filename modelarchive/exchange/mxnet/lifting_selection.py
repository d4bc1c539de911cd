"""How MXNet's operators are lifted that choose elements: by conditions, by indices, by their order, by masks."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.lifting_context import Context, Lift
from modelarchive.exchange.mxnet.lifting_dtypes import is_whole
from modelarchive.exchange.mxnet.lifting_rounding import floor
from modelarchive.exchange.mxnet.lifting_shapes import places
from modelarchive.exchange.mxnet.lifting_truths import both, either
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

#: So many of the largest elements are found one after the other; more by counting how many are larger than each.
_FEW: Final = 8
#: Elements along an axis that are compared with each other.
_MAX_COMPARED: Final = 8192


# ---------------------------------------------------------------------- conditions


def _where(context: Context) -> Ref:
    """One of two arrays, by a condition."""
    if not context.is_numpy and context.rank(0) != context.rank(1):
        raise Refusal("a condition with another number of axes, which chooses rows, is not supported")
    return context.op("where", *context.refs())


def _where_number(*, first: bool) -> Lift:
    """An array or a number, by a condition; in the dtype of the array."""

    def lift(context: Context) -> Ref:
        value = context.attributes.real("scalar", 0.0)
        dtype = context.dtype(context.ref(1))
        number = context.constant(value, dtype)
        pair = (number, context.ref(1)) if first else (context.ref(1), number)
        return context.op("where", context.ref(0), *pair)

    return lift


def _where_numbers(context: Context) -> Ref:
    """One of two numbers, by a condition."""
    pair = [context.constant(context.attributes.real(name, 0.0), np.float32) for name in ("x", "y")]
    return context.op("where", context.ref(0), *pair)


# ---------------------------------------------------------------------- indices


def _take(context: Context) -> Ref:
    """Slices by their numbers."""
    at = context.attributes
    axis, mode = at.integer("axis", 0), at.text("mode", "clip")
    size = context.shape(0)[context.axis(axis)] if context.is_known(0) else None
    return context.op("take", context.ref(0), _inside(context, context.whole(1), size, mode), axis=axis)


def _inside(context: Context, indices: Ref, size: int | None, mode: str) -> Ref:
    """Indices as MXNet takes those outside: the nearest, or counted again from the beginning."""
    if mode == "wrap":
        if not size:
            raise Refusal("indices that begin again along a free axis are not supported: pass inputs= with fixed sizes")
        return _wrapped(context, indices, size)
    if mode == "raise":
        return indices
    if mode != "clip":
        raise Refusal(f"mode = {mode!r} is not supported")
    if not size:
        context.note("an index behind the end of the array is an error; MXNet takes the nearest")
    return context.op("clip", indices, low=0, high=size - 1 if size else None)


def _wrapped(context: Context, indices: Ref, size: int) -> Ref:
    """Indices counted again from the beginning, where they are behind the end."""
    quotient = context.op("divide", context.cast(indices, np.float64), context.constant(float(size)))
    whole = context.cast(floor(context, quotient), np.int64)
    indices = context.cast(indices, np.int64)
    return context.op("subtract", indices, context.op("multiply", whole, context.constant(size)))


def _pick(context: Context) -> Ref:
    """Of each row along an axis one element."""
    at = context.attributes
    axis, keepdims, mode = at.optional("axis") if "axis" in at.texts else -1, at.flag("keepdims", default=False), ""
    mode = at.text("mode", "clip")
    if axis is None:
        raise Refusal("one element of all is not supported, only one along an axis")
    axis = context.axis(axis)
    size = context.shape(0)[axis]
    indices = context.whole(1)
    if context.rank(1) < context.rank(0):
        indices = context.op("expand_dims", indices, axis=axis)
    found = context.op("gather", context.ref(0), _inside(context, indices, size, mode), axis=axis)
    return found if keepdims else context.op("squeeze", found, axis=axis)


def _gather_nd(context: Context) -> Ref:
    """Slices by indices of the first axes, which stand along the first axis of the indices."""
    count = context.shape(1)[0] if context.rank(1) else None
    shape = context.shape(0)
    if count is None or not 1 <= count <= len(shape) or None in shape[1:count]:
        raise Refusal("indices of axes of which the sizes are not known are not supported: pass inputs=")
    indices, table = context.whole(1), context.ref(0)
    parts = [context.op("slice", indices, index=[at]) for at in range(count)]
    # Those outside are counted again from the beginning, those below 0 from the end.
    parts = [_wrapped(context, part, size) if size else part for part, size in zip(parts, shape, strict=False)]
    place = parts[0]
    for part, size in zip(parts[1:], shape[1:count], strict=True):
        place = context.op("add", context.op("multiply", place, context.constant(size or 0)), part)
    if count > 1:
        rest = [-1 if size is None else size for size in shape[count:]]
        if -1 in rest and None in shape[:1]:
            raise Refusal("several axes of which the sizes are not known are not supported: pass inputs=")
        first = -1 if shape[0] is None else int(np.prod([size or 0 for size in shape[:count]]))
        table = context.op("reshape", table, shape=[first, *rest])
    return context.op("take", table, place, axis=0)


def _one_hot(context: Context) -> Ref:
    """A row for each index: one value at its place, another elsewhere."""
    at = context.attributes
    depth, dtype = at.integer("depth"), at.text("dtype", "float32")
    on, off = at.number("on_value", 1.0), at.number("off_value", 0.0)
    if not 0 < depth <= _MAX_COMPARED:
        raise Refusal(f"{depth:,} places are not supported, only 1 to {_MAX_COMPARED:,}")
    indices = context.op("expand_dims", context.whole(0), axis=-1)
    hot = context.op("equal", context.cast(indices, np.int64), context.array(np.arange(depth)))
    if (on, off) == (1, 0):
        return context.cast(hot, dtype)
    return context.op("where", hot, context.constant(on, dtype), context.constant(off, dtype))


# ---------------------------------------------------------------------- order


def _topk(context: Context) -> Any:
    """The largest or smallest few along an axis: their values, their places, both, or where they are."""
    at = context.attributes
    count, form = at.integer("k", 1), at.text("ret_typ", "indices")
    ascending, dtype = at.flag("is_ascend", default=False), at.text("dtype", "float32")
    x, axis = _rows(context)
    size = context.builder.known(x, "topk").declared[axis]
    count = (size or 0) if count < 1 else count
    if form not in ("value", "indices", "both", "mask"):
        raise Refusal(f"ret_typ = {form!r} is not supported")
    if count < 1 or (size is not None and count > size):
        raise Refusal(f"the first {count:,} of {size or 'an unknown number of'} elements are not supported")
    found = _first(context, x, axis, count, ascending=ascending)
    if form == "mask":
        spread = context.op("expand_dims", found, axis=-1)
        rank = len(context.builder.known(x, "topk").declared)
        last = _moved(context, spread, axis, rank - 1, rank + 1)
        equal = context.op("equal", last, places(context, x, axis))
        hot = context.op("max", context.cast(equal, context.dtype(x)), axis=-2, keepdims=False)
        hot = _moved(context, hot, rank - 1, axis, rank)
        if at.text("axis", "-1") == "None":
            raise Refusal("a mask of all elements is not supported, only one along an axis")
        return hot
    values = context.op("gather", x, found, axis=axis) if form != "indices" else found
    indices = context.cast(found, dtype)
    return {"value": values, "indices": indices, "both": (values, indices)}[form]


def _sort(*, of_places: bool) -> Lift:
    """All elements along an axis in order; or their places."""

    def lift(context: Context) -> Ref:
        at = context.attributes
        # What is exported calls it is_ascend_s, MXNet itself is_ascend.
        ascending = at.flag("is_ascend_s", default=at.flag("is_ascend", default=True))
        x, axis = _rows(context)
        size = context.builder.known(x, context.node.op).declared[axis]
        if size is None:
            raise Refusal("an axis of which the size is not known is not sorted: pass inputs= with fixed sizes")
        found = _first(context, x, axis, size, ascending=ascending)
        if of_places:
            return context.cast(found, at.text("dtype", "float32"))
        return context.op("gather", x, found, axis=axis)

    return lift


def _rows(context: Context) -> tuple[Ref, int]:
    """What is put in order, and along which axis; all elements are one row."""
    axis = context.attributes.optional("axis") if "axis" in context.attributes.texts else -1
    if axis is None:
        return context.op("reshape", context.ref(0), shape=[-1]), 0
    return context.ref(0), context.axis(axis)


def _first(context: Context, x: Ref, axis: int, count: int, *, ascending: bool) -> Ref:
    """The places of the first so many elements in order, along the same axis; of equal ones the first is first."""
    keys = key(context, x, is_turned=ascending)
    if count > _FEW:
        return _ranked(context, keys, axis, count)
    dtype = context.dtype(keys)
    whole = is_whole(dtype)
    numbers = np.iinfo(dtype) if whole else np.finfo(dtype)
    # Least, for what is taken already, is less than everything there is.
    keys = context.op("maximum", keys, context.constant(numbers.min + 1 if whole else float(numbers.min), dtype))
    least = context.constant(int(numbers.min) if whole else -np.inf, dtype)
    found = []
    for at in range(count):
        found.append(context.op("argmax", keys, axis=axis, keepdims=True))
        if at + 1 < count:
            rank = len(context.builder.known(x, context.node.op).declared)
            along = context.op("reshape", places(context, x, axis), shape=[-1, *[1] * (rank - 1 - axis)])
            keys = context.op("where", context.op("equal", along, found[-1]), least, keys)
    return found[0] if count == 1 else context.op("concatenate", *found, axis=axis)


def key(context: Context, x: Ref, *, is_turned: bool) -> Ref:
    """What elements are put in order by: themselves, or what is the larger the smaller they are."""
    dtype = context.dtype(x)
    if dtype.kind in "bu" and dtype.itemsize < 8:
        x = context.cast(x, np.int64)
    elif dtype.kind == "u":
        raise Refusal("unsigned integers of 64 bits are not put in order")
    if not is_turned:
        return x
    if not is_whole(context.dtype(x)):
        return context.op("negative", x)
    # The smallest number of a dtype has no negative.
    return context.op("subtract", context.constant(-1, context.dtype(x)), x)


def _ranked(context: Context, key: Ref, axis: int, count: int) -> Ref:
    """The same by comparing all elements of a row with each other."""
    known = context.builder.known(key, context.node.op).declared
    size, rank = known[axis], len(known)
    if size is None or size > _MAX_COMPARED:
        raise Refusal(f"the order of more than {_MAX_COMPARED:,} elements is not supported")
    row = _moved(context, key, axis, rank - 1, rank)
    column, line = context.op("expand_dims", row, axis=-1), context.op("expand_dims", row, axis=-2)
    at = np.arange(size, dtype=np.int64)
    numbers = context.array(at)
    before = context.op("less", numbers, context.op("expand_dims", numbers, axis=-1))
    ties = both(context, context.op("equal", line, column), before)
    ahead = either(context, context.op("greater", line, column), ties)
    ranks = context.op("sum", context.cast(ahead, np.int64), axis=-1, keepdims=False)
    wanted = context.op("expand_dims", context.array(at[:count]), axis=-1)
    here = context.op("equal", context.op("expand_dims", ranks, axis=-2), wanted)
    found = context.op("argmax", context.cast(here, np.int8), axis=-1, keepdims=False)
    return _moved(context, found, rank - 1, axis, rank)


def _moved(context: Context, x: Ref, source: int, target: int, rank: int) -> Ref:
    if source == target:
        return x
    axes = [axis for axis in range(rank) if axis != source]
    axes.insert(target, source)
    return context.op("transpose", x, axes=axes)


# ---------------------------------------------------------------------- masks


def _triangle(*, lower: bool) -> Lift:
    """What stands below a diagonal of the last two axes, or above it; zeros elsewhere."""

    def lift(context: Context) -> Ref:
        diagonal = context.attributes.integer("k", 0)
        rank = context.rank(0)
        if rank < 2:
            raise Refusal(f"a triangle of {rank} axes is not supported")
        x = context.ref(0)
        rows, columns = (places(context, x, axis) for axis in (rank - 2, rank - 1))
        beside = context.op("subtract", columns, context.op("reshape", rows, shape=[-1, 1]))
        kept = (
            context.op("less", beside, context.constant(diagonal + 1))
            if lower
            else context.op("greater", beside, context.constant(diagonal - 1))
        )
        return context.op("where", kept, x, context.constant(0, context.dtype(x)))

    return lift


def _masked_softmax(kind: str) -> Lift:
    """A softmax over what a mask leaves; a row of which it leaves nothing is zeros."""

    def lift(context: Context) -> Ref:
        context.attributes.flag("normalize", default=True)
        mask = context.ref(1)
        return _masked(context, kind, _tempered(context), mask, context.attributes.integer("axis", -1))

    return lift


def _softmax(kind: str) -> Lift:
    """Softmax or its logarithm, with a temperature; or of so many elements of each row."""

    def lift(context: Context) -> Ref:
        at = context.attributes
        axis, dtype = at.integer("axis", -1), at.text("dtype", "None")
        counted = at.text("use_length", "None") != "None" and at.flag("use_length", default=False)
        x = _tempered(context)
        if dtype != "None":
            x = context.cast(x, dtype)
        if not counted:
            return context.block({"kind": kind, "axis": axis}, x)
        if kind != "Softmax":
            raise Refusal("use_length is not supported for a logarithm")
        axis, rank = context.axis(axis), context.rank(0)
        along = context.op("reshape", places(context, x, axis), shape=[-1, *[1] * (rank - 1 - axis)])
        lengths = context.op("expand_dims", context.whole(1), axis=axis)
        return _masked(context, kind, x, context.op("less", along, lengths), axis)

    return lift


def _tempered(context: Context) -> Ref:
    temperature = context.attributes.text("temperature", "None")
    x = context.ref(0)
    if temperature == "None" or context.attributes.number("temperature") == 1:
        return x
    return context.op("divide", x, context.constant(context.attributes.number("temperature")))


def _masked(context: Context, kind: str, x: Ref, mask: Ref, axis: int) -> Ref:
    dtype = context.dtype(x)
    if is_whole(dtype):
        raise Refusal("a softmax of integers is not supported")
    lowest = context.constant(float(np.finfo(dtype).min), dtype)
    found = context.block({"kind": kind, "axis": axis}, context.op("where", mask, x, lowest))
    nothing = context.constant(0.0 if kind == "Softmax" else -np.inf, dtype)
    return context.op("where", mask, found, nothing)


_RANGE: Final = "along a free axis, an index behind the end is an error here, and the nearest in MXNet: with a note"
ROWS: Final = (
    Lifting("softmax _npx_softmax", "Softmax", _softmax("Softmax"), "with use_length a softmax and where"),
    Lifting("log_softmax _npx_log_softmax", "LogSoftmax", _softmax("LogSoftmax")),
    Lifting("take _npi_take", "take", _take, _RANGE),
    Lifting("pick _npx_pick", "gather", _pick),
    Lifting("gather_nd _npi_gather_nd _npx_gather_nd", "take", _gather_nd),
    Lifting("one_hot _npx_one_hot", "equal, cast, where", _one_hot),
    Lifting("topk _npx_topk", "argmax, gather", _topk, "of equal ones the first, which MXNet leaves open"),
    Lifting("sort _npi_sort", "greater, sum, gather", _sort(of_places=False), "of an axis of known size"),
    Lifting("argsort _npi_argsort", "greater, sum", _sort(of_places=True), "of an axis of known size"),
    Lifting("where _npi_where", "where", _where, "a condition that chooses rows is refused"),
    Lifting("_npi_where_rscalar", "where", _where_number(first=False)),
    Lifting("_npi_where_lscalar", "where", _where_number(first=True)),
    Lifting("_npi_where_scalar2", "where", _where_numbers),
    Lifting("_npi_tril", "where", _triangle(lower=True)),
    Lifting("_npi_triu", "where", _triangle(lower=False)),
    Lifting("masked_softmax _npx_masked_softmax", "Softmax, where", _masked_softmax("Softmax")),
    Lifting("masked_log_softmax _npx_masked_log_softmax", "LogSoftmax, where", _masked_softmax("LogSoftmax")),
)
