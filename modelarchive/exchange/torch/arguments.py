"""What a forward is called with: containers and names, and the arrays in them, which stand in a row."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from modelarchive import names


@dataclass(frozen=True)
class Place:
    """The place of an array among containers.

    Attributes:
        number: Its number in the row.
    """

    number: int


@dataclass(frozen=True)
class _Record:
    """A named tuple, or an object of a dataclass.

    Attributes:
        make: What makes one of the values of its fields.
        fields: Their values.
    """

    make: Callable[..., Any]
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Arguments:
    """How arrays in a row are given to a forward.

    Attributes:
        args: What is given by place; None: the row itself.
        named: What is given by name.
        names: What each array is called; none: as the forward calls it.
        literals: (name, value) of what is no array, and given as it is.
    """

    args: Sequence[Any] | None = None
    named: Mapping[str, Any] = field(default_factory=dict)
    names: Sequence[str] = ()
    literals: Sequence[tuple[str, Any]] = ()

    @property
    def is_one_dict(self) -> bool:
        """Whether a dict is the only argument."""
        return not self.named and self.args is not None and len(self.args) == 1 and isinstance(self.args[0], dict)

    def call(self, function: Callable[..., Any], row: Sequence[Any]) -> Any:
        """Call a module, or what does as it does."""
        if self.args is None:
            return function(*row)
        named = {name: _filled(each, row) for name, each in self.named.items()}
        return function(*(_filled(each, row) for each in self.args), **named)


#: Arrays that are given as they stand.
IN_A_ROW = Arguments()


def arranged(module: torch.nn.Module, inputs: Any) -> tuple[Any, Arguments]:
    """Inputs in a row, and how the module takes them.

    Args:
        module: The network.
        inputs: What the user gives: examples and declarations, in a row or in the containers that the forward takes. A
            dict is what the forward is called with by name, or its only argument.

    Returns:
        The row; `inputs` themselves where they are one.

    Raises:
        TypeError: The forward takes no arguments of such names.
    """
    args, named = _called_with(module, inputs)
    if not named and not any(each is None or _is_container(each) for each in args):
        return inputs, IN_A_ROW
    row: list[Any] = []
    called: list[str] = []
    literals: list[tuple[str, Any]] = []
    taken = names.Taken()

    def place(value: Any, name: str) -> Any:
        if value is None or isinstance(value, bool | str):
            literals.append((name, value))
            return value
        row.append(value)
        called.append(taken.free(names.as_part(name or "x")))
        return Place(len(row) - 1)

    own = [*_by_place(module), *(f"x_{at}" for at in range(len(args)))]
    if len(args) == 1 and not named and not isinstance(args[0], list):
        own = [""]  # its keys say enough
    structures = [_numbered(each, name, place) for each, name in zip(args, own, strict=False)]
    by_name = {name: _numbered(each, name, place) for name, each in named.items()}
    return tuple(row), Arguments(structures, by_name, called, literals)


def _called_with(module: torch.nn.Module, inputs: Any) -> tuple[list[Any], dict[str, Any]]:
    """What a forward is given by place, and by name."""
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):  # it does not say
        return [inputs], {}
    if isinstance(inputs, Mapping) and not _is_declaration(inputs):
        return _called_with_names(module, signature, inputs)
    several = isinstance(inputs, tuple) and not _is_named(inputs)
    if isinstance(inputs, list) and _has_arrays(inputs):
        several = _binds(signature, *inputs) or not _binds(signature, inputs)
    return (list(inputs), {}) if several else ([inputs], {})


def _called_with_names(
    module: torch.nn.Module, signature: inspect.Signature, inputs: Mapping[Any, Any]
) -> tuple[list[Any], dict[str, Any]]:
    order = {name: place for place, name in enumerate(signature.parameters)}
    if all(isinstance(key, str) for key in inputs):
        try:
            signature.bind(**inputs)
        except TypeError:
            if order.keys() & inputs.keys() or _takes_arrays(module, signature):
                raise
        else:
            return [], {key: inputs[key] for key in sorted(inputs, key=lambda key: order.get(key, len(order)))}
    signature.bind(inputs)
    return [inputs], {}


def _takes_arrays(module: torch.nn.Module, signature: inspect.Signature) -> bool:
    """Whether a forward is known to take no dict: of a layer of PyTorch's own, or said to take a tensor."""
    while isinstance(module, torch.nn.Sequential) and len(module):
        module = module[0]
    said = next((each.annotation for each in signature.parameters.values()), None)
    is_layer = type(module).__module__.startswith("torch.nn.modules.") and not isinstance(module, torch.nn.Identity)
    return is_layer or said in (torch.Tensor, "torch.Tensor", "Tensor")


def _binds(signature: inspect.Signature, *args: Any) -> bool:
    try:
        signature.bind(*args)
    except TypeError:
        return False
    return True


def _by_place(module: torch.nn.Module) -> list[str]:
    """What a forward calls its arguments that are given by place."""
    try:
        found = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    return [each.name for each in found if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]


def _is_declaration(value: Any) -> bool:
    return isinstance(value, Mapping) and "shape" in value and not hasattr(value["shape"], "dtype")


def _is_container(value: Any) -> bool:
    """Whether an argument holds arrays; lists of numbers are arrays themselves."""
    if isinstance(value, tuple | list):
        return _is_named(value) or _has_arrays(value)
    if isinstance(value, Mapping):
        return not _is_declaration(value)
    return dataclasses.is_dataclass(value) and not isinstance(value, type) and not hasattr(value, "shape")


def _has_arrays(value: Sequence[Any]) -> bool:
    return any(hasattr(each, "shape") or isinstance(each, Mapping) or _is_container(each) for each in value)


def _is_named(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _numbered(value: Any, name: str, place: Callable[[Any, str], Any]) -> Any:
    """Containers with what `place` gives for what is in them and for its name: its keys and places."""

    def inside(item: Any, key: Any) -> Any:
        return _numbered(item, f"{name}_{key}" if name else str(key), place)

    if not _is_container(value):
        return place(value, name)
    if isinstance(value, Mapping):
        return {key: inside(item, key) for key, item in value.items()}
    if _is_named(value):
        return _Record(type(value), {key: inside(getattr(value, key), key) for key in value._fields})
    if isinstance(value, tuple | list):
        return type(value)(inside(item, at) for at, item in enumerate(value))
    fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.init}
    return _Record(type(value), {key: inside(item, key) for key, item in fields.items()})


def _filled(structure: Any, row: Sequence[Any]) -> Any:
    """Containers with the arrays of a row at their places."""
    if isinstance(structure, Place):
        return row[structure.number]
    if isinstance(structure, _Record):
        return structure.make(**{name: _filled(each, row) for name, each in structure.fields.items()})
    if isinstance(structure, dict):
        return {key: _filled(each, row) for key, each in structure.items()}
    return (
        type(structure)(_filled(each, row) for each in structure) if isinstance(structure, list | tuple) else structure
    )


def apart(example: Sequence[torch.Tensor], others: Sequence[torch.Tensor] = ()) -> list[torch.Tensor]:
    """Tensors that share no memory, nor with others: PyTorch takes a tensor that is given twice for one input."""
    plain = (each for each in others if type(each) in (torch.Tensor, torch.nn.Parameter))
    seen = {each.untyped_storage()._cdata for each in plain if each.layout is torch.strided}
    found = []
    for each in example:
        place = each.untyped_storage()._cdata
        found.append(each.clone() if place in seen else each)
        seen.add(place)
    return found
