"""Keras models in memory: their config as ever, their variables where the layers have them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Bundle
from modelarchive.exchange.keras.config import Refusal
from modelarchive.exchange.keras.model import Layer, Model
from modelarchive.exchange.keras.reading import bundle_of_storage
from modelarchive.exchange.keras.writing import keras_module
from modelarchive.store.deferred import Deferred


def read_model(model: Any, inputs: Any = None) -> Bundle:
    """A ``keras.Model`` as a bundle: what a file of it would be read as, without a file.

    Args:
        model: A Sequential or functional model, built.
        inputs: An example of what it takes, or a tuple of several, where the model leaves sizes open that their
            meaning depends on.

    Returns:
        The bundle; the parameters are read from the model when they are asked for.

    Raises:
        ConversionError: The model has layers without a counterpart, custom classes or code; lists all of them.
        MissingDependencyError: Keras is not installed.
    """
    keras = keras_module()
    if not model.built:
        raise ConversionError([(model.name, "has no variables yet: call it once, or build() it")])
    try:
        config = json.loads(model.to_json())
    except (NotImplementedError, TypeError, ValueError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        what = f"Keras has no config for it: {first}"
        raise ConversionError([(model.name, what)], hint="only Sequential and functional models have one") from error
    return bundle_of_storage(config, Live(model, keras), keras.__version__, _declared(inputs))


def _declared(inputs: Any) -> list[Mapping[str, Any]] | None:
    if inputs is None:
        return None
    several = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
    return [each if isinstance(each, Mapping) else {"shape": [None, *each.shape[1:]]} for each in several]


class Live:
    """The variables of a model in memory; a layer's place is the path of names that leads to it.

    Args:
        model: The ``keras.Model``.
        keras: The module.
    """

    def __init__(self, model: Any, keras: Any) -> None:
        arrays: dict[str, Deferred] = {}
        self.used: set[str] = set()
        self._keys: dict[int, str] = {}
        self._objects: dict[str, Any] = {"": model}
        for variable in model.variables:
            key = f"{variable.path}:{len(self._keys)}"
            self._keys[id(variable)] = key
            arrays[key] = _deferred(variable, keras)
        self.arrays: Mapping[str, Deferred] = arrays

    def assign(self, model: Model, prefix: str) -> None:
        """Give every layer of a model its place."""
        owner = self._objects[prefix]
        for layer in model.layers:
            if layer.is_operation:
                continue
            layer.place = f"{prefix}\0{layer.name}"
            self._objects[layer.place] = _layer(owner, layer.name)
            if layer.inner is not None:
                self.assign(layer.inner, layer.place)

    def below(self, layer: Layer, child: Layer, attribute: str) -> None:
        """Give a layer inside of a layer its place."""
        child.place = f"{layer.place}\0{attribute}"
        self._objects[child.place] = _attribute(self._objects[layer.place], attribute)
        if child.inner is not None:
            self.assign(child.inner, child.place)

    def find(self, layer: Layer, variables: Sequence[str]) -> list[str]:
        """The keys of a layer's variables."""
        counts: dict[str, int] = {}
        found = []
        for variable in variables:
            attribute = variable.rpartition("/")[0]
            number = counts[attribute] = counts.get(attribute, -1) + 1
            owner = self._objects[layer.place]
            for part in filter(None, attribute.split("/")):
                owner = _attribute(owner, part)
            own: dict[str, Any] = {}
            # What a layer would put into a file, in the order of a file.
            owner.save_own_variables(own)
            key = self._keys.get(id(own.get(str(number))))
            if key is None:
                raise Refusal(f"its weight {variable!r} is not where Keras' own layer has it")
            self.used.add(key)
            found.append(key)
        return found


def _layer(owner: Any, name: str) -> Any:
    """None of the InputLayer of a Sequential, which it does not count; it has no variables."""
    return next((each for each in owner.layers if each.name == name), None)


def _attribute(owner: Any, name: str) -> Any:
    found = getattr(owner, name, None)
    found = getattr(owner, f"_{name}", None) if found is None else found
    if found is None:
        raise Refusal(f"Keras' {type(owner).__name__} has no {name!r} here")
    return found


@dataclass(frozen=True, eq=False)
class Held(Deferred):
    """A variable's values; `variable` is it."""

    variable: Any = None


def _deferred(variable: Any, keras: Any) -> Deferred:
    dtype = dtypes.numpy_dtype(variable.dtype)

    def read() -> np.ndarray:
        value = variable.value
        if hasattr(value, "detach") and variable.dtype != "bfloat16":
            # A view of PyTorch's memory; Keras' own function copies, and warns of NumPy's future.
            return np.asarray(value.detach().cpu().numpy(), dtype)
        return np.asarray(keras.ops.convert_to_numpy(value), dtype)

    return Held(tuple(variable.shape), dtype, read, variable=variable)
