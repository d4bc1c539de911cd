"""Classifiers of texts that read word by word."""

from __future__ import annotations

from typing import Any

from modelarchive import nn, ops


class _Classifier(nn.Block):
    encoder: nn.LSTM | nn.GRU

    def __init__(self, vocabulary: int, classes: int, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, units)
        self.decoder = nn.Dense(classes)

    def forward(self, words: Any) -> Any:
        """Ints ``(batch, length)`` to logits ``(batch, classes)``."""
        y = self.encoder(self.embedding(words))
        # The first and the last step together know the whole text, in both directions.
        return self.decoder(ops.concatenate([y[:, 0], y[:, -1]], axis=1))


class LSTMClassifier(_Classifier):
    """Embedding, a bidirectional LSTM, a dense layer: for sentiment, or for the language of a name.

    Input: words, ints ``(batch, length)``; output ``(batch, classes)``, logits.

    Args:
        vocabulary: Number of words.
        classes: Size of the output.
        units: Width of the embedding.
        hidden_units: Width of each direction.
        layers: Number of layers.
    """

    def __init__(
        self, vocabulary: int, classes: int = 2, units: int = 100, hidden_units: int = 100, layers: int = 2
    ) -> None:
        super().__init__(vocabulary, classes, units)
        self.encoder = nn.LSTM(hidden_units, layers, layout="NTC", bidirectional=True)


class GRUClassifier(_Classifier):
    """The same with a GRU; arguments as for :class:`LSTMClassifier`."""

    def __init__(
        self, vocabulary: int, classes: int = 2, units: int = 100, hidden_units: int = 100, layers: int = 2
    ) -> None:
        super().__init__(vocabulary, classes, units)
        self.encoder = nn.GRU(hidden_units, layers, layout="NTC", bidirectional=True)
