"""Attention layers."""

from __future__ import annotations

from typing import Any

from modelarchive.exchange.keras.scope import At
from modelarchive.exchange.keras.step import Step
from modelarchive.exchange.refusal import Refusal


def multi_head(step: Step) -> At | list[At]:
    """MultiHeadAttention."""
    config = step.config
    size = config.integer("key_dim")
    if config.value("value_dim", None) not in (None, size):
        raise Refusal("value_dim other than key_dim has no counterpart")
    if config.axes("attention_axes", None) not in (None, [1]):
        raise Refusal("attention over axes other than the second has no counterpart")
    heads = config.integer("num_heads")
    config.value("output_shape", None)
    config.value("query_shape", None), config.value("key_shape", None), config.value("value_shape", None)
    return _attention(step, heads, heads, size)


def grouped(step: Step) -> At | list[At]:
    """GroupQueryAttention: several heads of queries for each of keys and values."""
    config = step.config
    heads, groups = config.integer("num_query_heads"), config.integer("num_key_value_heads")
    return _attention(step, heads, groups, config.integer("head_dim"))


def _attention(step: Step, heads: int, groups: int, size: int) -> At | list[At]:
    config = step.config
    config.expect("use_gate", False)
    config.expect("sliding_window", None)
    config.value("flash_attention", None)
    use_bias = config.flag("use_bias", default=True)
    if step.argument("return_attention_scores", 7, default=False):
        raise Refusal("is asked for its scores, which has no counterpart")
    causal = step.argument("use_causal_mask", 9, default=False)
    for name, place in (("query_mask", 3), ("value_mask", 4), ("key_mask", 5)):
        if step.argument(name, place) is not None:
            raise Refusal(f"takes {name}, which has no counterpart")
    query, value = step.x, step.tensor("value", 1)
    key = step.tensor("key", 2) or value
    mask = step.tensor("attention_mask", 6)
    if value is None or key is None:
        raise Refusal("is called without a value")
    fields = {
        "num_heads": heads,
        "num_kv_heads": groups,
        "head_dim": size,
        "use_bias": [use_bias] * 4,
        "causal": bool(causal),
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
    if mask is not None:
        if step.dtype(mask).kind != "b":
            mask = step.op("cast", mask, dtype="bool", wish=f"{step.layer.name}_mask")
        rank = step.rank(mask)
        if rank == 3:  # (batch, queries, keys), the same for every head
            mask = step.op("expand_dims", mask, axis=1, wish=f"{step.layer.name}_heads")
        inputs.append(mask)
        step.note("where a query may attend to no key the result of a head is zeros, in Keras the mean of all values")
    return step.block("MultiHeadAttention", fields, *inputs, sizes=sizes)


def dot(step: Step) -> At | list[At]:
    """Attention (Luong's): one head without projections."""
    config = step.config
    mode = config.text("score_mode", "dot")
    use_scale = config.flag("use_scale", default=False)
    query, key, value = _three(step)
    if mode == "dot":
        scores = step.op("matmul", query, _swapped(step, key))
        if use_scale:
            scores = step.op("multiply", scores, step.parameter("scale", {"use_scale": True}))
    elif mode == "concat":
        fields = {"use_scale": use_scale, "concat": True}
        rows = _pairs(step, query, key, step.parameter("scale", fields) if use_scale else None, inside=True)
        scores = step.op("multiply", rows, step.parameter("concat_score_weight", fields))
    else:
        raise Refusal(f"score_mode = {mode!r} has no counterpart")
    return _weighted(step, scores, value)


def additive(step: Step) -> At | list[At]:
    """AdditiveAttention (Bahdanau's)."""
    query, key, value = _three(step)
    use_scale = step.config.flag("use_scale", default=True)
    scale = step.parameter("scale", {"use_scale": True}) if use_scale else None
    return _weighted(step, _pairs(step, query, key, scale, inside=False), value)


def _three(step: Step) -> tuple[At, At, At]:
    step.config.optional("dropout")
    several = step.xs
    if not 2 <= len(several) <= 3:
        raise Refusal(f"is called on {len(several)} tensors, expected query, value and key")
    if step.argument("use_causal_mask", 4, default=False):
        raise Refusal("use_causal_mask has no counterpart, but in MultiHeadAttention")
    if any(each is not None for each in step.argument("mask", 1) or []):
        raise Refusal("takes masks, which have no counterpart")
    return several[0], several[2] if len(several) > 2 else several[1], several[1]


def _swapped(step: Step, x: At) -> At:
    axes = list(range(step.rank(x)))
    return step.op("transpose", x, axes=[*axes[:-2], axes[-1], axes[-2]])


def _pairs(step: Step, query: At, key: At, scale: At | None, *, inside: bool) -> At:
    """sum(scale tanh(q + k)) for every query with every key; with `inside`, sum(tanh(scale (q + k)))."""
    both = step.op("add", step.op("expand_dims", query, axis=-2), step.op("expand_dims", key, axis=-3))
    if scale is not None and inside:
        both = step.op("multiply", scale, both)
    bent = step.plain("Activation", both, wish=f"{step.layer.name}_tanh", activation="tanh")
    if scale is not None and not inside:
        bent = step.op("multiply", scale, bent)
    return step.op("sum", bent, axis=-1, keepdims=False)


def _weighted(step: Step, scores: At, value: At) -> At | list[At]:
    shares = step.op("softmax", scores, axis=-1)
    found = step.op("matmul", shares, value)
    return [found, shares] if step.argument("return_attention_scores", 3, default=False) else found
