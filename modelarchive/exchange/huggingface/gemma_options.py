"""What the configurations of Gemma, Gemma 2, Gemma 3 and Qwen3 mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from modelarchive.exchange.huggingface import gemma
from modelarchive.exchange.huggingface.config import Config, as_a_decoder
from modelarchive.exchange.huggingface.rotary import one_of, rotary_of_layers
from modelarchive.exchange.huggingface.scoring import Scored, scores_of
from modelarchive.exchange.huggingface.traits import Traits
from modelarchive.exchange.huggingface.windows import kinds_of, windows_of
from modelarchive.ops.rotary import Rotary

if TYPE_CHECKING:
    from modelarchive import nn

#: Option -> its value where a configuration says none, family by family.
_USUAL: Final[dict[str, dict[str, Any]]] = {
    "qwen3": {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
              "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "tied": False,
              "max_position_embeddings": 32768, "pad_token_id": None},
    "gemma": {"vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
              "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256, "tied": True,
              "max_position_embeddings": 8192, "pad_token_id": 0},
    "gemma2": {"vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
               "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "tied": True,
               "max_position_embeddings": 8192, "pad_token_id": 0},
    "gemma3_text": {"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
                    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "tied": True,
                    "max_position_embeddings": 131072, "pad_token_id": 0},
}  # fmt: skip


def network(config: Config, traits: Traits, most_layers: int, *, kind: str) -> nn.Block | None:
    """The network that a configuration means; None where it has problems, which it lists."""
    as_a_decoder(config)
    usual, is_gemma, is_capped = _USUAL[kind], kind != "qwen3", kind in ("gemma2", "gemma3_text")
    size = {name: config.size(name, default=usual[name]) for name in ("vocab_size", "hidden_size", "intermediate_size")}
    layers = config.size("num_hidden_layers", default=usual["num_hidden_layers"], most=most_layers)
    heads = config.size("num_attention_heads", default=usual["num_attention_heads"])
    kv_heads = config.size(
        "num_key_value_heads", default=usual["num_key_value_heads"], null=None if is_gemma else heads
    )
    head_dim = config.size("head_dim", default=usual["head_dim"])
    if heads % kv_heads:
        config.refuse("num_key_value_heads", f"is {kv_heads}, which does not divide num_attention_heads {heads}")
    if head_dim % 2:
        config.refuse("head_dim", f"is {head_dim}, expected an even number")
    longest = config.size("max_position_embeddings", default=usual["max_position_embeddings"])
    windows = _windows(config, layers, kind)
    tied = config.flag("tie_word_embeddings", default=usual["tied"])
    settings = gemma.Settings(
        vocabulary=size["vocab_size"],
        units=size["hidden_size"],
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        hidden_units=size["intermediate_size"],
        epsilon=config.number("rms_norm_eps", default=1e-6),
        activation=_activation(config, kind),
        use_bias=config.flag("attention_bias", default=False),
        scale=(config.number("query_pre_attn_scalar", default=256) if is_capped else head_dim) ** -0.5,
        rotary=_rotary(config, head_dim, longest, windows, kind),
        windows=windows,
        is_gemma=is_gemma,
        norms_behind=is_capped,
        norms_heads=kind in ("gemma3_text", "qwen3"),
        blind_get_mean=kind == "gemma2",
        score_cap=_cap(config, "attn_logit_softcapping", 50.0 if kind == "gemma2" else None, kind),
        logit_cap=_cap(config, "final_logit_softcapping", 30.0 if kind == "gemma2" else None, kind),
        padding=config.index("pad_token_id", default=usual["pad_token_id"], below=size["vocab_size"]),
        tied=tied if traits.is_tied is None else traits.is_tied,
    )  # fmt: skip
    scores = scores_of(config, traits.head)
    config.refuse_unknown(kind)
    if config.problems:
        return None
    if scores is not None:
        return Scored(gemma.Trunk(settings), "model", scores)
    return gemma.Trunk(settings, traits.pooling) if traits.head == "Model" else gemma.Guesser(settings)


def _activation(config: Config, kind: str) -> str | None:
    """Of the gate; the first Gemma's files say gelu where they mean its approximation."""
    if kind in ("gemma2", "gemma3_text"):
        return config.activation("hidden_activation", default="gelu_pytorch_tanh")
    found = config.activation("hidden_act", default="silu" if kind == "qwen3" else "gelu_pytorch_tanh")
    return "gelu_tanh" if kind == "gemma" and config.values.get("hidden_act") == "gelu" else found


def _cap(config: Config, name: str, usual: float | None, kind: str) -> float | None:
    if kind in ("gemma", "qwen3"):
        return None
    if name == "attn_logit_softcapping" and kind == "gemma3_text":
        config.only(name, why="transformers has the option, and does not cap scores of this family")
        return None
    if config.values.get(name, usual) is None:
        config.get(name)
        return None
    return config.number(name, default=usual or 1.0)


def _windows(config: Config, layers: int, kind: str) -> tuple[int, ...]:
    """How far each layer looks back; 0: to the beginning."""
    if kind == "qwen3":
        window, windowed = windows_of(config, layers, "qwen2")
        return tuple(window if each else 0 for each in windowed)
    config.only("use_bidirectional_attention", False, why="the family is read as a decoder")
    if kind == "gemma":
        return (0,) * layers
    every = 2
    if kind == "gemma3_text":
        every = config.size("sliding_window_pattern", "_sliding_window_pattern", default=6)
    kinds = kinds_of(config, layers)
    windowed = kinds if kinds is not None else tuple(bool((at + 1) % every) for at in range(layers))
    window = config.size("sliding_window", default=4096) if any(windowed) else 0
    config.get("sliding_window")
    return tuple(window if each else 0 for each in windowed)


def _rotary(config: Config, head_dim: int, longest: int, windows: tuple[int, ...], kind: str) -> tuple[Rotary, ...]:
    """How positions turn queries and keys, layer by layer."""
    if kind != "gemma3_text":
        return (one_of(config, head_dim, longest=longest),) * len(windows)
    return rotary_of_layers(
        config, head_dim, tuple(map(bool, windows)), longest=longest, bases=("rope_theta", "rope_local_base_freq"),
        usual=(1e6, 1e4), scales_both=False,
    )  # fmt: skip
