"""A row of the tables: what one class of Keras' layers, or of its operations, is lifted to."""

from __future__ import annotations

from dataclasses import dataclass

from modelarchive.exchange import rows
from modelarchive.exchange.keras.lifting_context import Lift
from modelarchive.exchange.keras.weights import Weight


@dataclass(frozen=True)
class Lifting(rows.Lifting):
    """A class of layers, or of operations.

    Attributes:
        weights: Its variables, in the order of Keras' ``layer.weights``.
        masks: What it does with a mask that its input carries: "pass" it on, "drop" it, or "use" it.
    """

    weights: tuple[Weight, ...] = ()
    masks: str = "pass"


def operation(theirs: str, ours: str, lift: Lift, losses: str = "") -> Lifting:
    """A row of an operation: it has no variables, and no mask goes on behind it."""
    return Lifting(theirs, ours, lift, losses, masks="drop")
