"""How the vocabulary's ops are lowered to ONNX: op -> operators. One row an op."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive.exchange.axes import several
from modelarchive.exchange.onnx.emitting import Entry
from modelarchive.exchange.onnx.lowering_context import Context, Lowering, Value, computed
from modelarchive.exchange.onnx.lowering_shapes import SHAPES
from modelarchive.exchange.onnx.lowering_windows import conv, grid_sample
from modelarchive.exchange.onnx.words import BINARY, UNARY
from modelarchive.ops.precision import common_dtype

_Arguments = dict[str, Any]
_Lower = Callable[[Context, _Arguments, list[Value]], Entry]

_COMPARISONS: Final = ("equal", "greater", "less")


def _plain(op: str) -> Lowering:
    """An operator that means the same for arrays of the dtype of the computation."""
    return Lowering(op, lambda context, arguments, given: context.op(op, *map(context.array, given)))


def _compared(op: str) -> _Lower:
    def lower(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
        dtype = computed(common_dtype(*(each.known.dtype for each in given)))
        return context.op(op, *(context.array(each, dtype) for each in given))

    return lower


def _negative(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    x = context.array(given[0])
    return context.op("Neg", x) if context.dtype.kind != "u" else context.op("Sub", context.made(0), x)


def _rsqrt(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return context.op("Reciprocal", context.op("Sqrt", context.array(given[0])))


def _axes(context: Context, arguments: _Arguments) -> list[Entry]:
    axis = arguments["axis"]
    if axis is None:
        return []
    return [context.ints(several(axis))]


def _reduction(op: str) -> Lowering:
    def lower(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
        x = context.array(given[0])
        if arguments["axis"] == [] or arguments["axis"] == ():
            return context.op("Identity", x)
        return context.op(op, x, *_axes(context, arguments), keepdims=int(arguments["keepdims"]))

    return Lowering(op, lower)


def _var(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    x = context.array(given[0])
    if arguments["axis"] in ([], ()):
        return context.op("Sub", x, x)
    axes = _axes(context, arguments)
    off = context.op("Sub", x, context.op("ReduceMean", x, *axes, keepdims=1))
    square, keep = context.op("Mul", off, off), int(arguments["keepdims"])
    if not arguments["ddof"]:
        return context.op("ReduceMean", square, *axes, keepdims=keep)
    total = context.op("ReduceSum", square, *axes, keepdims=keep)
    return context.op("Div", total, _degrees(context, given[0], x, arguments))


def _degrees(context: Context, given: Value, x: Entry, arguments: _Arguments) -> Entry:
    """How many elements are reduced, less ddof."""
    axis = arguments["axis"]
    axes = range(given.rank) if axis is None else several(axis)
    sizes = [given.sizes[each] for each in axes]
    if None not in sizes:
        return context.made(math.prod(int(size or 0) for size in sizes) - arguments["ddof"])
    found = context.op("Gather", context.op("Shape", x), context.ints([each % given.rank for each in axes]), axis=0)
    count = context.op("Sub", context.op("ReduceProd", found, keepdims=0), context.made(arguments["ddof"], np.int64))
    return context.cast(count, np.int64, context.dtype)


def _argmax(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    x, axis, keep = given[0], arguments["axis"], int(arguments["keepdims"])
    # Runtimes have no kernel for 64-bit integers, nor for the narrow floats.
    dtype = np.dtype(np.float64) if x.dtype.kind in "iu" and x.dtype.itemsize > 4 else computed(x.dtype)
    dtype = np.dtype(np.float64) if dtype == np.uint32 else dtype
    if x.dtype.kind in "iu" and x.dtype.itemsize == 8:
        context.note("64-bit integers are compared as float64, which has 53 bits of them")
    array = context.array(x, dtype)
    if axis is not None:
        return context.op("ArgMax", array, axis=axis, keepdims=keep, select_last_index=0)
    flat = context.op("Reshape", array, context.ints([-1]))
    shape = [1] * x.rank if keep else []
    return context.op("Reshape", context.op("ArgMax", flat, axis=0, keepdims=0), context.ints(shape))


def _cumsum(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return context.op("CumSum", context.array(given[0]), context.made(arguments["axis"], np.int64))


def _clip(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    """By Max and Min, which runtimes have for more dtypes than Clip, and which keep NaN."""
    dtype = context.known[0].array_dtype
    x = context.array(given[0])
    for op, bound in (("Max", arguments["low"]), ("Min", arguments["high"])):
        if bound is not None:
            x = context.op(op, x, context.made(np.asarray(bound).astype(dtype)))
    return x


def _cast(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    wanted = context.known[0].array_dtype
    x = context.array(given[0])
    return context.cast(x, given[0].dtype, wanted) if given[0].dtype != wanted else context.op("Identity", x)


def _einsum(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return context.op("Einsum", *map(context.array, given), equation=arguments["pattern"])


def _rounded(op: str) -> _Lower:
    """An operator of floats; integers are whole already."""
    return lambda context, arguments, given: context.op(
        op if context.dtype.kind == "f" else "Identity", context.array(given[0])
    )


def _remainder(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return _rest(context, *map(context.array, given))


def _rest(context: Context, x: Entry, y: Entry) -> Entry:
    """With the sign of the divisor, which Mod of floats does not have."""
    if context.dtype.kind != "f":
        return context.op("Mod", x, y, fmod=0)
    rest, zero = context.op("Mod", x, y, fmod=1), context.made(0)
    other = context.op("Xor", context.op("Less", rest, zero), context.op("Less", y, zero))
    some = context.op("Not", context.op("Equal", rest, zero))
    return context.op("Where", context.op("And", other, some), context.op("Add", rest, y), rest)


def _floor_divide(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    x, y = map(context.array, given)
    quotient = context.op("Div", context.op("Sub", x, _rest(context, x, y)), y)
    return context.op("Round", quotient) if context.dtype.kind == "f" else quotient


def _bitwise(op: str, of_truths: str) -> _Lower:
    def lower(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
        if context.known[0].array_dtype != np.bool_:
            return context.op(f"Bitwise{op}", *map(context.array, given))
        truths = [context.cast(context.array(each), context.dtype, np.bool_) for each in given]
        return context.cast(context.op(of_truths, *truths), np.bool_, context.dtype)

    return lower


def _shift(direction: str) -> _Lower:
    """By BitShift, which is of numbers without a sign."""

    def lower(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
        x, y = map(context.array, given)
        unsigned = np.dtype(f"u{context.dtype.name}") if context.dtype.kind == "i" else context.dtype
        places = context.cast(y, context.dtype, unsigned)
        negative = context.op("Less", x, context.made(0))
        if direction == "RIGHT":
            # Turned over, so that zeros come in from above, and turned back.
            x = context.op("Where", negative, context.op("BitwiseNot", x), x)
        moved = context.op("BitShift", context.cast(x, context.dtype, unsigned), places, direction=direction)
        found = context.cast(moved, unsigned, context.dtype)
        if direction == "RIGHT":
            found = context.op("Where", negative, context.op("BitwiseNot", found), found)
        return found

    return lower


def _argsort(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    x, axis, descending = given[0], arguments["axis"] % given[0].rank, arguments["descending"]
    array = context.array(x, computed(x.dtype) if x.dtype.kind in "biuf" else np.dtype(np.float32))
    size = context.size(array, axis)
    return context.ops("TopK", 2, array, size, axis=axis, largest=int(descending), sorted=1)[1]


_SCATTERED: Final = {"none": "none", "add": "add", "multiply": "mul", "maximum": "max", "minimum": "min"}


def _scatter(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    x, indices, updates = given
    dtype = context.known[0].array_dtype
    places = context.array(indices, np.dtype(np.int64))
    written = context.array(updates, context.dtype)
    if updates.known.shapes != indices.known.shapes:
        written = context.op("Expand", written, context.op("Shape", places))
    source = context.array(x, context.dtype)
    attributes = {"axis": arguments["axis"], "reduction": _SCATTERED[arguments["reduction"]]}
    return context.cast(context.op("ScatterElements", source, places, written, **attributes), context.dtype, dtype)


def _softmax(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return context.op("Softmax", context.array(given[0]), axis=arguments["axis"])


#: Op -> how it is lowered.
OPS: Final[dict[str, Lowering]] = {
    **{name: _plain(op) for name, op in BINARY.items() if name not in _COMPARISONS},
    **{name: _plain(op) for name, op in UNARY.items()},
    **{name: Lowering(BINARY[name], _compared(BINARY[name]), wide=False) for name in _COMPARISONS},
    "negative": Lowering("Neg", _negative),
    "erf": Lowering("Erf", lambda context, arguments, given: context.op("Erf", context.array(given[0])), single=True),
    "rsqrt": Lowering("Sqrt Reciprocal", _rsqrt),
    "sin": _plain("Sin"),
    "cos": _plain("Cos"),
    "atan": Lowering("Atan", _plain("Atan").lower, single=True),
    "floor": Lowering("Floor", _rounded("Floor")),
    "round": Lowering("Round", _rounded("Round")),
    "floor_divide": Lowering("Mod Sub Div", _floor_divide),
    "remainder": Lowering("Mod", _remainder),
    "bitwise_and": Lowering("BitwiseAnd And", _bitwise("And", "And")),
    "bitwise_or": Lowering("BitwiseOr Or", _bitwise("Or", "Or")),
    "bitwise_xor": Lowering("BitwiseXor Xor", _bitwise("Xor", "Xor")),
    "left_shift": Lowering("BitShift", _shift("LEFT")),
    "right_shift": Lowering("BitShift", _shift("RIGHT")),
    "argsort": Lowering("TopK", _argsort, wide=False),
    "scatter": Lowering("ScatterElements", _scatter, wide=False),
    "sum": _reduction("ReduceSum"),
    "mean": _reduction("ReduceMean"),
    "max": _reduction("ReduceMax"),
    "min": _reduction("ReduceMin"),
    "var": Lowering("ReduceMean Sub Mul ReduceSum Div", _var, losses="written as a formula"),
    "argmax": Lowering("ArgMax", _argmax, wide=False),
    "cumsum": Lowering("CumSum", _cumsum),
    "clip": Lowering("Max Min", _clip),
    "cast": Lowering("Cast", _cast, wide=False),
    "einsum": Lowering("Einsum", _einsum),
    "softmax": Lowering("Softmax", _softmax),
    "conv": Lowering("Conv", conv, "into groups whose number is not fixed is refused", single=True),
    "grid_sample": Lowering(
        "GridSample", grid_sample, "of two elements as near to a mirrored place, runtimes take the other one"
    ),
    **SHAPES,
}
