"""How Keras' recurrent layers are lifted, and those that are applied along time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras import lifting_masks as masks
from modelarchive.exchange.keras import lifting_steps as steps
from modelarchive.exchange.keras.config import Config
from modelarchive.exchange.keras.drawing import UNSUPPORTED
from modelarchive.exchange.keras.importing import leaves
from modelarchive.exchange.keras.lifting_activations import activation_of
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_masks import Skipping, mask_of
from modelarchive.exchange.keras.model import Call, Layer
from modelarchive.exchange.keras.weights import GRU_GATES, LSTM_GATES, RNN_GATES, recurrent
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short


@dataclass(frozen=True)
class Cell:
    """A recurrence.

    Attributes:
        kind: Its kind.
        gates: For each of our gates the place of Keras'.
        states: How many states it has.
    """

    kind: str
    gates: tuple[int, ...]
    states: int


#: Class of a layer or cell -> recurrence.
CELLS: Final = {
    "LSTM": Cell("LSTM", LSTM_GATES, 2),
    "GRU": Cell("GRU", GRU_GATES, 1),
    "SimpleRNN": Cell("RNN", RNN_GATES, 1),
}
#: Classes that older versions had for the same.
_OLD: Final = {"CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}


def fields_of(context: Context, name: str, config: Config) -> dict[str, Any]:
    """The fields of a cell, from its settings."""
    fields: dict[str, Any] = {
        "hidden_size": config.integer("units"),
        "num_layers": 1,
        "layout": "NTC",
        "dropout": 0.0,
        "use_bias": config.flag("use_bias", default=True),
    }
    if config.optional("dropout") or config.optional("recurrent_dropout"):
        context.note("dropout inside of the recurrence is left out: it matters in training only")
    activation = _plain(context, config.value("activation", "tanh"))
    if name == "SimpleRNN":
        if activation not in ("tanh", "relu"):
            raise Refusal(f"the activation {activation!r} of a recurrence is not supported, only tanh and relu")
        fields["activation"] = activation
        return fields
    gate = _plain(context, config.value("recurrent_activation", "sigmoid"))
    if activation != "tanh" or gate != "sigmoid":
        raise Refusal(f"activations {activation!r} and {gate!r} are not supported, only 'tanh' and 'sigmoid'")
    if name == "GRU":
        fields["linear_before_reset"] = config.flag("reset_after", default=not context.is_keras2)
    return fields


def _plain(context: Context, value: Any) -> str:
    found = activation_of(context, value)
    return found.field or found.name if found.add else "linear"


def class_of(layer: Layer) -> tuple[str, Config]:
    """The class of a recurrence, and its settings; a RNN of one cell is the layer of that cell."""
    if layer.kind != "RNN":
        return layer.kind, layer.config
    cell = layer.config.value("cell")
    name, config = (cell.get("class_name"), cell.get("config")) if isinstance(cell, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(config, dict) or name.removesuffix("Cell") not in CELLS:
        if ">" in str(cell.get("registered_name") if isinstance(cell, dict) else ""):
            raise Refusal(f"a RNN of {short(name)}, a cell of its author's own, which only its code can say")
        raise Refusal(f"a RNN of the cell {short(name)} is not supported")
    inner = Config(config)
    return name.removesuffix("Cell"), inner


def settings_of(config: Config) -> tuple[bool, bool, bool]:
    """Whether it returns sequences, whether it returns states, whether it goes backwards."""
    config.expect("stateful", False)
    for name in ("unroll", "use_cudnn", "time_major"):
        config.flag(name, default=False) if name != "use_cudnn" else config.value(name, "auto")
    config.expect("time_major", False)
    return (
        config.flag("return_sequences", default=False),
        config.flag("return_state", default=False),
        config.flag("go_backwards", default=False),
    )


def states_of(context: Context, count: int) -> tuple[Ref, list[Ref]]:
    """What runs through it, and the states that it starts from, each (batch, units)."""
    several = context.xs
    given = context.argument("initial_state", 1 if len(context.call.args) > 1 else 99)
    states = several[1:] if given is None else given if isinstance(given, list) else [given]
    if states and (len(states) != count or not all(isinstance(each, Ref) for each in states)):
        raise Refusal(f"starts from {len(states)} states, expected {count}")
    return several[0], list(states)


def _finish(inner: Config, outer: Config) -> None:
    if inner is not outer and (unread := inner.unread()):
        raise Refusal(f"its cell has settings that are not supported: {short(unread)}")


def is_of_several(layer: Layer) -> bool:
    """Whether it is a RNN of cells one upon the other."""
    cell = layer.config.values.get("cell")
    return isinstance(cell, dict) and cell.get("class_name") == "StackedRNNCells"


def _cells(context: Context) -> list[steps.Plain]:
    """The cells of a RNN that stand one upon the other."""
    stack = context.child(context.config.value("cell"), "cell")
    stack.config.values.pop("name", None)
    several = stack.config.value("cells")
    if not isinstance(several, list) or not 1 <= len(several) <= 64:
        raise Refusal(f"cells = {short(several)}, expected a list of cells")
    outer = replace(context, layer=stack)
    found = []
    for at, child in enumerate(outer.children(several, "cells")):
        kind = child.kind.removesuffix("Cell")
        if kind not in CELLS:
            raise Refusal(f"a RNN of the cell {short(child.kind)} is not supported")
        found.append(_steps_of(context, kind, child.config, child, role=f"cell{at}"))
    return found


def _steps_of(context: Context, kind: str, config: Config, layer: Layer, *, role: str = "") -> steps.Plain:
    """A cell that is run step by step."""
    fields, gate, new, units = steps.settings(context, config, kind)
    prefix = "" if layer is not context.layer else "cell/"
    held = context.held(fields, recurrent(CELLS[kind].gates, prefix=prefix), layer)
    return steps.Plain(kind, held, fields, gate, new, units, context, role)


def is_a_kind(context: Context, name: str, config: Config) -> bool:
    """Whether the vocabulary has a recurrence with these activations."""
    activation = _plain(context, config.values.get("activation", "tanh"))
    if name == "SimpleRNN":
        return activation in ("tanh", "relu")
    return (activation, _plain(context, config.values.get("recurrent_activation", "sigmoid"))) == ("tanh", "sigmoid")


def _by_steps(context: Context, cells: list[steps.Plain]) -> list[Ref]:
    """Cells that are run step by step."""
    row = steps.Row.of(context.config)
    if mask_of(context, place=2) is not None:
        raise Refusal("takes a mask, which is supported for one cell with Keras' usual activations only")
    count = sum(cell.count for cell in cells)
    several = context.argument("initial_state", 1 if len(context.call.args) > 1 else 99)
    given = [*context.xs[1:], *(each for each in leaves([several]) if each is not None)]
    if given and (len(given) != count or not all(isinstance(each, Ref) for each in given)):
        raise Refusal(f"starts from {len(given)} states, expected {count}")
    x = context.as_float(context.xs[0])
    return steps.stepped(context, x, given or [None] * count, steps.chained(cells), row)


def recurrence(context: Context) -> list[Ref]:
    """SimpleRNN, LSTM, GRU, and a RNN of their cells."""
    if is_of_several(context.layer):
        return _by_steps(context, _cells(context))
    name, inner = class_of(context.layer)
    if not is_a_kind(context, name, inner):
        return _by_steps(context, [_steps_of(context, name, inner, context.layer)])
    cell = CELLS[name]
    sequences, with_state, backwards = settings_of(context.config)
    fields = fields_of(context, name, inner)
    _finish(inner, context.config)
    x, states = states_of(context, cell.states)
    mask = mask_of(context, place=2)
    zeros = context.config.flag("zero_output_for_mask", default=False)
    x = context.as_float(x)
    if backwards:
        x = masks.backwards(context, x)
        mask = None if mask is None else masks.backwards(context, mask)
    initial = [context.op("expand_dims", state, axis=0, role="state") for state in states]
    if mask is not None:
        held = context.held(fields, recurrent(cell.gates), context.layer)
        way = skipping(context, cell, fields, held, mask, zeros=zeros)
        return skipped(way, cell, x, initial, sequences=sequences, with_state=with_state)
    whole = sequences and not with_state
    fields |= {"bidirectional": False, "return_state": not whole}
    results = context.block(cell.kind, fields, x, *initial, weights=recurrent(cell.gates), sizes=input_size)
    if whole:
        return results
    last = [context.op("squeeze", ref, axis=0, role="last") for ref in results[1:]]
    return [results[0] if sequences else last[0], *(last if with_state else ())]


def skipping(
    context: Context,
    cell: Cell,
    fields: dict[str, Any],
    held: dict[str, str],
    mask: Ref,
    *,
    zeros: bool,
    role: str = "",
) -> Skipping:
    """One way of a recurrence behind a mask."""

    def run(part: Ref, states: Sequence[Ref]) -> list[Ref]:
        own = {**fields, "bidirectional": False, "return_state": True}
        return context.block(cell.kind, own, part, *states, held=held, sizes=input_size, role=role)

    return Skipping(context, run, mask, role or "steps", zeros)


def skipped(way: Skipping, cell: Cell, x: Ref, initial: list[Ref], *, sequences: bool, with_state: bool) -> list[Ref]:
    """What one way gives: its outputs or the last, and its states."""
    given, last, end = way.outputs(x, initial)
    # The second state is known for single steps only; the first is what is given.
    ends = [] if not with_state else way.states(x, initial) if cell.states > 1 else [end]
    return [given if sequences else last, *ends]


def input_size(arrays: Any) -> dict[str, int]:
    """The width of what a recurrence takes."""
    return {"input_size": arrays["weight_ih_l0"].shape[1]}


#: Layers that treat every place of a tensor alike, however many axes there are.
_EVERYWHERE: Final = frozenset(
    (
        "Dense",
        "Activation",
        "Dropout",
        "ReLU",
        "LeakyReLU",
        "ELU",
        "Identity",
        "Rescaling",
        "Embedding",
        "ThresholdedReLU",
    )
)


#: Layers that do something with a mask.
_TAKES_MASKS: Final = (*CELLS, *_OLD, "RNN", "Bidirectional", "Softmax", "GlobalAveragePooling1D", "MultiHeadAttention")


def time_distributed(context: Context) -> list[Ref]:
    """TimeDistributed: the steps of time become items of the batch, and back."""
    inner = context.child(context.config.value("layer"), "layer")
    mask = mask_of(context, place=2)
    if mask is not None and inner.kind in _TAKES_MASKS:
        raise Refusal(f"gives its mask to a {inner.kind}, which is not supported")
    x = context.x
    if inner.kind in _EVERYWHERE or (
        inner.kind == "LayerNormalization" and inner.config.values.get("axis") in (-1, [-1])
    ):
        inner.name = context.layer.name
        return _called(context, inner, x)
    dims = context.dims(x)
    steps = dims[1] if len(dims) > 1 else None
    if steps is None or any(size is None for size in dims[2:]):
        raise Refusal(f"TimeDistributed of a {inner.kind} needs fixed sizes of all axes but the batch: pass inputs=")
    flat = context.op("reshape", x, shape=[-1, *dims[2:]], role="items")
    inner.name = context.layer.name
    found = _called(context, inner, flat)
    if found == [UNSUPPORTED]:
        return found
    results = []
    for ref in found:
        after = context.dims(ref)[1:]
        if any(size is None for size in after):
            raise Refusal(f"TimeDistributed of a {inner.kind} whose result has free sizes is not supported")
        results.append(context.op("reshape", ref, shape=[-1, steps, *after], role="steps"))
    return results


def _called(context: Context, inner: Layer, x: Ref) -> list[Ref]:
    """The layer inside, called; what training changes in it, the one around it may forbid."""
    if not context.is_trainable():
        inner.config.values["trainable"] = False
    return context.importer.call(context.builder, inner, Call([x], {}))
