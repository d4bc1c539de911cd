"""A configuration for a network that came without one: guessed from its blocks, for others to compare with it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from modelarchive import nn
from modelarchive.architecture import build, building
from modelarchive.exchange.huggingface.config import ACTIVATIONS

#: Ours -> the name in transformers that is most used.
_THEIRS: Final = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())} | {"gelu_tanh": "gelu_new"}
#: A block beside the trunk -> end of the class name, for the families that have it.
_HEADS: Final = {
    "discriminator_predictions": "ForPreTraining",
    "generator_predictions": "ForMaskedLM",
    "vocab_projector": "ForMaskedLM",
    "qa_outputs": "ForQuestionAnswering",
    "pre_classifier": "ForSequenceClassification",
    "lm_head": "ForMaskedLM",
}
_CLASSES: Final = {"bert": "Bert", "roberta": "Roberta", "distilbert": "DistilBert", "electra": "Electra"}


def configurations(architecture: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Configurations that the network may have; none where it looks like none of the families.

    They are guesses: what each means is to be compared with the architecture.
    """
    network = build(dict(architecture))
    blocks = dict(network.named_blocks())
    try:
        if _block(blocks, "h.0.attn", "transformer.h.0.attn") is not None:
            yield from _gpt2(blocks)
        elif _block(blocks, "layers.0.self_attn", "model.layers.0.self_attn") is not None:
            yield from _llama(blocks)
        elif any(path.endswith("embeddings.word_embeddings") for path in blocks):
            yield from _bert(architecture["model"], blocks)
    except (AttributeError, KeyError, TypeError, IndexError):
        return  # something else stands where that family has its parts


def _block(blocks: Mapping[str, Any], *paths: str) -> Any:
    return next((blocks[path] for path in paths if path in blocks), None)


def _gpt2(blocks: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    at = "transformer." if "transformer.wte" in blocks else ""
    attention, dense = blocks[f"{at}h.0.attn"], blocks[f"{at}h.0.mlp.c_fc"]
    config = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel" if "lm_head" in blocks else "GPT2Model"],
        "vocab_size": blocks[f"{at}wte"].input_dim,
        "n_positions": blocks[f"{at}wpe"].max_length,
        "n_embd": attention.units,
        "n_layer": _count(blocks, f"{at}h"),
        "n_head": attention.num_heads,
        "n_inner": dense.units,
        "activation_function": _THEIRS[dense.activation],
        "layer_norm_epsilon": blocks[f"{at}ln_f"].epsilon,
    }
    for is_scaled, by_layer in itertools.product((True, False), (False, True)):
        yield config | {"scale_attn_weights": is_scaled, "scale_attn_by_inverse_layer_idx": by_layer}


def _llama(blocks: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    at = "model." if "model.embed_tokens" in blocks else ""
    attention, gate = blocks[f"{at}layers.0.self_attn"], blocks[f"{at}layers.0.mlp.gate_proj"]
    kind = "qwen2" if attention.use_bias == (True, True, True, False) else "llama"
    rotary = attention.rotary
    rope: dict[str, Any] = {"rope_theta": rotary["base"], "rope_type": "default"}
    if rotary["scaling"]:
        numbers = dict(rotary["scaling"])
        rope |= {"rope_type": numbers.pop("type"), **numbers}
        if "original_max_position" in rope:
            rope["original_max_position_embeddings"] = int(rope.pop("original_max_position"))
    # The older spelling beside the newer: transformers 4 knows that alone.
    older = {"rope_theta": rope["rope_theta"]} | ({"rope_scaling": rope} if rotary["scaling"] else {})
    head = "ForCausalLM" if "lm_head" in blocks else "Model"
    yield (
        {
            "model_type": kind,
            "architectures": [("Qwen2" if kind == "qwen2" else "Llama") + head],
            "vocab_size": blocks[f"{at}embed_tokens"].input_dim,
            "hidden_size": attention.units,
            "num_hidden_layers": _count(blocks, f"{at}layers"),
            "num_attention_heads": attention.num_heads,
            "num_key_value_heads": attention.num_kv_heads,
            "head_dim": attention.head_dim,
            "intermediate_size": gate.units,
            "hidden_act": _THEIRS[gate.activation],
            "rms_norm_eps": blocks[f"{at}norm"].epsilon,
            "rope_parameters": rope,
            "pad_token_id": blocks[f"{at}embed_tokens"].padding_idx,
        }
        | older
        | ({} if kind == "qwen2" else {"attention_bias": attention.use_bias[0], "mlp_bias": gate.use_bias})
    )


def _bert(model: Mapping[str, Any], blocks: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    prefix = next((f"{name}." for name in _CLASSES if f"{name}.embeddings" in blocks), "")
    words, norm = blocks[f"{prefix}embeddings.word_embeddings"], blocks[f"{prefix}embeddings.LayerNorm"]
    positions, segments = (blocks.get(f"{prefix}embeddings.{name}_embeddings") for name in ("position", "token_type"))
    wide, query = (blocks[f"{prefix}encoder.layer.0.{name}"] for name in ("intermediate.dense", "attention.self.query"))
    # Of the shapes [null, null, heads, -1] in which attention lays its heads apart.
    part = building.part({"vocabulary": 1, "inputs": [], "model": model}, f"{prefix}encoder.layer.0.attention.self")
    shapes = [node["arguments"]["shape"] for node in part.architecture["model"]["nodes"] if node.get("op") == "reshape"]
    heads = next(shape[2] for shape in shapes if len(shape) == 4)
    kind = prefix.removesuffix(".")
    if not kind:
        kind = "electra" if "embeddings_project" in blocks else "distilbert" if segments is None else "bert"
        kind = "roberta" if isinstance(positions, nn.Embedding) else kind
    config: dict[str, Any] = {
        "model_type": kind,
        "vocab_size": words.input_dim,
        "max_position_embeddings": getattr(positions, "max_length", None) or positions.input_dim,  # type: ignore[union-attr]
        "pad_token_id": words.padding_idx,
    }
    if kind == "distilbert":
        config |= {"dim": query.units, "n_layers": _count(blocks, f"{prefix}encoder.layer"), "n_heads": heads}
        config |= {"hidden_dim": wide.units, "activation": _THEIRS[wide.activation]}
    else:
        config |= {
            "hidden_size": query.units,
            "num_hidden_layers": _count(blocks, f"{prefix}encoder.layer"),
            "num_attention_heads": heads,
            "intermediate_size": wide.units,
            "type_vocab_size": segments.input_dim,  # type: ignore[union-attr]
            "hidden_act": _THEIRS[wide.activation],
            "layer_norm_eps": norm.epsilon,
        }
    if kind == "electra":
        config["embedding_size"] = words.output_dim
    labels = _block(blocks, "classifier.out_proj", "classifier")
    if labels is not None:
        config["id2label"] = {str(at): f"LABEL_{at}" for at in range(labels.units)}
    for head in _heads(blocks, prefix):
        yield config | {"architectures": [_CLASSES[kind] + head]}


def _heads(blocks: Mapping[str, Any], prefix: str) -> list[str]:
    """Ends of the class names that the blocks beside the trunk may mean."""
    if not prefix:
        return ["Model"]
    found = [head for name, head in _HEADS.items() if name in blocks]
    if "cls" in blocks:
        both = [name in blocks for name in ("cls.predictions", "cls.seq_relationship")]
        found = ["ForPreTraining" if all(both) else "ForMaskedLM" if both[0] else "ForNextSentencePrediction"]
    return found or ["ForSequenceClassification", "ForTokenClassification"]


def _count(blocks: Mapping[str, Any], path: str) -> int:
    return len(blocks[path].children)
