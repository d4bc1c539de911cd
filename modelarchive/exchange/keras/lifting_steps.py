"""How recurrences are lifted that no kind of the vocabulary is: step by step, for a known number of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.config import Config
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.importing import leaves
from modelarchive.exchange.keras.lifting_activations import Activation, activation_of, added
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_masks import MAX_STEPS, mask_of
from modelarchive.exchange.keras.lifting_padding import layout, padding
from modelarchive.exchange.keras.lifting_padding import same as same_padding
from modelarchive.exchange.keras.row import Lifting
from modelarchive.exchange.keras.weights import Weight, same, swapped
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: What a step gives: its output and the states behind it.
_Step = Callable[[Ref, Sequence[Ref | None]], tuple[Ref, list[Ref]]]

#: The variables of a ConvLSTM: kernels ``(*window, in, 4 out)`` of the four gates i, f, c, o side by side.
_CONVOLVED: Final[tuple[Weight, ...]] = (
    swapped("cell/kernel", "kernel"),
    swapped("cell/recurrent_kernel", "recurrent_kernel"),
    same("cell/bias", "bias", when="use_bias"),
)


@dataclass(frozen=True)
class _Row:
    """What a recurrence gives, from its settings.

    Attributes:
        sequences: Whether it gives the outputs of all steps.
        states: Whether it gives its last states.
        backwards: Whether it begins with the last step.
        zeros: Whether there are zeros at steps that a mask leaves out, and not what was given last.
    """

    sequences: bool
    states: bool
    backwards: bool
    zeros: bool

    @classmethod
    def of(cls, context: Context) -> _Row:
        """The settings of a layer."""
        config = context.config
        stateful(context, config)
        config.expect("time_major", False)
        config.flag("unroll", default=False)
        config.value("use_cudnn", "auto")
        names = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask")
        return cls(*(config.flag(name, default=False) for name in names))


def stateful(context: Context, config: Config) -> None:
    """Say that states are not kept from call to call."""
    if config.flag("stateful", default=False):
        context.note("is stateful in Keras; here it begins at zeros each time that it is called")


def _stepped(
    context: Context, x: Ref, states: Sequence[Ref | None], step: _Step, row: _Row, mask: Ref | None = None
) -> list[Ref]:
    """Run a cell over the steps of axis 1, or over those of them that a mask, ``(batch, steps)``, says count."""
    steps = context.dims(x)[1]
    if steps is None or not 1 <= steps <= MAX_STEPS:
        what = "of which the number is not known" if steps is None else f"that are {steps:,}"
        raise Refusal(f"is written step by step, over steps {what}: pass inputs= with at most {MAX_STEPS}")
    whole: list[Any] = [None, None, None]
    outputs: list[Ref] = []
    for number in reversed(range(steps)) if row.backwards else range(steps):
        part = context.op("slice", x, index=[whole, number], role=f"step{number}")
        given, new = step(part, states)
        if mask is not None:
            counts = context.op("slice", mask, index=[whole, [number, number + 1, None]], role=f"counts{number}")
            given = _counted(context, counts, given, outputs[-1] if outputs and not row.zeros else None)
            new = [_counted(context, counts, *pair) for pair in zip(new, states, strict=True)]
        states = new
        outputs.append(given)
    results = [context.op("stack", *outputs, axis=1, role="steps") if row.sequences else outputs[-1]]
    return results + [each for each in states if row.states and each is not None]


def _counted(context: Context, counts: Ref, new: Ref, before: Ref | None) -> Ref:
    """What a step gives where it counts, and else what was there before, or zeros."""
    return context.op("where", counts, new, context.constant(0.0) if before is None else before, role="kept")


def _convolved(rank: int) -> Lift:
    """ConvLSTM1D, ConvLSTM2D, ConvLSTM3D."""

    def lift(context: Context) -> list[Ref]:
        config = context.config
        row, order = _Row.of(context), layout(context, rank)
        if mask_of(context, place=2) is not None:
            raise Refusal("takes a mask, which is not supported")
        if context.argument("initial_state", 1) is not None:
            raise Refusal("is called with initial states, which is not supported")
        config.optional("dropout"), config.optional("recurrent_dropout")
        inner, outer = (activation_of(context, config.value(name, usual)) for name, usual in
                        (("recurrent_activation", "sigmoid"), ("activation", "tanh")))  # fmt: skip
        filters, use_bias = config.integer("filters"), config.flag("use_bias", default=True)
        held = context.held({"use_bias": use_bias}, _CONVOLVED, context.layer)
        x = context.as_float(context.x)
        steps, *sizes = context.dims(x)[1:]
        if steps is None or any(size is None for size in sizes):
            raise Refusal("needs fixed sizes of all axes but the batch: pass inputs=")
        flat = context.op("reshape", x, shape=[-1, *sizes], role="images")
        ways = _convolution(context, flat, rank, order, filters, use_bias=use_bias, held=held)
        gates = context.op("reshape", ways[0], shape=[-1, steps, *context.dims(ways[0])[1:]], role="gates")
        axis = -1 if order[-1] == "C" else 1

        def step(part: Ref, states: Sequence[Ref | None]) -> tuple[Ref, list[Ref]]:
            h, c = states
            summed = part if h is None else context.op("add", part, ways[1](h), role="summed")
            parts = context.ops("split", summed, sizes=4, axis=axis, role="gates")
            return _lstm(context, parts, c, inner, outer)

        return _stepped(context, gates, [None, None], step, row)

    return lift


def _convolution(
    context: Context, x: Ref, rank: int, order: str, filters: int, *, use_bias: bool, held: dict[str, str]
) -> tuple[Ref, Callable[[Ref], Ref]]:
    """What the inputs give the four gates, and what gives them that of a state."""
    config = context.config
    window, strides = config.sizes("kernel_size", rank), config.sizes("strides", rank, 1)
    dilation = config.sizes("dilation_rate", rank, 1)
    wide = [(size - 1) * each + 1 for size, each in zip(window, dilation, strict=True)]
    one = [1] * rank
    fields: dict[str, Any] = {"channels": 4 * filters, "kernel_size": window, "groups": 1, "layout": order,
                              "activation": None}  # fmt: skip
    outer = {"padding": padding(context, x, order, wide, strides), "strides": strides, "dilation": dilation}
    inner = {"padding": [same_padding(context, size, size - 1) for size in window], "strides": one, "dilation": one}
    sizes = lambda arrays: {"in_channels": arrays["weight"].shape[1]}  # noqa: E731

    def convolve(ref: Ref, more: dict[str, Any], keys: dict[str, str], role: str) -> Ref:
        own = {**fields, **more, "use_bias": "bias" in keys}
        return context.block(f"Conv{rank}D", own, ref, sizes=sizes, held=keys, role=role)[0]

    keys = {"weight": held["kernel"]} | ({"bias": held["bias"]} if use_bias else {})
    given = convolve(x, outer, keys, "input")
    return given, lambda h: convolve(h, inner, {"weight": held["recurrent_kernel"]}, "recurrent")


def _lstm(
    context: Context, gates: Sequence[Ref], carry: Ref | None, inner: Activation, outer: Activation
) -> tuple[Ref, list[Ref]]:
    """One step of a LSTM from its gates i, f, c, o."""
    i, f, o = (Term(context, added(context, inner, gates[at])) for at in (0, 1, 3))
    new = i * Term(context, added(context, outer, gates[2]))
    new = new if carry is None else f * Term(context, carry) + new
    h = (o * Term(context, added(context, outer, new.ref))).ref
    return h, [h, new.ref]


@dataclass(frozen=True)
class Plain:
    """A cell over vectors, with any activations.

    Attributes:
        kind: SimpleRNN, LSTM or GRU.
        held: Own name -> key of its parameters.
        fields: What decides which it has.
        inner: The function of the gates.
        outer: The function of what is new.
        units: Width of its output.
        context: The layer.
        role: The end of the names of what is added.
    """

    kind: str
    held: dict[str, str]
    fields: dict[str, Any]
    inner: Activation
    outer: Activation
    units: int
    context: Context
    role: str = ""

    @property
    def count(self) -> int:
        """How many states it has."""
        return 2 if self.kind == "LSTM" else 1

    def _product(self, x: Ref, way: str) -> Ref:
        """A product with one of its two matrices, and the bias that belongs to it."""
        keys = {"weight": self.held[f"weight_{way}_l0"]}
        if self.fields["use_bias"]:
            keys["bias"] = self.held[f"bias_{way}_l0"]
        gates = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[self.kind]
        fields = {"units": gates * self.units, "activation": None, "use_bias": "bias" in keys, "flatten": False}
        sizes = lambda arrays: {"in_units": arrays["weight"].shape[1]}  # noqa: E731
        role = f"{self.role}_{way}".lstrip("_")
        return self.context.block("Dense", fields, x, sizes=sizes, held=keys, role=role)[0]

    def step(self, x: Ref, states: Sequence[Ref | None]) -> tuple[Ref, list[Ref]]:
        """One step; states that are None are zeros."""
        context = self.context
        given = Term(context, self._product(x, "ih"))
        h = states[0]
        if h is None:
            h = self._zeros(given)
        back = Term(context, self._product(h, "hh"))
        if self.kind == "SimpleRNN":
            found = added(context, self.outer, (given + back).ref)
            return found, [found]
        if self.kind == "LSTM":
            gates = context.ops("split", (given + back).ref, sizes=4, axis=-1)
            return _lstm(context, gates, states[1], self.inner, self.outer)
        return self._gru(given, back, h)

    def _zeros(self, given: Term) -> Ref:
        single = self.context.constant(0.0, self.context.dtype(given.ref).name)
        part = self.context.op("slice", given.ref, index=[[None, None, None], [None, self.units, None]])
        return self.context.op("broadcast_to", single, part, shape=[None, None], role="zeros")

    def _gru(self, given: Term, back: Term, h: Ref) -> tuple[Ref, list[Ref]]:
        """Gates r, z, n; the reset comes behind the product with the state."""
        context = self.context
        parts = [[Term(context, each) for each in context.ops("split", both.ref, sizes=3, axis=-1)]
                 for both in (given, back)]  # fmt: skip
        reset, update = (Term(context, added(context, self.inner, (parts[0][at] + parts[1][at]).ref)) for at in (0, 1))
        if self.fields["linear_before_reset"]:
            again = reset * parts[1][2]
        else:
            kept = self._product((reset * Term(context, h)).ref, "hh")
            again = Term(context, context.ops("split", kept, sizes=3, axis=-1)[2])
        new = Term(context, added(context, self.outer, (parts[0][2] + again).ref))
        found = (update * Term(context, h) + (1.0 - update) * new).ref
        return found, [found]


def _chained(cells: Sequence[Plain]) -> _Step:
    """Cells one upon the other: each takes what the one below it gives."""

    def step(x: Ref, states: Sequence[Ref | None]) -> tuple[Ref, list[Ref]]:
        behind: list[Ref] = []
        at = 0
        for cell in cells:
            x, new = cell.step(x, states[at : at + cell.count])
            behind += new
            at += cell.count
        return x, behind

    return step


def settings(context: Context, config: Config, kind: str) -> tuple[dict[str, Any], Activation, Activation, int]:
    """Of a cell with any activations: its fields, the function of its gates, that of what is new, and its width."""
    if config.optional("dropout") or config.optional("recurrent_dropout"):
        context.note("dropout inside of the recurrence is left out: it matters in training only")
    outer = activation_of(context, config.value("activation", "tanh"))
    inner = activation_of(context, config.value("recurrent_activation", "sigmoid")) if kind != "SimpleRNN" else outer
    fields: dict[str, Any] = {"use_bias": config.flag("use_bias", default=True)}
    units = config.integer("units")
    if kind == "GRU":
        fields["linear_before_reset"] = config.flag("reset_after", default=not context.is_keras2)
    if unread := config.unread() if config is not context.config else {}:
        raise Refusal(f"its cell has settings that are not supported: {short(unread)}")
    return fields, inner, outer, units


def by_steps(context: Context, cells: Sequence[Plain]) -> list[Ref]:
    """Cells that are run step by step."""
    row, mask = _Row.of(context), mask_of(context, place=2)
    count = sum(cell.count for cell in cells)
    several = context.argument("initial_state", 1 if len(context.call.args) > 1 else 99)
    given = [*context.xs[1:], *(each for each in leaves([several]) if each is not None)]
    if given and (len(given) != count or not all(isinstance(each, Ref) for each in given)):
        raise Refusal(f"starts from {len(given)} states, expected {count}")
    x = context.as_float(context.xs[0])
    return _stepped(context, x, given or [None] * count, _chained(cells), row, mask)


#: Their classes.
CONVOLVED: Final = tuple(f"ConvLSTM{rank}D" for rank in (1, 2, 3))
#: Layers that are run step by step.
LAYERS: Final[tuple[Lifting, ...]] = tuple(
    Lifting(
        f"ConvLSTM{rank}D", f"Conv{rank}D", _convolved(rank), "over known steps, at most 512",
        weights=_CONVOLVED, masks="drop",
    )
    for rank in (1, 2, 3)
)  # fmt: skip
