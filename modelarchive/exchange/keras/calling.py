"""One call of a layer into a graph: the layer's row in the tables, its settings, its mask."""

from __future__ import annotations

from typing import Any

from modelarchive.exchange.keras.importing import Importer, leaves
from modelarchive.exchange.keras.lifting import LAYERS, OPERATIONS
from modelarchive.exchange.keras.lifting_context import FLOATS, Context, UnknownError
from modelarchive.exchange.keras.lifting_tensorflow import as_operation
from modelarchive.exchange.keras.model import Call, Layer, mapped
from modelarchive.exchange.keras.row import Row
from modelarchive.exchange.keras.scope import LOST, At, Scope
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: Classes that run code of their author's, which the file holds or names.
_CODE = ("Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")
#: Classes that are operations on parameters of their own.
_HOLDERS = ("EinsumDense", "Normalization", "LayerScale", "PReLU", "Attention", "AdditiveAttention")
#: Classes that call a function of TensorFlow, by its name.
_FUNCTIONS = ("TFOpLambda", "SlicingOpLambda")


def converted(importer: Importer, scope: Scope, layer: Layer, call: Call) -> list[At]:
    """Add one call of a layer to a graph.

    Returns:
        Its results; [LOST] where it takes what could not be said.

    Raises:
        Refusal: It has no counterpart.
    """
    if layer.inner is not None:
        return _model(importer, scope, layer, call)
    if layer.kind in _FUNCTIONS:
        layer, call = as_operation(layer, call)
    row = (OPERATIONS if layer.is_operation else LAYERS).get(layer.kind)
    if row is None:
        raise Refusal(_unknown(layer))
    results = _held(importer, scope, layer, call, row) or _called(importer, scope, layer, call, row)
    if LOST not in results and row.masks == "pass" and (mask := _mask(scope, call)):
        for each in results:
            scope.set_mask(each, mask)
    return results


def _mask(scope: Scope, call: Call) -> str:
    return next((known for each in _tensors(call) if (known := scope.known(each).mask)), "")


def _held(importer: Importer, scope: Scope, layer: Layer, call: Call, row: Row) -> list[At] | None:
    """A layer that is operations on parameters of its own, as a block that has them; None if it is none of these."""
    tensors = _tensors(call)
    if layer.kind not in _HOLDERS or layer.is_operation or LOST in tensors:
        return None
    inner = Scope(importer, scope.is_trainable)
    given = {at: inner.input("x", scope.known(at)) for at in dict.fromkeys(tensors)}

    def inside(value: Any) -> Any:
        return given[value] if isinstance(value, At) else value

    turned = Call(mapped(call.args, inside), {name: mapped(each, inside) for name, each in call.kwargs.items()})
    results = _called(importer, inner, layer, turned, row)
    if not inner.own or LOST in results:
        return None
    values = [inner.known(at).value for at in results]
    value = tuple(values) if len(values) > 1 else values[0]
    return scope.block(layer.name, inner.graph(results), list(given), value)


def _called(importer: Importer, scope: Scope, layer: Layer, call: Call, row: Row) -> list[At]:
    """What a row of the tables adds to a graph for a call."""
    context = Context(importer, scope, layer, call, row.weights)
    if not layer.is_operation:
        _follow_policy(context)
        _tell_training(context)
    try:
        found = row.read(context)
    except (UnknownError, ValueError):
        if context.is_lost:
            return [LOST]
        raise
    if row.masks == "use" and (mask := _mask(scope, call)):
        raise Refusal(f"takes the mask that {mask!r} makes, which has no counterpart")
    results = found if isinstance(found, list) else [found]
    if unread := context.config.unread() if not layer.is_operation or layer.config.values else {}:
        raise Refusal(f"{layer.kind} has settings that have no counterpart: {short(unread)}")
    if empty := context.config.empty():
        context.note(f"settings that are null, of which nothing is known, are left out: {short(empty)}")
    if unread_arguments := context.unread():
        raise Refusal(f"{layer.kind} is called with {', '.join(unread_arguments)}, which has no counterpart")
    return [LOST for _ in results] if context.is_lost else results


def _model(importer: Importer, scope: Scope, layer: Layer, call: Call) -> list[At]:
    """A model inside of a model: a block of its own."""
    wrong = [name for name, value in call.kwargs.items() if value is not None and name not in ("mask", "training")]
    tensors = [each for each in leaves(call.args) if each is not None]
    if wrong or call.kwargs.get("mask") is not None or call.kwargs.get("training") or layer.inner is None:
        raise Refusal(f"is called with {', '.join(wrong) or 'mask or training'}, which has no counterpart")
    if not all(isinstance(each, At) for each in tensors):
        raise Refusal(f"is called on {short(call.args)}, expected tensors")
    if LOST in tensors:
        for each in layer.inner.layers:  # what else is wrong is told with it
            if not each.is_input and each.inner is None:
                table = OPERATIONS if each.is_operation else LAYERS
                if each.kind not in table and each.kind not in _FUNCTIONS:
                    importer.problems.append((each.name, _unknown(each)))
        return [LOST]
    given = [scope.known(each) for each in tensors]
    made = importer.model(layer.inner, given, is_trainable=scope.is_trainable)
    if not made.known:
        raise Refusal("has no outputs")
    found = scope.model(layer.name, made, tensors)
    for at, what in zip(found, made.known, strict=True):
        scope.set_mask(at, what.mask)
    return found


def _unknown(layer: Layer) -> str:
    what = "operation" if layer.is_operation else "layer"
    if layer.kind in _CODE:
        return f"{layer.kind} is code, which is not read"
    return f"the {what} {layer.kind!r} has no counterpart"


def _tensors(call: Call) -> list[At]:
    return [each for each in leaves([call.args, call.kwargs]) if isinstance(each, At)]


def _follow_policy(context: Context) -> None:
    """What dtype a layer computes in: floats of another one are cast before it, as Keras does."""
    policy: Any = context.config.values.get("dtype")
    if isinstance(policy, dict):
        if policy.get("class_name") not in ("DTypePolicy", "FloatDTypePolicy", "Policy", "PolicyV1"):
            raise Refusal(f"its dtype policy is a {short(policy.get('class_name'))}, which has no counterpart")
        config = policy.get("config")
        policy = config.get("name") if isinstance(config, dict) else None
    if isinstance(policy, str) and policy.startswith("mixed_"):
        narrow = policy.removeprefix("mixed_")
        context.importer.note("(dtype)", f"layers of the policy {policy} compute in {narrow}; here in float32")
    elif policy in FLOATS:
        context.compute_in(policy)


def _tell_training(context: Context) -> None:
    """What matters in training only."""
    for name, value in context.config.values.items():
        if value is not None and name.endswith(("_regularizer", "_constraint")):
            context.importer.note("(training)", "regularizers and constraints are left out")
