"""One call of a layer, lifted: by its row in the tables, with its settings and its mask."""

from __future__ import annotations

from typing import Any

from modelarchive.exchange.drawing import Ref, UnknownError
from modelarchive.exchange.keras.drawing import UNSUPPORTED, LayerBuilder
from modelarchive.exchange.keras.importing import Importer, leaves
from modelarchive.exchange.keras.lifting import LAYERS, OPERATIONS, Lifting
from modelarchive.exchange.keras.lifting_context import FLOATS, Context
from modelarchive.exchange.keras.lifting_tensorflow import as_operation
from modelarchive.exchange.keras.model import Call, Layer, mapped
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: Classes that run code of their author's, which the file holds or names.
_CODE = ("Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")
#: Classes that are operations on parameters of their own.
_HOLDERS = ("EinsumDense", "Normalization", "LayerScale", "PReLU", "Attention", "AdditiveAttention")
#: Classes that call a function of TensorFlow, by its name.
_FUNCTIONS = ("TFOpLambda", "SlicingOpLambda")


def lifted(importer: Importer, builder: LayerBuilder, layer: Layer, call: Call) -> list[Ref]:
    """Add one call of a layer to a graph.

    Returns:
        Its results; [UNSUPPORTED] where it takes what is not supported.

    Raises:
        Refusal: It is not supported.
    """
    if layer.inner is not None:
        return _model(importer, builder, layer, call)
    if layer.kind in _FUNCTIONS:
        layer, call = as_operation(layer, call)
    row = (OPERATIONS if layer.is_operation else LAYERS).get(layer.kind)
    if row is None:
        raise Refusal(_unknown(layer))
    results = _held(importer, builder, layer, call, row) or _called(importer, builder, layer, call, row)
    if UNSUPPORTED not in results and row.masks == "pass" and (mask := _mask(builder, call)):
        for each in results:
            builder.set_mask(each, mask)
    return results


def _mask(builder: LayerBuilder, call: Call) -> str:
    return next((mask for each in _tensors(call) if (mask := builder.mask(each))), "")


def _held(importer: Importer, builder: LayerBuilder, layer: Layer, call: Call, row: Lifting) -> list[Ref] | None:
    """A layer that is operations on parameters of its own, as a block that has them; None if it is none of these."""
    tensors = _tensors(call)
    if layer.kind not in _HOLDERS or layer.is_operation or UNSUPPORTED in tensors:
        return None
    inner = builder.inside()
    given = {ref: inner.layer_input("x", builder.known_of(ref), is_layer=False) for ref in dict.fromkeys(tensors)}

    def inside(value: Any) -> Any:
        return given[value] if isinstance(value, Ref) else value

    turned = Call(mapped(call.args, inside), {name: mapped(each, inside) for name, each in call.kwargs.items()})
    results = _called(importer, inner, layer, turned, row)
    if not inner.parameters or UNSUPPORTED in results:
        return None
    values = [inner.value(ref) for ref in results]
    value = tuple(values) if len(values) > 1 else values[0]
    return builder.results_of(builder.block(layer.name, inner.graph(results), list(given), value))


def _called(importer: Importer, builder: LayerBuilder, layer: Layer, call: Call, row: Lifting) -> list[Ref]:
    """What a row of the tables adds to a graph for a call."""
    context = Context(importer, builder, layer, call, row.weights)
    if not layer.is_operation:
        _follow_policy(context)
        _report_training(context)
    try:
        found = row.lift(context)
    except (UnknownError, ValueError):
        if context.is_unsupported:
            return [UNSUPPORTED]
        raise
    if row.masks == "use" and (mask := _mask(builder, call)):
        raise Refusal(f"takes the mask that {mask!r} makes, which is not supported")
    results = found if isinstance(found, list) else [found]
    if unread := context.config.unread() if not layer.is_operation or layer.config.values else {}:
        raise Refusal(f"{layer.kind} has settings that are not supported: {short(unread)}")
    if empty := context.config.empty():
        context.note(f"settings that are null, of which nothing is known, are left out: {short(empty)}")
    if unread_arguments := context.unread():
        raise Refusal(f"{layer.kind} is called with {', '.join(unread_arguments)}, which is not supported")
    return [UNSUPPORTED for _ in results] if context.is_unsupported else results


def _model(importer: Importer, builder: LayerBuilder, layer: Layer, call: Call) -> list[Ref]:
    """A model inside of a model: a block of its own."""
    wrong = [name for name, value in call.kwargs.items() if value is not None and name not in ("mask", "training")]
    tensors = [each for each in leaves(call.args) if each is not None]
    if wrong or call.kwargs.get("mask") is not None or call.kwargs.get("training") or layer.inner is None:
        raise Refusal(f"is called with {', '.join(wrong) or 'mask or training'}, which is not supported")
    if not all(isinstance(each, Ref) for each in tensors):
        raise Refusal(f"is called on {short(call.args)}, expected tensors")
    if UNSUPPORTED in tensors:
        for each in layer.inner.layers:  # what else is wrong is reported with it
            if not each.is_input and each.inner is None:
                table = OPERATIONS if each.is_operation else LAYERS
                if each.kind not in table and each.kind not in _FUNCTIONS:
                    importer.report.refuse(each.name, _unknown(each))
        return [UNSUPPORTED]
    given = [builder.known_of(each) for each in tensors]
    made = importer.model(layer.inner, given, is_trainable=builder.is_trainable)
    if not made.known:
        raise Refusal("has no outputs")
    found = builder.model(layer.name, made, tensors)
    for ref, what in zip(found, made.known, strict=True):
        builder.set_mask(ref, what.mask)
    return found


def _unknown(layer: Layer) -> str:
    what = "operation" if layer.is_operation else "layer"
    if layer.kind in _CODE:
        return f"{layer.kind} is code, which is not read"
    return f"the {what} {layer.kind!r} is not supported"


def _tensors(call: Call) -> list[Ref]:
    return [each for each in leaves([call.args, call.kwargs]) if isinstance(each, Ref)]


def _follow_policy(context: Context) -> None:
    """What dtype a layer computes in: floats of another one are cast before it, as Keras does."""
    policy: Any = context.config.values.get("dtype")
    if isinstance(policy, dict):
        if policy.get("class_name") not in ("DTypePolicy", "FloatDTypePolicy", "Policy", "PolicyV1"):
            raise Refusal(f"its dtype policy is a {short(policy.get('class_name'))}, which is not supported")
        config = policy.get("config")
        policy = config.get("name") if isinstance(config, dict) else None
    if isinstance(policy, str) and policy.startswith("mixed_"):
        narrow = policy.removeprefix("mixed_")
        context.importer.report.note("(dtype)", f"layers of the policy {policy} compute in {narrow}; here in float32")
    elif policy in FLOATS:
        context.compute_in(policy)


def _report_training(context: Context) -> None:
    """What matters in training only."""
    for name, value in context.config.values.items():
        if value is not None and name.endswith(("_regularizer", "_constraint")):
            context.importer.report.note("(training)", "regularizers and constraints are left out")
