"""Keys of metadata and names of tensors that several architectures share, and what they are in transformers."""

from __future__ import annotations

from typing import Any, Final

_SIZES: Final = {
    "context_length": ("max_position_embeddings", "uint32"),
    "embedding_length": ("hidden_size", "uint32"),
    "block_count": ("num_hidden_layers", "uint32"),
    "feed_forward_length": ("intermediate_size", "uint32"),
    "attention.head_count": ("num_attention_heads", "uint32"),
    "attention.head_count_kv": ("num_key_value_heads", "uint32"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "float32"),
    "rope.freq_base": ("rope_theta", "float32"),
}
_GEMMA_SIZES: Final = {**_SIZES, "attention.key_length": ("head_dim", "uint32")}
_WINDOW: Final = {"attention.sliding_window": ("sliding_window", "uint32")}
_CAP: Final = {"final_logit_softcapping": ("final_logit_softcapping", "float32")}
_OUTSIDE: Final = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_ATTENTION: Final = {
    "blk.N.attn_norm": "model.layers.N.input_layernorm",
    "blk.N.attn_q": "model.layers.N.self_attn.q_proj",
    "blk.N.attn_k": "model.layers.N.self_attn.k_proj",
    "blk.N.attn_v": "model.layers.N.self_attn.v_proj",
    "blk.N.attn_output": "model.layers.N.self_attn.o_proj",
}
_GATED: Final = {
    "blk.N.ffn_gate": "model.layers.N.mlp.gate_proj",
    "blk.N.ffn_up": "model.layers.N.mlp.up_proj",
    "blk.N.ffn_down": "model.layers.N.mlp.down_proj",
}
_NORMED: Final = {
    "blk.N.attn_q_norm": "model.layers.N.self_attn.q_norm",
    "blk.N.attn_k_norm": "model.layers.N.self_attn.k_norm",
}
_BEHIND: Final = {"blk.N.ffn_norm": "model.layers.N.post_attention_layernorm"}
#: Norms before and behind both parts of a layer.
_AROUND: Final = {
    "blk.N.post_attention_norm": "model.layers.N.post_attention_layernorm",
    "blk.N.ffn_norm": "model.layers.N.pre_feedforward_layernorm",
    "blk.N.post_ffw_norm": "model.layers.N.post_feedforward_layernorm",
}
_LLAMA_NAMES: Final = {**_OUTSIDE, **_ATTENTION, **_BEHIND, **_GATED}
_MIXED: Final = {**_OUTSIDE, **_ATTENTION, **_BEHIND, "blk.N.ffn_gate_inp": "model.layers.N.mlp.gate"}
_EXPERTS: Final = {
    "model.layers.N.mlp.experts.gate_up_proj": ("blk.N.ffn_gate_exps.weight", "blk.N.ffn_up_exps.weight"),
    "model.layers.N.mlp.experts.down_proj": ("blk.N.ffn_down_exps.weight",),
}
_QWEN_EXPERTS: Final = {
    "expert_count": ("num_experts", "uint32"),
    "expert_used_count": ("num_experts_per_tok", "uint32"),
    "expert_feed_forward_length": ("moe_intermediate_size", "uint32"),
}
_UNGATED: Final = {name: _GATED[name] for name in ("blk.N.ffn_up", "blk.N.ffn_down")}
_OLMO_NAMES: Final = {
    **_OUTSIDE,
    **{name: theirs for name, theirs in _ATTENTION.items() if name != "blk.N.attn_norm"},
    **_NORMED,
    "blk.N.post_attention_norm": "model.layers.N.post_attention_layernorm",
    "blk.N.post_ffw_norm": "model.layers.N.post_feedforward_layernorm",
    **_GATED,
}
_COHERE: Final = {
    "attention.layer_norm_epsilon": ("layer_norm_eps", "float32"),
    "logit_scale": ("logit_scale", "float32"),
}
_BIASED: Final = {"attention_bias": "blk.N.attn_q.bias"}
_ALL_BIASED: Final = {**_BIASED, "mlp_bias": "blk.N.ffn_up.bias"}
_SCALES: Final = {
    "attention.scale": ("attention_multiplier", "float32"),
    "embedding_scale": ("embedding_multiplier", "float32"),
    "residual_scale": ("residual_multiplier", "float32"),
    "logit_scale": ("logits_scaling", "float32"),
}
#: Factors of Granite that are 1, or computed, where the metadata do not say.
_UNSCALED: Final = {"attention.scale": None, "embedding_scale": None, "residual_scale": None}
#: What counts for images only.
_SEEN: Final = {"rope.dimension_sections": None, "n_deepstack_layers": None}
#: Each layer has experts, and nothing but them.
_ALL_LAYERS: Final = {"decoder_sparse_step": 1, "mlp_only_layers": []}

#: What several architectures have, by what it is called in their rows.
_TABLES: Final[dict[str, dict[str, Any]]] = {
    "sizes": _SIZES,
    "gemma_sizes": _GEMMA_SIZES,
    "window": _WINDOW,
    "cap": _CAP,
    "outside": _OUTSIDE,
    "attention": _ATTENTION,
    "gated": _GATED,
    "normed": _NORMED,
    "behind": _BEHIND,
    "around": _AROUND,
    "llama_names": _LLAMA_NAMES,
    "mixed": _MIXED,
    "experts": _EXPERTS,
    "qwen_experts": _QWEN_EXPERTS,
    "ungated": _UNGATED,
    "olmo_names": _OLMO_NAMES,
    "cohere": _COHERE,
    "scales": _SCALES,
    "unscaled": _UNSCALED,
    "seen": _SEEN,
    "biased": _BIASED,
    "all_biased": _ALL_BIASED,
    "all_layers": _ALL_LAYERS,
}


def table(*parts: str) -> dict[str, Any]:
    """Tables of these names as one."""
    return {key: value for part in parts for key, value in _TABLES[part].items()}
