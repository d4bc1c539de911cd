"""The table of kinds: every word of the vocabulary that is a layer, with its class."""

from __future__ import annotations

from typing import Final

from modelarchive.nn import (
    activation,
    attention,
    convolution,
    dense,
    normalisation,
    pooling,
    positions,
    recurrent,
    resampling,
    shape,
    transposed,
)
from modelarchive.nn.layer import Layer

_MODULES = (
    dense,
    convolution,
    pooling,
    normalisation,
    recurrent,
    attention,
    positions,
    activation,
    shape,
    resampling,
    transposed,
)

#: Kind -> class, of all layers that the layer modules define.
KINDS: Final[dict[str, type[Layer]]] = {
    layer.kind: layer
    for module in _MODULES
    for layer in vars(module).values()
    if isinstance(layer, type)
    and issubclass(layer, Layer)
    and layer.__module__ == module.__name__
    and not layer.__name__.startswith("_")
}
