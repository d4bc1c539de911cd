"""How the vocabulary's ops are said in ONNX: op -> operators. One row an op."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive.exchange.onnx.composing import Entry, Given, Place, Saying, computed
from modelarchive.exchange.onnx.saying_shapes import SHAPES
from modelarchive.exchange.onnx.words import BINARY, UNARY
from modelarchive.ops.precision import common_dtype

Arguments = dict[str, Any]
_Writer = Callable[[Place, Arguments, list[Given]], Entry]

_COMPARISONS: Final = ("equal", "greater", "less")


def _plain(op: str) -> Saying:
    """An operator that means the same for arrays of the dtype of the computation."""
    return Saying(lambda place, arguments, given: place.op(op, *map(place.array, given)), (op,))


def _compared(op: str) -> _Writer:
    def say(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
        dtype = computed(common_dtype(*(each.known.dtype for each in given)))
        return place.op(op, *(place.array(each, dtype) for each in given))

    return say


def _negative(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    x = place.array(given[0])
    return place.op("Neg", x) if place.dtype.kind != "u" else place.op("Sub", place.made(0), x)


def _rsqrt(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    return place.op("Reciprocal", place.op("Sqrt", place.array(given[0])))


def _axes(place: Place, arguments: Arguments) -> list[Entry]:
    axis = arguments["axis"]
    if axis is None:
        return []
    return [place.ints([axis] if isinstance(axis, int) else axis)]


def _reduction(op: str) -> Saying:
    def say(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
        x = place.array(given[0])
        if arguments["axis"] == [] or arguments["axis"] == ():
            return place.op("Identity", x)
        return place.op(op, x, *_axes(place, arguments), keepdims=int(arguments["keepdims"]))

    return Saying(say, (op,))


def _var(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    x = place.array(given[0])
    if arguments["axis"] in ([], ()):
        return place.op("Sub", x, x)
    axes = _axes(place, arguments)
    off = place.op("Sub", x, place.op("ReduceMean", x, *axes, keepdims=1))
    square, keep = place.op("Mul", off, off), int(arguments["keepdims"])
    if not arguments["ddof"]:
        return place.op("ReduceMean", square, *axes, keepdims=keep)
    total = place.op("ReduceSum", square, *axes, keepdims=keep)
    return place.op("Div", total, _degrees(place, given[0], x, arguments))


def _degrees(place: Place, given: Given, x: Entry, arguments: Arguments) -> Entry:
    """How many elements are reduced, less ddof."""
    axis = arguments["axis"]
    several = range(given.rank) if axis is None else [axis] if isinstance(axis, int) else axis
    sizes = [given.sizes[each] for each in several]
    if None not in sizes:
        return place.made(math.prod(int(size or 0) for size in sizes) - arguments["ddof"])
    found = place.op("Gather", place.op("Shape", x), place.ints([each % given.rank for each in several]), axis=0)
    count = place.op("Sub", place.op("ReduceProd", found, keepdims=0), place.made(arguments["ddof"], np.int64))
    return place.cast(count, np.int64, place.dtype)


def _argmax(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    x, axis, keep = given[0], arguments["axis"], int(arguments["keepdims"])
    # Runtimes have no kernel for 64-bit integers, nor for the narrow floats.
    dtype = np.dtype(np.float64) if x.dtype.kind in "iu" and x.dtype.itemsize > 4 else computed(x.dtype)
    dtype = np.dtype(np.float64) if dtype == np.uint32 else dtype
    if x.dtype.kind in "iu" and x.dtype.itemsize == 8:
        place.note("64-bit integers are compared as float64, which has 53 bits of them")
    array = place.array(x, dtype)
    if axis is not None:
        return place.op("ArgMax", array, axis=axis, keepdims=keep, select_last_index=0)
    flat = place.op("Reshape", array, place.ints([-1]))
    shape = [1] * x.rank if keep else []
    return place.op("Reshape", place.op("ArgMax", flat, axis=0, keepdims=0), place.ints(shape))


def _cumsum(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    return place.op("CumSum", place.array(given[0]), place.made(arguments["axis"], np.int64))


def _clip(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    """By Max and Min, which runtimes have for more dtypes than Clip, and which keep NaN."""
    dtype = place.known[0].array_dtype
    x = place.array(given[0])
    for op, bound in (("Max", arguments["low"]), ("Min", arguments["high"])):
        if bound is not None:
            x = place.op(op, x, place.made(np.asarray(bound).astype(dtype)))
    return x


def _cast(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    wanted = place.known[0].array_dtype
    x = place.array(given[0])
    return place.cast(x, given[0].dtype, wanted) if given[0].dtype != wanted else place.op("Identity", x)


def _einsum(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    return place.op("Einsum", *map(place.array, given), equation=arguments["pattern"])


def _softmax(place: Place, arguments: Arguments, given: list[Given]) -> Entry:
    return place.op("Softmax", place.array(given[0]), axis=arguments["axis"])


#: Op -> how it is said; a constant and a parameter are tensors themselves.
OPS_OUT: Final[dict[str, Saying]] = {
    **{name: _plain(op) for name, op in BINARY.items() if name not in _COMPARISONS},
    **{name: _plain(op) for name, op in UNARY.items()},
    **{name: Saying(_compared(BINARY[name]), (BINARY[name],), wide=False) for name in _COMPARISONS},
    "negative": Saying(_negative, ("Neg",)),
    "erf": Saying(lambda place, arguments, given: place.op("Erf", place.array(given[0])), ("Erf",), single=True),
    "rsqrt": Saying(_rsqrt, ("Sqrt", "Reciprocal")),
    "sin": _plain("Sin"),
    "cos": _plain("Cos"),
    "sum": _reduction("ReduceSum"),
    "mean": _reduction("ReduceMean"),
    "max": _reduction("ReduceMax"),
    "min": _reduction("ReduceMin"),
    "var": Saying(_var, ("ReduceMean", "Sub", "Mul", "ReduceSum", "Div"), losses="written as a formula"),
    "argmax": Saying(_argmax, ("ArgMax",), wide=False),
    "cumsum": Saying(_cumsum, ("CumSum",)),
    "clip": Saying(_clip, ("Max", "Min")),
    "cast": Saying(_cast, ("Cast",), wide=False),
    "einsum": Saying(_einsum, ("Einsum",)),
    "softmax": Saying(_softmax, ("Softmax",)),
    **SHAPES,
}
