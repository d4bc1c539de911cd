"""The weights of Keras 1 under the names of Keras 2, and with their axes in its order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange.keras import spelling
from modelarchive.exchange.keras.files import Variables
from modelarchive.exchange.keras.storage import plain_path, without_number
from modelarchive.store.deferred import Deferred

#: What a weight's name ends with -> what Keras 2 calls it.
_NAMES: Final = {
    "W": "kernel",
    "U": "recurrent_kernel",
    "b": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",  # the variance, whatever it is called
    "alphas": "alpha",
    "depthwise_kernel": "depthwise_kernel",
    "pointwise_kernel": "pointwise_kernel",
}
_NAME: Final = re.compile(rf"(.+?)_({'|'.join(sorted(_NAMES, key=len, reverse=True))})(?:_([a-z]))?")
#: Classes whose gates have a weight each, unless they were made for a GPU -> the gates in Keras 2's order.
_GATES: Final = {"LSTM": "ifco", "GRU": "zrh", "ConvLSTM2D": "ifco"}

_Read = Callable[[np.ndarray], np.ndarray]


def renamed(stored: Variables, config: Mapping[str, Any]) -> Variables:
    """What a file of Keras 1 holds, as Keras 2 would have written it.

    Args:
        stored: What the file holds.
        config: The model's JSON, in the words of Keras 2.
    """
    layers: dict[str, tuple[str, Mapping[str, Any]]] = {}

    def visit(name: str, kind: str, settings: Mapping[str, Any]) -> None:
        # A Bidirectional renames the two that it makes of its layer.
        layers.update({f"{side}{name}": (kind, settings) for side in ("", "forward_", "backward_")})

    spelling.walk(config, visit)
    arrays: dict[str, Deferred] = {}
    groups = {"": dict(stored.groups.get("", {}))}
    for group in dict.fromkeys(groups[""].get("layer_names", [])):
        weights = stored.groups.get(group, {}).get("weight_names", [])
        parts: dict[str, dict[str, Deferred]] = {}
        for weight in weights:
            path = plain_path(f"{group}/{weight}")
            if path in stored.arrays:
                where, gate = _place(without_number(weight), layers)
                parts.setdefault(where, {})[gate] = stored.arrays[path]
        for where, gates in parts.items():
            owner, _, variable = where.rpartition("/")
            kind, settings = layers.get(owner, ("", {}))
            arrays[f"{group}/{where}"] = _joined(gates, kind, settings, variable)
        groups[group] = {"weight_names": list(parts)}
    return Variables(arrays, stored.attributes, groups, stored.unknown, stored.behind)


def _place(weight: str, layers: Mapping[str, Any]) -> tuple[str, str]:
    """What Keras 2 calls a weight, and the gate that it is of."""
    found = _NAME.fullmatch(weight)
    if found is None:
        return weight, ""
    owner, name, gate = found.groups()
    kind = layers.get(owner, ("", {}))[0]
    if gate is not None and gate not in _GATES.get(kind, ""):
        return weight, ""
    variable = "embeddings" if kind == "Embedding" and name == "W" else _NAMES[name]
    return f"{owner}/{variable}", gate or ""


def _joined(gates: Mapping[str, Deferred], kind: str, settings: Mapping[str, Any], variable: str) -> Deferred:
    """A variable of Keras 2, from that of Keras 1, or from one for each gate."""
    order = [gate for gate in _GATES.get(kind, "") if gate in gates] or list(gates)
    several = [_turned(gates[gate], _order(gates[gate], kind, settings, variable)) for gate in order]
    if len(several) == 1:
        return several[0]
    first = several[0]
    shape = (*first.shape[:-1], sum(each.shape[-1] if each.shape else 1 for each in several))
    return Deferred(shape, first.dtype, lambda: np.concatenate([each.read() for each in several], axis=-1))


def _order(stored: Deferred, kind: str, settings: Mapping[str, Any], variable: str) -> tuple[Sequence[int], int | None]:
    """Which axis of a kernel stands where in Keras 2, and which is left out there."""
    rank, first = len(stored.shape), settings.get("data_format") == "channels_first"
    if kind == "Conv1D" and variable == "kernel" and rank == 4:
        window = settings.get("kernel_size")
        # The first versions had the axes of Theano's images.
        is_new = stored.shape[:2] == (window, 1) and stored.shape[3] == settings.get("filters")
        return ((0, 2, 3), 1) if is_new else ((2, 1, 0), 3)
    if kind == "Conv2DTranspose" and variable == "kernel" and rank == 4:
        return ((2, 3, 0, 1) if first else (0, 1, 3, 2)), None
    is_kernel = variable.endswith("kernel") and kind in ("Conv2D", "Conv3D", "SeparableConv2D", "ConvLSTM2D")
    if is_kernel and first and rank >= 4:
        return (*range(2, rank), 1, 0), None
    return tuple(range(rank)), None


def _turned(stored: Deferred, order: tuple[Sequence[int], int | None]) -> Deferred:
    axes, dropped = order
    if dropped is None and list(axes) == list(range(len(stored.shape))):
        return stored
    if dropped is not None and stored.shape[dropped] != 1:
        return stored  # no kernel of such a layer, which its shape will say

    def read(array: np.ndarray) -> np.ndarray:
        return array.transpose(*axes) if dropped is None else array.transpose(*axes, dropped)[..., 0]

    shape = tuple(stored.shape[axis] for axis in axes)
    return Deferred(shape, stored.dtype, lambda: read(stored.read()))
