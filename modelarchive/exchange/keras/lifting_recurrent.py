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
from modelarchive.exchange.keras.lifting_activations import activation_of
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_masks import Skipping, mask_of
from modelarchive.exchange.keras.model import Call, Layer
from modelarchive.exchange.keras.weights import GRU_GATES, LSTM_GATES, RNN_GATES, Weight, cudnn, recurrent
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short


@dataclass(frozen=True)
class Cell:
    """A recurrence.

    Attributes:
        kind: Its kind.
        gates: For each of our gates the place of Keras'.
        states: How many states it has.
        is_cudnn: Whether its variables are as cuDNN has them.
    """

    kind: str
    gates: tuple[int, ...]
    states: int
    is_cudnn: bool = False

    def weights(self, suffix: str = "l0") -> tuple[Weight, ...]:
        """Its variables; `suffix` is of our names: layer and direction."""
        return cudnn(self.gates, suffix) if self.is_cudnn else recurrent(self.gates, suffix)


#: Class of a layer or cell -> recurrence.
CELLS: Final = {
    "LSTM": Cell("LSTM", LSTM_GATES, 2),
    "GRU": Cell("GRU", GRU_GATES, 1),
    "SimpleRNN": Cell("RNN", RNN_GATES, 1),
    "CuDNNLSTM": Cell("LSTM", LSTM_GATES, 2, is_cudnn=True),
    "CuDNNGRU": Cell("GRU", GRU_GATES, 1, is_cudnn=True),
}


def _fields_of(context: Context, name: str, config: Config) -> dict[str, Any]:
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
    if CELLS[name].kind == "GRU":
        is_after = CELLS[name].is_cudnn or not context.is_keras2
        fields["linear_before_reset"] = config.flag("reset_after", default=is_after)
    return fields


def _plain(context: Context, value: Any) -> str:
    found = activation_of(context, value)
    return found.field or found.name if found.add else "linear"


def _class_of(layer: Layer) -> tuple[str, Config]:
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


def _settings_of(context: Context, config: Config) -> tuple[bool, bool, bool]:
    """Whether it returns sequences, whether it returns states, whether it goes backwards."""
    steps.stateful(context, config)
    for name in ("unroll", "use_cudnn", "time_major"):
        config.flag(name, default=False) if name != "use_cudnn" else config.value(name, "auto")
    config.expect("time_major", False)
    return (
        config.flag("return_sequences", default=False),
        config.flag("return_state", default=False),
        config.flag("go_backwards", default=False),
    )


def _states_of(context: Context, count: int) -> tuple[Ref, list[Ref]]:
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


def _is_of_several(layer: Layer) -> bool:
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


def _is_a_kind(context: Context, name: str, config: Config) -> bool:
    """Whether the vocabulary has a recurrence with these activations."""
    activation = _plain(context, config.values.get("activation", "tanh"))
    if name == "SimpleRNN":
        return activation in ("tanh", "relu")
    return (activation, _plain(context, config.values.get("recurrent_activation", "sigmoid"))) == ("tanh", "sigmoid")


def recurrence(context: Context) -> list[Ref]:
    """SimpleRNN, LSTM, GRU, and a RNN of their cells."""
    if _is_of_several(context.layer):
        return steps.by_steps(context, _cells(context))
    name, inner = _class_of(context.layer)
    if not _is_a_kind(context, name, inner):
        return steps.by_steps(context, [_steps_of(context, name, inner, context.layer)])
    cell = CELLS[name]
    sequences, with_state, backwards = _settings_of(context, context.config)
    fields = _fields_of(context, name, inner)
    _finish(inner, context.config)
    x, states = _states_of(context, cell.states)
    mask = mask_of(context, place=2)
    zeros = context.config.flag("zero_output_for_mask", default=False)
    x = context.as_float(x)
    if backwards:
        x = masks.backwards(context, x)
        mask = None if mask is None else masks.backwards(context, mask)
    initial = [context.op("expand_dims", state, axis=0, role="state") for state in states]
    if mask is not None:
        held = context.held(fields, cell.weights(), context.layer)
        way = _skipping(context, cell, fields, held, mask, zeros=zeros)
        return _skipped(way, cell, x, initial, sequences=sequences, with_state=with_state)
    whole = sequences and not with_state
    fields |= {"bidirectional": False, "return_state": not whole}
    results = context.block(cell.kind, fields, x, *initial, weights=cell.weights(), sizes=_input_size)
    if whole:
        return results
    last = [context.op("squeeze", ref, axis=0, role="last") for ref in results[1:]]
    return [results[0] if sequences else last[0], *(last if with_state else ())]


def _skipping(
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
        return context.block(cell.kind, own, part, *states, held=held, sizes=_input_size, role=role)

    return Skipping(context, run, mask, role or "steps", zeros)


def _skipped(way: Skipping, cell: Cell, x: Ref, initial: list[Ref], *, sequences: bool, with_state: bool) -> list[Ref]:
    """What one way gives: its outputs or the last, and its states."""
    given, last, end = way.outputs(x, initial)
    # The second state is known for single steps only; the first is what is given.
    ends = [] if not with_state else way.states(x, initial) if cell.states > 1 else [end]
    return [given if sequences else last, *ends]


def _input_size(arrays: Any) -> dict[str, int]:
    """The width of what a recurrence takes."""
    return {"input_size": arrays["weight_ih_l0"].shape[1]}


def bidirectional(context: Context) -> list[Ref]:
    """Bidirectional, of a recurrence."""
    config = context.config
    forward = context.child(config.value("layer"), "forward_layer")
    if not forward.name.startswith("forward_"):  # so it is renamed when it is made
        forward.name = f"forward_{forward.name}"
        context.importer.storage.below(context.layer, forward, "forward_layer")
    is_convolved = forward.kind in steps.CONVOLVED
    if forward.kind not in CELLS and forward.kind != "RNN" and not is_convolved:
        raise Refusal(f"Bidirectional of a {forward.kind} is not supported")
    if is_convolved or not _are_alike(context, forward):
        return _apart(context, forward)
    name, inner = _class_of(forward)
    cell = CELLS[name]
    sequences, with_state, backwards = _settings_of(context, forward.config)
    if backwards:
        raise Refusal("Bidirectional of a layer that goes backwards is not supported")
    fields = _fields_of(context, name, inner)
    backward = _backward(context, forward, fields, name)
    for layer in (forward, backward):
        # Whatever they say, of sequences they give zeros for what does not count.
        layer.config.flag("zero_output_for_mask", default=sequences)
    for each in (inner, forward.config):
        if unread := each.unread():
            raise Refusal(f"its layer has settings that are not supported: {short(unread)}")
    x, states = _states_of(context, 2 * cell.states)
    mask = mask_of(context, place=2)
    merge = config.value("merge_mode", "concat")
    if merge not in ("concat", "sum", "mul", "ave", None):
        raise Refusal(f"merge_mode = {short(merge)} is not supported")
    if mask is not None:
        initial = [context.op("expand_dims", state, axis=0, role="state") for state in states]
        ways = []
        x = context.as_float(x)
        for turned, layer in enumerate((forward, backward)):
            held = context.held(fields, cell.weights(), layer)
            given, counts = (masks.backwards(context, each) if turned else each for each in (x, mask))
            role = "backward" if turned else "forward"
            way = _skipping(context, cell, fields, held, counts, zeros=sequences, role=role)
            own = initial[turned * cell.states :][: cell.states]
            ways.append(_skipped(way, cell, given, own, sequences=sequences, with_state=with_state))
            if turned and sequences:
                ways[1][0] = masks.backwards(context, ways[1][0])
        return _merged(context, merge, [way[0] for way in ways]) + [state for way in ways for state in way[1:]]
    fields |= {"bidirectional": True, "return_state": with_state or not sequences}
    held = context.held(fields, cell.weights(), forward)
    held |= context.held(fields, cell.weights("l0_reverse"), backward)
    initial = [
        context.op("stack", states[index], states[index + cell.states], axis=0, role="state")
        for index in range(cell.states if states else 0)
    ]
    results = context.block(cell.kind, fields, context.as_float(x), *initial, held=held, sizes=_input_size)
    units = fields["hidden_size"]
    last = [context.op("slice", ref, index=[way], role="last") for way in (0, 1) for ref in results[1:]]
    if sequences and merge == "concat":
        return [results[0], *(last if with_state else ())]
    if not sequences:
        out = [last[0], last[cell.states]]
    else:
        whole = [None, None, None]
        halves = [[0, units, None], [units, None, None]]
        out = [context.op("slice", results[0], index=[whole, whole, half], role="half") for half in halves]
    return [*_merged(context, merge, out), *(last if with_state else ())]


def _are_alike(context: Context, forward: Layer) -> bool:
    """Whether the two ways are one recurrence of the vocabulary, each with parameters of its own."""
    if _is_of_several(forward) or not _is_a_kind(context, *_class_of(forward)):
        return False
    other = context.config.values.get("backward_layer")
    if not isinstance(other, dict) or not isinstance(other.get("config"), dict):
        return True
    if forward.kind == "RNN":
        return other.get("class_name") == "RNN"
    names = ("units", "activation", "recurrent_activation", "use_bias", "reset_after")
    ways = ((forward.kind, forward.config.values), (other.get("class_name"), other["config"]))
    one, two = ((kind, *(values.get(name) for name in names)) for kind, values in ways)
    return one == two


def _apart(context: Context, forward: Layer) -> list[Ref]:
    """Two recurrences that are not alike, each lifted by itself."""
    merge = context.config.value("merge_mode", "concat")
    if merge not in ("concat", "sum", "mul", "ave", None):
        raise Refusal(f"merge_mode = {short(merge)} is not supported")
    given = context.config.value("backward_layer", None)
    if given is None:
        settings = {**forward.config.values, "go_backwards": True}
        stem = forward.name.removeprefix("forward_")
        backward = Layer(f"backward_{stem}", forward.kind, forward.module, Config(settings), [])
        context.importer.storage.below(context.layer, backward, "backward_layer")
    else:
        backward = context.child(given, "backward_layer")
    if len(context.xs) > 1 or context.argument("initial_state", 1) is not None:
        raise Refusal("is called with initial states, which is supported for two layers alike only")
    context.argument("mask", 2)
    ways = []
    for layer in (forward, backward):
        layer.name = f"{context.layer.name}_{'backward' if layer is backward else 'forward'}"
        layer.config.values["zero_output_for_mask"] = bool(layer.config.values.get("return_sequences"))
        found = context.importer.call(context.builder, layer, Call([context.x], {}))
        if UNSUPPORTED in found:
            return [UNSUPPORTED]
        ways.append(found)
    if backward.config.values.get("return_sequences"):
        ways[1][0] = masks.backwards(context, ways[1][0])
    return _merged(context, merge, [way[0] for way in ways]) + [state for way in ways for state in way[1:]]


def _merged(context: Context, merge: str | None, out: list[Ref]) -> list[Ref]:
    """What the two ways give, as one."""
    if merge == "concat":
        return [context.op("concatenate", *out, axis=-1, role="both")]
    if merge is not None:
        out = [context.op("multiply" if merge == "mul" else "add", *out, role="both")]
    if merge == "ave":
        out = [context.op("multiply", out[0], context.constant(0.5), role="mean")]
    return out


def _backward(context: Context, forward: Layer, fields: dict[str, Any], name: str) -> Layer:
    """The layer that runs backwards: its own, or one with the settings of the other."""
    given = context.config.value("backward_layer", None)
    if given is not None:
        backward = context.child(given, "backward_layer")
        own_name, own = _class_of(backward)
        if own_name != name or _fields_of(context, own_name, own) != fields:
            raise Refusal("its two layers have different settings, which is not supported")
        if _settings_of(context, backward.config)[:2] != _settings_of(context, forward.config)[:2]:
            raise Refusal("its two layers return different things, which is not supported")
        return backward
    stem = forward.name.removeprefix("forward_")
    backward = Layer(f"backward_{stem}", forward.kind, forward.module, forward.config, [])
    context.importer.storage.below(context.layer, backward, "backward_layer")
    return backward
