"""How layers are lifted that are applied to every step of a sequence."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.drawing import UNSUPPORTED
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_masks import mask_of
from modelarchive.exchange.keras.model import Call, Layer
from modelarchive.exchange.keras.quantized import POLICIES
from modelarchive.exchange.refusal import Refusal

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
_TAKES_MASKS: Final = (
    *("LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU", "RNN", "Bidirectional", "Softmax"),
    *("GlobalAveragePooling1D", "MultiHeadAttention"),
)


def time_distributed(context: Context) -> list[Ref]:
    """TimeDistributed: the steps of time become items of the batch, and back."""
    inner = context.child(context.config.value("layer"), "layer")
    policy = inner.config.values.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") in POLICIES:
        what = f"Keras (3.15.1) multiplies by the whole numbers of a quantised {inner.kind} in it, without their scale"
        raise Refusal(f"{what}: quantise a Dense by itself, which needs no TimeDistributed")
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
    if len(dims) < 2 or any(size is None for size in dims[2:]):
        what = "needs fixed sizes of all axes but the batch and the steps: pass inputs="
        raise Refusal(f"TimeDistributed of a {inner.kind} {what}")
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
        if dims[1] is not None:
            results.append(context.op("reshape", ref, shape=[-1, dims[1], *after], role="steps"))
        else:
            results.append(context.op("take", ref, _places(context, x), axis=0, role="steps"))
    return results


def _places(context: Context, x: Ref) -> Ref:
    """Which item each step of each sequence became, ``(batch, steps)``, however many steps there are."""
    op = context.op
    first = op("slice", x, index=[[None, None, None]] * 2 + [0] * (context.rank(x) - 2), role="step")
    # As many ones as there are steps; NaN equals nothing, and is one of them.
    ones = op("cast", op("equal", first, first, role="step"), dtype="int64", role="step")
    ones = op("maximum", ones, context.constant(1), role="step")
    rows, columns = (op("cumsum", ones, axis=axis, role="step") for axis in (0, 1))
    steps = op("slice", op("shape_of", x, role="sizes"), index=[1], role="steps")
    before = op("multiply", op("subtract", rows, context.constant(1), role="row"), steps, role="before")
    return op("subtract", op("add", before, columns, role="place"), context.constant(1), role="place")


def _called(context: Context, inner: Layer, x: Ref) -> list[Ref]:
    """The layer inside, called; what training changes in it, the one around it may forbid."""
    if not context.is_trainable():
        inner.config.values["trainable"] = False
    return context.importer.call(context.builder, inner, Call([x], {}))
