"""A Keras model's variables as parameters of the vocabulary's names and axes, which a transplant reads and fills."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from modelarchive import dtypes, names, tensors
from modelarchive.errors import ConversionError, ParameterError
from modelarchive.exchange.bundle import Bundle, deferred
from modelarchive.exchange.keras.lifting import LAYERS
from modelarchive.exchange.keras.live import Held, read_model
from modelarchive.exchange.keras.reading import UNUSED, read
from modelarchive.exchange.keras.turned import Turned
from modelarchive.exchange.keras.weights import Fields, Weight, same
from modelarchive.nn.target import ForeignParameter
from modelarchive.store.deferred import Deferred


class _Variable:
    """A variable of Keras, and the arrays of the vocabulary that it is.

    Args:
        variable: The variable.
        weight: How the two come from each other.
        fields: The kind's fields.
        owners: The layers that have it, the innermost first.
    """

    def __init__(self, variable: Any, weight: Weight, fields: Fields, owners: Sequence[Any]) -> None:
        self._variable = variable
        self._weight = weight
        self._fields = fields
        self._owners = owners
        self._set: dict[int, np.ndarray] = {}

    def array(self, index: int) -> np.ndarray:
        """One of its arrays, in the vocabulary's order of axes."""
        return self._weight.read(tensors.asarray(self._variable), self._fields)[index]

    def assign(self, index: int, array: np.ndarray) -> None:
        """Set one of its arrays; the others are what they were set to before, or what they are."""
        self._set[index] = array
        parts = [self._set.get(each, None) for each in range(len(self._weight.ours))]
        arrays = [self.array(at) if part is None else part for at, part in enumerate(parts)]
        stored = self._weight.write(arrays, self._fields)
        tensors.fill(self._variable, np.ascontiguousarray(stored).reshape(tuple(self._variable.shape)))

    @property
    def is_trainable(self) -> bool:
        """Whether training changes it."""
        return bool(self._variable.trainable) and all(layer.trainable for layer in self._owners)

    def freeze(self) -> None:
        """Keep training from changing it; a layer that has nothing else to train is no longer trainable at all.

        That flag is the one that Keras' files keep, and by which a BatchNormalization keeps its statistics.
        """
        self._variable.trainable = False
        for layer in self._owners:
            if not layer.trainable_variables:
                layer.trainable = False


class _ModelParameter(ForeignParameter):
    """A parameter of a Keras model: a variable in the vocabulary's order of axes, or a part of one."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], variable: _Variable, index: int) -> None:
        self._variable = variable
        self._index = index
        super().__init__(shape, dtype, trainable=variable.is_trainable)

    @property
    def trainable(self) -> bool:
        """Whether training changes it."""
        return self._variable.is_trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if not value:
            self._variable.freeze()

    def value(self) -> np.ndarray:
        """The values."""
        return self._variable.array(self._index)

    def set_data(self, array: Any) -> None:
        """Copy the values into the variable."""
        self._variable.assign(self._index, np.asarray(array))


def arrays_of(model: Any) -> dict[str, Deferred]:
    """A model's parameters, each read from it when it is asked for; names and axes as an archive of it has them.

    Raises:
        ParameterError: It has no variables yet.
    """
    if not model.built:
        _build(model, [])
    entries = _read(model)
    if entries is not None:
        return dict(entries)
    walked = _walked(model, _owners(model))
    return {name: Deferred(each.shape or (), each.dtype, _copied(each)) for name, each in walked.items()}


def _copied(parameter: ForeignParameter) -> Callable[[], np.ndarray]:
    return lambda: parameter.value().copy()


def fitting(model: Any, path: str | os.PathLike[str], bundle: Bundle) -> Bundle:
    """What was read of a file; a file of weights as those of a model whose layers it holds, under the model's names.

    Such a file calls variables by the classes of their layers and the order of these, which only the model tells.

    Args:
        model: The model.
        path: The file.
        bundle: What was read of it.
    """
    if bundle.architecture is not None:
        return bundle
    try:
        found = read(path, config=json.loads(model.to_json()))
    except Exception:  # Keras' own refusals of a config are of any class
        return bundle
    # A file that holds more is another model's: its first Dense need not be this one's.
    return bundle if any(note.what == UNUSED for note in found.notes) else found


def remarks_on_freezing(model: Any) -> list[str]:
    """What is to be known once parameters of a model are frozen."""
    return ["the model was compiled before: compile the model again, or it trains as before"] if model.compiled else []


def parameters_of(
    model: Any, inputs: Callable[[], Sequence[Mapping[str, Any]]] = tuple, *, apart: bool = False
) -> dict[str, ForeignParameter]:
    """A model's parameters as what a transplant fills; names and axes as an archive of it has them.

    Sequential and functional models are read as :func:`read_model` does. Of others, and of those with layers that
    the vocabulary has no word for, the layers are walked: by their attributes, or their names in a model of layers.

    Args:
        model: The ``keras.Model``.
        inputs: Gives the declarations of inputs to build it by, where it is not built.
        apart: Walk the layers, too, where a parameter is made of several variables, as with a LoRA: each is one then.

    Raises:
        ParameterError: It is not built, and cannot be built by `inputs`.
    """
    if not model.built:
        _build(model, inputs())
    owners = _owners(model)
    entries = _read(model)
    if entries is None or (apart and None in map(_source, entries.values())):
        return _walked(model, owners)
    shared: dict[tuple[int, int], _ModelParameter] = {}
    variables: dict[int, _Variable] = {}
    parameters: dict[str, ForeignParameter] = {}
    for name, entry in entries.items():
        if (source := _source(entry)) is None:
            problem = "one that Keras makes of several variables, as a LoRA does; transplant before enable_lora()"
            parameters[name] = ForeignParameter(entry.shape, entry.dtype, problem=problem)
            continue
        turned, variable, weight = source
        if id(variable) not in variables:
            layers = owners.get(id(variable), [])
            fields = {**(_fields(layers[0]) if layers else {}), **turned.fields}
            variables[id(variable)] = _Variable(variable, weight, fields, layers)
        parameter = _ModelParameter(entry.shape, entry.dtype, variables[id(variable)], turned.index)
        parameters[name] = shared.setdefault((id(variable), turned.index), parameter)
    return parameters


def _source(entry: Deferred) -> tuple[Turned, Any, Weight] | None:
    """The variable that a parameter is, or is a part of, and how; None: it is made of several."""
    if isinstance(entry, Turned) and isinstance(entry.stored, Held) and entry.weight is not None:
        return entry, entry.stored.variable, entry.weight
    return None


def _read(model: Any) -> Mapping[str, Deferred] | None:
    """The parameters as an archive of the model has them; None where the vocabulary has no word for all of it."""
    try:
        return deferred(read_model(model).parameters)
    except ConversionError:
        return None


def _build(model: Any, inputs: Sequence[Mapping[str, Any]]) -> None:
    shapes = [tuple(each["shape"]) for each in inputs]
    hint = "call it once on an example, or model.build((None, 32)) with the shape of its input"
    if not shapes:
        raise ParameterError(f"the Keras model {model.name!r} has no variables yet, it was not built", hint=hint)
    try:
        if _has_own_call(model):  # whose layers are made when it is called
            model(*(_symbol(shape, each["dtype"]) for shape, each in zip(shapes, inputs, strict=True)))
        else:
            model.build(shapes[0] if len(shapes) == 1 else shapes)
    except Exception as error:
        raise ParameterError(
            f"the Keras model {model.name!r} is not built, and cannot be by the source's inputs {shapes}", hint=hint
        ) from error


def _has_own_call(model: Any) -> bool:
    """Whether it is of a class of its author's own, without a ``build`` that says how its layers are made."""
    from keras import Model, Sequential

    return not isinstance(model, Sequential) and type(model).build is Model.build


def _symbol(shape: tuple[int | None, ...], dtype: str) -> Any:
    from keras import KerasTensor

    return KerasTensor(shape, dtype)


def _owners(model: Any) -> dict[int, list[Any]]:
    """``id`` of a variable -> the layers that have it, the innermost first."""
    found: dict[int, list[Any]] = {}
    for layer in model._flatten_layers():
        for variable in layer.variables:
            found.setdefault(id(variable), []).append(layer)
    return {key: sorted(layers, key=lambda layer: len(layer.variables)) for key, layers in found.items()}


def _walked(model: Any, owners: Mapping[int, Sequence[Any]]) -> dict[str, ForeignParameter]:
    """The parameters of a model that has layers of its author's own."""
    parameters: dict[str, ForeignParameter] = {}
    known: dict[int, list[_ModelParameter]] = {}
    taken = names.Taken()
    for path, layer, is_inside in _layers(model, "", set()):
        for weight, variable, fields in _weights(layer):
            if id(variable) in known and is_inside:
                continue  # the layer that it is inside of has told of it, in its own words
            if id(variable) not in known:
                held = _Variable(variable, weight, fields, owners.get(id(variable), ()))
                dtype = dtypes.numpy_dtype(variable.dtype)
                shapes = [each.shape for each in weight.read(np.broadcast_to(False, tuple(variable.shape)), fields)]
                known[id(variable)] = [_ModelParameter(each, dtype, held, at) for at, each in enumerate(shapes)]
            for own, parameter in zip(weight.ours, known[id(variable)], strict=True):
                parameters[taken.free(names.joined(path, own))] = parameter
    return parameters


def _layers(layer: Any, path: str, seen: set[int], *, is_inside: bool = False) -> Iterator[tuple[str, Any, bool]]:
    """(path, layer, whether it is inside of one that the vocabulary knows) of a layer and all inside of it."""
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield path, layer, is_inside
    row = LAYERS.get(type(layer).__name__)
    is_inside = is_inside or (row is not None and bool(row.weights))
    for name, child in _children(layer):
        yield from _layers(child, names.joined(path, name), seen, is_inside=is_inside)


def _children(layer: Any) -> Iterator[tuple[str, Any]]:
    """The layers inside: of a model of layers by their names, of other classes by the attributes that hold them."""
    from keras import Model

    if isinstance(layer, Model) and (hasattr(layer, "_functional") or hasattr(layer, "operations")):
        for child in layer.layers:
            yield names.as_part(child.name), child
        return
    # On PyTorch's backend a layer is a torch.nn.Module, which keeps modules apart from other attributes.
    for name, value in sorted({**vars(layer), **vars(layer).get("_modules", {})}.items()):
        if not name.startswith("_") or not isinstance(value, dict | list | tuple):
            yield from _held(names.as_part(name.lstrip("_")), value)


def _held(path: str, value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(path, layer) of the layers in an attribute: it itself, or those in dicts, lists and tuples, nested or not."""
    from keras import Layer

    if isinstance(value, Layer):
        yield path, value
    elif isinstance(value, dict | list | tuple) and all(value is not each for each in above):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _held(f"{path}.{names.as_part(str(key))}", each, (*above, value))


def _weights(layer: Any) -> Iterator[tuple[Weight, Any, Fields]]:
    """The layer's own variables, and how they become the vocabulary's; one that it has no word for stays as it is."""
    row = LAYERS.get(type(layer).__name__)
    fields = _fields(layer)
    told: set[int] = set()
    for weight in row.weights if row else ():
        variable = _variable(layer, weight.theirs)
        if variable is not None:
            told.add(id(variable))
            yield weight, variable, fields
    for variable in [*layer._trainable_variables, *layer._non_trainable_variables]:
        if id(variable) not in told and "seed_generator" not in variable.path:
            yield same(variable.name, names.as_part(variable.name)), variable, fields


def _variable(layer: Any, path: str) -> Any:
    """A variable by the attributes that lead to it; None if there is none."""
    for part in path.split("/"):
        found = getattr(layer, part, None)
        layer = getattr(layer, f"_{part}", None) if found is None else found
    return layer if hasattr(layer, "assign") else None


def _fields(layer: Any) -> dict[str, Any]:
    """What the table of weights asks of a kind's fields, as far as a layer has it."""
    cell = getattr(layer, "cell", layer)
    kernel = getattr(layer, "kernel", None) if hasattr(layer, "depth_multiplier") else None
    kernel = getattr(layer, "depthwise_kernel", kernel)
    return {
        "groups": kernel.shape[-2] if kernel is not None and len(kernel.shape) > 2 else 1,
        "linear_before_reset": getattr(cell, "reset_after", False),
        "num_heads": getattr(layer, "num_query_heads", getattr(layer, "_num_heads", 1)),
        "num_kv_heads": getattr(layer, "num_key_value_heads", getattr(layer, "_num_heads", 1)),
        "head_dim": getattr(layer, "head_dim", getattr(layer, "_key_dim", 1)),
    }
