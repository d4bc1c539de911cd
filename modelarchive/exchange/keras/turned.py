"""A layer's variables in the vocabulary's order of axes, and kernels the other way round."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from modelarchive.exchange.keras.weights import Fields, Weight
from modelarchive.store.deferred import Deferred

#: Layers whose kernels Theano moves over their input backwards.
MIRRORED: Final = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "Conv3DTranspose", "ConvLSTM2D")


@dataclass(frozen=True, eq=False)
class Turned(Deferred):
    """A variable, or a part of one, in the vocabulary's order of axes.

    Attributes:
        stored: The variable as Keras has it.
        weight: How the two come from each other.
        fields: The kind's fields.
        index: Which of the arrays that the variable becomes.
    """

    stored: Deferred | None = None
    weight: Weight | None = None
    fields: Fields = field(default_factory=dict)
    index: int = 0


def turned(stored: Deferred, weight: Weight, fields: dict[str, Any], index: int) -> Deferred:
    """A variable as the vocabulary has it: in another order of axes, mostly a view."""
    # What the function does to the shape, tried on an array that takes no memory.
    shape = weight.read(np.broadcast_to(np.bool_(), stored.shape), fields)[index].shape
    view = stored.view
    return Turned(
        tuple(shape),
        stored.dtype,
        lambda: weight.read(stored.read(), fields)[index],
        None if view is None else lambda: weight.read(view(), fields)[index],
        stored=stored,
        weight=weight,
        fields=fields,
        index=index,
    )


def mirrored(stored: Deferred) -> Deferred:
    """A kernel (*window, in, out) with its window the other way round."""
    window = (slice(None, None, -1),) * (len(stored.shape) - 2)
    return Deferred(stored.shape, stored.dtype, lambda: stored.read()[window])
