"""What a network takes, declared: from examples, from declarations, or as the network remembers it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import dtypes, tensors
from modelarchive.errors import SpecError
from modelarchive.nn.axes import Size, is_axis_name
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
        raise _refused(f"inputs is {inputs!r:.80}, which is no array", _advice(block))
    if is_shape(inputs) and isinstance(inputs, tuple) and not _takes(block, len(inputs)):
        raise shape_given(inputs)
    several = _several(inputs)
    taken: set[str] = set()
    own = getattr(block, "inputs", ())
    try:
        named = list(own) if len(own) == len(several) else input_names(block, len(several))
    except ValueError as error:
        raise _refused(str(error), _advice(block)) from error
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
        given = [{"shape": [None, *shape[1:]] if shape else [], "dtype": _name_of(dtype)} for shape, dtype in last]
        if all(each["dtype"] is not None for each in given):
            return declared_inputs(block, tuple(given))
    if declared is not None and not _expected(block):
        return []  # it takes nothing
    if was_called(block):
        raise _refused("the last call of the network was given something else than arrays", _advice(block))
    raise _refused("the inputs of the network are not known", f"call it once, or {_advice(block)}")


def is_shape(inputs: Any) -> bool:
    """Whether `inputs` may be a shape that was given for an example."""
    is_row = isinstance(inputs, tuple | list) and len(inputs) > 0
    return is_row and all(size is None or (isinstance(size, int) and not isinstance(size, bool)) for size in inputs)


def shape_given(inputs: Sequence[int | None]) -> SpecError:
    """That `inputs` is a shape, and how to declare it."""
    declared = [None, *(inputs[1:] or inputs)]
    advice = f'give an array, or declare it: inputs={{"shape": {declared}}}, where None is the batch'
    return _refused(f"inputs is {inputs!r}: a shape, where an example is expected", advice)


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
        raise _refused(f"input {name!r} is {value!r:.80}, which is no array", _advice(block))
    try:
        array = value if hasattr(value, "shape") and hasattr(value, "dtype") else np.asarray(value)
    except ValueError:
        array = np.empty((), object)  # nested lists of different lengths
    found = _name_of(array.dtype)
    if found is None:
        raise _refused(f"input {name!r} has dtype {array.dtype}", "pass an array of numbers")
    return {"name": free_name(name, taken), "shape": [None, *array.shape[1:]] if array.shape else [], "dtype": found}


def _from_declaration(value: Mapping[str, Any], name: str, taken: set[str], block: Block) -> dict[str, Any]:
    if "shape" not in value and value and all(hasattr(each, "shape") for each in value.values()):
        raise _refused(f"inputs is a dict of arrays ({', '.join(map(str, value))})", _advice(block))
    if value.get("shape") is None:
        raise _refused("a declaration of an input has no shape", f"write {_DICT}")
    said = declaration(value)
    own = {"name": free_name(str(said.get("name", name)), taken), "shape": said["shape"]}
    return own | {"dtype": said.get("dtype", "float32")} | {key: said[key] for key in ("default",) if key in said}


#: What a declaration may say.
_KEYS: Final = dict.fromkeys(("name", "shape", "dtype", "default", "value")).keys()
#: A declaration as it is written in Python, and in a line of text.
_DICT: Final = '{"shape": [None, 20], "dtype": "float32"}'
_TEXT: Final = "x:?,3,224,224:float32"
_DICT_OF_VALUE: Final = '{"name": "rate", "value": 16000}'


def given_inputs(inputs: Any) -> list[Any]:
    """Inputs of a model, declared: what each says of itself, in any of its forms.

    Args:
        inputs: Declarations as dicts or as text, in order, or shapes by name, or one declaration or example; what is
            none of these, as a shape in its place, is left as it is.

    Raises:
        SpecError: One of them cannot be read.
    """
    if not isinstance(inputs, list | tuple | Mapping) or (isinstance(inputs, Mapping) and set(inputs) <= _KEYS):
        inputs = [inputs]
    if isinstance(inputs, Mapping):
        return [declaration({"name": name, "shape": shape}) for name, shape in inputs.items()]
    return [declaration(each) if isinstance(each, Mapping | str) else each for each in inputs]


def redeclared(known: Sequence[Mapping[str, Any]], inputs: Any) -> list[Any]:
    """Declarations in place of others: what they leave out is as it was, inputs that none of them names included.

    Args:
        known: What a model declares.
        inputs: As :func:`given_inputs` takes them.

    Raises:
        SpecError: One of them cannot be read, or is said by name of an input that there is not.
    """
    said = given_inputs(inputs)
    own = [each["name"] for each in known]
    by_name = {each.get("name"): each for each in said if isinstance(each, Mapping)}
    unknown = [name for name in by_name if name not in own]
    if len(by_name) == len(said) and not unknown:
        return [{**each, **by_name.get(each["name"], {})} for each in known]
    if unknown and isinstance(inputs, Mapping) and None not in unknown:
        raise _refused(f"there is no input {unknown[0]!r:.80}", f"the model takes {', '.join(own) or 'nothing'}")
    if len(said) != len(known):
        return list(said)
    return [{**old, **new} if isinstance(new, Mapping) else new for old, new in zip(known, said, strict=True)]


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
    said = {key: given[key] for key in _KEYS if key in given}
    if "value" in said and not isinstance(said["value"], bool | int | float):
        raise _refused(f"the value of an input is {said['value']!r:.80}, which is no number", f"write {value}")
    if "shape" in said:
        sizes = said["shape"]
        if not isinstance(sizes, Sequence) or isinstance(sizes, str):
            raise _refused("a declaration of an input has no shape", f"write {_DICT}")
        said["shape"] = [_size(each, sizes) for each in sizes]
    if "dtype" in said:
        name = _name_of(said["dtype"])
        if name is None:
            raise _refused(f"a declaration of an input has the dtype {said['dtype']!r:.80}", f"write {_DICT}")
        said["dtype"] = name
    return said


def _size(size: Any, sizes: Sequence[Any]) -> Size:
    """One axis of a shape; -1 is any size, as in other systems."""
    if size is None or is_axis_name(size):
        return size  # type: ignore[no-any-return]
    if isinstance(size, str) or not hasattr(size, "__index__") or int(size) < -1:
        wrong = f"a declaration of an input has the shape {list(sizes)!r:.200}"
        raise _refused(wrong, f"write {_DICT}; None is any size, and axes of one name are of one size")
    return None if int(size) == -1 else int(size)


def _of_text(text: str) -> dict[str, Any]:
    name, equals, number = text.partition("=")
    if equals and ":" not in name:
        if not name:
            raise _refused(f"{text!r:.200} has no name", "write NAME=NUMBER")
        return {"name": name, "value": _number(number)}
    name, _, rest = text.partition(":")
    shape, _, dtype = rest.partition(":")
    advice = (
        f"write {_TEXT}, with ? for an axis of any size, or a name where several are of one: x:batch,3,height,width"
    )
    if not name:
        raise _refused(f"{text!r:.200} has no name", advice)
    found: dict[str, Any] = {"name": name}
    if rest:
        sizes = shape.split(",") if shape else []
        if not all(size in ("?", "-1") or is_axis_name(size) or _is_number(size) for size in sizes):
            raise _refused(f"{text!r:.200}: {shape!r:.200} is no shape", advice)
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


def _name_of(dtype: Any) -> str | None:
    """The name of a dtype: NumPy's, another library's, or a name; None where an architecture has none for it."""
    if isinstance(dtype, str) and dtypes.is_dense(dtype):
        return dtype
    try:
        return tensors.dtype_name(dtype) or dtypes.dense_name(np.dtype(dtype))
    except TypeError:
        return None


def _refused(found: str, advice: str) -> SpecError:
    return SpecError([("/inputs", "inputs", found)], hint=advice)
