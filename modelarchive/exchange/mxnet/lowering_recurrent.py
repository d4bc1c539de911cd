"""How recurrences are lowered to MXNet: its one fused operator, whose parameters are one flat array."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.mxnet.lowering_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.exchange.walking import Value


def _recurrent(context: Context, layer: Any, given: list[Value]) -> Any:
    """The fused operator takes all parameters as one flat array: weights first, then biases."""
    if layer.kind == "GRU" and not layer.linear_before_reset:
        raise Refusal("a GRU that resets before the product is not supported")
    mode = f"rnn_{layer.activation}" if layer.kind == "RNN" else layer.kind.lower()
    sides = ("", "_reverse") if layer.bidirectional else ("",)
    suffixes = [f"l{each}{side}" for each in range(layer.num_layers) for side in sides]
    flat = [
        context.op("Reshape", context.parameter(layer.parameters[f"weight_{to}_{suffix}"]), shape=[-1])
        for suffix in suffixes
        for to in ("ih", "hh")
    ]
    rows = layer.gates * layer.hidden_size
    for suffix in suffixes:
        for to in ("ih", "hh"):
            own = f"bias_{to}_{suffix}"
            bias = (
                context.parameter(layer.parameters[own])
                if layer.use_bias
                else context.made(own, np.zeros(rows, layer.dtype))
            )
            flat.append(context.op("Reshape", bias, shape=[-1]))
    packed = context.op("_rnn_param_concat", *flat, dim=0, num_args=len(flat))
    x = context.array(given[0])
    turned = layer.layout == "NTC"
    x = context.op("SwapAxis", x, dim1=0, dim2=1) if turned else x
    shape = (len(suffixes), 0, layer.hidden_size)
    states = [context.array(each) for each in given[1:]] or [
        context.op("_zeros", shape=shape, dtype="float32") for _ in layer.states
    ]
    attributes = {
        "mode": mode,
        "state_size": layer.hidden_size,
        "num_layers": layer.num_layers,
        "bidirectional": layer.bidirectional,
        "p": float(layer.dropout),
        "state_outputs": layer.return_state,
    }
    found = context.op("RNN", x, packed, *states, **attributes)
    output = context.op("SwapAxis", found, dim1=0, dim2=1) if turned else found
    if not layer.return_state:
        return output
    return (output, *([found[0], 1 + each, 0] for each in range(len(layer.states))))


#: Kind -> how it is lowered.
RECURRENT: Final[dict[str, Lowering]] = {kind: Lowering("RNN", _recurrent) for kind in ("RNN", "LSTM", "GRU")}
