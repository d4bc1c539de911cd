"""Archives compared with arrays in memory; the command's tests have files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.compare import diff


def test_an_archive_and_what_is_in_memory(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones(2, "f4"), "c": np.zeros(1)}
    ma.save(tmp_path / "a.h5", arrays)
    with ma.open(tmp_path / "a.h5") as archive:
        assert not diff(archive, arrays)
        other = {"a": arrays["a"] + 0.25, "b": np.ones(2, "f8"), "d": np.zeros(1)}
        found = diff(other, archive)
    assert found.changed == {"a": 0.25}
    assert found.reshaped == {"b": ("float64 2", "float32 2")}
    assert (found.only_a, found.only_b) == (["d"], ["c"])


def test_a_state_dict_and_the_archive_of_its_module(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(3, 2)).to(torch.bfloat16)
    ma.save_model(tmp_path / "net.h5", net, inputs=torch.ones(1, 3, dtype=torch.bfloat16), metadata={"a": 1})
    assert not diff(tmp_path / "net.h5", net.state_dict())
    with torch.no_grad():
        net[0].bias += 1
    assert list(diff(net.state_dict(), tmp_path / "net.h5").changed) == ["0.bias"]
    with pytest.raises(ma.UnsupportedDataError, match="weight: a sparse tensor"):
        diff(tmp_path / "net.h5", {"0.weight": torch.eye(3).to_sparse()})
