"""JSON from strangers: parsed strictly, every value of the type and in the bounds expected."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NoReturn

from modelarchive.errors import FormatError


def loads(text: str | bytes, *, what: str, strict: bool, parse_float: Callable[[str], float] = float) -> dict[str, Any]:
    """A JSON object, refused if it is anything else; `strict`: also if an object in it holds a key twice."""
    try:
        if isinstance(text, bytes):
            text = text.decode()
        value = _decoder(strict=strict, parse_float=parse_float).decode(text)
    except UnicodeDecodeError:
        fail(f"{what} is not UTF-8")
    except json.JSONDecodeError as error:
        fail(f"{what} is not JSON: {error.msg} at character {error.pos}")
    except RecursionError:
        fail(f"{what} is nested too deeply")
    except ValueError as error:
        fail(f"{what}: {error}")
    if not isinstance(value, dict):
        fail(f"{what} is {type(value).__name__}, expected an object")
    return value


@cache
def _decoder(*, strict: bool, parse_float: Callable[[str], float]) -> json.JSONDecoder:
    hook = _unique if strict else None
    return json.JSONDecoder(object_pairs_hook=hook, parse_constant=_no_constant, parse_float=parse_float)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def no_fraction(text: str) -> NoReturn:
    """For `parse_float`: there are integers only."""
    raise ValueError(f"{text[:20]} is no integer")


def integer(owner: Mapping[str, Any], key: str, *, low: int, high: int | None = None) -> int:
    """An integer of an object, between the bounds."""
    value = owner.get(key)
    if type(value) is not int or value < low or (high is not None and value > high):
        fail(f"{key} is {short(value)}, expected an integer from {low} to {'any' if high is None else high}")
    return value


def string(owner: Mapping[str, Any], key: str) -> str:
    """A string of an object."""
    value = owner.get(key)
    if not isinstance(value, str):
        fail(f"{key} is {type(value).__name__}, expected a string")
    return value


def mapping(owner: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object of an object; empty if it is not there."""
    value = owner.get(key, {})
    if not isinstance(value, dict):
        fail(f"{key} is {type(value).__name__}, expected an object")
    return value


def short(name: object) -> str:
    """A name as messages quote it."""
    text = repr(name)
    return text if len(text) <= 80 else text[:77] + "..."


def fail(message: str) -> NoReturn:
    """Refuse the index."""
    raise FormatError(message)
