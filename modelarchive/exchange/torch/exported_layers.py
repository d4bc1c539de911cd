"""Layers of exported programs: the module of torch.nn whose call an ATen operator with parameters is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch

Given: TypeAlias = Mapping[str, Any]
#: Name in the module -> tensor.
Parts: TypeAlias = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Layer:
    """An operator that is the call of a layer.

    Attributes:
        parts: The call's arguments -> name in the module -> the argument that is that parameter or buffer.
        make: Arguments and tensors -> the module, without memory; None: no layer does that.
        call: The module and the arguments -> what the operator returns.
    """

    parts: Callable[[Given], dict[str, Any]]
    make: Callable[[Given, Parts], torch.nn.Module | None]
    call: Callable[[Any, Given], Any]


def _named(*names: str) -> Callable[[Given], dict[str, Any]]:
    return lambda given: {name: given.get(name) for name in names}


def _of(name: str) -> Callable[[Any, Given], Any]:
    return lambda module, given: module(given[name])


def _linear(given: Given, parts: Parts) -> torch.nn.Module:
    return torch.nn.Linear(*reversed(parts["weight"].shape), bias="bias" in parts)


def _embedding(given: Given, parts: Parts) -> torch.nn.Module:
    padding = given.get("padding_idx", -1)
    return torch.nn.Embedding(*parts["weight"].shape, padding_idx=None if padding == -1 else padding)


def _convolution(rank: int) -> Callable[[Given, Parts], torch.nn.Module]:
    def make(given: Given, parts: Parts) -> torch.nn.Module:
        channels, inputs, *sizes = parts["weight"].shape
        groups = given.get("groups", 1)
        found: torch.nn.Module = getattr(torch.nn, f"Conv{rank}d")(
            inputs * groups,
            channels,
            tuple(sizes),
            _several(given.get("stride", 1), rank),
            _several(given.get("padding", 0), rank),
            _several(given.get("dilation", 1), rank),
            groups,
            bias="bias" in parts,
        )
        return found

    return make


def _transposed(rank: int) -> Callable[[Given, Parts], torch.nn.Module]:
    def make(given: Given, parts: Parts) -> torch.nn.Module:
        inputs, channels, *sizes = parts["weight"].shape
        groups = given.get("groups", 1)
        found: torch.nn.Module = getattr(torch.nn, f"ConvTranspose{rank}d")(
            inputs,
            channels * groups,
            tuple(sizes),
            _several(given.get("stride", 1), rank),
            _several(given.get("padding", 0), rank),
            _several(given.get("output_padding", 0), rank),
            groups,
            bias="bias" in parts,
            dilation=_several(given.get("dilation", 1), rank),
        )
        return found

    return make


def _several(value: Any, rank: int) -> Any:
    """One number for all axes, a list of one or of each; "same" stays."""
    if isinstance(value, str):
        return value
    several = list(value) if isinstance(value, list | tuple) else [value]
    return tuple(several * rank if len(several) == 1 else several)


def _batch_norm(given: Given, parts: Parts) -> torch.nn.Module | None:
    # By the batch's own statistics, or with one of weight and bias: no layer of torch.nn.
    if given["training"] or "running_mean" not in parts or ("weight" in parts) != ("bias" in parts):
        return None
    channels = parts["running_mean"].shape[0]
    return torch.nn.BatchNorm2d(channels, given["eps"], given["momentum"], affine="weight" in parts)


def _layer_norm(given: Given, parts: Parts) -> torch.nn.Module:
    return torch.nn.LayerNorm(list(given["normalized_shape"]), given.get("eps", 1e-5), bias="bias" in parts)


def _group_norm(given: Given, parts: Parts) -> torch.nn.Module | None:
    if len(parts) < 2:
        return None
    return torch.nn.GroupNorm(given["num_groups"], parts["weight"].shape[0], given.get("eps", 1e-5))


def _prelu(given: Given, parts: Parts) -> torch.nn.Module:
    return torch.nn.PReLU(parts["weight"].numel())


def _weights(given: Given) -> dict[str, Any]:
    """The weights of a recurrent layer, in the order and with the names of torch.nn's."""
    each = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if given["has_biases"] else ("weight_ih", "weight_hh")
    ways = ("", "_reverse") if given["bidirectional"] else ("",)
    names = [f"{name}_l{at}{way}" for at in range(given["num_layers"]) for way in ways for name in each]
    return dict(zip(names, given["params"], strict=False)) if len(names) == len(given["params"]) else {}


def _recurrent(kind: Any, **more: Any) -> Callable[[Given, Parts], torch.nn.Module]:
    def make(given: Given, parts: Parts) -> torch.nn.Module:
        found: torch.nn.Module = kind(
            parts["weight_ih_l0"].shape[1],
            parts["weight_hh_l0"].shape[1],
            given["num_layers"],
            bias=given["has_biases"],
            batch_first=given["batch_first"],
            dropout=given["dropout"],
            bidirectional=given["bidirectional"],
            **more,
        )
        return found

    return make


def _call_recurrent(module: Any, given: Given) -> Any:
    hx = given.get("hx")
    states = () if hx is None else (tuple(hx) if isinstance(hx, list | tuple) else hx,)
    output, state = module(given["input"], *states)
    return (output, *state) if isinstance(state, tuple) else (output, state)


_AFFINE: Final = _named("weight", "bias")
_BATCH: Final = _named("weight", "bias", "running_mean", "running_var")
_RANKS: Final = (1, 2, 3)
#: ATen's operator -> the layer that it is the call of.
LAYERS: Final[dict[str, Layer]] = {
    "linear": Layer(_AFFINE, _linear, _of("input")),
    "embedding": Layer(_named("weight"), _embedding, _of("indices")),
    **{f"conv{rank}d": Layer(_AFFINE, _convolution(rank), _of("input")) for rank in _RANKS},
    **{f"conv_transpose{rank}d": Layer(_AFFINE, _transposed(rank), _of("input")) for rank in _RANKS},
    "batch_norm": Layer(_BATCH, _batch_norm, _of("input")),
    "layer_norm": Layer(_AFFINE, _layer_norm, _of("input")),
    "group_norm": Layer(_AFFINE, _group_norm, _of("input")),
    "prelu": Layer(_named("weight"), _prelu, _of("self")),
    "lstm": Layer(_weights, _recurrent(torch.nn.LSTM), _call_recurrent),
    "gru": Layer(_weights, _recurrent(torch.nn.GRU), _call_recurrent),
    "rnn_tanh": Layer(_weights, _recurrent(torch.nn.RNN), _call_recurrent),
    "rnn_relu": Layer(_weights, _recurrent(torch.nn.RNN, nonlinearity="relu"), _call_recurrent),
}
