"""GPT-2 of any shape that its configuration can say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from modelarchive import nn, ops
from modelarchive.zoo.gpt2 import DecoderLayer


@dataclass(frozen=True)
class Settings:
    """What a GPT-2 is made of.

    Attributes:
        vocabulary: Number of words.
        units: Width of the network.
        layers: Number of layers.
        heads: Attention heads of each.
        hidden_units: Width between.
        max_length: Longest text.
        epsilon: Added to variances.
        activation: Of the wide layers.
        is_scaled: Whether scores are divided by the root of a head's size.
        is_scaled_by_layer: Whether scores are divided by the layer's number too, counted from 1.
        tied: Whether the last layer has the embedding's weight.
    """

    vocabulary: int
    units: int
    layers: int
    heads: int
    hidden_units: int
    max_length: int
    epsilon: float
    activation: str | None
    is_scaled: bool
    is_scaled_by_layer: bool
    tied: bool


def trunk(settings: Settings, *, has_mask: bool = False) -> nn.Block:
    """``GPT2Model``: words ``(batch, length)``, and a mask of them, to ``(batch, length, units)``."""
    masked = _MaskedTrunk(settings)
    return masked if has_mask else nn.Sequential().add(**masked.children)


class _MaskedTrunk(nn.Block):
    """The trunk with a second input: 1 for words, 0 for padding, which no place looks at."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.wte = nn.Embedding(settings.vocabulary, settings.units)
        self.wpe = nn.PositionalEmbedding("learned", settings.max_length, settings.units)
        self.h = nn.Sequential(*(_layer(settings, at) for at in range(settings.layers)))
        self.ln_f = nn.LayerNorm(epsilon=settings.epsilon)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """All places."""
        mask = words_of(attention_mask)
        x = self.wpe(self.wte(input_ids))
        for layer in self.h:
            x = layer(x, mask)
        return self.ln_f(x)


def words_of(attention_mask: Any) -> Any:
    """Mask ``(batch, 1, 1, length)``: True where a text has a word, False where it is filled up."""
    return ops.cast(attention_mask, dtype="bool")[:, None, None, :]


def guesser(settings: Settings, *, has_mask: bool = False, is_flat: bool = False) -> nn.Sequential:
    """``GPT2LMHeadModel``: words to logits ``(batch, length, vocabulary)``; flat as :class:`modelarchive.zoo.GPT2`."""
    transformer = trunk(settings, has_mask=has_mask)
    output = nn.Dense(settings.vocabulary, use_bias=False, flatten=False, in_units=settings.units)
    if settings.tied:
        output.weight = transformer.children["wte"].parameters["weight"]
    parts = dict(transformer.children) if is_flat and not has_mask else {"transformer": transformer}
    return nn.Sequential().add(**parts, lm_head=output)


def _layer(settings: Settings, at: int) -> DecoderLayer:
    scale = 1 / math.sqrt(settings.units // settings.heads) if settings.is_scaled else 1.0
    if settings.is_scaled_by_layer:
        scale /= at + 1
    return DecoderLayer(
        settings.units, settings.heads, settings.hidden_units, settings.activation, settings.epsilon, scale
    )
