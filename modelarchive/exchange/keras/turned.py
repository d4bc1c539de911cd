"""A layer's variables in the vocabulary's order of axes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelarchive.exchange.keras.weights import Fields, Weight
from modelarchive.store.deferred import Deferred


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
