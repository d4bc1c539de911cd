"""How ONNX's recurrences are lifted: one layer of an RNN, LSTM or GRU, its gates in the vocabulary's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context, Lift
from modelarchive.exchange.onnx.lifting_steps import Product, Recurrent, by_steps
from modelarchive.exchange.onnx.values import Constant
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting


@dataclass(frozen=True)
class _Cell:
    """One of the three recurrences.

    Attributes:
        kind: Its kind.
        order: Where the vocabulary's gates are in ONNX's order: i, f, g, o in i, o, f, c; r, z, n in z, r, h.
        functions: The activations that it has by default.
        states: How many states.
    """

    kind: str
    order: tuple[int, ...]
    functions: tuple[str, ...]
    states: int = 1


_CELLS: Final = {
    "RNN": _Cell("RNN", (0,), ("Tanh",)),
    "GRU": _Cell("GRU", (1, 0, 2), ("Sigmoid", "Tanh")),
    "LSTM": _Cell("LSTM", (0, 2, 3, 1), ("Sigmoid", "Tanh", "Tanh"), states=2),
}


def _recurrence(cell: _Cell) -> Lift:
    def lift(context: Context) -> tuple[Any, ...]:
        node = context.node
        direction, last = node.text("direction", "forward"), node.flag("layout", default=False)
        if direction not in ("forward", "reverse", "bidirectional"):
            raise Refusal(f"direction = {direction!r} is not supported")
        directions = 2 if direction == "bidirectional" else 1
        if _is_special(context, cell, directions):
            context.note(f"is no {cell.kind} of the vocabulary: its steps are written out")
            return by_steps(context, cell.kind, lambda place: _products(context, cell, place))
        config = _config(context, cell, directions)
        hidden = config["hidden_size"]
        parameters = _parameters(context, cell, directions, hidden)
        config["input_size"] = parameters["weight_ih_l0"].array.shape[1]
        config["return_state"] = any(context.used(1 + place) for place in range(cell.states))
        x = context.op("transpose", context.ref(0), axes=[1, 0, 2]) if last else context.ref(0)
        x = _backwards(context, x) if direction == "reverse" else x
        found = context.block(config, x, *_states(context, cell, transposed=last), **parameters)
        output = Ref(found.name, 0) if config["return_state"] else found
        output = _backwards(context, output) if direction == "reverse" else output
        results: list[Any] = [_apart(context, output, directions, hidden, last=last) if context.used(0) else None]
        for place in range(cell.states):
            state = Ref(found.name, 1 + place)
            if not context.used(1 + place):
                results.append(None)
            else:
                results.append(context.op("transpose", state, axes=[1, 0, 2]) if last else state)
        return tuple(results)

    return lift


def _is_special(context: Context, cell: _Cell, directions: int) -> bool:
    """Whether it has something that the kind does not: other activations or lengths, peepholes, computed weights."""
    node, default = context.node, list(cell.functions) * directions
    functions = [each.lower() for each in node.texts("activations", default)]
    known = [[each.lower() for each in default]]
    known += [["relu"] * directions] if cell.kind == "RNN" else []
    numbers = [node.numbers(name, None) for name in ("activation_alpha", "activation_beta")]
    peepholes = context.has(7) and not _is_zero(context, 7)
    computed = any(context.has(index) and not context.is_constant(index) for index in (1, 2, 3))
    held = node.number("clip", None) is not None or node.flag("input_forget", default=False)
    return functions not in known or any(numbers) or held or peepholes or computed or _is_cut(context)


def _is_cut(context: Context) -> bool:
    """Whether sequences end before the last step."""
    if not context.has(4):
        return False
    steps = context.shape(0)[1 if context.node.flag("layout", default=False) else 0]
    return not (context.is_constant(4) and steps is not None and bool((context.constant(4) == steps).all()))


def _products(context: Context, cell: _Cell, place: int) -> tuple[Product, Recurrent]:
    """What the input and the states are multiplied with in one direction."""
    own, states = (
        context.op("transpose", context.op("slice", context.ref(index), index=[place]), axes=[1, 0]) for index in (1, 2)
    )
    gates = len(cell.order)
    parts = context.op("split", states, sizes=gates, axis=1).parts(gates) if gates > 1 else (states,)

    def recurrent(h: Ref, first: int, last: int) -> Ref:
        whole = (first, last) == (0, gates)
        matrix = states if whole else parts[first]
        if not whole and last - first > 1:
            matrix = context.op("concatenate", *parts[first:last], axis=1)
        return context.op("matmul", h, matrix)

    return lambda x: context.op("matmul", x, own), recurrent


def _config(context: Context, cell: _Cell, directions: int) -> dict[str, Any]:
    node = context.node
    config: dict[str, Any] = {
        "kind": cell.kind,
        "hidden_size": node.integer("hidden_size", None) or context.stored(2).array.shape[-1],
        "num_layers": 1,
        "layout": "TNC",
        "dropout": 0.0,
        "bidirectional": directions == 2,
        "use_bias": context.has(3),
    }
    if cell.kind == "RNN":
        config["activation"] = node.texts("activations", ["Tanh"])[0].lower()
    if cell.kind == "GRU":
        config["linear_before_reset"] = node.flag("linear_before_reset", default=False)
    return config


def _parameters(context: Context, cell: _Cell, directions: int, hidden: int) -> dict[str, Constant]:
    gates = len(cell.order)
    found = {}
    for name, index in (("weight_ih", 1), ("weight_hh", 2)):
        stored = context.stored(index)
        shape = stored.array.shape
        if len(shape) != 3 or shape[:2] != (directions, gates * hidden) or (index == 2 and shape[2] != hidden):
            raise Refusal(f"input {index} has the shape {shape}, expected {directions} by {gates * hidden} rows")
        for place in range(directions):
            own = f"{name}_l0{'_reverse' if place else ''}"
            found[own] = _gates(stored, place, cell.order, range(gates), shape[1:])
    if context.has(3):
        stored = context.stored(3)
        if stored.array.shape != (directions, 2 * gates * hidden):
            raise Refusal(f"the biases have the shape {stored.array.shape}, expected {directions} by twice the gates")
        for place in range(directions):
            tail = "_reverse" if place else ""
            rows = (gates * hidden,)
            found[f"bias_ih_l0{tail}"] = _gates(stored, place, cell.order, range(gates), rows)
            found[f"bias_hh_l0{tail}"] = _gates(stored, place, cell.order, range(gates, 2 * gates), rows)
    return found


def _gates(
    stored: Constant, place: int, order: Sequence[int], which: Sequence[int], shape: tuple[int, ...]
) -> Constant:
    """The rows of one direction, gate by gate in the vocabulary's order."""
    blocks = [which[gate] for gate in order]
    size = shape[0] // len(order)
    tail = shape[1:]

    def cut(x: np.ndarray) -> np.ndarray:
        return np.reshape(np.reshape(x[place], (-1, size, *tail))[blocks], shape)

    return Constant(stored.array.changed(cut, shape), stored.stored, f"gates {blocks} of {place}")


def _states(context: Context, cell: _Cell, *, transposed: bool) -> list[Ref]:
    places = range(5, 5 + cell.states)
    given = [context.has(place) and not _is_zero(context, place) for place in places]
    if not any(given):
        return []
    # The one that is not given is zeros, of the other's shape.
    there = next(context.ref(place) for place in places if context.has(place))
    zeros = context.literal(0, context.dtype(0))
    refs = []
    for place in places:
        ref = context.ref(place) if context.has(place) else context.op("broadcast_to", zeros, there, shape=[None] * 3)
        refs.append(context.op("transpose", ref, axes=[1, 0, 2]) if transposed else ref)
    return refs


def _is_zero(context: Context, place: int) -> bool:
    return context.is_constant(place) and not np.any(context.constant(place))


def _backwards(context: Context, ref: Ref) -> Ref:
    return context.op("slice", ref, index=[[None, None, -1]])


def _apart(context: Context, ref: Ref, directions: int, hidden: int, *, last: bool) -> Ref:
    """The output with the directions on an axis of their own."""
    if directions == 1:
        ref = context.op("expand_dims", ref, axis=1)
    else:
        apart = context.op("reshape", ref, shape=[None, None, directions, hidden])
        ref = context.op("transpose", apart, axes=[0, 2, 1, 3])
    return context.op("transpose", ref, axes=[2, 0, 1, 3]) if last else ref


_LOSSES: Final = (
    "with lengths, clip, peepholes, computed weights or other activations step by step, of which there has to be a "
    "known number"
)
ROWS: Final[list[Lifting]] = [Lifting(name, name, _recurrence(cell), _LOSSES) for name, cell in _CELLS.items()]
