"""Llama (Touvron et al. 2023, arXiv:2307.09288): grouped queries, rotary positions, a gated feed-forward."""

from __future__ import annotations

from typing import Any

from modelarchive import nn


class MLP(nn.Block):
    """``down(silu(gate(x)) * up(x))`` (Shazeer 2020, arXiv:2002.05202); arguments as for :class:`Llama`."""

    def __init__(
        self, units: int, hidden_units: int, activation: str | None = "silu", *, use_bias: bool = False
    ) -> None:
        super().__init__()
        self.gate_proj = nn.Dense(hidden_units, activation, use_bias=use_bias, flatten=False)
        self.up_proj = nn.Dense(hidden_units, use_bias=use_bias, flatten=False)
        self.down_proj = nn.Dense(units, use_bias=use_bias, flatten=False)

    def forward(self, x: Any) -> Any:
        """``(batch, length, units)``."""
        return self.down_proj(self.gate_proj(x) * self.up_proj(x))


class DecoderLayer(nn.Block):
    """Attention to what came before, then the gated layers; the first arguments are those of :class:`Llama`.

    Args:
        units: Width of the network.
        heads: Heads of the queries.
        kv_heads: Heads of keys and values.
        hidden_units: Width of the gated layers.
        rotary: Of the attention, see :class:`nn.MultiHeadAttention`.
        epsilon: Added to mean squares.
        head_dim: Size of a head; None: ``units / heads``.
        use_bias: Whether the projections of queries, keys, values and output have a bias; Qwen2's first three do.
        use_mlp_bias: Whether the gated layers have.
        activation: Of the gate.
    """

    def __init__(
        self,
        units: int,
        heads: int,
        kv_heads: int,
        hidden_units: int,
        rotary: dict[str, Any],
        epsilon: float,
        *,
        head_dim: int | None = None,
        use_bias: tuple[bool, bool, bool, bool] = (False, False, False, False),
        use_mlp_bias: bool = False,
        activation: str | None = "silu",
    ) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(epsilon=epsilon)
        self.self_attn = nn.MultiHeadAttention(units, heads, kv_heads, head_dim, use_bias, causal=True, rotary=rotary)
        self.post_attention_layernorm = nn.RMSNorm(epsilon=epsilon)
        self.mlp = MLP(units, hidden_units, activation, use_bias=use_mlp_bias)

    def forward(self, x: Any, mask: Any = None) -> Any:
        """``(batch, length, units)``; mask ``(batch, 1, length, length)``, True where a place may look."""
        y = self.input_layernorm(x)
        x = x + (self.self_attn(y) if mask is None else self.self_attn(y, y, y, mask))
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Sequential):
    """Guesses the next word at every place.

    Input: words, ints ``(batch, length)``; output: logits ``(batch, length, vocabulary)``. Parameter names
    are those of ``transformers.LlamaForCausalLM`` without "model."; its ``o_proj`` is ``out_proj`` here.

    Args:
        vocabulary: Number of words.
        units: Width of the network.
        layers: Number of layers.
        heads: Heads of the queries.
        kv_heads: Heads of keys and values.
        hidden_units: Width of the gated layers.
        base: Of the rotary positions.
        scaling: How the rotary positions are stretched for long texts, see :class:`nn.MultiHeadAttention`.
        epsilon: Added to mean squares.
    """

    def __init__(
        self,
        vocabulary: int = 32000,
        units: int = 4096,
        layers: int = 32,
        heads: int = 32,
        kv_heads: int = 32,
        hidden_units: int = 11008,
        base: float = 10000.0,
        scaling: dict[str, Any] | None = None,
        epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        rotary = {"base": base, "scaling": scaling}
        layer = (units, heads, kv_heads, hidden_units, rotary, epsilon)
        self.add(
            embed_tokens=nn.Embedding(vocabulary, units),
            layers=nn.Sequential(*(DecoderLayer(*layer) for _ in range(layers))),
            norm=nn.RMSNorm(epsilon=epsilon),
            lm_head=nn.Dense(vocabulary, use_bias=False, flatten=False),
        )
