"""How recurrent layers are lowered to Keras: one of its layers for each layer and direction."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.keras.emitting import Tensor
from modelarchive.exchange.keras.lowering_context import Context, Value
from modelarchive.exchange.keras.lowering_shapes import sliced
from modelarchive.exchange.keras.stored import Stored, stored
from modelarchive.exchange.rows import Lowering
from modelarchive.nn import Parameter

_CLASSES: Final = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "SimpleRNN"}


def _recurrent(context: Context, layer: Any, given: list[Value]) -> Value | tuple[Value, ...]:
    x = context.plain(given[0], context.dtype)
    if layer.layout == "TNC":
        x = context.permuted(x, (1, 0, 2))
    states = [context.plain(each, context.dtype) for each in given[1:]]
    last: list[list[Tensor]] = [[] for _ in layer.states]
    for at in range(layer.num_layers):
        if at and layer.dropout:
            x = context.layer("Dropout", x, role=f"dropout{at}", rate=layer.dropout)
        x, found = _one_layer(context, layer, at, x, states)
        for several, each in zip(last, found, strict=True):
            several += each
    if layer.layout == "TNC":
        x = context.permuted(x, (1, 0, 2))
    if not layer.return_state:
        return context.result(x)
    stacked = [context.op("stack", each, axis=0) for each in last]
    return tuple(Value(each, known) for known, each in zip(context.known, [x, *stacked], strict=True))


def _one_layer(
    context: Context, layer: Any, at: int, x: Tensor, states: list[Tensor]
) -> tuple[Tensor, list[list[Tensor]]]:
    """The output, and for each state those of the directions."""
    theirs = _CLASSES[layer.kind]
    config: dict[str, Any] = {
        "units": layer.hidden_size,
        "use_bias": layer.use_bias,
        "return_sequences": True,
        "return_state": layer.return_state,
    }
    if theirs == "GRU":
        config["reset_after"] = layer.linear_before_reset
    if theirs == "SimpleRNN":
        config["activation"] = layer.activation
    directions = 2 if layer.bidirectional else 1
    call = {}
    if states:
        rows = range(at * directions, (at + 1) * directions)
        picked = [sliced(context, state, (row,)) for row in rows for state in states]
        call = {"initial_state": picked}
    role = f"l{at}" if layer.num_layers > 1 else ""
    weights: Stored = []
    for suffix in (f"l{at}", f"l{at}_reverse")[:directions]:
        weights += _weights(context, theirs, layer, suffix)
    if directions == 1:
        made = context.layer(theirs, x, role=role, weights=weights, call=call, **config)
    else:
        dtype = context.dtype
        inner = getattr(context.emitter.keras.layers, theirs)(name="forward", dtype=dtype, **config)
        made = context.layer("Bidirectional", x, role=role, weights=weights, call=call, layer=inner)
    if not layer.return_state:
        return made, [[] for _ in layer.states]
    output, *found = made
    count = len(layer.states)
    return output, [[found[way * count + which] for way in range(directions)] for which in range(count)]


def _weights(context: Context, theirs: str, layer: Any, suffix: str) -> Stored:
    """The variables of one direction; the two biases are one in Keras, but for a GRU that resets after."""
    names = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if layer.use_bias else ()))
    own: dict[str, Parameter] = {f"{name}_l0": layer.parameters[f"{name}_{suffix}"] for name in names}
    summed = layer.use_bias and not (theirs == "GRU" and layer.linear_before_reset)
    if summed and all(np.any(own[f"{name}_l0"].value()) for name in ("bias_ih", "bias_hh")):
        context.note("its two biases are one in Keras: their sum")
    return stored(theirs, layer, own, num_layers=1, bidirectional=False)


#: Kind -> how it is lowered.
RECURRENT: Final = {
    "LSTM": Lowering("LSTM Bidirectional", _recurrent, "the two biases become their sum"),
    "GRU": Lowering("GRU Bidirectional", _recurrent),
    "RNN": Lowering("SimpleRNN Bidirectional", _recurrent, "the two biases become their sum"),
}
