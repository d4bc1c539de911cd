"""Recurrent layers: RNN, LSTM and GRU."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Array, Parameter
from modelarchive.ops.precision import float_dtype
from modelarchive.ops.recurrent import Weights, recurrent

Shape = tuple[int, ...]

LAYOUTS: Final = ("TNC", "NTC")
#: More are no network, and would be slow to make.
MAX_LAYERS: Final = 64


class _Recurrent(Layer):
    """What all three have: layers, directions, states."""

    gates: ClassVar[int]
    #: Names of the states.
    states: ClassVar[tuple[str, ...]] = ("h",)

    def _set_up(
        self,
        hidden_size: int,
        num_layers: int,
        layout: str,
        dropout: float,
        bidirectional: bool,
        input_size: int,
        use_bias: bool,
        return_state: bool,
        dtype: Any,
    ) -> None:
        self.hidden_size = check.size("hidden_size", hidden_size)
        self.num_layers = check.size("num_layers", num_layers)
        if num_layers > MAX_LAYERS:
            raise ValueError(f"num_layers: expected at most {MAX_LAYERS}, found {num_layers}")
        self.layout = check.choice("layout", layout, LAYOUTS)
        self.dropout = check.number("dropout", dropout, high=1.0)
        self.bidirectional = check.flag("bidirectional", bidirectional)
        self.use_bias = check.flag("use_bias", use_bias)
        self.return_state = check.flag("return_state", return_state)
        self.dtype = check.float_name(dtype)
        self._known = check.size("input_size", input_size, least=0)

    def _add_parameters(
        self,
        i2h_weight_initializer: Any,
        h2h_weight_initializer: Any,
        i2h_bias_initializer: Any,
        h2h_bias_initializer: Any,
    ) -> None:
        rows = self.gates * self.hidden_size
        for layer in range(self.num_layers):
            inputs = self._known if layer == 0 else self.hidden_size * self._directions
            for suffix in self._suffixes(layer):
                shapes: dict[str, Shape] = {"weight_ih": (rows, inputs), "weight_hh": (rows, self.hidden_size)}
                initializers = {"weight_ih": i2h_weight_initializer, "weight_hh": h2h_weight_initializer}
                if self.use_bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                    initializers |= {"bias_ih": i2h_bias_initializer, "bias_hh": h2h_bias_initializer}
                for name, shape in shapes.items():
                    setattr(self, f"{name}_{suffix}", Parameter(shape, self.dtype, initializers[name]))

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer: int) -> list[str]:
        return [f"l{layer}", f"l{layer}_reverse"][: self._directions]

    @property
    def input_size(self) -> int:
        """Size of the input; 0 while it is not known."""
        return (self.parameters["weight_ih_l0"].shape or (0, 0))[1] or 0

    @property
    def cell(self) -> str:
        """The name of the recurrence in :data:`modelarchive.ops.recurrent.CELLS`."""
        raise NotImplementedError

    def __call__(self, x: Any, *states: Any) -> Any:
        """Run the layer; the states may come one by one or, as in Gluon, in one list."""
        if len(states) == 1 and isinstance(states[0], list | tuple):
            states = tuple(states[0])
        return super().__call__(x, *states)

    @check.naming
    def infer(self, shape: Shape, *states: Shape) -> Any:
        """The output's shape; with `return_state` that of each state behind it."""
        if len(shape) != 3:
            axes = "(time, batch, input_size)" if self.layout == "TNC" else "(batch, time, input_size)"
            raise ValueError(f"expected an input of shape {axes}, found {tuple(shape)}")
        if self.input_size and shape[2] != self.input_size:
            raise ValueError(f"expected {self.input_size} input features, found {shape[2]} in shape {tuple(shape)}")
        batch = shape[self.layout.index("N")]
        state = (self.num_layers * self._directions, batch, self.hidden_size)
        if states and len(states) != len(self.states):
            raise ValueError(f"expected {len(self.states)} states ({', '.join(self.states)}), found {len(states)}")
        for name, found in zip(self.states, states, strict=False):
            if tuple(found) != state:
                raise ValueError(f"expected state {name} of shape {state}, found {tuple(found)}")
        if not self.input_size:
            size = check.size("input features", shape[2])
            for suffix in self._suffixes(0):
                self.parameters[f"weight_ih_{suffix}"].shape = (self.gates * self.hidden_size, size)
        output = (*shape[:2], self._directions * self.hidden_size)
        return (output, *(state for _ in self.states)) if self.return_state else output

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The float dtype that inputs and parameters share."""
        return float_dtype(*found, *(parameter.dtype for parameter in self.parameters.values()))

    def forward(self, x: Array, *states: Array) -> Any:
        """Run the layer; new arrays."""
        own = self.parameters
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.use_bias else 2]
        layers = [
            [Weights(*(own[f"{name}_{suffix}"].data() for name in names)) for suffix in self._suffixes(layer)]
            for layer in range(self.num_layers)
        ]
        output, last = recurrent(self.cell, x, states or None, layers, batch_first=self.layout == "NTC")
        return (output, *last) if self.return_state else output


_FIELDS = (
    "hidden_size",
    "num_layers",
    "layout",
    "dropout",
    "bidirectional",
    "input_size",
    "use_bias",
    "return_state",
    "dtype",
)


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735).

    For each step, with gates i, f, g, o stacked in this order in the parameters::

        i, f, o = sigmoid(weight_ih x + bias_ih + weight_hh h + bias_hh)
        g       = tanh(...)
        c       = f * c + i * g
        h       = o * tanh(c)

    Arguments and defaults are those of ``mxnet.gluon.rnn.LSTM``; the meaning is ``torch.nn.LSTM``'s.
    What is returned depends on the field `return_state` and not on the call, so that an architecture says
    by itself how many outputs a block has.

    Args:
        hidden_size: Size of the state.
        num_layers: How many recurrences are stacked.
        layout: "TNC": input and output are ``(time, batch, features)``; "NTC": ``(batch, time, features)``.
        dropout: The part of the outputs between layers that training drops; the forward pass here drops
            nothing.
        bidirectional: Whether each layer also runs backwards in time; the outputs are concatenated.
        input_size: Size of the input; 0: learned at the first call or from a file.
        i2h_weight_initializer: Initializer of weight_ih; None: what ``initialize`` is given.
        h2h_weight_initializer: Initializer of weight_hh; None: what ``initialize`` is given.
        i2h_bias_initializer: Initializer of bias_ih.
        h2h_bias_initializer: Initializer of bias_hh.
        use_bias: Whether there are biases.
        return_state: Return ``(output, h, c)`` with the states after the last step, instead of the output.
        dtype: Float dtype of parameters not yet loaded.

    Parameters, for each layer k, with ``_reverse`` appended for the backward direction: weight_ih_lk
    ``(4 * hidden_size, inputs)``, weight_hh_lk ``(4 * hidden_size, hidden_size)``, bias_ih_lk and bias_hh_lk
    ``(4 * hidden_size,)``. Called as ``layer(x)``, which starts from zeros, or ``layer(x, h, c)`` with states
    ``(num_layers * directions, batch, hidden_size)`` in either layout. Output
    ``(time, batch, directions * hidden_size)``. Narrow floats are computed in float32 and rounded at the end.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = _FIELDS
    gates = 4
    states = ("h", "c")

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        layout: str = "TNC",
        dropout: float = 0.0,
        bidirectional: bool = False,
        input_size: int = 0,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        *,
        use_bias: bool = True,
        return_state: bool = False,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        self._set_up(hidden_size, num_layers, layout, dropout, bidirectional, input_size, use_bias, return_state, dtype)
        self._add_parameters(i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer)

    @property
    def cell(self) -> str:
        """``"lstm"``."""
        return "lstm"


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078).

    For each step, with gates r, z, n stacked in this order in the parameters::

        r, z = sigmoid(weight_ih x + bias_ih + weight_hh h + bias_hh)
        n    = tanh(weight_ih x + bias_ih + r * (weight_hh h + bias_hh))       linear_before_reset
        n    = tanh(weight_ih x + bias_ih + weight_hh (r * h) + bias_hh)       otherwise
        h    = (1 - z) * n + z * h

    Arguments and defaults are those of ``mxnet.gluon.rnn.GRU``, the meaning is ``torch.nn.GRU``'s, and
    `linear_before_reset` is that of ONNX (Keras calls it ``reset_after``).

    Args:
        hidden_size: Size of the state.
        num_layers: How many recurrences are stacked.
        layout: "TNC": input and output are ``(time, batch, features)``; "NTC": ``(batch, time, features)``.
        dropout: The part of the outputs between layers that training drops; the forward pass here drops
            nothing.
        bidirectional: Whether each layer also runs backwards in time; the outputs are concatenated.
        input_size: Size of the input; 0: learned at the first call or from a file.
        i2h_weight_initializer: Initializer of weight_ih; None: what ``initialize`` is given.
        h2h_weight_initializer: Initializer of weight_hh; None: what ``initialize`` is given.
        i2h_bias_initializer: Initializer of bias_ih.
        h2h_bias_initializer: Initializer of bias_hh.
        linear_before_reset: Whether the reset gate scales the state after its product with weight_hh, as in
            PyTorch, Gluon and cuDNN; before it in the paper and by ONNX's default.
        use_bias: Whether there are biases.
        return_state: Return ``(output, h)`` with the state after the last step, instead of the output.
        dtype: Float dtype of parameters not yet loaded.

    Parameters, shapes and calls as :class:`LSTM`, with 3 gates and the one state h.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = (*_FIELDS, "linear_before_reset")
    gates = 3

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        layout: str = "TNC",
        dropout: float = 0.0,
        bidirectional: bool = False,
        input_size: int = 0,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        *,
        linear_before_reset: bool = True,
        use_bias: bool = True,
        return_state: bool = False,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        self.linear_before_reset = check.flag("linear_before_reset", linear_before_reset)
        self._set_up(hidden_size, num_layers, layout, dropout, bidirectional, input_size, use_bias, return_state, dtype)
        self._add_parameters(i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer)

    @property
    def cell(self) -> str:
        """Which of the two recurrences."""
        return "gru" if self.linear_before_reset else "gru_reset_first"


class RNN(_Recurrent):
    """Simple recurrence ``h = activation(weight_ih x + bias_ih + weight_hh h + bias_hh)`` (Elman 1990).

    Arguments and defaults are those of ``mxnet.gluon.rnn.RNN``; the meaning is ``torch.nn.RNN``'s.

    Args:
        hidden_size: Size of the state.
        num_layers: How many recurrences are stacked.
        activation: "relu" or "tanh".
        layout: "TNC": input and output are ``(time, batch, features)``; "NTC": ``(batch, time, features)``.
        dropout: The part of the outputs between layers that training drops; the forward pass here drops
            nothing.
        bidirectional: Whether each layer also runs backwards in time; the outputs are concatenated.
        input_size: Size of the input; 0: learned at the first call or from a file.
        i2h_weight_initializer: Initializer of weight_ih; None: what ``initialize`` is given.
        h2h_weight_initializer: Initializer of weight_hh; None: what ``initialize`` is given.
        i2h_bias_initializer: Initializer of bias_ih.
        h2h_bias_initializer: Initializer of bias_hh.
        use_bias: Whether there are biases.
        return_state: Return ``(output, h)`` with the state after the last step, instead of the output.
        dtype: Float dtype of parameters not yet loaded.

    Parameters, shapes and calls as :class:`LSTM`, with one gate and the one state h.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = (*_FIELDS[:2], "activation", *_FIELDS[2:])
    gates = 1

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        activation: str = "relu",
        layout: str = "TNC",
        dropout: float = 0.0,
        bidirectional: bool = False,
        input_size: int = 0,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        *,
        use_bias: bool = True,
        return_state: bool = False,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        self.activation = check.choice("activation", activation, ("relu", "tanh"))
        self._set_up(hidden_size, num_layers, layout, dropout, bidirectional, input_size, use_bias, return_state, dtype)
        self._add_parameters(i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer)

    @property
    def cell(self) -> str:
        """The activation's name."""
        return self.activation
