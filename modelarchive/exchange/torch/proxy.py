"""What cannot be read of a module of PyTorch's."""

from __future__ import annotations


class CannotError(Exception):
    """Something has no place in the vocabulary; the message says what."""
