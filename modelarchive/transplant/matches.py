"""What of a source has found its place in a target, and what has not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from modelarchive.nn.target import TargetParameter
from modelarchive.store.deferred import Deferred
from modelarchive.transplant.options import Options


@dataclass
class Move:
    """One array on its way.

    Attributes:
        source: Its name in the source.
        how: In words.
        values: What the target's parameter will hold.
    """

    source: str
    how: str
    values: Deferred


@dataclass
class Matches:
    """Both sides, and what goes where between them.

    Attributes:
        arrays: The source's arrays by name.
        parameters: The target's parameters by name; one that is shared is the same object under all of its names.
        options: How it is to go.
        moves: Target name -> what comes there.
        unexpected: Source names without a place.
        mismatched: Target name -> (expected, found).
    """

    arrays: Mapping[str, np.ndarray | Deferred]
    parameters: Mapping[str, TargetParameter]
    options: Options
    moves: dict[str, Move] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[str, str]] = field(default_factory=dict)
