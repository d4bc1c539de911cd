"""What a system's table refuses, and the one place where an error that a row of it raises becomes a refusal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from modelarchive.errors import ModelArchiveError, SpecError
from modelarchive.exchange.support import said

#: What arithmetic, lookups and NumPy raise where a file says a number or a word that a row did not expect.
_RAISED: Final = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


class Refusal(Exception):  # noqa: N818 - collected, and told together in a ConversionError
    """Something that has no counterpart: in the vocabulary, or in the system that is written."""


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
        raise Refusal(f"{what}: {said(error)}") from error
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
