"""The Transformer, encoder and decoder (Vaswani et al. 2017, arXiv:1706.03762)."""

from __future__ import annotations

import math
from typing import Any

from modelarchive import nn, ops


class EncoderLayer(nn.Block):
    """Self-attention, then two dense layers at each place; arguments as for :class:`Transformer`.

    Parameter names are those of ``torch.nn.TransformerEncoderLayer``.
    """

    def __init__(self, units: int, heads: int, hidden_units: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiHeadAttention(units, heads, packed=True)
        self.linear1 = nn.Dense(hidden_units, "relu", flatten=False)
        self.linear2 = nn.Dense(units, flatten=False)
        self.norm1 = nn.LayerNorm()
        self.norm2 = nn.LayerNorm()

    def forward(self, x: Any, mask: Any = None) -> Any:
        """``(batch, length, units)``; mask ``(batch, 1, 1, length)``, True where there is a word."""
        x = self.norm1(x + self.self_attn(x, x, x, mask))
        return self.norm2(x + self.linear2(self.linear1(x)))


class DecoderLayer(nn.Block):
    """Self-attention to what came before, attention to the encoder's output, two dense layers.

    Parameter names are those of ``torch.nn.TransformerDecoderLayer``.
    """

    def __init__(self, units: int, heads: int, hidden_units: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiHeadAttention(units, heads, packed=True, causal=True)
        self.multihead_attn = nn.MultiHeadAttention(units, heads, packed=True)
        self.linear1 = nn.Dense(hidden_units, "relu", flatten=False)
        self.linear2 = nn.Dense(units, flatten=False)
        self.norm1 = nn.LayerNorm()
        self.norm2 = nn.LayerNorm()
        self.norm3 = nn.LayerNorm()

    def forward(self, x: Any, memory: Any, mask: Any = None) -> Any:
        """``(batch, length, units)``; `memory` and its mask as the encoder gave and got them."""
        x = self.norm1(x + self.self_attn(x))
        x = self.norm2(x + self.multihead_attn(x, memory, memory, mask))
        return self.norm3(x + self.linear2(self.linear1(x)))


class TransformerEncoder(nn.Block):
    """Layers one after another; arguments as for :class:`Transformer`."""

    def __init__(self, layers: int = 6, units: int = 512, heads: int = 8, hidden_units: int = 2048) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(EncoderLayer(units, heads, hidden_units) for _ in range(layers)))

    def forward(self, x: Any, mask: Any = None) -> Any:
        """``(batch, length, units)``."""
        for layer in self.layers:
            x = layer(x, mask)
        return x


class TransformerDecoder(nn.Block):
    """Layers one after another; arguments as for :class:`Transformer`."""

    def __init__(self, layers: int = 6, units: int = 512, heads: int = 8, hidden_units: int = 2048) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(DecoderLayer(units, heads, hidden_units) for _ in range(layers)))

    def forward(self, x: Any, memory: Any, mask: Any = None) -> Any:
        """``(batch, length, units)``."""
        for layer in self.layers:
            x = layer(x, memory, mask)
        return x


class Transformer(nn.Block):
    """Translates: an encoder reads the source, a decoder writes the target; the defaults are the paper's base.

    Inputs: source, ints ``(batch, source length)``; target so far, ints ``(batch, target length)``; mask,
    bool ``(batch, source length)``, True for words and False for padding, which may be left out. Output:
    logits ``(batch, target length, target_words)``. Parameter names within encoder and decoder are those of
    ``torch.nn.Transformer``.

    Args:
        source_words: Number of words of the source's language.
        target_words: Number of words of the target's.
        layers: Layers of encoder and decoder, each.
        units: Width of the network.
        heads: Attention heads of each layer.
        hidden_units: Width of the dense layer between.
    """

    def __init__(
        self,
        source_words: int,
        target_words: int,
        layers: int = 6,
        units: int = 512,
        heads: int = 8,
        hidden_units: int = 2048,
    ) -> None:
        super().__init__()
        self.scale = math.sqrt(units)
        self.source = nn.Embedding(source_words, units)
        self.target = nn.Embedding(target_words, units)
        self.position = nn.PositionalEmbedding("sinusoidal")
        self.encoder = TransformerEncoder(layers, units, heads, hidden_units)
        self.decoder = TransformerDecoder(layers, units, heads, hidden_units)
        self.output = nn.Dense(target_words, flatten=False)

    def forward(self, source: Any, target: Any, mask: Any = None) -> Any:
        """Logits of the next word at every place of the target."""
        seen = None if mask is None else ops.expand_dims(mask, (1, 2))
        memory = self.encoder(self.position(self.source(source) * self.scale), seen)
        x = self.decoder(self.position(self.target(target) * self.scale), memory, seen)
        return self.output(x)
