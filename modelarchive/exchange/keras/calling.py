"""One call of a layer, lifted: by its row in the tables, with its settings and its mask."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from modelarchive.exchange.drawing import Ref, UnknownError
from modelarchive.exchange.keras.drawing import UNSUPPORTED, LayerBuilder, Mask, MaskWantedError
from modelarchive.exchange.keras.importing import Importer, leaves
from modelarchive.exchange.keras.lifting import LAYERS, OPERATIONS
from modelarchive.exchange.keras.lifting_context import FLOATS, Context
from modelarchive.exchange.keras.lifting_masks import passed
from modelarchive.exchange.keras.lifting_tensorflow import as_operation
from modelarchive.exchange.keras.lifting_tensorflow_formulas import FORMULAS
from modelarchive.exchange.keras.model import Call, Layer, Model, mapped
from modelarchive.exchange.keras.quantized import POLICIES, quantized
from modelarchive.exchange.keras.row import Lifting
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: Classes that run code of their author's, which the file holds or names.
_CODE = ("Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")
#: Classes that look texts or numbers up, or hash them.
_WORDS = ("StringLookup", "IntegerLookup", "TextVectorization", "Hashing", "HashedCrossing")
#: Classes that are operations on parameters of their own.
_HOLDERS = ("EinsumDense", "Normalization", "LayerScale", "PReLU", "Attention", "AdditiveAttention")
#: Classes whose quantised kernels are known.
_QUANTIZED = ("Dense", "EinsumDense", "Embedding")
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
    row = FORMULAS.get(layer.kind) or (OPERATIONS if layer.is_operation else LAYERS).get(layer.kind)
    if row is None:
        raise Refusal(_unknown(layer))
    results = _held(importer, builder, layer, call, row) or _called(importer, builder, layer, call, row)
    if UNSUPPORTED in results or row.masks == "drop":
        return results
    tensors = [each for each in leaves(call.args[:1]) if isinstance(each, Ref)]
    mask = passed(Context(importer, builder, layer, call), call, tensors)
    if mask is not None and builder.mask(results[0]) is None:
        for each in results if row.masks == "pass" else results[: _with_mask(layer, call)]:
            builder.set_mask(each, mask)
    return results


def _with_mask(layer: Layer, call: Call) -> int:
    """How many results of a layer that uses a mask have it themselves."""
    if layer.kind in ("MultiHeadAttention", "GroupQueryAttention", "GroupedQueryAttention", "Softmax"):
        return 1
    if layer.kind in ("Attention", "AdditiveAttention"):
        return 1
    inner = layer.config.values.get("layer") if layer.kind == "Bidirectional" else None
    settings = inner["config"] if isinstance(inner, dict) and isinstance(inner.get("config"), dict) else None
    settings = layer.config.values if settings is None else settings
    if not settings.get("return_sequences"):
        return 0
    return 2 if layer.kind == "Bidirectional" and layer.config.values.get("merge_mode", "concat") is None else 1


def _held(importer: Importer, builder: LayerBuilder, layer: Layer, call: Call, row: Lifting) -> list[Ref] | None:
    """A layer that is operations on parameters of its own, as a block that has them; None if it is none of these."""
    tensors = _tensors(call)
    if layer.kind not in _HOLDERS or layer.is_operation or UNSUPPORTED in tensors:
        return None
    inner = builder.inside()
    given = {ref: inner.layer_input("x", builder.known_of(ref), is_layer=False) for ref in dict.fromkeys(tensors)}
    masks = {ref: mask for ref in tensors if row.masks == "use" and (mask := builder.mask(ref)) is not None}
    for ref, mask in list(masks.items()):
        # What a mask is made of stands around the block: it is one of its inputs.
        made = builder.made(mask)
        inside_ref = given.get(made) or inner.layer_input("mask", builder.known_of(made), is_layer=False)
        given[made] = inside_ref
        inner.set_mask(given[ref], Mask(mask.layer, partial(_itself, inside_ref)))

    def inside(value: Any) -> Any:
        return given[value] if isinstance(value, Ref) else value

    turned = Call(mapped(call.args, inside), {name: mapped(each, inside) for name, each in call.kwargs.items()})
    results = _called(importer, inner, layer, turned, row)
    if not inner.parameters or UNSUPPORTED in results:
        return None
    values = [inner.value(ref) for ref in results]
    value = tuple(values) if len(values) > 1 else values[0]
    return builder.results_of(builder.block(layer.name, inner.graph(results), list(given), value))


def _itself(ref: Ref) -> Ref:
    return ref


def _called(importer: Importer, builder: LayerBuilder, layer: Layer, call: Call, row: Lifting) -> list[Ref]:
    """What a row of the tables adds to a graph for a call."""
    context = Context(importer, builder, layer, call, row.weights)
    if not layer.is_operation:
        _follow_policy(context)
        _report_training(context)
    if context.quantized is not None and layer.kind not in _QUANTIZED:
        raise Refusal(f"a quantised {layer.kind} is not supported")
    try:
        found = row.lift(context)
    except (UnknownError, ValueError):
        if context.is_unsupported:
            return [UNSUPPORTED]
        raise
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
    explicit = _explicit_masks(call)
    tensors = [each for each in leaves(call.args) if each is not None]
    if wrong or call.kwargs.get("training") or layer.inner is None:
        raise Refusal(f"is called with {', '.join(wrong) or 'training'}, which is not supported")
    if not all(isinstance(each, Ref) for each in tensors):
        raise Refusal(f"is called on {short(call.args)}, expected tensors")
    if UNSUPPORTED in (*tensors, *explicit.values()):
        for each in layer.inner.layers:  # what else is wrong is reported with it
            if not each.is_input and each.inner is None:
                table = OPERATIONS if each.is_operation else LAYERS
                if each.kind not in table and each.kind not in _FUNCTIONS:
                    importer.report.refuse(each.name, _unknown(each))
        return [UNSUPPORTED]
    given = [builder.known_of(each) for each in tensors]
    given = [replace(known, mask="mask") if at in explicit else known for at, known in enumerate(given)]
    made = importer.model(layer.inner, given, is_trainable=builder.is_trainable)
    if not made.known:
        raise Refusal("has no outputs")
    masks = {at: mask for at, each in enumerate(tensors) if (mask := builder.mask(each)) is not None}
    more = [explicit[at] if at in explicit else builder.made(masks[at]) for at in made.masks]
    whole = builder.model(layer.name, made, [*tensors, *more])
    found = whole[: len(whole) - len(made.given)]
    given_masks = dict(zip(made.given, whole[len(found) :], strict=True))
    for place, (ref, what) in enumerate(zip(found, made.known, strict=False)):
        make = partial(_mask_of_model, layer.inner, given_masks.get(place))
        builder.set_mask(ref, Mask(what.mask, make) if what.mask else None)
    return found


def _mask_of_model(model: Model, given: Ref | None) -> Ref:
    """The mask of what a model inside gives.

    Raises:
        MaskWantedError: It gives none yet.
    """
    if given is None:
        raise MaskWantedError(id(model))
    return given


def _explicit_masks(call: Call) -> dict[int, Ref]:
    """Place of an input -> the mask that it is given with, as a tensor."""
    given = call.kwargs.get("mask")
    several = given if isinstance(given, list) else [given]
    return {at: each for at, each in enumerate(several) if isinstance(each, Ref)}


def _unknown(layer: Layer) -> str:
    what = "operation" if layer.is_operation else "layer"
    if layer.kind in _CODE:
        return f"{layer.kind} is code, which is not read"
    if layer.kind in _WORDS:
        return (
            f"{layer.kind} looks words up, and a network here takes numbers: save the model behind it, "
            f"keras.Model(layer.output, model.output), and give that what the layer gives"
        )
    return f"the {what} {layer.kind!r} is not supported"


def _tensors(call: Call) -> list[Ref]:
    return [each for each in leaves([call.args, call.kwargs]) if isinstance(each, Ref)]


def _follow_policy(context: Context) -> None:
    """What dtype a layer computes in: floats of another one are cast before it, as Keras does."""
    policy: Any = context.config.values.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") in POLICIES:
        context.quantized = quantized(policy, context.layer.name)
        return
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
