"""PyTorch as the reference: an optional dependency of the tests, whose absence is a skip (CI allows none)."""

import pytest


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch")
