"""A model of Keras under construction: its layers, their names, and the values of their variables."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from modelarchive.exchange.drawing import Report
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn import Block, Graph, Parameter

#: A KerasTensor: the symbolic result of a Keras layer or operation.
Tensor: TypeAlias = Any


class Emitter:
    """Makes the layers of one model.

    Args:
        keras: The module.
        report: Takes what is changed or lost.
    """

    def __init__(self, keras: Any, report: Report) -> None:
        self.keras = keras
        #: ``id`` of parameters that several blocks or nodes use.
        self.shared: set[int] = set()
        #: (id of a tensor, order of axes) -> the tensor in that order, and the tensor.
        self.permuted: dict[tuple[int, tuple[int, ...]], tuple[Tensor, Tensor]] = {}
        #: Block -> whether its channels were last when it was first called.
        self.first_called: dict[int, bool] = {}
        #: ``id`` of what a pooling over everything gives -> that tensor, Keras' layer, its input and config.
        self.pooled: dict[int, tuple[Tensor, str, Tensor, dict[str, Any]]] = {}
        #: ``id`` of a parameter -> its values as a tensor; 0: a zero.
        self.tensors: dict[int, Tensor] = {}
        #: ``id`` of an embedding's weight -> the layer of Keras that has it.
        self.tables: dict[int, Any] = {}
        #: ``id`` of a layer or parameter -> where it was first used.
        self.paths: dict[int, str] = {}
        #: The first input of the model: what depends on no input is made of its shape.
        self.origin: Tensor = None
        self._report = report
        self._layers: dict[str, Any] = {}
        self._filled: dict[int, Any] = {}
        self._taken: set[str] = set()

    def note(self, where: str, what: str) -> None:
        """Report what is changed or lost."""
        self._report.note(where or "(model)", what)

    def unique(self, preferred: str) -> str:
        """`preferred`, or that with a number that makes it unique; taken from then on."""
        name = preferred
        for number in itertools.count(1):
            if name not in self._taken:
                break
            name = f"{preferred}_{number}"
        self._taken.add(name)
        return name

    def free_name(self, path: str, role: str) -> str:
        """A name that no layer of the model has: the path with ``-``, for PyTorch's backend refuses dots."""
        preferred = path.replace(".", "-")
        preferred = f"{preferred}-{role}" if preferred and role else preferred or role
        return self.unique(preferred if preferred[0].isalnum() else f"x{preferred}")

    def fresh(self, path: str, theirs: str, config: Mapping[str, Any]) -> Any:
        """A new layer without variables."""
        return self._made(theirs, self.free_name(path, _snake(theirs)), config)

    def _made(self, theirs: str, name: str, config: Mapping[str, Any]) -> Any:
        # Keras takes this word for a way to quantise; whole numbers pass through a layer of floats as they are.
        policy = {"dtype": "float32"} if config.get("dtype") == "int8" else {}
        return getattr(self.keras.layers, theirs)(name=name, **{**config, **policy})

    def layer(self, path: str, role: str, theirs: str, config: Mapping[str, Any]) -> Any:
        """A layer of Keras, the same one for the same block, role and config."""
        key = json.dumps([path, role, theirs, config], default=repr)
        if key not in self._layers:
            name = self.free_name(path, role or ("" if path else _snake(theirs)))
            self._layers[key] = self._made(theirs, name, config)
        return self._layers[key]

    def fill(self, layer: Any, path: str, weights: Sequence[tuple[np.ndarray, Sequence[Parameter]]]) -> None:
        """Give a layer's variables their values, and their training flags."""
        if id(layer) in self._filled:
            return
        self._filled[id(layer)] = layer
        variables = layer.weights
        if len(variables) != len(weights):
            raise Refusal(f"Keras' {type(layer).__name__} has {len(variables)} variables, expected {len(weights)}")
        frozen = []
        for variable, (array, parameters) in zip(variables, weights, strict=True):
            if tuple(variable.shape) != array.shape:
                raise Refusal(f"{variable.path} is {tuple(variable.shape)} in Keras, expected {array.shape}")
            own = str(parameters[0].dtype if parameters else array.dtype)
            if own != variable.dtype:
                self.note(path, f"its parameters are {own}, and {variable.dtype} in Keras")
            # Wide first: Keras' backends do not take every narrow NumPy dtype, and all values fit.
            variable.assign(array if array.dtype.kind == "f" else np.asarray(array, _wide(array.dtype)))
            for parameter in parameters:
                self._use(parameter, path)
            if parameters and parameters[0].born_trainable:
                frozen.append(not any(each.trainable for each in parameters))
            elif parameters and variable.trainable:
                frozen.append(True)
        if frozen and all(frozen):
            layer.trainable = False
        elif any(frozen):
            self._freeze_some(layer, path, weights)

    def _freeze_some(self, layer: Any, path: str, weights: Sequence[tuple[np.ndarray, Sequence[Parameter]]]) -> None:
        for variable, (_, parameters) in zip(layer.weights, weights, strict=True):
            if parameters and not any(each.trainable for each in parameters):
                variable.trainable = False
        self.note(path, "some of its parameters are frozen: the model keeps that, and Keras' files do not")

    def _use(self, parameter: Parameter, path: str) -> None:
        first = self.paths.setdefault(id(parameter), path)
        if first != path and id(parameter) in self.shared:
            self.note(path, f"a parameter that it shares with {first!r} is a copy: Keras shares layers only")

    def find_shared(self, block: Block) -> None:
        """Find the parameters that several blocks, or nodes of graphs, use."""
        users: dict[int, set[Any]] = {}
        for _, each in block.named_blocks():
            for parameter in each.parameters.values():
                users.setdefault(id(parameter), set()).add(id(each))
            for node in each.nodes if isinstance(each, Graph) else ():
                if node.verb == "parameter" and isinstance(each, Graph):
                    users.setdefault(id(each.find_parameter(node.target)), set()).add("node")
        self.shared = {key for key, owners in users.items() if len(owners) > 1}

    def note_unused(self, block: Block) -> None:
        """Report the parameters that no layer has."""
        used = set(self.paths)
        for name, parameter in block.collect_params().items():
            if id(parameter) not in used:
                self.note(name, "is not used by the model's outputs, and is left out")


def _snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype.kind == "V" or dtype.name.startswith(("bfloat", "float8")) else dtype
