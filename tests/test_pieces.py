"""A file that is one of several is told to be: the next step that is named gives all of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import models
from modelarchive.exchange import safetensors
from tests.conftest import ROOT

FOREIGN = ROOT / "tests" / "data" / "foreign"


def told(path: Path) -> list[str]:
    return [note.what for note in models.read(path).notes if note.where == "(file)"]


def test_the_index_that_is_named_gives_all_of_them(tmp_path: Path) -> None:
    arrays = {name: np.full(300, value, "f4") for value, name in enumerate("abc")}
    safetensors.write(arrays, tmp_path / "m.safetensors", max_shard_bytes=1300)
    (note,) = told(tmp_path / "m-00002-of-00003.safetensors")
    assert note.startswith("is part 2 of 3 of a set")
    index = tmp_path / note.partition(": ")[2].split(" ")[0]
    assert set(ma.load(index)) == set(arrays)
    assert told(index) == []
    with pytest.warns(UserWarning, match="part 1 of 3"):
        assert list(ma.load(tmp_path / "m-00001-of-00003.safetensors")) == ["a"]


def test_a_set_of_one_is_whole(tmp_path: Path) -> None:
    safetensors.write({"a": np.ones(3)}, tmp_path / "m-00001-of-00001.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(ma.load(tmp_path / "m-00001-of-00001.safetensors")) == ["a"]


def test_a_number_of_keras_is_one_where_the_index_lies_beside(tmp_path: Path) -> None:
    source = FOREIGN / "keras" / "more" / "new-shards_00000.weights.h5"
    (note,) = told(source)
    assert "new-shards.weights.json stands for all" in note
    assert told(source.with_name("new-shards.weights.json")) == []
    (tmp_path / "epoch_00000.weights.h5").write_bytes(source.read_bytes())
    assert told(tmp_path / "epoch_00000.weights.h5") == []
