"""Sizes of free axes that fit a network: its shapes are followed for one trial after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from modelarchive.nn.axes import Inputs, groups_of
from modelarchive.nn.block import Block
from modelarchive.nn.evaluate import Evaluator, Value
from modelarchive.nn.trials import NoFit, Trial, finest, fitting

#: Layers and ops whose shapes are followed in search of sizes, all together.
_STEPS: Final = 200_000


class _SpentError(Exception):
    """The network is too large to be followed that often."""


class _Counting(Evaluator):
    """Follows shapes until all steps are spent."""

    def __init__(self) -> None:
        self._left = _STEPS

    def block(self, block: Block, values: Sequence[Value]) -> Value:
        """One block."""
        self._spend()
        return super().block(block, values)

    def op(self, name: str, values: Sequence[Value], arguments: dict[str, Any]) -> Value:
        """One op."""
        self._spend()
        return super().op(name, values, arguments)

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _SpentError


def fitting_trial(block: Block, inputs: Inputs, take_back: Callable[[], None]) -> Trial:
    """The first sizes that fit.

    Args:
        block: The network.
        inputs: What its architecture declares.
        take_back: Takes back what was learned of the parameters' shapes.

    Raises:
        NoFit: None does, or the network is too large to be followed that often.
    """
    evaluator = _Counting()

    def attempt(trial: Trial) -> list[str]:
        take_back()
        try:
            evaluator.block(block, trial.values)
        except ValueError as error:
            return [str(error)]
        return []

    try:
        return fitting(inputs, attempt)
    except _SpentError:
        raise NoFit(by_size=True) from None


def finest_trial(block: Block, trial: Trial) -> Trial:
    """A trial that fits, with axes that need not be of one size told apart.

    Args:
        block: The network; the shapes of its parameters are known.
        trial: The trial.
    """
    if len(trial.groups) == len(groups_of(trial.inputs)):
        return trial
    evaluator = _Counting()

    def fits(other: Trial) -> bool:
        try:
            evaluator.block(block, other.values)
        except ValueError:
            return False
        return True

    try:
        return finest(trial, fits)
    except _SpentError:
        return trial
