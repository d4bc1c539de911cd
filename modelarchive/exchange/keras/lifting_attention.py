"""How Keras' attention layers are lifted."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_heads import Heads
from modelarchive.exchange.keras.lifting_masks import attended, both, causal, mask_of
from modelarchive.exchange.keras.row import Lifting
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short


def _multi_head(context: Context) -> Ref | list[Ref]:
    """MultiHeadAttention."""
    config = context.config
    size = config.integer("key_dim")
    value_size = size if config.value("value_dim", None) is None else config.integer("value_dim")
    heads = config.integer("num_heads")
    if len(config.axes("output_shape", None) or [0]) != 1:
        raise Refusal("output_shape of several axes is not supported")
    config.value("query_shape", None), config.value("key_shape", None), config.value("value_shape", None)
    return _attention(context, heads, heads, size, value_size)


def _grouped(context: Context) -> Ref | list[Ref]:
    """GroupQueryAttention: several heads of queries for each of keys and values."""
    config = context.config
    heads, groups = config.integer("num_query_heads"), config.integer("num_key_value_heads")
    size = config.integer("head_dim")
    return _attention(context, heads, groups, size, size)


def _attention(context: Context, heads: int, groups: int, size: int, value_size: int) -> Ref | list[Ref]:
    config = context.config
    config.expect("use_gate", False)
    config.expect("sliding_window", None)
    config.value("flash_attention", None)
    use_bias, dropout = config.flag("use_bias", default=True), config.number("dropout", 0.0)
    scores = context.argument("return_attention_scores", 7, default=False) is True
    is_causal = bool(context.argument("use_causal_mask", 9, default=False))
    query, value, given = context.x, context.tensor("value", 1), context.tensor("key", 2)
    key = given or value
    if value is None or key is None:
        raise Refusal("is called without a value")
    axes = Heads.axes_in(context, query)
    mask = _mask(context, query, value, given)
    is_fused = not dropout and not scores and context.rank(query) == 3
    if not scores and axes == [1] and context.rank(query) == 3 and value_size == size:
        return _as_kind(context, [query, key, value], (heads, groups, size), mask, is_causal=is_causal)
    if (mask is not None or is_causal) and (axes != [1] or context.rank(query) != 3):
        raise Refusal("a mask of attention over several axes is not supported")
    if is_causal:
        before = causal(context, query, key)
        mask = before if mask is None else both(context, mask, before)
    if mask is not None and context.rank(mask) == 3:
        mask = context.op("expand_dims", mask, axis=1, role="heads")
    added = _added_mask(context, query, mask) if mask is not None and is_fused else None
    layer = Heads(context, heads, groups, size, value_size, axes, use_bias, is_fused)
    found = layer.attended(query, key, value, None if is_fused else mask, added)
    return found if scores else found[0]


def _mask(context: Context, query: Ref, value: Ref, given: Ref | None) -> Ref | None:
    """Which keys each query may attend to, as truths; None: all."""
    mask = context.tensor("attention_mask", 6)
    parts = [(mask_of(context, "query_mask", 3, query), -1), (mask_of(context, "value_mask", 4, value), -2)]
    parts.append((mask_of(context, "key_mask", 5, given) if given or context.argument("key_mask", 5) else None, -2))
    counted = attended(context, parts)
    if mask is not None and context.dtype(mask).kind != "b":
        mask = context.op("cast", mask, dtype="bool", role="mask")
    if counted is not None:
        mask = counted if mask is None else both(context, mask, counted)
    return mask


def _as_kind(
    context: Context, inputs: list[Ref], sizes: tuple[int, int, int], mask: Ref | None, *, is_causal: bool
) -> Ref | list[Ref]:
    """The kind of the vocabulary, on query, key and value."""
    heads, groups, size = sizes
    dropout = context.config.number("dropout", 0.0)
    if mask is not None and is_causal:
        mask, is_causal = both(context, mask, causal(context, *inputs[:2])), False
    fields = {
        "num_heads": heads,
        "num_kv_heads": groups,
        "head_dim": size,
        "use_bias": [context.config.flag("use_bias", default=True)] * 4,
        "causal": is_causal,
        "scale": 1.0 / float(size) ** 0.5,
        "rotary": None,
        "packed": False,
        "dropout": dropout,
    }

    def units(arrays: Any) -> dict[str, int]:
        return {
            "units": arrays["out_proj.weight"].shape[0],
            "in_units": arrays["q_proj.weight"].shape[1],
            "key_units": arrays["k_proj.weight"].shape[1],
            "value_units": arrays["v_proj.weight"].shape[1],
        }

    if mask is not None:
        if context.rank(mask) == 3:  # (batch, queries, keys), the same for every head
            mask = context.op("expand_dims", mask, axis=1, role="heads")
        inputs = [*inputs, mask if dropout else _added_mask(context, inputs[0], mask)]
    return context.block("MultiHeadAttention", fields, *inputs, sizes=units)


def _added_mask(context: Context, query: Ref, mask: Ref) -> Ref:
    """What Keras adds to scores where it fuses attention: of a query that may attend to no key, the mean of all values.

    A layer with dropout computes its scores by themselves, and there the result of such a query is zeros.
    """
    dtype = context.dtype(query)
    lowest = np.finfo(dtype.name).max * -0.7 if dtype.name in ("float16", "float32", "float64") else -1e9
    zero, low = (context.constant(float(each), dtype.name) for each in (0.0, lowest))
    return context.op("where", mask, zero, low, role="added")


def _dot(context: Context) -> Ref | list[Ref]:
    """Attention (Luong's): one head without projections."""
    config = context.config
    mode = config.text("score_mode", "dot")
    use_scale = config.flag("use_scale", default=False)
    query, key, value = _three(context)
    if mode == "dot":
        scores = context.op("matmul", query, _swapped(context, key))
        if use_scale:
            scores = context.op("multiply", scores, context.parameter("scale", {"use_scale": True}))
    elif mode == "concat":
        fields = {"use_scale": use_scale, "concat": True}
        rows = _pairs(context, query, key, context.parameter("scale", fields) if use_scale else None, inside=True)
        scores = context.op("multiply", rows, context.parameter("concat_score_weight", fields))
    else:
        raise Refusal(f"score_mode = {mode!r} is not supported")
    return _weighted(context, scores, value)


def _additive(context: Context) -> Ref | list[Ref]:
    """AdditiveAttention (Bahdanau's)."""
    query, key, value = _three(context)
    use_scale = context.config.flag("use_scale", default=True)
    scale = context.parameter("scale", {"use_scale": True}) if use_scale else None
    return _weighted(context, _pairs(context, query, key, scale, inside=False), value)


def _three(context: Context) -> tuple[Ref, Ref, Ref]:
    context.config.optional("dropout")
    several = context.xs
    if not 2 <= len(several) <= 3:
        raise Refusal(f"is called on {len(several)} tensors, expected query, value and key")
    return several[0], several[2] if len(several) > 2 else several[1], several[1]


def _swapped(context: Context, x: Ref) -> Ref:
    axes = list(range(context.rank(x)))
    return context.op("transpose", x, axes=[*axes[:-2], axes[-1], axes[-2]])


def _pairs(context: Context, query: Ref, key: Ref, scale: Ref | None, *, inside: bool) -> Ref:
    """sum(scale tanh(q + k)) for every query with every key; with `inside`, sum(tanh(scale (q + k)))."""
    both = context.op("add", context.op("expand_dims", query, axis=-2), context.op("expand_dims", key, axis=-3))
    if scale is not None and inside:
        both = context.op("multiply", scale, both)
    bent = context.plain("Activation", both, role="tanh", activation="tanh")
    if scale is not None and not inside:
        bent = context.op("multiply", scale, bent)
    return context.op("sum", bent, axis=-1, keepdims=False)


def _weighted(context: Context, scores: Ref, value: Ref) -> Ref | list[Ref]:
    several = context.xs
    given = context.argument("mask", 1) or [None, None]
    if not isinstance(given, list) or len(given) < 2:
        raise Refusal(f"mask = {short(given)}, expected those of query and value")
    masks = []
    for explicit, ref in zip(given[:2], several[:2], strict=True):
        mask = context.builder.mask(ref)
        masks.append(explicit if explicit is not None or mask is None else context.builder.made(mask))
    kept = attended(context, [(masks[1], -2)])
    if context.argument("use_causal_mask", 4, default=False):
        before = causal(context, several[0], several[2] if len(several) > 2 else several[1])
        kept = before if kept is None else both(context, before, kept)
    if kept is not None:
        least = 65504.0 if context.dtype(scores).name == "float16" else 1e9
        scores = context.op("where", kept, scores, context.op("subtract", scores, context.constant(least)), role="kept")
    shares = context.op("softmax", scores, axis=-1)
    found = context.op("matmul", shares, value)
    if masks[0] is not None:
        found = context.op("where", context.op("expand_dims", masks[0], axis=-1), found, context.constant(0.0))
    return [found, shares] if context.argument("return_attention_scores", 3, default=False) else found


#: Layers of attention.
ROWS: Final[tuple[Lifting, ...]] = (
    Lifting(
        "MultiHeadAttention",
        "MultiHeadAttention",
        _multi_head,
        "masks of attention over several axes",
        masks="use",
    ),
    Lifting(
        "GroupQueryAttention GroupedQueryAttention",
        "MultiHeadAttention",
        _grouped,
        masks="use",
    ),
    Lifting("Attention", "matmul, softmax", _dot, masks="use"),
    Lifting(
        "AdditiveAttention",
        "add, sum, softmax",
        _additive,
        masks="use",
    ),
)
