"""How MXNet's operators are lifted that make arrays out of nothing, or as large as another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.drawing import Zeros
from modelarchive.exchange.mxnet.lifting_context import Context, Lift
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.nn.parameter import as_dtype, dtype_name

#: Elements of an array that a symbol makes.
_MOST: Final = 1 << 22


def _dtype(context: Context, default: str = "float32") -> np.dtype:
    word = context.attributes.text("dtype", "None")
    return as_dtype(default if word in ("None", "") else word)


def _sized(*sizes: int) -> tuple[int, ...]:
    """Sizes of an array that is _made, which are few enough."""
    if any(size < 0 for size in sizes) or math.prod(sizes) > _MOST:
        raise Refusal(f"an array of the sizes {sizes} is not _made, at most {_MOST:,} elements are")
    spend("arrays that it makes", steps=math.prod(sizes) // 64 + 1)
    return sizes


def _zeros(context: Context) -> Any:
    """Zeros: a state that a recurrence begins with, for one."""
    at = context.attributes
    at.aside("value", "order")
    return Zeros(at.sizes("shape", "()"), dtype_name(_dtype(context)))


def _filled(value: float) -> Lift:
    """One number everywhere."""
    return lambda context: context.builder.filled(
        context.node.name, value, dtype_name(_dtype(context)), context.attributes.sizes("shape", "()")
    )


def _full(context: Context) -> Ref:
    """A number everywhere, which MXNet 2 writes as one of three, of which another attribute says which."""
    at = context.attributes
    names = ("int_value", "uint_value", "double_value")
    if "value" in at.texts:
        value = at.real("value")
    else:
        which = at.integer("value_type", 2)
        if not 0 <= which < len(names):
            raise Refusal(f"value_type = {which} is not supported")
        value = at.real(names[which], 0.0)
        at.aside(*names)
    return context.builder.filled(context.node.name, value, dtype_name(_dtype(context)), at.sizes("shape", "()"))


def _like(value: float | None) -> Lift:
    """A number everywhere, as often as another array has elements."""

    def lift(context: Context) -> Ref:
        number = context.attributes.real("fill_value") if value is None else value
        dtype = _dtype(context, dtype_name(context.dtype(context.ref(0))))
        x = context.ref(0)
        return context.op("broadcast_to", context.constant(number, dtype), x, shape=[None] * context.rank(0))

    return lift


def _made(make: Callable[[Context], np.ndarray]) -> Lift:
    """An array that is known while reading."""
    return lambda context: context.array(make(context).astype(_dtype(context)))


def _arange(context: Context) -> np.ndarray:
    """From a number to another in steps, each number several times."""
    at = context.attributes
    start, step, repeat = at.number("start"), at.number("step", 1.0), at.integer("repeat", 1)
    at.off("infer_range")
    stop = None if at.text("stop", "None") == "None" else at.number("stop")
    if stop is None:
        start, stop = 0.0, start
    if not step or repeat < 1:
        raise Refusal(f"steps of {step} are not supported")
    (count, _) = _sized(max(0, math.ceil((stop - start) / step)), repeat)
    return np.repeat(start + np.arange(count) * step, repeat)


def _eye(context: Context) -> np.ndarray:
    """Ones on a diagonal."""
    rows, columns = _rows_and_columns(context)
    return np.eye(rows, columns, context.attributes.integer("k", 0))


def _tri(context: Context) -> np.ndarray:
    """Ones on a diagonal and below."""
    rows, columns = _rows_and_columns(context)
    if not rows * columns:
        return np.empty((rows, columns))  # NumPy counts the columns, of which there may be any number without rows
    return np.tri(rows, columns, context.attributes.integer("k", 0))


def _rows_and_columns(context: Context) -> tuple[int, ...]:
    rows, columns = context.attributes.integer("N"), context.attributes.optional("M")
    if abs(context.attributes.integer("k", 0)) > _MOST:
        raise Refusal("a diagonal that far away is not supported")
    return _sized(rows, rows if columns is None else columns)


def _identity(context: Context) -> np.ndarray:
    """A square with ones on its diagonal."""
    sizes = _sized(*context.attributes.sizes("shape"))
    return np.eye(sizes[0] if sizes else 0)


def _linspace(context: Context) -> np.ndarray:
    """Numbers at equal distances, from one to another."""
    at = context.attributes
    ends = []
    for end in ("start", "stop"):
        names = [f"{end}_double", f"{end}_int", f"{end}_uint"]
        # What is written is one of the three, the others are 0.
        found = [at.number(name, 0.0) for name in names]
        ends.append(next((each for each in found if each), 0.0))
    at.aside("value_type")
    (count,) = _sized(at.integer("num"))
    return np.linspace(ends[0], ends[1], count, endpoint=at.flag("endpoint", default=True))


def _logspace(context: Context) -> np.ndarray:
    """Powers whose exponents are at equal distances."""
    at = context.attributes
    (count,) = _sized(at.integer("num"))
    ends, base = (at.number("start"), at.number("stop")), at.number("base", 10.0)
    return np.logspace(ends[0], ends[1], count, endpoint=at.flag("endpoint", default=True), base=base)


def _window(function: Callable[[int], np.ndarray]) -> Callable[[Context], np.ndarray]:
    """A window of signal processing."""
    return lambda context: function(*_sized(context.attributes.integer("M")))


ROWS: Final = (
    Lifting("_zeros _npi_zeros", "constant, broadcast_to", _zeros, "none, as the states that a recurrence begins with"),
    Lifting("_ones _npi_ones", "constant, broadcast_to", _filled(1.0)),
    Lifting("_full _npi_full", "constant, broadcast_to", _full),
    Lifting("_npi_full_like", "constant, broadcast_to", _like(None)),
    Lifting("zeros_like _np_zeros_like", "constant, broadcast_to", _like(0.0)),
    Lifting("ones_like _np_ones_like", "constant, broadcast_to", _like(1.0)),
    *(
        Lifting(names, "constant", _made(make), "a large one is a parameter that training does not change")
        for names, make in {
            "_arange _npi_arange": _arange,
            "_eye _npi_eye": _eye,
            "_npi_identity": _identity,
            "_npi_tri": _tri,
            "_linspace _npi_linspace": _linspace,
            "_npi_logspace": _logspace,
            "_npi_hanning": _window(np.hanning),
            "_npi_hamming": _window(np.hamming),
            "_npi_blackman": _window(np.blackman),
        }.items()
    ),
)
