"""How the vocabulary's ops are lowered to Keras: op -> operations. One row an op."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange.axes import added, several
from modelarchive.exchange.keras import lowering_selection as selection
from modelarchive.exchange.keras.emitting import Tensor
from modelarchive.exchange.keras.lowering_context import Context, Value, is_tensor
from modelarchive.exchange.keras.lowering_shapes import padded, padded_tensor, permuted, reshape
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering

_Arguments = dict[str, Any]
_Lower = Callable[[Context, _Arguments, list[Value]], Any]


def _together(context: Context, given: list[Value], dtype: str) -> tuple[list[Any], bool]:
    """Inputs that broadcast, as operations take them; whether their channels are last."""
    rank = max(each.rank for each in given)
    last = any(each.last for each in given) and all(
        each.rank == rank if each.tensor is not None else each.rank == 0 for each in given
    )
    if last:
        return [
            context.argument(each, dtype) if each.tensor is None else context.moved(each, dtype) for each in given
        ], True
    return [context.argument(each, dtype) for each in given], False


def _arithmetic(name: str, layer: str = "") -> _Lower:
    """An operation in the dtype of its result, or the layer of that name where arrays of one shape meet."""

    def lower(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
        if name == "power" and context.dtype == "bool":
            raise Refusal("a power of truths is not supported")
        inputs, last = _together(context, given, context.dtype)
        alike = all(each.tensor is not None for each in given) and len({each.known.shapes for each in given}) == 1
        if layer and alike and given[0].rank and context.dtype not in ("bool", "float64", "int64"):
            return context.result(context.layer(layer, inputs), last=last)
        return context.result(context.op(name, *inputs), last=last)

    return lower


def _comparison(name: str) -> _Lower:
    def lower(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
        common = np.result_type(*(each.known.dtype for each in given))
        inputs, last = _together(context, given, str(common))
        return context.result(context.op(name, *inputs), last=last)

    return lower


def _bitwise(name: str) -> _Lower:
    """Of tensors only: Keras asks for their dtypes."""
    return lambda context, arguments, given: context.result(
        context.op(name, *(context.plain(each, context.dtype) for each in given))
    )


def _unary(name: str) -> _Lower:
    def lower(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
        value = given[0]
        return context.result(context.op(name, context.cast(value.tensor, context.dtype)), last=value.last)

    return lower


def _axes(axis: Any, rank: int) -> list[int]:
    return sorted(each % rank for each in (range(rank) if axis is None else several(axis)))


def _own(axes: Sequence[int], value: Value) -> list[int]:
    """Axes of a value as those of its tensor."""
    if not value.last:
        return list(axes)
    return sorted(axis and (value.rank - 1 if axis == 1 else axis - 1) for axis in axes)


def _reduced(context: Context, value: Value, axes: list[int], *, keepdims: bool) -> tuple[Value, list[int], bool]:
    """The value to reduce, the axes of its tensor, and whether the result has its channels last."""
    if not value.last:
        return value, axes, False
    left = [axis for axis in range(value.rank) if axis not in axes]
    if keepdims:
        return value, _own(axes, value), True
    # What is left is in its own order: no channels, or nothing behind them.
    if 1 not in left or all(axis < 2 for axis in left):
        return value, _own(axes, value), False
    return Value(context.plain(value), value.known), axes, False


def _reduction(name: str) -> _Lower:
    def lower(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
        value, axes, last = _reduced(
            context, given[0], _axes(arguments["axis"], given[0].rank), keepdims=arguments["keepdims"]
        )
        dtype = context.dtype
        x = context.cast(value.tensor, dtype)
        if not axes:
            return context.result(x, last=last)
        if dtype == "bool":  # the largest or smallest truth
            x = context.cast(x, "int32")
        found = context.op(name, x, axis=tuple(axes), keepdims=arguments["keepdims"])
        return context.result(found, last=last)

    return lower


def _var(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    keepdims = arguments["keepdims"]
    value, axes, last = _reduced(context, given[0], _axes(arguments["axis"], given[0].rank), keepdims=keepdims)
    x = context.cast(value.tensor, context.dtype)
    if not axes:
        return context.result(context.op("subtract", x, x), last=last)
    if not arguments["ddof"]:
        return context.result(context.op("var", x, axis=tuple(axes), keepdims=keepdims), last=last)
    away = context.op("subtract", x, context.op("mean", x, axis=tuple(axes), keepdims=True))
    total = context.op("sum", context.op("multiply", away, away), axis=tuple(axes), keepdims=keepdims)
    ones = context.op("add", context.op("cast", context.op("greater", x, x), "int32"), 1)
    count = context.cast(context.op("sum", ones, axis=tuple(axes), keepdims=keepdims), context.dtype)
    found = context.op("true_divide", total, context.op("subtract", count, float(arguments["ddof"])))
    return context.result(found, last=last)


def _argmax(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    x = context.plain(given[0])
    if given[0].dtype == "bool":
        x = context.cast(x, "int32")
    axis, keepdims = arguments["axis"], arguments["keepdims"]
    if axis is None and keepdims:
        found = context.op("argmax", context.op("reshape", x, (-1,)), axis=0, keepdims=True)
        return context.result(context.op("reshape", found, (1,) * given[0].rank))
    return context.result(context.op("argmax", x, axis=axis, keepdims=keepdims))


def _cumsum(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    found = context.op("cumsum", context.plain(given[0], context.dtype), axis=arguments["axis"])
    return context.result(_as_inferred(context, found))


def _as_inferred(context: Context, tensor: Tensor) -> Tensor:
    """A result whose dtype backends do not agree about."""
    return tensor if context.dtype == "float32" else context.op("cast", tensor, context.dtype)


def _matmul(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    return context.result(context.op("matmul", *(context.argument(each, context.dtype) for each in given)))


def _einsum(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    numbers = "int32" if context.dtype == "bool" else context.dtype
    inputs = [context.argument(each, numbers) for each in given]
    return context.result(_as_inferred(context, context.op("einsum", _small_letters(arguments["pattern"]), *inputs)))


def _small_letters(pattern: str) -> str:
    """Capital letters as other small ones, as long as there are any: Keras takes some for the ends of shapes."""
    free = [each for each in string.ascii_lowercase if each not in pattern]
    capitals = sorted({each for each in pattern if each.isupper()})
    small = dict(zip(capitals, free, strict=False))
    return "".join(small.get(each, each) for each in pattern)


def _conv(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    """By Keras' convolution, whose channels are last and in one group.

    Raises:
        Refusal: There are several groups, or free sizes.
    """
    if given[0].known.shapes[0][1] != given[1].known.shapes[0][1]:
        raise Refusal("a convolution of computed weights in several groups is not supported in Keras")
    one, other = given[0].known.shapes
    if one[2:] != other[2:]:
        raise Refusal("a convolution of computed weights over sizes that are free is not supported in Keras")
    x = context.moved(given[0], context.dtype)
    kernel = context.permuted(context.plain(given[1], context.dtype), [*range(2, given[1].rank), 1, 0])
    x = padded_tensor(context, x, [(0, 0), *arguments["padding"], (0, 0)])
    found = context.op(
        "conv",
        x,
        kernel,
        strides=tuple(arguments["strides"]),
        padding="valid",
        data_format="channels_last",
        dilation_rate=tuple(arguments["dilation"]),
    )
    return context.result(found, last=True)


def _where(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    inputs, last = _together(context, given, "")
    chosen = [
        context.cast(each, context.dtype) if is_tensor(each) else np.asarray(each, context.dtype) for each in inputs[1:]
    ]
    first = context.cast(inputs[0], "bool") if is_tensor(inputs[0]) else np.asarray(inputs[0]) != 0
    return context.result(context.op("where", first, *chosen), last=last)


def _clip(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    x, last = context.cast(given[0].tensor, context.dtype), given[0].last
    low, high = arguments["low"], arguments["high"]
    if low is not None:
        x = context.op("maximum", x, low)
    if high is not None:
        x = context.op("minimum", x, high)
    return context.result(x, last=last)


def _cast(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    return context.result(context.cast(given[0].tensor, context.dtype), last=given[0].last)


def _concatenate(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    axis = arguments["axis"] % given[0].rank
    if all(each.tensor is not None for each in given) and len(given) > 1:
        last = any(each.last for each in given)
        inputs = [context.moved(each, context.dtype) if last else context.plain(each, context.dtype) for each in given]
        own = _own([axis], Value(None, given[0].known, last=last))[0]
        own = -1 if own == given[0].rank - 1 else own
        return context.result(context.layer("Concatenate", inputs, axis=own), last=last)
    inputs = [context.plain(each, context.dtype) for each in given]
    return context.result(inputs[0] if len(given) == 1 else context.op("concatenate", inputs, axis=axis))


def _stack(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    return context.result(
        context.op("stack", [context.plain(each, context.dtype) for each in given], axis=arguments["axis"])
    )


def _squeeze(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    rank = given[0].rank
    axis = arguments["axis"]
    ones = [at for at, size in enumerate(given[0].sizes) if size == 1]
    if axis is None and None in given[0].sizes:
        context.note("axes of free size stay, whatever their size is: say which to squeeze")
    axes = ones if axis is None else _axes(axis, rank)
    if given[0].last and 1 not in axes and all(at in axes for at in range(2, rank)):
        tensor, axes = given[0].tensor, [at - 1 if at else 0 for at in axes]
    else:
        tensor = context.plain(given[0])
    # A part of a free axis: Keras cannot tell that its size is 1. The largest of one is that one.
    if unfixed := tuple(at for at in axes if tensor.shape[at] is None):
        tensor = context.op("max", tensor, axis=unfixed, keepdims=True)
    return context.result(context.op("squeeze", tensor, axis=tuple(axes)) if axes else tensor)


def _expand(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    x = context.plain(given[0])
    for each in added(arguments["axis"], given[0].rank):
        x = context.op("expand_dims", x, axis=each)
    return context.result(x)


def _transpose(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    axes = arguments["axes"]
    return permuted(context, given[0], range(given[0].rank)[::-1] if axes is None else axes)


def _pad(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    return padded(context, given[0], arguments["padding"], arguments["mode"], float(arguments["value"]))


def _broadcast_to(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    """Sizes that are free come as zeros in the sizes of the second array."""
    x = context.argument(given[0])
    sizes = context.known[0].declared
    if given[0].tensor is not None and None not in sizes:
        return context.result(context.op("broadcast_to", x, tuple(sizes)))
    like = context.plain(given[1])
    zeros: Tensor = context.zero()
    for axis, size in enumerate(sizes):
        if size is None:
            along = context.zeros_along(like, axis)
            zeros = context.op("add", zeros, context.op("reshape", along, (-1, *[1] * (len(sizes) - axis - 1))))
    fixed = np.zeros([1 if size is None else size for size in sizes], "int32")
    chosen = context.op("equal", context.op("add", zeros, fixed), 0)
    return context.result(context.op("where", chosen, x, x))


def _shape_of(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    value = given[0]
    if None not in value.sizes:
        sizes = np.array(value.sizes, np.int64)
        return context.result(context.cast(context.held(sizes), "int64"))
    tensor = context.plain(value)
    found = []
    for axis, size in enumerate(value.sizes):
        if size is None:
            ones = context.op("add", context.zeros_along(tensor, axis), 1)
            found.append(context.op("sum", ones, axis=0))
        else:
            found.append(context.op("add", context.zero(), size))
    return context.result(context.cast(context.op("stack", found, axis=0), "int64"))


def _softmax(context: Context, arguments: _Arguments, given: list[Value]) -> Value:
    value = given[0]
    axis = _own([arguments["axis"] % value.rank], value)[0]
    x = context.cast(value.tensor, context.dtype)
    axis = -1 if axis == value.rank - 1 else axis
    return context.result(context.layer("Softmax", x, axis=axis), last=value.last)


#: Op -> how it is lowered; adding an op is one row.
OPS: Final[dict[str, Lowering]] = {
    "add": Lowering("Add", _arithmetic("add", "Add")),
    "subtract": Lowering("Subtract", _arithmetic("subtract", "Subtract")),
    "multiply": Lowering("Multiply", _arithmetic("multiply", "Multiply")),
    "divide": Lowering("TrueDivide", _arithmetic("true_divide")),
    "power": Lowering("Power", _arithmetic("power")),
    "maximum": Lowering("Maximum", _arithmetic("maximum", "Maximum")),
    "minimum": Lowering("Minimum", _arithmetic("minimum", "Minimum")),
    "floor_divide": Lowering("FloorDivide", _arithmetic("floor_divide")),
    "remainder": Lowering("Mod", _arithmetic("mod")),
    "bitwise_and": Lowering("BitwiseAnd", _bitwise("bitwise_and")),
    "bitwise_or": Lowering("BitwiseOr", _bitwise("bitwise_or")),
    "bitwise_xor": Lowering("BitwiseXor", _bitwise("bitwise_xor")),
    "left_shift": Lowering("BitwiseLeftShift", _bitwise("bitwise_left_shift")),
    "right_shift": Lowering("BitwiseRightShift", _bitwise("bitwise_right_shift")),
    "equal": Lowering("Equal", _comparison("equal")),
    "greater": Lowering("Greater", _comparison("greater")),
    "less": Lowering("Less", _comparison("less")),
    **{
        ours: Lowering(theirs, _unary(name))
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
            ("atan", "Arctan", "arctan"),
            ("floor", "Floor", "floor"),
            ("round", "Round", "round"),
        )
    },
    **{name: Lowering(name.title(), _reduction(name)) for name in ("sum", "mean", "max", "min")},
    "var": Lowering("Var", _var),
    "argmax": Lowering("Argmax", _argmax),
    "cumsum": Lowering("Cumsum", _cumsum),
    "matmul": Lowering("Matmul", _matmul),
    "einsum": Lowering("Einsum", _einsum),
    "conv": Lowering("Conv", _conv),
    "slice": Lowering("GetItem", selection.cut),
    "split": Lowering("GetItem Split", selection.split),
    "take": Lowering("Take", selection.take),
    "gather": Lowering("TakeAlongAxis", selection.gather, "stretched to fixed sizes only"),
    "argsort": Lowering("Argsort Flip", selection.argsort, "the largest first along axes of a known size only"),
    "scatter": Lowering("ScatterUpdate", selection.scatter, "of known sizes only"),
    "where": Lowering("Where", _where),
    "clip": Lowering("Maximum Minimum", _clip),
    "cast": Lowering("Cast", _cast),
    "concatenate": Lowering("Concatenate", _concatenate),
    "stack": Lowering("Stack", _stack),
    "squeeze": Lowering("Squeeze", _squeeze),
    "expand_dims": Lowering("ExpandDims", _expand),
    "reshape": Lowering(
        "Reshape",
        lambda context, arguments, given: context.result(
            reshape(context, given[0], arguments["shape"], context.known[0])
        ),
        "at most one size beside the batch may be free",
    ),
    "transpose": Lowering("Permute Transpose", _transpose),
    "pad": Lowering("Pad ZeroPadding1D ZeroPadding2D ZeroPadding3D", _pad, "other modes as slices"),
    "broadcast_to": Lowering("BroadcastTo", _broadcast_to),
    "shape_of": Lowering("Stack", _shape_of, "computed from the input where a size is free"),
    "softmax": Lowering("Softmax", _softmax),
}
