"""The inputs of an ONNX model as an architecture declares them: axes of one ``dim_param`` are one axis."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from modelarchive import dtypes, names
from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note, few
from modelarchive.exchange.onnx.model import Model, Value
from modelarchive.nn.axes import Size, is_axis_name
from modelarchive.store.strict import short

#: Name of an input -> what is declared of it.
_Given: TypeAlias = Mapping[str, Mapping[str, Any]]


def inputs_of(model: Model) -> list[Value]:
    """The inputs that are no stored arrays."""
    return [value for value in model.graph.inputs if value.name not in model.graph.stored]


def declared_inputs(model: Model, given: _Given, notes: list[Note]) -> list[dict[str, Any]]:
    """The inputs whose types are known.

    Args:
        model: The model.
        given: Name of an input -> what is declared of it: a shape in the place of that in the file.
        notes: Gets what free axes are called that have other names in the file.

    Raises:
        ConversionError: The shapes that are given are not those of these inputs, or one axis is given two sizes.
    """
    values = [value for value in inputs_of(model) if not value.problem and value.dtype is not None]
    _check(inputs_of(model), given)
    called = _called([value.shape or () for value in values], notes)
    instead: dict[str, Size] = {}
    found = []
    for value in values:
        shape = None if value.shape is None else [called.get(each, each) for each in value.shape]
        if (other := given.get(value.name, {}).get("shape")) is not None:
            own = shape or [None] * len(other)
            shape = [_met(value.name, *pair, instead) for pair in zip(own, other, strict=True)]
        found.append({"name": value.name, "shape": shape, "dtype": value.dtype})
    for each in found:
        if each["shape"] is not None:
            each["shape"] = [instead.get(size, size) if isinstance(size, str) else size for size in each["shape"]]
    return found


def values_of(model: Model, given: _Given, notes: list[Note]) -> dict[str, np.ndarray]:
    """The inputs that are given as a number: arrays of one element.

    Args:
        model: The model.
        given: Name of an input -> what is declared of it: a value.
        notes: Gets that they are no inputs any more.

    Raises:
        ConversionError: The input is no number in the model, or not of its dtype.
    """
    found = {}
    inputs = {value.name: value for value in inputs_of(model)}
    for name, said in given.items():
        if "value" not in said:
            continue
        own, number = inputs[name], said["value"]
        if own.problem or own.dtype not in dtypes.DENSE or any(size != 1 for size in own.shape or ()):
            raise _wrong(name, f"is given the value {short(number)}, and is no single number in the model", inputs)
        dtype = dtypes.DENSE[own.dtype]
        if not _has(dtype, number):
            whole = "whole " if dtype.kind in "iu" else ""
            raise _wrong(name, f"is given the value {short(number)}, expected a {whole}number of {own.dtype}", inputs)
        found[name] = np.full([1] * len(own.shape or ()), number, dtype)
        notes.append(Note(name, f"is {number} in all that is computed, and no input any more"))
    return found


def _check(values: Sequence[Value], given: _Given) -> None:
    """Refuse a declaration that says nothing, and a shape of another number of axes."""
    called = [value.name for value in values]
    for value in values:
        said = given.get(value.name)
        if said is not None and not {"shape", "value"} & said.keys():
            raise _wrong(value.name, "is declared without its shape or its value", called)
        shape = None if said is None else said.get("shape")
        if shape is not None and value.shape is not None and len(shape) != len(value.shape):
            raise _wrong(value.name, f"has {len(value.shape)} axes, and is declared as {tuple(shape)}", called)


def _wrong(name: str, what: str, known: Iterable[str]) -> ConversionError:
    """What is given for an input that is not so in the model, with the inputs that it has."""
    hint = f"the model takes {few(known)}"
    return ConversionError([(name, what)], hint=hint)


def _has(dtype: np.dtype[Any], number: float) -> bool:
    """Whether a number is one of a dtype's, rounded where these are floats."""
    if dtype.kind == "b":
        return number in (0, 1)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return bool(number == number and info.min <= number <= info.max and number == int(number))
    try:
        with np.errstate(over="ignore"):
            return math.isfinite(number) == bool(np.isfinite(np.float64(number).astype(dtype)))
    except OverflowError:
        return False


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
