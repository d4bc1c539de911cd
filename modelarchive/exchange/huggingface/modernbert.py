"""ModernBERT (Warner et al. 2024, arXiv:2412.13663): rotary positions, windows both ways, gated layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from modelarchive import nn, ops
from modelarchive.exchange.huggingface.config import Config, as_an_encoder
from modelarchive.exchange.huggingface.gemma import angles_of, turned
from modelarchive.exchange.huggingface.rotary import rotary_of_layers
from modelarchive.exchange.huggingface.sentences import Pooling, prepare, vector
from modelarchive.exchange.huggingface.traits import Traits
from modelarchive.exchange.huggingface.windows import kinds_of
from modelarchive.ops.rotary import Rotary

#: Ends of the class names that are read.
HEADS: Final = ("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")


@dataclass(frozen=True)
class Settings:
    """What a ModernBERT is made of.

    Attributes:
        vocabulary: Number of words.
        units: Width of the network.
        heads: Attention heads of each layer.
        hidden_units: Width of the gated layers.
        epsilon: Added to variances.
        norm_bias: Whether norms have a bias.
        attention_bias: Whether the projections of the attention have.
        mlp_bias: Whether the gated layers have.
        activation: Of the gate.
        rotary: Of each layer, how positions turn queries and keys.
        windows: Of each layer, how far it looks to both sides; -1: to the ends.
        padding: The word that fills up short texts.
        head_activation: Of the dense layer before the output.
        head_bias: Whether that layer has a bias.
        decoder_bias: Whether the layer that guesses words has.
        pools_mean: Whether the mean of the words stands for a text, and not its first word.
        labels: Classes of a head.
        tied: Whether the layer that guesses words has the embedding's weight.
    """

    vocabulary: int
    units: int
    heads: int
    hidden_units: int
    epsilon: float
    norm_bias: bool
    attention_bias: bool
    mlp_bias: bool
    activation: str | None
    rotary: tuple[Rotary, ...]
    windows: tuple[int, ...]
    padding: int | None
    head_activation: str | None
    head_bias: bool
    decoder_bias: bool
    pools_mean: bool
    labels: int
    tied: bool

    def norm(self) -> nn.Block:
        """A norm of the family."""
        return nn.LayerNorm(epsilon=self.epsilon, center=self.norm_bias)

    def dense(self, units: int, *, use_bias: bool) -> nn.Block:
        """A dense layer at each place."""
        return nn.Dense(units, use_bias=use_bias, flatten=False)


class _Embeddings(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(settings.vocabulary, settings.units, padding_idx=settings.padding)
        self.norm = settings.norm()

    def forward(self, words: Any) -> Any:
        return self.norm(self.tok_embeddings(words))


class _Attention(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.heads, self.size = settings.heads, settings.units // settings.heads
        self.Wqkv = settings.dense(3 * settings.units, use_bias=settings.attention_bias)
        self.Wo = settings.dense(settings.units, use_bias=settings.attention_bias)

    def forward(self, x: Any, cosines: Any, sines: Any, seen: Any) -> Any:
        apart = ops.reshape(self.Wqkv(x), (None, None, 3, self.heads, self.size))
        q, k, v = (apart[:, :, at].transpose(0, 2, 1, 3) for at in range(3))
        q, k = (turned(each, cosines, sines) for each in (q, k))
        scores = ops.matmul(q, k.swapaxes(2, 3)) * self.size**-0.5
        # Scores this low are 0 after softmax, in every dtype; a place that may look at nothing gets zeros.
        weights = ops.softmax(scores + (1 - seen) * -1e9) * seen
        joined = ops.matmul(weights, v).transpose(0, 2, 1, 3)
        return self.Wo(ops.reshape(joined, (None, None, -1)))


class _MLP(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.Wi = settings.dense(2 * settings.hidden_units, use_bias=settings.mlp_bias)
        self.Wo = settings.dense(settings.units, use_bias=settings.mlp_bias)
        self.act = None if settings.activation is None else nn.Activation(settings.activation)
        self.width = settings.hidden_units

    def forward(self, x: Any) -> Any:
        both = self.Wi(x)
        given, gate = both[:, :, : self.width], both[:, :, self.width :]
        return self.Wo((given if self.act is None else self.act(given)) * gate)


class _Layer(nn.Block):
    def __init__(self, settings: Settings, *, is_first: bool) -> None:
        super().__init__()
        if not is_first:
            self.attn_norm = settings.norm()
        self.is_first = is_first
        self.attn = _Attention(settings)
        self.mlp_norm = settings.norm()
        self.mlp = _MLP(settings)

    def forward(self, x: Any, cosines: Any, sines: Any, seen: Any) -> Any:
        x = x + self.attn(x if self.is_first else self.attn_norm(x), cosines, sines, seen)
        return x + self.mlp(self.mlp_norm(x))


class Trunk(nn.Block):
    """``ModernBertModel``: words ``(batch, length)``, and a mask of them, to ``(batch, length, units)``."""

    def __init__(self, settings: Settings, pooling: Pooling | None = None) -> None:
        super().__init__()
        self.embeddings = _Embeddings(settings)
        self.layers = nn.Sequential(*(_Layer(settings, is_first=at == 0) for at in range(len(settings.windows))))
        self.final_norm = settings.norm()
        self.settings, self.pooling = settings, pooling
        prepare(self, pooling)

    def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
        """Every place, or the whole."""
        own = self.settings
        x = self.embeddings(input_ids)
        places = ops.cumsum(ops.cast(ops.equal(input_ids, input_ids), dtype="int64"), axis=1)  # of ones
        away = ops.abs(places[:, :, None] - places[:, None, :])
        seen = {window: _seen(away, attention_mask, window) for window in dict.fromkeys(own.windows)}
        turns = {rotary: angles_of(places, rotary) for rotary in dict.fromkeys(own.rotary)}
        for layer, rotary, window in zip(self.layers, own.rotary, own.windows, strict=True):
            x = layer(x, *turns[rotary], seen[window])
        return vector(self, self.pooling, self.final_norm(x), input_ids, attention_mask)


def _seen(away: Any, attention_mask: Any, window: int) -> Any:
    """1 where places may look, else 0: not further than a window, not at padding."""
    seen = away >= 0 if window < 0 else away <= window
    if attention_mask is not None:
        seen = ops.where(ops.cast(attention_mask, dtype="bool")[:, None, :], seen, False)
    return ops.cast(seen, dtype="float32")[:, None]


class _Head(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.dense = nn.Dense(
            settings.units, settings.head_activation, use_bias=settings.head_bias, flatten=False,
            in_units=settings.units,
        )  # fmt: skip
        self.norm = settings.norm()

    def forward(self, x: Any) -> Any:
        return self.norm(self.dense(x))


class Headed(nn.Block):
    """The trunk, and beside it a head.

    Args:
        settings: What it is made of.
        head: One of :data:`HEADS`.
    """

    def __init__(self, settings: Settings, head: str) -> None:
        super().__init__()
        self.model = Trunk(settings)
        self.head = _Head(settings)
        if head == "ForMaskedLM":
            self.decoder = nn.Dense(
                settings.vocabulary, use_bias=settings.decoder_bias, flatten=False, in_units=settings.units
            )
            if settings.tied:
                self.decoder.weight = self.model.embeddings.tok_embeddings.weight
        else:
            self.classifier = nn.Dense(settings.labels, flatten=False, in_units=settings.units)
        self.kind, self.pools_mean = head, settings.pools_mean

    def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
        """Logits of every place, or of the whole text."""
        x = self.model(input_ids) if attention_mask is None else self.model(input_ids, attention_mask)
        if self.kind == "ForMaskedLM":
            return self.decoder(self.head(x))
        if self.kind == "ForSequenceClassification":
            x = self._pooled(x, attention_mask)
        logits = self.classifier(self.head(x))
        return (logits[:, :, 0], logits[:, :, 1]) if self.kind == "ForQuestionAnswering" else logits

    def _pooled(self, x: Any, attention_mask: Any) -> Any:
        if not self.pools_mean:
            return x[:, 0]
        if attention_mask is None:
            return x.mean(axis=1)
        weight = ops.cast(attention_mask, dtype="float32")[:, :, None]
        return (x * weight).sum(axis=1) / weight.sum(axis=1)


def network(config: Config, traits: Traits, most_layers: int) -> nn.Block | None:
    """The network that a configuration means; None where it has problems, which it lists."""
    as_an_encoder(config)
    units = config.size("hidden_size", default=768)
    heads = config.size("num_attention_heads", default=12)
    if units % heads or (units // heads) % 2:
        config.refuse("num_attention_heads", f"is {heads}, which does not divide the width {units} into even parts")
    vocabulary = config.size("vocab_size", default=50368)
    layers = config.size("num_hidden_layers", default=22, most=most_layers)
    kinds = kinds_of(config, layers)
    every = config.size("global_attn_every_n_layers", default=3)
    windowed = tuple(bool(at % every) for at in range(layers)) if kinds is None else kinds
    half = config.size("local_attention", default=128, least=0) // 2
    tied = config.flag("tie_word_embeddings", default=True)
    longest = config.size("max_position_embeddings", default=8192)
    pooling = config.get("classifier_pooling", default="cls")
    config.only("classifier_pooling", "cls", "mean")
    settings = Settings(
        vocabulary=vocabulary,
        units=units,
        heads=heads,
        hidden_units=config.size("intermediate_size", default=1152),
        epsilon=config.number("norm_eps", default=1e-5),
        norm_bias=config.flag("norm_bias", default=False),
        attention_bias=config.flag("attention_bias", default=False),
        mlp_bias=config.flag("mlp_bias", default=False),
        activation=config.activation("hidden_activation", default="gelu"),
        rotary=rotary_of_layers(
            config, max(2, units // heads), windowed, longest=longest, bases=("global_rope_theta", "local_rope_theta"),
            usual=(160_000.0, 10_000.0), scales_both=True,
        ),
        windows=tuple(half if each else -1 for each in windowed),
        padding=config.index("pad_token_id", default=50283, below=vocabulary),
        head_activation=config.activation("classifier_activation", default="gelu"),
        head_bias=config.flag("classifier_bias", default=False),
        decoder_bias=config.flag("decoder_bias", default=True),
        pools_mean=pooling == "mean",
        labels=config.labels(),
        tied=tied if traits.is_tied is None else traits.is_tied,
    )  # fmt: skip
    config.refuse_unknown("modernbert")
    if config.problems:
        return None
    return Trunk(settings, traits.pooling) if traits.head == "Model" else Headed(settings, traits.head)
