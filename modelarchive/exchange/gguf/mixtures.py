"""Mixtures of experts of llama.cpp that are known, one row each."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.gguf.architecture import Architecture
from modelarchive.exchange.gguf.naming import table

_COUNTED: Final = {
    "expert_count": ("num_experts", "uint32"),
    "expert_used_count": ("num_experts_per_tok", "uint32"),
}
#: What GraniteMoE's experts are in.
_GRANITE: Final = "model.layers.N.block_sparse_moe"

MIXTURES: Final[tuple[Architecture, ...]] = (
    Architecture(
        "qwen2moe",
        "qwen2_moe",
        "Qwen2MoeForCausalLM",
        {
            **table("sizes", "qwen_experts"),
            "expert_shared_feed_forward_length": ("shared_expert_intermediate_size", "uint32"),
        },
        {
            **table("mixed"),
            "blk.N.ffn_gate_inp_shexp": "model.layers.N.mlp.shared_expert_gate",
            "blk.N.ffn_gate_shexp": "model.layers.N.mlp.shared_expert.gate_proj",
            "blk.N.ffn_up_shexp": "model.layers.N.mlp.shared_expert.up_proj",
            "blk.N.ffn_down_shexp": "model.layers.N.mlp.shared_expert.down_proj",
        },
        fixed={"hidden_act": "silu", "norm_topk_prob": False, **table("all_layers")},
        joined=table("experts"),
        lone=r".*\.shared_expert_gate\.weight",
    ),
    Architecture(
        "qwen3moe",
        "qwen3_moe",
        "Qwen3MoeForCausalLM",
        {**table("sizes", "qwen_experts"), "attention.key_length": ("head_dim", "uint32")},
        table("mixed", "normed"),
        fixed={"hidden_act": "silu", "attention_bias": False, "norm_topk_prob": True, **table("all_layers")},
        joined=table("experts"),
    ),
    Architecture(
        "qwen3vlmoe",
        "qwen3_moe",
        "Qwen3MoeForCausalLM",
        {**table("sizes", "qwen_experts"), "attention.key_length": ("head_dim", "uint32")},
        table("mixed", "normed"),
        fixed={"hidden_act": "silu", "attention_bias": False, "norm_topk_prob": True, **table("all_layers")},
        joined=table("experts"),
        idle=table("seen"),
        is_written=False,
    ),
    Architecture(
        "olmoe",
        "olmoe",
        "OlmoeForCausalLM",
        {**table("sizes"), **_COUNTED},
        table("mixed", "normed"),
        fixed={"hidden_act": "silu", "norm_topk_prob": False},
        joined=table("experts"),
    ),
    Architecture(
        "granitemoe",
        "granitemoe",
        "GraniteMoeForCausalLM",
        {
            **table("sizes", "scales"),
            "expert_count": ("num_local_experts", "uint32"),
            "expert_used_count": ("num_experts_per_tok", "uint32"),
        },
        {**table("outside", "attention", "behind"), "blk.N.ffn_gate_inp": f"{_GRANITE}.router"},
        fixed={"hidden_act": "silu"},
        told=table("biased"),
        permuted=True,
        usual=table("unscaled"),
        joined={
            f"{_GRANITE}.experts.gate_up_proj": ("blk.N.ffn_gate_exps.weight", "blk.N.ffn_up_exps.weight"),
            f"{_GRANITE}.experts.down_proj": ("blk.N.ffn_down_exps.weight",),
        },
    ),
)

#: What llama.cpp calls llama, too, where the metadata count experts.
MIXTRAL: Final = Architecture(
    "llama",
    "mixtral",
    "MixtralForCausalLM",
    {
        **table("sizes"),
        "expert_count": ("num_local_experts", "uint32"),
        "expert_used_count": ("num_experts_per_tok", "uint32"),
    },
    table("mixed"),
    fixed={"hidden_act": "silu"},
    permuted=True,
    joined=table("experts"),
)
