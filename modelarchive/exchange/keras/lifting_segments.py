"""How operations are lifted that bring elements together by the places that others name: segments, scatters."""

from __future__ import annotations

import math
from typing import Final

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_dtypes import as_dtype
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: More segments, or elements, are not made.
_MANY: Final = 1 << 22
#: What a segment without elements is, of floats.
_EMPTY: Final = {"add": 0.0, "multiply": 1.0, "maximum": -math.inf, "minimum": math.inf}


def _segments(reduction: str) -> Lift:
    """SegmentSum and its like: rows that have one number become one; those of no segment are left out."""

    def lift(context: Context) -> Ref:
        context.config.flag("sorted", default=False)
        count = context.config.value("num_segments", None)
        if type(count) is not int or not 1 <= count <= _MANY:
            raise Refusal(f"num_segments = {short(count)}, expected how many segments there are")
        data, places = context.argument("data", 0), context.argument("segment_ids", 1)
        x = context.tensor_of(data)
        dtype = context.dtype(x).name
        if context.dtype(x).kind != "f":
            raise Refusal(f"{context.layer.kind} of {dtype} is not supported, only of floats")
        rest = context.dims(x)[1:]
        if None in rest:
            raise Refusal(f"{context.layer.kind} along axes of sizes that are not known: pass inputs=")
        wide = Term(context, as_dtype(context, context.tensor_of(places), "int64"))
        # One segment more, for what is in none; it is cut off again.
        wide = (wide < 0).where(count, wide).op("minimum", count)
        for at in range(len(rest)):
            wide = wide.op("expand_dims", axis=at + 1)
        sizes = [count + 1, *(size or 0 for size in rest)]
        start = _filled(context, sizes, _EMPTY[reduction], dtype)
        stretched = context.op("broadcast_to", wide.ref, x, shape=[None] * len(sizes))
        found = context.op("scatter", start, stretched, x, axis=0, reduction=reduction)
        return context.op("slice", found, index=[[None, -1, None]])

    return lift


def _filled(context: Context, sizes: list[int], value: float, dtype: str) -> Ref:
    """An array that is one number everywhere."""
    if math.prod(sizes) > _MANY:
        raise Refusal(f"{math.prod(sizes):,} elements are beyond all reason")
    spend("an array of one number", elements=math.prod(sizes))
    single = context.constant([value], dtype)
    single = context.op("reshape", single, shape=[1] * len(sizes))
    return context.op("broadcast_to", single, single, shape=sizes)


def _scattered(context: Context) -> Ref:
    """Scatter: zeros, and at the places that are given the sum of what is brought there."""
    indices, values, shape = (context.argument(name, at) for at, name in enumerate(("indices", "values", "shape")))
    shape = context.config.value("shape", None) if shape is None else shape
    if not isinstance(shape, list) or not shape or any(type(size) is not int or size < 1 for size in shape):
        raise Refusal(f"shape = {short(shape)}, expected sizes")
    x = context.tensor_of(values)
    start = _filled(context, shape, 0, context.dtype(x).name)
    return _written(context, start, shape, context.tensor_of(indices), x, "add")


def _updated(context: Context) -> Ref:
    """ScatterUpdate: what stands at the places that are given is replaced, or added to."""
    x, indices, updates = (
        context.tensor_of(context.argument(name, at)) for at, name in enumerate(("inputs", "indices", "updates"))
    )
    how = context.config.value("reduction", None)
    known = {None: "none", "add": "add", "mul": "multiply", "max": "maximum", "min": "minimum"}
    if how not in known:
        raise Refusal(f"reduction = {short(how)} is not supported")
    dims = context.dims(x)
    return _written(context, x, dims, indices, as_dtype(context, updates, context.dtype(x).name), known[how])


def _written(
    context: Context, x: Ref, dims: list[int | None] | list[int], indices: Ref, updates: Ref, reduction: str
) -> Ref:
    """Updates written at places ``(..., depth)`` of the first axes of `x`."""
    depth = context.dims(indices)[-1]
    if depth is None or not 1 <= depth <= len(dims) or None in dims[1:]:
        raise Refusal(f"{context.layer.kind} needs known sizes: pass inputs=")
    sizes = [size or 0 for size in dims]
    places = Term(context, as_dtype(context, indices, "int64"))
    steps = [math.prod(sizes[at + 1 : depth]) for at in range(depth)]
    # Places from the end; along the first axis they are from the end of all rows as they are.
    behind = Term(context, context.constant([0, *sizes[1:depth]], "int64"))
    places = (places < 0).where(places + behind, places)
    flat = (places * Term(context, context.constant(steps, "int64"))).op("sum", axis=[-1], keepdims=False)
    flat = flat.op("reshape", shape=[-1])
    rest = sizes[depth:]
    rows: list[int] = [-1, *rest]
    whole = context.op("reshape", x, shape=rows)
    given = context.op("reshape", updates, shape=rows)
    for at in range(len(rest)):
        flat = flat.op("expand_dims", axis=at + 1)
    stretched = context.op("broadcast_to", flat.ref, given, shape=[None] * len(rows))
    found = context.op("scatter", whole, stretched, given, axis=0, reduction=reduction)
    return context.op("reshape", found, shape=[-1 if dims[0] is None else sizes[0], *sizes[1:]])


#: Operations that bring elements together.
ROWS: Final[tuple[Lifting, ...]] = (
    *(
        operation(f"Segment{name}", "scatter", _segments(how), "of floats, of a known number of segments")
        for name, how in (("Sum", "add"), ("Prod", "multiply"), ("Max", "maximum"), ("Min", "minimum"))
    ),
    operation("Scatter", "scatter", _scattered, "into a known shape"),
    operation("ScatterUpdate", "scatter", _updated, "of known sizes but the first"),
)
