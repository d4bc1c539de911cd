"""What a network takes, declared: from examples, from declarations, or as the network remembers it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelarchive.architecture.declarations import DECLARED, declaration, is_shape, name_of, refused
from modelarchive.errors import SpecError
from modelarchive.nn.block import Block
from modelarchive.nn.calling import declarations_of, last_inputs, was_called
from modelarchive.nn.signature import free_name, input_names


def declared_inputs(block: Block, inputs: Any) -> list[dict[str, Any]]:
    """The declarations of `inputs`, which :func:`modelarchive.describe` takes in several forms.

    Raises:
        SpecError: They cannot be declared.
    """
    if inputs is None:
        return _remembered(block)
    if isinstance(inputs, str | bytes):
        raise refused(f"inputs is {inputs!r:.80}, which is no array", _advice(block))
    if is_shape(inputs) and isinstance(inputs, tuple) and not _takes(block, len(inputs)):
        raise shape_given(inputs)
    several = _several(inputs)
    taken: set[str] = set()
    own = getattr(block, "inputs", ())
    try:
        named = list(own) if len(own) == len(several) else input_names(block, len(several))
    except ValueError as error:
        raise refused(str(error), _advice(block)) from error
    return [_declaration(each, name, taken, block) for each, name in zip(several, named, strict=True)]


def _several(inputs: Any) -> list[Any]:
    """The inputs one by one."""
    several = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
    while isinstance(inputs, tuple) and len(several) > 1 and several[-1] is None:
        several.pop()  # an optional input that is not given
    if isinstance(inputs, list) and not any(hasattr(each, "shape") or _is_declaration(each) for each in inputs):
        return [inputs]  # nested lists of numbers are one array
    return several


def example_shapes(block: Block, inputs: Any) -> list[Sequence[int]] | None:
    """The shapes of the arrays that are the example, or were given at the last call; None: shapes were declared."""
    if inputs is None:
        last = None if declarations_of(block) else last_inputs(block)
        return None if last is None else [shape for shape, _ in last]
    several = _several(inputs)
    if any(_is_declaration(each) for each in several):
        return None
    return [tuple(each.shape) if hasattr(each, "shape") else np.shape(each) for each in several]


def _remembered(block: Block) -> list[dict[str, Any]]:
    """What a built network declares, or what the last call of another was given."""
    declared = declarations_of(block)
    if declared:
        return [dict(each) for each in declared]
    last = last_inputs(block)
    if last is not None:
        given = [{"shape": [None, *shape[1:]] if shape else [], "dtype": name_of(dtype)} for shape, dtype in last]
        if all(each["dtype"] is not None for each in given):
            return declared_inputs(block, tuple(given))
    if declared is not None and not _expected(block):
        return []  # it takes nothing
    if was_called(block):
        raise refused("the last call of the network was given something else than arrays", _advice(block))
    raise refused("the inputs of the network are not known", f"call it once, or {_advice(block)}")


def shape_given(inputs: Sequence[int | None]) -> SpecError:
    """That `inputs` is a shape, and how to declare it."""
    declared = [None, *(inputs[1:] or inputs)]
    advice = f'give an array, or declare it: inputs={{"shape": {declared}}}, where None is the batch'
    return refused(f"inputs is {inputs!r}: a shape, where an example is expected", advice)


def _expected(block: Block) -> list[str]:
    """The inputs that have to be given, by name."""
    own = getattr(block, "inputs", None)
    if own is not None:
        return list(own)
    parameters = inspect.signature(block.forward).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return ["x"]
    return [each.name for each in parameters if each.kind in kinds and each.default is each.empty]


def _takes(block: Block, count: int) -> bool:
    """Whether `block` takes just so many inputs, each by a name of its own."""
    parameters = inspect.signature(block.forward).parameters.values()
    return all(each.kind is not each.VAR_POSITIONAL for each in parameters) and len(_expected(block)) == count


def _advice(block: Block) -> str:
    """The call that declares the inputs, as it is typed."""
    expected = _expected(block) or ["x"]
    example = expected[0] if len(expected) == 1 else f"({', '.join(expected)})"
    return f'pass an example: save_model("net.h5", net, inputs={example})'


def _is_declaration(value: Any) -> bool:
    return isinstance(value, Mapping)


def _declaration(value: Any, name: str, taken: set[str], block: Block) -> dict[str, Any]:
    if _is_declaration(value):
        return _from_declaration(value, name, taken, block)
    if isinstance(value, str | bytes) or value is None:
        raise refused(f"input {name!r} is {value!r:.80}, which is no array", _advice(block))
    try:
        array = value if hasattr(value, "shape") and hasattr(value, "dtype") else np.asarray(value)
    except ValueError:
        array = np.empty((), object)  # nested lists of different lengths
    found = name_of(array.dtype)
    if found is None:
        raise refused(f"input {name!r} has dtype {array.dtype}", "pass an array of numbers")
    return {"name": free_name(name, taken), "shape": [None, *array.shape[1:]] if array.shape else [], "dtype": found}


def _from_declaration(value: Mapping[str, Any], name: str, taken: set[str], block: Block) -> dict[str, Any]:
    if "shape" not in value and value and all(hasattr(each, "shape") for each in value.values()):
        raise refused(f"inputs is a dict of arrays ({', '.join(map(str, value))})", _advice(block))
    if value.get("shape") is None:
        raise refused("a declaration of an input has no shape", f"write {DECLARED}")
    said = declaration(value)
    own = {"name": free_name(str(said.get("name", name)), taken), "shape": said["shape"]}
    return own | {"dtype": said.get("dtype", "float32")} | {key: said[key] for key in ("default",) if key in said}
