"""GPT-2 of any shape that its configuration can say."""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelarchive import nn
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


def trunk(settings: Settings) -> nn.Sequential:
    """``GPT2Model``: words ``(batch, length)`` to ``(batch, length, units)``."""
    return nn.Sequential().add(
        wte=nn.Embedding(settings.vocabulary, settings.units),
        wpe=nn.PositionalEmbedding("learned", settings.max_length, settings.units),
        h=nn.Sequential(*(_layer(settings, at) for at in range(settings.layers))),
        ln_f=nn.LayerNorm(epsilon=settings.epsilon),
    )


def guesser(settings: Settings, *, is_flat: bool = False) -> nn.Sequential:
    """``GPT2LMHeadModel``: words to logits ``(batch, length, vocabulary)``; flat as :class:`modelarchive.zoo.GPT2`."""
    transformer = trunk(settings)
    output = nn.Dense(settings.vocabulary, use_bias=False, flatten=False, in_units=settings.units)
    if settings.tied:
        output.weight = transformer.children["wte"].parameters["weight"]
    parts = dict(transformer.children) if is_flat else {"transformer": transformer}
    return nn.Sequential().add(**parts, lm_head=output)


def _layer(settings: Settings, at: int) -> DecoderLayer:
    scale = 1 / math.sqrt(settings.units // settings.heads) if settings.is_scaled else 1.0
    if settings.is_scaled_by_layer:
        scale /= at + 1
    return DecoderLayer(
        settings.units, settings.heads, settings.hidden_units, settings.activation, settings.epsilon, scale
    )
