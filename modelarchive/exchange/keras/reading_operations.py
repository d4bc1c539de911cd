"""Functions of ``keras.ops``: one step, or a few, for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.keras.config import DTYPES
from modelarchive.exchange.keras.reading_windows import spatial
from modelarchive.exchange.keras.scope import At
from modelarchive.exchange.keras.step import Step
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

Read = Callable[[Step], At | list[At]]
#: More places are not written into an architecture.
_MANY = 1 << 20


def one(step: Step, place: int = 0, name: str = "x") -> At:
    """An argument that is a tensor, or numbers."""
    found = step.argument(name, place)
    if found is None:
        raise Refusal(f"{step.layer.kind} is called without {name}")
    return step.tensor_of(found)


def two(step: Step) -> tuple[At, At]:
    """The two arguments of a function of two."""
    return one(step, 0, "x1"), one(step, 1, "x2")


def unary(name: str) -> Read:
    """A function of each element."""
    return lambda step: step.op(name, one(step))


def binary(name: str) -> Read:
    """A function of two tensors, element by element."""
    return lambda step: step.op(name, *two(step))


def activated(name: str, setting: str = "", default: float = 0.0) -> Read:
    """An activation, with its parameter."""

    def read(step: Step) -> At:
        alpha = step.config.number(setting, default) if setting else None
        return step.plain("Activation", one(step), activation=name, alpha=alpha)

    return read


def softmax(kind: str) -> Read:
    """softmax, log_softmax."""

    def read(step: Step) -> At:
        axes = step.config.axes("axis", -1)
        if axes is None or len(axes) != 1:
            raise Refusal(f"axis = {short(axes)} is not one axis")
        return step.plain(kind, one(step), axis=axes[0])

    return read


def gelu(step: Step) -> At:
    """Gelu, exact or by tanh."""
    approximate = step.config.flag("approximate", default=True)
    return step.plain("Activation", one(step), activation="gelu_tanh" if approximate else "gelu")


def reduction(name: str) -> Read:
    """A reduction over axes."""

    def read(step: Step) -> At:
        step.config.expect("initial", None)
        step.config.expect("dtype", None)
        axes = step.config.axes("axis", None)
        keep = step.config.flag("keepdims", default=False)
        more: dict[str, Any] = {"ddof": 0} if name == "var" else {}
        return step.op(name, step.as_float(one(step)) if name in ("mean", "var") else one(step),
                       axis=axes, keepdims=keep, **more)  # fmt: skip

    return read


def deviation(step: Step) -> At:
    """Std."""
    return step.op("sqrt", reduction("var")(step))  # type: ignore[arg-type]


def log_sum_exp(step: Step) -> At:
    """Logsumexp."""
    axes, keep = step.config.axes("axis", None), step.config.flag("keepdims", default=False)
    x = one(step)
    high = step.op("max", x, axis=axes, keepdims=True)
    total = step.op("sum", step.op("exp", step.op("subtract", x, high)), axis=axes, keepdims=True)
    at = step.op("add", step.op("log", total), high)
    places = list(range(step.rank(x))) if axes is None else axes
    return at if keep else step.op("squeeze", at, axis=places)


def argmax(step: Step) -> At:
    """Argmax, whose result is int32 in Keras."""
    axis = step.config.value("axis", None)
    if axis is not None and type(axis) is not int:
        raise Refusal(f"axis = {short(axis)} is no axis")
    at = step.op("argmax", one(step), axis=axis, keepdims=step.config.flag("keepdims", default=False))
    return step.op("cast", at, dtype="int32", wish=f"{step.layer.name}_cast")


def joined(name: str) -> Read:
    """Concatenate, Stack."""

    def read(step: Step) -> At:
        several = step.argument("xs", 0)
        step.argument("x", 0)
        if not isinstance(several, list) or not several:
            raise Refusal(f"is called on {short(several)}, expected a list of tensors")
        return step.op(name, *map(step.tensor_of, several), axis=step.config.integer("axis", 0))

    return read


def split(step: Step) -> list[At]:
    """Split, by a number of parts or at places."""
    x, wanted = one(step), step.config.value("indices_or_sections")
    axis = step.config.integer("axis", 0)
    if type(wanted) is int:
        return step.ops("split", x, sizes=wanted, axis=axis)
    if not isinstance(wanted, list) or any(type(place) is not int or place < 0 for place in wanted):
        raise Refusal(f"indices_or_sections = {short(wanted)} are no places")
    places = [0, *wanted]
    sizes = [end - begin for begin, end in zip(places, wanted, strict=False)]
    return step.ops("split", x, sizes=[*sizes, -1], axis=axis)


def unstack(step: Step) -> list[At]:
    """Unstack: every slice along an axis."""
    x = one(step)
    step.config.value("num", None)
    axis = step.axis(x, step.config.integer("axis", 0))
    size = step.dims(x)[axis]
    if size is None or size > 1024:  # each is a step
        raise Refusal("the number of its results is not known, or beyond all reason")
    whole = [[None, None, None]] * axis
    return [step.op("slice", x, index=[*whole, place]) for place in range(size)]


def cast(step: Step) -> At:
    """Cast."""
    dtype = step.config.value("dtype")
    if dtype not in DTYPES:
        raise Refusal(f"dtype = {short(dtype)} has no counterpart")
    return step.op("cast", one(step), dtype=dtype)


def reshape(step: Step) -> At:
    """Reshape; a size of None is that of the batch."""
    shape = step.config.value("newshape")
    if not isinstance(shape, list) or any(size is not None and type(size) is not int for size in shape):
        raise Refusal(f"newshape = {short(shape)} is no shape")
    if None in shape[1:]:
        raise Refusal(f"newshape = {short(shape)} leaves a size open that is not the batch")
    return step.op("reshape", one(step), shape=shape)


def transpose(step: Step) -> At:
    """Transpose."""
    return step.op("transpose", one(step), axes=step.config.axes("axes", None))


def swapped(step: Step) -> At:
    """Swapaxes."""
    x = one(step)
    axes = list(range(step.rank(x)))
    first, second = (step.axis(x, step.config.integer(name)) for name in ("axis1", "axis2"))
    axes[first], axes[second] = axes[second], axes[first]
    return step.op("transpose", x, axes=axes)


def moved(step: Step) -> At:
    """Moveaxis."""
    x = one(step)
    source, target = (step.config.axes(name) or [] for name in ("source", "destination"))
    order = np.moveaxis(np.empty((1,) * step.rank(x)).reshape((1,) * step.rank(x)), source, target).ndim
    places = [step.axis(x, axis) for axis in source]
    rest = [axis for axis in range(order) if axis not in places]
    for to, axis in sorted((step.axis(x, to), axis) for to, axis in zip(target, places, strict=True)):
        rest.insert(to, axis)
    return step.op("transpose", x, axes=rest)


def expanded(step: Step) -> At:
    """ExpandDims."""
    axes = step.config.axes("axis") or []
    return step.op("expand_dims", one(step), axis=axes)


def squeezed(step: Step) -> At:
    """Squeeze."""
    axes = step.config.axes("axis", None)
    if axes is None:
        dims = step.dims(one(step))
        axes = [axis for axis, size in enumerate(dims) if size == 1]
    return step.op("squeeze", one(step), axis=axes)


def picked(step: Step) -> At:
    """GetItem: ranges and numbers."""
    x, given = one(step), step.argument("key", 1)
    index: list[Any] = []
    items = given if isinstance(given, list) else [given]
    taken = sum(1 for item in items if item is not None and item is not ...)
    if sum(item is ... for item in items) > 1:
        raise Refusal("an index with two ellipses has no counterpart")
    for item in items:
        if item is ...:
            index += [[None, None, None]] * (step.rank(x) - taken)
        elif isinstance(item, slice):
            bounds = [item.start, item.stop, item.step]
            if any(bound is not None and type(bound) is not int for bound in bounds):
                raise Refusal(f"the range {short(item)} is computed, which has no counterpart")
            index.append(bounds)
        elif item is None or type(item) is int:
            index.append(item)
        else:
            raise Refusal(f"the index {short(item)} has no counterpart")
    return step.op("slice", x, index=index)


def flipped(step: Step) -> At:
    """Flip."""
    x = one(step)
    axes = step.config.axes("axis", None)
    places = range(step.rank(x)) if axes is None else [step.axis(x, axis) for axis in axes]
    index: list[Any] = [[None, None, None] for _ in range(step.rank(x))]
    for place in places:
        index[place] = [None, None, -1]
    return step.op("slice", x, index=index)


def clip(step: Step) -> At:
    """Clip."""
    low, high = (step.config.optional(name) for name in ("x_min", "x_max"))
    return step.op("clip", one(step), low=low, high=high)


def padded(step: Step) -> At:
    """Pad."""
    x, mode = one(step), step.config.text("mode", "constant")
    value = step.argument("constant_values", 1)
    if mode not in ("constant", "reflect") or (value is not None and type(value) not in (int, float)):
        raise Refusal(f"mode = {mode!r} with {short(value)} has no counterpart")
    pairs = step.config.pairs("pad_width", step.rank(x))
    return step.op("pad", x, padding=pairs, mode=mode, value=float(value or 0.0))


def taken(step: Step) -> At:
    """Take."""
    axis = step.config.value("axis", None)
    x, places = one(step), one(step, 1, "indices")
    if type(axis) is not int:
        x, axis = step.op("reshape", x, shape=[-1]), 0
    return step.op("take", x, places, axis=axis)


def taken_along(step: Step) -> At:
    """TakeAlongAxis."""
    return step.op("gather", one(step), one(step, 1, "indices"), axis=step.config.integer("axis"))


def einsum(step: Step) -> At:
    """Einsum, written out."""
    pattern = step.config.text("subscripts").replace(" ", "")
    several = [step.tensor_of(each) for each in step.call.args]
    step._used.update(range(len(several)))
    return step.op("einsum", *several, pattern=pattern)


def dotted(step: Step) -> At:
    """Dot and Tensordot over the last axis of the one and the first of the other."""
    x, y = two(step)
    axes = step.config.value("axes", 1)
    if axes != 1 or not step.rank(x) or step.rank(y) not in (1, 2):
        raise Refusal(f"axes = {short(axes)} of tensors of {step.rank(x)} and {step.rank(y)} axes has no counterpart")
    return step.op("matmul", x, y)


def cumulated(step: Step) -> At:
    """Cumsum."""
    step.config.expect("dtype", None)
    axis = step.config.value("axis", None)
    x = one(step)
    if axis is None:
        x, axis = step.op("reshape", x, shape=[-1]), 0
    return step.op("cumsum", x, axis=axis)


def chosen(step: Step) -> At:
    """Where."""
    return step.op("where", one(step, 0, "condition"), one(step, 1, "x1"), one(step, 2, "x2"))


def negated(name: str) -> Read:
    """NotEqual, GreaterEqual, LessEqual: the opposite of another comparison, but for NaN."""

    def read(step: Step) -> At:
        true = step.op(name, *two(step))
        return step.op("equal", true, step.constant(False, "bool"))

    return read


def square(step: Step) -> At:
    """Square."""
    x = one(step)
    return step.op("multiply", x, x)


def reciprocal(step: Step) -> At:
    """Reciprocal."""
    return step.op("divide", step.constant(1.0), one(step))


def stretched(step: Step) -> At:
    """BroadcastTo."""
    shape = step.config.value("shape")
    if not isinstance(shape, list) or any(size is not None and type(size) is not int for size in shape):
        raise Refusal(f"shape = {short(shape)} is no shape")
    x = one(step)
    return step.op("broadcast_to", x, x, shape=shape)


def repeated(step: Step) -> At:
    """Repeat of each element along an axis."""
    x = one(step)
    axis, times = step.axis(x, step.config.integer("axis")), step.config.integer("repeats")
    dims = step.dims(x)
    size = dims[axis]
    if size is None or not 1 <= times <= _MANY // max(size, 1):
        raise Refusal("repeats along an axis of a size that is not known, or beyond all reason")
    spend("a repetition", elements=size * times)
    places = np.repeat(np.arange(size), times)
    return step.op("take", x, step.constant(places, "int64"), axis=axis)


def tiled(step: Step) -> At:
    """Tile: copies behind each other."""
    x = one(step)
    times = step.config.axes("repeats") or []
    times = [1] * (step.rank(x) - len(times)) + times
    for axis, each in enumerate(times):
        if each != 1:
            if not 1 <= each <= 64:
                raise Refusal(f"{each} copies along an axis have no counterpart")
            x = step.op("concatenate", *[x] * each, axis=axis)
    return x


def untouched(step: Step) -> At:
    """What changes nothing in inference."""
    for name in ("dtype", "sparse", "ragged"):
        step.config.expect(name, None)
    return step.plain("Identity", one(step))


def glu(step: Step) -> At:
    """Glu: one half times the sigmoid of the other."""
    first, second = step.ops("split", one(step), sizes=2, axis=step.config.integer("axis", -1))
    return step.op("multiply", first, step.plain("Activation", second, activation="sigmoid"))


def resized(step: Step) -> At:
    """Resize of images, as the layer Resizing does."""
    for name in ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio"):
        step.config.expect(name, False)
    step.config.value("fill_mode", None), step.config.value("fill_value", None)
    step.config.expect("interpolation", "bilinear")
    order = "NCHW" if step.config.value("data_format", None) == "channels_first" else "NHWC"
    x = step.as_float(one(step))
    spatial(step, x, order)
    size = step.config.sizes("size", 2)
    return step.plain("Upsample", x, scale=None, size=size, mode="linear", align_corners=False, layout=order)
