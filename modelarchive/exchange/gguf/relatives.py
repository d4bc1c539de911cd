"""Architectures that llama.cpp has a name of its own for, read as a network of transformers that is the same."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.gguf.architecture import Architecture
from modelarchive.exchange.gguf.naming import table

#: None of them is written: a network is written as the architecture that it has the name of.
RELATIVES: Final[tuple[Architecture, ...]] = (
    Architecture(
        "internlm2",
        "llama",
        "LlamaForCausalLM",
        table("sizes"),
        table("llama_names"),
        fixed={"hidden_act": "silu"},
        told=table("all_biased"),
        permuted=True,
        is_written=False,
    ),
    # Of texts alone, the three places of a word are one.
    Architecture(
        "qwen2vl",
        "qwen2",
        "Qwen2ForCausalLM",
        table("sizes"),
        table("llama_names"),
        fixed={"hidden_act": "silu"},
        idle=table("seen"),
        is_written=False,
    ),
    Architecture(
        "qwen3vl",
        "qwen3",
        "Qwen3ForCausalLM",
        {**table("sizes"), "attention.key_length": ("head_dim", "uint32")},
        table("llama_names", "normed"),
        fixed={"hidden_act": "silu", "attention_bias": False},
        idle=table("seen"),
        is_written=False,
    ),
    # MiniCPM scales as Granite does, but for the scores of attention.
    Architecture(
        "minicpm",
        "granite",
        "GraniteForCausalLM",
        table("sizes", "scales"),
        table("llama_names"),
        fixed={"hidden_act": "silu"},
        told=table("all_biased"),
        permuted=True,
        is_written=False,
        usual={"attention.scale": None},
    ),
)
