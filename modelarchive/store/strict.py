"""JSON from strangers: parsed strictly, every value of the type and in the bounds expected."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NoReturn

from modelarchive.errors import FormatError

#: Levels of another system's JSON: what walks it in Python takes some calls for each.
MAX_LEVELS: Final = 200
#: Digits of an integer there: all of 64 bits have 20, and a tokenizer's "no limit" (1e30) 31.
MAX_DIGITS: Final = 64


def loads(text: str | bytes, *, what: str, strict: bool, parse_float: Callable[[str], float] = float) -> dict[str, Any]:
    """A JSON object, refused if it is anything else; `strict`: also if an object in it holds a key twice."""
    return _object(_parsed(text, what, _decoder(strict=strict, parse_float=parse_float)), what)


def document(text: str | bytes, *, what: str, strict: bool, finite: bool = True) -> Any:
    """JSON of another system, for those who walk it and compute with it: the one place that bounds what is in it.

    Args:
        text: The JSON.
        what: What messages call it.
        strict: Refuse an object that holds a key twice.
        finite: Refuse ``Infinity``, ``-Infinity`` and ``NaN``, which JSON does not have and Python writes.

    Returns:
        The value: nested to :data:`MAX_LEVELS`, integers of :data:`MAX_DIGITS`.

    Raises:
        FormatError: It is no JSON, or leaves these bounds.
    """
    others = _no_constant if finite else float
    decoder = _decoder(strict=strict, parse_float=_finite, parse_int=_short_integer, parse_constant=others)
    value = _parsed(text, what, decoder)
    level, depth = [value], 0
    while level := [inner for each in level if type(each) in (dict, list) for inner in _inside(each)]:
        if (depth := depth + 1) > MAX_LEVELS:
            fail(f"{what} is nested too deeply: more than {MAX_LEVELS} levels")
    return value


def document_object(text: str | bytes, *, what: str, strict: bool, finite: bool = True) -> dict[str, Any]:
    """As :func:`document`; refused if it is no object."""
    return _object(document(text, what=what, strict=strict, finite=finite), what)


def _inside(value: Any) -> list[Any]:
    """The objects and lists in one."""
    return [each for each in (value.values() if type(value) is dict else value) if type(each) in (dict, list)]


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        fail(f"{what} is {type(value).__name__}, expected an object")
    return value


def _parsed(text: str | bytes, what: str, decoder: json.JSONDecoder) -> Any:
    try:
        return decoder.decode(text.decode() if isinstance(text, bytes) else text)
    except UnicodeDecodeError:
        fail(f"{what} is not UTF-8")
    except json.JSONDecodeError as error:
        fail(f"{what} is not JSON: {error.msg} at character {error.pos}")
    except RecursionError:
        fail(f"{what} is nested too deeply")
    except ValueError as error:
        fail(f"{what}: {error}")


@cache
def _decoder(
    *,
    strict: bool,
    parse_float: Callable[[str], float],
    parse_int: Callable[[str], int] | None = None,
    parse_constant: Callable[[str], float] | None = None,
) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_unique if strict else None,
        parse_constant=parse_constant or _no_constant,
        parse_float=parse_float,
        parse_int=parse_int,
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    found = float(text)
    if not math.isfinite(found):
        raise ValueError(f"{text[:20]} is larger than any number")
    return found


def _short_integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"an integer has {len(text):,} digits, expected at most {MAX_DIGITS}")
    return int(text)


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
    """A name, or any value, as messages quote it."""
    try:
        text = repr(name)
    except (ValueError, RecursionError):  # of thousands of digits, or levels
        text = f"{type(name).__name__} too long to be shown"
    return text if len(text) <= 80 else text[:77] + "..."


def fail(message: str) -> NoReturn:
    """Refuse the index."""
    raise FormatError(message)
