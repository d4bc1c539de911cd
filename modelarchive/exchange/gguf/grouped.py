"""Architectures of llama.cpp whose queries, keys and values are one array in transformers, group by group."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.gguf.architecture import Architecture
from modelarchive.exchange.gguf.naming import table

GROUPED: Final[tuple[Architecture, ...]] = (
    Architecture(
        "gptneox",
        "gpt_neox",
        "GPTNeoXForCausalLM",
        {
            **table("sizes"),
            "attention.layer_norm_epsilon": ("layer_norm_eps", "float32"),
            "use_parallel_residual": ("use_parallel_residual", "bool"),
        },
        {
            "token_embd": "gpt_neox.embed_in",
            "output_norm": "gpt_neox.final_layer_norm",
            "output": "lm_head",
            "blk.N.attn_norm": "gpt_neox.layers.N.input_layernorm",
            "blk.N.attn_qkv": "gpt_neox.layers.N.attention.query_key_value",
            "blk.N.attn_output": "gpt_neox.layers.N.attention.dense",
            "blk.N.ffn_norm": "gpt_neox.layers.N.post_attention_layernorm",
            "blk.N.ffn_up": "gpt_neox.layers.N.mlp.dense_h_to_4h",
            "blk.N.ffn_down": "gpt_neox.layers.N.mlp.dense_4h_to_h",
        },
        fixed={"hidden_act": "gelu"},
        told={"attention_bias": "blk.N.attn_qkv.bias"},
        grouped=r".*\.query_key_value\.(weight|bias)",
        is_partly_turned=True,
        is_written=False,
    ),
    Architecture(
        "falcon",
        "falcon",
        "FalconForCausalLM",
        {
            **table("sizes"),
            "attention.layer_norm_epsilon": ("layer_norm_epsilon", "float32"),
            "feed_forward_length": ("ffn_hidden_size", "uint32"),
        },
        {
            "token_embd": "transformer.word_embeddings",
            "output_norm": "transformer.ln_f",
            "output": "lm_head",
            "blk.N.attn_norm": "transformer.h.N.input_layernorm",
            "blk.N.attn_qkv": "transformer.h.N.self_attention.query_key_value",
            "blk.N.attn_output": "transformer.h.N.self_attention.dense",
            "blk.N.ffn_up": "transformer.h.N.mlp.dense_h_to_4h",
            "blk.N.ffn_down": "transformer.h.N.mlp.dense_4h_to_h",
        },
        fixed={
            "activation": "gelu",
            "alibi": False,
            "bias": False,
            "multi_query": True,
            "new_decoder_architecture": False,
            "parallel_attn": True,
        },
        grouped=r".*\.query_key_value\.weight",
        is_written=False,
    ),
)
