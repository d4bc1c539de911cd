"""How recurrences are lowered to ONNX: one operator for each layer of them, its parameters in one array a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive.exchange.onnx.emitting import Entry
from modelarchive.exchange.onnx.lowering_context import Context, Lowering, Value
from modelarchive.names import joined

#: Kind -> where the gates of ONNX's order are in ours: i, o, f, c in i, f, g, o; z, r, h in r, z, n.
_GATES: Final[dict[str, tuple[int, ...]]] = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


def _recurrent(context: Context, layer: Any, given: list[Value]) -> Any:
    x = context.array(given[0])
    turned = layer.layout == "NTC"
    x = context.op("Transpose", x, perm=[1, 0, 2]) if turned else x
    directions = 2 if layer.bidirectional else 1
    attributes: dict[str, Any] = {
        "hidden_size": layer.hidden_size,
        "direction": "bidirectional" if layer.bidirectional else "forward",
    }
    if layer.kind == "GRU":
        attributes["linear_before_reset"] = int(layer.linear_before_reset)
    if layer.kind == "RNN":
        attributes["activations"] = [layer.activation.capitalize()] * directions
    before = [_cut(context, context.array(each), layer.num_layers, directions) for each in given[1:]]
    after: list[list[Entry]] = [[] for _ in layer.states]
    for number in range(layer.num_layers):
        inputs = [x, *_parameters(context, layer, number)]
        if before:
            # Between them would be how long each sequence is.
            inputs += [*[""] * (5 - len(inputs)), *(states[number] for states in before)]
        output, *last = context.ops(layer.kind, 1 + len(layer.states), *inputs, **attributes)
        for states, each in zip(after, last, strict=True):
            states.append(each)
        # ONNX has the direction as an axis of its own: (time, directions, batch, hidden).
        if layer.bidirectional:
            output = context.op("Transpose", output, perm=[0, 2, 1, 3])
            x = context.op("Reshape", output, context.ints([0, 0, directions * layer.hidden_size]))
        else:
            x = context.op("Squeeze", output, context.ints([1]))
    x = context.op("Transpose", x, perm=[1, 0, 2]) if turned else x
    if not layer.return_state:
        return x
    joined_states = [context.op("Concat", *states, axis=0) if len(states) > 1 else states[0] for states in after]
    return (x, *joined_states)


def _cut(context: Context, states: Entry, layers: int, directions: int) -> list[Entry]:
    """The states of all layers, layer by layer."""
    if layers == 1:
        return [states]
    return context.ops("Split", layers, states, context.ints([directions] * layers), axis=0)


def _parameters(context: Context, layer: Any, number: int) -> list[Entry]:
    """W, R and B of one layer: both directions, with ONNX's order of gates."""
    suffixes = [f"l{number}", f"l{number}_reverse"][: 2 if layer.bidirectional else 1]
    rows = layer.gates * layer.hidden_size
    ordered = _in_order(layer.gates, _GATES[layer.kind])
    found = []
    for name in ("weight_ih", "weight_hh"):
        own = [layer.parameters[f"{name}_{suffix}"] for suffix in suffixes]
        shape = (len(own), rows, own[0].known_shape[1])
        preferred = joined(context.path, f"{name}_l{number}")
        found.append(context.emitter.packed(preferred, own, shape, context.dtype, ordered))
    if layer.use_bias:
        own = [layer.parameters[f"{name}_{suffix}"] for suffix in suffixes for name in ("bias_ih", "bias_hh")]

        def both(arrays: list[np.ndarray]) -> np.ndarray:
            return ordered(arrays).reshape(len(suffixes), 2 * rows)

        preferred = joined(context.path, f"bias_l{number}")
        found.append(context.emitter.packed(preferred, own, (len(suffixes), 2 * rows), context.dtype, both))
    return found


def _in_order(gates: int, order: tuple[int, ...]) -> Callable[[list[np.ndarray]], np.ndarray]:
    """Stacks arrays, the gates of each in another order."""

    def pack(arrays: list[np.ndarray]) -> np.ndarray:
        split = [each.reshape(gates, len(each) // gates, *each.shape[1:])[list(order)] for each in arrays]
        return np.stack([each.reshape(one.shape) for each, one in zip(split, arrays, strict=True)])

    return pack


#: Kind -> how it is lowered.
RECURRENT: Final[dict[str, Lowering]] = {
    kind: Lowering(
        kind, _recurrent, single=True, losses="dropout between layers is left out; gates are put in ONNX's order"
    )
    for kind in _GATES
}
