"""How dense layers, embeddings and flattening are said in Keras."""

from __future__ import annotations

from typing import Any, Final

from modelarchive.exchange.keras.place import Place, Saying, Tensor, Value
from modelarchive.exchange.keras.saying_activations import ACTIVATED, activated
from modelarchive.exchange.keras.saying_shapes import pooled_flat
from modelarchive.exchange.keras.stored import stored


def _dense(place: Place, layer: Any, given: list[Value]) -> Value:
    x = flattened(place, given[0], layer.in_units) if layer.flatten else place.plain(given[0])
    return place.result(dense(place, layer, place.cast(x, place.dtype)))


def dense(place: Place, layer: Any, x: Tensor, *, role: str = "") -> Tensor:
    """A Dense without its flattening; one whose weight others use too as a product with that matrix."""
    if place.is_shared(layer.weight):
        axes = (1, 0)
        product = place.op("matmul", x, place.op("transpose", place.cast(place.matrix(layer.weight), x.dtype), axes))
        if layer.use_bias:
            product = place.op("add", product, place.cast(place.matrix(layer.bias), x.dtype))
        return activated(place, layer.activation, product)
    fused = layer.activation in ACTIVATED
    made = place.layer(
        "Dense",
        x,
        role=role,
        weights=stored("Dense", layer),
        units=layer.units,
        use_bias=layer.use_bias,
        activation=ACTIVATED[layer.activation] if fused else None,
    )
    return made if fused else activated(place, layer.activation, made)


def flattened(place: Place, value: Value, units: int = 0, *, role: str = "flat") -> Tensor:
    """``(batch, product of the rest)``."""
    if value.rank == 2:
        return place.plain(value)
    if not role and (pooled := pooled_flat(place, value)) is not None:
        return pooled
    sizes = value.sizes[1:]
    # Where a channel has one element, their order is that of the channels.
    single = value.last and all(size == 1 for size in sizes[1:])
    tensor = value.tensor if single else place.plain(value)
    if None in sizes and units:
        return place.layer("Reshape", tensor, role=role, dtype=tensor.dtype, target_shape=(units,))
    return place.layer("Flatten", tensor, role=role, dtype=tensor.dtype)


def _flatten(place: Place, layer: Any, given: list[Value]) -> Value:
    if given[0].rank == 2:
        return place.result(place.layer("Identity", place.plain(given[0]), dtype=given[0].tensor.dtype))
    return place.result(flattened(place, given[0], role=""))


def _embedding(place: Place, layer: Any, given: list[Value]) -> Value:
    x = place.plain(given[0])
    if x.dtype not in ("int32", "int64", "int8", "int16", "uint8"):
        x = place.cast(x, "int32")
    table = place.builder.tables.get(id(layer.weight))
    if table is not None:
        return place.result(table(x))
    if layer.padding_idx is not None:
        place.note("which row stands for padding is left out: training in Keras changes it like any other")
    config = {"input_dim": layer.input_dim, "output_dim": layer.output_dim}
    made = place.layer("Embedding", x, weights=stored("Embedding", layer), **config)
    place.builder.tables[id(layer.weight)] = made._keras_history.operation
    return place.result(made)


#: Kind -> how it is said.
DENSE: Final = {
    "Dense": Saying(("Dense",), _dense, "one that shares its weight with others becomes a product with their matrix"),
    "Embedding": Saying(("Embedding",), _embedding, "padding_idx is left out"),
    "Flatten": Saying(("Flatten", "Reshape"), _flatten),
}
