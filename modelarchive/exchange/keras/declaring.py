"""The inputs of a model of Keras as an architecture declares them, and the containers of its outputs."""

from __future__ import annotations

from typing import Any

from modelarchive.architecture.declarations import Inputs, by_name, given_inputs
from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.keras.config import DTYPES
from modelarchive.exchange.keras.importing import leaves
from modelarchive.exchange.keras.model import Layer, Model, Tensor
from modelarchive.nn import nesting
from modelarchive.nn.evaluate import MAX_RANK
from modelarchive.store.strict import short


def declarations_of(model: Model, inputs: Inputs | None) -> list[dict[str, Any]]:
    """The inputs of a model; shape None where it is not known."""
    layers = {layer.name: layer for layer in model.layers}
    if model.is_sequential:
        first = model.layers[0] if model.layers else None
        found = [_declared(first, "x", model.input_shape)]
    else:
        tensors = leaves(model.inputs)
        wrong = [each for each in tensors if not isinstance(each, Tensor) or each.layer not in layers]
        if wrong:
            raise FormatError(f"an input of {model.name!r} is no layer of it")
        found = [_declared(layers[each.layer], each.layer, None) for each in tensors]
    return found if inputs is None else _instead(found, inputs, is_named=not model.is_sequential)


def _instead(found: list[dict[str, Any]], inputs: Inputs, *, is_named: bool) -> list[dict[str, Any]]:
    """The declarations with the shapes and dtypes that are given; that of a row of layers has any name.

    Raises:
        SpecError: They cannot be read.
        ConversionError: They are of other inputs.
    """
    several = given_inputs(inputs)
    if not is_named and len(several) == 1:
        several = [several[0] | {"name": found[0]["name"]}]
    said = by_name(several, [each["name"] for each in found])
    return [
        each | {key: said[each["name"]][key] for key in ("shape", "dtype") if key in said.get(each["name"], ())}
        for each in found
    ]


def _declared(layer: Layer | None, name: str, shape: list[int | None] | None) -> dict[str, Any]:
    dtype: Any = "float32"
    if layer is not None:
        config = layer.config.values
        stated = config.get("batch_shape", config.get("batch_input_shape"))
        if isinstance(stated, list):
            shape = [None if type(size) is int and size == -1 else size for size in stated]
        if layer.is_input:
            name, dtype = layer.name, config.get("dtype", "float32")
            if isinstance(dtype, dict):
                policy = dtype.get("config")
                dtype = policy.get("name") if isinstance(policy, dict) else policy
            if config.get("sparse") or config.get("ragged"):
                raise ConversionError([(name, "is a sparse or ragged input, which is not supported")])
    if dtype not in DTYPES:
        raise ConversionError([(name, f"is an input of {short(dtype)}, which is not supported")])
    if shape is not None and not (
        len(shape) <= MAX_RANK and all(size is None or (type(size) is int and 0 < size < 2**31) for size in shape)
    ):
        raise ConversionError([(name, f"has the shape {short(shape)}")])
    # The first axis is the batch: that it was fixed while the model was made says nothing of its meaning.
    return {"name": name, "shape": None if shape is None else list(shape), "dtype": dtype}


def is_flat(outputs: Any) -> bool:
    """Whether outputs are a list of tensors, as an architecture has them without a word."""
    return isinstance(outputs, list) and all(isinstance(each, Tensor) for each in outputs)


def structure_of(outputs: Any) -> Any:
    """The containers of the outputs, as an architecture writes them."""
    return nesting.structure_of(_emptied(outputs))


def _emptied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _emptied(each) for key, each in value.items()}
    return [_emptied(each) for each in value] if isinstance(value, list) else 0
