"""The options of transformers' configuration as metadata of llama.cpp's architectures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from modelarchive.exchange.bundle import Note
from modelarchive.exchange.gguf.architecture import Architecture
from modelarchive.exchange.gguf.frequencies import llama3_factors

#: What is written where nothing says how long texts may be, which llama.cpp wants to know.
_CONTEXT: Final = 2048
#: Architectures of which the metadata say that nothing stretches positions.
_SAID_NONE: Final = ("cohere2", "command-r", "nemotron")
#: What transformers calls layers with a window.
_WINDOWED: Final = ("sliding_attention",)
#: Options of transformers that say how far layers look.
_WINDOWS: Final = ("sliding_window", "use_sliding_window", "max_window_layers", "layer_types")


def metadata_of(
    architecture: Architecture, config: Mapping[str, Any]
) -> tuple[dict[str, tuple[str, Any]], dict[str, np.ndarray], list[Note]]:
    """Metadata, and tensors that the options became.

    Args:
        architecture: What is written.
        config: What config.json says, with nothing left out that counts.

    Returns:
        Key -> type and value; name -> array; what was changed or lost.
    """
    found: dict[str, tuple[str, Any]] = {}
    tensors: dict[str, np.ndarray] = {}
    notes: list[Note] = []
    config = dict(config)
    rope = _rope(config)
    config["rope_theta"] = rope.get("rope_theta", 10000.0)
    if config.get(architecture.keys["context_length"][0]) is None:
        option = architecture.keys["context_length"][0]
        config[option] = _CONTEXT
        what = f"is written as {_CONTEXT:,}: nothing says how long texts may be"
        notes.append(Note(f"{architecture.name}.context_length", what))

    def put(key: str, kind: str, value: Any) -> None:
        found[f"{architecture.name}.{key}"] = (kind, value)

    for key, (option, kind) in architecture.keys.items():
        if config.get(option) is not None:
            put(key, kind, config[option])
    if architecture.name != "gpt2":
        length = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        for key in ("attention.key_length", "attention.value_length"):
            put(key, "uint32", length)
        share = rope.get("partial_rotary_factor", 1) if architecture.is_partly_turned else 1
        put("rope.dimension_count", "uint32", int(length * share))
    if architecture.listed:
        put("attention.sliding_window_pattern", "array of bool", [each in _WINDOWED for each in config["layer_types"]])
        put("rope.freq_base_swa", "float32", config["rope_theta"])
    put("vocab_size", "uint32", config["vocab_size"])
    if rope.get("rope_type") == "default" and architecture.name in _SAID_NONE:
        put("rope.scaling.type", "string", "none")
    if rope.get("rope_type") == "linear":
        put("rope.scaling.type", "string", "linear")
        put("rope.scaling.factor", "float32", rope["factor"])
    elif rope.get("rope_type") == "yarn":
        put("rope.scaling.type", "string", "yarn")
        put("rope.scaling.factor", "float32", rope["factor"])
        put("rope.scaling.original_context_length", "uint32", rope["original_max_position_embeddings"])
        for option in ("beta_fast", "beta_slow"):
            if rope.get(option) is not None:
                put(f"rope.scaling.yarn_{option}", "float32", rope[option])
    elif rope.get("rope_type") == "llama3":
        rope = {"original_max_position_embeddings": config["max_position_embeddings"], **rope}
        tensors["rope_freqs.weight"] = llama3_factors(length, rope["rope_theta"], rope)
    return found, tensors, notes


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary positions of layers without a window, in the spelling of transformers 5."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    found = dict(found.get("full_attention", found))
    found.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    if (share := config.get("partial_rotary_factor")) is not None:
        found.setdefault("partial_rotary_factor", share)
    found.setdefault("rope_type", found.get("type", "default"))
    return found


def without_window(architecture: Architecture, config: Mapping[str, Any]) -> tuple[dict[str, Any], list[Note]]:
    """The configuration as llama.cpp runs such networks, which know no windows in some architectures."""
    if architecture.window or "attention.sliding_window" in architecture.keys:
        return dict(config), []
    left = {key: value for key, value in config.items() if key not in _WINDOWS}
    if config.get("model_type") == "mistral":
        left["sliding_window"] = None
    window = config.get("sliding_window", 4096 if config.get("model_type") == "mistral" else None)
    is_used = config.get("use_sliding_window", config.get("model_type") != "qwen2")
    if window is None or not is_used or config.get("model_type") == "llama":
        return left, []
    what = f"is left out: {architecture.name} of llama.cpp has no windows; texts longer than {window} come otherwise"
    return left, [Note("sliding_window", what)]
