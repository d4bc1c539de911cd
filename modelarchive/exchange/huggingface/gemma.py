"""Gemma and Qwen3: decoders whose queries and keys are normalised, or whose scores are capped, in ops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelarchive import dtypes, nn, ops
from modelarchive.exchange.huggingface.sentences import Pooling, prepare, vector
from modelarchive.nn.scope import MAX_CONSTANT
from modelarchive.ops.rotary import Rotary
from modelarchive.zoo.llama import MLP


@dataclass(frozen=True)
class Settings:
    """What such a network is made of.

    Attributes:
        vocabulary: Number of words.
        units: Width of the network.
        heads: Heads of the queries.
        kv_heads: Heads of keys and values.
        head_dim: Size of a head.
        hidden_units: Width of the gated layers.
        epsilon: Added to mean squares.
        activation: Of the gate.
        use_bias: Whether the projections of the attention have a bias.
        scale: Factor of the scores.
        rotary: Of each layer, how positions turn queries and keys.
        windows: Of each layer, how many places it looks back, its own included; 0: all.
        is_gemma: Whether weights of norms are stored less one, and words are scaled by the root of the width.
        norms_behind: Whether layers have norms behind their parts as well.
        norms_heads: Whether queries and keys are normalised.
        blind_get_mean: Whether a place that may look at nothing gets the mean of all, as where transformers computes
            attention itself (Gemma 2); else zeros, as PyTorch's attention gives.
        score_cap: What scores are kept below, by a tanh; None: they are not.
        logit_cap: The same of logits.
        padding: The word that fills up short texts.
        tied: Whether the last layer has the embedding's weight.
    """

    vocabulary: int
    units: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden_units: int
    epsilon: float
    activation: str | None
    use_bias: bool
    scale: float
    rotary: tuple[Rotary, ...]
    windows: tuple[int, ...]
    is_gemma: bool
    norms_behind: bool
    norms_heads: bool
    blind_get_mean: bool
    score_cap: float | None
    logit_cap: float | None
    padding: int | None
    tied: bool

    def norm(self, units: int) -> nn.Block:
        """A norm of the family."""
        return _Norm(units, self.epsilon) if self.is_gemma else nn.RMSNorm(epsilon=self.epsilon)


class _Norm(nn.Block):
    """An RMSNorm whose weight is stored less one."""

    def __init__(self, units: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter((units,))
        self.normalised = nn.RMSNorm(epsilon=epsilon, scale=False)

    def forward(self, x: Any) -> Any:
        return self.normalised(x) * (self.weight.data() + 1)


class _Attention(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        size, use_bias = settings.head_dim, settings.use_bias
        self.q_proj = nn.Dense(settings.heads * size, use_bias=use_bias, flatten=False)
        self.k_proj, self.v_proj = (
            nn.Dense(settings.kv_heads * size, use_bias=use_bias, flatten=False) for _ in range(2)
        )
        self.o_proj = nn.Dense(settings.units, use_bias=use_bias, flatten=False)
        if settings.norms_heads:
            self.q_norm, self.k_norm = settings.norm(size), settings.norm(size)

    def forward(self, x: Any, cosines: Any, sines: Any, seen: Any) -> Any:
        """``(batch, length, units)``; `seen` ``(batch, 1, length, length)`` is 1 where a place may look, else 0."""
        own = self.settings
        q, k, v = (self._apart(each(x)) for each in (self.q_proj, self.k_proj, self.v_proj))
        if own.norms_heads:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = (turned(each.transpose(0, 2, 1, 3), cosines, sines) for each in (q, k))
        grouped = ops.reshape(q, (None, own.kv_heads, own.heads // own.kv_heads, -1, own.head_dim))
        scores = ops.matmul(grouped, k[:, :, None].swapaxes(3, 4)) * own.scale
        if own.score_cap is not None:
            scores = _capped(scores, own.score_cap)
        # Scores this low are 0 after softmax, in every dtype.
        weights = ops.softmax(scores + (1 - seen[:, :, None]) * -1e9)
        if not own.blind_get_mean:
            weights = weights * seen[:, :, None]
        joined = ops.matmul(weights, v.transpose(0, 2, 1, 3)[:, :, None])
        places = ops.reshape(joined, (None, own.heads, -1, own.head_dim)).transpose(0, 2, 1, 3)
        return self.o_proj(ops.reshape(places, (None, None, -1)))

    def _apart(self, x: Any) -> Any:
        """``(batch, length, size)`` to ``(batch, length, heads, head_dim)``."""
        return ops.reshape(x, (None, None, -1, self.settings.head_dim))


def turned(x: Any, cosines: Any, sines: Any) -> Any:
    """Halves of heads ``(batch, heads, length, head_dim)`` turned by the angles of their places."""
    half = x.shape[-1] // 2
    return x * cosines + ops.concatenate([-x[:, :, :, half:], x[:, :, :, :half]], axis=-1) * sines


def _capped(x: Any, cap: float) -> Any:
    return ops.tanh(x / cap) * cap


class _Layer(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        units = settings.units
        self.input_layernorm = settings.norm(units)
        self.self_attn = _Attention(settings)
        self.post_attention_layernorm = settings.norm(units)
        self.mlp = MLP(units, settings.hidden_units, settings.activation)
        self.has_outer = settings.norms_behind
        if self.has_outer:
            self.pre_feedforward_layernorm = settings.norm(units)
            self.post_feedforward_layernorm = settings.norm(units)

    def forward(self, x: Any, cosines: Any, sines: Any, seen: Any) -> Any:
        """``(batch, length, units)``."""
        y = self.self_attn(self.input_layernorm(x), cosines, sines, seen)
        if not self.has_outer:
            x = x + y
            return x + self.mlp(self.post_attention_layernorm(x))
        x = x + self.post_attention_layernorm(y)
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class Trunk(nn.Block):
    """The model without a head, ``Qwen3Model`` say: words ``(batch, length)`` to every place."""

    def __init__(self, settings: Settings, pooling: Pooling | None = None) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(settings.vocabulary, settings.units, padding_idx=settings.padding)
        self.layers = nn.Sequential(*(_Layer(settings) for _ in settings.windows))
        self.norm = settings.norm(settings.units)
        self.settings, self.pooling = settings, pooling
        prepare(self, pooling)

    def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
        """``(batch, length, units)``; each place looks at the words before it, in some layers the nearest only."""
        own = self.settings
        x = self.embed_tokens(input_ids)
        if own.is_gemma:
            # transformers rounds it to the dtype of the words.
            x = x * float(np.asarray(math.sqrt(own.units), dtypes.numpy_dtype(self.embed_tokens.dtype)))
        places = ops.cumsum(ops.cast(ops.equal(input_ids, input_ids), dtype="int64"), axis=1)  # of ones
        back = places[:, :, None] - places[:, None, :]
        seen = {window: _seen(back, attention_mask, window) for window in dict.fromkeys(own.windows)}
        turns = {rotary: angles_of(places, rotary) for rotary in dict.fromkeys(own.rotary)}
        for layer, rotary, window in zip(self.layers, own.rotary, own.windows, strict=True):
            x = layer(x, *turns[rotary], seen[window])
        return vector(self, self.pooling, self.norm(x), input_ids, attention_mask)


def _seen(back: Any, attention_mask: Any, window: int) -> Any:
    """Where places may look: not at later ones, at words further back than a window, at padding."""
    seen = back >= 0
    if window:
        seen = ops.where(back < window, seen, False)
    if attention_mask is not None:
        seen = ops.where(ops.cast(attention_mask, dtype="bool")[:, None, :], seen, False)
    return ops.cast(seen, dtype="float32")[:, None]


def angles_of(places: Any, rotary: Rotary) -> tuple[Any, Any]:
    """Cosines and sines ``(batch, 1, length, head_dim)`` of the angles of places."""
    speeds = np.tile(rotary.angles(2)[1], 2).astype(np.float32)
    given = ops.cast(places - 1, dtype="float32")[:, None, :, None]
    # In pieces that an architecture has within: a larger constant would be stored beside the parameters.
    parts = [given * piece for piece in np.split(speeds, range(MAX_CONSTANT, len(speeds), MAX_CONSTANT))]
    angles = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)
    return ops.cos(angles), ops.sin(angles)


class Guesser(nn.Block):
    """The trunk, and the logits ``(batch, length, vocabulary)`` of the next word behind it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.model = Trunk(settings)
        self.lm_head = nn.Dense(settings.vocabulary, use_bias=False, flatten=False, in_units=settings.units)
        if settings.tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.cap = settings.logit_cap

    def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
        """Logits of every place."""
        x = self.model(input_ids) if attention_mask is None else self.model(input_ids, attention_mask)
        logits = self.lm_head(x)
        return logits if self.cap is None else _capped(logits, self.cap)
