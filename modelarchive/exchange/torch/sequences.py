"""Modules for sequences: recurrences with flat states, and attention with rotary positions and grouped queries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from modelarchive.exchange.torch.layers import Kind, Plain


class _Recurrent(Kind):
    def forward(self, x: torch.Tensor, *states: Any) -> Any:
        """Run the layer: ``layer(x)`` or ``layer(x, h, c)``; the output, with `return_state` the states behind it."""
        if len(states) == 1 and isinstance(states[0], list | tuple):
            states = tuple(states[0])
        given = None if not states else states[0] if len(states) == 1 else states
        output, last = super().forward(x, given)  # type: ignore[misc]
        if not self.config["return_state"]:
            return output
        return (output, *last) if isinstance(last, tuple) else (output, last)


class RNN(_Recurrent, torch.nn.RNN):
    """``torch.nn.RNN`` that returns what its kind says."""


class LSTM(_Recurrent, torch.nn.LSTM):
    """``torch.nn.LSTM`` that returns what its kind says."""


class GRU(_Recurrent, torch.nn.GRU):
    """``torch.nn.GRU`` that returns what its kind says."""


class ResetFirstGRU(Plain):
    """The GRU of the paper and of ONNX's default: the reset gate comes before the product with weight_hh."""

    def forward(self, x: torch.Tensor, *states: Any) -> Any:
        """Run the layer, step by step."""
        config = self.config
        if len(states) == 1 and isinstance(states[0], list | tuple):
            states = tuple(states[0])
        if config["layout"] == "NTC":
            x = x.transpose(0, 1)
        hidden = config["hidden_size"]
        directions = ("", "_reverse") if config["bidirectional"] else ("",)
        last: list[torch.Tensor] = []
        for layer in range(config["num_layers"]):
            outputs = []
            for suffix in directions:
                state = x.new_zeros(x.shape[1], hidden) if not states else states[0][len(last)]
                steps = range(x.shape[0] - 1, -1, -1) if suffix else range(x.shape[0])
                row: list[Any] = [None] * x.shape[0]
                for time in steps:
                    state = self._step(x[time], state, f"l{layer}{suffix}")
                    row[time] = state
                last.append(state)
                outputs.append(torch.stack(row) if row else x.new_zeros(0, x.shape[1], hidden))
            x = torch.cat(outputs, -1)
            if self.training and config["dropout"] and layer + 1 < config["num_layers"]:
                x = F.dropout(x, config["dropout"])
        output = x.transpose(0, 1) if config["layout"] == "NTC" else x
        return (output, torch.stack(last)) if config["return_state"] else output

    def _step(self, x: torch.Tensor, state: torch.Tensor, suffix: str) -> torch.Tensor:
        own: Mapping[str, Any] = self._parameters
        inside = F.linear(x, own[f"weight_ih_{suffix}"], own.get(f"bias_ih_{suffix}"))
        across = own[f"weight_hh_{suffix}"]
        bias = own.get(f"bias_hh_{suffix}")
        size = state.shape[-1]
        early = F.linear(state, across[: 2 * size], None if bias is None else bias[: 2 * size])
        reset, update = torch.sigmoid(inside[..., : 2 * size] + early).chunk(2, -1)
        late = F.linear(reset * state, across[2 * size :], None if bias is None else bias[2 * size :])
        new = torch.tanh(inside[..., 2 * size :] + late)
        return (1 - update) * new + update * state


class MultiHeadAttention(Plain):
    """Attention of many heads, for every field of the kind; its projections are Linear children."""

    def forward(self, query: Any, key: Any = None, value: Any = None, mask: Any = None) -> Any:
        """Run the layer; key is filled in by query, value by key. A bool mask is True where a query may attend."""
        config = self.config
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = self._projected(query, key, value)
        if config["rotary"] is not None:
            q, k = _turned(q, config["rotary"]), _turned(k, config["rotary"])
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        causal = config["causal"]
        if mask is not None:
            mask = mask[(None,) * (4 - mask.ndim)] if mask.ndim < 4 else mask
            mask = mask if mask.dtype == torch.bool else mask.to(q.dtype)
            if causal:
                ahead = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
                mask = mask & ahead if mask.dtype == torch.bool else mask.masked_fill(~ahead, -math.inf)
            mask = mask.expand(mask.shape[0], mask.shape[1], q.shape[2], k.shape[2])
        result = F.scaled_dot_product_attention(
            q,
            k,
            v,
            mask,
            config["dropout"] if self.training else 0.0,
            causal and mask is None,
            scale=config["scale"],
            enable_gqa=config["num_heads"] != config["num_kv_heads"],
        )
        if mask is not None:
            # A query that may attend to no key gets zeros, by whichever kernel it went.
            idle = ~mask.any(-1, keepdim=True) if mask.dtype == torch.bool else mask.amax(-1, keepdim=True) == -math.inf
            result = result.masked_fill(idle, 0)
        return self.out_proj(result.transpose(1, 2).flatten(2))

    def _projected(self, *inputs: Any) -> list[Any]:
        config = self.config
        heads = (config["num_heads"], config["num_kv_heads"], config["num_kv_heads"])
        if config["packed"]:
            rows = [each * config["head_dim"] for each in heads]
            weights = self._parameters["in_proj_weight"].split(rows)
            bias = self._parameters.get("in_proj_bias")
            biases = [None] * 3 if bias is None else bias.split(rows)
            results = [F.linear(each, *both) for each, *both in zip(inputs, weights, biases, strict=True)]
        else:
            names = ("q_proj", "k_proj", "v_proj")
            results = [self._modules[name](each) for name, each in zip(names, inputs, strict=True)]
        return [each.unflatten(-1, (number, config["head_dim"])) for each, number in zip(results, heads, strict=True)]


def _turned(x: torch.Tensor, rotary: Mapping[str, Any]) -> torch.Tensor:
    """Queries or keys ``(batch, length, heads, head_dim)`` turned by their positions."""
    dim = rotary["dim"]
    angles = _angles(x.shape[1], rotary, x.device)[:, None]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    part, rest = x[..., :dim], x[..., dim:]
    halves = rotary["style"] == "halves"
    one, two = part.chunk(2, -1) if halves else (part[..., 0::2], part[..., 1::2])
    turned = one * cos - two * sin, two * cos + one * sin
    whole = torch.cat(turned, -1) if halves else torch.stack(turned, -1).flatten(-2)
    return torch.cat([whole, rest], -1)


def _angles(length: int, rotary: Mapping[str, Any], device: Any) -> torch.Tensor:
    """As :meth:`modelarchive.ops.rotary.Rotary.angles`."""
    dim = rotary["dim"]
    per_position = rotary["base"] ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=device) / dim)
    scaling = rotary["scaling"] or {}
    if scaling.get("type") == "linear":
        per_position = per_position / scaling["factor"]
    elif scaling:
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        waves = scaling["original_max_position"] * per_position / (2 * math.pi)
        kept = ((waves - low) / (high - low)).clamp(0, 1)
        per_position = per_position * (kept + (1 - kept) / scaling["factor"])
    return torch.arange(length, dtype=torch.float64, device=device)[:, None] * per_position
