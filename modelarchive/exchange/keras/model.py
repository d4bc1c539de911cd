"""Keras' JSON as plain data: models, layers, calls, tensors; as Keras 3 writes it, and as Keras 2 did."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelarchive.errors import FormatError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.keras.config import Config
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import document_object, short

MAX_BYTES: Final = 64 << 20
#: Layers and their calls in one model, those of nested models included.
MAX_CALLS: Final = 100_000
MAX_DEPTH: Final = 40
#: Characters of a layer's name.
MAX_NAME: Final = 1024
#: Bytes of memory that JSON takes when it is read, for each of its own.
_WIDTH: Final = 16


@dataclass(frozen=True)
class Tensor:
    """A result of a layer's call.

    Attributes:
        layer: The layer's name.
        call: Which of its calls, from 0.
        index: Which of the call's results.
    """

    layer: str
    call: int
    index: int


@dataclass(frozen=True)
class Call:
    """What a layer is called on: tensors, and whatever JSON can say, in the places of the arguments."""

    args: list[Any]
    kwargs: dict[str, Any]


@dataclass
class Layer:
    """A layer, an operation, or a model inside of a model.

    Attributes:
        name: Its name, unique in its model.
        kind: Its class.
        module: Where its class comes from: "keras.layers", "keras.src.ops.numpy"; "" where the file does not say.
        config: Its settings.
        calls: Its calls, in order.
        shared: What identifies the object, where it is elsewhere in the file too.
        inner: The model that it is, if it is one.
    """

    name: str
    kind: str
    module: str
    config: Config
    calls: list[Call]
    shared: int | None = None
    inner: Model | None = None
    #: Path of its variables in the file, set by the storage.
    place: str = ""

    @property
    def is_operation(self) -> bool:
        """Whether it is a function of ``keras.ops``: it has no variables, and no place in the file."""
        if self.module:
            return ".ops." in f"{self.module}."
        marks = {"trainable", "batch_shape", "batch_input_shape", "layers", "bin_boundaries"}
        is_layer = marks & self.config.values.keys()
        return not is_layer and not self.kind.startswith("SpatialDropout")  # whose config says no more

    @property
    def is_input(self) -> bool:
        """Whether it stands for an input of its model."""
        return self.kind == "InputLayer"


@dataclass
class Model:
    """A Sequential or Functional model.

    Attributes:
        name: Its name.
        is_sequential: Whether it is a row of layers.
        layers: Its layers, in order.
        inputs: The tensors that are its inputs, in the containers in which they are given; None: a Sequential's.
        outputs: Its results, likewise.
        input_shape: What a Sequential was built for.
        is_trainable: Whether training changes it.
    """

    name: str
    is_sequential: bool
    layers: list[Layer]
    inputs: Any = None
    outputs: Any = None
    input_shape: list[int | None] | None = None
    is_trainable: bool = True


def load_json(text: str | bytes, what: str) -> dict[str, Any]:
    """The JSON of a model, or what stands beside it."""
    if len(text) > MAX_BYTES:
        raise FormatError(f"{what} has {len(text):,} bytes, expected at most {MAX_BYTES:,}")
    spend(what, nbytes=_WIDTH * len(text))
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return document_object(content, what=what, strict=True, finite=False)  # Keras writes numbers as Python does


class Parser:
    """Reads the JSON of one file.

    Attributes:
        problems: What cannot be read: (name of the layer, why).
        calls: How many layers and calls there are.
        left: Settings of models of which nothing is known.
    """

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []
        self.calls = 0
        self.left: dict[str, None] = {}

    def root(self, data: Mapping[str, Any]) -> Model | None:
        """The model; None with problems where it is none that can be read."""
        if "class_name" not in data and "layers" in data:
            what = "is what get_config() gives, which does not say its class; expected what model.to_json() writes"
            self.problems.append((str(data.get("name", "(model)"))[:80], what))
            return None
        try:
            layer = self.layer(data, 0)
        except Refusal as refusal:
            self.problems.append((str(data.get("class_name", "(model)"))[:80], str(refusal)))
            return None
        if layer.inner is None:
            self.problems.append((layer.name, f"is a {layer.kind}, expected a Sequential or Functional model"))
        return layer.inner

    def layer(self, data: object, depth: int) -> Layer:
        """A serialized layer or model."""
        if depth > MAX_DEPTH:
            raise Refusal(f"models are nested deeper than {MAX_DEPTH}")
        self._count()
        if not isinstance(data, dict):
            raise Refusal(f"a layer is {short(data)}, expected an object")
        kind = data.get("class_name")
        config = data.get("config")
        if not isinstance(kind, str):
            raise Refusal(f"the class of a layer is {short(kind)}")
        # The first versions of Keras 2 wrote the layers of a Sequential as its whole config.
        if kind == "Sequential" and isinstance(config, list):
            config = {"layers": config}
        if not isinstance(config, dict):
            raise Refusal(f"the config of {short(kind)} is {short(config)}, expected an object")
        name = data.get("name", config.get("name", kind))
        if not isinstance(name, str) or len(name) > MAX_NAME:
            raise Refusal(f"the name of a {short(kind)} is {short(name)}")
        module = data.get("module") or ""
        registered = data.get("registered_name")
        # What has no module of Keras, or is registered under a package, is somebody's own class.
        own = ">" in kind or (isinstance(registered, str) and ">" in registered and not registered.startswith("keras"))
        if own or ("module" in data and not re.fullmatch(r"keras(\.\w+)*|keras_\w+(\.\w+)*|builtins", str(module))):
            raise Refusal(f"{short(registered or kind)} is a class of its author's own, which only its code can say")
        nodes = data.get("inbound_nodes", [])
        calls = [self._call(node) for node in nodes] if isinstance(nodes, list) else []
        shared = data.get("shared_object_id")
        layer = Layer(name, kind, str(module), Config(config), calls, shared if type(shared) is int else None)
        is_model = kind in ("Sequential", "Functional", "Model") and not layer.is_operation
        if is_model or ("layers" in config and not (kind == "Pipeline" and module in ("", "keras.layers"))):
            if kind not in ("Sequential", "Functional", "Model"):
                raise Refusal(f"{short(kind)} is a model of its author's own class, which only its code can say")
            layer.inner = self._model(layer, data, depth)
        return layer

    def _model(self, layer: Layer, data: Mapping[str, Any], depth: int) -> Model:
        config = layer.config
        layers = config.value("layers", None)
        if not isinstance(layers, list):
            raise Refusal("the model has no layers in its config: its class is its author's own")
        found: list[Layer] = []
        for each in layers:
            try:
                found.append(self.layer(each, depth + 1))
            except Refusal as refusal:
                self.problems.append((_name_of(each) or layer.name, str(refusal)))
        is_trainable = config.flag("trainable", default=True)
        if layer.kind == "Sequential":
            config.value("build_input_shape", None)
            self.left |= dict.fromkeys([*config.unread(), *config.empty()])
            return Model(layer.name, True, found, input_shape=_built_shape(data), is_trainable=is_trainable)
        names = [each.name for each in found]
        if len(set(names)) != len(names):
            raise FormatError(f"two layers of {layer.name!r} have the same name")
        nested = {each.name for each in found if each.inner is not None and not each.inner.is_sequential}
        # Calls of a model inside are counted from 1 in lists of outputs: its own making counts as one.
        inputs = self._places(config.value("input_layers", None), set())
        outputs = self._places(config.value("output_layers", None), nested | _keras2_models(found))
        if models := _keras2_models(found):
            for each in found:
                each.calls = [_shifted(call, models) if isinstance(call, _Listed) else call for call in each.calls]
        self.left |= dict.fromkeys([*config.unread(), *config.empty()])
        return Model(layer.name, False, found, inputs, outputs, is_trainable=is_trainable)

    def _count(self) -> None:
        spend("its config", steps=1)
        self.calls += 1
        if self.calls > MAX_CALLS:
            raise Refusal(f"more than {MAX_CALLS:,} layers and calls")

    def _call(self, node: object) -> Call:
        self._count()
        if isinstance(node, dict):
            args, kwargs = _plain(node.get("args", [])), _plain(node.get("kwargs", {}))
            if not isinstance(args, list) or not isinstance(kwargs, dict):
                raise Refusal("a call has no arguments that can be read")
            return Call(args, kwargs)
        if isinstance(node, list):
            return _listed(node)
        raise Refusal(f"a call is {short(node)}")

    def _places(self, value: object, counted_from_one: set[str]) -> Any:
        """Tensors [layer, call, index], in whatever containers."""
        if isinstance(value, list):
            if len(value) == 3 and isinstance(value[0], str) and type(value[1]) is int and type(value[2]) is int:
                return Tensor(value[0], value[1] - (value[0] in counted_from_one), value[2])
            return [self._places(each, counted_from_one) for each in value]
        if isinstance(value, dict):
            return {str(key): self._places(value[key], counted_from_one) for key in sorted(value)}
        raise Refusal(f"an input or output is {short(value)}, expected [layer, call, index]")


def _name_of(data: object) -> str:
    """The name of what is no layer that can be read."""
    if not isinstance(data, dict):
        return ""
    config = data.get("config")
    return str(data.get("name") or (config.get("name", "") if isinstance(config, dict) else ""))[:80]


class _Listed(Call):
    """A call as Keras 2 wrote it."""


def _shifted(call: Call, models: set[str]) -> Call:
    """A call whose tensors of models inside are counted from 0."""

    def shift(value: Any) -> Any:
        if isinstance(value, Tensor) and value.layer in models:
            return Tensor(value.layer, value.call - 1, value.index)
        return value

    return Call([mapped(each, shift) for each in call.args], {k: mapped(v, shift) for k, v in call.kwargs.items()})


def _listed(node: list[Any]) -> _Listed:
    """A list of [layer, call, index, further arguments]; a bare one of these where the argument is no list."""
    bare = len(node) in (3, 4) and isinstance(node[0], str)
    tensors: list[Any] = []
    kwargs: dict[str, Any] = {}
    for each in [node] if bare else node:
        if not isinstance(each, list) or len(each) not in (3, 4) or not isinstance(each[0], str):
            raise Refusal(f"a call is {short(node)}, expected [layer, call, index, arguments]")
        if each[0] == "_CONSTANT_VALUE":
            tensors.append(each[2])
        elif type(each[1]) is not int or type(each[2]) is not int:
            raise Refusal(f"a call is {short(node)}, expected [layer, call, index, arguments]")
        else:
            tensors.append(Tensor(each[0], each[1], each[2]))
        if len(each) == 4 and isinstance(each[3], dict):
            kwargs |= {name: _revived(value) for name, value in each[3].items()}
    return _Listed([tensors[0] if len(tensors) == 1 else tensors], kwargs)


def _revived(value: Any) -> Any:
    """An argument of Keras 2: a tensor is [layer, call, index], told from numbers by its first part."""
    if isinstance(value, list):
        if len(value) == 3 and isinstance(value[0], str) and type(value[1]) is int and type(value[2]) is int:
            return Tensor(value[0], value[1], value[2])
        return [_revived(each) for each in value]
    return value


def _keras2_models(layers: list[Layer]) -> set[str]:
    """The models inside whose calls Keras 2 counted from 1."""
    if not any(isinstance(call, _Listed) for each in layers for call in each.calls):
        return set()
    return {
        each.name
        for each in layers
        if (model := each.inner) is not None
        and (not model.is_sequential or (model.layers and _begins(model.layers[0])))
    }


def _begins(layer: Layer) -> bool:
    """Whether a Sequential that begins with it was made at once, which counts as a call of its."""
    return layer.is_input or "batch_input_shape" in layer.config.values


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """`function` of each leaf of lists and dicts."""
    if isinstance(value, list):
        return [mapped(each, function) for each in value]
    if isinstance(value, dict):
        return {key: mapped(each, function) for key, each in value.items()}
    return function(value)


def _plain(value: Any) -> Any:
    """Arguments with their tensors, slices, tuples and numbers as such."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if not isinstance(kind, str) or "config" not in value:
        return {name: _plain(each) for name, each in value.items()}
    if kind == "__keras_tensor__" and isinstance(config, dict):
        history = config.get("keras_history")
        if isinstance(history, list) and [type(each) for each in history] == [str, int, int]:
            return Tensor(*history)
    if kind == "__tuple__" and isinstance(config, dict | list):
        return _plain(config.get("items", []) if isinstance(config, dict) else config)
    if kind == "__slice__" and isinstance(config, dict):
        return slice(*(_plain(config.get(bound)) for bound in ("start", "stop", "step")))
    if kind in ("__numpy__", "__tensor__") and isinstance(config, dict):
        return Literal(config.get("value"), str(config.get("dtype", "float32")))
    if kind == "__ellipsis__":
        return ...
    if kind == "DTypePolicy" and isinstance(config, dict):
        return config.get("name")
    raise Refusal(f"an argument is a {short(kind)}, which is not supported")


@dataclass(frozen=True)
class Literal:
    """An array that is written into the config."""

    value: Any
    dtype: str


def _built_shape(data: Mapping[str, Any]) -> list[int | None] | None:
    config = data["config"]
    built = data.get("build_config")
    for owner, name in ((config, "build_input_shape"), (built, "input_shape"), (config, "batch_input_shape")):
        shape = owner.get(name) if isinstance(owner, dict) else None
        if isinstance(shape, list) and shape and all(each is None or type(each) is int for each in shape):
            return shape
    return None
