"""The inputs of an ONNX model as an architecture declares them: axes of one ``dim_param`` are one axis."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from modelarchive import dtypes, names
from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note, few
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
        ConversionError: The shapes that are given are not those of these inputs, or one axis is given two sizes.
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


def values_of(model: Model, given: Any, notes: list[Note]) -> dict[str, np.ndarray]:
    """The inputs that are given as a number: arrays of one element.

    Args:
        model: The model.
        given: As :func:`declared_inputs` takes it.
        notes: Gets that they are no inputs any more.

    Raises:
        ConversionError: The model has no such input, or it is no number in it, or not of its dtype.
    """
    if isinstance(given, Mapping) or given is None:
        return {}
    found = {}
    inputs = {value.name: value for value in inputs_of(model)}
    for each in given:
        if not isinstance(each, Mapping) or "value" not in each:
            continue
        name, number = each.get("name"), each["value"]
        if name not in inputs:
            raise _wrong(name, "is given a value, and is no input of the model", inputs)
        own = inputs[name]
        if own.problem or own.dtype not in dtypes.DENSE or any(size != 1 for size in own.shape or ()):
            raise _wrong(name, f"is given the value {number}, and is no single number in the model", inputs)
        dtype = dtypes.DENSE[own.dtype]
        if dtype.kind in "iu" and not _is_within(number, dtype):
            raise _wrong(name, f"is given the value {number}, expected a whole number of {own.dtype}", inputs)
        found[name] = np.full([1] * len(own.shape or ()), number, dtype)
        notes.append(Note(name, f"is {number} in all that is computed, and no input any more"))
    return found


def _wrong(name: Any, what: str, known: Iterable[str]) -> ConversionError:
    """What is given for an input that is not so in the model, with the inputs that it has."""
    hint = f"the model takes {few(known)}"
    return ConversionError([(str(name), what)], hint=hint)


def _is_within(number: Any, dtype: np.dtype[Any]) -> bool:
    info = np.iinfo(dtype)
    return bool(number == number and info.min <= number <= info.max and number == int(number))


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
        if bare := [each.get("name") for each in given if "shape" not in each and "value" not in each]:
            raise _wrong(bare[0], "is declared without its shape or its value", called)
        given = {each.get("name"): each["shape"] for each in given if "shape" in each}
    shapes = dict(given) if isinstance(given, Mapping) else dict(zip(called, given, strict=False))
    if unknown := [name for name in shapes if name not in called]:
        raise _wrong(unknown[0], "is declared, and is no input of the model", called)
    if not isinstance(given, Mapping) and len(given) > len(called):
        raise _wrong("(inputs)", f"are given {len(given)} shapes, the model takes {len(called)}", called)
    for value in values:
        if value.name in shapes and value.shape is not None and len(shapes[value.name]) != len(value.shape):
            given_shape = tuple(shapes[value.name])
            raise _wrong(value.name, f"has {len(value.shape)} axes, and is declared as {given_shape}", called)
    return {name: [None if size == -1 else size for size in shape] for name, shape in shapes.items()}
