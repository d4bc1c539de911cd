"""How ONNX's quantised operators are lifted: exact in integers, the weights kept as the integers that they are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_windows import LAYOUTS, each_axis, padding_of
from modelarchive.exchange.onnx.words import DTYPES, LARGEST
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

_WHOLE: Final = [None, None, None]
#: Letters of the axes of space in a pattern.
_SPACE: Final = "xyz"
#: Taps of a kernel of integers, each of which is a product of its own.
_MAX_TAPS: Final = 1024


def _spread(context: Context, index: int, axis: int, block: int) -> Ref:
    """A scale or zero point beside the input: one number, one for each place along an axis, or one for a block."""
    ref, rank = context.ref(index), context.rank(0)
    sizes = context.shape(index)
    if not sizes or (sizes == [1] and rank and not block):
        return ref
    axis = context.axis(axis)
    if len(sizes) == 1 and not block:
        return context.op("reshape", ref, shape=[-1 if place == axis else 1 for place in range(rank)])
    size = context.shape(0)[axis]
    if not block or size is None or len(sizes) != rank or block < 1:
        raise Refusal(f"{context.node.op} with a scale of {len(sizes)} axes is not supported")
    return context.op("take", ref, context.fixed(context.counting(size) // block), axis=axis)


def _dequantize(context: Context) -> Ref:
    """(x - zero point) times scale."""
    axis, block = context.node.integer("axis", 1), context.node.integer("block_size", 0)
    code = context.node.integer("output_dtype", 0)
    dtype = context.dtype(1)
    if code and DTYPES.get(code) != dtype:
        raise Refusal(f"DequantizeLinear with output_dtype = {code} beside a scale of {dtype} is not supported")
    inner = "int32" if context.dtype(0)[0] in "iu" else dtype
    x = context.as_dtype(context.ref(0), inner)
    if context.has(2):
        x = context.op("subtract", x, context.as_dtype(_spread(context, 2, axis, block), inner))
    return context.op("multiply", context.as_dtype(x, dtype), _spread(context, 1, axis, block))


def _quantize(context: Context) -> Ref:
    """The nearest number of quantised ones, of two that are as near the even one; what is beyond is held down."""
    node = context.node
    axis, block = node.integer("axis", 1), node.integer("block_size", 0)
    saturate, code = node.flag("saturate", default=True), node.integer("output_dtype", 0)
    precision = node.integer("precision", 0)
    to = context.dtype(2) if context.has(2) else DTYPES.get(code or 2, "")
    inner = DTYPES.get(precision, "") if precision else context.dtype(1)
    if to not in dtypes.DENSE or inner not in dtypes.DENSE:
        raise Refusal(f"QuantizeLinear to the element type {code} is not supported")
    x = context.as_dtype(context.ref(0), inner)
    scaled = context.op("divide", x, context.as_dtype(_spread(context, 1, axis, block), inner))
    if to in LARGEST:
        if saturate:
            scaled = context.op("clip", context.as_dtype(scaled, "float32"), low=-LARGEST[to], high=LARGEST[to])
        return context.as_dtype(scaled, to)
    zero = _spread(context, 2, axis, block) if context.has(2) else None
    return saturated(context, context.op("round", context.as_dtype(scaled, "float32")), zero, to)


def saturated(context: Context, rounded: Ref, zero: Ref | None, dtype: str) -> Ref:
    """Whole numbers of float32 with a zero point, as integers; what is beyond those is the last one.

    NaN is the lowest one, as in runtimes: softmax of a row without a key is NaN, and exporters put 0 in its place
    behind the quantisation.
    """
    if dtype not in dtypes.DENSE or dtype[0] not in "iu" or dtypes.DENSE[dtype].itemsize > 2:
        raise Refusal(f"{context.node.op} to {dtype} is not supported")
    info = np.iinfo(dtypes.DENSE[dtype])
    moved = rounded if zero is None else context.op("add", rounded, context.as_dtype(zero, "float32"))
    held = context.op("clip", moved, low=int(info.min), high=int(info.max))
    lowest = context.literal(int(info.min), "float32")
    return context.as_dtype(context.op("where", context.op("less", lowest, moved), held, lowest), dtype)


def _dynamic(context: Context) -> tuple[Ref, Ref, Ref]:
    if context.dtype(0) != "float32":
        raise Refusal(f"DynamicQuantizeLinear of {context.dtype(0)} is not supported")
    return dynamic(context, context.ref(0))


def dynamic(context: Context, x: Ref) -> tuple[Ref, Ref, Ref]:
    """Quantised to 0 to 255, by the largest and the smallest element; of zeros the scale is 1, as in runtimes."""
    zero, steps = context.literal(0, "float32"), context.literal(255, "float32")
    high = context.op("maximum", context.op("max", x, axis=None, keepdims=False), zero)
    low = context.op("minimum", context.op("min", x, axis=None, keepdims=False), zero)
    span = context.op("subtract", high, low)
    span = context.op("where", context.op("equal", span, zero), steps, span)
    scale = context.op("divide", span, steps)
    place = context.op("divide", context.op("negative", low), scale)
    point = context.op("round", context.op("clip", place, low=0, high=255))
    found = saturated(context, context.op("round", context.op("divide", x, scale)), point, "uint8")
    return found, scale, context.as_dtype(point, "uint8")


def less_zero(context: Context, index: int, zero: int, axis: int | None, rank: int) -> Ref:
    """Integers as int32, less their zero point: one, or one for each place along an axis."""
    x = context.as_dtype(context.ref(index), "int32")
    if not context.has(zero):
        return x
    point = context.as_dtype(context.ref(zero), "int32")
    if axis is not None and len(context.shape(zero)) == 1 and context.shape(zero) != [1]:
        point = context.op("reshape", point, shape=[-1 if place == axis else 1 for place in range(rank)])
    return context.op("subtract", x, point)


def _matmul_integer(context: Context) -> Ref:
    rank = context.rank(0)
    a, b = less_zero(context, 0, 2, rank - 2, rank), less_zero(context, 1, 3, None, 2)
    return context.op("matmul", a, b)


def _linear_matmul(context: Context) -> Ref:
    """a, its scale and zero point; b, likewise; those of the result."""
    rank = context.rank(0)
    product = context.op("matmul", less_zero(context, 0, 2, rank - 2, rank), less_zero(context, 3, 5, None, 2))
    ratio = context.op("multiply", context.ref(1), context.ref(4))
    return _requantised(context, product, context.op("divide", ratio, context.ref(6)), 7)


def _requantised(context: Context, product: Ref, ratio: Ref, zero: int) -> Ref:
    """Whole numbers times a ratio, as integers around a zero point."""
    scaled = context.op("multiply", context.as_dtype(product, "float32"), context.as_dtype(ratio, "float32"))
    point = context.ref(zero) if context.has(zero) else None
    to = context.dtype(zero) if context.has(zero) else context.dtype(0)
    return saturated(context, context.op("round", scaled), point, to)


def _conv_integer(context: Context) -> Ref:
    return _correlated(context, less_zero(context, 0, 2, None, 0), less_zero(context, 1, 3, 0, context.rank(1)), 1)


def _linear_conv(context: Context) -> Ref:
    """x, its scale and zero point; the weight, likewise; those of the result; a bias of int32."""
    rank = context.rank(0)
    found = _correlated(context, less_zero(context, 0, 2, None, 0), less_zero(context, 3, 5, 0, rank), 3)
    each = [1, -1] + [1] * (rank - 2)
    if context.has(8):
        found = context.op("add", found, context.op("reshape", context.ref(8), shape=each))
    weight = context.ref(4)
    weight = context.op("reshape", weight, shape=each) if context.shape(4) not in ([], [1]) else weight
    ratio = context.op("divide", context.op("multiply", context.ref(1), weight), context.ref(6))
    return _requantised(context, found, ratio, 7)


def _correlated(context: Context, x: Ref, weight: Ref, index: int) -> Ref:
    """A convolution of integers, exact: for each tap of the kernel a product of the channels, added up."""
    rank, groups = context.rank(0) - 2, context.node.integer("group", 1)
    shape = context.shape(index)
    if rank not in LAYOUTS or len(shape) != rank + 2 or None in shape or groups < 1:
        raise Refusal(f"{context.node.op} over {rank} axes, of the weights {shape}, is not supported")
    channels, inner, *kernel = (int(size or 0) for size in shape)
    context.node.integers("kernel_shape", kernel)
    strides, dilation = each_axis(context, "strides", 1, rank), each_axis(context, "dilations", 1, rank)
    pairs = padding_of(context, kernel, strides, dilation)
    if not 1 <= math.prod(kernel) <= _MAX_TAPS or channels % groups or min(*strides, *dilation) < 1:
        raise Refusal(f"{context.node.op} of the kernel {kernel} is not supported")
    if any(map(any, pairs)):
        x = context.op("pad", x, padding=pairs, mode="constant", value=0)
    parts = []
    for group in range(groups if inner > 1 or channels != groups else 1):
        budget.spend(f"{context.node.op} {context.name!r}", steps=2 * math.prod(kernel))
        parts.append(_group(context, x, weight, group, (channels, inner, groups), (kernel, strides, dilation)))
    return parts[0] if len(parts) == 1 else context.op("concatenate", *parts, axis=1)


def _group(
    context: Context, x: Ref, weight: Ref, group: int, counts: tuple[int, int, int], window: tuple[list[int], ...]
) -> Ref:
    """The products of one group of channels; of all of them where each is a group of its own."""
    (channels, inner, groups), (kernel, strides, dilation) = counts, window
    alone = inner == 1 and channels == groups
    several = groups > 1 and not alone
    rows = [group * channels // groups, (group + 1) * channels // groups, None] if several else _WHOLE
    columns = [group * inner, (group + 1) * inner, None] if several else _WHOLE
    space = _SPACE[: len(kernel)]
    total: Ref | None = None
    for tap in itertools.product(*map(range, kernel)):
        taken = [
            [place * gap or None, (place - size + 1) * gap or None, None if step == 1 else step]
            for place, size, gap, step in zip(tap, kernel, dilation, strides, strict=True)
        ]
        part = context.op("slice", x, index=[_WHOLE, columns, *taken])
        if alone:
            own = context.op("slice", weight, index=[_WHOLE, 0, *tap])
            own = context.op("reshape", own, shape=[1, -1] + [1] * len(kernel))
            product = context.op("multiply", part, own)
        else:
            own = context.op("slice", weight, index=[rows, _WHOLE, *tap])
            product = context.op("einsum", own, part, pattern=f"oi,ni{space}->no{space}")
        total = product if total is None else context.op("add", total, product)
    if total is None:
        raise Refusal(f"{context.node.op} without a kernel is not supported")
    return total


def _matmul_of_bits(context: Context) -> Ref:
    """Microsoft's MatMulNBits: rows of a matrix in blocks of 4 or 8 bits, each with a scale and a zero point."""
    node = context.node
    columns, inner = node.integer("N"), node.integer("K")
    bits, block = node.integer("bits", 4), node.integer("block_size")
    if node.integer("accuracy_level", 0) == 4:
        context.note("is computed in floats; accuracy_level = 4 lets runtimes round what it multiplies to 8 bits")
    if bits not in (2, 4, 8) or block < 16 or context.has(4) or context.dtype(1) != "uint8":
        raise Refusal(f"MatMulNBits of {bits} bits in blocks of {block}, or with g_idx, is not supported")
    blocks = -(-inner // block)
    dtype = context.dtype(0)
    whole = unpacked(context, context.ref(1), bits, [columns, blocks, block])
    scale = context.op("reshape", context.ref(2), shape=[columns, blocks, 1])
    zero: Ref = context.literal(2 ** (bits - 1), "float32")
    if context.has(3):
        packed = context.dtype(3) == "uint8"
        zero = (
            unpacked(context, context.ref(3), bits, [columns, -1])
            if packed
            else context.op("reshape", context.ref(3), shape=[columns, -1])
        )
        zero = context.op("slice", context.as_dtype(zero, "float32"), index=[_WHOLE, [None, blocks, None]])
        zero = context.op("reshape", zero, shape=[columns, blocks, 1])
    centred = context.op("subtract", context.as_dtype(whole, "float32"), zero)
    matrix = context.op("multiply", centred, context.as_dtype(scale, "float32"))
    matrix = context.op("reshape", context.as_dtype(matrix, dtype), shape=[columns, blocks * block])
    if blocks * block != inner:
        matrix = context.op("slice", matrix, index=[_WHOLE, [None, inner, None]])
    found = context.op("matmul", context.ref(0), context.op("transpose", matrix, axes=[1, 0]))
    return context.op("add", found, context.ref(5)) if context.has(5) else found


def unpacked(context: Context, ref: Ref, bits: int, shape: Sequence[int | None]) -> Ref:
    """Bytes as the numbers in them, the lowest bits first."""
    if bits < 8:
        mask = context.literal(2**bits - 1, "uint8")
        parts = []
        for low in range(0, 8, bits):
            moved = context.op("right_shift", ref, context.literal(low, "uint8")) if low else ref
            parts.append(context.op("bitwise_and", moved, mask))
        ref = context.op("stack", *parts, axis=len(context.known_of(ref).shapes[0]))
    return context.op("reshape", ref, shape=list(shape))


ROWS: Final[list[Lifting]] = [
    Lifting("DequantizeLinear", "cast, subtract, multiply", _dequantize),
    Lifting("QuantizeLinear", "divide, round, add, clip, cast", _quantize, "to 8 and 16 bits, and float8"),
    Lifting("DynamicQuantizeLinear", "max, min, divide, round, clip, cast", _dynamic),
    Lifting("MatMulInteger", "subtract, matmul", _matmul_integer),
    Lifting("QLinearMatMul", "subtract, matmul, multiply, round, clip", _linear_matmul),
    Lifting("ConvInteger", "subtract, slice, einsum, add", _conv_integer),
    Lifting("QLinearConv", "subtract, slice, einsum, add, multiply, round, clip", _linear_conv),
    Lifting(
        "com.microsoft::MatMulNBits",
        "bitwise_and, right_shift, subtract, multiply, matmul",
        _matmul_of_bits,
        "the weights stay packed; not with g_idx",
    ),
]
