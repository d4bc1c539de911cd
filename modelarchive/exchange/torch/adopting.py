"""Models of Keras on its PyTorch backend as modules: their variables by name, their inputs in a row."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from modelarchive import names
from modelarchive.errors import ConversionError
from modelarchive.exchange.torch.tensors import NAMES


def is_of_keras(model: object) -> bool:
    """Whether it is a model of Keras whose backend is PyTorch."""
    return any(f"{each.__module__}.{each.__name__}" == "keras.src.models.model.Model" for each in type(model).__mro__)


@contextlib.contextmanager
def _sizes_known() -> Iterator[None]:
    """Have Keras take the sizes of an export, which are no integers of Python's, for what they stand for."""
    known = getattr(sys.modules.get("keras.src.backend.common.dtypes"), "PYTHON_DTYPES_MAP", {})
    others = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool}
    added = {mine: known[theirs] for mine, theirs in others.items() if mine not in known and theirs in known}
    known.update(added)
    try:
        yield
    finally:
        for each in added:
            known.pop(each, None)


class Adopted(torch.nn.Module):
    """A model of Keras, with its variables as parameters and buffers under their paths.

    Keras keeps them where no module of PyTorch's finds them.

    Args:
        model: The model, built.
        structure: The containers that it takes its inputs in, with numbers in the place of arrays.

    Raises:
        ConversionError: Variables are no tensors of PyTorch's.
    """

    def __init__(self, model: Any, structure: Any) -> None:
        super().__init__()
        # Not as a part: its own parts have no parameters.
        object.__setattr__(self, "_model", model)
        self._structure = structure
        #: What its inputs are called.
        self.names = [names.as_part(each) for each in _names(structure)]
        kept = {id(each) for each in model.weights}
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        problems = [(each.path, "is no tensor of PyTorch's") for each in variables if not torch.is_tensor(each.value)]
        if problems:
            raise ConversionError(problems, hint="set KERAS_BACKEND=torch before Keras is imported, or save its file")
        self._trainable, self._others = (
            [self._place(each, is_kept=id(each) in kept) for each in several]
            for several in (model.trainable_variables, model.non_trainable_variables)
        )

    def _place(self, variable: Any, *, is_kept: bool) -> tuple[str, str]:
        """Where a variable is registered: the module, and the name there."""
        *where, name = map(names.as_part, variable.path.split("/"))
        owner: torch.nn.Module = self
        for part in where:
            owner = owner._modules.setdefault(part, torch.nn.Module())
        name = names.Taken([*owner._parameters, *owner._buffers, *owner._modules]).free(name)
        tensor = variable.value
        if isinstance(tensor, torch.nn.Parameter) and variable.trainable:
            owner._parameters[name] = tensor
        else:
            owner._buffers[name] = tensor.detach() if isinstance(tensor, torch.nn.Parameter) else tensor
            if not is_kept:  # states of random numbers
                owner._non_persistent_buffers_set.add(name)
        return ".".join(where), name

    def forward(self, *inputs: Any) -> Any:
        """Call the model as in evaluation, on what the parameters are here now."""
        trainable, others = (
            [getattr(self.get_submodule(where), name) for where, name in several]
            for several in (self._trainable, self._others)
        )
        with _sizes_known():
            outputs, _ = self._model.stateless_call(trainable, others, _filled(self._structure, inputs), training=False)
        return outputs

    def train(self, mode: bool = True) -> Adopted:
        """Nothing: Keras says at each call what it is for."""
        return self


def adopted(model: Any, inputs: Any) -> tuple[Adopted, Any]:
    """A model of Keras as a module, and what it takes in a row: examples, or declarations.

    Args:
        model: The model.
        inputs: What it is read on, in the containers that it takes; None: what it says.

    Raises:
        ConversionError: It is not built, or nothing tells what it takes.
    """
    if not model.built:
        what = "has no variables yet: its layers are made when it is called or built"
        raise ConversionError([(model.name, what)], hint="call it once on an example: model(x)")
    own = getattr(model, "input", None) if hasattr(model, "_nodes_by_depth") or hasattr(model, "inputs") else None
    several: Any = getattr(model, "inputs", None)
    if own is None and several and len(several) == 1:
        own = several[0]  # of a Sequential that no other model has in it
    if inputs is None:
        if own is None:
            raise ConversionError([("inputs", "are not known: a model of its author's own class does not say them")],
                                  hint="give an example: save_model(path, model, inputs=x)")  # fmt: skip
        given = own
    else:
        given = inputs
    row: list[Any] = []
    structure = _numbered(given, row)
    if isinstance(structure, tuple | list) and isinstance(own, list | Mapping):
        # Inputs in a row, of a model that takes them in its own containers.
        structure = _numbered(own, [])
    return Adopted(model, structure), tuple(_declared(each) for each in row)


def _declared(value: Any) -> Any:
    """A symbolic tensor of Keras as a declaration; what is an example, or declared, stays."""
    if isinstance(value, Mapping | torch.Tensor) or not hasattr(value, "sparse"):
        return value
    shape = [None if size is None else int(size) for size in value.shape]
    dtype = str(value.dtype)
    return {"name": names.as_part(value.name), "shape": shape, "dtype": dtype if dtype in NAMES.values() else "float32"}


def _numbered(value: Any, row: list[Any]) -> Any:
    """The containers with numbers in the place of what is in them, which goes into a row."""
    if isinstance(value, Mapping) and "shape" not in value:
        return {key: _numbered(item, row) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_numbered(item, row) for item in value]
    row.append(value)
    return len(row) - 1


def _names(structure: Any, name: str = "x") -> list[str]:
    """What each input is called: by its key, or by its place."""
    if isinstance(structure, dict):
        return [found for key, item in structure.items() for found in _names(item, str(key))]
    if isinstance(structure, list):
        return [found for at, item in enumerate(structure) for found in _names(item, f"{name}_{at}")]
    return [name]


def _filled(structure: Any, inputs: Sequence[Any]) -> Any:
    if isinstance(structure, dict):
        return {key: _filled(item, inputs) for key, item in structure.items()}
    return [_filled(item, inputs) for item in structure] if isinstance(structure, list) else inputs[structure]
