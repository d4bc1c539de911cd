"""How Keras' attention layers are lifted."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_masks import attended, both, causal, mask_of
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short


def multi_head(context: Context) -> Ref | list[Ref]:
    """MultiHeadAttention."""
    config = context.config
    size = config.integer("key_dim")
    if config.value("value_dim", None) not in (None, size):
        raise Refusal("value_dim other than key_dim is not supported")
    if config.axes("attention_axes", None) not in (None, [1]):
        raise Refusal("attention over axes other than the second is not supported")
    heads = config.integer("num_heads")
    config.value("output_shape", None)
    config.value("query_shape", None), config.value("key_shape", None), config.value("value_shape", None)
    return _attention(context, heads, heads, size)


def grouped(context: Context) -> Ref | list[Ref]:
    """GroupQueryAttention: several heads of queries for each of keys and values."""
    config = context.config
    heads, groups = config.integer("num_query_heads"), config.integer("num_key_value_heads")
    return _attention(context, heads, groups, config.integer("head_dim"))


def _attention(context: Context, heads: int, groups: int, size: int) -> Ref | list[Ref]:
    config = context.config
    config.expect("use_gate", False)
    config.expect("sliding_window", None)
    config.value("flash_attention", None)
    use_bias = config.flag("use_bias", default=True)
    if context.argument("return_attention_scores", 7, default=False):
        raise Refusal("is asked for its scores, which is not supported")
    causal_ = bool(context.argument("use_causal_mask", 9, default=False))
    query, value, given = context.x, context.tensor("value", 1), context.tensor("key", 2)
    key = given or value
    mask = context.tensor("attention_mask", 6)
    if value is None or key is None:
        raise Refusal("is called without a value")
    parts = [(mask_of(context, "query_mask", 3, query), -1), (mask_of(context, "value_mask", 4, value), -2)]
    parts.append((mask_of(context, "key_mask", 5, given) if given or context.argument("key_mask", 5) else None, -2))
    counted = attended(context, parts)
    fields = {
        "num_heads": heads,
        "num_kv_heads": groups,
        "head_dim": size,
        "use_bias": [use_bias] * 4,
        "causal": causal_,
        "scale": 1.0 / float(size) ** 0.5,
        "rotary": None,
        "packed": False,
        "dropout": config.number("dropout", 0.0),
    }

    def sizes(arrays: Any) -> dict[str, int]:
        return {
            "units": arrays["out_proj.weight"].shape[0],
            "in_units": arrays["q_proj.weight"].shape[1],
            "key_units": arrays["k_proj.weight"].shape[1],
            "value_units": arrays["v_proj.weight"].shape[1],
        }

    inputs = [query, key, value]
    if mask is not None and context.dtype(mask).kind != "b":
        mask = context.op("cast", mask, dtype="bool", role="mask")
    if counted is not None:
        mask = counted if mask is None else both(context, mask, counted)
    if mask is not None and causal_:
        mask, fields["causal"] = both(context, mask, causal(context, query, key)), False
    if mask is not None:
        rank = context.rank(mask)
        if rank == 3:  # (batch, queries, keys), the same for every head
            mask = context.op("expand_dims", mask, axis=1, role="heads")
        inputs.append(mask if fields["dropout"] else _added_mask(context, query, mask))
    return context.block("MultiHeadAttention", fields, *inputs, sizes=sizes)


def _added_mask(context: Context, query: Ref, mask: Ref) -> Ref:
    """What Keras adds to scores where it fuses attention: of a query that may attend to no key, the mean of all values.

    A layer with dropout computes its scores by themselves, and there the result of such a query is zeros.
    """
    dtype = context.dtype(query)
    lowest = np.finfo(dtype.name).max * -0.7 if dtype.name in ("float16", "float32", "float64") else -1e9
    zero, low = (context.constant(float(each), dtype.name) for each in (0.0, lowest))
    return context.op("where", mask, zero, low, role="added")


def dot(context: Context) -> Ref | list[Ref]:
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


def additive(context: Context) -> Ref | list[Ref]:
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
