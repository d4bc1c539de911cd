"""What stands for the things that a pickle names: stubs, which keep what it gave them, and meanings of our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from modelarchive.errors import FormatError, ModelArchiveError
from modelarchive.exchange.budget import spend

#: Whole numbers below this are keys as they are: so few of them cannot be made to collide much.
_SMALL: Final = 1 << 20
#: Longest text that a key is called by, and most values of a tuple that is one.
_MAX_KEY: Final = 200
_MAX_TUPLE: Final = 16


class Named:
    """A class or function that a pickle names and that has no meaning here.

    Args:
        name: As the pickle says it, with its module.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Stub:
    """What a class or function would have made, and what a pickle gave it; nothing of it was run.

    Args:
        name: The class or function, with its module.
        arguments: What it would have been called with.

    Attributes:
        state: What its state would have been set to.
        items: What would have been appended.
        entries: What would have been set by keys.
    """

    __slots__ = ("arguments", "entries", "items", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.arguments = arguments
        self.state: Any = None
        self.items: list[Any] = []
        self.entries: dict[Any, Any] = {}


class _Key:
    """A key that is no text and no small number; two are never the same.

    Args:
        value: The key.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __str__(self) -> str:
        """What a name made of it says."""
        value = self.value
        if isinstance(value, Named | Stub):
            return value.name[:_MAX_KEY]
        if isinstance(value, tuple) and len(value) <= _MAX_TUPLE and all(isinstance(each, _PLAIN) for each in value):
            return str(tuple(map(_short, value)))[:_MAX_KEY]
        return str(_short(value))[:_MAX_KEY] if isinstance(value, _PLAIN) else f"({type(value).__name__})"


def _short(value: Any) -> Any:
    """As much of it as is shown: a long one costs its length each time, and many keys may be the same one."""
    return value[:_MAX_KEY] if isinstance(value, str | bytes) else value


_PLAIN: Final = (str, int, float, bool, type(None), bytes)


class Meaning:
    """A class or function that a pickle may name and that has a meaning here.

    Args:
        name: As errors call it.
        make: A function of this package that makes plain data of the arguments.
    """

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        self.name = name
        self.make = make

    def __call__(self, arguments: tuple[Any, ...]) -> Any:
        """What it makes of arguments, which a pickle chose.

        Raises:
            FormatError: It takes no such.
        """
        try:
            return self.make(*arguments)
        except ModelArchiveError:
            raise
        except (TypeError, ValueError, OverflowError, AttributeError, LookupError) as error:
            raise FormatError(f"is damaged: its pickle calls {self.name} with what that does not take") from error


def dict_of(pairs: Any) -> dict[Any, Any]:
    """A new dict of pairs, or of what another dict has: what is set in one later is not in the other."""
    if isinstance(pairs, Stub):
        pairs = pairs.items
    spend("a pickle", steps=len(pairs))
    return dict(pairs) if isinstance(pairs, dict) else {key_of(key): value for key, value in pairs}


def key_of(value: Any) -> Any:
    """A value as a key: hashes of numbers can be chosen so that they collide, and deep tuples hash by recursion.

    Small numbers are as they are, so that those which Python takes for the same (1, 1.0, True) are the same here.
    """
    kind = type(value)
    is_small = kind in (int, bool, float) and 0 <= value < _SMALL and value == int(value)
    return value if kind is str or is_small else _Key(value)


def kind_of(value: Any) -> str:
    """What a value is, in a word, or by the name of what would have made it."""
    if (name := getattr(value, "name", None)) is not None:
        return str(name)[:80]
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def shown(text: str) -> str:
    """A text without halves of characters, which pickles may have and no terminal takes."""
    return text.encode("utf-8", "replace").decode()


def text_of(data: bytes) -> str:
    """Text as pickles write it.

    Raises:
        UnicodeDecodeError: It is none.
    """
    return data.decode("utf-8", "surrogatepass")
