"""How the vocabulary's ops are said in Keras: op -> operations. One row an op."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange.keras import selecting
from modelarchive.exchange.keras.place import Place, Saying, Tensor, Value, is_tensor
from modelarchive.exchange.keras.saying_shapes import padded, permuted, reshape
from modelarchive.exchange.refusal import Refusal

Arguments = dict[str, Any]
Say = Callable[[Place, Arguments, list[Value]], Any]


def _together(place: Place, given: list[Value], dtype: str) -> tuple[list[Any], bool]:
    """Inputs that broadcast, as operations take them; whether their channels are last."""
    rank = max(each.rank for each in given)
    last = any(each.last for each in given) and all(
        each.rank == rank if each.tensor is not None else each.rank == 0 for each in given
    )
    if last:
        return [
            place.argument(each, dtype) if each.tensor is None else place.moved(each, dtype) for each in given
        ], True
    return [place.argument(each, dtype) for each in given], False


def _arithmetic(name: str, layer: str = "") -> Say:
    """An operation in the dtype of its result, or the layer of that name where arrays of one shape meet."""

    def say(place: Place, arguments: Arguments, given: list[Value]) -> Value:
        if name == "power" and place.dtype == "bool":
            raise Refusal("a power of truths has no counterpart")
        inputs, last = _together(place, given, place.dtype)
        alike = all(each.tensor is not None for each in given) and len({each.known.shapes for each in given}) == 1
        if layer and alike and given[0].rank and place.dtype not in ("bool", "float64", "int64"):
            return place.result(place.layer(layer, inputs), last=last)
        return place.result(place.op(name, *inputs), last=last)

    return say


def _comparison(name: str) -> Say:
    def say(place: Place, arguments: Arguments, given: list[Value]) -> Value:
        common = np.result_type(*(each.known.dtype for each in given))
        inputs, last = _together(place, given, str(common))
        return place.result(place.op(name, *inputs), last=last)

    return say


def _unary(name: str) -> Say:
    def say(place: Place, arguments: Arguments, given: list[Value]) -> Value:
        value = given[0]
        return place.result(place.op(name, place.cast(value.tensor, place.dtype)), last=value.last)

    return say


def _axes(axis: Any, rank: int) -> list[int]:
    several = range(rank) if axis is None else [axis] if isinstance(axis, int) else axis
    return sorted(each % rank for each in several)


def _own(axes: Sequence[int], value: Value) -> list[int]:
    """Axes of a value as those of its tensor."""
    if not value.last:
        return list(axes)
    return sorted(axis and (value.rank - 1 if axis == 1 else axis - 1) for axis in axes)


def _reduced(place: Place, value: Value, axes: list[int], *, keepdims: bool) -> tuple[Value, list[int], bool]:
    """The value to reduce, the axes of its tensor, and whether the result has its channels last."""
    if not value.last:
        return value, axes, False
    left = [axis for axis in range(value.rank) if axis not in axes]
    if keepdims:
        return value, _own(axes, value), True
    # What is left is in its own order: no channels, or nothing behind them.
    if 1 not in left or all(axis < 2 for axis in left):
        return value, _own(axes, value), False
    return Value(value.known, place.plain(value)), axes, False


def _reduction(name: str) -> Say:
    def say(place: Place, arguments: Arguments, given: list[Value]) -> Value:
        value, axes, last = _reduced(
            place, given[0], _axes(arguments["axis"], given[0].rank), keepdims=arguments["keepdims"]
        )
        dtype = place.dtype
        x = place.cast(value.tensor, dtype)
        if not axes:
            return place.result(x, last=last)
        if dtype == "bool":  # the largest or smallest truth
            x = place.cast(x, "int32")
        found = place.op(name, x, axis=tuple(axes), keepdims=arguments["keepdims"])
        return place.result(found, last=last)

    return say


def _var(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    keepdims = arguments["keepdims"]
    value, axes, last = _reduced(place, given[0], _axes(arguments["axis"], given[0].rank), keepdims=keepdims)
    x = place.cast(value.tensor, place.dtype)
    if not axes:
        return place.result(place.op("subtract", x, x), last=last)
    if not arguments["ddof"]:
        return place.result(place.op("var", x, axis=tuple(axes), keepdims=keepdims), last=last)
    away = place.op("subtract", x, place.op("mean", x, axis=tuple(axes), keepdims=True))
    total = place.op("sum", place.op("multiply", away, away), axis=tuple(axes), keepdims=keepdims)
    ones = place.op("add", place.op("cast", place.op("greater", x, x), "int32"), 1)
    count = place.cast(place.op("sum", ones, axis=tuple(axes), keepdims=keepdims), place.dtype)
    found = place.op("true_divide", total, place.op("subtract", count, float(arguments["ddof"])))
    return place.result(found, last=last)


def _argmax(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    x = place.plain(given[0])
    if given[0].dtype == "bool":
        x = place.cast(x, "int32")
    axis, keepdims = arguments["axis"], arguments["keepdims"]
    if axis is None and keepdims:
        found = place.op("argmax", place.op("reshape", x, (-1,)), axis=0, keepdims=True)
        return place.result(place.op("reshape", found, (1,) * given[0].rank))
    return place.result(place.op("argmax", x, axis=axis, keepdims=keepdims))


def _cumsum(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    found = place.op("cumsum", place.plain(given[0], place.dtype), axis=arguments["axis"])
    return place.result(_as_said(place, found))


def _as_said(place: Place, tensor: Tensor) -> Tensor:
    """A result whose dtype backends do not agree about."""
    return tensor if place.dtype == "float32" else place.op("cast", tensor, place.dtype)


def _matmul(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    return place.result(place.op("matmul", *(place.argument(each, place.dtype) for each in given)))


def _einsum(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    numbers = "int32" if place.dtype == "bool" else place.dtype
    inputs = [place.argument(each, numbers) for each in given]
    return place.result(_as_said(place, place.op("einsum", _lowered(arguments["pattern"]), *inputs)))


def _lowered(pattern: str) -> str:
    """Capital letters as other small ones, as long as there are any: Keras takes some for the ends of shapes."""
    free = [each for each in string.ascii_lowercase if each not in pattern]
    capitals = sorted({each for each in pattern if each.isupper()})
    small = dict(zip(capitals, free, strict=False))
    return "".join(small.get(each, each) for each in pattern)


def _where(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    inputs, last = _together(place, given, "")
    chosen = [
        place.cast(each, place.dtype) if is_tensor(each) else np.asarray(each, place.dtype) for each in inputs[1:]
    ]
    first = place.cast(inputs[0], "bool") if is_tensor(inputs[0]) else np.asarray(inputs[0]) != 0
    return place.result(place.op("where", first, *chosen), last=last)


def _clip(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    x, last = place.cast(given[0].tensor, place.dtype), given[0].last
    low, high = arguments["low"], arguments["high"]
    if low is not None:
        x = place.op("maximum", x, low)
    if high is not None:
        x = place.op("minimum", x, high)
    return place.result(x, last=last)


def _cast(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    return place.result(place.cast(given[0].tensor, place.dtype), last=given[0].last)


def _concatenate(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    axis = arguments["axis"] % given[0].rank
    if all(each.tensor is not None for each in given) and len(given) > 1:
        last = any(each.last for each in given)
        inputs = [place.moved(each, place.dtype) if last else place.plain(each, place.dtype) for each in given]
        own = _own([axis], Value(given[0].known, last=last))[0]
        own = -1 if own == given[0].rank - 1 else own
        return place.result(place.layer("Concatenate", inputs, axis=own), last=last)
    inputs = [place.plain(each, place.dtype) for each in given]
    return place.result(inputs[0] if len(given) == 1 else place.op("concatenate", inputs, axis=axis))


def _stack(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    return place.result(place.op("stack", [place.plain(each, place.dtype) for each in given], axis=arguments["axis"]))


def _squeeze(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    rank = given[0].rank
    axis = arguments["axis"]
    ones = [at for at, size in enumerate(given[0].sizes) if size == 1]
    if axis is None and None in given[0].sizes:
        place.note("axes of free size stay, whatever their size is: say which to squeeze")
    axes = ones if axis is None else _axes(axis, rank)
    if given[0].last and 1 not in axes and all(at in axes for at in range(2, rank)):
        tensor, axes = given[0].tensor, [at - 1 if at else 0 for at in axes]
    else:
        tensor = place.plain(given[0])
    # A part of a free axis: Keras cannot tell that its size is 1. The largest of one is that one.
    if untold := tuple(at for at in axes if tensor.shape[at] is None):
        tensor = place.op("max", tensor, axis=untold, keepdims=True)
    return place.result(place.op("squeeze", tensor, axis=tuple(axes)) if axes else tensor)


def _expand(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    axis = arguments["axis"]
    several = [axis] if isinstance(axis, int) else list(axis)
    total = given[0].rank + len(several)
    x = place.plain(given[0])
    for each in sorted(one % total for one in several):
        x = place.op("expand_dims", x, axis=each)
    return place.result(x)


def _transpose(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    axes = arguments["axes"]
    return permuted(place, given[0], range(given[0].rank)[::-1] if axes is None else axes)


def _pad(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    return padded(place, given[0], arguments["padding"], arguments["mode"], float(arguments["value"]))


def _broadcast_to(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    """Sizes that are free come as zeros in the sizes of the second array."""
    x = place.argument(given[0])
    sizes = place.known.declared
    if given[0].tensor is not None and None not in sizes:
        return place.result(place.op("broadcast_to", x, tuple(sizes)))
    like = place.plain(given[1])
    zeros: Tensor = place.builder.zero(place)
    for axis, size in enumerate(sizes):
        if size is None:
            along = place.zeros_along(like, axis)
            zeros = place.op("add", zeros, place.op("reshape", along, (-1, *[1] * (len(sizes) - axis - 1))))
    fixed = np.zeros([1 if size is None else size for size in sizes], "int32")
    chosen = place.op("equal", place.op("add", zeros, fixed), 0)
    return place.result(place.op("where", chosen, x, x))


def _shape_of(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    value = given[0]
    if None not in value.sizes:
        sizes = np.array(value.sizes, np.int64)
        return Value(place.known, place.cast(place.builder.held(place, sizes), "int64"))
    tensor = place.plain(value)
    found = []
    for axis, size in enumerate(value.sizes):
        if size is None:
            ones = place.op("add", place.zeros_along(tensor, axis), 1)
            found.append(place.op("sum", ones, axis=0))
        else:
            found.append(place.op("add", place.builder.zero(place), size))
    return place.result(place.cast(place.op("stack", found, axis=0), "int64"))


def _softmax(place: Place, arguments: Arguments, given: list[Value]) -> Value:
    value = given[0]
    axis = _own([arguments["axis"] % value.rank], value)[0]
    x = place.cast(value.tensor, place.dtype)
    axis = -1 if axis == value.rank - 1 else axis
    return place.result(place.layer("Softmax", x, axis=axis), last=value.last)


#: Op -> how it is said; adding an op is one row.
OPS_OUT: Final[dict[str, Saying]] = {
    "add": Saying(("Add",), _arithmetic("add", "Add")),
    "subtract": Saying(("Subtract",), _arithmetic("subtract", "Subtract")),
    "multiply": Saying(("Multiply",), _arithmetic("multiply", "Multiply")),
    "divide": Saying(("TrueDivide",), _arithmetic("true_divide")),
    "power": Saying(("Power",), _arithmetic("power")),
    "maximum": Saying(("Maximum",), _arithmetic("maximum", "Maximum")),
    "minimum": Saying(("Minimum",), _arithmetic("minimum", "Minimum")),
    "equal": Saying(("Equal",), _comparison("equal")),
    "greater": Saying(("Greater",), _comparison("greater")),
    "less": Saying(("Less",), _comparison("less")),
    **{
        ours: Saying((theirs,), _unary(name))
        for ours, theirs, name in (
            ("negative", "Negative", "negative"),
            ("abs", "Absolute", "absolute"),
            ("exp", "Exp", "exp"),
            ("log", "Log", "log"),
            ("sqrt", "Sqrt", "sqrt"),
            ("rsqrt", "Rsqrt", "rsqrt"),
            ("erf", "Erf", "erf"),
            ("sin", "Sin", "sin"),
            ("cos", "Cos", "cos"),
        )
    },
    **{name: Saying((name.title(),), _reduction(name)) for name in ("sum", "mean", "max", "min")},
    "var": Saying(("Var",), _var),
    "argmax": Saying(("Argmax",), _argmax),
    "cumsum": Saying(("Cumsum",), _cumsum),
    "matmul": Saying(("Matmul",), _matmul),
    "einsum": Saying(("Einsum",), _einsum),
    "slice": Saying(("GetItem",), selecting.cut),
    "split": Saying(("GetItem", "Split"), selecting.split),
    "take": Saying(("Take",), selecting.take),
    "gather": Saying(("TakeAlongAxis",), selecting.gather, "stretched to fixed sizes only"),
    "where": Saying(("Where",), _where),
    "clip": Saying(("Maximum", "Minimum"), _clip),
    "cast": Saying(("Cast",), _cast),
    "concatenate": Saying(("Concatenate",), _concatenate),
    "stack": Saying(("Stack",), _stack),
    "squeeze": Saying(("Squeeze",), _squeeze),
    "expand_dims": Saying(("ExpandDims",), _expand),
    "reshape": Saying(
        ("Reshape",),
        lambda place, arguments, given: place.result(reshape(place, given[0], arguments["shape"], place.known)),
        "at most one size beside the batch may be free",
    ),
    "transpose": Saying(("Permute", "Transpose"), _transpose),
    "pad": Saying(("Pad", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"), _pad, "other modes as slices"),
    "broadcast_to": Saying(("BroadcastTo",), _broadcast_to),
    "shape_of": Saying(("Stack",), _shape_of, "computed from the input where a size is free"),
    "softmax": Saying(("Softmax",), _softmax),
}
