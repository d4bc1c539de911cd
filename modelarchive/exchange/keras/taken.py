"""Which masks are gone where a layer looks for them: Keras 3 takes them off what a MultiHeadAttention is called on.

Most layers are given their masks when a model is made, and files say so. Attention and products look at their tensors
when the model runs, and there the first attention has left none to those that run after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from modelarchive.exchange.budget import spend
from modelarchive.exchange.keras.model import Call, Layer, Model, Tensor
from modelarchive.exchange.refusal import Refusal

#: Layers that look for masks when they run.
LOOKING: Final = (
    "MultiHeadAttention",
    "GroupQueryAttention",
    "GroupedQueryAttention",
    "Multiply",
    "Maximum",
    "Minimum",
)
#: The one that takes them away.
_TAKING: Final = "MultiHeadAttention"
#: Layers that give in inference the very tensor that they are called on.
_ITSELF: Final = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise",
                  "GaussianDropout", "AlphaDropout", "ActivityRegularization", "Identity")  # fmt: skip

#: A call: the layer's name, and which of its calls.
_Key = tuple[str, int]


class Taken:
    """The order in which the calls of a model run, as far as it is certain.

    Args:
        model: The model.
    """

    def __init__(self, model: Model) -> None:
        self._layers = {layer.name: layer for layer in model.layers}
        self._calls: dict[_Key, list[Tensor]] = {}
        self._after: dict[_Key, list[_Key]] = {}
        self._reached: dict[_Key, set[_Key]] = {}
        self._takers: dict[Tensor, list[_Key]] = {}
        if not any(layer.kind == _TAKING for layer in model.layers):
            return
        for layer in model.layers:
            for number, call in enumerate(layer.calls):
                key = (layer.name, number)
                self._calls[key] = list(tensors_of(call))
                for tensor in self._calls[key]:
                    self._after.setdefault((tensor.layer, tensor.call), []).append(key)
        for layer in model.layers:
            for number, _ in enumerate(layer.calls if layer.kind == _TAKING else ()):
                for tensor in dict.fromkeys(self._calls[layer.name, number]):
                    self._takers.setdefault(self._itself(tensor), []).append((layer.name, number))

    def is_gone(self, name: str, number: int, tensor: Tensor, has_mask: Callable[[Tensor], bool]) -> bool:
        """Whether the mask of a tensor is gone where a call looks for it; `has_mask` tells which tensors had one.

        Raises:
            Refusal: That depends on which of two calls runs first, and neither waits for the other.
        """
        pending = [((name, number), tensor)]
        seen = set(pending)
        while pending:
            step, given = pending.pop()
            given = self._itself(given)
            for taker in self._takers.get(given, ()):
                if taker == step:
                    continue
                if step in self._behind(taker):
                    return True
                if taker not in self._behind(step):
                    what = f"takes the mask of {given.layer!r} away when it runs, before or after {step[0]!r}"
                    raise Refusal(f"{taker[0]!r} {what}, which nothing in the model decides")
            source, layer = (given.layer, given.call), self._layers.get(given.layer)
            several = self._calls.get(source, [])
            if layer is not None and several and layer.calls[given.call].kwargs.get("mask") is not None:
                continue  # the mask that it was given when the model was made
            # Attention has the mask of its query; all else has those of all that it takes.
            for each in several[:1] if layer is not None and "Attention" in layer.kind else several:
                if (source, each) not in seen and has_mask(each):
                    seen.add((source, each))
                    pending.append((source, each))
        return False

    def _itself(self, tensor: Tensor) -> Tensor:
        """The tensor that it is, behind layers that do nothing in inference."""
        for _ in range(len(self._layers)):
            layer, key = self._layers.get(tensor.layer), (tensor.layer, tensor.call)
            if layer is None or not _is_itself(layer) or len(self._calls.get(key, ())) != 1:
                break
            tensor = self._calls[key][0]
        return tensor

    def _behind(self, key: _Key) -> set[_Key]:
        """The calls that wait for one."""
        if key not in self._reached:
            found: set[_Key] = set()
            pending = [key]
            while pending:
                for each in self._after.get(pending.pop(), ()):
                    if each not in found:
                        found.add(each)
                        pending.append(each)
            spend("the order of its calls", steps=len(found))
            self._reached[key] = found
        return self._reached[key]


def tensors_of(call: Call) -> Iterator[Tensor]:
    """The tensors that a layer is called on, in order."""
    pending: list[object] = [*call.args, *call.kwargs.values()][::-1]
    while pending:
        each = pending.pop()
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, list | dict):
            pending += list(each.values() if isinstance(each, dict) else each)[::-1]


def _is_itself(layer: Layer) -> bool:
    is_linear = layer.kind == "Activation" and layer.config.values.get("activation") == "linear"
    return layer.kind in _ITSELF or is_linear
