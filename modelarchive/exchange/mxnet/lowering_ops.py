"""How the vocabulary's ops are lowered to MXNet: op -> operators. One row an op."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.axes import added, several, sliced
from modelarchive.exchange.mxnet.emitting import Entry
from modelarchive.exchange.mxnet.lowering_context import Context
from modelarchive.exchange.mxnet.lowering_shapes import padding, reshape
from modelarchive.exchange.mxnet.lowering_windows import conv
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.exchange.walking import Value
from modelarchive.ops import OPS as VOCABULARY

_Arguments = dict[str, Any]


def _binary(arrays: str, right: str, left: str) -> Lowering:
    """An operator for two arrays, one for a number on the right, one for a number on the left."""

    def lower(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
        one, two = given
        if one.tensor is not None and two.tensor is not None:
            return context.op(arrays, one.tensor, two.tensor)
        if one.tensor is not None:
            return context.op(right, one.tensor, scalar=two.constant)
        return context.op(left, context.array(two), scalar=one.constant)

    return Lowering(" ".join(dict.fromkeys((arrays, right, left))), lower)


def _unary(name: str) -> Lowering:
    return Lowering(name, lambda context, arguments, given: context.op(name, context.array(given[0])))


def _axes(x: Value, axis: Any) -> list[int]:
    return list(range(x.rank)) if axis is None else several(axis)


def _reduction(name: str) -> Lowering:
    def lower(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
        axes, keep = _axes(given[0], arguments["axis"]), arguments["keepdims"]
        return _reduced(context, name, given[0], context.array(given[0]), axes, keepdims=keep)

    return Lowering(name, lower)


def _reduced(context: Context, name: str, x: Value, entry: Entry, axes: list[int], *, keepdims: bool) -> Entry:
    """An array in the shape of a value, reduced."""
    if not axes:
        return entry
    if not keepdims and len(axes) >= x.rank:
        context.note("its result has one axis of size 1 in MXNet, and none here")
    return context.op(name, entry, axis=axes, keepdims=keepdims)


def _var(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    if arguments["ddof"]:
        raise Refusal("a variance with ddof is not supported")
    x, axes = context.array(given[0]), _axes(given[0], arguments["axis"])
    if not axes:
        return context.op("elemwise_sub", x, x)
    off = context.op("broadcast_sub", x, context.op("mean", x, axis=axes, keepdims=True))
    return _reduced(context, "mean", given[0], context.op("square", off), axes, keepdims=arguments["keepdims"])


def _comparison(name: str, mirrored: str) -> Lowering:
    """MXNet's comparisons give 0 and 1 in the dtype of the arrays."""
    compare = _binary(f"broadcast_{name}", f"_{name}_scalar", f"_{mirrored}_scalar")
    return Lowering(
        compare.theirs,
        lambda context, arguments, given: context.op("Cast", compare.lower(context, arguments, given), dtype="bool"),
    )


def _matmul(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    one, two = given[0].rank, given[1].rank
    if one >= 2 and two == 2:
        return context.op("dot", context.array(given[0]), context.array(given[1]))
    if one == two == 3:
        return context.op("batch_dot", context.array(given[0]), context.array(given[1]))
    if one == two > 3 and given[0].known.declared[1:-2] == given[1].known.declared[1:-2]:
        return context.op("_linalg_gemm2", context.array(given[0]), context.array(given[1]))
    raise Refusal(f"a product of {one} and {two} axes is not supported")


def _slice(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    """Ranges by slice_axis, axes that a number drops by squeeze, new ones by expand_dims."""
    x = context.array(given[0])
    ranges, dropped, new = sliced(arguments["index"])
    for axis, begin, end, by in ranges:
        if by == 1:
            x = context.op("slice_axis", x, axis=axis, begin=begin or 0, end=end)
        else:
            whole = [None] * axis
            x = context.op("slice", x, begin=[*whole, begin], end=[*whole, end], step=[*whole, by])
    if dropped:
        if len(dropped) >= given[0].rank + len(new):
            raise Refusal("a result without axes is not supported")
        x = context.op("squeeze", x, axis=dropped)
    for each in new:
        x = context.op("expand_dims", x, axis=each)
    return x


def _split(context: Context, arguments: _Arguments, given: list[Value]) -> tuple[Entry, ...]:
    sizes, axis = arguments["sizes"], arguments["axis"]
    if isinstance(sizes, int):
        if sizes == 1:
            return (context.array(given[0]),)
        found = context.op("SliceChannel", context.array(given[0]), num_outputs=sizes, axis=axis, squeeze_axis=False)
        return tuple([found[0], index, 0] for index in range(sizes))
    if -1 in sizes:
        raise Refusal("a split with a size that is left open is not supported")
    parts, begin = [], 0
    for size in sizes:
        parts.append(context.op("slice_axis", context.array(given[0]), axis=axis, begin=begin, end=begin + size))
        begin += size
    return tuple(parts)


def _squeeze(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    axis = arguments["axis"]
    if axis is None:
        raise Refusal("squeezing whichever axes have size 1 is not supported")
    return context.op("squeeze", context.array(given[0]), axis=several(axis))


def _expand(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    x = context.array(given[0])
    for each in added(arguments["axis"], given[0].rank):
        x = context.op("expand_dims", x, axis=each)
    return x


def _concatenate(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return context.op("Concat", *map(context.array, given), dim=arguments["axis"], num_args=len(given))


def _stack(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return context.op("stack", *map(context.array, given), axis=arguments["axis"], num_args=len(given))


def _clip(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    low, high = arguments["low"], arguments["high"]
    x = context.array(given[0])
    if low is None or high is None:
        name, number = ("_minimum_scalar", high) if low is None else ("_maximum_scalar", low)
        return context.op(name, x, scalar=float(number))
    return context.op("clip", x, a_min=float(low), a_max=float(high))


_CASTS: Final = ("float16", "float32", "float64", "uint8", "int8", "int32", "int64", "bool")


def _expected(dtype: str) -> str:
    if dtype not in _CASTS:
        raise Refusal(f"MXNet has no {dtype}")
    return dtype


def _cast(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    return context.op("Cast", context.array(given[0]), dtype=_expected(arguments["dtype"]))


def _take(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    context.note("an index outside of the array is counted again from its beginning")
    return context.op("take", context.array(given[0]), context.array(given[1]), axis=arguments["axis"], mode="wrap")


def _where(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    """MXNet wants three arrays of one shape, and no truths among them."""
    _ = [each.sizes for each in given]  # refused where shapes are not known
    dtype = np.dtype(VOCABULARY["where"].dtype(*(each.known.dtype for each in given)))
    inner = "float32" if dtype.kind == "b" else _expected(dtype.name)
    entries: list[tuple[Entry, str, Any]] = []
    for at, each in enumerate(given):
        own = each.known.array_dtype
        wanted = "float32" if at == 0 and own.kind == "b" else inner if at else own.name
        if each.tensor is None:
            made = context.made("value", np.full((1,), each.constant, wanted))
            entries.append((made, wanted, ((1,), (1,))))
            continue
        entry = context.op("Cast", each.tensor, dtype=wanted) if own.name != wanted else each.tensor
        entries.append((entry, wanted, each.known.shapes))
    most = max(len(shapes[0]) for _, _, shapes in entries)
    for at, (entry, wanted, shapes) in enumerate(entries):
        for _ in range(most - len(shapes[0])):
            entry = context.op("expand_dims", entry, axis=0)
        entries[at] = entry, wanted, shapes
    stretched = []
    for entry, wanted, shapes in entries:
        for other, its, theirs in entries:
            if theirs != shapes:
                zeros = context.op("zeros_like", other)
                zeros = zeros if its == wanted else context.op("Cast", zeros, dtype=wanted)
                entry = context.op("broadcast_add", entry, zeros)
        stretched.append(entry)
    found = context.op("where", *stretched)
    return context.op("Cast", found, dtype="bool") if dtype.kind == "b" else found


def _transpose(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    axes = arguments["axes"]
    if axes is None:
        return context.op("transpose", context.array(given[0]))
    return context.op("transpose", context.array(given[0]), axes=[axis % len(axes) for axis in axes])


def _cumsum(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    x, axis = context.array(given[0]), arguments["axis"] % given[0].rank
    before = np.dtype(given[0].known.array_dtype)
    after = VOCABULARY["cumsum"].dtype(before, axis=axis)
    if after != before:
        x = _cast(context, {"dtype": after.name}, given)
    return context.op("cumsum", x, axis=axis)


def _broadcast_to(context: Context, arguments: _Arguments, given: list[Value]) -> Entry:
    """Sizes that are taken of the other array by broadcast_like, those that are written by broadcast_to."""
    shape = arguments["shape"]
    one, like = given
    own: list[int | None] = [1] * len(shape)
    if one.tensor is None:
        x = context.made("value", np.full((1,) * len(shape), one.constant, np.float32))
    else:
        x, own[len(shape) - one.rank :] = one.tensor, one.sizes
        for _ in range(len(shape) - one.rank):
            x = context.op("expand_dims", x, axis=0)
    taken = [axis for axis, size in enumerate(shape) if size is None and like.tensor != one.tensor]
    if taken:
        x = context.op("broadcast_like", x, context.array(like), lhs_axes=taken, rhs_axes=taken)
    if any(size not in (None, before) for size, before in zip(shape, own, strict=True)):
        x = context.op("broadcast_to", x, shape=[size or 0 for size in shape])
    return x


#: Op -> how it is lowered.
OPS: Final[dict[str, Lowering]] = {
    "add": _binary("broadcast_add", "_plus_scalar", "_plus_scalar"),
    "subtract": _binary("broadcast_sub", "_minus_scalar", "_rminus_scalar"),
    "multiply": _binary("broadcast_mul", "_mul_scalar", "_mul_scalar"),
    "divide": _binary("broadcast_div", "_div_scalar", "_rdiv_scalar"),
    "power": _binary("broadcast_power", "_power_scalar", "_rpower_scalar"),
    "maximum": _binary("broadcast_maximum", "_maximum_scalar", "_maximum_scalar"),
    "minimum": _binary("broadcast_minimum", "_minimum_scalar", "_minimum_scalar"),
    **{name: _unary(name) for name in ("negative", "abs", "exp", "log", "sqrt", "rsqrt", "erf", "sin", "cos", "floor")},
    "atan": _unary("arctan"),
    **{name: _reduction(name) for name in ("sum", "mean", "max", "min")},
    "var": Lowering("broadcast_sub square mean", _var, "written as a formula; with ddof refused"),
    "equal": _comparison("equal", "equal"),
    "greater": _comparison("greater", "lesser"),
    "less": _comparison("lesser", "greater"),
    "conv": Lowering("Convolution", conv, "into groups whose number is not fixed is refused"),
    "matmul": Lowering("dot batch_dot _linalg_gemm2", _matmul),
    "slice": Lowering("slice_axis slice squeeze expand_dims", _slice),
    "split": Lowering("SliceChannel slice_axis", _split),
    "squeeze": Lowering("squeeze", _squeeze),
    "expand_dims": Lowering("expand_dims", _expand),
    "concatenate": Lowering("Concat", _concatenate),
    "stack": Lowering("stack", _stack),
    "clip": Lowering("clip _minimum_scalar _maximum_scalar", _clip),
    "cast": Lowering("Cast", _cast),
    "cumsum": Lowering("cumsum", _cumsum),
    "broadcast_to": Lowering("broadcast_like broadcast_to", _broadcast_to),
    "take": Lowering("take", _take),
    "where": Lowering("where zeros_like broadcast_add", _where),
    "transpose": Lowering("transpose", _transpose),
    "reshape": Lowering("Reshape", lambda context, arguments, given: reshape(context, given[0], arguments["shape"])),
    "pad": Lowering(
        "Pad",
        lambda context, arguments, given: padding(
            context, given[0], arguments["padding"], arguments["mode"], arguments["value"]
        ),
    ),
    "softmax": Lowering(
        "softmax",
        lambda context, arguments, given: context.op("softmax", context.array(given[0]), axis=arguments["axis"]),
    ),
}
