"""Metadata whose texts other formats cannot hold as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelarchive.exchange.bundle import Note
from modelarchive.names import problems_with_texts


def escaped(metadata: Mapping[str, Any]) -> list[Note]:
    """Notes of the keys and texts that UTF-8 cannot say; :func:`modelarchive.names.as_text` gives what is written."""
    texts = [*metadata, *(each for each in metadata.values() if isinstance(each, str))]
    return [Note(f"metadata: {text}", f"{what}; escaped") for text, what in problems_with_texts(texts)]
