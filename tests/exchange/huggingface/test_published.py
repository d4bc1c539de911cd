"""Configurations as they were published: what they mean has as many parameters as the models are known to have."""

from __future__ import annotations

import math

import pytest

from modelarchive.architecture import parameter_shapes
from modelarchive.exchange.huggingface.config import Config
from modelarchive.exchange.huggingface.families import FAMILIES
from modelarchive.exchange.huggingface.family import head_of
from modelarchive.exchange.huggingface.reading import described
from modelarchive.exchange.huggingface.traits import Traits
from tests.sampling import some

_LLAMA3 = {
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}  # fmt: skip
#: Name -> what its config.json says that decides shapes and more, by transformers 4 and before; its parameters.
PUBLISHED = {
    "bert-base-uncased": (
        {"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12,
         "gradient_checkpointing": False, "position_embedding_type": "absolute", "vocab_size": 30522},
        109_482_240,
    ),
    "roberta-base": (
        {"architectures": ["RobertaModel"], "model_type": "roberta", "bos_token_id": 0, "eos_token_id": 2,
         "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "pad_token_id": 1, "type_vocab_size": 1,
         "vocab_size": 50265},
        124_645_632,
    ),
    "distilbert-base-uncased": (
        {"activation": "gelu", "architectures": ["DistilBertModel"], "dim": 768, "dropout": 0.1, "hidden_dim": 3072,
         "model_type": "distilbert", "n_heads": 12, "n_layers": 6, "sinusoidal_pos_embds": False, "tie_weights_": True},
        66_362_880,
    ),
    "gpt2": (
        {"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
         "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
         "task_specific_params": {"text-generation": {"do_sample": True}}, "vocab_size": 50257},
        124_439_808,
    ),
    "Llama-3.1-8B": (
        {"architectures": ["LlamaForCausalLM"], "attention_bias": False, "hidden_act": "silu", "hidden_size": 4096,
         "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "llama",
         "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "pretraining_tp": 1,
         "rms_norm_eps": 1e-05, "rope_scaling": _LLAMA3, "rope_theta": 500000.0, "tie_word_embeddings": False,
         "torch_dtype": "bfloat16", "vocab_size": 128256},
        8_030_261_248,
    ),
    "Mistral-7B-v0.1": (
        {"architectures": ["MistralForCausalLM"], "hidden_act": "silu", "hidden_size": 4096,
         "intermediate_size": 14336, "model_type": "mistral", "num_attention_heads": 32, "num_hidden_layers": 32,
         "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096,
         "vocab_size": 32000},
        7_241_732_096,
    ),
    "Qwen2-0.5B": (
        {"architectures": ["Qwen2ForCausalLM"], "hidden_size": 896, "intermediate_size": 4864, "max_window_layers": 24,
         "model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
         "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 131072, "tie_word_embeddings": True,
         "use_sliding_window": False, "vocab_size": 151936},
        494_032_768,
    ),
    "Qwen3-0.6B": (
        {"architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "head_dim": 128, "hidden_size": 1024,
         "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
         "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
         "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": True,
         "use_sliding_window": False, "vocab_size": 151936},
        596_049_920,
    ),
    "gemma-2b": (
        {"architectures": ["GemmaForCausalLM"], "attention_bias": False, "head_dim": 256, "hidden_act": "gelu",
         "hidden_activation": None, "hidden_size": 2048, "intermediate_size": 16384, "max_position_embeddings": 8192,
         "model_type": "gemma", "num_attention_heads": 8, "num_hidden_layers": 18, "num_key_value_heads": 1,
         "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 10000.0, "vocab_size": 256000},
        2_506_172_416,
    ),
    "gemma-2-2b": (
        {"architectures": ["Gemma2ForCausalLM"], "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
         "cache_implementation": "hybrid", "head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "hidden_size": 2304,
         "hidden_activation": "gelu_pytorch_tanh", "intermediate_size": 9216, "model_type": "gemma2",
         "num_attention_heads": 8, "num_hidden_layers": 26, "num_key_value_heads": 4, "query_pre_attn_scalar": 256,
         "sliding_window": 4096, "vocab_size": 256000},
        2_614_341_888,
    ),
    "t5-small": (
        {"architectures": ["T5ForConditionalGeneration"], "d_ff": 2048, "d_kv": 64, "d_model": 512,
         "decoder_start_token_id": 0, "dropout_rate": 0.1, "is_encoder_decoder": True, "model_type": "t5",
         "n_positions": 512, "num_heads": 8, "num_layers": 6, "output_past": True, "pad_token_id": 0,
         "relative_attention_num_buckets": 32, "vocab_size": 32128},
        60_506_624,
    ),
    "vit-base-patch16-224-in21k": (
        {"architectures": ["ViTModel"], "attention_probs_dropout_prob": 0.0, "hidden_act": "gelu",
         "hidden_size": 768, "image_size": 224, "intermediate_size": 3072, "layer_norm_eps": 1e-12,
         "model_type": "vit", "num_attention_heads": 12, "num_channels": 3, "num_hidden_layers": 12,
         "patch_size": 16, "qkv_bias": True},
        86_389_248,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", some(PUBLISHED))
def test_parameters_of_published_models(name: str) -> None:
    values, count = PUBLISHED[name]
    config = Config(values)
    family = FAMILIES[values["model_type"]]
    head = head_of(values, family)
    assert head is not None
    inputs = family.takes(head)[0]
    network = family.make(config, Traits(head, inputs), 1000)
    assert network is not None, config.problems
    assert not config.notes
    shapes = parameter_shapes(described(network, inputs, config))
    owners = {id(parameter): name for name, parameter in network.collect_params().items()}
    assert sum(math.prod(shapes[name]) for name in owners.values()) == count
    assert shapes.keys() == network.collect_params().keys()  # nothing that transformers has not
