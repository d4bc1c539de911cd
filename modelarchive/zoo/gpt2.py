"""GPT-2 (Radford et al. 2019, "Language models are unsupervised multitask learners")."""

from __future__ import annotations

from typing import Any

from modelarchive import nn


class MLP(nn.Block):
    """Two dense layers at each place; arguments as for :class:`GPT2`."""

    def __init__(self, units: int, hidden_units: int | None = None, activation: str | None = "gelu_tanh") -> None:
        super().__init__()
        self.c_fc = nn.Dense(hidden_units or 4 * units, activation, flatten=False)
        self.c_proj = nn.Dense(units, flatten=False)

    def forward(self, x: Any) -> Any:
        """``(batch, length, units)``."""
        return self.c_proj(self.c_fc(x))


class DecoderLayer(nn.Block):
    """Attention to what came before, then two dense layers.

    Args:
        units: Width of the network.
        heads: Attention heads.
        hidden_units: Width between; None: four times `units`.
        activation: Of the wide layer.
        epsilon: Added to variances.
        scale: Factor of the scores; None: ``1 / sqrt(units / heads)``.
    """

    def __init__(
        self,
        units: int,
        heads: int,
        hidden_units: int | None = None,
        activation: str | None = "gelu_tanh",
        epsilon: float = 1e-5,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(epsilon=epsilon)
        self.attn = nn.MultiHeadAttention(units, heads, causal=True, packed=True, scale=scale)
        self.ln_2 = nn.LayerNorm(epsilon=epsilon)
        self.mlp = MLP(units, hidden_units, activation)

    def forward(self, x: Any, mask: Any = None) -> Any:
        """``(batch, length, units)``; mask ``(batch, 1, 1, length)``, True for the places that others may look at."""
        y = self.ln_1(x)
        x = x + (self.attn(y) if mask is None else self.attn(y, y, y, mask))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Sequential):
    """Guesses the next word at every place; the defaults are GPT-2 small.

    Input: words, ints ``(batch, length)``; output: logits ``(batch, length, vocabulary)``. The last layer
    shares its weight with the embedding. Names are those of ``transformers.GPT2LMHeadModel``, whose
    ``attn.c_attn``, ``attn.c_proj`` and ``mlp`` weights are transposed; the attention's are here
    ``attn.in_proj_weight``, ``attn.in_proj_bias`` and ``attn.out_proj``.

    Args:
        vocabulary: Number of words.
        units: Width of the network.
        layers: Number of layers.
        heads: Attention heads of each.
        max_length: Longest text.
    """

    def __init__(
        self, vocabulary: int = 50257, units: int = 768, layers: int = 12, heads: int = 12, max_length: int = 1024
    ) -> None:
        super().__init__()
        embedding = nn.Embedding(vocabulary, units)
        output = nn.Dense(vocabulary, use_bias=False, flatten=False, in_units=units)
        output.weight = embedding.weight
        self.add(
            wte=embedding,
            wpe=nn.PositionalEmbedding("learned", max_length, units),
            h=nn.Sequential(*(DecoderLayer(units, heads) for _ in range(layers))),
            ln_f=nn.LayerNorm(),
            lm_head=output,
        )
