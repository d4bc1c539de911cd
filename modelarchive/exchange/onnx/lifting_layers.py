"""How ONNX's operators with parameters are lifted: products; and those that work along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context, Lift
from modelarchive.exchange.onnx.lifting_sizes import shaped, sizes_of
from modelarchive.exchange.onnx.values import Constant
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.ops.contraction import normal_pattern


def dense(context: Context, x: Ref, weight: Constant, bias: Constant | None) -> Ref:
    """The layer of a stored matrix (units, inputs), and of a bias where there is one."""
    units, inputs = weight.array.shape
    config = {
        "kind": "Dense",
        "units": units,
        "activation": None,
        "use_bias": bias is not None,
        "flatten": False,
        "in_units": inputs,
    }
    return context.block(config, x, weight=weight, **({} if bias is None else {"bias": bias}))


def _matmul(context: Context) -> Ref:
    dtype = context.alike(0, 1)
    if context.is_matrix(1) and context.rank(0) >= 1 and not context.is_constant(0):
        return dense(context, context.ref(0), context.stored(1).transposed((1, 0)), None)
    return context.as_dtype(context.op("matmul", context.ref(0), context.ref(1)), dtype)


def _add(context: Context) -> Ref:
    """A sum; a bias is added in the Dense whose result it is added to, if nothing else takes that."""
    dtype = context.alike(0, 1)
    for index in (0, 1):
        bias, other = context.operand(index), context.operand(1 - index)
        if not isinstance(bias, Constant) or not isinstance(other, Ref) or len(bias.array.shape) != 1:
            continue
        if dtype[0] not in "biuc" and context.uses.get(context.node.inputs[1 - index]) == 1:
            merged = context.builder.with_bias(other, bias)
            if merged is not None:
                return merged
    return context.op("add", context.ref(0), context.ref(1))


def gemm(context: Context) -> Ref:
    """A product of matrices, turned and scaled, and what is added to it."""
    alpha, beta = context.node.number("alpha", 1.0), context.node.number("beta", 1.0)
    flips = context.node.flag("transA", default=False), context.node.flag("transB", default=False)
    dtype = context.alike(*(index for index in range(3) if context.has(index)))
    if dtype[0] in "iu" and not (alpha == beta == 1):
        raise Refusal(f"Gemm of {dtype} with alpha and beta is not supported")
    a = context.op("transpose", context.ref(0), axes=[1, 0]) if flips[0] else context.ref(0)
    bias = context.operand(2) if context.has(2) else None
    if context.is_matrix(1) and alpha == 1:
        weight = context.stored(1) if flips[1] else context.stored(1).transposed((1, 0))
        units = weight.array.shape[0]
        if bias is None:
            return dense(context, a, weight, None)
        if isinstance(bias, Constant) and beta == 1 and bias.array.shape in ((units,), (1, units)):
            return dense(context, a, weight, bias.reshaped((units,)))
        product = dense(context, a, weight, None)
    else:
        b = context.op("transpose", context.ref(1), axes=[1, 0]) if flips[1] else context.ref(1)
        product = context.as_dtype(context.op("matmul", a, b), dtype)
        if alpha != 1:
            product = context.op("multiply", product, context.literal(alpha, dtype))
    if bias is None:
        return product
    c = context.ref(2)
    return context.op("add", product, c if beta == 1 else context.op("multiply", c, context.literal(beta, dtype)))


def _einsum(context: Context) -> Ref:
    dtype = context.alike(*range(len(context)))
    equation = context.node.text("equation").replace(" ", "")
    try:
        pattern = normal_pattern(equation, [context.rank(index) for index in range(len(context))])
    except (ValueError, TypeError) as error:
        raise Refusal(f"equation = {equation!r}: {error}") from error
    return context.as_dtype(context.op("einsum", *context.refs(), pattern=pattern), dtype)


#: The opset from which on these work along one axis; before, on a matrix of what is before an axis and the rest.
_ALONG: Final = 13


def _axis_of_matrix(context: Context) -> int:
    return context.axis(context.node.integer("axis", -1 if context.opset >= _ALONG else 1))


def flattened(context: Context, axis: int, lift: Callable[[Ref], Ref]) -> Ref:
    """What is done along all axes from one on, as if they were one."""
    x, rank = context.ref(0), context.rank(0)
    if axis == rank - 1:
        return lift(x)
    sizes = sizes_of(context)
    # The axes before stay apart, so that those that are free stay what they are.
    return shaped(context, lift(shaped(context, x, [*sizes[:axis], -1])), list(sizes))


def _softmax(kind: str) -> Lift:
    def lift(context: Context) -> Ref:
        axis = _axis_of_matrix(context)
        if context.opset >= _ALONG:
            return context.block({"kind": kind, "axis": axis - context.rank(0)}, context.ref(0))
        return flattened(context, axis, lambda x: context.block({"kind": kind, "axis": -1}, x))

    return lift


def _axes_of(context: Context) -> list[int] | None:
    """The axes of a reduction; None: all; empty: none."""
    found = context.integers(1) if context.has(1) else list(context.node.integers("axes", []))
    none = context.node.flag("noop_with_empty_axes", default=False)
    if found:
        return [context.axis(axis) for axis in found]
    return [] if none else None


def _reduction(name: str, *, before: str = "", after: str = "") -> Lift:
    """A reduction with something done to each element before, and to the result after."""

    def lift(context: Context) -> Ref:
        axes, keepdims, dtype = _axes_of(context), context.node.flag("keepdims", default=True), context.dtype(0)
        if dtype[0] in "iu" and (name == "mean" or before == "exp" or after):
            raise Refusal(f"{context.node.op} of {dtype} is not supported")
        x = context.ref(0)
        if before == "square":
            x = context.op("multiply", x, x)
        elif before == "abs":
            x = context.op("abs", x)
        elif before == "exp":
            return _log_sum_exp(context, x, axes, keepdims=keepdims)
        if axes == []:
            return context.op(after, x) if after else x
        result = context.as_dtype(context.op(name, x, axis=axes, keepdims=keepdims), dtype)
        return context.op(after, result) if after else result

    return lift


def _log_sum_exp(context: Context, x: Ref, axes: list[int] | None, *, keepdims: bool) -> Ref:
    if axes == []:
        return x
    top = context.op("max", x, axis=axes, keepdims=True)
    off = context.op("exp", context.op("subtract", x, top))
    total = context.op("log", context.op("sum", off, axis=axes, keepdims=True))
    result = context.op("add", total, top)
    if keepdims:
        return result
    return context.op("squeeze", result, axis=axes if axes is not None else list(range(context.rank(0))))


def _product(context: Context) -> Ref:
    """Halves of an axis times each other, until one element is left."""
    axes, keepdims = _axes_of(context), context.node.flag("keepdims", default=True)
    axes = list(range(context.rank(0))) if axes is None else axes
    x, whole = context.ref(0), [None, None, None]
    for axis in axes:
        size = context.known_of(x).declared[axis]
        if size is None or size < 1:
            raise Refusal("ReduceProd along an axis that is not fixed is not supported: pass inputs=")
        while size > 1:
            half = size // 2
            parts = [[None, half, None], [half, 2 * half, None], [2 * half, None, None]]
            one, two, rest = (context.op("slice", x, index=[*[whole] * axis, part]) for part in parts)
            x = context.op("multiply", one, two)
            x = context.op("concatenate", x, rest, axis=axis) if size % 2 else x
            size = half + size % 2
    x = context.as_dtype(x, context.dtype(0))
    return x if keepdims or not axes else context.op("squeeze", x, axis=axes)


def _arg(name: str) -> Lift:
    def lift(context: Context) -> Ref:
        axis, keepdims = context.axis(context.node.integer("axis", 0)), context.node.flag("keepdims", default=True)
        last, dtype = context.node.flag("select_last_index", default=False), context.dtype(0)
        x = context.ref(0)
        if name == "min":
            # The smallest integer of a dtype has no negative.
            is_whole = dtype[0] in "iu"
            x = context.op("subtract", context.literal(-1, "int64"), context.as_dtype(x, "int64")) if is_whole else (
                context.op("negative", x)
            )  # fmt: skip
        if not last:
            return context.op("argmax", x, axis=axis, keepdims=keepdims)
        size = context.shape(0)[axis]
        if size is None:
            raise Refusal("select_last_index along an axis that is not fixed is not supported: pass inputs=")
        index: list[Any] = [[None, None, None]] * axis + [[None, None, -1]]
        found = context.op("argmax", context.op("slice", x, index=index), axis=axis, keepdims=keepdims)
        return context.op("subtract", context.literal(size - 1, "int64"), found)

    return lift


def _hardmax(context: Context) -> Ref:
    axis = _axis_of_matrix(context)
    if context.opset < _ALONG:
        return flattened(context, axis, lambda x: _hottest(context, x, axis))
    return _hottest(context, context.ref(0), axis)


def _hottest(context: Context, x: Ref, axis: int) -> Ref:
    """1 where the first of the largest elements along an axis is, else 0."""
    known = context.known_of(x)
    rank, size = len(known.shapes[0]), known.declared[axis]
    if size is None:
        raise Refusal("Hardmax along an axis that is not fixed is not supported: pass inputs=")
    places = context.counting(size).reshape([-1] + [1] * (rank - axis - 1))
    largest = context.op("argmax", x, axis=axis, keepdims=True)
    return context.as_dtype(context.op("equal", largest, context.fixed(places)), str(known.array_dtype))


ROWS: Final[list[Lifting]] = [
    Lifting("MatMul", "Dense, matmul", _matmul),
    Lifting("Add", "add", _add),
    Lifting("Gemm", "Dense, matmul, transpose, multiply, add", gemm),
    Lifting("Einsum", "einsum", _einsum),
    Lifting("Softmax", "Softmax", _softmax("Softmax")),
    Lifting("LogSoftmax", "LogSoftmax", _softmax("LogSoftmax")),
    Lifting("ReduceSum", "sum", _reduction("sum")),
    Lifting("ReduceProd", "slice, multiply, concatenate", _product, "sizes along the axes known"),
    Lifting("ReduceMean", "mean", _reduction("mean"), "no integers"),
    Lifting("ReduceMax", "max", _reduction("max")),
    Lifting("ReduceMin", "min", _reduction("min")),
    Lifting("ReduceL1", "abs, sum", _reduction("sum", before="abs")),
    Lifting("ReduceL2", "multiply, sum, sqrt", _reduction("sum", before="square", after="sqrt"), "no integers"),
    Lifting("ReduceSumSquare", "multiply, sum", _reduction("sum", before="square")),
    Lifting("ReduceLogSum", "sum, log", _reduction("sum", after="log"), "no integers"),
    Lifting("ReduceLogSumExp", "max, subtract, exp, sum, log, add", _reduction("sum", before="exp"), "no integers"),
    Lifting("ArgMax", "argmax", _arg("max")),
    Lifting("ArgMin", "negative, subtract, argmax", _arg("min")),
    Lifting("Hardmax", "argmax, equal, cast", _hardmax, "the size along the axis known"),
]
