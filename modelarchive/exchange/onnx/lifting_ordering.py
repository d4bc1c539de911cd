"""How ONNX's operators are lifted that order elements, or write them at computed places."""

from __future__ import annotations

from typing import Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_sizes import along, shaped, sizes_of
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.nn.dim import Dim

_WHOLE: Final = [None, None, None]
_REDUCTIONS: Final = {"none": "none", "add": "add", "mul": "multiply", "max": "maximum", "min": "minimum"}


def _top(context: Context) -> tuple[Ref, Ref]:
    """The first places of an order, and the elements there."""
    axis = context.axis(context.node.integer("axis", -1))
    largest = context.node.flag("largest", default=True)
    context.node.flag("sorted", default=True)
    (count,) = context.sizes(1)
    size = sizes_of(context)[axis]
    order = context.op("argsort", context.ref(0), axis=axis, descending=largest)
    if isinstance(count, Dim):
        if not isinstance(size, Dim) or size.pair != count.pair:
            raise Refusal("TopK of as many elements as a size that is not fixed is not supported: pass inputs=")
    elif not isinstance(size, Dim) and not 0 <= count <= size:
        raise Refusal(f"TopK of {count} elements from {size} is not supported")
    elif count != size:
        order = context.op("slice", order, index=[*[_WHOLE] * axis, [None, count, None]])
    return context.op("gather", context.ref(0), order, axis=axis), order


def _reduction(context: Context) -> str:
    found = context.node.text("reduction", "none")
    if found not in _REDUCTIONS:
        raise Refusal(f"reduction = {found!r} is not supported")
    return _REDUCTIONS[found]


def _scatter_elements(context: Context) -> Ref:
    axis = context.axis(context.node.integer("axis", 0))
    context.alike(0, 2)
    reduction = _reduction(context)
    return context.op("scatter", context.ref(0), context.ref(1), context.ref(2), axis=axis, reduction=reduction)


def _scatter_nd(context: Context) -> Ref:
    """Places in several axes at once: those axes made one, and the places counted along it."""
    context.alike(0, 2)
    sizes, count = sizes_of(context), context.shape(1)[-1]
    if not count or count > len(sizes) or any(isinstance(each, Dim) for each in sizes[count:]):
        raise Refusal("ScatterND of rows whose axes that are not fixed is not supported: pass inputs=")
    places = context.as_dtype(context.ref(1), "int64")
    rank = len(context.shape(1))
    flat: Ref | None = None
    for axis in range(count):
        own = context.op("slice", places, index=[*[_WHOLE] * (rank - 1), axis])
        if isinstance(sizes[axis], Dim):
            size = context.op("slice", context.op("shape_of", context.ref(0)), index=[axis])
        else:
            size = context.literal(int(sizes[axis]), "int64")
        below = context.op("less", own, context.literal(0, "int64"))
        own = context.op("where", below, context.op("add", own, size), own)
        flat = own if flat is None else context.op("add", context.op("multiply", flat, size), own)
    rest = [int(each) for each in sizes[count:]]
    inner = int(np.prod(rest)) if rest else 1
    column = context.op("reshape", flat, shape=[-1, 1]) if flat is not None else None
    if column is None:
        raise Refusal("ScatterND without places is not supported")
    # One row of what is left for each place.
    if inner > 1:
        step = context.op("multiply", column, context.literal(inner, "int64"))
        column = context.op("add", step, context.fixed(context.counting(inner)))
    indices = context.op("reshape", column, shape=[-1])
    updates = context.op("reshape", context.ref(2), shape=[-1])
    whole = context.op("reshape", context.ref(0), shape=[-1])
    found = context.op("scatter", whole, indices, updates, axis=0, reduction=_reduction(context))
    return shaped(context, found, [each if isinstance(each, Dim) else int(each) for each in sizes])


def _tensor_scatter(context: Context) -> Ref:
    """What is new is written into a cache, behind what is there, or round from its end to its beginning."""
    axis, mode = context.axis(context.node.integer("axis", -2)), context.node.text("mode", "linear")
    if mode not in ("linear", "circular") or axis == 0:
        raise Refusal(f"TensorScatter along axis {axis} in the mode {mode!r} is not supported")
    context.alike(0, 1)
    shape, new = context.shape(0), context.shape(1)
    if None in shape or None in new:
        raise Refusal("TensorScatter of sizes that are not fixed is not supported: pass inputs=")
    rank, sizes = len(new), [int(each or 0) for each in new]
    steps = context.counting(sizes[axis]).reshape([-1] + [1] * (rank - axis - 1))
    places: Ref = context.fixed(steps)
    if context.has(2):
        first = context.as_dtype(context.op("reshape", context.ref(2), shape=[-1] + [1] * (rank - 1)), "int64")
        places = context.op("add", first, places)
    if mode == "circular":
        places = context.op("remainder", places, context.literal(int(shape[axis] or 1), "int64"))
    places = context.op("broadcast_to", places, places, shape=sizes)
    return context.op("scatter", context.ref(0), places, context.ref(1), axis=axis, reduction="none")


def _reverse_sequence(context: Context) -> Ref:
    """Each sequence backwards, as long as it is."""
    time = context.axis(context.node.integer("time_axis", 0))
    batch = context.axis(context.node.integer("batch_axis", 1))
    x, rank = context.ref(0), context.rank(0)
    steps = context.op("reshape", along(context, x, time), shape=[-1 if axis == time else 1 for axis in range(rank)])
    lengths = context.op(
        "reshape", context.as_dtype(context.ref(1), "int64"), shape=[-1 if axis == batch else 1 for axis in range(rank)]
    )
    last = context.op("subtract", lengths, context.literal(1, "int64"))
    inside = context.op("less", steps, lengths)
    return context.op("gather", x, context.op("where", inside, context.op("subtract", last, steps), steps), axis=time)


ROWS: Final[list[Lifting]] = [
    Lifting("TopK", "argsort, slice, gather", _top, "how many known"),
    Lifting("ScatterElements", "scatter", _scatter_elements),
    Lifting("Scatter", "scatter", _scatter_elements, "as ScatterElements"),
    Lifting("ScatterND", "reshape, scatter", _scatter_nd, "sizes of rows known"),
    Lifting("TensorScatter", "scatter", _tensor_scatter, "sizes known"),
    Lifting("ReverseSequence", "where, gather", _reverse_sequence),
]
