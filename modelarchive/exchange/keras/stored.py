"""The values of a layer's variables, in Keras' order and form, by the table of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelarchive.exchange.keras.lifting import LAYERS
from modelarchive.exchange.keras.weights import present
from modelarchive.nn import Layer, Parameter

#: The values of each variable, and the parameters that they come from.
Stored = list[tuple[np.ndarray, Sequence[Parameter]]]


def stored(theirs: str, layer: Layer, parameters: Mapping[str, Parameter] | None = None, **fields: Any) -> Stored:
    """What the variables of a Keras layer hold.

    Args:
        theirs: Its class.
        layer: The layer of the network.
        parameters: Its parameters by their own names; None: those that it has.
        fields: Fields that differ from the layer's.
    """
    own = layer.collect_params() if parameters is None else parameters
    config = {**layer.config(), **fields}
    return [
        (each.write([own[name].value() for name in each.ours], config), [own[name] for name in each.ours])
        for each in present(LAYERS[theirs].weights, config)
    ]
