"""Options of config.json that change nothing of what a model computes, by the reason why."""

from __future__ import annotations

from typing import Final

_OF_ALL: Final[dict[str, tuple[str, ...]]] = {
    "where the model comes from, and what made it": (
        "_commit_hash", "_name_or_path", "architectures", "finetuning_task", "is_llama_config", "language", "license",
        "model_type", "name_or_path", "transformers.js_config", "transformers_version", "unsloth_fixed",
        "unsloth_version",
    ),
    "training": (
        "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "classifier_dropout", "dropout",
        "embd_pdrop", "gradient_checkpointing", "hidden_dropout", "hidden_dropout_prob", "initializer_factor",
        "initializer_range", "init_std", "problem_type", "qa_dropout", "resid_pdrop", "seq_classif_dropout",
        "tf_legacy_loss", "tie_encoder_decoder", "tie_weights_",
    ),
    "the generation of texts, which is no part of the network": (
        "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "decoder_start_token_id", "diversity_penalty",
        "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id", "eos_token_ids",
        "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id", "length_penalty",
        "max_length", "max_new_tokens", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams",
        "num_return_sequences", "output_scores", "prefix", "remove_invalid_values", "repetition_penalty",
        "return_dict_in_generate", "suppress_tokens", "task_specific_params", "temperature", "top_k", "top_p",
        "typical_p",
    ),
    "tokens and tokenizers": (
        "cls_token_id", "mask_token_id", "max_seq_length", "max_sequence_length", "model_max_length", "padding_side",
        "sep_token_id", "tokenizer_class", "tokenizer_model_max_length", "tokenizer_padding_side", "unk_token_id",
    ),
    "what is handed out beside the outputs, or in which form": (
        "keys_to_ignore_at_inference", "output_attentions", "output_hidden_states", "output_past", "return_dict",
        "tie_last_hidden_states", "torchscript", "use_cache",
    ),
    "how the same numbers are computed": (
        "_attn_implementation", "_attn_implementation_autoset", "_flash_attn_2_enabled", "attn_implementation",
        "chunk_size_feed_forward", "pretraining_tp", "reorder_and_upcast_attn", "use_bfloat16", "xla_device",
    ),
    "heads and poolers that are not read": (
        "_num_labels", "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
        "pooler_size_per_head", "pooler_type", "summary_activation", "summary_first_dropout", "summary_last_dropout",
        "summary_proj_to_labels", "summary_type", "summary_use_proj",
    ),
    "sentence-transformers' own, behind the outputs": (
        "matryoshka_dimensions", "sbert_ce_default_activation_function", "sentence_transformers",
    ),
    "the dtype of the parameters, which the files say": ("dtype", "torch_dtype"),
    "the networks of two parts that are refused": ("cross_attention_hidden_size",),
}  # fmt: skip

_LABELS: Final = ("id2label", "label2id", "num_labels")  # the heads that have labels are not read
#: Family -> more of them.
_OF_ONE: Final[dict[str, tuple[str, ...]]] = {
    "distilbert": ("sinusoidal_pos_embds",),  # says how the table of positions was begun
    "gpt2": (*_LABELS, "n_ctx", "n_special", "pad_token_id", "predict_special_tokens"),
    "gemma": (*_LABELS, "hidden_activation"),  # transformers' own class has forgotten it
    "gemma2": (*_LABELS, "cache_implementation", "hidden_act"),  # the gate has hidden_activation
    "gemma3_text": (*_LABELS, "cache_implementation", "hidden_act"),
    "llama": _LABELS,
    "mistral": _LABELS,
    "modernbert": (
        "deterministic_flash_attn", "embedding_dropout", "initializer_cutoff_factor", "layer_norm_eps", "mlp_dropout",
        "position_embedding_type", "reference_compile", "repad_logits_with_grad", "sparse_pred_ignore_index",
        "sparse_prediction",
    ),
    "qwen3": _LABELS,
    # Padding is a word like any other, and the length of texts has no bound.
    "t5": (*_LABELS, "dropout_rate", "n_positions", "pad_token_id"),
    "vit": ("encoder_stride", "pad_token_id"),
    "qwen2": (*_LABELS, "attention_bias"),  # its projections have biases, or not, whatever is said
}  # fmt: skip


def harmless(family: str) -> frozenset[str]:
    """The options that change nothing in networks of a family."""
    return frozenset(name for names in _OF_ALL.values() for name in names) | frozenset(_OF_ONE.get(family, ()))
