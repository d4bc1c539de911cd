"""Networks of Gluon's model zoo, which nobody here wrote, through an archive and back into MXNet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exchange.mxnet import model_zoo


@pytest.mark.slow
@pytest.mark.skipif(not model_zoo.PYTHON, reason="MODELARCHIVE_MXNET_PYTHON names no Python that has MXNet")
@pytest.mark.parametrize("name", ["squeezenet1.1", "mobilenetv2_0.25", "resnet18_v2"])
def test_outputs_are_those_of_mxnet_there_and_back(tmp_path: Path, name: str) -> None:
    _, there, back = model_zoo.compare(name, tmp_path)
    assert max(there, back) <= 1e-5
