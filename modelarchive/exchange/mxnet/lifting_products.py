"""How MXNet's products of arrays are lifted: of matrices, over axes, by Einstein's convention."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.lifting_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.ops.contraction import normal_pattern


def _matmul(context: Context) -> Ref:
    """Matrix products."""
    at = context.attributes
    flips = at.flag("transpose_a", default=False), at.flag("transpose_b", default=False)
    at.expect("forward_stype", "None", "default")
    refs = []
    if context.node.op == "_linalg_gemm2" and not any(flips):
        return context.op("matmul", context.ref(0), context.ref(1))
    ranks = context.rank(0), context.rank(1)
    # MXNet's dot sums over the last axis of the first and the first axis of the second.
    if context.node.op == "dot" and (ranks[1] != 2 or ranks[0] < 2 or (flips[0] and ranks[0] != 2)):
        raise Refusal(f"a product of {ranks[0]} and {ranks[1]} axes is not supported, only one with a matrix")
    for index, (flip, rank) in enumerate(zip(flips, ranks, strict=True)):
        axes = [*range(rank - 2), rank - 1, rank - 2]
        refs.append(context.op("transpose", context.ref(index), axes=axes) if flip else context.ref(index))
    return context.op("matmul", *refs)


def _gemm2(context: Context) -> Ref:
    """A product of as many matrices as the first axes hold."""
    context.attributes.expect("axis", "-2")
    factor = context.attributes.number("alpha", 1.0)
    return _matmul(context) if factor == 1 else context.op("multiply", _matmul(context), context.constant(factor))


def _dot(context: Context) -> Ref:
    """NumPy's dot: over the last axis of the first array and the last but one of the second."""
    one, other = context.rank(0), context.rank(1)
    if not one or not other:
        return context.op("multiply", context.ref(0), context.ref(1))
    if one <= 2 and other <= 2:
        return context.op("matmul", context.ref(0), context.ref(1))
    return _summed(context, [one - 1], [max(other - 2, 0)])


def _einsum(context: Context) -> Ref:
    """Products summed over letters."""
    at = context.attributes
    at.aside("optimize")
    pattern = normal_pattern(at.text("subscripts"), [context.rank(index) for index in range(len(context))])
    return context.op("einsum", *context.refs(), pattern=pattern)


def _tensordot(context: Context) -> Ref:
    """A product summed over axes of both arrays; or over so many last and first ones."""
    at = context.attributes
    if context.node.op == "_npi_tensordot_int_axes":
        count = at.integer("axes")
        if not 0 <= count <= min(context.rank(0), context.rank(1)):
            raise Refusal(f"a product over {count} axes is not supported for these arrays")
        rank = context.rank(0)
        return _summed(context, list(range(rank - count, rank)), list(range(count)))
    one, other = at.sizes("a_axes_summed"), at.sizes("b_axes_summed")
    if len(one) != len(other):
        raise Refusal(f"{len(one)} and {len(other)} axes are summed over together")
    return _summed(context, [context.axis(each) for each in one], [context.axis(each, 1) for each in other])


def _summed(context: Context, one: Sequence[int], other: Sequence[int]) -> Ref:
    """A product of two arrays, summed over pairs of axes."""
    ranks = context.rank(0), context.rank(1)
    if sum(ranks) > len(string.ascii_letters):
        raise Refusal(f"a product of {ranks[0]} and {ranks[1]} axes is not supported")
    first = list(string.ascii_letters[: ranks[0]])
    second = list(string.ascii_letters[ranks[0] : sum(ranks)])
    for mine, theirs in zip(one, other, strict=True):
        second[theirs] = first[mine]
    result = [each for each in first + second if (each in first) != (each in second)]
    pattern = f"{''.join(first)},{''.join(second)}->{''.join(result)}"
    return context.op("einsum", context.ref(0), context.ref(1), pattern=pattern)


def _kronecker(context: Context) -> Ref:
    """Each element of one array times the other array."""
    one, other = context.shape(0), context.shape(1)
    if None in one or None in other:
        raise Refusal("sizes that are not known are not supported: pass inputs= with fixed sizes")
    rank = max(len(one), len(other))
    sizes: list[list[int]] = [[1] * (rank - len(each)) + [size or 0 for size in each] for each in (one, other)]
    wide = [context.op("reshape", context.ref(0), shape=[size for each in sizes[0] for size in (each, 1)])]
    wide.append(context.op("reshape", context.ref(1), shape=[size for each in sizes[1] for size in (1, each)]))
    both = [first * second for first, second in zip(*sizes, strict=True)]
    return context.op("reshape", context.op("multiply", *wide), shape=both)


def _self_attention_scores(context: Context) -> Ref:
    """Scores of queries and keys that stand side by side, head by head: ``(length, batch, heads * 3 * size)``."""
    query, key = (_head(context, 0, 3, which) for which in (0, 1))
    return _scores(context, query, key)


def _self_attention_values(context: Context) -> Ref:
    """Values that stand beside their queries and keys, weighted: ``(length, batch, heads * size)``."""
    return _weighted(context, _head(context, 0, 3, 2))


def _cross_attention_scores(context: Context) -> Ref:
    """Scores of queries, and of keys that stand beside their values."""
    return _scores(context, _head(context, 0, 1, 0), _head(context, 1, 2, 0))


def _cross_attention_values(context: Context) -> Ref:
    """Values that stand beside their keys, weighted."""
    return _weighted(context, _head(context, 0, 2, 1))


def _head(context: Context, index: int, parts: int, which: int) -> Ref:
    """One of several parts of an array ``(length, batch, heads * parts * size)``: ``(batch, heads, length, size)``."""
    heads = context.attributes.integer("heads")
    width = context.shape(index)[2] if context.rank(index) == 3 else None
    if width is None or heads < 1 or width % (heads * parts):
        raise Refusal(f"{heads} heads of {parts} parts are not supported for this input")
    whole = context.op("reshape", context.ref(index), shape=[None, None, heads, parts, width // heads // parts])
    every: list[int | None] = [None, None, None]
    part = context.op("slice", whole, index=[every, every, every, which])
    return context.op("transpose", part, axes=[1, 2, 0, 3])


def _scores(context: Context, query: Ref, key: Ref) -> Ref:
    size = context.builder.known(query, context.node.op).declared[3]
    turned = context.op("transpose", key, axes=[0, 1, 3, 2])
    scores = context.op("matmul", context.op("multiply", query, context.constant((size or 1) ** -0.5)), turned)
    # Lengths may be free, and stay in front while batch and heads become one axis.
    front = context.op("transpose", scores, axes=[2, 3, 0, 1])
    return context.op("transpose", context.op("reshape", front, shape=[None, None, -1]), axes=[2, 0, 1])


def _weighted(context: Context, value: Ref) -> Ref:
    heads = context.attributes.integer("heads")
    if context.rank(1) != 3:
        raise Refusal(f"weights of {context.rank(1)} axes are not supported, only of 3")
    front = context.op("transpose", context.ref(1), axes=[1, 2, 0])
    apart = context.op("reshape", front, shape=[None, None, -1, heads])
    weights = context.op("transpose", apart, axes=[2, 3, 0, 1])
    found = context.op("transpose", context.op("matmul", weights, value), axes=[2, 0, 1, 3])
    return context.op("reshape", found, shape=[None, None, -1])


ROWS: Final = (
    Lifting("dot batch_dot _npx_batch_dot", "matmul, transpose", _matmul, "dot with a matrix only"),
    Lifting("_linalg_gemm2 linalg_gemm2", "matmul, transpose, multiply", _gemm2),
    Lifting("_npi_dot", "matmul, einsum", _dot),
    Lifting("_npi_einsum", "einsum", _einsum),
    Lifting("_npi_tensordot _npi_tensordot_int_axes", "einsum", _tensordot),
    Lifting("_npi_kron", "reshape, multiply", _kronecker, "sizes known"),
    *(
        Lifting(f"_contrib_interleaved_matmul_{name} _npx_interleaved_matmul_{name}", "matmul", lift)
        for name, lift in (
            ("selfatt_qk", _self_attention_scores),
            ("selfatt_valatt", _self_attention_values),
            ("encdec_qk", _cross_attention_scores),
            ("encdec_valatt", _cross_attention_values),
        )
    ),
)
