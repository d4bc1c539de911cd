"""How dense layers, embeddings and flattening are lowered to Keras."""

from __future__ import annotations

from typing import Any, Final

from modelarchive.exchange.keras.emitting import Tensor
from modelarchive.exchange.keras.lowering_activations import ACTIVATED, activated
from modelarchive.exchange.keras.lowering_context import Context, Value
from modelarchive.exchange.keras.lowering_shapes import pooled_flat
from modelarchive.exchange.keras.stored import stored
from modelarchive.exchange.rows import Lowering


def _dense(context: Context, layer: Any, given: list[Value]) -> Value:
    x = flattened(context, given[0], layer.in_units) if layer.flatten else context.plain(given[0])
    return context.result(dense(context, layer, context.cast(x, context.dtype)))


def dense(context: Context, layer: Any, x: Tensor, *, role: str = "") -> Tensor:
    """A Dense without its flattening; one whose weight others use too as a product with that matrix."""
    if context.is_shared(layer.weight):
        axes = (1, 0)
        product = context.op(
            "matmul", x, context.op("transpose", context.cast(context.parameter(layer.weight), x.dtype), axes)
        )
        if layer.use_bias:
            product = context.op("add", product, context.cast(context.parameter(layer.bias), x.dtype))
        return activated(context, layer.activation, product)
    fused = layer.activation in ACTIVATED
    made = context.layer(
        "Dense",
        x,
        role=role,
        weights=stored("Dense", layer),
        units=layer.units,
        use_bias=layer.use_bias,
        activation=ACTIVATED[layer.activation] if fused else None,
    )
    return made if fused else activated(context, layer.activation, made)


def flattened(context: Context, value: Value, units: int = 0, *, role: str = "flat") -> Tensor:
    """``(batch, product of the rest)``."""
    if value.rank == 2:
        return context.plain(value)
    if not role and (pooled := pooled_flat(context, value)) is not None:
        return pooled
    sizes = value.sizes[1:]
    # Where a channel has one element, their order is that of the channels.
    single = value.last and all(size == 1 for size in sizes[1:])
    tensor = value.tensor if single else context.plain(value)
    if None in sizes and units:
        return context.layer("Reshape", tensor, role=role, dtype=tensor.dtype, target_shape=(units,))
    return context.layer("Flatten", tensor, role=role, dtype=tensor.dtype)


def _flatten(context: Context, layer: Any, given: list[Value]) -> Value:
    if given[0].rank == 2:
        return context.result(context.layer("Identity", context.plain(given[0]), dtype=given[0].tensor.dtype))
    return context.result(flattened(context, given[0], role=""))


def _embedding(context: Context, layer: Any, given: list[Value]) -> Value:
    x = context.plain(given[0])
    if x.dtype not in ("int32", "int64", "int8", "int16", "uint8"):
        x = context.cast(x, "int32")
    table = context.emitter.tables.get(id(layer.weight))
    if table is not None:
        return context.result(table(x))
    if layer.padding_idx is not None:
        context.note("which row stands for padding is left out: training in Keras changes it like any other")
    config = {"input_dim": layer.input_dim, "output_dim": layer.output_dim}
    made = context.layer("Embedding", x, weights=stored("Embedding", layer), **config)
    context.emitter.tables[id(layer.weight)] = made._keras_history.operation
    return context.result(made)


#: Kind -> how it is lowered.
DENSE: Final = {
    "Dense": Lowering("Dense", _dense, "one that shares its weight with others becomes a product with their matrix"),
    "Embedding": Lowering("Embedding", _embedding, "padding_idx is left out"),
    "Flatten": Lowering("Flatten Reshape", _flatten),
}
