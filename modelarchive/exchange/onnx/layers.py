"""What ONNX's operators with parameters mean: products, normalisations; and what works along axes."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from modelarchive.exchange.onnx.elementwise import Read, Row
from modelarchive.exchange.onnx.step import Step
from modelarchive.exchange.onnx.tensors import lazily
from modelarchive.exchange.onnx.values import Constant, Ref
from modelarchive.exchange.refusal import Refusal
from modelarchive.ops.contraction import normal_pattern


def _dense(step: Step, x: Ref, weight: Constant, bias: Constant | None) -> Ref:
    units, inputs = weight.array.shape
    config = {
        "kind": "Dense",
        "units": units,
        "activation": None,
        "use_bias": bias is not None,
        "flatten": False,
        "in_units": inputs,
    }
    return step.block(config, x, weight=weight, **({} if bias is None else {"bias": bias}))


def _is_matrix(step: Step, index: int) -> bool:
    operand = step.operand(index)
    return (
        isinstance(operand, Constant)
        and len(operand.array.shape) == 2
        and 0 not in operand.array.shape
        and operand.array.dtype.kind not in "biuc"
    )


def _matmul(step: Step) -> Ref:
    dtype = step.alike(0, 1)
    if _is_matrix(step, 1) and step.rank(0) >= 1 and not step.is_constant(0):
        return _dense(step, step.ref(0), step.stored(1).transposed((1, 0)), None)
    return step.as_dtype(step.op("matmul", step.ref(0), step.ref(1)), dtype)


def _add(step: Step) -> Ref:
    """A sum; a bias is added in the Dense whose result it is added to, if nothing else takes that."""
    dtype = step.alike(0, 1)
    for index in (0, 1):
        bias, other = step.operand(index), step.operand(1 - index)
        if not isinstance(bias, Constant) or not isinstance(other, str) or len(bias.array.shape) != 1:
            continue
        if dtype[0] not in "biuc" and step.importer.uses.get(step.node.inputs[1 - index]) == 1:
            merged = step.importer.with_bias(other, bias)
            if merged is not None:
                return merged
    return step.op("add", step.ref(0), step.ref(1))


def _gemm(step: Step) -> Ref:
    alpha, beta = step.node.number("alpha", 1.0), step.node.number("beta", 1.0)
    flips = step.node.flag("transA", default=False), step.node.flag("transB", default=False)
    dtype = step.alike(*(index for index in range(3) if step.has(index)))
    if dtype[0] in "iu" and not (alpha == beta == 1):
        raise Refusal(f"Gemm of {dtype} with alpha and beta has no counterpart")
    a = step.op("transpose", step.ref(0), axes=[1, 0]) if flips[0] else step.ref(0)
    bias = step.operand(2) if step.has(2) else None
    if _is_matrix(step, 1) and alpha == 1:
        weight = step.stored(1) if flips[1] else step.stored(1).transposed((1, 0))
        units = weight.array.shape[0]
        if bias is None:
            return _dense(step, a, weight, None)
        if isinstance(bias, Constant) and beta == 1 and bias.array.shape in ((units,), (1, units)):
            return _dense(step, a, weight, bias.reshaped((units,)))
        product = _dense(step, a, weight, None)
    else:
        b = step.op("transpose", step.ref(1), axes=[1, 0]) if flips[1] else step.ref(1)
        product = step.as_dtype(step.op("matmul", a, b), dtype)
        if alpha != 1:
            product = step.op("multiply", product, step.literal(alpha, dtype))
    if bias is None:
        return product
    c = step.ref(2)
    return step.op("add", product, c if beta == 1 else step.op("multiply", c, step.literal(beta, dtype)))


def _einsum(step: Step) -> Ref:
    dtype = step.alike(*range(len(step)))
    equation = step.node.text("equation").replace(" ", "")
    try:
        pattern = normal_pattern(equation, [step.rank(index) for index in range(len(step))])
    except (ValueError, TypeError) as error:
        raise Refusal(f"equation = {equation!r}: {error}") from error
    return step.as_dtype(step.op("einsum", *step.refs(), pattern=pattern), dtype)


def _batch_norm(step: Step) -> Ref:
    if step.node.flag("training_mode", default=False):
        raise Refusal("normalisation by the batch's own statistics has no counterpart")
    epsilon, momentum = step.node.number("epsilon", 1e-5), step.node.number("momentum", 0.9)
    step.node.integer("spatial", 1)
    names = ("weight", "bias", "running_mean", "running_var")
    found = {name: step.stored(index) for index, name in enumerate(names, start=1)}
    config = {
        "kind": "BatchNorm",
        "axis": 1,
        "momentum": momentum,
        "epsilon": epsilon,
        "center": True,
        "scale": True,
        "in_channels": math.prod(found["weight"].array.shape),
    }
    return step.block(config, step.ref(0), **found)


def _layer_norm(step: Step) -> Any:
    if not step.used(1) and not step.used(2):
        return _normalised(step, "LayerNorm")
    axis, epsilon = step.axis(step.node.integer("axis", -1)), step.node.number("epsilon", 1e-5)
    axes = list(range(axis, step.rank(0)))
    x = step.as_dtype(step.ref(0), "float32") if step.dtype(0) in ("float16", "bfloat16") else step.ref(0)
    variance = step.op("var", x, axis=axes, keepdims=True, ddof=0)
    inverse = step.op("rsqrt", step.op("add", variance, step.literal(epsilon, str(step.known_of(x).array_dtype))))
    return _normalised(step, "LayerNorm"), step.op("mean", x, axis=axes, keepdims=True), inverse


def _rms_norm(step: Step) -> Ref:
    return _normalised(step, "RMSNorm")


def _normalised(step: Step, kind: str) -> Ref:
    rank = step.rank(0)
    axis, epsilon = step.axis(step.node.integer("axis", -1)), step.node.number("epsilon", 1e-5)
    step.node.expect("stash_type", "i", 1)
    axes = [place - rank for place in range(axis, rank)]
    sizes = [size or 0 for size in step.shape(0)[axis:]]
    known = [index for index in (1, 2) if step.has(index)]
    dtype = step.alike(0, *known)
    plain = all(step.is_constant(index) and list(step.known(index).shapes[0]) == sizes for index in known)
    config: dict[str, Any] = {"kind": kind, "axis": axes[0] if len(axes) == 1 else axes, "epsilon": epsilon}
    if kind == "LayerNorm":
        config["center"] = plain and step.has(2)
    config |= {"scale": plain, "in_channels": sizes[0] if len(sizes) == 1 else sizes}
    if plain:
        bias = {"bias": step.stored(2)} if step.has(2) else {}
        return step.block(config, step.ref(0), weight=step.stored(1), **bias)
    # Scales of another shape broadcast, or are computed: spelled out.
    config["dtype"] = dtype
    result = step.op("multiply", step.block(config, step.ref(0)), step.ref(1))
    return step.op("add", result, step.ref(2)) if step.has(2) else result


def _instance_norm(step: Step) -> Ref:
    return _affine(step, {"kind": "InstanceNorm", "axis": 1, "epsilon": step.node.number("epsilon", 1e-5)})


def _group_norm(step: Step) -> Ref:
    groups, epsilon = step.node.integer("num_groups"), step.node.number("epsilon", 1e-5)
    step.node.expect("stash_type", "i", 1)
    channels = step.shape(0)[1] if step.rank(0) > 1 else None
    if channels is None or groups < 1 or channels % groups:
        raise Refusal(f"GroupNormalization of {channels} channels in {groups} groups has no counterpart")
    config = {"kind": "GroupNorm", "num_groups": groups, "epsilon": epsilon, "axis": 1}
    if step.opset >= 21 or channels == groups:
        return _affine(step, config)
    # Until opset 20 the scale is that of a group.
    times = channels // groups
    step.note(f"the scale and bias of each group are repeated for each of its {times} channels")
    return _affine(step, config, repeats=times)


def _affine(step: Step, config: dict[str, Any], *, repeats: int = 1) -> Ref:
    found = {}
    for name, index in (("weight", 1), ("bias", 2)):
        each = step.stored(index)
        if repeats > 1:
            size = math.prod(each.array.shape) * repeats
            step.make(size)
            array = lazily(each.array, lambda x: np.repeat(x.reshape(-1), repeats), (size,))
            each = Constant(array, each.stored, each.then(f"repeated {repeats}"))
        found[name] = each
    config |= {"center": True, "scale": True, "in_channels": math.prod(found["weight"].array.shape)}
    return step.block(config, step.ref(0), **found)


def _softmax(kind: str) -> Read:
    def read(step: Step) -> Ref:
        axis = step.axis(step.node.integer("axis", -1))
        return step.block({"kind": kind, "axis": axis - step.rank(0)}, step.ref(0))

    return read


def axes_of(step: Step) -> list[int] | None:
    """The axes of a reduction; None: all; empty: none."""
    found = step.integers(1) if step.has(1) else list(step.node.integers("axes", []))
    none = step.node.flag("noop_with_empty_axes", default=False)
    if found:
        return [step.axis(axis) for axis in found]
    return [] if none else None


def _reduction(name: str, *, before: str = "", after: str = "") -> Read:
    """A reduction with something done to each element before, and to the result after."""

    def read(step: Step) -> Ref:
        axes, keepdims, dtype = axes_of(step), step.node.flag("keepdims", default=True), step.dtype(0)
        if dtype[0] in "iu" and (name == "mean" or before == "exp" or after):
            raise Refusal(f"{step.node.op} of {dtype} has no counterpart")
        x = step.ref(0)
        if before == "square":
            x = step.op("multiply", x, x)
        elif before == "abs":
            x = step.op("abs", x)
        elif before == "exp":
            return _log_sum_exp(step, x, axes, keepdims=keepdims)
        if axes == []:
            return step.op(after, x) if after else x
        result = step.as_dtype(step.op(name, x, axis=axes, keepdims=keepdims), dtype)
        return step.op(after, result) if after else result

    return read


def _log_sum_exp(step: Step, x: Ref, axes: list[int] | None, *, keepdims: bool) -> Ref:
    if axes == []:
        return x
    top = step.op("max", x, axis=axes, keepdims=True)
    off = step.op("exp", step.op("subtract", x, top))
    total = step.op("log", step.op("sum", off, axis=axes, keepdims=True))
    result = step.op("add", total, top)
    if keepdims:
        return result
    return step.op("squeeze", result, axis=axes if axes is not None else list(range(step.rank(0))))


def _arg(name: str) -> Read:
    def read(step: Step) -> Ref:
        axis, keepdims = step.axis(step.node.integer("axis", 0)), step.node.flag("keepdims", default=True)
        last, dtype = step.node.flag("select_last_index", default=False), step.dtype(0)
        x = step.ref(0)
        if name == "min":
            if dtype[0] in "iu":
                raise Refusal(f"ArgMin of {dtype} has no counterpart")
            x = step.op("negative", x)
        if not last:
            return step.op("argmax", x, axis=axis, keepdims=keepdims)
        size = step.shape(0)[axis]
        if size is None:
            raise Refusal("select_last_index along an axis that is not fixed has no counterpart: pass inputs=")
        index: list[Any] = [[None, None, None]] * axis + [[None, None, -1]]
        found = step.op("argmax", step.op("slice", x, index=index), axis=axis, keepdims=keepdims)
        return step.op("subtract", step.literal(size - 1, "int64"), found)

    return read


def _hardmax(step: Step) -> Ref:
    axis, dtype = step.axis(step.node.integer("axis", -1)), step.dtype(0)
    size = step.shape(0)[axis]
    if size is None:
        raise Refusal("Hardmax along an axis that is not fixed has no counterpart: pass inputs=")
    places = step.counting(size).reshape([-1] + [1] * (step.rank(0) - axis - 1))
    largest = step.op("argmax", step.ref(0), axis=axis, keepdims=True)
    return step.as_dtype(step.op("equal", largest, step.fixed(places)), dtype)


def _cumsum(step: Step) -> Ref:
    axis, dtype = step.axis(step.whole(1)), step.dtype(0)
    exclusive, reverse = step.node.flag("exclusive", default=False), step.node.flag("reverse", default=False)
    backwards: list[Any] = [[None, None, None]] * axis + [[None, None, -1]]
    x = step.op("slice", step.ref(0), index=backwards) if reverse else step.ref(0)
    if exclusive:
        pairs = [[0, 0] for _ in range(step.rank(0))]
        pairs[axis] = [1, 0]
        index: list[Any] = [[None, None, None]] * axis + [[None, -1, None]]
        x = step.op("slice", step.op("pad", x, padding=pairs, mode="constant", value=0), index=index)
    result = step.as_dtype(step.op("cumsum", x, axis=axis), dtype)
    return step.op("slice", result, index=backwards) if reverse else result


def _lp_norm(step: Step) -> Ref:
    axis, p = step.axis(step.node.integer("axis", -1)), step.node.integer("p", 2)
    if p not in (1, 2):
        raise Refusal(f"p = {p} has no counterpart")
    x = step.ref(0)
    inner = step.op("abs", x) if p == 1 else step.op("multiply", x, x)
    norm = step.op("sum", inner, axis=[axis], keepdims=True)
    norm = norm if p == 1 else step.op("sqrt", norm)
    zero = step.literal(0, step.dtype(0))
    # Where all is 0 the result is 0, and no quotient of zeros.
    safe = step.op("where", step.op("equal", norm, zero), step.literal(1, step.dtype(0)), norm)
    return step.op("divide", x, safe)


def _variance_norm(step: Step) -> Ref:
    axes = [step.axis(axis) for axis in step.node.integers("axes", [0, 2, 3])]
    x, dtype = step.ref(0), step.dtype(0)
    mean = step.op("mean", x, axis=axes, keepdims=True)
    variance = step.op("var", x, axis=axes, keepdims=True, ddof=0)
    deviation = step.op("add", step.op("sqrt", variance), step.literal(1e-9, dtype))
    return step.op("divide", step.op("subtract", x, mean), deviation)


def _local_norm(step: Step) -> Ref:
    """LRN: each channel by the squares of its neighbours."""
    alpha, beta = step.node.number("alpha", 1e-4), step.node.number("beta", 0.75)
    bias, size, dtype = step.node.number("bias", 1.0), step.node.integer("size"), step.dtype(0)
    if not 1 <= size <= 64 or step.rank(0) < 2:
        raise Refusal(f"LRN over {size} channels has no counterpart")
    x, rank = step.ref(0), step.rank(0)
    channels = step.shape(0)[1]
    if channels is None:
        raise Refusal("LRN of channels that are not fixed has no counterpart: pass inputs=")
    pairs = [[0, 0] for _ in range(rank)]
    pairs[1] = [(size - 1) // 2, size // 2]
    squares = step.op("pad", step.op("multiply", x, x), padding=pairs, mode="constant", value=0)
    whole: list[Any] = [None, None, None]
    total = step.op("slice", squares, index=[whole, [0, channels, None]])
    for place in range(1, size):
        total = step.op("add", total, step.op("slice", squares, index=[whole, [place, place + channels, None]]))
    scaled = step.op("multiply", total, step.literal(alpha / size, dtype))
    power = step.op("power", step.op("add", scaled, step.literal(bias, dtype)), step.literal(beta, dtype))
    return step.op("divide", x, power)


#: Name, what it becomes, how, what is lost.
LAYERS: Final[list[Row]] = [
    ("MatMul", "Dense, matmul", _matmul, ""),
    ("Add", "add", _add, ""),
    ("Gemm", "Dense, matmul, transpose, multiply, add", _gemm, ""),
    ("Einsum", "einsum", _einsum, ""),
    ("BatchNormalization", "BatchNorm", _batch_norm, "parameters stored; not by the batch's own statistics"),
    ("LayerNormalization", "LayerNorm, multiply, add, mean, var, rsqrt", _layer_norm, ""),
    ("RMSNormalization", "RMSNorm, multiply", _rms_norm, ""),
    ("InstanceNormalization", "InstanceNorm", _instance_norm, "parameters stored"),
    ("GroupNormalization", "GroupNorm", _group_norm, "parameters stored"),
    ("Softmax", "Softmax", _softmax("Softmax"), ""),
    ("LogSoftmax", "LogSoftmax", _softmax("LogSoftmax"), ""),
    ("ReduceSum", "sum", _reduction("sum"), ""),
    ("ReduceMean", "mean", _reduction("mean"), "no integers"),
    ("ReduceMax", "max", _reduction("max"), ""),
    ("ReduceMin", "min", _reduction("min"), ""),
    ("ReduceL1", "abs, sum", _reduction("sum", before="abs"), ""),
    ("ReduceL2", "multiply, sum, sqrt", _reduction("sum", before="square", after="sqrt"), "no integers"),
    ("ReduceSumSquare", "multiply, sum", _reduction("sum", before="square"), ""),
    ("ReduceLogSum", "sum, log", _reduction("sum", after="log"), "no integers"),
    ("ReduceLogSumExp", "max, subtract, exp, sum, log, add", _reduction("sum", before="exp"), "no integers"),
    ("ArgMax", "argmax", _arg("max"), ""),
    ("ArgMin", "negative, argmax", _arg("min"), "no integers"),
    ("Hardmax", "argmax, equal, cast", _hardmax, "the size along the axis known"),
    ("CumSum", "cumsum, slice, pad", _cumsum, ""),
    ("LpNormalization", "abs, multiply, sum, sqrt, divide", _lp_norm, ""),
    ("MeanVarianceNormalization", "mean, var, sqrt, divide", _variance_norm, ""),
    ("LRN", "multiply, pad, slice, add, power, divide", _local_norm, "channels known"),
]
