"""Models of transformers from small configurations, with random parameters, and how they are compared."""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import load_file

RNG = np.random.default_rng(0)
VOCABULARY = 40
WORDS = RNG.integers(5, VOCABULARY, (3, 9))
LENGTHS = np.array([[9], [6], [2]])
MASK = (np.arange(9) < LENGTHS).astype(np.int64)
SEGMENTS = RNG.integers(0, 2, (3, 9))

_BERT = {
    "vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 40, "max_position_embeddings": 20, "num_labels": 3,
}  # fmt: skip
_DISTIL = {
    "vocab_size": VOCABULARY, "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 40, "max_position_embeddings": 20,
    "num_labels": 3,
}  # fmt: skip
_GPT2 = {
    "vocab_size": VOCABULARY, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 20,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
_LLAMA = {
    "vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 40, "max_position_embeddings": 64,
}  # fmt: skip
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}  # fmt: skip
_GEMMA = _LLAMA | {"head_dim": 8, "num_hidden_layers": 4, "sliding_window": 4, "query_pre_attn_scalar": 12}
_MODERN = _BERT | {"num_hidden_layers": 4, "local_attention": 6, "pad_token_id": 0, "norm_bias": True}
_ANSWERS = {"num_labels": 2}
_SCORES = {"num_labels": 3, "pad_token_id": 5}
_T5 = {"vocab_size": VOCABULARY, "d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 4}
_VIT = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40, "image_size": 24,
    "patch_size": 8, "num_labels": 3,
}  # fmt: skip

#: Case -> (class of transformers, options of its configuration).
CASES = {
    "BertModel": ("BertModel", _BERT),
    "BertModel, other options": ("BertModel", _BERT | {"hidden_act": "relu", "layer_norm_eps": 1e-5}),
    "BertForMaskedLM": ("BertForMaskedLM", _BERT),
    "BertForMaskedLM, not tied": ("BertForMaskedLM", _BERT | {"tie_word_embeddings": False}),
    "BertForPreTraining": ("BertForPreTraining", _BERT),
    "BertForNextSentencePrediction": ("BertForNextSentencePrediction", _BERT),
    "BertForSequenceClassification": ("BertForSequenceClassification", _BERT),
    "BertForTokenClassification": ("BertForTokenClassification", _BERT),
    "BertForQuestionAnswering": ("BertForQuestionAnswering", _BERT | _ANSWERS),
    "RobertaModel": ("RobertaModel", _BERT),
    "RobertaForMaskedLM": ("RobertaForMaskedLM", _BERT | {"type_vocab_size": 1}),
    "RobertaForSequenceClassification": ("RobertaForSequenceClassification", _BERT),
    "RobertaForTokenClassification": ("RobertaForTokenClassification", _BERT),
    "RobertaForQuestionAnswering": ("RobertaForQuestionAnswering", _BERT | _ANSWERS),
    "XLMRobertaForMaskedLM": ("XLMRobertaForMaskedLM", _BERT),
    "CamembertForTokenClassification": ("CamembertForTokenClassification", _BERT),
    "DistilBertModel": ("DistilBertModel", _DISTIL),
    "DistilBertForMaskedLM": ("DistilBertForMaskedLM", _DISTIL | {"activation": "relu"}),
    "DistilBertForSequenceClassification": ("DistilBertForSequenceClassification", _DISTIL),
    "DistilBertForTokenClassification": ("DistilBertForTokenClassification", _DISTIL),
    "DistilBertForQuestionAnswering": ("DistilBertForQuestionAnswering", _DISTIL | _ANSWERS),
    "ElectraModel": ("ElectraModel", _BERT | {"embedding_size": 12}),
    "ElectraForPreTraining": ("ElectraForPreTraining", _BERT | {"embedding_size": 24}),
    "ElectraForMaskedLM": ("ElectraForMaskedLM", _BERT | {"embedding_size": 12}),
    "ElectraForSequenceClassification": ("ElectraForSequenceClassification", _BERT | {"embedding_size": 12}),
    "ElectraForTokenClassification": ("ElectraForTokenClassification", _BERT | {"embedding_size": 12}),
    "ElectraForQuestionAnswering": ("ElectraForQuestionAnswering", _BERT | _ANSWERS | {"embedding_size": 12}),
    "GPT2Model": ("GPT2Model", _GPT2),
    "GPT2LMHeadModel": ("GPT2LMHeadModel", _GPT2),
    "GPT2LMHeadModel, every option": (
        "GPT2LMHeadModel",
        _GPT2 | {"n_inner": 30, "activation_function": "silu", "layer_norm_epsilon": 1e-3, "scale_attn_weights": False,
                 "scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": False},
    ),
    "LlamaModel": ("LlamaModel", _LLAMA),
    "LlamaForCausalLM": ("LlamaForCausalLM", _LLAMA),
    "LlamaForCausalLM, 3.1": ("LlamaForCausalLM", _LLAMA | {"rope_parameters": _LLAMA3, "tie_word_embeddings": True}),
    "LlamaForCausalLM, every option": (
        "LlamaForCausalLM",
        _LLAMA | {"attention_bias": True, "mlp_bias": True, "head_dim": 8, "hidden_act": "gelu", "rms_norm_eps": 1e-3,
                  "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0}},
    ),
    "MistralModel": ("MistralModel", _LLAMA | {"sliding_window": None}),
    "MistralForCausalLM": ("MistralForCausalLM", _LLAMA | {"sliding_window": 3, "head_dim": 10}),
    "Qwen2Model": ("Qwen2Model", _LLAMA),
    "Qwen2ForCausalLM": ("Qwen2ForCausalLM", _LLAMA | {"tie_word_embeddings": True}),
    "Qwen2ForCausalLM, windows": (
        "Qwen2ForCausalLM",
        _LLAMA | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "ModernBertModel": ("ModernBertModel", _MODERN),
    "ModernBertForMaskedLM": ("ModernBertForMaskedLM", _MODERN | {"norm_bias": False}),
    "ModernBertForMaskedLM, every option": (
        "ModernBertForMaskedLM",
        _MODERN | {"attention_bias": True, "mlp_bias": True, "decoder_bias": False, "classifier_bias": True,
                   "classifier_activation": "relu", "hidden_activation": "silu", "tie_word_embeddings": False,
                   "layer_types": ["sliding_attention", "full_attention"] * 2, "norm_eps": 1e-3,
                   "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5},
                                       "sliding_attention": {"rope_type": "default", "rope_theta": 1e3}}},
    ),
    "ModernBertForSequenceClassification": ("ModernBertForSequenceClassification", _MODERN),
    "ModernBertForSequenceClassification, mean": (
        "ModernBertForSequenceClassification", _MODERN | {"classifier_pooling": "mean"},
    ),
    "ModernBertForTokenClassification": ("ModernBertForTokenClassification", _MODERN),
    "ModernBertForQuestionAnswering": ("ModernBertForQuestionAnswering", _MODERN | _ANSWERS),
    "Qwen3Model": ("Qwen3Model", _LLAMA | {"head_dim": 8}),
    "Qwen3ForCausalLM": ("Qwen3ForCausalLM", _LLAMA | {"head_dim": 6, "tie_word_embeddings": True}),
    "Qwen3ForCausalLM, every option": (
        "Qwen3ForCausalLM",
        _LLAMA | {"head_dim": 8, "attention_bias": True, "hidden_act": "gelu", "use_sliding_window": True,
                  "sliding_window": 4, "max_window_layers": 1, "rope_parameters": _LLAMA3},
    ),
    "Qwen3ForTokenClassification": ("Qwen3ForTokenClassification", _LLAMA | _SCORES | {"head_dim": 8}),
    "LlamaForSequenceClassification": ("LlamaForSequenceClassification", _LLAMA | _SCORES),
    "GPT2ForSequenceClassification": ("GPT2ForSequenceClassification", _GPT2 | _SCORES),
    "GPT2ForTokenClassification": ("GPT2ForTokenClassification", _GPT2 | _SCORES),
    "GemmaModel": ("GemmaModel", _LLAMA | {"head_dim": 8}),
    "GemmaForCausalLM": ("GemmaForCausalLM", _LLAMA | {"head_dim": 6, "hidden_act": "gelu"}),
    "GemmaForSequenceClassification": ("GemmaForSequenceClassification", _LLAMA | _SCORES | {"head_dim": 8}),
    "T5Model": ("T5Model", _T5),
    "T5EncoderModel": ("T5EncoderModel", _T5 | {"layer_norm_epsilon": 1e-3}),
    "T5ForConditionalGeneration": ("T5ForConditionalGeneration", _T5),
    "T5ForConditionalGeneration, 1.1": (
        "T5ForConditionalGeneration",
        _T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_decoder_layers": 3},
    ),
    "T5ForConditionalGeneration, every option": (
        "T5ForConditionalGeneration",
        _T5 | {"feed_forward_proj": "gated-silu", "relative_attention_num_buckets": 8,
               "relative_attention_max_distance": 6, "layer_norm_epsilon": 1e-3},
    ),
    "ViTModel": ("ViTModel", _VIT),
    "ViTModel, another pooler": ("ViTModel", _VIT | {"pooler_act": "relu", "pooler_output_size": 7}),
    "ViTForImageClassification": ("ViTForImageClassification", _VIT),
    "ViTForImageClassification, every option": (
        "ViTForImageClassification",
        _VIT | {"qkv_bias": False, "hidden_act": "relu", "image_size": [16, 24], "patch_size": [4, 8],
                "num_channels": 1, "layer_norm_eps": 1e-3},
    ),
    "Gemma2Model": ("Gemma2Model", _GEMMA),
    "Gemma2ForCausalLM": (
        "Gemma2ForCausalLM", _GEMMA | {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.5},
    ),
    "Gemma2ForCausalLM, every option": (
        "Gemma2ForCausalLM",
        _GEMMA | {"attention_bias": True, "hidden_activation": "silu", "final_logit_softcapping": None,
                  "attn_logit_softcapping": None, "tie_word_embeddings": False,
                  "layer_types": ["full_attention"] * 3 + ["sliding_attention"]},
    ),
    "Gemma3TextModel": ("Gemma3TextModel", _GEMMA | {"sliding_window_pattern": 2}),
    "Gemma3ForCausalLM": (
        "Gemma3ForCausalLM",
        _GEMMA | {"final_logit_softcapping": 2.0, "layer_types": ["full_attention", "sliding_attention"] * 2,
                  "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
                                      "sliding_attention": {"rope_type": "default", "rope_theta": 1e3}}},
    ),
}  # fmt: skip


def model(name, transformers, torch):
    """A model with random parameters, among them those that begin as zeros or ones."""
    from tests.zoo.comparison import randomised

    cls, options = CASES[name]
    cls = getattr(transformers, cls)
    made = cls(cls.config_class(**options))
    if getattr(made.config, "pad_token_id", None) is None:
        made.config.pad_token_id = 0
    return randomised(made, torch)


def expected(module, inputs, torch):
    """The module's outputs for our inputs, by name, as arrays."""
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    with torch.no_grad():
        found = module(**tensors)
    # Beside them stand a cache of keys and values, under a key that differs by version, and tuples of states.
    return [value.numpy() for value in found.values() if torch.is_tensor(value)]


def inputs_of(architecture):
    """An array for each input that an architecture declares."""
    arrays = {
        "input_ids": WORDS, "attention_mask": MASK, "token_type_ids": SEGMENTS, "decoder_input_ids": WORDS[:, :7] // 2,
    }  # fmt: skip
    found = {each["name"]: arrays.get(each["name"]) for each in architecture["inputs"]}
    if "pixel_values" in found:
        (_, *sizes) = architecture["inputs"][0]["shape"]
        found["pixel_values"] = np.random.default_rng(0).standard_normal((2, *sizes), np.float32)
    return found


def several(value):
    """Outputs as a list."""
    return list(value) if isinstance(value, tuple) else [value]


#: Family -> (class of transformers, options) of a small model whose options are altered.
SMALL = {
    "bert": ("BertForMaskedLM", _BERT),
    "roberta": ("RobertaForMaskedLM", _BERT),
    "xlm-roberta": ("XLMRobertaForMaskedLM", _BERT),
    "camembert": ("CamembertForMaskedLM", _BERT),
    "electra": ("ElectraForMaskedLM", _BERT | {"embedding_size": 12}),
    "distilbert": ("DistilBertForMaskedLM", _DISTIL),
    "modernbert": ("ModernBertForMaskedLM", _MODERN | {"num_hidden_layers": 3}),
    "gpt2": ("GPT2LMHeadModel", _GPT2),
    "llama": ("LlamaForCausalLM", _LLAMA),
    "mistral": ("MistralForCausalLM", _LLAMA | {"sliding_window": 5}),
    "qwen3": ("Qwen3ForCausalLM", _LLAMA | {"head_dim": 8, "use_sliding_window": True, "sliding_window": 5,
                                            "max_window_layers": 1}),
    "gemma": ("GemmaForCausalLM", _LLAMA | {"head_dim": 8}),
    "t5": ("T5ForConditionalGeneration", _T5 | {"num_layers": 3}),
    "vit": ("ViTForImageClassification", _VIT | {"num_hidden_layers": 3}),
    "gemma2": ("Gemma2ForCausalLM", _GEMMA | {"num_hidden_layers": 3}),
    "gemma3_text": ("Gemma3ForCausalLM", _GEMMA | {"num_hidden_layers": 3, "sliding_window_pattern": 2}),
    "qwen2": ("Qwen2ForCausalLM", _LLAMA | {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
}  # fmt: skip


def saved(family, transformers, torch, folder):
    """Write a small model of a family into a folder; what its config.json says."""
    from tests.zoo.comparison import randomised

    cls, options = SMALL[family]
    cls = getattr(transformers, cls)
    torch.manual_seed(0)
    randomised(cls(cls.config_class(**options)), torch).save_pretrained(folder)
    return json.loads((folder / "config.json").read_text("utf-8"))


def given(values):
    """What the model of a config.json is given, by name."""
    if values["model_type"] == "vit":
        side = values["image_size"]
        shape = (2, values["num_channels"], *(side if isinstance(side, list) else (side, side)))
        return {"pixel_values": np.random.default_rng(0).standard_normal(shape, np.float32)}
    return {"input_ids": WORDS} | ({"decoder_input_ids": WORDS[:, :7] // 2} if values["model_type"] == "t5" else {})


def logits(folder, inputs, transformers, torch):
    """What transformers computes for inputs, of the model in a folder."""
    values = json.loads((folder / "config.json").read_text("utf-8"))
    # With layer_types it is another network to AutoModel, which is the one that people use.
    is_another = values["model_type"] == "mistral" and values.get("layer_types")
    cls = transformers.AutoModelForCausalLM if is_another else getattr(transformers, values["architectures"][0])
    module = cls.from_pretrained(folder).eval()
    with torch.no_grad():
        return module(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits.numpy()


def stored(folder):
    """The arrays in a folder's file, but for HDF5's own bytes in those that are archives too."""
    return {
        key: array for key, array in load_file(folder / "model.safetensors").items() if not key.startswith("__hdf5__.")
    }


def complaints(info):
    """What transformers says of a folder that it has loaded, but for HDF5's own bytes, which it leaves alone."""
    found = info | {"unexpected_keys": {key for key in info["unexpected_keys"] if not key.startswith("__hdf5__.")}}
    return {key: value for key, value in found.items() if value}


def losses(notes):
    """Notes but for the one on folders that are no archives: GPT-2's arrays lie otherwise there."""
    return [note for note in notes if note.where != "(archive)"]
