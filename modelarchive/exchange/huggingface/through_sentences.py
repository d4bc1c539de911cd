"""A network that transformers built, and what sentence-transformers puts behind it, as PyTorch runs both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from modelarchive.errors import ConversionError
from modelarchive.exchange import torch as modules
from modelarchive.exchange.huggingface.sentences import Pooling
from modelarchive.store.deferred import Deferred

_ACTIVATIONS: Final[dict[str | None, Callable[[Any], Any]]] = {
    None: lambda x: x,
    "gelu": torch.nn.functional.gelu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
}


class Sentences(torch.nn.Module):  # type: ignore[misc]
    """Words and their mask to one vector of each text; the network's own parameters keep their names.

    Args:
        network: Of a class of transformers.
        pooling: How its places become one vector.
        arrays: The parameters of dense layers behind.

    Raises:
        ConversionError: These are missing, or of other shapes.
    """

    def __init__(self, network: torch.nn.Module, pooling: Pooling, arrays: Mapping[str, Deferred]) -> None:
        super().__init__()
        for name, child in network.named_children():
            self.add_module(name, child)
        for name, parameter in network.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self._network = [network]  # no child: its parts have their names here
        self._pooling = pooling
        wanted: dict[str, Any] = {}
        for each in pooling.dense:
            linear = torch.nn.Linear(each.inputs, each.units, bias=each.use_bias)
            self.add_module(each.name, torch.nn.ModuleDict({"linear": linear}))
            wanted |= {f"{each.name}.linear.{name}": parameter for name, parameter in linear.named_parameters()}
        problems = [
            (name, f"has the shape {arrays[name].shape}, expected {tuple(parameter.shape)}" if name in arrays else
             "is not in the files")
            for name, parameter in wanted.items()
            if name not in arrays or arrays[name].shape != tuple(parameter.shape)
        ]  # fmt: skip
        if problems:
            raise ConversionError(problems)
        for name, parameter in wanted.items():
            parameter.data = modules.tensors_of(arrays[name].read())

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """``(batch, length)`` both; ``(batch, size)``."""
        x = self._network[0](input_ids=input_ids, attention_mask=attention_mask)[0]
        weight = attention_mask[:, :, None].to(x.dtype)
        found = [_POOLINGS[mode](x, weight) for mode in self._pooling.modes]
        whole = found[0] if len(found) == 1 else torch.cat(found, dim=1)
        for each in self._pooling.dense:
            linear: Any = self.get_submodule(f"{each.name}.linear")
            whole = _ACTIVATIONS[each.activation](linear(whole))
        return torch.nn.functional.normalize(whole, dim=1) if self._pooling.is_normalised else whole


def _mean(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1e-9)


def _last(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    places = torch.ones_like(weight).cumsum(1)
    return torch.where(places == (places * weight).amax(1, keepdim=True), x, 0.0).sum(1)


#: As :data:`sentences.POOLINGS`, in PyTorch.
_POOLINGS: Final[dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "pooling_mode_cls_token": lambda x, weight: x[:, 0],
    "pooling_mode_max_tokens": lambda x, weight: torch.where(weight > 0, x, -1e9).amax(1),
    "pooling_mode_mean_tokens": _mean,
    "pooling_mode_mean_sqrt_len_tokens": lambda x, weight: (x * weight).sum(1) / weight.sum(1).clamp(min=1e-9).sqrt(),
    "pooling_mode_weightedmean_tokens": lambda x, weight: _mean(x, weight * weight.cumsum(1)),
    "pooling_mode_lasttoken": _last,
}
