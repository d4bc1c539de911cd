"""PyTorch as the reference: an optional dependency of the tests, whose absence is a skip (CI allows none)."""

import pytest


@pytest.fixture(scope="session")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(2)
    return module
