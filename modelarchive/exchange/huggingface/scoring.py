"""Decoders that tell texts or words apart: a trunk like GPT-2's or Llama's, and one dense layer behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from modelarchive import nn, ops
from modelarchive.exchange.huggingface.config import Config
from modelarchive.store.strict import short

TEXTS: Final = "ForSequenceClassification"
WORDS: Final = "ForTokenClassification"


@dataclass(frozen=True)
class _Scores:
    """What is told apart.

    Attributes:
        layer: Name of the dense layer.
        labels: How many classes there are.
        use_bias: Whether the layer has a bias.
        of_texts: Whether one answer is given for a text, at its last word that is no padding.
        padding: The word that fills up short texts; None: the last place of all is taken.
    """

    layer: str
    labels: int
    use_bias: bool
    of_texts: bool
    padding: int | None = None


def scores_of(config: Config, head: str, *, layer_of_words: str = "score") -> _Scores | None:
    """What a configuration says of such a head; None: the head is another."""
    if head.endswith(TEXTS):
        padding = config.get("pad_token_id")
        if padding is not None and type(padding) is not int:
            config.refuse("pad_token_id", f"is {short(padding)}, expected an integer or null")
            padding = None
        if padding is None:
            config.note("pad_token_id", "is not said: the last place of each text decides, whatever it is")
        return _Scores("score", config.labels(), use_bias=False, of_texts=True, padding=padding)
    if head == WORDS:
        use_bias = config.flag("token_classification_bias", default=True)
        return _Scores(layer_of_words, config.labels(), use_bias=use_bias, of_texts=False)
    return None


class Scored(nn.Block):
    """Logits ``(batch, labels)`` of texts, or ``(batch, length, labels)`` of words.

    Args:
        trunk: Words to ``(batch, length, units)``.
        prefix: Its name.
        scores: What is told apart.
    """

    def __init__(self, trunk: nn.Block, prefix: str, scores: _Scores) -> None:
        super().__init__()
        setattr(self, prefix, trunk)
        setattr(self, scores.layer, nn.Dense(scores.labels, use_bias=scores.use_bias, flatten=False))
        self.prefix, self.scores = prefix, scores

    def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
        """Words, and their mask."""
        trunk, own = getattr(self, self.prefix), self.scores
        x = trunk(input_ids) if attention_mask is None else trunk(input_ids, attention_mask)
        logits = getattr(self, own.layer)(x)
        if not own.of_texts:
            return logits
        if own.padding is None:
            return logits[:, -1]
        places = ops.cumsum(ops.cast(ops.equal(input_ids, input_ids), dtype="int64"), axis=1) - 1  # of ones
        last = (places * ops.cast(input_ids != own.padding, dtype="int64")).max(axis=1, keepdims=True)
        return ops.where((places == last)[:, :, None], logits, 0).sum(axis=1)
