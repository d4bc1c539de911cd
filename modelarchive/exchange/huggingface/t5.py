"""T5 (Raffel et al. 2020, arXiv:1910.10683): two parts, of which the second looks at the first, and no positions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive import nn, ops
from modelarchive.exchange.huggingface.config import Config, as_two_parts
from modelarchive.exchange.huggingface.sentences import Pooling, prepare, vector
from modelarchive.exchange.huggingface.traits import Traits
from modelarchive.nn.scope import MAX_CONSTANT
from modelarchive.store.strict import short

#: Ends of the class names that are read.
HEADS: Final = ("Model", "ForConditionalGeneration", "EncoderModel")
#: What networks of two parts take, and the first part alone.
_BOTH: Final = (("input_ids", "attention_mask", "decoder_input_ids"), ("input_ids", "decoder_input_ids"))
_ENCODER: Final = (("input_ids", "attention_mask"), ("input_ids",))
#: End of a class name -> the inputs that its networks take together.
TOGETHER: Final = {"Model": _BOTH, "ForConditionalGeneration": _BOTH, "EncoderModel": _ENCODER}
#: Names of parameters in files -> here.
RENAMES: Final = (
    ("block.0.layer.0.SelfAttention.relative_attention_bias.", "relative_attention_bias."),
    *((f"Attention.{short}.", f"Attention.{long}.")
      for short, long in (("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj"), ("o", "out_proj"))),
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What a T5 is made of.

    Attributes:
        vocabulary: Number of words.
        units: Width of the network.
        head_dim: Size of a head.
        heads: Attention heads of each layer.
        hidden_units: Width between.
        layers: Number of layers of the encoder and of the decoder.
        buckets: Kinds of distances that scores are changed by.
        furthest: From here on distances are of one kind.
        epsilon: Added to mean squares.
        activation: Of the wide layers.
        is_gated: Whether these have a gate.
        is_scaled: Whether what guesses words is given less by the root of the width.
        tied: Whether the last layer has the embedding's weight.
    """

    vocabulary: int
    units: int
    head_dim: int
    heads: int
    hidden_units: int
    layers: tuple[int, int]
    buckets: int
    furthest: int
    epsilon: float
    activation: str | None
    is_gated: bool
    is_scaled: bool
    tied: bool

    def norm(self) -> nn.Block:
        """A norm of the family."""
        return nn.RMSNorm(epsilon=self.epsilon)

    def attention(self) -> nn.Block:
        """Attention without positions, whose scores are not scaled."""
        return nn.MultiHeadAttention(
            self.units, self.heads, head_dim=self.head_dim, use_bias=False, scale=1.0, in_units=self.units,
            key_units=self.units, value_units=self.units,
        )  # fmt: skip


def _thresholds(count: int, furthest: int) -> np.ndarray:
    """The distances from which on the wide kinds are, whose number grows as the logarithm of the distance.

    Args:
        count: How many kinds there are; half of them are of one distance each.
        furthest: From here on all distances are of the last kind.

    Returns:
        int64 ``(count - count // 2 - 1,)``, as transformers computes in float32 which kind a distance is of.
    """
    exact = count // 2
    far = np.arange(exact, furthest + 1)
    ratio = np.log(far.astype(np.float32) / np.float32(exact)) / np.float32(math.log(furthest / exact))
    kinds = (ratio * np.float32(count - exact)).astype(np.int64)
    return far[np.searchsorted(kinds, np.arange(1, count - exact))]


class _SelfAttention(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.SelfAttention = settings.attention()
        self.layer_norm = settings.norm()

    def forward(self, x: Any, bias: Any) -> Any:
        given = self.layer_norm(x)
        return x + self.SelfAttention(given, given, given, bias)


class _CrossAttention(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.EncDecAttention = settings.attention()
        self.layer_norm = settings.norm()

    def forward(self, x: Any, memory: Any, bias: Any = None) -> Any:
        given = self.layer_norm(x)
        if bias is None:
            return x + self.EncDecAttention(given, memory)
        return x + self.EncDecAttention(given, memory, memory, bias)


class _Wide(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        if settings.is_gated:
            self.wi_0 = nn.Dense(settings.hidden_units, settings.activation, use_bias=False, flatten=False)
            self.wi_1 = nn.Dense(settings.hidden_units, use_bias=False, flatten=False)
        else:
            self.wi = nn.Dense(settings.hidden_units, settings.activation, use_bias=False, flatten=False)
        self.wo = nn.Dense(settings.units, use_bias=False, flatten=False)
        self.is_gated = settings.is_gated

    def forward(self, x: Any) -> Any:
        return self.wo(self.wi_0(x) * self.wi_1(x) if self.is_gated else self.wi(x))


class _FeedForward(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.DenseReluDense = _Wide(settings)
        self.layer_norm = settings.norm()

    def forward(self, x: Any) -> Any:
        return x + self.DenseReluDense(self.layer_norm(x))


class _Layer(nn.Block):
    def __init__(self, settings: Settings, *, is_causal: bool) -> None:
        super().__init__()
        parts = [_SelfAttention(settings), *([_CrossAttention(settings)] if is_causal else []), _FeedForward(settings)]
        self.layer = nn.Sequential(*parts)

    def forward(self, x: Any, bias: Any, memory: Any = None, memory_bias: Any = None) -> Any:
        first, *between, last = self.layer.children.values()
        x = first(x, bias)
        for each in between:
            x = each(x, memory) if memory_bias is None else each(x, memory, memory_bias)
        return last(x)


class _Stack(nn.Block):
    """Either part; its first layer's table of distances is that of all."""

    def __init__(self, settings: Settings, layers: int, *, is_causal: bool) -> None:
        super().__init__()
        self.relative_attention_bias = nn.Embedding(settings.buckets, settings.heads)
        self.block = nn.Sequential(*(_Layer(settings, is_causal=is_causal) for _ in range(layers)))
        self.final_layer_norm = settings.norm()
        self.is_causal = is_causal
        self.count = settings.buckets if is_causal else settings.buckets // 2
        self.thresholds = _thresholds(self.count, settings.furthest)

    def forward(self, words: Any, x: Any, mask: Any = None, memory: Any = None, memory_bias: Any = None) -> Any:
        """Words and what they are ``(batch, length, units)``; `mask` is added to scores, ``(batch, 1, 1, length)``."""
        places = ops.cumsum(ops.cast(ops.equal(words, words), dtype="int64"), axis=1)[:1]  # of ones
        distance = places[:, None, :] - places[:, :, None]
        bias = self.relative_attention_bias(self._kinds(distance)).transpose(0, 3, 1, 2)
        if self.is_causal:
            # Scores this low are 0 after softmax, in every dtype.
            bias = bias + ops.cast(distance > 0, dtype="float32")[:, None] * -1e9
        if mask is not None:
            bias = bias + mask
        for layer in self.block.children.values():
            given = [each for each in (memory, memory_bias) if each is not None]
            x = layer(x, bias, *given)
        return self.final_layer_norm(x)

    def _kinds(self, distance: Any) -> Any:
        """The kind of each distance, which counts forwards and backwards apart, or backwards alone."""
        far = ops.maximum(-distance, 0) if self.is_causal else ops.abs(distance)
        exact = self.count // 2
        wide = exact + ops.cast(far[:, :, :, None] >= self.thresholds, dtype="int64").sum(axis=-1)
        kinds = ops.where(far < exact, far, wide)
        return kinds if self.is_causal else kinds + ops.cast(distance > 0, dtype="int64") * self.count


class _Network(nn.Block):
    """``T5Model``, ``T5EncoderModel`` or ``T5ForConditionalGeneration``.

    Args:
        settings: What it is made of.
        head: One of :data:`HEADS`.
        has_mask: Whether the second of its inputs is a mask of the words.
        pooling: Of an encoder: None, or how its places become one vector.
    """

    def __init__(self, settings: Settings, head: str, *, has_mask: bool, pooling: Pooling | None = None) -> None:
        super().__init__()
        self.shared = nn.Embedding(settings.vocabulary, settings.units)
        self.encoder = _Stack(settings, settings.layers[0], is_causal=False)
        if head != "EncoderModel":
            self.decoder = _Stack(settings, settings.layers[1], is_causal=True)
        if head == "ForConditionalGeneration":
            self.lm_head = nn.Dense(settings.vocabulary, use_bias=False, flatten=False, in_units=settings.units)
            if settings.tied:
                self.lm_head.weight = self.shared.weight
        self.head, self.has_mask, self.pooling = head, has_mask, pooling
        prepare(self, pooling)
        self.factor = settings.units**-0.5 if settings.is_scaled else 1.0

    def forward(self, input_ids: Any, second: Any = None, third: Any = None) -> Any:
        """Words, their mask where there is one, words of the decoder: what both parts make of them, the last first."""
        attention_mask, words = (second, third) if self.has_mask else (None, second)
        bias = None
        if attention_mask is not None:
            bias = (1 - ops.cast(attention_mask, dtype="float32"))[:, None, None, :] * -1e9
        x = self.shared(input_ids)
        memory = self.encoder(input_ids, x) if bias is None else self.encoder(input_ids, x, bias)
        if self.head == "EncoderModel":
            return vector(self, self.pooling, memory, input_ids, attention_mask)
        y = self.shared(words)
        y = self.decoder(words, y, None, memory, *([] if bias is None else [bias]))
        if self.head == "Model":
            return y, memory
        return self.lm_head(y if self.factor == 1 else y * self.factor), memory


def network(config: Config, traits: Traits, most_layers: int) -> nn.Block | None:
    """The network that a configuration means; None where it has problems, which it lists."""
    as_two_parts(config, has_both=traits.head != "EncoderModel")
    layers = config.size("num_layers", "num_hidden_layers", default=6, most=most_layers)
    activation, is_gated = _activation(config)
    count = config.size("relative_attention_num_buckets", default=32, least=4, most=2 * MAX_CONSTANT)
    furthest = config.size("relative_attention_max_distance", default=128, least=2, most=65536)
    if count % 2 or furthest <= count // 2:
        config.refuse(
            "relative_attention_num_buckets", f"is {count}, expected an even number, half of it below {furthest}"
        )
    said = config.values.get("tie_word_embeddings")
    config.flag("tie_word_embeddings", default=True)  # says whether the words are scaled; the layers are tied anyway
    is_scaled = config.flag("scale_decoder_outputs", default=said is not False)
    settings = Settings(
        vocabulary=config.size("vocab_size", default=32128),
        units=config.size("d_model", "hidden_size", default=512),
        head_dim=config.size("d_kv", "head_dim", default=64),
        heads=config.size("num_heads", "num_attention_heads", default=8),
        hidden_units=config.size("d_ff", default=2048),
        layers=(layers, config.size("num_decoder_layers", default=layers, null=layers, most=most_layers)),
        buckets=count,
        furthest=furthest,
        epsilon=config.number("layer_norm_epsilon", default=1e-6),
        activation=activation,
        is_gated=is_gated,
        is_scaled=is_scaled,
        tied=traits.is_tied is not False,
    )
    config.refuse_unknown("t5")
    if config.problems:
        return None
    return _Network(settings, traits.head, has_mask="attention_mask" in traits.inputs, pooling=traits.pooling)


def _activation(config: Config) -> tuple[str | None, bool]:
    """The activation, and whether it is a gate's: said in one word, or apart, which counts then."""
    said = config.get("feed_forward_proj", default="relu")
    parts = said.split("-") if isinstance(said, str) else []
    if not parts or len(parts) > 2 or (len(parts) == 2 and parts[0] != "gated"):
        config.refuse("feed_forward_proj", f"is {short(said)}, expected an activation, or gated- and one")
        return None, False
    usual = "gelu_new" if said == "gated-gelu" else parts[-1]
    is_gated = config.flag("is_gated_act", default=parts[0] == "gated")
    where = "dense_act_fn" if "dense_act_fn" in config.values else "feed_forward_proj"
    own = Config({where: config.get("dense_act_fn", default=usual)})
    activation = own.activation(where, default=usual)
    config.problems += own.problems
    return activation, is_gated
