"""How ONNX Runtime's own quantised operators are lifted: between integers as between the floats that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_attention import split_heads
from modelarchive.exchange.onnx.lifting_context import Context, Lift
from modelarchive.exchange.onnx.lifting_elementwise import ROWS as ELEMENTWISE
from modelarchive.exchange.onnx.lifting_fused_attention import Parts, attended
from modelarchive.exchange.onnx.lifting_layers import ROWS as LAYERS
from modelarchive.exchange.onnx.lifting_pooling import ROWS as POOLING
from modelarchive.exchange.onnx.lifting_quantised import ROWS as _ONNX_S
from modelarchive.exchange.onnx.lifting_quantised import dynamic, less_zero, saturated, unpacked
from modelarchive.exchange.onnx.lifting_steps import Product, Recurrent, by_steps
from modelarchive.exchange.onnx.values import Operand
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

_WHOLE: Final = [None, None, None]
_MS: Final = "com.microsoft::"
_OF_FLOATS: Final = {row.theirs: row.lift for row in (*ELEMENTWISE, *LAYERS, *POOLING, *_ONNX_S)}


def _real(context: Context, x: int, scale: int, zero: int) -> Ref:
    """The floats that integers stand for."""
    return context.op("multiply", context.as_dtype(less_zero(context, x, zero, None, 0), "float32"), context.ref(scale))


def _quantised(context: Context, ref: Ref, scale: int, zero: int, dtype: str) -> Ref:
    """Floats as integers around a zero point."""
    rounded = context.op("round", context.op("divide", ref, context.ref(scale)))
    point = context.ref(zero) if context.has(zero) else None
    return saturated(context, rounded, point, context.dtype(zero) if context.has(zero) else dtype)


def _between(op: str, inputs: Sequence[int], result: int, *, is_counted: bool = False) -> Lift:
    """An operator of floats between integers.

    Args:
        op: The operator.
        inputs: Where its inputs are, each with its scale and zero point behind it.
        result: Where the scale of the result is, its zero point behind it.
        is_counted: Whether the result is as many steps as there are whole ones in 1, whatever their scale is.
    """

    def lift(context: Context) -> Ref:
        given: list[Operand] = [_real(context, index, index + 1, index + 2) for index in inputs]
        last = context.node.flag("channels_last", default=False) and context.rank(inputs[0]) > 2
        rank = context.rank(inputs[0])
        if last:
            axes = [0, rank - 1, *range(1, rank - 1)]
            given = [context.op("transpose", context.builder.reference(each), axes=axes) for each in given]
        node = replace(context.node, op=op)
        opset = context.node.integer("opset", 0) or context.opset
        found = _OF_FLOATS[op](replace(context, node=node, operands=given, asked=set(), _results=[], opset=opset))
        if last:
            found = context.op("transpose", found, axes=[0, *range(2, rank), 1])
        if not is_counted:
            return _quantised(context, found, result, result + 1, context.dtype(inputs[0]))
        steps = context.op("floor", context.op("divide", context.literal(1, "float32"), context.ref(result)))
        rounded = context.op("round", context.op("multiply", found, steps))
        point = context.ref(result + 1) if context.has(result + 1) else None
        return saturated(context, rounded, point, context.dtype(inputs[0]))

    return lift


def _softmax(context: Context) -> Any:
    """Where scores were calibrated with -inf among them, their scale is infinite, and no runtime has a meaning."""
    if context.is_constant(1) and not np.isfinite(context.constant(1)).all():
        raise Refusal("QLinearSoftmax of a scale that is not finite is not supported: what runtimes give is undefined")
    if context.is_constant(3) and bool((context.constant(3) * 257 < 1).any()):
        raise Refusal("QLinearSoftmax to steps of which more than 256 make 1 is not supported: runtimes give zeros "
                      "for some of them")  # fmt: skip
    # ONNX Runtime computes with the whole steps that 1 has.
    return _between("Softmax", (0,), 3, is_counted=True)(context)


def _concat(context: Context) -> Ref:
    """Several arrays, each with a scale and a zero point behind it, which are behind those of the result."""
    parts = [_real(context, index, index + 1, index + 2) for index in range(2, len(context), 3)]
    whole = context.op("concatenate", *parts, axis=context.node.integer("axis"))
    return _quantised(context, whole, 0, 1, context.dtype(2))


def _where(context: Context) -> Ref:
    sides = [_real(context, index, index + 1, index + 2) for index in (1, 4)]
    return _quantised(context, context.op("where", context.ref(0), *sides), 7, 8, context.dtype(1))


def _gemm(context: Context) -> Ref:
    node = context.node
    alpha = node.number("alpha", 1.0)
    flips = node.flag("transA", default=False), node.flag("transB", default=False)
    a, b = less_zero(context, 0, 2, None, 2), less_zero(context, 3, 5, 0 if flips[1] else 1, 2)
    a = context.op("transpose", a, axes=[1, 0]) if flips[0] else a
    b = context.op("transpose", b, axes=[1, 0]) if flips[1] else b
    found = context.op("matmul", a, b)
    found = context.op("add", found, context.ref(6)) if context.has(6) else found
    scale = context.op("multiply", context.ref(1), context.ref(4))
    scale = scale if alpha == 1 else context.op("multiply", scale, context.literal(alpha, "float32"))
    real = context.op("multiply", context.as_dtype(found, "float32"), scale)
    return _quantised(context, real, 7, 8, context.dtype(0)) if context.has(7) else real


def _to_float(context: Context) -> Ref:
    """A product of integers as floats, and a bias."""
    rank = context.rank(0)
    a, b = less_zero(context, 0, 4, rank - 2, rank), less_zero(context, 1, 5, None, 2)
    scale = context.op("multiply", context.ref(2), context.ref(3))
    found = context.op("multiply", context.as_dtype(context.op("matmul", a, b), "float32"), scale)
    return context.op("add", found, context.ref(6)) if context.has(6) else found


def _dynamic_product(context: Context) -> Ref:
    """Floats, quantised when it runs, times a matrix of integers, as floats; and a bias."""
    x, scale, zero = dynamic(context, context.ref(0))
    a = context.op("subtract", context.as_dtype(x, "int32"), context.as_dtype(zero, "int32"))
    product = context.op("matmul", a, less_zero(context, 1, 3, None, 2))
    found = context.op("multiply", context.as_dtype(product, "float32"), context.op("multiply", scale, context.ref(2)))
    return context.op("add", found, context.ref(4)) if context.has(4) else found


def _attention(context: Context) -> tuple[Any, ...]:
    """An attention whose one product is of integers."""
    node = context.node
    heads = node.integer("num_heads")
    if node.flag("do_rotary", default=False) or node.integer("past_present_share_buffer", 0) or heads < 1:
        raise Refusal("QAttention with rotary positions or a shared buffer is not supported")
    a, b = less_zero(context, 0, 6, None, 3), less_zero(context, 1, 7, None, 2)
    scale = context.op("multiply", context.ref(3), context.ref(4))
    mixed = context.op("multiply", context.as_dtype(context.op("matmul", a, b), "float32"), scale)
    mixed = context.op("add", mixed, context.ref(2))
    three = context.op("split", mixed, sizes=3, axis=2).parts(3)
    q, k, v = (split_heads(context, each, heads) for each in three)
    past: Any = 0
    if context.has(8):
        k, v, past = Parts.with_past(context, 8, k, v)
    return attended(Parts(context, q, k, v, past), mask=5, bias=None, dtype="float32", packed=True)


# ---------------------------------------------------------------- recurrences


def _matrix(context: Context, index: int, scale: int, place: int) -> tuple[Ref, Ref]:
    """The weights of one direction less their zero points, as int32; and their scales."""
    weight = context.as_dtype(context.op("slice", context.ref(index), index=[place]), "int32")
    zero = context.as_dtype(context.op("slice", context.ref(scale + 1), index=[place]), "int32")
    return context.op("subtract", weight, zero), context.op("slice", context.ref(scale), index=[place])


def _product(context: Context, x: Ref, matrix: tuple[Ref, Ref]) -> Ref:
    """Floats, quantised when it runs, times a matrix of integers."""
    found, scale, zero = dynamic(context, x)
    a = context.op("subtract", context.as_dtype(found, "int32"), context.as_dtype(zero, "int32"))
    product = context.as_dtype(context.op("matmul", a, matrix[0]), "float32")
    return context.op("multiply", product, context.op("multiply", scale, matrix[1]))


def _lstm(context: Context) -> tuple[Ref, ...]:
    """Step by step: each step's state is quantised by its own largest and smallest element."""

    def products(place: int) -> tuple[Product, Recurrent]:
        own, states = (_matrix(context, index, scale, place) for index, scale in ((1, 8), (2, 10)))
        return lambda x: _product(context, x, own), lambda h, first, last: _product(context, h, states)

    return by_steps(context, "LSTM", products)


def _gather_blocks(context: Context) -> Ref:
    """Rows of a table of 4 or 8 bits, each block of a row with a scale and a zero point."""
    node = context.node
    bits, block = node.integer("bits", 4), node.integer("block_size", 128)
    axes = node.integer("gather_axis", 0), node.integer("quantize_axis", 1)
    rank = context.rank(0)
    if axes[0] or axes[1] not in (1, -1) or rank != 2 or context.dtype(0) != "uint8" or bits not in (2, 4, 8):
        raise Refusal(f"GatherBlockQuantized of {bits} bits along the axes {axes} of {rank} is not supported")
    blocks = context.shape(2)[1]
    if blocks is None or context.rank(1) < 1:
        raise Refusal("GatherBlockQuantized of sizes that are not fixed is not supported")
    lead: list[int | None] = [None] * context.rank(1)
    rows = context.op("take", context.ref(0), context.ref(1), axis=0)
    whole = context.as_dtype(unpacked(context, rows, bits, [*lead, -1]), "float32")
    whole = context.op("reshape", whole, shape=[*lead, blocks, -1])
    if (context.known_of(whole).declared[-1] or 0) != block:
        raise Refusal("GatherBlockQuantized with a last block in part is not supported")
    zero: Ref = context.literal(2 ** (bits - 1) if bits > 1 else 0, "float32")
    if context.has(3):
        own = unpacked(context, context.op("take", context.ref(3), context.ref(1), axis=0), bits, [*lead, -1])
        own = context.op("slice", own, index=[*[_WHOLE] * len(lead), [None, blocks, None]])
        zero = context.op("expand_dims", context.as_dtype(own, "float32"), axis=[-1])
    scale = context.op("expand_dims", context.op("take", context.ref(2), context.ref(1), axis=0), axis=[-1])
    found = context.op("multiply", context.op("subtract", whole, zero), context.as_dtype(scale, "float32"))
    return context.op("reshape", context.as_dtype(found, context.dtype(2)), shape=[*lead, -1])


_TIES: Final = "where a result lies between two integers, ONNX Runtime may take the other one"

ROWS: Final[list[Lifting]] = [
    Lifting(f"{_MS}QuantizeLinear", "divide, round, add, clip, cast", _OF_FLOATS["QuantizeLinear"]),
    Lifting(f"{_MS}DequantizeLinear", "cast, subtract, multiply", _OF_FLOATS["DequantizeLinear"]),
    Lifting(f"{_MS}QLinearAdd", "multiply, add, round, clip", _between("Sum", (0, 3), 6), _TIES),
    Lifting(f"{_MS}QLinearMul", "multiply, round, clip", _between("Mul", (0, 3), 6), _TIES),
    Lifting(f"{_MS}QLinearSigmoid", "Activation, round, clip", _between("Sigmoid", (0,), 3), _TIES),
    Lifting(f"{_MS}QLinearLeakyRelu", "Activation, round, clip", _between("LeakyRelu", (0,), 3), _TIES),
    Lifting(f"{_MS}QLinearSoftmax", "Softmax, round, clip", _softmax, _TIES),
    Lifting(f"{_MS}QLinearAveragePool", "AvgPool1D, AvgPool2D, round, clip", _between("AveragePool", (0,), 3), _TIES),
    Lifting(
        f"{_MS}QLinearGlobalAveragePool", "GlobalAvgPool2D, round, clip", _between("GlobalAveragePool", (0,), 3), _TIES
    ),
    Lifting(f"{_MS}QLinearConcat", "multiply, concatenate, round, clip", _concat, _TIES),
    Lifting(f"{_MS}QLinearWhere", "multiply, where, round, clip", _where, _TIES),
    Lifting(f"{_MS}QGemm", "subtract, matmul, multiply, round, clip", _gemm, _TIES),
    Lifting(f"{_MS}MatMulIntegerToFloat", "subtract, matmul, multiply, add", _to_float),
    Lifting(f"{_MS}DynamicQuantizeMatMul", "max, min, round, matmul, multiply, add", _dynamic_product),
    Lifting(f"{_MS}QAttention", "subtract, matmul, where, softmax", _attention, "as com.microsoft::Attention"),
    Lifting(
        f"{_MS}DynamicQuantizeLSTM",
        "slice, matmul, round, multiply, add, stack",
        _lstm,
        "a known number of steps, which are written out",
    ),
    Lifting(f"{_MS}GatherBlockQuantized", "take, bitwise_and, right_shift, multiply", _gather_blocks, "two axes"),
]
