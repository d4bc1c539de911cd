"""What the tests of folders share."""

from __future__ import annotations

import pytest

from modelarchive.exchange.huggingface import through


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where transformers and PyTorch are not installed: no folder is read through them."""
    monkeypatch.setattr(through, "is_installed", lambda: False)
