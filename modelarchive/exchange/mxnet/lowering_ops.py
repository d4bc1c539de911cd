"""How the vocabulary's ops are lowered to MXNet: op -> operators. One row an op."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.mxnet.exporting import Context, Entry, Lower, Value, entry, rank
from modelarchive.exchange.mxnet.lowering_shapes import padding, reshape
from modelarchive.exchange.refusal import Refusal
from modelarchive.ops import OPS as VOCABULARY

Arguments = dict[str, Any]


def _binary(arrays: str, right: str, left: str) -> Lower:
    """An operator for two arrays, one for a number on the right, one for a number on the left."""

    def lower(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
        one, two = given
        if one.entry is not None and two.entry is not None:
            return context.op(arrays, one.entry, two.entry)
        if one.entry is not None:
            return context.op(right, one.entry, scalar=two.number)
        return context.op(left, entry(two), scalar=one.number)

    return lower


def _unary(name: str) -> Lower:
    return lambda context, arguments, given: context.op(name, entry(given[0]))


def _reduction(name: str) -> Lower:
    def lower(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
        axis = arguments["axis"]
        axes = list(range(rank(given[0]))) if axis is None else [axis] if isinstance(axis, int) else list(axis)
        if not axes:
            return entry(given[0])
        if not arguments["keepdims"] and len(axes) >= rank(given[0]):
            context.note("its result has one axis of size 1 in MXNet, and none here")
        return context.op(name, entry(given[0]), axis=axes, keepdims=arguments["keepdims"])

    return lower


def _var(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    if arguments["ddof"]:
        raise Refusal("a variance with ddof has no counterpart")
    axis = arguments["axis"]
    axes = list(range(rank(given[0]))) if axis is None else [axis] if isinstance(axis, int) else list(axis)
    if not axes:
        return context.op("elemwise_sub", entry(given[0]), entry(given[0]))
    off = context.op("broadcast_sub", entry(given[0]), context.op("mean", entry(given[0]), axis=axes, keepdims=True))
    known = Value(context.op("square", off), given[0].known)
    return _reduction("mean")(context, {"axis": axes, "keepdims": arguments["keepdims"]}, [known])  # type: ignore[no-any-return]


def _comparison(name: str, mirrored: str) -> Lower:
    """MXNet's comparisons give 0 and 1 in the dtype of the arrays."""
    compare = _binary(f"broadcast_{name}", f"_{name}_scalar", f"_{mirrored}_scalar")
    return lambda context, arguments, given: context.op("Cast", compare(context, arguments, given), dtype="bool")


def _matmul(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    one, two = rank(given[0]), rank(given[1])
    if one >= 2 and two == 2:
        return context.op("dot", entry(given[0]), entry(given[1]))
    if one == two == 3:
        return context.op("batch_dot", entry(given[0]), entry(given[1]))
    if one == two > 3 and given[0].known.declared[1:-2] == given[1].known.declared[1:-2]:
        return context.op("_linalg_gemm2", entry(given[0]), entry(given[1]))
    raise Refusal(f"a product of {one} and {two} axes has no counterpart")


def _slice(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    """Ranges by slice_axis, axes that a number drops by squeeze, new ones by expand_dims."""
    x = entry(given[0])
    axis, dropped, new = 0, [], []
    result = 0
    for index in arguments["index"]:
        if index is None:
            new.append(result)
            result += 1
            continue
        if isinstance(index, int):
            end = None if index == -1 else index + 1
            x = context.op("slice_axis", x, axis=axis, begin=index, end=end)
            dropped.append(axis)
        else:
            begin, end, by = index
            if by in (None, 1):
                if (begin, end) != (None, None):
                    x = context.op("slice_axis", x, axis=axis, begin=begin or 0, end=end)
            else:
                whole = [None] * axis
                x = context.op("slice", x, begin=[*whole, begin], end=[*whole, end], step=[*whole, by])
            result += 1
        axis += 1
    if dropped:
        if len(dropped) >= rank(given[0]) + len(new):
            raise Refusal("a result without axes has no counterpart")
        x = context.op("squeeze", x, axis=dropped)
    for each in new:
        x = context.op("expand_dims", x, axis=each)
    return x


def _split(context: Context, arguments: Arguments, given: list[Value]) -> tuple[Entry, ...]:
    sizes, axis = arguments["sizes"], arguments["axis"]
    if isinstance(sizes, int):
        if sizes == 1:
            return (entry(given[0]),)
        found = context.op("SliceChannel", entry(given[0]), num_outputs=sizes, axis=axis, squeeze_axis=False)
        return tuple([found[0], index, 0] for index in range(sizes))
    if -1 in sizes:
        raise Refusal("a split with a size that is left open has no counterpart")
    parts, begin = [], 0
    for size in sizes:
        parts.append(context.op("slice_axis", entry(given[0]), axis=axis, begin=begin, end=begin + size))
        begin += size
    return tuple(parts)


def _squeeze(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    axis = arguments["axis"]
    if axis is None:
        raise Refusal("squeezing whichever axes have size 1 has no counterpart")
    return context.op("squeeze", entry(given[0]), axis=[axis] if isinstance(axis, int) else list(axis))


def _expand(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    axis = arguments["axis"]
    axes = [axis] if isinstance(axis, int) else list(axis)
    total = rank(given[0]) + len(axes)
    x = entry(given[0])
    for each in sorted(one % total for one in axes):
        x = context.op("expand_dims", x, axis=each)
    return x


def _concatenate(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    return context.op("Concat", *map(entry, given), dim=arguments["axis"], num_args=len(given))


def _stack(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    return context.op("stack", *map(entry, given), axis=arguments["axis"], num_args=len(given))


def _clip(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    low, high = arguments["low"], arguments["high"]
    x = entry(given[0])
    if low is None or high is None:
        name, number = ("_minimum_scalar", high) if low is None else ("_maximum_scalar", low)
        return context.op(name, x, scalar=float(number))
    return context.op("clip", x, a_min=float(low), a_max=float(high))


_CASTS: Final = ("float16", "float32", "float64", "uint8", "int8", "int32", "int64", "bool")


def _cast(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    if arguments["dtype"] not in _CASTS:
        raise Refusal(f"MXNet has no {arguments['dtype']}")
    return context.op("Cast", entry(given[0]), dtype=arguments["dtype"])


def _take(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    context.note("an index outside of the array is taken as the nearest one")
    return context.op("take", entry(given[0]), entry(given[1]), axis=arguments["axis"], mode="clip")


def _where(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    """MXNet wants three arrays of one shape, and no truths among them."""
    ranks = {rank(each) for each in given}
    if len(ranks) > 1 or len({each.known.shapes for each in given}) > 1:
        raise Refusal("a choice between arrays of different shapes has no counterpart")
    condition = entry(given[0])
    if given[0].known.array_dtype == np.bool_:
        condition = context.op("Cast", condition, dtype="float32")
    return context.op("where", condition, entry(given[1]), entry(given[2]))


def _transpose(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    axes = arguments["axes"]
    if axes is None:
        return context.op("transpose", entry(given[0]))
    return context.op("transpose", entry(given[0]), axes=[axis % len(axes) for axis in axes])


def _cumsum(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    x, axis = entry(given[0]), arguments["axis"] % rank(given[0])
    before = np.dtype(given[0].known.array_dtype)
    after = VOCABULARY["cumsum"].dtype(before, axis=axis)
    if after != before:
        x = _cast(context, {"dtype": after.name}, given)
    return context.op("cumsum", x, axis=axis)


def _broadcast_to(context: Context, arguments: Arguments, given: list[Value]) -> Entry:
    """Sizes that are taken of the other array by broadcast_like, those that are written by broadcast_to."""
    shape = arguments["shape"]
    one, like = given
    if one.entry is None:
        x, own = context.made("value", np.full((1,) * len(shape), one.number, np.float32)), [1] * len(shape)
    else:
        x, own = one.entry, [1] * (len(shape) - rank(one)) + one.known.declared
        for _ in range(len(shape) - rank(one)):
            x = context.op("expand_dims", x, axis=0)
    taken = [axis for axis, size in enumerate(shape) if size is None and like.entry != one.entry]
    if taken:
        x = context.op("broadcast_like", x, entry(like), lhs_axes=taken, rhs_axes=taken)
    if any(size not in (None, before) for size, before in zip(shape, own, strict=True)):
        x = context.op("broadcast_to", x, shape=[size or 0 for size in shape])
    return x


#: Op -> how it is lowered.
OPS: Final[dict[str, Lower]] = {
    "add": _binary("broadcast_add", "_plus_scalar", "_plus_scalar"),
    "subtract": _binary("broadcast_sub", "_minus_scalar", "_rminus_scalar"),
    "multiply": _binary("broadcast_mul", "_mul_scalar", "_mul_scalar"),
    "divide": _binary("broadcast_div", "_div_scalar", "_rdiv_scalar"),
    "power": _binary("broadcast_power", "_power_scalar", "_rpower_scalar"),
    "maximum": _binary("broadcast_maximum", "_maximum_scalar", "_maximum_scalar"),
    "minimum": _binary("broadcast_minimum", "_minimum_scalar", "_minimum_scalar"),
    **{name: _unary(name) for name in ("negative", "abs", "exp", "log", "sqrt", "rsqrt", "erf", "sin", "cos")},
    **{name: _reduction(name) for name in ("sum", "mean", "max", "min")},
    "var": _var,
    "equal": _comparison("equal", "equal"),
    "greater": _comparison("greater", "lesser"),
    "less": _comparison("lesser", "greater"),
    "matmul": _matmul,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "expand_dims": _expand,
    "concatenate": _concatenate,
    "stack": _stack,
    "clip": _clip,
    "cast": _cast,
    "cumsum": _cumsum,
    "broadcast_to": _broadcast_to,
    "take": _take,
    "where": _where,
    "transpose": _transpose,
    "reshape": lambda context, arguments, given: reshape(context, entry(given[0]), arguments["shape"]),
    "pad": lambda context, arguments, given: padding(
        context, given[0], arguments["padding"], arguments["mode"], arguments["value"]
    ),
    "softmax": lambda context, arguments, given: context.op("softmax", entry(given[0]), axis=arguments["axis"]),
}
