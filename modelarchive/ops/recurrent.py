"""Recurrences over time: simple (Elman), LSTM and GRU, stacked and in both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive.ops.precision import float_dtype, rounded, widened
from modelarchive.ops.products import multiply
from modelarchive.ops.registry import Array

States: TypeAlias = tuple[Array, ...]


@dataclass(frozen=True)
class Weights:
    """The parameters of one direction of one layer; gates are stacked along the first axis.

    Attributes:
        weight_ih: ``(gates * hidden, inputs)``.
        weight_hh: ``(gates * hidden, hidden)``.
        bias_ih: ``(gates * hidden,)``, or None.
        bias_hh: ``(gates * hidden,)``, or None.
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None = None
    bias_hh: Array | None = None

    @property
    def arrays(self) -> list[Array]:
        """All that there are."""
        return [each for each in (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh) if each is not None]

    def widened(self, dtype: np.dtype[Any]) -> Weights:
        """In the dtype in which a result of `dtype` is computed."""
        return Weights(*widened(dtype, *self.arrays))


#: From the projected input of one step ``(batch, gates * hidden)`` and the states ``(batch, hidden)`` to the next
#: states, which are new arrays; the first of them is the output.
Step: TypeAlias = Callable[[Array, States], States]


@dataclass(frozen=True)
class Cell:
    """One kind of recurrence.

    Attributes:
        states: How many states it carries.
        step: Makes the step function from weights in the dtype of the computation.
        late: Whether the last gate's ``bias_hh`` is the step's business, because the step scales it.
    """

    states: int
    step: Callable[[Weights], Step]
    late: bool = False


#: exp of more has no float32; the sigmoid of less is nothing beside 1.
_LARGEST: Final = 80.0


def _sigmoid(x: Array) -> Array:
    """In place, with all digits also where it is small."""
    np.maximum(x, -_LARGEST, out=x)
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)


def _lstm(weights: Weights) -> Step:
    hidden = weights.weight_hh.shape[1]
    across = weights.weight_hh.T

    def step(gates: Array, states: States) -> States:
        before, cell = states
        sums = before @ across
        sums += gates
        new = np.tanh(sums[:, 2 * hidden : 3 * hidden])
        _sigmoid(sums)  # of all: that of the one gate too many costs less than to leave it out
        new *= sums[:, :hidden]
        new += sums[:, hidden : 2 * hidden] * cell
        return sums[:, 3 * hidden :] * np.tanh(new), new

    return step


def _gru(weights: Weights) -> Step:
    hidden = weights.weight_hh.shape[1]
    across = weights.weight_hh.T
    bias = None if weights.bias_hh is None else weights.bias_hh[2 * hidden :]

    def step(gates: Array, states: States) -> States:
        (before,) = states
        sums = before @ across
        sums[:, : 2 * hidden] += gates[:, : 2 * hidden]
        new = sums[:, 2 * hidden :]
        if bias is not None:
            new += bias
        new *= _sigmoid(sums[:, :hidden])
        new += gates[:, 2 * hidden :]
        return (_mixed(new, sums[:, hidden : 2 * hidden], before),)

    return step


def _gru_reset_first(weights: Weights) -> Step:
    hidden = weights.weight_hh.shape[1]
    across, across_new = weights.weight_hh[: 2 * hidden].T, weights.weight_hh[2 * hidden :].T

    def step(gates: Array, states: States) -> States:
        (before,) = states
        sums = before @ across
        sums += gates[:, : 2 * hidden]
        new = (_sigmoid(sums[:, :hidden]) * before) @ across_new
        new += gates[:, 2 * hidden :]
        return (_mixed(new, sums[:, hidden:], before),)

    return step


def _mixed(new: Array, update: Array, before: Array) -> Array:
    """``(1 - z) * tanh(new) + z * before`` with ``z = sigmoid(update)``; in this form 1 - z loses no digits."""
    ratio = np.exp(np.minimum(update, _LARGEST))
    result = np.tanh(new)
    result += ratio * before
    ratio += 1
    result /= ratio
    return result


def _simple(function: Callable[..., Any]) -> Callable[[Weights], Step]:
    def make(weights: Weights) -> Step:
        across = weights.weight_hh.T

        def step(gates: Array, states: States) -> States:
            sums = states[0] @ across
            sums += gates
            return (function(sums),)

        return step

    return make


def _relu(x: Array) -> Any:
    return np.maximum(x, x.dtype.type(0))


#: Name -> recurrence. "gru" applies the reset gate after the product with ``weight_hh``.
CELLS: Final[dict[str, Cell]] = {
    "relu": Cell(1, _simple(_relu)),
    "tanh": Cell(1, _simple(np.tanh)),
    "lstm": Cell(2, _lstm),
    "gru": Cell(1, _gru, late=True),
    "gru_reset_first": Cell(1, _gru_reset_first),
}


def recurrent(
    cell: str, x: Array, states: Sequence[Array] | None, layers: Sequence[Sequence[Weights]], *, batch_first: bool
) -> tuple[Array, States]:
    """Run stacked recurrences over time, as ``torch.nn.RNN``, ``LSTM`` and ``GRU`` do.

    Args:
        cell: A name of :data:`CELLS`.
        x: ``(time, batch, inputs)``, or ``(batch, time, inputs)`` with `batch_first`.
        states: The states before the first step, each ``(layers * directions, batch, hidden)``; None: zeros.
        layers: For each layer the weights of its one or two directions; each layer takes the outputs of the
            one before, the backward direction's behind the forward one's.
        batch_first: Whether the batch is the first axis of `x` and of the output.

    Returns:
        The last layer's output at every step ``(time, batch, directions * hidden)``, or batch first, and the
        states after the last step, in the shape of `states`; new arrays in the float dtype that inputs and
        parameters share, computed in float32 where that is narrower, and rounded once.
    """
    given = [*(states or ()), *(array for layer in layers for weights in layer for array in weights.arrays)]
    dtype = float_dtype(x, *given)
    (values,) = widened(dtype, x)
    hidden = layers[0][0].weight_hh.shape[1]
    batch = x.shape[0 if batch_first else 1]
    shape = (sum(map(len, layers)), batch, hidden)
    before = [np.zeros(shape, values.dtype)] * CELLS[cell].states if states is None else widened(dtype, *states)
    after = [np.empty(shape, values.dtype) for _ in before]
    row = 0
    for layer in layers:
        outputs = np.empty((*values.shape[:2], len(layer) * hidden), values.dtype)
        for direction, weights in enumerate(layer):
            wide = weights.widened(dtype)
            gates = _projected(CELLS[cell], values, wide)
            place = outputs[..., direction * hidden : (direction + 1) * hidden]
            if batch_first:
                gates, place = gates.swapaxes(0, 1), place.swapaxes(0, 1)
            order = range(len(gates) - 1, -1, -1) if direction else range(len(gates))
            last = _run(CELLS[cell].step(wide), gates, tuple(each[row] for each in before), place, order)
            for state, found in zip(after, last, strict=True):
                state[row] = found
            row += 1
        values = outputs
    return rounded(values, dtype), tuple(rounded(state, dtype) for state in after)


def _projected(cell: Cell, x: Array, weights: Weights) -> Array:
    """What the gates get from the inputs of all steps, in one product; a new array."""
    gates = multiply(x.reshape(-1, x.shape[-1]), weights.weight_ih.T)
    if weights.bias_ih is not None:
        gates += weights.bias_ih
    if weights.bias_hh is not None:
        early = 2 * weights.weight_hh.shape[1] if cell.late else gates.shape[1]
        gates[:, :early] += weights.bias_hh[:early]
    return gates.reshape(*x.shape[:2], gates.shape[1])


def _run(step: Step, gates: Array, states: States, outputs: Array, order: Any) -> States:
    for time in order:
        states = step(gates[time], states)
        outputs[time] = states[0]
    return states
