"""PyTorch as the reference, and the option for networks of full size."""

import pytest

from tests.conformance.conftest import torch

__all__ = ["torch"]


@pytest.fixture(scope="session")
def transformers():
    """Hugging Face's implementations; in this process they are silent and reach for no network."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("TRANSFORMERS_VERBOSITY", "error")
    yield pytest.importorskip("transformers")
    patch.undo()
