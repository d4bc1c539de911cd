"""Texts that go with arrays: JSON documents, and the words that the rows of a parameter belong to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any, Final

import numpy as np

from modelarchive import names, tensors
from modelarchive.dtypes import is_float
from modelarchive.errors import UnsupportedDataError
from modelarchive.store.text import encode, encode_array


def json_texts(**documents: Mapping[str, Any] | None) -> dict[str, Any]:
    """HDF5 path -> encoded text of JSON documents, in groups that viewers show as notes.

    Raises:
        UnsupportedDataError: A document holds what JSON cannot say; all such places are listed.
    """
    texts: dict[str, Any] = {}
    for name, document in documents.items():
        if document is None:
            continue
        if not isinstance(document, Mapping):
            raise TypeError(f"{name} is {type(document).__name__}, expected a dict")
        document = _numbers(document)
        if problems := list(_beyond_json(document, name)):
            raise UnsupportedDataError(problems, hint="use numbers, strings, lists and dicts with string keys")
        texts |= _text(name, document)
    return texts


def architecture_texts(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """The same of an architecture, which is JSON: it was checked, or read."""
    return _text("architecture", architecture)


def _text(name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    # A lone surrogate is a legal Python string and JSON escape, and no UTF-8.
    plain = _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", _json_lines(document))
    return {f"/{name}/data": encode(plain), f"/{name}/type": encode("application/json")}


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _json_lines(value: Any, indent: str = "") -> str:
    """JSON as people lay it out: an object's members on lines of their own, a list of numbers on one."""
    kind = type(value)
    if kind is int or kind is float:
        return repr(value)
    if value is None or kind is bool:
        return "null" if value is None else "true" if value else "false"
    if kind is dict and value:
        inner = indent + "  "
        members = [f"{inner}{encode_basestring(key)}: {_json_lines(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(members) + f"\n{indent}}}"
    if kind is list:
        inner = indent + "  "
        if any(type(item) is dict for item in value):
            return "[\n" + ",\n".join([inner + _json_lines(item, inner) for item in value]) + f"\n{indent}]"
        return "[" + ", ".join([_json_lines(item, inner) for item in value]) + "]"
    return _encode(value)


def token_texts(tokens: Mapping[str, Sequence[str]], rows: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """HDF5 path -> encoded words of the parameters' rows.

    Args:
        tokens: Parameter name -> the word of each of its rows.
        rows: Parameter name -> the length of its first axis, as a shape.

    Raises:
        UnsupportedDataError: Words of no parameter, or not one for each row; lists all of them.
    """
    texts = {}
    problems = []
    for name, words in sorted(tokens.items(), key=lambda item: names.natural_key(item[0])):
        if name not in rows:
            near = names.near(name, list(rows))
            problems.append((f"tokens[{name!r}]", "is no parameter" + (f", did you mean {near!r}?" if near else "")))
        elif isinstance(words, str) or not all(isinstance(word, str) for word in words):
            problems.append((f"tokens[{name!r}]", "is no sequence of strings"))
        elif rows[name] != (len(words),):
            problems.append((f"tokens[{name!r}]", f"has {len(words)} words for {rows[name]} rows"))
        else:
            try:
                array = np.array(list(words), dtype=np.dtypes.StringDType())
                texts[f"/tokens/{name.replace('.', '/')}"] = encode_array(array)
            except ValueError as error:
                problems.append((f"tokens[{name!r}]", str(error)))
    if problems:
        raise UnsupportedDataError(problems, hint="nothing was written")
    return texts


def _numbers(value: Any, depth: int = 0) -> Any:
    """The same with NumPy's numbers and tensors of no axes as Python's."""
    if value is None or isinstance(value, str | bool | int | float) or depth > names.MAX_PARTS:
        return value
    if isinstance(value, Mapping):
        return {key: _numbers(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(item, depth + 1) for item in value]
    try:
        array = tensors.asarray(value) if isinstance(value, np.generic) or tensors.foreign(value) else value
    except UnsupportedDataError:
        return value
    if not isinstance(array, np.ndarray) or array.ndim:
        return value
    # The fewest digits that give the same number in its own dtype: 0.967, not 0.9670000076293945.
    return float(str(array)) if is_float(array.dtype) else array.item()


def _beyond_json(value: object, where: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    if depth > names.MAX_PARTS:
        yield where, f"nested deeper than {names.MAX_PARTS}"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{where}[{key!r}]", f"the key is {type(key).__name__}, expected str"
            yield from _beyond_json(item, f"{where}[{key!r}]", depth + 1)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _beyond_json(item, f"{where}[{number}]", depth + 1)
    elif isinstance(value, float) and value - value != 0:
        yield where, f"{value} is no JSON number"
    elif not (value is None or isinstance(value, str | int | float)):
        way = "; give its .tolist()" if hasattr(value, "tolist") else ""
        yield where, f"{type(value).__name__} is nothing that JSON can say{way}"
