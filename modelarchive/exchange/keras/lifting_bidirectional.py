"""How recurrences are lifted that run both ways."""

from __future__ import annotations

from typing import Any

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras import lifting_masks as masks
from modelarchive.exchange.keras.config import Config
from modelarchive.exchange.keras.drawing import UNSUPPORTED
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_masks import mask_of
from modelarchive.exchange.keras.lifting_recurrent import (
    CELLS,
    class_of,
    fields_of,
    input_size,
    is_a_kind,
    is_of_several,
    settings_of,
    skipped,
    skipping,
    states_of,
)
from modelarchive.exchange.keras.model import Call, Layer
from modelarchive.exchange.keras.weights import recurrent
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short


def bidirectional(context: Context) -> list[Ref]:
    """Bidirectional, of a recurrence."""
    config = context.config
    forward = context.child(config.value("layer"), "forward_layer")
    if not forward.name.startswith("forward_"):  # so it is renamed when it is made
        forward.name = f"forward_{forward.name}"
        context.importer.storage.below(context.layer, forward, "forward_layer")
    if forward.kind not in CELLS and forward.kind != "RNN":
        raise Refusal(f"Bidirectional of a {forward.kind} is not supported")
    if not _are_alike(context, forward):
        return _apart(context, forward)
    name, inner = class_of(forward)
    cell = CELLS[name]
    sequences, with_state, backwards = settings_of(forward.config)
    if backwards:
        raise Refusal("Bidirectional of a layer that goes backwards is not supported")
    fields = fields_of(context, name, inner)
    backward = _backward(context, forward, fields, name)
    zeros = [each.config.flag("zero_output_for_mask", default=False) for each in (forward, backward)]
    for each in (inner, forward.config):
        if unread := each.unread():
            raise Refusal(f"its layer has settings that are not supported: {short(unread)}")
    x, states = states_of(context, 2 * cell.states)
    mask = mask_of(context, place=2)
    merge = config.value("merge_mode", "concat")
    if merge not in ("concat", "sum", "mul", "ave", None):
        raise Refusal(f"merge_mode = {short(merge)} is not supported")
    if mask is not None:
        initial = [context.op("expand_dims", state, axis=0, role="state") for state in states]
        ways = []
        x = context.as_float(x)
        for turned, layer in enumerate((forward, backward)):
            held = context.held(fields, recurrent(cell.gates), layer)
            given, counts = (masks.backwards(context, each) if turned else each for each in (x, mask))
            role = "backward" if turned else "forward"
            way = skipping(context, cell, fields, held, counts, zeros=zeros[turned], role=role)
            own = initial[turned * cell.states :][: cell.states]
            ways.append(skipped(way, cell, given, own, sequences=sequences, with_state=with_state))
            if turned and sequences:
                ways[1][0] = masks.backwards(context, ways[1][0])
        return _merged(context, merge, [way[0] for way in ways]) + [state for way in ways for state in way[1:]]
    fields |= {"bidirectional": True, "return_state": with_state or not sequences}
    held = context.held(fields, recurrent(cell.gates), forward)
    held |= context.held(fields, recurrent(cell.gates, "l0_reverse"), backward)
    initial = [
        context.op("stack", states[index], states[index + cell.states], axis=0, role="state")
        for index in range(cell.states if states else 0)
    ]
    results = context.block(cell.kind, fields, context.as_float(x), *initial, held=held, sizes=input_size)
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
    if is_of_several(forward) or not is_a_kind(context, *class_of(forward)):
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
        own_name, own = class_of(backward)
        if own_name != name or fields_of(context, own_name, own) != fields:
            raise Refusal("its two layers have different settings, which is not supported")
        if settings_of(backward.config)[:2] != settings_of(forward.config)[:2]:
            raise Refusal("its two layers return different things, which is not supported")
        return backward
    stem = forward.name.removeprefix("forward_")
    backward = Layer(f"backward_{stem}", forward.kind, forward.module, forward.config, [])
    context.importer.storage.below(context.layer, backward, "backward_layer")
    return backward
