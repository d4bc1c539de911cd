"""Literal arguments of a call as a program's JSON has them: numbers, words, dtypes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from modelarchive.errors import FormatError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.pt2.files import DTYPES
from modelarchive.exchange.pt2.records import Record


def number(value: Any, where: str) -> Any:
    """A number; those that JSON has no word for stand there as text."""
    if value in ("Infinity", "-Infinity", "NaN"):
        return float(value)
    if type(value) not in (int, float, bool) or (type(value) is int and not -(1 << 64) < value < 1 << 64):
        raise FormatError(f"is damaged: {where} is {value!r:.60}, expected a number")
    return value


def _several(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise FormatError(f"is damaged: {where} is {value!r:.60}, expected numbers")
    spend("a list of numbers", steps=len(value))
    return [number(each, where) for each in value]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\w ,.>-]{0,200}", value, re.ASCII):
        raise FormatError(f"is damaged: {where} is {value!r:.60}, expected a word")
    return value


def _one_of(table: Mapping[int, Any]) -> Callable[[Any, str], Any]:
    def value_of(value: Any, where: str) -> Any:
        if type(value) is not int or value not in table:
            raise FormatError(f"is damaged: {where} is {value!r:.60}, which is none")
        return table[value]

    return value_of


def _complex(value: Any, where: str) -> complex:
    about = Record(value, where)
    return complex(number(about.inside("real"), where), number(about.inside("imag"), where))


#: How an argument is said -> what makes a value of it, given that and where it stands.
LITERALS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "as_none": lambda value, where: None,
    "as_int": number,
    "as_float": number,
    "as_bool": number,
    "as_string": _text,
    "as_ints": _several,
    "as_floats": _several,
    "as_bools": _several,
    "as_complex": _complex,
    "as_scalar_type": _one_of({code: getattr(torch, name) for code, name in DTYPES.items() if hasattr(torch, name)}),
    "as_memory_format": _one_of(
        {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format}
    ),
    "as_layout": _one_of({7: torch.strided}),
    "as_device": lambda value, where: torch.device("cpu"),
}
