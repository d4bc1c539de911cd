"""Keras models in memory: their config as ever, their variables where the layers have them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Bundle
from modelarchive.exchange.keras.model import Layer, Model
from modelarchive.exchange.keras.reading import OWN, bundle_of_storage
from modelarchive.exchange.keras.storage import Factors, member_names
from modelarchive.exchange.keras.writing import keras_module
from modelarchive.exchange.refusal import Refusal
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
        ConversionError: The model has layers that are not supported, custom classes or code; lists all of them.
        MissingDependencyError: Keras is not installed.
    """
    keras = keras_module()
    is_own = _is_subclassed(model, keras)
    if not model.built:
        what = "has no variables yet: its layers are made when it is called or built"
        raise ConversionError([(model.name, what)], hint=_UNBUILT + (f"; then {_SUBCLASSED}" if is_own else ""))
    if is_own:
        what = f"is a {type(model).__name__}, a model of its author's own class: what it computes is its code"
        raise ConversionError([(model.name, what)], hint=_SUBCLASSED)
    try:
        config = json.loads(model.to_json())
    except Exception as error:
        hint = f"give the layer a get_config() of what JSON can say, or {_SUBCLASSED}"
        raise ConversionError(_without_config(model, keras) or [_told(model, error)], hint=hint) from error
    try:
        return bundle_of_storage(config, _Live(model, keras), keras.__version__, _declared(inputs))
    except ConversionError as error:
        error.hint = _SUBCLASSED if error.hint == OWN else error.hint
        raise


_SUBCLASSED: Final = (
    "ma.save('weights.h5', {v.path: v for v in model.variables}) saves its parameters, ma.transplant moves them"
)
_UNBUILT: Final = "call it once on an example, model(x), or type model.build((None, 32)) with the shape of its input"


def _is_subclassed(model: Any, keras: Any) -> bool:
    """Whether it is neither a Sequential nor a functional model."""
    return not isinstance(model, keras.Sequential) and not hasattr(model, "_nodes_by_depth")


def _without_config(model: Any, keras: Any) -> list[tuple[str, str]]:
    """The layers, at any depth, that Keras cannot write down, and why."""
    found = []
    for layer in getattr(model, "layers", ()):
        inner = _without_config(layer, keras)
        if not inner:
            try:
                json.dumps(keras.saving.serialize_keras_object(layer))
            except Exception as error:
                inner = [_told(layer, error)]
        found += inner
    return found


def _told(layer: Any, error: Exception) -> tuple[str, str]:
    first = next(iter(str(error).strip().splitlines()), "")
    return layer.name, f"Keras has no config for it: {type(error).__name__}{first and f': {first}'}"


def _declared(inputs: Any) -> list[Mapping[str, Any]] | None:
    if inputs is None:
        return None
    several = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
    return [each if isinstance(each, Mapping) else {"shape": [None, *each.shape[1:]]} for each in several]


class _Live:
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
        self.is_mirrored = False

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
            owner, name = self._owner(layer, variable)
            own: dict[str, Any] = {}
            # What a layer would put into a file, in the order of a file.
            owner.save_own_variables(own)
            # With a LoRA a layer would save the sum: what it is made of stands beside.
            holds = getattr(owner, f"_{name}", None) if getattr(owner, "lora_enabled", False) else None
            key = self._keys.get(id(own.get(str(number)))) or self._keys.get(id(holds))
            if key is None:
                raise Refusal(f"its weight {variable!r} is not where Keras' own layer has it")
            self.used.add(key)
            found.append(key)
        return found

    def factors(self, layer: Layer, variable: str) -> Factors | None:
        """The LoRA beside a variable; None where it was switched off."""
        owner, name = self._owner(layer, variable)
        if not getattr(owner, "lora_enabled", False):
            return None
        first, second = (self._keys.get(id(getattr(owner, f"lora_{name}_{which}", None)), "") for which in "ab")
        if not (first and second):
            raise Refusal("has a LoRA whose factors are not where Keras' own layer has them")
        self.used.update((first, second))
        return Factors(first, second, owner.lora_rank, owner.lora_alpha)

    def _owner(self, layer: Layer, variable: str) -> tuple[Any, str]:
        """What has a variable, the layer or a layer inside of it, and the variable's own name."""
        owner = self._objects[layer.place]
        *attributes, name = variable.split("/")
        for each in attributes:
            owner = _attribute(owner, each)
        return owner, name


def _layer(owner: Any, name: str) -> Any:
    """None of the InputLayer of a Sequential, which it does not count; it has no variables."""
    return next((each for each in owner.layers if each.name == name), None)


def _attribute(owner: Any, name: str) -> Any:
    """What stands in a layer under a name; of a list of layers one, by what Keras' files call it."""
    group, _, member = name.partition("/")
    if member:
        several = _attribute(owner, group)
        return dict(zip(member_names([type(each).__name__ for each in several]), several, strict=True)).get(member)
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
            # Keras' own function warns of NumPy's future.
            return np.array(value.detach().cpu().numpy(), dtype)
        return np.array(keras.ops.convert_to_numpy(value), dtype)

    return Held(tuple(variable.shape), dtype, read, variable=variable)
