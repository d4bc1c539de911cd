"""What a system's table refuses, and the one place where an error that a row of it raises becomes a refusal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from modelarchive.errors import ModelArchiveError, SpecError

#: What arithmetic, lookups and NumPy raise where a file says a number or a word that a row did not expect.
_RAISED: Final = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


class Refusal(Exception):  # noqa: N818 - collected, and reported together in a ConversionError
    """Something is not supported: in the vocabulary, or in the system that is written."""


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn what a row raises into a Refusal; errors that are this package's own pass, but for those of a spec.

    Args:
        what: The operator or layer, as the file calls it.

    Raises:
        Refusal: The row raised it, or any error of arithmetic, types, lookups, memory or depth.
    """
    try:
        yield
    except SpecError as error:
        raise Refusal(f"{what}: {reason(error)}") from error
    except ModelArchiveError:
        raise
    except _RAISED as error:
        raise Refusal(f"{what}: {_words(error)}") from error


def _words(error: Exception) -> str:
    """An error in words that mean something to who has the file."""
    if isinstance(error, MemoryError):
        return "asks for more memory than there is"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, ZeroDivisionError):
        return "divides by zero"
    if isinstance(error, KeyError):
        return f"lacks {error}"
    return str(error) or type(error).__name__


def problems_of(error: SpecError) -> list[tuple[str, str]]:
    """The problems of an architecture as a ConversionError lists them."""
    return [(pointer or "(model)", message) for pointer, _, message in error.problems]


def reason(error: Exception) -> str:
    """What an error of this package's own layers says of a model: no place in this package, and no block's class."""
    if not isinstance(error, SpecError) or not error.problems:
        return str(error)
    what = error.problems[0][2].removeprefix(f"{error.path}: ")
    return f"{what}: pass inputs= with fixed sizes" if "not fixed" in what else what
