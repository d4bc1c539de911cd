"""Backbones of KerasHub that read words, each in its smallest size, and heads on them."""

from __future__ import annotations

from typing import Any, Final

_WORDS: Final = {"vocabulary_size": 40, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 24}
_HEADS: Final = _WORDS | {"num_heads": 2}
_GROUPS: Final = _WORDS | {"num_query_heads": 4, "num_key_value_heads": 2}
_MIXED: Final = _GROUPS | {"num_experts": 4, "top_k": 2}
_GEMMA: Final = _WORDS | {"num_query_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
_QWEN_3_5: Final = {
    "vocabulary_size": 40, "num_layers": 2, "num_query_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "hidden_dim": 16, "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "linear_key_head_dim": 4, "linear_value_head_dim": 4,
}  # fmt: skip
_T5_GEMMA: Final = {
    "vocabulary_size": 40, "query_pre_attn_scalar": 1.0, "sliding_window": 4, "cross_attention_hidden_size": 16,
    **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in {
        "hidden_dim": 16, "intermediate_dim": 24, "num_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]}.items()},
}  # fmt: skip
_ESM: Final = _HEADS | {"max_sequence_length": 16}
_SHORT: Final = _HEADS | {"max_sequence_length": 16}

#: Name -> the class, and its settings.
BACKBONES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "Albert": ("AlbertBackbone", _SHORT | {"embedding_dim": 8}),
    "Bart": ("BartBackbone", _SHORT),
    "Bert": ("BertBackbone", _SHORT),
    "Bloom": ("BloomBackbone", _HEADS),
    "DebertaV3": ("DebertaV3Backbone", _SHORT | {"bucket_size": 4}),
    "DistilBert": ("DistilBertBackbone", _SHORT),
    "EdRec": ("EdRecBackbone", {"vocab_size": 40, "num_layers_enc": 2, "num_layers_dec": 2, "hidden_dim": 16,
                                "intermediate_dim": 24, "num_heads": 2}),
    "Electra": ("ElectraBackbone", {"vocab_size": 40, "num_layers": 2, "num_heads": 2, "hidden_dim": 16,
                                    "embedding_dim": 8, "intermediate_dim": 24, "max_sequence_length": 16}),
    "ESM": ("ESMBackbone", _ESM),
    "ESM2": ("ESM2Backbone", _ESM | {"use_pre_layer_norm": True}),
    "ESM of positions": ("ESMBackbone", _ESM | {"position_embedding_type": "absolute"}),
    "FNet": ("FNetBackbone", _WORDS | {"max_sequence_length": 16}),
    "Falcon": ("FalconBackbone", _WORDS | {"num_attention_heads": 2}),
    "GPT2": ("GPT2Backbone", _SHORT),
    "GPTNeoX": ("GPTNeoXBackbone", _SHORT),
    "Gemma": ("GemmaBackbone", _GEMMA),
    "Gemma 2": ("GemmaBackbone", _GEMMA | {
        "use_post_ffw_norm": True, "use_post_attention_norm": True, "attention_logit_soft_cap": 50.0,
        "use_sliding_window_attention": True, "sliding_window_size": 4}),
    "Gemma 3": ("Gemma3Backbone", _GEMMA | {
        "image_size": 16, "use_sliding_window_attention": True, "sliding_window_size": 4}),
    "Gemma 4": ("Gemma4Backbone", _GEMMA | {"image_size": 16, "sliding_window_size": 4}),
    "GptOss": ("GptOssBackbone", _MIXED | {"sliding_window": 4}),
    "Llama": ("LlamaBackbone", _GROUPS),
    "Llama 3": ("Llama3Backbone", _GROUPS | {
        "rope_frequency_adjustment_factor": 8.0, "rope_low_freq_factor": 1.0, "rope_high_freq_factor": 4.0,
        "rope_pretraining_sequence_length": 64}),
    "Mistral": ("MistralBackbone", _GROUPS | {"sliding_window": 4}),
    "Mixtral": ("MixtralBackbone", _MIXED | {"sliding_window": 4}),
    "OPT": ("OPTBackbone", _SHORT),
    "Phi3": ("Phi3Backbone", _GROUPS),
    "Phi3 of long texts": ("Phi3Backbone", _GROUPS | {
        "max_sequence_length": 64, "pretraining_sequence_length": 16, "rope_scaling_type": "su",
        "rope_scaling_short_factor": [1.0, 1.1], "rope_scaling_long_factor": [2.0, 3.0]}),
    "Qwen": ("QwenBackbone", _GROUPS),
    "Qwen 2": ("Qwen2Backbone", _GROUPS | {"use_sliding_window_attention": True, "sliding_window_size": 4}),
    "Qwen 3": ("Qwen3Backbone", _GROUPS | {"head_dim": 8}),
    "Qwen 3.5": ("Qwen3_5Backbone", _QWEN_3_5 | {"intermediate_dim": 24}),
    "Qwen 3.5 of experts": ("Qwen3_5MoeBackbone", _QWEN_3_5 | {
        "moe_intermediate_dim": 8, "shared_expert_intermediate_size": 8, "num_experts": 4, "top_k": 2}),
    "Qwen 3 of experts": ("Qwen3MoeBackbone", _MIXED | {"moe_intermediate_dim": 8}),
    "Qwen of experts": ("QwenMoeBackbone", _MIXED | {
        "moe_intermediate_dim": 8, "shared_expert_intermediate_dim": 8}),
    "RWKV 7": ("RWKV7Backbone", {
        "hidden_size": 16, "head_size": 4, "num_layers": 2, "vocabulary_size": 40, "intermediate_dim": 24,
        "gate_lora": 8, "mv_lora": 8, "aaa_lora": 8, "decay_lora": 8}),
    "Roberta": ("RobertaBackbone", _SHORT),
    "RoformerV2": ("RoformerV2Backbone", _HEADS | {"head_size": 8}),
    "SmolLM3": ("SmolLM3Backbone", _WORDS | {
        "num_attention_heads": 4, "num_key_value_heads": 2, "attention_bias": False, "attention_dropout": 0.0,
        "rope_layer_enabled_list": [True, False], "layer_types": ["attention", "attention"], "mlp_bias": False,
        "layer_norm_epsilon": 1e-5, "max_position_embeddings": 64, "rope_theta": 10000.0,
        "partial_rotary_factor": 1.0}),
    "T5": ("T5Backbone", _HEADS),
    "T5Gemma": ("T5GemmaBackbone", _T5_GEMMA),
    "T5Gemma 2": ("T5Gemma2Backbone", _T5_GEMMA),
    "XLMRoberta": ("XLMRobertaBackbone", _SHORT),
    "XLNet": ("XLNetBackbone", _HEADS),
}  # fmt: skip

#: Class -> the backbone that it stands on, and its settings.
TASKS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "AlbertMaskedLM": ("Albert", {}),
    "BartSeq2SeqLM": ("Bart", {}),
    "BertMaskedLM": ("Bert", {}),
    "BertTextClassifier": ("Bert", {"num_classes": 3}),
    "BertTextEmbedder": ("Bert", {}),
    "BloomCausalLM": ("Bloom", {}),
    "DebertaV3TextClassifier": ("DebertaV3", {"num_classes": 3}),
    "DistilBertTextClassifier": ("DistilBert", {"num_classes": 3}),
    "ESMProteinClassifier": ("ESM", {"num_classes": 3}),
    "FNetTextClassifier": ("FNet", {"num_classes": 3}),
    "FalconCausalLM": ("Falcon", {}),
    "GPT2CausalLM": ("GPT2", {}),
    "GPTNeoXCausalLM": ("GPTNeoX", {}),
    "GemmaCausalLM": ("Gemma 2", {}),
    "Gemma3CausalLM": ("Gemma 3", {}),
    "LlamaCausalLM": ("Llama", {}),
    "MistralCausalLM": ("Mistral", {}),
    "MixtralCausalLM": ("Mixtral", {}),
    "OPTCausalLM": ("OPT", {}),
    "Phi3CausalLM": ("Phi3", {}),
    "Qwen2CausalLM": ("Qwen 2", {}),
    "Qwen3CausalLM": ("Qwen 3", {}),
    "RobertaTextClassifier": ("Roberta", {"num_classes": 3}),
    "RoformerV2TextClassifier": ("RoformerV2", {"num_classes": 3}),
    "T5Seq2SeqLM": ("T5", {}),
    "XLMRobertaMaskedLM": ("XLMRoberta", {}),
}
