"""How the classes behind ``keras.ops`` are lifted: to one node, or a few, for each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.config import DTYPES
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_dtypes import as_dtype, settled
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: More places are not written into an architecture.
_MANY = 1 << 20


def one(context: Context, place: int = 0, name: str = "x") -> Ref:
    """An argument that is a tensor, or numbers."""
    found = context.argument(name, place)
    if found is None:
        raise Refusal(f"{context.layer.kind} is called without {name}")
    return context.tensor_of(found)


def two(context: Context, *, least: str = "bool") -> tuple[Ref, Ref]:
    """The two arguments of a function of two, in the dtype in which it computes, `least` at the narrowest."""
    found = [context.argument(name, place) for place, name in enumerate(("x1", "x2"))]
    if None in found:
        raise Refusal(f"{context.layer.kind} is called without {'x2' if found[0] is not None else 'x1'}")
    first, second = settled(context, found, least=least)
    return first, second


def unary(name: str, *, in_floats: bool = False) -> Lift:
    """A function of each element, that keeps its dtype or is computed in floats."""
    return lambda context: context.op(name, context.as_float(one(context)) if in_floats else one(context))


def binary(name: str, *, least: str = "bool") -> Lift:
    """A function of two tensors, element by element."""
    return lambda context: context.op(name, *two(context, least=least))


def product(context: Context) -> Ref:
    """Matmul: of numbers of 8 bits in int32."""
    first, second = two(context)
    if context.dtype(first).name == "int8":
        first, second = (as_dtype(context, each, "int32") for each in (first, second))
    return context.op("matmul", first, second)


def activated(name: str, setting: str = "", default: float = 0.0) -> Lift:
    """An activation, with its parameter."""

    def lift(context: Context) -> Ref:
        alpha = context.config.number(setting, default) if setting else None
        x = one(context) if name in ("relu", "relu6") else context.as_float(one(context))
        return context.plain("Activation", x, activation=name, alpha=alpha)

    return lift


def softmax(kind: str) -> Lift:
    """softmax, log_softmax."""

    def lift(context: Context) -> Ref:
        axes = context.config.axes("axis", -1)
        if axes is None or len(axes) != 1:
            raise Refusal(f"axis = {short(axes)} is not one axis")
        return context.plain(kind, one(context), axis=axes[0])

    return lift


def gelu(context: Context) -> Ref:
    """Gelu, exact or by tanh."""
    approximate = context.config.flag("approximate", default=True)
    return context.plain("Activation", one(context), activation="gelu_tanh" if approximate else "gelu")


def reduction(name: str) -> Lift:
    """A reduction over axes."""

    def lift(context: Context) -> Ref:
        context.config.expect("initial", None)
        context.config.expect("dtype", None)
        axes = context.config.axes("axis", None)
        keep = context.config.flag("keepdims", default=False)
        more: dict[str, Any] = {"ddof": 0} if name == "var" else {}
        x = context.as_float(one(context)) if name in ("mean", "var") else one(context)
        if name == "sum" and context.dtype(x).name in ("uint8", "uint16"):
            x = as_dtype(context, x, "int32")
        ref = context.op(name, x, axis=axes, keepdims=keep, **more)
        narrow = name == "sum" and context.dtype(x).name in ("bool", "int8", "int16", "int32")
        return as_dtype(context, ref, "int32") if narrow else ref

    return lift


def deviation(context: Context) -> Ref:
    """Std."""
    return context.op("sqrt", reduction("var")(context))  # type: ignore[arg-type]


def log_sum_exp(context: Context) -> Ref:
    """Logsumexp."""
    axes, keep = context.config.axes("axis", None), context.config.flag("keepdims", default=False)
    x = context.as_float(one(context))
    high = context.op("max", x, axis=axes, keepdims=True)
    total = context.op("sum", context.op("exp", context.op("subtract", x, high)), axis=axes, keepdims=True)
    ref = context.op("add", context.op("log", total), high)
    places = list(range(context.rank(x))) if axes is None else axes
    return ref if keep else context.op("squeeze", ref, axis=places)


def argmax(context: Context) -> Ref:
    """Argmax, whose result is int32 in Keras."""
    axis = context.config.value("axis", None)
    if axis is not None and type(axis) is not int:
        raise Refusal(f"axis = {short(axis)} is no axis")
    ref = context.op("argmax", one(context), axis=axis, keepdims=context.config.flag("keepdims", default=False))
    return context.op("cast", ref, dtype="int32", role="cast")


def joined(name: str) -> Lift:
    """Concatenate, Stack."""

    def lift(context: Context) -> Ref:
        several = context.argument("xs", 0)
        context.argument("x", 0)
        if not isinstance(several, list) or not several:
            raise Refusal(f"is called on {short(several)}, expected a list of tensors")
        return context.op(name, *settled(context, several), axis=context.config.integer("axis", 0))

    return lift


def split(context: Context) -> list[Ref]:
    """Split, by a number of parts or at places."""
    x, wanted = one(context), context.config.value("indices_or_sections")
    axis = context.config.integer("axis", 0)
    if type(wanted) is int:
        return context.ops("split", x, sizes=wanted, axis=axis)
    if not isinstance(wanted, list) or any(type(place) is not int or place < 0 for place in wanted):
        raise Refusal(f"indices_or_sections = {short(wanted)} are no places")
    places = [0, *wanted]
    sizes = [end - begin for begin, end in zip(places, wanted, strict=False)]
    return context.ops("split", x, sizes=[*sizes, -1], axis=axis)


def unstack(context: Context) -> list[Ref]:
    """Unstack: every slice along an axis."""
    x = one(context)
    context.config.value("num", None)
    axis = context.axis(x, context.config.integer("axis", 0))
    size = context.dims(x)[axis]
    if size is None or size > 1024:  # each is a step
        raise Refusal("the number of its results is not known, or beyond all reason")
    whole = [[None, None, None]] * axis
    return [context.op("slice", x, index=[*whole, place]) for place in range(size)]


def cast(context: Context) -> Ref:
    """Cast."""
    dtype = context.config.value("dtype")
    if dtype not in DTYPES:
        raise Refusal(f"dtype = {short(dtype)} is not supported")
    return context.op("cast", one(context), dtype=dtype)


def reshape(context: Context) -> Ref:
    """Reshape; a size of None is that of the batch."""
    shape = context.config.value("newshape")
    if not isinstance(shape, list) or any(size is not None and type(size) is not int for size in shape):
        raise Refusal(f"newshape = {short(shape)} is no shape")
    if None in shape[1:]:
        raise Refusal(f"newshape = {short(shape)} leaves a size open that is not the batch")
    return context.op("reshape", one(context), shape=shape)


def transpose(context: Context) -> Ref:
    """Transpose."""
    return context.op("transpose", one(context), axes=context.config.axes("axes", None))


def swapped(context: Context) -> Ref:
    """Swapaxes."""
    x = one(context)
    axes = list(range(context.rank(x)))
    first, second = (context.axis(x, context.config.integer(name)) for name in ("axis1", "axis2"))
    axes[first], axes[second] = axes[second], axes[first]
    return context.op("transpose", x, axes=axes)


def moved(context: Context) -> Ref:
    """Moveaxis."""
    x = one(context)
    source, target = (context.config.axes(name) or [] for name in ("source", "destination"))
    order = np.moveaxis(np.empty((1,) * context.rank(x)).reshape((1,) * context.rank(x)), source, target).ndim
    places = [context.axis(x, axis) for axis in source]
    rest = [axis for axis in range(order) if axis not in places]
    for to, axis in sorted((context.axis(x, to), axis) for to, axis in zip(target, places, strict=True)):
        rest.insert(to, axis)
    return context.op("transpose", x, axes=rest)


def expanded(context: Context) -> Ref:
    """ExpandDims."""
    axes = context.config.axes("axis") or []
    return context.op("expand_dims", one(context), axis=axes)


def squeezed(context: Context) -> Ref:
    """Squeeze."""
    axes = context.config.axes("axis", None)
    if axes is None:
        dims = context.dims(one(context))
        axes = [axis for axis, size in enumerate(dims) if size == 1]
    return context.op("squeeze", one(context), axis=axes)


def picked(context: Context) -> Ref:
    """GetItem: ranges and numbers."""
    x, given = one(context), context.argument("key", 1)
    index: list[Any] = []
    items = given if isinstance(given, list) else [given]
    taken = sum(1 for item in items if item is not None and item is not ...)
    if sum(item is ... for item in items) > 1:
        raise Refusal("an index with two ellipses is not supported")
    for item in items:
        if item is ...:
            index += [[None, None, None]] * (context.rank(x) - taken)
        elif isinstance(item, slice):
            bounds = [item.start, item.stop, item.step]
            if any(bound is not None and type(bound) is not int for bound in bounds):
                raise Refusal(f"the range {short(item)} is computed, which is not supported")
            index.append(bounds)
        elif item is None or type(item) is int:
            index.append(item)
        else:
            raise Refusal(f"the index {short(item)} is not supported")
    return context.op("slice", x, index=index)


def flipped(context: Context) -> Ref:
    """Flip."""
    x = one(context)
    axes = context.config.axes("axis", None)
    places = range(context.rank(x)) if axes is None else [context.axis(x, axis) for axis in axes]
    index: list[Any] = [[None, None, None] for _ in range(context.rank(x))]
    for place in places:
        index[place] = [None, None, -1]
    return context.op("slice", x, index=index)


def clip(context: Context) -> Ref:
    """Clip; whole numbers become floats beside an end that is a float, though it is none that counts."""
    config = context.config
    ends = [config.value(name, None) for name in ("x_min", "x_max")]
    found = [None if end in (-math.inf, math.inf) else config.optional(f"x_{name}")
             for name, end in zip(("min", "max"), ends, strict=True)]  # fmt: skip
    if ends[0] == math.inf or ends[1] == -math.inf:
        raise Refusal(f"Clip from {ends[0]} to {ends[1]} is not supported")
    x = one(context)
    x = context.as_float(x) if any(type(end) is float for end in ends) else x
    if context.dtype(x).kind == "b":
        x = as_dtype(context, x, "int32")
    if found == [None, None]:
        return context.plain("Identity", x)
    return as_dtype(context, context.op("clip", x, low=found[0], high=found[1]), context.dtype(x).name)


def rounded(context: Context) -> Ref:
    """Round."""
    if decimals := context.config.optional("decimals"):
        raise Refusal(f"Round to {decimals} decimals is not supported, only to whole numbers")
    return context.op("round", one(context))


def taken(context: Context) -> Ref:
    """Take."""
    axis = context.config.value("axis", None)
    x, places = one(context), one(context, 1, "indices")
    if type(axis) is not int:
        x, axis = context.op("reshape", x, shape=[-1]), 0
    return context.op("take", x, places, axis=axis)


def taken_along(context: Context) -> Ref:
    """TakeAlongAxis."""
    return context.op("gather", one(context), one(context, 1, "indices"), axis=context.config.integer("axis"))


def einsum(context: Context) -> Ref:
    """Einsum, written out."""
    pattern = context.config.text("subscripts").replace(" ", "")
    several = settled(context, [context.tensor_of(each) for each in context.call.args])
    if several and context.dtype(several[0]).name == "int8":
        several = [as_dtype(context, each, "int32") for each in several]
    context._used.update(range(len(several)))
    return context.op("einsum", *several, pattern=pattern)


def dotted(context: Context) -> Ref:
    """Dot and Tensordot over the last axis of the one and the first of the other."""
    x, y = two(context)
    axes = context.config.value("axes", 1)
    if axes != 1 or not context.rank(x) or context.rank(y) not in (1, 2):
        raise Refusal(
            f"axes = {short(axes)} of tensors of {context.rank(x)} and {context.rank(y)} axes is not supported"
        )
    return context.op("matmul", x, y)


def cumulated(context: Context, x: Ref | None = None) -> Ref:
    """Cumsum, of what it is called on or of another tensor."""
    context.config.expect("dtype", None)
    axis = context.config.value("axis", None)
    x = one(context) if x is None else x
    if axis is None:
        x, axis = context.op("reshape", x, shape=[-1]), 0
    # What is summed up is int64 in the vocabulary.
    dtype = context.dtype(x).name
    return as_dtype(context, context.op("cumsum", x, axis=axis), "int32" if dtype == "bool" else dtype)


def square(context: Context) -> Ref:
    """Square."""
    x = one(context)
    x = as_dtype(context, x, "int32") if context.dtype(x).kind == "b" else x
    return context.op("multiply", x, x)


def reciprocal(context: Context) -> Ref:
    """Reciprocal."""
    return context.op("divide", context.constant(1.0), context.as_float(one(context)))


def stretched(context: Context) -> Ref:
    """BroadcastTo."""
    shape = context.config.value("shape")
    if not isinstance(shape, list) or any(size is not None and type(size) is not int for size in shape):
        raise Refusal(f"shape = {short(shape)} is no shape")
    x = one(context)
    return context.op("broadcast_to", x, x, shape=shape)


def repeated(context: Context) -> Ref:
    """Repeat of each element along an axis."""
    x = one(context)
    axis, times = context.axis(x, context.config.integer("axis")), context.config.integer("repeats")
    dims = context.dims(x)
    size = dims[axis]
    if size is None or not 1 <= times <= _MANY // max(size, 1):
        raise Refusal("repeats along an axis of a size that is not known, or beyond all reason")
    spend("a repetition", elements=size * times)
    places = np.repeat(np.arange(size), times)
    return context.op("take", x, context.constant(places, "int64"), axis=axis)


def tiled(context: Context) -> Ref:
    """Tile: copies behind each other."""
    x = one(context)
    times = context.config.axes("repeats") or []
    times = [1] * (context.rank(x) - len(times)) + times
    for axis, each in enumerate(times):
        if each != 1:
            if not 1 <= each <= 64:
                raise Refusal(f"{each} copies along an axis are not supported")
            x = context.op("concatenate", *[x] * each, axis=axis)
    return x


def untouched(context: Context) -> Ref:
    """What changes nothing in inference."""
    for name in ("dtype", "sparse", "ragged"):
        context.config.expect(name, None)
    return context.plain("Identity", one(context))


def glu(context: Context) -> Ref:
    """Glu: one half times the sigmoid of the other."""
    first, second = context.ops("split", one(context), sizes=2, axis=context.config.integer("axis", -1))
    return context.op("multiply", first, context.plain("Activation", second, activation="sigmoid"))
