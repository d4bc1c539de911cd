"""A file that is one of several is told to be: the index that is named gives all of them."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import models
from modelarchive.exchange import safetensors
from tests.hostile.readers import checkpoints


def told(path: Path) -> list[str]:
    return [note.what for note in models.read(path).notes if note.where == "(shards)"]


def test_the_index_that_is_named_gives_all_of_them(tmp_path: Path) -> None:
    arrays = {name: np.full(300, value, "f4") for value, name in enumerate("abc")}
    safetensors.write(arrays, tmp_path / "m.safetensors", max_shard_bytes=1300)
    (note,) = told(tmp_path / "m-00002-of-00003.safetensors")
    assert note.startswith("is one of 3 by its name")
    index = tmp_path / note.partition("; ")[2].split(" ")[0]
    assert set(ma.load(index)) == set(arrays)
    assert told(index) == []
    with pytest.warns(UserWarning, match="one of 3"):
        assert list(ma.load(tmp_path / "m-00001-of-00003.safetensors")) == ["a"]


def test_of_torch_files_too(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model-00001-of-00002.bin"
    path.write_bytes(checkpoints.zipped(*checkpoints.state_dict()))
    (note,) = told(path)
    assert "pytorch_model.bin.index.json has all of them" in note


def test_a_set_of_one_is_whole(tmp_path: Path) -> None:
    safetensors.write({"a": np.ones(3)}, tmp_path / "m-00001-of-00001.safetensors")
    shutil.copy(tmp_path / "m-00001-of-00001.safetensors", tmp_path / "m-1-of-2.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("m-00001-of-00001.safetensors", "m-1-of-2.safetensors"):
            assert list(ma.load(tmp_path / name)) == ["a"]
