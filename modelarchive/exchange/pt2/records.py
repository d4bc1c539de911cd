"""Objects of a program's JSON, each of which knows where it stands, so that what is wrong in one is told with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelarchive.errors import FormatError


class Record:
    """An object of JSON.

    Args:
        value: What was read.
        where: Where it stands, in words.

    Raises:
        FormatError: It is no object.
    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(where, value, "an object")
        self._value: Mapping[str, Any] = value
        self.where = where

    def __contains__(self, key: str) -> bool:
        """Whether it says something under a key; null says nothing."""
        return self._value.get(key) is not None

    def text(self, key: str) -> str:
        """A string."""
        return str(self._of(key, str, "a string"))

    def whole(self, key: str) -> int:
        """A whole number."""
        return int(self._of(key, int, "a whole number"))

    def truth(self, key: str) -> bool:
        """Whether something is so."""
        return bool(self._of(key, bool, "true or false"))

    def record(self, key: str) -> Record:
        """An object inside."""
        return Record(self._value.get(key), f"{self.where}.{key}")

    def records(self, key: str) -> list[Record]:
        """A list of objects."""
        return [Record(each, f"{self.where}.{key}[{at}]") for at, each in enumerate(self.several(key))]

    def several(self, key: str) -> list[Any]:
        """A list of anything."""
        found: list[Any] = self._of(key, list, "a list")
        return found

    def items(self, key: str) -> Iterator[tuple[str, Record]]:
        """The objects of an object, by their names."""
        inside: dict[str, Any] = self._of(key, dict, "an object")
        for name, each in inside.items():
            yield name, Record(each, f"{self.where}.{key}[{name[:80]!r}]")

    def only(self) -> tuple[str, Any]:
        """The one thing that a union says: its word, and its value."""
        found = {key: each for key, each in self._value.items() if each is not None or key == "as_none"}
        if len(found) != 1:
            raise FormatError(f"is damaged: {self.where} says {len(found)} things, expected one")
        return next(iter(found.items()))

    def inside(self, key: str) -> Any:
        """What stands under a key, as it is; None where nothing does."""
        return self._value.get(key)

    def _of(self, key: str, kind: type, expected: str) -> Any:
        value = self._value.get(key)
        if type(value) is not kind:
            raise _wrong(f"{self.where}.{key}", value, expected)
        return value


def _wrong(where: str, value: Any, expected: str) -> FormatError:
    found = "nothing" if value is None else f"{type(value).__name__} {value!r:.60}"
    return FormatError(f"is damaged: {where} is {found}, expected {expected}")
