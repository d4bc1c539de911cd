"""Llama, Mistral and Qwen2: one network with options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelarchive import nn, ops
from modelarchive.exchange.huggingface.gpt2 import words_of
from modelarchive.exchange.huggingface.sentences import Pooling, prepare, vector
from modelarchive.zoo.llama import DecoderLayer


@dataclass(frozen=True)
class Settings:
    """What a network like Llama is made of.

    Attributes:
        vocabulary: Number of words.
        units: Width of the network.
        layers: Number of layers.
        heads: Heads of the queries.
        kv_heads: Heads of keys and values.
        head_dim: Size of a head.
        hidden_units: Width of the gated layers.
        epsilon: Added to mean squares.
        activation: Of the gate.
        rotary: How positions turn queries and keys.
        use_bias: Whether the projections q, k, v and out have a bias.
        use_mlp_bias: Whether the gated layers have.
        window: How many places a layer with a window looks back, its own included; 0: no layer has one.
        windowed: Which layers have.
        padding: The word that fills up short texts.
        tied: Whether the last layer has the embedding's weight.
    """

    vocabulary: int
    units: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden_units: int
    epsilon: float
    activation: str | None
    rotary: dict[str, Any]
    use_bias: tuple[bool, bool, bool, bool]
    use_mlp_bias: bool
    window: int
    windowed: tuple[bool, ...]
    padding: int | None
    tied: bool


class Trunk(nn.Block):
    """``LlamaModel``: words ``(batch, length)`` to ``(batch, length, units)``."""

    def __init__(self, settings: Settings, pooling: Pooling | None = None) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(settings.vocabulary, settings.units, padding_idx=settings.padding)
        self.layers = nn.Sequential(*(_layer(settings) for _ in range(settings.layers)))
        self.norm = nn.RMSNorm(epsilon=settings.epsilon)
        self.window = settings.window
        self.windowed = settings.windowed
        self.pooling = pooling
        prepare(self, pooling)

    def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
        """All places; each looks at the words before it, in some layers at the nearest of them only."""
        x = self.embed_tokens(input_ids)
        words = None if attention_mask is None else words_of(attention_mask)
        near = _near(input_ids, self.window) if any(self.windowed) else None
        both = near if words is None or near is None else ops.where(words, near, False)
        for layer, is_windowed in zip(self.layers, self.windowed, strict=True):
            mask = both if is_windowed else words
            x = layer(x) if mask is None else layer(x, mask)
        return vector(self, self.pooling, self.norm(x), input_ids, attention_mask)


def guesser(settings: Settings, *, has_mask: bool = False, is_flat: bool = False) -> nn.Sequential:
    """``LlamaForCausalLM``: words to logits ``(batch, length, vocabulary)``; flat as :class:`zoo.Llama`."""
    model = Trunk(settings)
    output = nn.Dense(settings.vocabulary, use_bias=False, flatten=False, in_units=settings.units)
    if settings.tied:
        output.weight = model.embed_tokens.weight
    # A Sequential of the same layers is the same network where none has a window, and there is no mask.
    parts = dict(model.children) if is_flat and not has_mask and not any(settings.windowed) else {"model": model}
    return nn.Sequential().add(**parts, lm_head=output)


def _layer(settings: Settings) -> DecoderLayer:
    return DecoderLayer(
        settings.units,
        settings.heads,
        settings.kv_heads,
        settings.hidden_units,
        settings.rotary,
        settings.epsilon,
        head_dim=settings.head_dim,
        use_bias=settings.use_bias,
        use_mlp_bias=settings.use_mlp_bias,
        activation=settings.activation,
    )


def _near(words: Any, window: int) -> Any:
    """Mask ``(batch, 1, length, length)``: True where a place, the row, is less than `window` back."""
    places = ops.cumsum(ops.cast(words == words, dtype="int64"), axis=1)  # of ones
    return (places[:, :, None] - places[:, None, :] < window)[:, None]
