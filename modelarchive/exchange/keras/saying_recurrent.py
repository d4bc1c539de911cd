"""How recurrent layers are said in Keras: one of its layers for each layer and direction."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.keras.place import Place, Saying, Tensor, Value
from modelarchive.exchange.keras.saying_shapes import sliced
from modelarchive.exchange.keras.stored import Stored, stored
from modelarchive.nn import Parameter

_CLASSES: Final = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "SimpleRNN"}


def _recurrent(place: Place, layer: Any, given: list[Value]) -> Value | tuple[Value, ...]:
    x = place.plain(given[0], place.dtype)
    if layer.layout == "TNC":
        x = place.permuted(x, (1, 0, 2))
    states = [place.plain(each, place.dtype) for each in given[1:]]
    last: list[list[Tensor]] = [[] for _ in layer.states]
    for at in range(layer.num_layers):
        if at and layer.dropout:
            x = place.layer("Dropout", x, role=f"dropout{at}", rate=layer.dropout)
        x, found = _one_layer(place, layer, at, x, states)
        for several, each in zip(last, found, strict=True):
            several += each
    if layer.layout == "TNC":
        x = place.permuted(x, (1, 0, 2))
    if not layer.return_state:
        return place.result(x)
    stacked = [place.op("stack", each, axis=0) for each in last]
    return tuple(Value(known, each) for known, each in zip(place.known, [x, *stacked], strict=True))


def _one_layer(place: Place, layer: Any, at: int, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[list[Tensor]]]:
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
        picked = [sliced(place, state, (row,)) for row in rows for state in states]
        call = {"initial_state": picked}
    role = f"l{at}" if layer.num_layers > 1 else ""
    weights: Stored = []
    for suffix in (f"l{at}", f"l{at}_reverse")[:directions]:
        weights += _weights(place, theirs, layer, suffix)
    if directions == 1:
        made = place.layer(theirs, x, role=role, weights=weights, call=call, **config)
    else:
        dtype = place.dtype
        inner = getattr(place.builder.keras.layers, theirs)(name="forward", dtype=dtype, **config)
        made = place.layer("Bidirectional", x, role=role, weights=weights, call=call, layer=inner)
    if not layer.return_state:
        return made, [[] for _ in layer.states]
    output, *found = made
    count = len(layer.states)
    return output, [[found[way * count + which] for way in range(directions)] for which in range(count)]


def _weights(place: Place, theirs: str, layer: Any, suffix: str) -> Stored:
    """The variables of one direction; the two biases are one in Keras, but for a GRU that resets after."""
    names = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if layer.use_bias else ()))
    own: dict[str, Parameter] = {f"{name}_l0": layer.parameters[f"{name}_{suffix}"] for name in names}
    summed = layer.use_bias and not (theirs == "GRU" and layer.linear_before_reset)
    if summed and all(np.any(own[f"{name}_l0"].value()) for name in ("bias_ih", "bias_hh")):
        place.note("its two biases are one in Keras: their sum")
    return stored(theirs, layer, own, num_layers=1, bidirectional=False)


#: Kind -> how it is said.
RECURRENT: Final = {
    "LSTM": Saying(("LSTM", "Bidirectional"), _recurrent, "the two biases become their sum"),
    "GRU": Saying(("GRU", "Bidirectional"), _recurrent),
    "RNN": Saying(("SimpleRNN", "Bidirectional"), _recurrent, "the two biases become their sum"),
}
