"""Networks like BERT: BERT itself, RoBERTa, DistilBERT and ELECTRA, with the heads that transformers puts on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from modelarchive import nn, ops
from modelarchive.exchange.huggingface.sentences import Pooling, prepare, vector
from modelarchive.zoo import bert

#: What the networks take, in the order of their arguments; all but the first may be left out from the end.
INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Settings:
    """What a network like BERT is made of.

    Attributes:
        vocabulary: Number of words.
        embedding_units: Width of the embeddings.
        units: Width of the network.
        layers: Number of layers.
        heads: Attention heads of each.
        hidden_units: Width between.
        max_length: Rows of the positions.
        segments: Number of segments that a text may have; 0: the family has none.
        epsilon: Added to variances.
        activation: Of the wide layers.
        padding: The word that fills up short texts.
        counts_words: Whether positions count the words that are no padding, from ``padding + 1`` on (RoBERTa).
        has_pooler: Whether a dense layer on the first word stands for the whole text.
        labels: Classes of a head.
        tied: Whether the layer that guesses words has the embedding's weight.
    """

    vocabulary: int
    embedding_units: int
    units: int
    layers: int
    heads: int
    hidden_units: int
    max_length: int
    segments: int
    epsilon: float
    activation: str | None
    padding: int | None
    counts_words: bool = False
    has_pooler: bool = False
    labels: int = 2
    tied: bool = True


class _Embeddings(nn.Block):
    """Words, segments and positions, summed and normalised."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width = settings.embedding_units
        self.word_embeddings = nn.Embedding(settings.vocabulary, width, padding_idx=settings.padding)
        if settings.counts_words:
            self.position_embeddings: nn.Block = nn.Embedding(settings.max_length, width, padding_idx=settings.padding)
            self.padding = settings.padding
        else:
            self.position_embeddings = nn.PositionalEmbedding("learned", settings.max_length, width)
        if settings.segments:
            self.token_type_embeddings = nn.Embedding(settings.segments, width)
        self.has_segments = bool(settings.segments)
        self.counts_words = settings.counts_words
        self.LayerNorm = nn.LayerNorm(epsilon=settings.epsilon)

    def forward(self, words: Any, segments: Any = None) -> Any:
        """Ints ``(batch, length)`` to ``(batch, length, units)``."""
        x = self.word_embeddings(words)
        if self.has_segments and segments is None:
            x = x + self.token_type_embeddings.weight.data()[0]
        elif self.has_segments:
            x = x + self.token_type_embeddings(segments)
        if not self.counts_words:
            return self.LayerNorm(self.position_embeddings(x))
        is_word = ops.cast(words != self.padding, dtype="int64")
        places = ops.cumsum(is_word, axis=1) * is_word + self.padding
        return self.LayerNorm(x + self.position_embeddings(places))


class Trunk(nn.Block):
    """Embeddings, layers and pooler: what all models of the family have.

    Args:
        settings: What it is made of.
        pooling: None; or how the places become one vector, which is the output then.
    """

    def __init__(self, settings: Settings, pooling: Pooling | None = None) -> None:
        super().__init__()
        self.embeddings = _Embeddings(settings)
        if settings.embedding_units != settings.units:
            self.embeddings_project = nn.Dense(settings.units, flatten=False)
        self.is_projected = settings.embedding_units != settings.units
        self.encoder = bert.Encoder(
            settings.layers,
            settings.units,
            settings.hidden_units,
            settings.heads,
            settings.epsilon,
            settings.activation,
        )
        if settings.has_pooler:
            self.pooler = bert.Pooler(settings.units)
        self.has_pooler = settings.has_pooler
        self.pooling = pooling
        prepare(self, pooling)

    def forward(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None) -> Any:
        """Every place ``(batch, length, units)``, and the whole ``(batch, units)`` where there is a pooler."""
        mask = ops.equal(input_ids, input_ids) if attention_mask is None else attention_mask
        # Scores this low are 0 after softmax, in every dtype.
        bias = (1 - ops.cast(mask, dtype="float32"))[:, None, None, :] * -1e9
        x = self.embeddings(input_ids) if token_type_ids is None else self.embeddings(input_ids, token_type_ids)
        if self.is_projected:
            x = self.embeddings_project(x)
        x = self.encoder(x, bias)
        if self.pooling is not None:
            return vector(self, self.pooling, x, input_ids, mask)
        return (x, self.pooler(x)) if self.has_pooler else x
