"""The architectures of llama.cpp that are known: which networks of transformers they are, and what is called how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Architecture:
    """One value of ``general.architecture``.

    Attributes:
        name: That value.
        kind: ``model_type`` of transformers.
        model: The class of transformers.
        also: Other types of transformers that llama.cpp has no own word for: the same network, once what is lost of
            it is reported.
        keys: Key of the metadata without the architecture's name -> option of config.json, and the type there.
        fixed: What config.json says of all of them.
        names: Names of tensors, ``N`` for the layer's number -> transformers' names.
        optional: Tensors that some of these networks have, besides.
        permuted: Whether the rows of queries and keys lie in pairs, for rotary positions of neighbours.
        shifted: Whether norms are stored with 1 added.
        turned: Names, as a pattern, of matrices that lie the other way in transformers' files.
        joined: Transformers' array of all experts -> the tensors that lie behind each other in its second axis.
        lone: Names, as a pattern, of matrices of one row, which some converters have written as vectors.
        is_written: Whether networks are written as it.
        window: Of which number one layer has no window, where the metadata say how far layers look; 0: no layer has
            one, as llama.cpp runs it.
    """

    name: str
    kind: str
    model: str
    keys: Mapping[str, tuple[str, str]]
    names: Mapping[str, str]
    also: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    permuted: bool = False
    shifted: bool = False
    turned: str = r"(?!)"
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lone: str = r"(?!)"
    is_written: bool = True
    window: int = 0

    @staticmethod
    def of(values: Mapping[str, Any]) -> Architecture | None:
        """The architecture that a file's metadata name; None: none that is known."""
        name = values.get("general.architecture")
        if name == _MIXTRAL.name and values.get(f"{name}.expert_count", 0) != 0:
            return _MIXTRAL
        return ARCHITECTURES.get(name) if isinstance(name, str) else None

    def theirs(self, name: str) -> str | None:
        """Transformers' name of a tensor; None: this architecture has none of that name."""
        part, _, end = name.rpartition(".")
        layer = _LAYER.match(part)
        found = self.names.get(_LAYER.sub("blk.N.", part))
        if found is None or end not in ("weight", "bias"):
            return None
        return f"{_in(layer, found)}.{end}"

    def ours(self, name: str) -> str | None:
        """The name in GGUF of transformers' tensor; None: it has none."""
        part, _, end = name.rpartition(".")
        layer = _NUMBER.search(part)
        spelled = {theirs: ours for ours, theirs in self.names.items()}
        found = spelled.get(_NUMBER.sub(".N.", part, count=1))
        if found is None:
            return None
        return f"{_in(layer, found)}.{end}"

    def joint(self, name: str) -> tuple[str, int, int] | None:
        """Of which array of transformers' a tensor is a part, which one, and of how many; None: of none."""
        layer = _LAYER.match(name)
        if layer is None:
            return None
        for theirs, several in self.joined.items():
            if (spelled := _LAYER.sub("blk.N.", name)) in several:
                return _in(layer, theirs), several.index(spelled), len(several)
        return None

    def parts(self, name: str) -> list[str]:
        """The tensors of which transformers' array is made, in their order; none of an array that is one itself."""
        layer = _NUMBER.search(name)
        several = self.joined.get(_NUMBER.sub(".N.", name, count=1), ()) if layer else ()
        return [_in(layer, each) for each in several]


def _in(layer: re.Match[str] | None, name: str) -> str:
    """A name with the number of its layer, where it is in one."""
    return name if layer is None else name.replace(".N.", f".{layer[1]}.")


_LAYER: Final = re.compile(r"blk\.(\d{1,9})\.")
_NUMBER: Final = re.compile(r"\.(\d{1,9})\.")

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
#: Each layer has experts, and nothing but them.
_ALL_LAYERS: Final = {"decoder_sparse_step": 1, "mlp_only_layers": []}

#: ``general.architecture`` -> what it is. A new one is a row.
ARCHITECTURES: Final[dict[str, Architecture]] = {
    each.name: each
    for each in (
        Architecture(
            "llama",
            "llama",
            "LlamaForCausalLM",
            _SIZES,
            _LLAMA_NAMES,
            also=("mistral",),
            fixed={"hidden_act": "silu"},
            optional=("rope_freqs.weight",),
            permuted=True,
        ),
        Architecture("qwen2", "qwen2", "Qwen2ForCausalLM", _SIZES, _LLAMA_NAMES, fixed={"hidden_act": "silu"}),
        Architecture(
            "qwen3",
            "qwen3",
            "Qwen3ForCausalLM",
            {**_SIZES, "attention.key_length": ("head_dim", "uint32")},
            {**_LLAMA_NAMES, **_NORMED},
            fixed={"hidden_act": "silu", "attention_bias": False},
        ),
        Architecture(
            "qwen2moe",
            "qwen2_moe",
            "Qwen2MoeForCausalLM",
            {
                **_SIZES,
                **_QWEN_EXPERTS,
                "expert_shared_feed_forward_length": ("shared_expert_intermediate_size", "uint32"),
            },
            {
                **_MIXED,
                "blk.N.ffn_gate_inp_shexp": "model.layers.N.mlp.shared_expert_gate",
                "blk.N.ffn_gate_shexp": "model.layers.N.mlp.shared_expert.gate_proj",
                "blk.N.ffn_up_shexp": "model.layers.N.mlp.shared_expert.up_proj",
                "blk.N.ffn_down_shexp": "model.layers.N.mlp.shared_expert.down_proj",
            },
            fixed={"hidden_act": "silu", "norm_topk_prob": False, **_ALL_LAYERS},
            joined=_EXPERTS,
            lone=r".*\.shared_expert_gate\.weight",
        ),
        Architecture(
            "qwen3moe",
            "qwen3_moe",
            "Qwen3MoeForCausalLM",
            {**_SIZES, **_QWEN_EXPERTS, "attention.key_length": ("head_dim", "uint32")},
            {**_MIXED, **_NORMED},
            fixed={"hidden_act": "silu", "attention_bias": False, "norm_topk_prob": True, **_ALL_LAYERS},
            joined=_EXPERTS,
        ),
        Architecture(
            "gemma",
            "gemma",
            "GemmaForCausalLM",
            _GEMMA_SIZES,
            _LLAMA_NAMES,
            fixed={"hidden_act": "gelu_pytorch_tanh", "attention_bias": False},
            shifted=True,
        ),
        Architecture(
            "gemma2",
            "gemma2",
            "Gemma2ForCausalLM",
            {
                **_GEMMA_SIZES,
                **_WINDOW,
                **_CAP,
                "attn_logit_softcapping": ("attn_logit_softcapping", "float32"),
            },
            {**_OUTSIDE, **_ATTENTION, **_AROUND, **_GATED},
            fixed={"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False},
            shifted=True,
            window=2,
        ),
        Architecture(
            "gemma3",
            "gemma3_text",
            "Gemma3ForCausalLM",
            {**_GEMMA_SIZES, **_WINDOW, **_CAP, "rope.freq_base_swa": ("rope_local_base_freq", "float32")},
            {**_OUTSIDE, **_ATTENTION, **_NORMED, **_AROUND, **_GATED},
            fixed={"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False},
            shifted=True,
            window=6,
        ),
        Architecture(
            "phi3",
            "phi3",
            "Phi3ForCausalLM",
            {**_SIZES, **_WINDOW},
            {
                **_OUTSIDE,
                "blk.N.attn_norm": "model.layers.N.input_layernorm",
                "blk.N.attn_qkv": "model.layers.N.self_attn.qkv_proj",
                "blk.N.attn_output": "model.layers.N.self_attn.o_proj",
                **_BEHIND,
                "blk.N.ffn_up": "model.layers.N.mlp.gate_up_proj",
                "blk.N.ffn_down": "model.layers.N.mlp.down_proj",
            },
            fixed={"hidden_act": "silu", "pad_token_id": None},
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

#: What llama.cpp calls llama, too, where the metadata count experts.
_MIXTRAL: Final = Architecture(
    "llama",
    "mixtral",
    "MixtralForCausalLM",
    {
        **_SIZES,
        "expert_count": ("num_local_experts", "uint32"),
        "expert_used_count": ("num_experts_per_tok", "uint32"),
    },
    _MIXED,
    fixed={"hidden_act": "silu"},
    permuted=True,
    joined=_EXPERTS,
)

#: ``model_type`` of transformers -> the architecture that its networks are written as.
OF_KIND: Final[dict[str, Architecture]] = {
    kind: each for each in (*ARCHITECTURES.values(), _MIXTRAL) for kind in (each.kind, *each.also) if each.is_written
}
