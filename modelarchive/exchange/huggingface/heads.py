"""The heads that transformers puts on networks like BERT: words guessed, texts and words told apart, answers found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelarchive import nn
from modelarchive.exchange.huggingface.bert import Settings, Trunk


@dataclass(frozen=True)
class _Head:
    """What stands behind a trunk for one task.

    Attributes:
        blocks: Settings -> its blocks by their names.
        result: (network, places, and the whole where there is a pooler) -> the output.
        pools: Whether it needs the pooler.
        guesses: Path of the layer that guesses words, which has the embedding's weight; "": none.
    """

    blocks: Callable[[Settings], dict[str, nn.Block]]
    result: Callable[..., Any]
    pools: bool = False
    guesses: str = ""


class Headed(nn.Block):
    """A trunk under the name that its family gives it, and beside it a head.

    Args:
        settings: What the trunk is made of.
        prefix: Its name.
        head: The head.
    """

    def __init__(self, settings: Settings, prefix: str, head: _Head) -> None:
        super().__init__()
        trunk = Trunk(settings)
        setattr(self, prefix, trunk)
        for name, block in head.blocks(settings).items():
            setattr(self, name, block)
        if head.guesses and settings.tied:
            owner: Any = self
            for part in head.guesses.split("."):
                owner = getattr(owner, part)
            owner.weight = trunk.embeddings.word_embeddings.weight
        self.prefix = prefix
        self.head = head

    def forward(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None) -> Any:
        """What the head makes of every place, and of the whole."""
        given = [each for each in (input_ids, attention_mask, token_type_ids) if each is not None]
        found = getattr(self, self.prefix)(*given)
        return self.head.result(self, *(found if isinstance(found, tuple) else (found,)))


def _dense(units: int, activation: str | None = None) -> nn.Block:
    return nn.Dense(units, activation, flatten=False)


class _Transform(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.dense = _dense(settings.units, settings.activation)
        self.LayerNorm = nn.LayerNorm(epsilon=settings.epsilon)

    def forward(self, x: Any) -> Any:
        return self.LayerNorm(self.dense(x))


class _Predictions(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.transform = _Transform(settings)
        self.decoder = nn.Dense(settings.vocabulary, flatten=False, in_units=settings.units)

    def forward(self, x: Any) -> Any:
        return self.decoder(self.transform(x))


class _Heads(nn.Block):
    """BERT's ``cls``: guesses words, or whether one sentence follows the other, or both."""

    def __init__(self, settings: Settings, *, words: bool = True, follows: bool = False) -> None:
        super().__init__()
        if words:
            self.predictions = _Predictions(settings)
        if follows:
            self.seq_relationship = nn.Dense(2)
        self.which = (words, follows)

    def forward(self, places: Any, whole: Any = None) -> Any:
        words, follows = self.which
        found = ([self.predictions(places)] if words else []) + ([self.seq_relationship(whole)] if follows else [])
        return found[0] if len(found) == 1 else tuple(found)


class _WordHead(nn.Block):
    """RoBERTa's ``lm_head``."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.dense = _dense(settings.units, "gelu")
        self.layer_norm = nn.LayerNorm(epsilon=settings.epsilon)
        self.decoder = nn.Dense(settings.vocabulary, flatten=False, in_units=settings.units)

    def forward(self, x: Any) -> Any:
        return self.decoder(self.layer_norm(self.dense(x)))


class _FirstWordHead(nn.Block):
    """RoBERTa's and ELECTRA's ``classifier``: two dense layers on the first word."""

    def __init__(self, settings: Settings, activation: str) -> None:
        super().__init__()
        self.dense = nn.Dense(settings.units, activation)
        self.out_proj = nn.Dense(settings.labels)

    def forward(self, x: Any) -> Any:
        return self.out_proj(self.dense(x[:, 0]))


class _Discriminator(nn.Block):
    """ELECTRA's: for each word, how likely it was replaced."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.dense = _dense(settings.units, settings.activation)
        self.dense_prediction = _dense(1)

    def forward(self, x: Any) -> Any:
        return self.dense_prediction(self.dense(x)).squeeze(-1)


class _Generator(nn.Block):
    """ELECTRA's: words guessed in the width of the embeddings."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(epsilon=settings.epsilon)
        self.dense = _dense(settings.embedding_units, "gelu")

    def forward(self, x: Any) -> Any:
        return self.LayerNorm(self.dense(x))


def _parts(x: Any) -> Any:
    """Logits of where an answer begins and where it ends."""
    return x[:, :, 0], x[:, :, 1]


def _distilbert_words(settings: Settings) -> dict[str, nn.Block]:
    return {
        "vocab_transform": _dense(settings.units, settings.activation),
        "vocab_layer_norm": nn.LayerNorm(epsilon=settings.epsilon),
        "vocab_projector": nn.Dense(settings.vocabulary, flatten=False, in_units=settings.units),
    }


def _electra_words(settings: Settings) -> dict[str, nn.Block]:
    return {
        "generator_predictions": _Generator(settings),
        "generator_lm_head": nn.Dense(settings.vocabulary, flatten=False, in_units=settings.embedding_units),
    }


_TOKENS: Final = _Head(
    lambda settings: {"classifier": _dense(settings.labels)}, lambda net, places, whole=None: net.classifier(places)
)
_ANSWERS: Final = _Head(
    lambda settings: {"qa_outputs": _dense(2)}, lambda net, places, whole=None: _parts(net.qa_outputs(places))
)

#: Family -> end of transformers' class name -> head; "Model" is the trunk alone.
HEADS: Final[dict[str, Mapping[str, _Head | None]]] = {
    "bert": {
        "Model": None,
        "ForMaskedLM": _Head(
            lambda settings: {"cls": _Heads(settings)},
            lambda net, places: net.cls(places),
            guesses="cls.predictions.decoder",
        ),
        "ForPreTraining": _Head(
            lambda settings: {"cls": _Heads(settings, follows=True)},
            lambda net, places, whole: net.cls(places, whole),
            pools=True,
            guesses="cls.predictions.decoder",
        ),
        "ForNextSentencePrediction": _Head(
            lambda settings: {"cls": _Heads(settings, words=False, follows=True)},
            lambda net, places, whole: net.cls(places, whole),
            pools=True,
        ),
        "ForSequenceClassification": _Head(
            lambda settings: {"classifier": nn.Dense(settings.labels)},
            lambda net, places, whole: net.classifier(whole),
            pools=True,
        ),
        "ForTokenClassification": _TOKENS,
        "ForQuestionAnswering": _ANSWERS,
    },
    "roberta": {
        "Model": None,
        "ForMaskedLM": _Head(
            lambda settings: {"lm_head": _WordHead(settings)},
            lambda net, places: net.lm_head(places),
            guesses="lm_head.decoder",
        ),
        "ForSequenceClassification": _Head(
            lambda settings: {"classifier": _FirstWordHead(settings, "tanh")},
            lambda net, places: net.classifier(places),
        ),
        "ForTokenClassification": _TOKENS,
        "ForQuestionAnswering": _ANSWERS,
    },
    "distilbert": {
        "Model": None,
        "ForMaskedLM": _Head(
            _distilbert_words,
            lambda net, places: net.vocab_projector(net.vocab_layer_norm(net.vocab_transform(places))),
            guesses="vocab_projector",
        ),
        "ForSequenceClassification": _Head(
            lambda settings: {
                "pre_classifier": nn.Dense(settings.units, "relu"),
                "classifier": nn.Dense(settings.labels),
            },
            lambda net, places: net.classifier(net.pre_classifier(places[:, 0])),
        ),
        "ForTokenClassification": _TOKENS,
        "ForQuestionAnswering": _ANSWERS,
    },
    "electra": {
        "Model": None,
        "ForPreTraining": _Head(
            lambda settings: {"discriminator_predictions": _Discriminator(settings)},
            lambda net, places: net.discriminator_predictions(places),
        ),
        "ForMaskedLM": _Head(
            _electra_words,
            lambda net, places: net.generator_lm_head(net.generator_predictions(places)),
            guesses="generator_lm_head",
        ),
        "ForSequenceClassification": _Head(
            lambda settings: {"classifier": _FirstWordHead(settings, "gelu")},
            lambda net, places: net.classifier(places),
        ),
        "ForTokenClassification": _TOKENS,
        "ForQuestionAnswering": _ANSWERS,
    },
}
