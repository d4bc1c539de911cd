"""What a row of the tables of layers and operations says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modelarchive.exchange.keras.weights import Weight


@dataclass(frozen=True)
class Row:
    """A class of layers, or of operations.

    Attributes:
        theirs: The class in ``keras.layers``, or behind a function of ``keras.ops``.
        ours: The kind or op that it becomes; several where it takes several.
        read: Adds to a graph what a call does, and gives the reference to its result, or those of several.
        weights: Its variables, in the order of Keras' ``layer.weights``.
        losses: What is lost or changed, in one short sentence.
        masks: What it does with a mask that its input carries: "pass" it on, "drop" it, or "use" it.
    """

    theirs: str
    ours: str
    read: Callable[[Any], Any]
    weights: tuple[Weight, ...] = ()
    losses: str = ""
    masks: str = "pass"
