"""ATen operators that go through the steps of an axis, said step by step in ops: where no layer says them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context
from modelarchive.exchange.torch.lifting_layers import RECURRENT, is_zeros
from modelarchive.exchange.torch.lifting_shapes import picked
from modelarchive.nn.dim import Dim

#: Steps that are said one by one, those of all layers together.
_MOST: Final = 256

#: (what the input adds to the gates, the states, the layer's weights) -> the next states, of which the first is output.
_Step = Callable[[Any, list[Any], Sequence[Any]], list[Any]]


def _row(step: _Step, states: int) -> Callable[..., Any]:
    def row(context: Context, x: Any, *, params: Sequence[Any] = (), **given: Any) -> Any:
        if "batch_sizes" in given:
            raise Refusal(f"the operator {context.name!r} of a packed sequence is not supported")
        time = 1 if given["batch_first"] else 0
        layers, ways = given["num_layers"], 2 if given["bidirectional"] else 1
        _refuse_many(context, x.shape[time], layers * ways)
        before = given["hx"] if states == 2 else [given["hx"]]
        nodes = context.node.args[1] if states == 2 else [context.node.args[1]]
        are_zeros = all(map(is_zeros, nodes))
        each = len(params) // (layers * ways)
        last: list[list[Any]] = [[] for _ in range(states)]
        for layer in range(layers):
            sides = []
            for way in range(ways):
                at = layer * ways + way
                own = None if are_zeros else [picked(state, 0, at) for state in before]
                weights = _weights(params[at * each : (at + 1) * each], has_biases=given["has_biases"])
                outputs, ends = _gone(step, x, own, weights, time, states, backwards=way == 1)
                sides.append(outputs)
                for place, end in zip(last, ends, strict=True):
                    place.append(end)
            x = sides[0] if ways == 1 else ops.concatenate(sides, axis=-1)
        return x, *(ops.stack(each, axis=0) for each in last)

    return row


def _refuse_many(context: Context, steps: Any, times: int) -> None:
    if isinstance(steps, Dim) or steps * times > _MOST:
        number = "any number of them" if isinstance(steps, Dim) else f"{steps} in {times} layers and directions"
        raise Refusal(
            f"{context.name} with projected states (proj_size) or with computed weights is said step by step, and has "
            f"{number}: give it a fixed number, {_MOST} at most in all"
        )


def _weights(params: Sequence[Any], *, has_biases: bool) -> list[Any]:
    """Weights of the input and of the state, their biases or None, and the projection or None."""
    found = [*params[:2], *(params[2:4] if has_biases else (None, None))]
    rest = params[4 if has_biases else 2 :]
    return [*found, rest[0] if rest else None]


def _gone(
    step: _Step, x: Any, before: list[Any] | None, weights: Sequence[Any], time: int, states: int, *, backwards: bool
) -> tuple[Any, list[Any]]:
    """The outputs of all steps, and the last states."""
    steps = x.shape[time]
    gates = _linear(x, weights[0], weights[2])
    now = before
    outputs: list[Any] = [None] * steps
    for at in reversed(range(steps)) if backwards else range(steps):
        gate = picked(gates, time, at)
        now = step(gate, _zeros(gate, weights, states) if now is None else now, weights)
        outputs[at] = now[0]
    return ops.stack(outputs, axis=time), list(now or ())


def _zeros(gate: Any, weights: Sequence[Any], states: int) -> list[Any]:
    """States of zeros: the first as wide as what is fed back, the second as there are units."""
    hidden = weights[1].shape[1]
    units = hidden if weights[4] is None else weights[4].shape[1]
    rows = ops.sum(ops.multiply(gate, 0), axis=-1, keepdims=True)
    return [ops.multiply(rows, np.ones((1, each), gate.dtype)) for each in (hidden, units)[:states]]


def _linear(x: Any, weight: Any, bias: Any) -> Any:
    found = ops.matmul(x, ops.transpose(weight, axes=[1, 0]))
    return found if bias is None else ops.add(found, bias)


def _parts(x: Any, number: int) -> Iterator[Any]:
    size = x.shape[-1] // number
    return (picked(x, -1, slice(at * size, (at + 1) * size)) for at in range(number))


def _sigmoid(x: Any) -> Any:
    return ops.divide(1, ops.add(1, ops.exp(ops.negative(x))))


def _lstm(gate: Any, states: list[Any], weights: Sequence[Any]) -> list[Any]:
    hidden, cell = states
    enters, keeps, new, shows = _parts(ops.add(gate, _linear(hidden, weights[1], weights[3])), 4)
    cell = ops.add(ops.multiply(_sigmoid(keeps), cell), ops.multiply(_sigmoid(enters), np.tanh(new)))
    hidden = ops.multiply(_sigmoid(shows), np.tanh(cell))
    return [hidden if weights[4] is None else _linear(hidden, weights[4], None), cell]


def _gru(gate: Any, states: list[Any], weights: Sequence[Any]) -> list[Any]:
    (hidden,) = states
    resets, updates, new = _parts(gate, 3)
    own_resets, own_updates, own_new = _parts(_linear(hidden, weights[1], weights[3]), 3)
    reset, update = _sigmoid(ops.add(resets, own_resets)), _sigmoid(ops.add(updates, own_updates))
    new = np.tanh(ops.add(new, ops.multiply(reset, own_new)))
    return [ops.add(new, ops.multiply(update, ops.subtract(hidden, new)))]


def _rnn(activation: Callable[[Any], Any]) -> _Step:
    def step(gate: Any, states: list[Any], weights: Sequence[Any]) -> list[Any]:
        return [activation(ops.add(gate, _linear(states[0], weights[1], weights[3])))]

    return step


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = dict(
    zip(
        RECURRENT,
        (_row(_lstm, 2), _row(_gru, 1), _row(_rnn(np.tanh), 1), _row(_rnn(lambda x: ops.maximum(x, 0)), 1)),
        strict=True,
    )
)
