"""A model of one framework, through an archive, gives its outputs in every other framework."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exchange import across
from tests.exchange.mxnet import running

NEEDS = {
    "PyTorch": ["torch"],
    "Keras": ["keras", "torch"],
    "MXNet": [],
    "ONNX": ["onnx", "onnxruntime", "onnxscript", "torch"],
    "ONNX Runtime": ["onnxruntime"],
    "Hugging Face": ["torch", "transformers"],
    "GGUF": [],
    "NumPy": [],
}


@pytest.fixture(scope="module", params=across.SOURCES)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, across.Model]:
    for module in NEEDS[request.param.partition(":")[0]]:
        pytest.importorskip(module)
    return request.param, across.SOURCES[request.param](tmp_path_factory.mktemp("source"))


@pytest.mark.slow
@pytest.mark.parametrize("target", across.TARGETS)
def test_outputs_are_those_of_the_framework(source: tuple[str, across.Model], target: str, tmp_path: Path) -> None:
    _, model = source
    for module in NEEDS[target]:
        pytest.importorskip(module)
    if target == "MXNet" and not running.PYTHON:
        pytest.skip("MODELARCHIVE_MXNET_PYTHON names no Python that has MXNet")
    assert across.difference(model, across.TARGETS[target](model, tmp_path)) <= 1e-4
