"""BERT (Devlin et al. 2018, arXiv:1810.04805), and sentence embeddings from it as MiniLM computes them."""

from __future__ import annotations

import math
from typing import Any

from modelarchive import nn, ops


class Embeddings(nn.Block):
    """Words, places and segments, summed and normalised.

    Args:
        vocabulary: Number of words.
        units: Width of the network.
        max_length: Longest text.
        segments: Number of segments that a text may have.
        epsilon: Added to variances.
    """

    def __init__(self, vocabulary: int, units: int, max_length: int, segments: int, epsilon: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, units, padding_idx=0)
        self.position_embeddings = nn.PositionalEmbedding("learned", max_length, units)
        self.token_type_embeddings = nn.Embedding(segments, units)
        self.LayerNorm = nn.LayerNorm(epsilon=epsilon)

    def forward(self, words: Any, segments: Any = None) -> Any:
        """Ints ``(batch, length)`` to ``(batch, length, units)``."""
        x = self.word_embeddings(words)
        if segments is None:
            x = x + self.token_type_embeddings.weight.data()[0]
        else:
            x = x + self.token_type_embeddings(segments)
        return self.LayerNorm(self.position_embeddings(x))


class SelfAttention(nn.Block):
    """Every word looks at every word that the mask lets it see.

    Args:
        units: Width of the network.
        heads: Into how many heads it falls.
    """

    def __init__(self, units: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(units // heads)
        self.query = nn.Dense(units, flatten=False)
        self.key = nn.Dense(units, flatten=False)
        self.value = nn.Dense(units, flatten=False)

    def forward(self, x: Any, bias: Any) -> Any:
        """``(batch, length, units)``; `bias` is added to the scores ``(batch, heads, length, length)``."""
        query, key, value = (self._apart(layer(x)) for layer in (self.query, self.key, self.value))
        scores = ops.matmul(query * self.scale, key.swapaxes(2, 3)) + bias
        joined = ops.matmul(ops.softmax(scores), value).transpose(0, 2, 1, 3)
        return ops.reshape(joined, (None, None, -1))

    def _apart(self, x: Any) -> Any:
        """``(batch, length, units)`` to ``(batch, heads, length, units / heads)``."""
        return ops.reshape(x, (None, None, self.heads, -1)).transpose(0, 2, 1, 3)


class Output(nn.Block):
    """A dense layer, added to what was before it, normalised."""

    def __init__(self, units: int, epsilon: float) -> None:
        super().__init__()
        self.dense = nn.Dense(units, flatten=False)
        self.LayerNorm = nn.LayerNorm(epsilon=epsilon)

    def forward(self, x: Any, before: Any) -> Any:
        """``(batch, length, units)``."""
        return self.LayerNorm(self.dense(x) + before)


class Attention(nn.Block):
    """Self-attention and its output; arguments as for :class:`BERT`."""

    def __init__(self, units: int, heads: int, epsilon: float) -> None:
        super().__init__()
        self.self = SelfAttention(units, heads)
        self.output = Output(units, epsilon)

    def forward(self, x: Any, bias: Any) -> Any:
        """``(batch, length, units)``."""
        return self.output(self.self(x, bias), x)


class Intermediate(nn.Block):
    """The wide layer between; arguments as for :class:`BERT`."""

    def __init__(self, hidden_units: int, activation: str | None = "gelu") -> None:
        super().__init__()
        self.dense = nn.Dense(hidden_units, activation, flatten=False)

    def forward(self, x: Any) -> Any:
        """``(batch, length, units)`` to ``(batch, length, hidden_units)``."""
        return self.dense(x)


class EncoderLayer(nn.Block):
    """Attention, then two dense layers at each place; arguments as for :class:`BERT`."""

    def __init__(
        self, units: int, hidden_units: int, heads: int, epsilon: float, activation: str | None = "gelu"
    ) -> None:
        super().__init__()
        self.attention = Attention(units, heads, epsilon)
        self.intermediate = Intermediate(hidden_units, activation)
        self.output = Output(units, epsilon)

    def forward(self, x: Any, bias: Any) -> Any:
        """``(batch, length, units)``."""
        x = self.attention(x, bias)
        return self.output(self.intermediate(x), x)


class Encoder(nn.Block):
    """Layers one after another; arguments as for :class:`BERT`."""

    def __init__(
        self,
        layers: int,
        units: int,
        hidden_units: int,
        heads: int,
        epsilon: float,
        activation: str | None = "gelu",
    ) -> None:
        super().__init__()
        layer = (units, hidden_units, heads, epsilon, activation)
        self.layer = nn.Sequential(*(EncoderLayer(*layer) for _ in range(layers)))

    def forward(self, x: Any, bias: Any) -> Any:
        """``(batch, length, units)``."""
        for layer in self.layer:
            x = layer(x, bias)
        return x


class Pooler(nn.Block):
    """What stands for the whole text: a dense layer on the first word."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.dense = nn.Dense(units, "tanh", in_units=units)

    def forward(self, x: Any) -> Any:
        """``(batch, length, units)`` to ``(batch, units)``."""
        return self.dense(x[:, 0])


class BERT(nn.Block):
    """A Transformer encoder of words; the defaults are BERT base.

    Inputs: words, ints ``(batch, length)``; mask, 1 for words and 0 for padding; segments, ints, 0 where
    they are left out. Outputs: ``(batch, length, units)``, and ``(batch, units)`` for the whole text.
    Parameter names are those of ``transformers.BertModel``.

    Args:
        vocabulary: Number of words.
        units: Width of the network.
        layers: Number of layers.
        heads: Attention heads of each.
        hidden_units: Width between.
        max_length: Longest text.
        segments: Number of segments that a text may have.
        epsilon: Added to variances.
    """

    def __init__(
        self,
        vocabulary: int = 30522,
        units: int = 768,
        layers: int = 12,
        heads: int = 12,
        hidden_units: int = 3072,
        max_length: int = 512,
        segments: int = 2,
        epsilon: float = 1e-12,
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, units, max_length, segments, epsilon)
        self.encoder = Encoder(layers, units, hidden_units, heads, epsilon)
        self.pooler = Pooler(units)

    def encoded(self, words: Any, mask: Any, segments: Any = None) -> Any:
        """``(batch, length, units)``."""
        # Scores this low are 0 after softmax, in every dtype.
        bias = (1 - ops.cast(mask, dtype="float32"))[:, None, None, :] * -1e9
        x = self.embeddings(words) if segments is None else self.embeddings(words, segments)
        return self.encoder(x, bias)

    def forward(self, words: Any, mask: Any, segments: Any = None) -> Any:
        """Every place, and the whole."""
        x = self.encoded(words, mask, segments)
        return x, self.pooler(x)


class SentenceEncoder(BERT):
    """BERT's places averaged over the words and scaled to length 1: sentence embeddings.

    The arguments are those of :class:`BERT`, inputs words and mask, output ``(batch, units)``. The scalar
    product of two outputs says how near two sentences are (Reimers and Gurevych 2019, arXiv:1908.10084).
    """

    def forward(self, words: Any, mask: Any, segments: Any = None) -> Any:
        """Embeddings; the pooler, which they do not need, is kept with its parameters."""
        x = self.encoded(words, mask, segments)
        weight = ops.cast(mask, dtype="float32")[:, :, None]
        mean = (x * weight).sum(axis=1) / ops.maximum(weight.sum(axis=1), 1e-9)
        return mean / ops.maximum(ops.sqrt((mean * mean).sum(axis=1, keepdims=True)), 1e-12)


def minilm_l6() -> SentenceEncoder:
    """The shape of ``sentence-transformers/all-MiniLM-L6-v2``: 6 layers, 384 units, 12 heads."""
    return SentenceEncoder(units=384, layers=6, heads=12, hidden_units=1536)
