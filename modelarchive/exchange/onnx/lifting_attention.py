"""How ONNX's operators of Transformers are lifted: attention, rotary positions, gates; as formulas in ops."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_sizes import along
from modelarchive.exchange.onnx.words import DTYPES
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.nn.dim import Dim, from_pair

#: Steps of a recurrence that are written out.
_MAX_STEPS: Final = 1024
_WHOLE: Final = [None, None, None]


def split_heads(context: Context, ref: Ref, heads: int) -> Ref:
    """(batch, length, heads times size) as (batch, heads, length, size)."""
    if heads < 1:
        raise Refusal(f"{context.node.op} of three axes without the number of heads is not supported")
    return context.op("transpose", context.op("reshape", ref, shape=[None, None, heads, -1]), axes=[0, 2, 1, 3])


def joined_heads(context: Context, ref: Ref) -> Ref:
    """:func:`split_heads` undone."""
    return context.op("reshape", context.op("transpose", ref, axes=[0, 2, 1, 3]), shape=[None, None, -1])


def free_sizes(context: Context, ref: Ref) -> list[Any]:
    """The sizes of a result: ints, and Dims where they are not fixed."""
    return [from_pair(one, two) for one, two in zip(*context.known_of(ref).shapes, strict=True)]


def repeated_heads(context: Context, ref: Ref, times: int) -> Ref:
    """Each head several times, one after the other."""
    if times == 1:
        return ref
    heads = free_sizes(context, ref)[1]
    return context.op("take", ref, context.fixed(np.repeat(context.counting(int(heads)), times)), axis=1)


def _attention(context: Context) -> tuple[Any, ...]:
    """Softmax of the scaled products of queries and keys, times the values.

    The soft cap comes before the mask, as onnx has it from 1.22 on and ONNX Runtime from 1.28 on; queries that may
    attend to no key give zeros.
    """
    node, dtype = context.node, context.alike(0, 1, 2)
    q, k, v = (context.ref(index) for index in range(3))
    flat = context.rank(0) == 3
    heads, kv_heads = node.integer("q_num_heads", 0), node.integer("kv_num_heads", 0)
    if flat:
        q, k, v = split_heads(context, q, heads), split_heads(context, k, kv_heads), split_heads(context, v, kv_heads)
    past: Any = 0
    if context.has(4):
        k = context.op("concatenate", context.ref(4), k, axis=2)
        v = context.op("concatenate", context.ref(5), v, axis=2)
        past = free_sizes(context, context.ref(4))[2]
    present = k, v
    heads, kv_heads, width = (free_sizes(context, each)[axis] for each, axis in ((q, 1), (k, 1), (q, 3)))
    if any(isinstance(each, Dim) for each in (heads, kv_heads, width)) or heads % kv_heads:
        raise Refusal(f"Attention of {heads} heads over {kv_heads} is not supported")
    k, v = repeated_heads(context, k, heads // kv_heads), repeated_heads(context, v, heads // kv_heads)
    root = math.sqrt(node.number("scale", 0.0) or 1 / math.sqrt(width))
    turned = context.op("transpose", k, axes=[0, 1, 3, 2])
    scaled = [context.op("multiply", each, context.literal(root, dtype)) for each in (q, turned)]
    stages = [context.op("matmul", *scaled)]
    stages.append(_capped(context, stages[0], node.number("softcap", 0.0), dtype))
    bias, may_be_dead = _bias(context, stages[1], past, dtype)
    stages.append(stages[1] if bias is None else context.op("add", stages[1], bias))
    stages.append(_weights(context, stages[2], dtype, may_be_dead=may_be_dead))
    result = context.op("matmul", stages[3], v)
    mode = node.integer("qk_matmul_output_mode", 0)
    return (joined_heads(context, result) if flat else result), *present, stages[mode]


def _capped(context: Context, scores: Ref, cap: float, dtype: str) -> Ref:
    if cap <= 0:
        return scores
    limit = context.literal(cap, dtype)
    return context.op("multiply", context.activation("tanh", context.op("divide", scores, limit)), limit)


def _bias(context: Context, scores: Ref, past: Any, dtype: str) -> tuple[Ref | None, bool]:
    """What is added to the scores, None: nothing; and whether a query may be left without any key."""
    node = context.node
    causal = node.flag("is_causal", default=False)
    left, right = node.integer("left_window_size", -1), node.integer("right_window_size", -1)
    zero, least = context.literal(0, dtype), context.literal(-np.inf, dtype)
    allowed: list[Ref] = []
    keys = along(context, scores, 3) if causal or left >= 0 or right >= 0 or context.has(6) else None
    if keys is not None and (causal or left >= 0 or right >= 0):
        place = _offset(context, context.op("expand_dims", along(context, scores, 2), axis=[1]), scores, past)
        if causal or right >= 0:
            # Of the two bounds the nearer one.
            last = place if causal else context.op("add", place, context.literal(right, "int64"))
            allowed.append(_not(context, context.op("greater", keys, last)))
        if left >= 0:
            first = context.op("subtract", place, context.literal(left, "int64"))
            allowed.append(_not(context, context.op("less", keys, first)))
    if keys is not None and context.has(6):
        lengths = context.op("reshape", context.as_dtype(context.ref(6), "int64"), shape=[-1, 1, 1, 1])
        allowed.append(context.op("less", keys, lengths))
    if context.has(3) and context.dtype(3) == "bool":
        allowed.append(_masked(context, scores, padding=0))
    bias = _masked(context, scores, padding="-Infinity") if context.has(3) and context.dtype(3) != "bool" else None
    for each in allowed:
        added = context.op("where", each, zero, least)
        bias = added if bias is None else context.op("add", bias, added)
    return bias, context.has(3) or context.has(6)


def _offset(context: Context, rows: Ref, scores: Ref, past: Any) -> Ref:
    """The places of the queries among the keys: behind those that are there already."""
    if context.has(6) and not context.has(4):
        lengths = context.op("reshape", context.as_dtype(context.ref(6), "int64"), shape=[-1, 1, 1, 1])
        queries = free_sizes(context, scores)[2]
        if isinstance(queries, Dim):
            raise Refusal("Attention with nonpad_kv_seqlen of queries that are not fixed is not supported")
        return context.op("add", rows, context.op("subtract", lengths, context.literal(int(queries), "int64")))
    if isinstance(past, Dim):
        count = context.op("slice", context.op("shape_of", context.ref(4)), index=[2])
        return context.op("add", rows, count)
    return context.op("add", rows, context.literal(int(past), "int64")) if past else rows


def _masked(context: Context, scores: Ref, *, padding: Any) -> Ref:
    """The mask that is given, as long as there are keys."""
    mask, keys = context.ref(3), free_sizes(context, scores)[3]
    size = free_sizes(context, mask)[-1]
    if isinstance(size, Dim) or isinstance(keys, Dim):
        if not (isinstance(size, Dim) and isinstance(keys, Dim) and size.pair == keys.pair):
            raise Refusal("a mask of other keys than there are, of sizes that are not fixed, is not supported")
        return mask
    if size < keys and size != 1:
        return context.op("pad", mask, padding=[[0, keys - size]], mode="constant", value=padding)
    return mask


def _not(context: Context, ref: Ref) -> Ref:
    return context.op("equal", ref, context.literal(False, "bool"))


def _weights(context: Context, scores: Ref, dtype: str, *, may_be_dead: bool) -> Ref:
    code = context.node.integer("softmax_precision", 0)
    if code and code not in DTYPES:
        raise Refusal(f"softmax_precision = {code} is not supported")
    inner = DTYPES[code] if code else dtype
    scores = context.as_dtype(scores, inner)
    if not may_be_dead:
        return context.as_dtype(context.op("softmax", scores, axis=-1), dtype)
    zero = context.literal(0, inner)
    top = context.op("max", scores, axis=[-1], keepdims=True)
    dead = context.op("equal", top, context.literal(-np.inf, inner))
    found = context.op("softmax", context.op("where", dead, zero, scores), axis=-1)
    return context.as_dtype(context.op("where", dead, zero, found), dtype)


def _rotary(context: Context) -> Ref:
    """Pairs of elements turned by the angles whose cosines and sines are given."""
    node, x = context.node, context.ref(0)
    flat = context.rank(0) == 3
    if flat:
        x = context.op("reshape", x, shape=[None, None, node.integer("num_heads", 0) or _no_heads(), -1])
    else:
        node.integer("num_heads", 0)
        x = context.op("transpose", x, axes=[0, 2, 1, 3])
    waves = []
    for index in (1, 2):
        each = context.op("take", context.ref(index), context.ref(3), axis=0) if context.has(3) else context.ref(index)
        waves.append(context.op("expand_dims", each, axis=[2]))
    pairs = node.flag("interleaved", default=False)
    found = turned(context, x, waves[0], waves[1], width=node.integer("rotary_embedding_dim", 0), pairs=pairs)
    if flat:
        return context.op("reshape", found, shape=[None, None, -1])
    return context.op("transpose", found, axes=[0, 2, 1, 3])


def turned(context: Context, x: Ref, cos: Ref, sin: Ref, *, width: int = 0, pairs: bool) -> Ref:
    """Elements turned in pairs.

    Args:
        context: The operator.
        x: (batch, length, heads, size).
        cos: (batch, length, 1, half of what is turned).
        sin: The same.
        width: How many elements of a head are turned; 0: all.
        pairs: Whether pairs lie side by side, and not half a head apart.
    """
    whole = free_sizes(context, x)[3]
    width = width or whole
    if isinstance(whole, Dim) or not 0 < width <= whole or width % 2:
        raise Refusal(f"{context.node.op} of {width} of {whole} elements is not supported")
    rest = context.op("slice", x, index=[_WHOLE] * 3 + [[width, None, None]]) if width < whole else None
    ways = [[0, width, 2], [1, width, 2]] if pairs else [[0, width // 2, None], [width // 2, width, None]]
    one, two = (context.op("slice", x, index=[*[_WHOLE] * 3, way]) for way in ways)
    real = context.op("subtract", context.op("multiply", cos, one), context.op("multiply", sin, two))
    imaginary = context.op("add", context.op("multiply", sin, one), context.op("multiply", cos, two))
    if pairs:
        both = context.op("stack", real, imaginary, axis=4)
        found = context.op("reshape", both, shape=[None, None, None, width])
    else:
        found = context.op("concatenate", real, imaginary, axis=3)
    return found if rest is None else context.op("concatenate", found, rest, axis=3)


def _no_heads() -> int:
    raise Refusal("RotaryEmbedding of three axes without num_heads is not supported")


def _swish_gate(context: Context) -> Ref:
    dtype, alpha = context.alike(0, 1), context.node.number("alpha", 1.0)
    x = context.ref(0)
    inner = x if alpha == 1 else context.op("multiply", x, context.literal(alpha, dtype))
    return context.op("multiply", context.op("multiply", x, context.activation("sigmoid", inner)), context.ref(1))


def _linear_attention(context: Context) -> tuple[Ref, Ref]:
    """A state that each step changes and reads, step by step, in float32."""
    node, dtype = context.node, context.dtype(0)
    rule = node.text("update_rule", "gated_delta")
    node.integer("chunk_size", 0)
    heads, kv_heads = node.integer("q_num_heads"), node.integer("kv_num_heads")
    given = (context.has(4), context.has(5))
    if rule not in ("linear", "gated", "delta", "gated_delta") or given != ("gated" in rule, "delta" in rule):
        raise Refusal(f"LinearAttention by the rule {rule!r} with these inputs is not supported")
    if min(heads, kv_heads) < 1 or heads % kv_heads:
        raise Refusal(f"LinearAttention of {heads} heads over {kv_heads} is not supported")
    q, k, v = (
        context.as_dtype(split_heads(context, context.ref(index), count), "float32")
        for index, count in enumerate((heads, kv_heads, kv_heads))
    )
    steps, width = free_sizes(context, q)[2], free_sizes(context, q)[3]
    if isinstance(steps, Dim) or steps > _MAX_STEPS or isinstance(width, Dim):
        raise Refusal(f"LinearAttention over {steps} steps is not supported, only over at most {_MAX_STEPS}, fixed")
    decay = _gates(context, 4, kv_heads) if context.has(4) else None
    beta = _gates(context, 5, min(kv_heads, free_sizes(context, context.ref(5))[-1])) if context.has(5) else None
    scale = node.number("scale", 0.0) or 1 / math.sqrt(width)
    state: Ref | None = context.as_dtype(context.ref(3), "float32") if context.has(3) else None
    results = []
    for step in range(steps):
        budget.spend(f"LinearAttention {context.name!r}", steps=8)
        now = [_at(context, each, step) for each in (q, k, v)]
        gates = [None if each is None else _at(context, each, step) for each in (decay, beta)]
        state, read = _step(context, state, now, gates, heads // kv_heads)
        results.append(read)
    if state is None:
        raise Refusal("LinearAttention over no steps is not supported")
    found = context.op("stack", *results, axis=2)
    found = context.op("multiply", found, context.literal(scale, "float32"))
    ends = context.dtype(3) if context.has(3) else dtype
    return context.as_dtype(joined_heads(context, found), dtype), context.as_dtype(state, ends)


def _gates(context: Context, index: int, heads: Any) -> Ref:
    found = split_heads(context, context.ref(index), int(heads))
    return context.as_dtype(found, "float32")


def _at(context: Context, ref: Ref, step: int) -> Ref:
    return context.op("slice", ref, index=[_WHOLE, _WHOLE, step])


def _step(context: Context, state: Ref | None, now: list[Ref], gates: list[Ref | None], times: int) -> tuple[Ref, Ref]:
    """One step of a linear attention: the new state, and what the query reads of it."""
    (q, k, v), (decay, beta) = now, gates
    if state is not None and decay is not None:
        gate = context.op("exp", context.op("expand_dims", decay, axis=[3]))
        state = context.op("multiply", state, gate)
    if beta is not None:
        if state is not None:
            v = context.op("subtract", v, context.op("einsum", state, k, pattern="bhdm,bhd->bhm"))
        v = context.op("multiply", beta, v)
    column, row = context.op("expand_dims", k, axis=[3]), context.op("expand_dims", v, axis=[2])
    written = context.op("multiply", column, row)
    state = written if state is None else context.op("add", state, written)
    return state, context.op("einsum", q, repeated_heads(context, state, times), pattern="bhd,bhdm->bhm")


ROWS: Final[list[Lifting]] = [
    Lifting(
        "Attention",
        "matmul, multiply, softmax, where",
        _attention,
        "the soft cap before the mask, as onnx has it from 1.22 on and ONNX Runtime from 1.28 on",
    ),
    Lifting("RotaryEmbedding", "slice, multiply, add, concatenate", _rotary),
    Lifting("SwiGLU", "Activation, multiply", _swish_gate),
    Lifting("LinearAttention", "einsum, multiply, add, stack", _linear_attention, "a known number of steps"),
]
