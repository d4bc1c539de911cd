"""Declarations of what a model takes, in the forms in which people write them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive import dtypes, tensors
from modelarchive.errors import ConversionError, SpecError
from modelarchive.nn.axes import Size, is_axis_name

#: One input, or several in order, or shapes by name.
Inputs: TypeAlias = Sequence[Mapping[str, Any] | Sequence[Size] | str] | Mapping[str, Any]
#: A declaration as it is written in Python, and in a line of text.
DECLARED: Final = '{"shape": [None, 20], "dtype": "float32"}'
_TEXT: Final = "x:?,3,224,224:float32"
_DICT_OF_VALUE: Final = '{"name": "rate", "value": 16000}'
#: What a declaration may say.
_SAID: Final = frozenset({"name", "shape", "dtype", "default", "value"})
#: Names of inputs that an error lists.
_LISTED: Final = 8


def given_inputs(inputs: Inputs) -> list[dict[str, Any]]:
    """Inputs of a model, declared: what each says of itself, in any of its forms.

    Args:
        inputs: Declarations as dicts or as text, shapes, or arrays of these shapes and of any batch, in order; one of
            these alone; or shapes by name.

    Raises:
        SpecError: One of them cannot be read.
    """
    if isinstance(inputs, Mapping) and not _is_declaration(inputs):
        return [declaration({"name": name, "shape": shape}) for name, shape in inputs.items()]
    is_one = isinstance(inputs, Mapping | str) or is_shape(inputs) or hasattr(inputs, "shape")
    several = [inputs] if is_one else inputs
    if not isinstance(several, Sequence) or isinstance(several, bytes):
        raise refused(f"inputs is {inputs!r:.80}, which declares nothing", f"write [{DECLARED}]")
    return [_given(each) for each in several]


def _is_declaration(given: Mapping[str, Any]) -> bool:
    """Whether a dict is one declaration; else it has shapes by name."""
    return given.keys() <= _SAID and isinstance(given.get("name", ""), str) and bool({"shape", "value"} & given.keys())


def _given(each: Any) -> dict[str, Any]:
    if isinstance(each, Mapping | str):
        return declaration(each)
    if hasattr(each, "shape") and hasattr(each, "dtype"):
        return declaration({"shape": [None, *each.shape[1:]] if each.shape else [], "dtype": each.dtype})
    return declaration({"shape": each})


def by_name(inputs: Inputs, known: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What is declared of the inputs of a model that has names for them.

    Args:
        inputs: As :func:`given_inputs` takes them; what has no name is of the input in its place.
        known: The names of the model's inputs, in their order.

    Returns:
        Name -> declaration.

    Raises:
        SpecError: One of them cannot be read.
        ConversionError: The model has no such input, or one is declared twice.
    """
    found: dict[str, dict[str, Any]] = {}
    for place, each in enumerate(given_inputs(inputs)):
        name = each.get("name", known[place] if place < len(known) else "(inputs)")
        what = "is declared, and is no input of the model" if name not in known else "is declared twice"
        if place >= len(known) and "name" not in each:
            what = f"are more than the {len(known)} that the model takes"
        if name not in known or name in found:
            listed = ", ".join(each[:80] for each in known[:_LISTED]) + (", ..." if len(known) > _LISTED else "")
            raise ConversionError([(str(name), what)], hint=f"the model takes {listed}")
        found[name] = each
    return found


def is_shape(inputs: Any) -> bool:
    """Whether `inputs` may be a shape that was given for an example."""
    is_row = isinstance(inputs, tuple | list) and len(inputs) > 0
    return is_row and all(size is None or (isinstance(size, int) and not isinstance(size, bool)) for size in inputs)


def declaration(given: Mapping[str, Any] | str) -> dict[str, Any]:
    """What a declaration says: ``name``, ``shape``, ``dtype``, ``default``, ``value``.

    None is an axis of any size, and so is a name: all axes of that name are of one. An input with a value is read as
    that number, and is none of the model's any more.

    Args:
        given: A dict, of which anything may be left out, or text: ``x``, ``x:?,3,224,224``,
            ``x:batch,3,height,width`` or ``x:?,3,224,224:float32``; ``rate=16000`` gives a value.

    Raises:
        SpecError: It cannot be read.
    """
    value = _DICT_OF_VALUE
    if isinstance(given, str):
        given, value = _of_text(given), "NAME=NUMBER"
    said = {key: given[key] for key in given if key in _SAID}
    if "value" in said and not isinstance(said["value"], bool | int | float):
        raise refused(f"the value of an input is {said['value']!r:.80}, which is no number", f"write {value}")
    if "shape" in said:
        sizes = said["shape"]
        if not isinstance(sizes, Sequence) or isinstance(sizes, str | bytes):
            raise refused("a declaration of an input has no shape", f"write {DECLARED}")
        said["shape"] = [_size(each, sizes) for each in sizes]
    if "dtype" in said:
        name = name_of(said["dtype"])
        if name is None:
            raise refused(f"a declaration of an input has the dtype {said['dtype']!r:.80}", f"write {DECLARED}")
        said["dtype"] = name
    return said


def _size(size: Any, sizes: Sequence[Any]) -> Size:
    """One axis of a shape; -1 is any size, as in other systems."""
    if size is None or is_axis_name(size):
        return size  # type: ignore[no-any-return]
    if isinstance(size, str) or not hasattr(size, "__index__") or int(size) < -1:
        wrong = f"a declaration of an input has the shape {list(sizes)!r:.200}"
        raise refused(wrong, f"write {DECLARED}; None is any size, and axes of one name are of one size")
    return None if int(size) == -1 else int(size)


def _of_text(text: str) -> dict[str, Any]:
    name, equals, number = text.partition("=")
    if equals and ":" not in name:
        if not name:
            raise refused(f"{text!r:.200} has no name", "write NAME=NUMBER")
        return {"name": name, "value": _number(number)}
    name, _, rest = text.partition(":")
    shape, _, dtype = rest.partition(":")
    advice = (
        f"write {_TEXT}, with ? for an axis of any size, or a name where several are of one: x:batch,3,height,width"
    )
    if not name:
        raise refused(f"{text!r:.200} has no name", advice)
    found: dict[str, Any] = {"name": name}
    if rest:
        sizes = shape.split(",") if shape else []
        if not all(size in ("?", "-1") or is_axis_name(size) or _is_number(size) for size in sizes):
            raise refused(f"{text!r:.200}: {shape!r:.200} is no shape", advice)
        found["shape"] = [None if size in ("?", "-1") else size if is_axis_name(size) else int(size) for size in sizes]
    return found | ({"dtype": dtype} if dtype else {})


def _number(text: str) -> Any:
    """A number as it is written; the text itself where it is none."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def name_of(dtype: Any) -> str | None:
    """The name of a dtype: NumPy's, another library's, or a name; None where an architecture has none for it."""
    if isinstance(dtype, str) and dtypes.is_dense(dtype):
        return dtype
    try:
        return tensors.dtype_name(dtype) or dtypes.dense_name(np.dtype(dtype))
    except TypeError:
        return None


def refused(found: str, advice: str) -> SpecError:
    """An error that says what was found, and what to do instead."""
    return SpecError([("/inputs", "inputs", found)], hint=advice)
