"""How ONNX Runtime's own attentions are lifted: BERT's, that of encoders and decoders, that of grouped queries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_attention import (
    free_sizes,
    joined_heads,
    repeated_heads,
    split_heads,
    turned,
)
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_integers import negated
from modelarchive.exchange.onnx.lifting_layers import dense
from modelarchive.exchange.onnx.lifting_sizes import along
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.nn.dim import Dim

_WHOLE: Final = [None, None, None]
#: What is added to the score of a key that may not be attended to.
_FILL: Final = -10000.0


@dataclass(frozen=True)
class Parts:
    """Queries, keys and values (batch, heads, length, size), on their way through one attention.

    Attributes:
        context: The operator.
        q: Queries.
        k: Keys, those of the past among them.
        v: Values.
        past: How many keys were there before: a number, or an int64 that is computed.
    """

    context: Context
    q: Ref
    k: Ref
    v: Ref
    past: Any = 0

    @staticmethod
    def with_past(context: Context, index: int, k: Ref, v: Ref) -> tuple[Ref, Ref, Any]:
        """Keys and values behind those of the past, two arrays or both in one; and how many those are."""
        packed = context.rank(index) == 5
        before = (
            [context.op("slice", context.ref(index), index=[place]) for place in (0, 1)]
            if packed
            else [context.ref(index), context.ref(index + 1)]
        )
        size = free_sizes(context, before[0])[2]
        past: Any = size
        if isinstance(size, Dim):
            past = context.op("slice", context.op("shape_of", before[0]), index=[2])
        k, v = (context.op("concatenate", one, two, axis=2) for one, two in zip(before, (k, v), strict=True))
        return k, v, past

    def scores(self) -> Ref:
        """The scaled products of queries and keys."""
        context, width = self.context, free_sizes(self.context, self.q)[3]
        scale = context.node.number("scale", 0.0)
        if not scale and isinstance(width, Dim):
            raise Refusal(f"{context.node.op} of heads whose size is not fixed is not supported: pass inputs=")
        scale = scale or 1 / math.sqrt(width)
        product = context.op("matmul", self.q, context.op("transpose", self.k, axes=[0, 1, 3, 2]))
        return context.op("multiply", product, context.literal(scale, self.dtype))

    @property
    def dtype(self) -> str:
        """Their dtype."""
        return str(self.context.known_of(self.q).array_dtype)

    def rows(self) -> Ref:
        """The places of the queries among the keys, as a column."""
        context = self.context
        rows = context.op("expand_dims", along(context, self.q, 2), axis=[1])
        if isinstance(self.past, Ref):
            return context.op("add", rows, self.past)
        return context.op("add", rows, context.literal(int(self.past), "int64")) if self.past else rows

    def causal(self, scores: Ref) -> Ref:
        """Scores that leave out the keys behind each query."""
        context = self.context
        later = context.op("greater", along(context, scores, 3), self.rows())
        least = float(np.finfo(np.float16 if self.dtype == "float16" else np.float32).min)
        return context.op("where", later, context.literal(least, self.dtype), scores)


def _padding(context: Context, index: int, scores: Ref, dtype: str) -> Ref:
    """Scores less what a mask takes from keys: ones and zeros for each key, or how many keys count."""
    shape, fill = context.shape(index), context.node.number("mask_filter_value", _FILL)
    keys = along(context, scores, 3)
    rank = len(shape)
    mask = context.ref(index)
    batch = free_sizes(context, scores)[0]
    if rank == 1:
        have = free_sizes(context, mask)[0]
        same = have.pair == batch.pair if isinstance(have, Dim) and isinstance(batch, Dim) else have == batch
        if not same:
            raise Refusal(f"a mask of the first and last key of each sequence ({shape}) is not supported")
        lengths = context.op("reshape", context.as_dtype(mask, "int64"), shape=[-1, 1, 1, 1])
        allowed = context.op("less", keys, lengths)
    elif rank in (2, 3):
        places = [1, 2] if rank == 2 else [1]
        mask = context.op("expand_dims", mask, axis=places)
        allowed = context.op("greater", mask, context.literal(0, context.dtype(index)))
    else:
        raise Refusal(f"a mask of {rank} axes is not supported")
    zero = context.literal(0, dtype)
    return context.op("add", scores, context.op("where", allowed, zero, context.literal(fill, dtype)))


def _packed_attention(context: Context) -> tuple[Any, ...]:
    """BERT's and GPT-2's: one matrix for queries, keys and values."""
    node, dtype = context.node, context.dtype(0)
    heads, parts = node.integer("num_heads"), node.integers("qkv_hidden_sizes", None)
    if node.flag("do_rotary", default=False) or node.integer("past_present_share_buffer", 0):
        raise Refusal("Attention with rotary positions or a shared buffer is not supported")
    node.integer("rotary_embedding_dim", 0)
    total = context.shape(1)[1]
    sizes = list(parts) if parts else [int(total or 0) // 3] * 3
    if heads < 1 or sum(sizes) != total or any(each % heads for each in sizes):
        raise Refusal(f"Attention of {sizes} columns in {heads} heads is not supported")
    if context.is_matrix(1) and (not context.has(2) or context.is_constant(2)):
        bias = context.stored(2) if context.has(2) else None
        mixed = dense(context, context.ref(0), context.stored(1).transposed((1, 0)), bias)
    else:
        mixed = context.op("matmul", context.ref(0), context.ref(1))
        mixed = context.op("add", mixed, context.ref(2)) if context.has(2) else mixed
    q, k, v = (split_heads(context, each, heads) for each in context.op("split", mixed, sizes=sizes, axis=2).parts(3))
    past: Any = 0
    if context.has(4):
        k, v, past = Parts.with_past(context, 4, k, v)
    if context.has(6):
        context.asked.add(6)
    return attended(Parts(context, q, k, v, past), mask=3, bias=5, dtype=dtype, packed=True)


def attended(parts: Parts, *, mask: int, bias: int | None, dtype: str, packed: bool) -> tuple[Any, ...]:
    """What the weights of the keys make of the values; and the keys and values, together or apart."""
    context = parts.context
    scores = parts.scores()
    if context.node.flag("unidirectional", default=False):
        scores = parts.causal(scores)
    if context.has(mask):
        scores = _padding(context, mask, scores, dtype)
    if bias is not None and context.has(bias):
        scores = context.op("add", scores, context.ref(bias))
    weights = context.as_dtype(context.op("softmax", scores, axis=-1), dtype)
    found = joined_heads(context, context.op("matmul", weights, parts.v))
    if packed:
        return found, context.op("stack", parts.k, parts.v, axis=0) if context.used(1) else None
    return found, parts.k, parts.v, scores


def _multi_head(context: Context) -> tuple[Any, ...]:
    """Queries, keys and values, each projected before, or two or three of them in one."""
    node, dtype = context.node, context.dtype(0)
    heads = node.integer("num_heads")
    q, k, v = _three(context, heads)
    past: Any = 0
    if context.has(6):
        k, v, past = Parts.with_past(context, 6, k, v)
    if context.has(8):
        raise Refusal("MultiHeadAttention into a buffer (past_sequence_length) is not supported")
    return attended(Parts(context, q, k, v, past), mask=4, bias=5, dtype=dtype, packed=False)


def _three(context: Context, heads: int) -> list[Ref]:
    """Queries, keys and values by head, with their biases."""
    if context.rank(0) == 5:  # (batch, length, heads, 3, size)
        packed = context.op("transpose", context.ref(0), axes=[3, 0, 2, 1, 4])
        _no_bias(context)
        return [context.op("slice", packed, index=[place]) for place in range(3)]
    if context.has(1) and context.rank(1) == 5:  # (batch, length, heads, 2, size)
        packed = context.op("transpose", context.ref(1), axes=[3, 0, 2, 1, 4])
        _no_bias(context)
        return [
            split_heads(context, context.ref(0), heads),
            *(context.op("slice", packed, index=[place]) for place in range(2)),
        ]
    if not context.has(1) or not context.has(2):
        raise Refusal("MultiHeadAttention without keys or values is not supported")
    refs = [context.ref(index) for index in range(3)]
    if context.has(3):
        width, values = context.shape(0)[-1], context.shape(2)[-1]
        whole = context.shape(3)[0]
        if context.rank(1) != 3 or whole is None or width is None or values is None or whole != 2 * width + values:
            raise Refusal(f"MultiHeadAttention with a bias of {whole} numbers is not supported")
        biases = context.op("split", context.ref(3), sizes=[width, width, values], axis=0).parts(3)
        refs = [context.op("add", one, two) for one, two in zip(refs, biases, strict=True)]
    return [split_heads(context, ref, heads) if context.rank(index) == 3 else ref for index, ref in enumerate(refs)]


def _no_bias(context: Context) -> None:
    if context.has(3):
        raise Refusal("MultiHeadAttention of packed arrays with a bias is not supported")


def _grouped(context: Context) -> tuple[Any, ...]:
    """Grouped queries over keys that are kept: those before are as many as the lengths say, the new ones behind."""
    node, dtype = context.node, context.dtype(0)
    heads, kv_heads = node.integer("num_heads"), node.integer("kv_num_heads")
    softcap, window = node.number("softcap", 0.0), node.integer("local_window_size", -1)
    for name in ("smooth_softmax", "qk_output", "k_quant_type", "v_quant_type"):
        if node.get(name, "s" if name.endswith("type") else "i", 0) not in (0, b"NONE", -1):
            raise Refusal(f"GroupQueryAttention with {name} is not supported")
    if min(heads, kv_heads) < 1 or heads % kv_heads or any(context.has(index) for index in range(11, len(context))):
        raise Refusal(f"GroupQueryAttention of {heads} heads over {kv_heads}, with these inputs, is not supported")
    q, k, v = _grouped_parts(context, heads, kv_heads)
    lengths = context.as_dtype(context.op("reshape", context.ref(5), shape=[-1, 1, 1, 1]), "int64")
    lengths = context.op("add", lengths, context.literal(1, "int64"))
    before = _before(context, q, lengths)
    if node.flag("do_rotary", default=False):
        q, k = _rotated(context, q, k, before)
    else:
        node.flag("rotary_interleaved", default=False)
    q, k, v = (context.op("transpose", each, axes=[0, 2, 1, 3]) for each in (q, k, v))
    if context.has(3):
        k, v = (_appended(context, index, each, before) for index, each in ((3, k), (4, v)))
    present = k, v
    k, v = (repeated_heads(context, each, heads // kv_heads) for each in present)
    parts = Parts(context, q, k, v, before)
    scores = parts.scores()
    if softcap:
        cap = context.literal(softcap, dtype)
        scores = context.op("multiply", context.activation("tanh", context.op("divide", scores, cap)), cap)
    if context.has(10):
        scores = context.op("add", scores, context.ref(10))
    keys, rows = along(context, scores, 3), parts.rows()
    allowed = negated(context, context.op("greater", keys, rows))
    allowed = context.op("multiply", allowed, context.op("less", keys, lengths))
    if window >= 0:
        first = context.op("subtract", rows, context.literal(window, "int64"))
        allowed = context.op("multiply", allowed, context.op("greater", keys, first))
    scores = context.op("where", allowed, scores, context.literal(-np.inf, dtype))
    weights = context.as_dtype(context.op("softmax", scores, axis=-1), dtype)
    if context.has(3):
        context.note("as many keys are kept as there were, and the new ones: no buffer of another size is shared")
    context.asked.update((6, 9))
    return joined_heads(context, context.op("matmul", weights, v)), *present


def _grouped_parts(context: Context, heads: int, kv_heads: int) -> list[Ref]:
    """(batch, length, heads, size) of queries, keys and values, which may be in one array."""
    if context.has(1) and context.has(2):
        counts = zip(range(3), (heads, kv_heads, kv_heads), strict=True)
        return [context.op("reshape", context.ref(index), shape=[None, None, each, -1]) for index, each in counts]
    whole = context.shape(0)[-1]
    if whole is None or whole % (heads + 2 * kv_heads):
        raise Refusal(f"GroupQueryAttention of {whole} columns in {heads} and {kv_heads} heads is not supported")
    packed = context.op("reshape", context.ref(0), shape=[None, None, heads + 2 * kv_heads, -1])
    return list(context.op("split", packed, sizes=[heads, kv_heads, kv_heads], axis=2).parts(3))


def _before(context: Context, q: Ref, lengths: Ref) -> Ref:
    """How many keys each sequence has before the new ones (batch, 1, 1, 1): none in a first call."""
    size = free_sizes(context, q)[1]
    new: Ref = context.literal(size, "int64") if not isinstance(size, Dim) else context.op(
        "slice", context.op("shape_of", q), index=[1]
    )  # fmt: skip
    total = context.op("reshape", context.as_dtype(context.ref(6), "int64"), shape=[1, 1, 1, 1])
    first = context.op("equal", total, new)
    return context.op("where", first, context.literal(0, "int64"), context.op("subtract", lengths, new))


def _rotated(context: Context, q: Ref, k: Ref, before: Ref) -> tuple[Ref, Ref]:
    """Queries and keys (batch, length, heads, size), turned by their places."""
    pairs = context.node.flag("rotary_interleaved", default=False)
    if context.has(9):
        places = context.as_dtype(context.ref(9), "int64")
    else:
        first = context.op("reshape", before, shape=[-1, 1])
        places = context.op("add", first, along(context, q, 1))
    waves = [
        context.op("expand_dims", context.op("take", context.ref(index), places, axis=0), axis=[2]) for index in (7, 8)
    ]
    width = 2 * int(context.shape(7)[1] or 0)
    one, two = (turned(context, each, *waves, width=width, pairs=pairs) for each in (q, k))
    return one, two


def _appended(context: Context, index: int, new: Ref, before: Ref) -> Ref:
    """New keys (batch, heads, length, size) behind those of each sequence that count, however many are kept."""
    old = context.ref(index)
    both = context.op("concatenate", old, new, axis=2)
    size = free_sizes(context, old)[2]
    kept: Ref = context.literal(size, "int64") if not isinstance(size, Dim) else context.op(
        "slice", context.op("shape_of", old), index=[2]
    )  # fmt: skip
    keys = context.op("reshape", along(context, both, 2), shape=[1, 1, -1, 1])
    moved = context.op("add", context.op("subtract", keys, before), kept)
    # Behind the new ones nothing counts: whatever stands there.
    last = context.op("subtract", context.op("add", kept, _length(context, new)), context.literal(1, "int64"))
    places = context.op("where", context.op("less", keys, before), keys, context.op("minimum", moved, last))
    return context.op("gather", both, places, axis=2)


def _length(context: Context, ref: Ref) -> Ref:
    return context.op("slice", context.op("shape_of", ref), index=[2])


def _rotary(context: Context) -> Ref:
    """As ONNX's, with the places before the tables; one place is where the sequence begins."""
    node, x = context.node, context.ref(0)
    flat, pairs = context.rank(0) == 3, node.flag("interleaved", default=False)
    heads, width = node.integer("num_heads", 0), node.integer("rotary_embedding_dim", 0)
    if node.number("scale", 1.0) != 1 or node.integer("is_packed_batching", 0):
        raise Refusal("RotaryEmbedding with a scale or packed sequences is not supported")
    half = int(context.shape(2)[1] or 0)
    if flat:
        shape = [None, None, heads, -1] if heads else [None, None, -1, 2 * half]
        x = context.op("reshape", x, shape=shape)
    else:
        x = context.op("transpose", x, axes=[0, 2, 1, 3])
    places = context.as_dtype(context.ref(1), "int64")
    if context.rank(1) == 1:
        places = context.op("add", context.op("expand_dims", along(context, x, 1), axis=[0]), places)
    waves = [
        context.op("expand_dims", context.op("take", context.ref(index), places, axis=0), axis=[2]) for index in (2, 3)
    ]
    found = turned(context, x, *waves, width=width or 2 * half, pairs=pairs)
    if flat:
        return context.op("reshape", found, shape=[None, None, -1])
    return context.op("transpose", found, axes=[0, 2, 1, 3])


_MS: Final = "com.microsoft::"

ROWS: Final[list[Lifting]] = [
    Lifting(
        f"{_MS}Attention",
        "Dense, split, matmul, where, softmax",
        _packed_attention,
        "masks of two or three axes, or of lengths; no rotary positions, no shared buffer",
    ),
    Lifting(f"{_MS}MultiHeadAttention", "add, matmul, where, softmax", _multi_head, "as com.microsoft::Attention"),
    Lifting(
        f"{_MS}GroupQueryAttention",
        "take, multiply, matmul, where, softmax",
        _grouped,
        "the kept keys are as many as there were, and the new ones; no sinks, no quantised keys",
    ),
    Lifting(f"{_MS}RotaryEmbedding", "take, slice, multiply, add, concatenate", _rotary, "no scale"),
]
