"""Limits on an architecture as plain data, checked before anything is read out of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from modelarchive.architecture.schema import Problem

MAX_DEPTH: Final = 400
#: Objects, lists, numbers and strings of the JSON.
MAX_VALUES: Final = 4_000_000
#: Characters of all strings and keys together.
MAX_TEXT: Final = 64 * 2**20
#: Blocks and nodes together.
MAX_NODES: Final = 100_000
#: Steps of one forward pass; blocks that are called twice count twice, with all below them.
MAX_STEPS: Final = 200_000
#: References to values, and values in lists of an op's arguments, that are one step more.
REFERENCES_A_STEP: Final = 4
#: Elements of one parameter, and of all together.
MAX_PARAMETER: Final = 2**40
MAX_PARAMETERS: Final = 2**44
#: Problems that are told one by one.
MAX_PROBLEMS: Final = 100
_MAX_INT: Final = 2**64


def oversized(architecture: Any) -> list[Problem]:
    """What is no JSON, or more of it than an architecture may be; stops at the first excess."""
    return [] if _fits(architecture) else _excess(architecture)


def _fits(architecture: Any) -> bool:
    """Whether all is as it may be, level by level; where it is not is left to :func:`_excess`."""
    values = text = depth = 0
    level: list[Any] = [architecture]
    while level:
        depth += 1
        values += len(level)
        below: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is str:
                text += len(value)
            elif kind is int:
                if not -_MAX_INT <= value <= _MAX_INT:
                    return False
            elif kind is dict or kind is list:
                if kind is dict:
                    for key in value:
                        if type(key) is not str:
                            return False
                        text += len(key)
                    value = value.values()
                below += value
                # Here already: what stands in many places at once would be counted without end.
                if values + len(below) > MAX_VALUES:
                    return False
            elif kind is not bool and value is not None and _scalar(value) is not None:
                return False
        if depth > MAX_DEPTH or text > MAX_TEXT:
            return False
        level = below
    return True


def _excess(architecture: Any) -> list[Problem]:
    """The first place that is beyond a limit."""
    values = text = 0
    stack: list[tuple[Any, str, int]] = [(architecture, "", 1)]
    while stack:
        value, pointer, depth = stack.pop()
        values += 1
        if depth > MAX_DEPTH:
            return [(pointer[:200] + "...", "limit", f"expected at most {MAX_DEPTH} levels of JSON")]
        if type(value) is dict:
            for key, item in value.items():
                if type(key) is not str:
                    return [(pointer, "json", f"expected strings as keys, found {type(key).__name__}")]
                text += len(key)
                stack.append((item, f"{pointer}/{key[:40]}" if depth < 20 else pointer, depth + 1))
        elif type(value) is list:
            stack += [(item, pointer, depth + 1) for item in value]
        elif type(value) is str:
            text += len(value)
        else:
            problem = _scalar(value)
            if problem is not None:
                return [(pointer, "json", problem)]
        if values + len(stack) > MAX_VALUES:
            return [("", "limit", f"expected at most {MAX_VALUES:,} values")]
        if text > MAX_TEXT:
            return [("", "limit", f"expected at most {MAX_TEXT:,} characters of text")]
    return []


def _scalar(value: Any) -> str | None:
    """What keeps a value from being a JSON scalar of this format."""
    if value is None or type(value) is bool:
        return None
    if type(value) is int:
        return None if -_MAX_INT <= value <= _MAX_INT else "expected integers of at most 64 bits"
    if type(value) is float:
        return None if math.isfinite(value) else f"expected finite numbers, found {value}"
    return f"expected JSON values, found {type(value).__module__}.{type(value).__qualname__}"


def listed(arguments: Mapping[str, Any]) -> int:
    """How many values the literal arguments of an op have in lists."""
    return sum([len(each) for each in arguments.values() if type(each) is list]) if arguments else 0
