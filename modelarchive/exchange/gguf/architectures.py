"""The architectures of llama.cpp that are known, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelarchive.exchange.gguf.architecture import Architecture
from modelarchive.exchange.gguf.grouped import GROUPED
from modelarchive.exchange.gguf.mixtures import MIXTRAL, MIXTURES
from modelarchive.exchange.gguf.naming import table
from modelarchive.exchange.gguf.relatives import RELATIVES

#: ``general.architecture`` -> what it is. A new one is a row.
ARCHITECTURES: Final[dict[str, Architecture]] = {
    each.name: each
    for each in (
        *GROUPED,
        *MIXTURES,
        *RELATIVES,
        Architecture(
            "llama",
            "llama",
            "LlamaForCausalLM",
            table("sizes"),
            table("llama_names"),
            also=("mistral",),
            fixed={"hidden_act": "silu"},
            told=table("all_biased"),
            optional=("rope_freqs.weight",),
            permuted=True,
        ),
        Architecture(
            "qwen2", "qwen2", "Qwen2ForCausalLM", table("sizes"), table("llama_names"), fixed={"hidden_act": "silu"}
        ),
        Architecture(
            "qwen3",
            "qwen3",
            "Qwen3ForCausalLM",
            {**table("sizes"), "attention.key_length": ("head_dim", "uint32")},
            table("llama_names", "normed"),
            fixed={"hidden_act": "silu", "attention_bias": False},
        ),
        Architecture(
            "gemma",
            "gemma",
            "GemmaForCausalLM",
            table("gemma_sizes"),
            table("llama_names"),
            fixed={"hidden_act": "gelu_pytorch_tanh", "attention_bias": False},
            shifted=True,
        ),
        Architecture(
            "gemma2",
            "gemma2",
            "Gemma2ForCausalLM",
            {
                **table("gemma_sizes", "window", "cap"),
                "attn_logit_softcapping": ("attn_logit_softcapping", "float32"),
            },
            table("outside", "attention", "around", "gated"),
            fixed={"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False},
            shifted=True,
            window=2,
            usual={"attention.sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        ),
        Architecture(
            "gemma3",
            "gemma3_text",
            "Gemma3ForCausalLM",
            {
                **table("gemma_sizes", "window", "cap"),
                "rope.freq_base_swa": ("rope_local_base_freq", "float32"),
            },
            table("outside", "attention", "normed", "around", "gated"),
            fixed={"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False},
            shifted=True,
            window=6,
            usual={"final_logit_softcapping": None, "rope.freq_base_swa": None},
        ),
        Architecture(
            "phi3",
            "phi3",
            "Phi3ForCausalLM",
            table("sizes", "window"),
            {
                **table("outside"),
                "blk.N.attn_norm": "model.layers.N.input_layernorm",
                "blk.N.attn_qkv": "model.layers.N.self_attn.qkv_proj",
                "blk.N.attn_output": "model.layers.N.self_attn.o_proj",
                **table("behind"),
                "blk.N.ffn_up": "model.layers.N.mlp.gate_up_proj",
                "blk.N.ffn_down": "model.layers.N.mlp.down_proj",
            },
            fixed={"hidden_act": "silu", "pad_token_id": None},
            usual={"attention.sliding_window": None},
        ),
        Architecture(
            "gpt2",
            "gpt2",
            "GPT2LMHeadModel",
            {
                "context_length": ("n_positions", "uint32"),
                "embedding_length": ("n_embd", "uint32"),
                "block_count": ("n_layer", "uint32"),
                "feed_forward_length": ("n_inner", "uint32"),
                "attention.head_count": ("n_head", "uint32"),
                "attention.layer_norm_epsilon": ("layer_norm_epsilon", "float32"),
            },
            {
                "token_embd": "transformer.wte",
                "position_embd": "transformer.wpe",
                "output_norm": "transformer.ln_f",
                "output": "lm_head",
                "blk.N.attn_norm": "transformer.h.N.ln_1",
                "blk.N.attn_qkv": "transformer.h.N.attn.c_attn",
                "blk.N.attn_output": "transformer.h.N.attn.c_proj",
                "blk.N.ffn_norm": "transformer.h.N.ln_2",
                "blk.N.ffn_up": "transformer.h.N.mlp.c_fc",
                "blk.N.ffn_down": "transformer.h.N.mlp.c_proj",
            },
            fixed={"activation_function": "gelu_new"},
            turned=r".*\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight",
        ),
        Architecture(
            "granite",
            "granite",
            "GraniteForCausalLM",
            table("sizes", "scales"),
            table("llama_names"),
            fixed={"hidden_act": "silu"},
            told=table("all_biased"),
            permuted=True,
            usual=table("unscaled"),
        ),
        Architecture(
            "smollm3",
            "smollm3",
            "SmolLM3ForCausalLM",
            table("sizes"),
            table("llama_names"),
            fixed={"hidden_act": "silu", "pad_token_id": None, "no_rope_layer_interval": 4},
            told=table("all_biased"),
            optional=("rope_freqs.weight",),
            permuted=True,
        ),
        Architecture(
            "arcee",
            "arcee",
            "ArceeForCausalLM",
            table("sizes"),
            table("outside", "attention", "behind", "ungated"),
            fixed={"hidden_act": "relu2"},
            told=table("all_biased"),
            permuted=True,
        ),
        Architecture(
            "seed_oss",
            "seed_oss",
            "SeedOssForCausalLM",
            {**table("sizes"), "attention.key_length": ("head_dim", "uint32")},
            {
                **table("outside", "attention"),
                "blk.N.post_attention_norm": "model.layers.N.post_attention_layernorm",
                **table("gated"),
            },
            fixed={"hidden_act": "silu", "pad_token_id": None},
            told={**table("all_biased"), "attention_out_bias": "blk.N.attn_output.bias"},
        ),
        Architecture(
            "olmo2",
            "olmo2",
            "Olmo2ForCausalLM",
            table("sizes"),
            table("olmo_names"),
            fixed={"hidden_act": "silu"},
            told=table("biased"),
        ),
        Architecture(
            "starcoder2",
            "starcoder2",
            "Starcoder2ForCausalLM",
            {**table("sizes"), "attention.layer_norm_epsilon": ("norm_epsilon", "float32")},
            {
                **table("outside", "attention", "behind"),
                "blk.N.ffn_up": "model.layers.N.mlp.c_fc",
                "blk.N.ffn_down": "model.layers.N.mlp.c_proj",
            },
            fixed={"hidden_act": "gelu_pytorch_tanh", "sliding_window": None},
            told={"use_bias": "blk.N.attn_q.bias"},
        ),
        Architecture(
            "stablelm",
            "stablelm",
            "StableLmForCausalLM",
            {
                **table("sizes"),
                "attention.layer_norm_epsilon": ("layer_norm_eps", "float32"),
                "use_parallel_residual": ("use_parallel_residual", "bool"),
            },
            table("llama_names"),
            fixed={"hidden_act": "silu", "qk_layernorm": False},
            told={"use_qkv_bias": "blk.N.attn_q.bias"},
            is_partly_turned=True,
        ),
        Architecture(
            "nemotron",
            "nemotron",
            "NemotronForCausalLM",
            {**table("sizes"), "attention.layer_norm_epsilon": ("norm_eps", "float32")},
            table("outside", "attention", "behind", "ungated"),
            fixed={"hidden_act": "relu2"},
            told=table("all_biased"),
            shifted=True,
            is_partly_turned=True,
        ),
        Architecture(
            "glm4",
            "glm4",
            "Glm4ForCausalLM",
            {**table("sizes"), "attention.key_length": ("head_dim", "uint32")},
            {
                **table("outside", "attention"),
                "blk.N.post_attention_norm": "model.layers.N.post_self_attn_layernorm",
                "blk.N.ffn_norm": "model.layers.N.post_attention_layernorm",
                "blk.N.ffn_up": "model.layers.N.mlp.gate_up_proj",
                "blk.N.ffn_down": "model.layers.N.mlp.down_proj",
                "blk.N.post_ffw_norm": "model.layers.N.post_mlp_layernorm",
            },
            fixed={"hidden_act": "silu", "pad_token_id": None},
            told=table("biased"),
            is_partly_turned=True,
        ),
        Architecture(
            "command-r",
            "cohere",
            "CohereForCausalLM",
            table("sizes", "cohere"),
            table("outside", "attention", "normed", "gated"),
            fixed={"hidden_act": "silu"},
            told={**table("biased"), "use_qk_norm": "blk.N.attn_q_norm.weight"},
        ),
        Architecture(
            "cohere2",
            "cohere2",
            "Cohere2ForCausalLM",
            {**table("sizes", "cohere", "window"), "attention.key_length": ("head_dim", "uint32")},
            table("outside", "attention", "gated"),
            fixed={"hidden_act": "silu"},
            told=table("biased"),
            window=4,
        ),
        Architecture(
            "phi2",
            "phi",
            "PhiForCausalLM",
            {**table("sizes"), "attention.layer_norm_epsilon": ("layer_norm_eps", "float32")},
            {
                **table("outside", "attention"),
                "blk.N.attn_output": "model.layers.N.self_attn.dense",
                "output_norm": "model.final_layernorm",
                "blk.N.ffn_up": "model.layers.N.mlp.fc1",
                "blk.N.ffn_down": "model.layers.N.mlp.fc2",
            },
            fixed={"hidden_act": "gelu_new", "qk_layernorm": False},
            is_partly_turned=True,
        ),
        Architecture(
            "exaone4",
            "exaone4",
            "Exaone4ForCausalLM",
            {**table("sizes", "window"), "attention.key_length": ("head_dim", "uint32")},
            table("olmo_names"),
            fixed={"hidden_act": "silu", "sliding_window": None},
            optional=("rope_freqs.weight",),
            window=4,
            listed=True,
            is_written=False,
            usual={"attention.sliding_window": None},
        ),
        Architecture(
            "ernie4_5",
            "ernie4_5",
            "Ernie4_5ForCausalLM",
            {**table("sizes"), "attention.key_length": ("head_dim", "uint32")},
            table("llama_names"),
            fixed={"hidden_act": "silu"},
            told={"use_bias": "blk.N.attn_q.bias"},
        ),
        Architecture(
            "bert",
            "bert",
            "BertModel",
            {
                "context_length": ("max_position_embeddings", "uint32"),
                "embedding_length": ("hidden_size", "uint32"),
                "block_count": ("num_hidden_layers", "uint32"),
                "feed_forward_length": ("intermediate_size", "uint32"),
                "attention.head_count": ("num_attention_heads", "uint32"),
                "attention.layer_norm_epsilon": ("layer_norm_eps", "float32"),
            },
            {
                "token_embd": "embeddings.word_embeddings",
                "token_types": "embeddings.token_type_embeddings",
                "position_embd": "embeddings.position_embeddings",
                "token_embd_norm": "embeddings.LayerNorm",
                "blk.N.attn_q": "encoder.layer.N.attention.self.query",
                "blk.N.attn_k": "encoder.layer.N.attention.self.key",
                "blk.N.attn_v": "encoder.layer.N.attention.self.value",
                "blk.N.attn_output": "encoder.layer.N.attention.output.dense",
                "blk.N.attn_output_norm": "encoder.layer.N.attention.output.LayerNorm",
                "blk.N.ffn_up": "encoder.layer.N.intermediate.dense",
                "blk.N.ffn_down": "encoder.layer.N.output.dense",
                "blk.N.layer_output_norm": "encoder.layer.N.output.LayerNorm",
            },
            fixed={"hidden_act": "gelu"},
            is_written=False,
        ),
    )
}

#: What llama.cpp calls olmo2, too, where layers have windows.
_OLMO3: Final = Architecture(
    "olmo2",
    "olmo3",
    "Olmo3ForCausalLM",
    table("sizes", "window"),
    table("olmo_names"),
    fixed={"hidden_act": "silu"},
    told=table("biased"),
    window=4,
    listed=True,
)


def architecture_of(values: Mapping[str, Any]) -> Architecture | None:
    """The architecture that a file's metadata name; None: none that is known."""
    name = values.get("general.architecture")
    if name == MIXTRAL.name and values.get(f"{name}.expert_count", 0) != 0:
        return MIXTRAL
    if name == _OLMO3.name and values.get(f"{name}.attention.sliding_window", 0) != 0:
        return _OLMO3
    return ARCHITECTURES.get(name) if isinstance(name, str) else None


#: ``model_type`` of transformers -> the architecture that its networks are written as.
OF_KIND: Final[dict[str, Architecture]] = {
    kind: each
    for each in (*ARCHITECTURES.values(), MIXTRAL, _OLMO3)
    for kind in (each.kind, *each.also)
    if each.is_written
}
