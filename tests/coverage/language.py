"""Networks of transformers: each type of which a tiny random configuration can be made, its base and a head."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch

from tests.coverage.judging import Network

#: Settings by their names -> what makes a network small.
_SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "hidden_dim", "encoder_hidden_size",
                     "word_embed_proj_dim", "embedding_size", "attention_hidden_size", "projection_dim"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers", "decoder_layers",
                     "num_encoder_layers", "num_decoder_layers", "encoder_num_hidden_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads",
                     "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads",), 2),
    **dict.fromkeys(("intermediate_size", "d_ff", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner",
                     "moe_intermediate_size", "shared_expert_intermediate_size", "hidden_dim_ff", "d_inner"), 64),
    "vocab_size": 99, "max_position_embeddings": 64, "n_positions": 64, "head_dim": 8, "d_kv": 8, "type_vocab_size": 2,
    "image_size": 32, "patch_size": 8, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0,
    "state_size": 8, "use_cache": False, "num_mel_bins": 16, "max_source_positions": 64, "max_target_positions": 64,
    "num_labels": 3, "sliding_window": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8, "v_head_dim": 8, "depth_multiplier": 0.25, "rescale_every": 0,
}  # fmt: skip
_HEADS = ("CausalLM", "SequenceClassification", "MaskedLM", "ConditionalGeneration", "ImageClassification", "CTC",
          "AudioClassification", "TokenClassification", "QuestionAnswering")  # fmt: skip


def small(kind: Any) -> Any:
    """A configuration of a class that makes a network of some ten thousand parameters."""
    usual = kind()
    found = {name: value for name, value in _SMALL.items() if hasattr(usual, name) and getattr(usual, name) is not None}
    for name, sub in getattr(kind, "sub_configs", {}).items():
        if hasattr(usual, name) and isinstance(sub, type):
            found[name] = small(sub).to_dict()
    return kind(**found)


def transformers() -> Iterator[Network]:
    """The base of each type, and one head of it."""
    import transformers as library
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

    for type_name in sorted(CONFIG_MAPPING_NAMES):
        try:
            kind = CONFIG_MAPPING[type_name]
            room = inspect.getmodule(kind).__name__.rpartition(".")[0]
            modelling = __import__(f"{room}.modeling_{room.rpartition('.')[2]}", fromlist=["*"])
        except Exception:  # a type whose libraries are not installed
            continue
        base = getattr(library, kind.__name__.removesuffix("Config") + "Model", None)
        heads = [
            each
            for head in _HEADS
            for name, each in vars(modelling).items()
            if name.endswith(f"For{head}") and getattr(each, "config_class", None) is kind
        ][:1]
        for each in (base, *heads):
            if each is not None and getattr(each, "config_class", None) is kind:
                yield Network(
                    "transformers", f"{type_name}: {each.__name__}", lambda each=each, kind=kind: _made(each, kind)
                )


def _made(network: Any, kind: Any) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    config = small(kind)
    module = network(config)
    generator = torch.Generator().manual_seed(0)
    for each in module.parameters():
        each.data = torch.randn(each.shape, generator=generator, dtype=torch.float32) * 0.2
    return module, tuple(_inputs(module, config))


def _inputs(module: Any, config: Any) -> Iterator[torch.Tensor]:
    """The inputs by the names of forward, as many as stand in a row at its beginning."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = getattr(config, "vocab_size", None) or 99
    for name in list(inspect.signature(module.forward).parameters)[:3]:
        if name in ("input_ids", "decoder_input_ids"):
            yield torch.randint(3, min(vocabulary, 99), (2, 8), generator=generator)
        elif name in ("attention_mask", "decoder_attention_mask"):
            mask = torch.ones(2, 8, dtype=torch.int64)
            mask[1, 6:] = 0
            yield mask
        elif name == "pixel_values":
            side = getattr(config, "image_size", 32)
            side = side if isinstance(side, int) else 32
            yield torch.randn(2, getattr(config, "num_channels", 3), side, side, generator=generator)
        elif name == "input_values":
            yield torch.randn(2, 2000, generator=generator)
            return
        elif name == "input_features":
            yield torch.randn(2, getattr(config, "num_mel_bins", 16), 128, generator=generator)
            return
        else:
            return
