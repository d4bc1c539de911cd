"""The inputs of an ONNX model as an architecture declares them: axes of one ``dim_param`` are one axis."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from modelarchive import names
from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.onnx.model import Model, Value
from modelarchive.nn.axes import Size, is_axis_name


def inputs_of(model: Model) -> list[Value]:
    """The inputs that are no stored arrays."""
    return [value for value in model.graph.inputs if value.name not in model.graph.stored]


def declared_inputs(model: Model, given: Any, notes: list[Note]) -> list[dict[str, Any]]:
    """The inputs whose types are known.

    Args:
        model: The model.
        given: Shapes, as the user gives them, in the place of those in the file.
        notes: Gets what free axes are called that have other names in the file.

    Raises:
        ValueError: The shapes that are given are not those of these inputs.
        ConversionError: One axis is given two sizes.
    """
    values = [value for value in inputs_of(model) if not value.problem and value.dtype is not None]
    shapes = _given(inputs_of(model), given)
    called = _called([value.shape or () for value in values], notes)
    instead: dict[str, Size] = {}
    found = []
    for value in values:
        shape = None if value.shape is None else [called.get(each, each) for each in value.shape]
        if value.name in shapes:
            own = shape or [None] * len(shapes[value.name])
            shape = [_met(value.name, *pair, instead) for pair in zip(own, shapes[value.name], strict=True)]
        found.append({"name": value.name, "shape": shape, "dtype": value.dtype})
    for each in found:
        if each["shape"] is not None:
            each["shape"] = [instead.get(size, size) if isinstance(size, str) else size for size in each["shape"]]
    return found


def _called(shapes: Sequence[Sequence[Size]], notes: list[Note]) -> dict[Any, str]:
    """Each ``dim_param``, which may be any text, as the name of an axis."""
    words = dict.fromkeys(size for shape in shapes for size in shape if isinstance(size, str))
    taken = names.Taken(word for word in words if is_axis_name(word))
    found = {}
    for word in words:
        if is_axis_name(word):
            found[word] = word
            continue
        plain = re.sub("[^A-Za-z0-9_]+", "_", word[:100]).strip("_") or "size"
        found[word] = taken.free(plain if is_axis_name(plain) else f"size_{plain}")
        notes.append(Note("(inputs)", f"the axis {word[:100]!r} is called {found[word]!r}"))
    return found


def _met(name: str, own: Size, given: Size, instead: dict[str, Size]) -> Size:
    """One axis, of the file and as it is given; what is given for a name is so for all axes of that name."""
    if not isinstance(own, str):
        return given
    if given is None or given == own:
        return own
    if instead.setdefault(own, given) != given:
        both = f"{instead[own]} and, in {name!r}, {given}"
        hint = "give all axes of one name one size"
        raise ConversionError(
            [("(inputs)", f"the axis {own!r} is one in all inputs, and is given as {both}")], hint=hint
        )
    return own


def _given(values: Sequence[Value], given: Any) -> dict[str, list[Size]]:
    called = [value.name for value in values]
    if given is None:
        return {}
    if not isinstance(given, Mapping) and all(isinstance(each, Mapping) for each in given):
        given = {each["name"]: each["shape"] for each in given}
    shapes = dict(given) if isinstance(given, Mapping) else dict(zip(called, given, strict=False))
    if unknown := [name for name in shapes if name not in called]:
        raise ValueError(f"inputs names {unknown}, the model has the inputs {called}")
    if not isinstance(given, Mapping) and len(given) > len(called):
        raise ValueError(f"inputs has {len(given)} shapes, the model the inputs {called}")
    for value in values:
        if value.name in shapes and value.shape is not None and len(shapes[value.name]) != len(value.shape):
            raise ValueError(f"inputs: {value.name} has {len(value.shape)} axes, found {tuple(shapes[value.name])}")
    return {name: [None if size == -1 else size for size in shape] for name, shape in shapes.items()}
