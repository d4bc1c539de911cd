"""Folders of shards: pieces joined, gaps and overlaps refused, rows read alone."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import modelarchive as ma
from modelarchive.archive.sharding import write_shard
from modelarchive.archive.training import training_of
from modelarchive.errors import FormatError, IntegrityError, UnsafeFileError
from modelarchive.store.contents import Piece
from modelarchive.store.sharded import ShardedReader
from modelarchive.store.shards import INDEX, read_index, write_index
from tests.hostile.index_attacks import forge, signed

WHOLE = np.arange(10 * 6, dtype="f4").reshape(10, 6)


def folder_of(folder: Path, boxes: Sequence[tuple[slice, slice]], *, name: str = "w", whole: Any = WHOLE) -> Path:
    """A folder in which each shard has one piece."""
    folder.mkdir()
    files = {}
    for at, box in enumerate(boxes):
        part = np.ascontiguousarray(whole[box])
        starts = [each.indices(size)[0] for each, size in zip(box, whole.shape, strict=True)]
        piece = Piece(tuple(starts), whole.shape)
        file = f"model-{at:05d}.safetensors"
        training = training_of({"rank": at}) if at == 0 else training_of({})
        files[file] = write_shard(
            folder / file, {name: part}, training, {name}, with_texts=at == 0, pieces={name: piece}, durable=False
        )
    write_index(folder, files, [name], durable=False)
    return folder


ROWS = [(slice(0, 3), slice(None)), (slice(3, 9), slice(None)), (slice(9, 10), slice(None))]
GRID = [(rows, columns) for rows in (slice(0, 4), slice(4, 10)) for columns in (slice(0, 1), slice(1, 6))]
UNEVEN = [*ROWS, (slice(10, 10), slice(None))]


@pytest.mark.parametrize("boxes", [ROWS, GRID, UNEVEN, [(slice(None), slice(0, 2)), (slice(None), slice(2, 6))]])
@pytest.mark.parametrize("dtype", ["f4", "c8", "i1"])
def test_pieces_are_joined(tmp_path: Path, boxes: Any, dtype: str) -> None:
    whole = WHOLE.astype(dtype)
    with ma.open(folder_of(tmp_path / "x", boxes, whole=whole)) as archive:
        archive.verify()
        assert np.array_equal(archive["w"], whole)
        assert archive["w"].dtype == whole.dtype
        for start, stop in ((0, 10), (2, 5), (9, 10), (4, 4), (8, 99)):
            assert np.array_equal(archive.rows("w", start, stop), whole[start:stop])
        assert archive.training == {"rank": 0}
        assert np.array_equal(archive.load(verify=True)["w"], whole)
    ma.convert(tmp_path / "x", tmp_path / "one.h5")
    assert np.array_equal(ma.load(tmp_path / "one.h5")["w"], whole)


@pytest.mark.parametrize(
    "boxes", [ROWS[:2], [*ROWS, ROWS[0]], [ROWS[0], (slice(2, 9), slice(None)), ROWS[2]], GRID[:3], [*GRID, GRID[0]]]
)
def test_gaps_and_overlaps_are_refused(tmp_path: Path, boxes: Any) -> None:
    with pytest.raises(FormatError, match=r"the pieces of 'w' do not cover its shape \(10, 6\) exactly once"):
        ma.open(folder_of(tmp_path / "x", boxes))


def test_pieces_of_several_dtypes_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "x", ROWS)
    other = folder_of(tmp_path / "y", ROWS, whole=WHOLE.astype("f8"))
    (folder / "model-00001.safetensors").write_bytes((other / "model-00001.safetensors").read_bytes())
    about = json.loads((folder / INDEX).read_text())
    shards = about["metadata"]["modelarchive"]["shards"]
    shards["model-00001.safetensors"] = json.loads((other / INDEX).read_text())["metadata"]["modelarchive"]["shards"][
        "model-00001.safetensors"
    ]
    (folder / INDEX).write_bytes(signed(json.dumps(about).encode()))
    with pytest.raises(FormatError, match="several shapes or dtypes"):
        ma.open(folder)


def test_what_pytorch_reads_of_pieces(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "x", ROWS)
    with safe_open(folder / "model-00001.safetensors", "np") as file:
        offsets = json.loads(file.metadata()["DCP_SHARDING_INFO"])
        assert set(offsets) == set(file.keys())
    assert offsets["w"] == {"saved_offsets": [3, 0]}


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        ({"offsets": [0], "shape": [10, 6]}, "not one offset for each axis"),
        ({"offsets": [0, 1], "shape": [10, 6]}, "lies outside"),
        ({"offsets": [-1, 0], "shape": [10, 6]}, "lies outside"),
        ({"offsets": [0, 0], "shape": [2**62, 6]}, "no memory can hold"),
        ({"shape": [10, 6]}, "is no array with offsets"),
        ({"offsets": [True, 0], "shape": [10, 6]}, "lies outside"),
    ],
)
def test_impossible_pieces_are_refused(tmp_path: Path, piece: Any, message: str) -> None:
    folder = folder_of(tmp_path / "x", ROWS)
    path = folder / "model-00001.safetensors"
    forge(path, lambda header, own: own.__setitem__("pieces", {"w": piece}))
    with pytest.raises(FormatError, match=message):
        ma.open(path)


def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "x", ROWS)
    about = json.loads((folder / INDEX).read_text())
    for name in ("../x/model-00000.safetensors", "/etc/passwd", "..", "", "a\0", "\ud800", "\udc80", "a" * 256):
        about["metadata"]["modelarchive"]["shards"] = {name: "0" * 64}
        (folder / INDEX).write_text(json.dumps(about))
        with pytest.raises(UnsafeFileError, match="own folder"):
            ma.open(folder)
    for shards in ({}, [], {"a": 1}, None):
        about["metadata"]["modelarchive"]["shards"] = shards
        (folder / INDEX).write_text(json.dumps(about))
        with pytest.raises(FormatError, match="is no index of an archive's shards"):
            ma.open(folder)
    (folder / INDEX).write_text('{"modelarchive": ')
    with pytest.raises(FormatError):
        ma.open(folder)


@pytest.mark.parametrize("digest", ["\ud800", "é", 1, None])
def test_a_digest_that_is_none(tmp_path: Path, digest: Any) -> None:
    folder = folder_of(tmp_path / "x", ROWS)
    about = json.loads((folder / INDEX).read_text())
    about["metadata"]["modelarchive"]["digest"] = digest
    (folder / INDEX).write_text(json.dumps(about))
    with pytest.raises(FormatError, match="digest is no string"):
        ma.open(folder)


def test_an_order_of_what_are_no_names(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "x", ROWS, name="1")
    about = json.loads((folder / INDEX).read_text())
    about["metadata"]["modelarchive"]["order"] = [1]
    (folder / INDEX).write_bytes(signed(json.dumps(about).encode()))
    with ma.open(folder) as archive:
        assert list(archive) == ["1"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Opening one for reading waits until somebody writes."""
    folder = folder_of(tmp_path / "x", ROWS)
    for name in ("model-00001.safetensors", INDEX):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(FormatError):
            ma.open(folder)
        with pytest.raises(FormatError, match="no regular file"):
            read_index(folder) if name == INDEX else ShardedReader(folder)


def test_a_name_of_two_arrays_is_refused(tmp_path: Path) -> None:
    """Each shard says that `c` is another name of its own array: a model has it once."""
    folder = tmp_path / "x"
    folder.mkdir()
    files = {}
    for at, name in enumerate("ab"):
        array, file = np.full(3, at, "f4"), f"model-{at}.safetensors"
        parameters = {name: array, "c": array}
        files[file] = write_shard(folder / file, parameters, training_of({}), {name}, with_texts=not at, durable=False)
    write_index(folder, files, ["a", "b", "c"], durable=False)
    with pytest.raises(FormatError, match="'c' is another name of two arrays"):
        ma.open(folder)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"names": {"a"}, "with_texts": True}, {"names": {"b"}, "with_texts": True}, r"the text '.*' is in two shards"),
        ({"training": {"x": [1]}}, {"training": {"x": {"y": 1}}}, "'x' is a list in one shard and a dict in another"),
        ({"names": {"a"}, "same": ("a", "b")}, {"names": {"b"}}, "'b' is an array of its own and another name"),
    ],
)
def test_shards_that_say_two_things_are_refused(tmp_path: Path, one: Any, other: Any, message: str) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    files = {}
    for at, how in enumerate((one, other)):
        arrays = {"a": np.zeros(3), "b": np.ones(3)}
        if "same" in how:
            arrays["b"] = arrays["a"]
        training = training_of(how.get("training", {"text": "words"}))
        file, names = f"model-{at:05d}.safetensors", how.get("names", {"ab"[at]})
        with_texts = how.get("with_texts", "training" in how)
        files[file] = write_shard(folder / file, arrays, training, names, with_texts=with_texts, durable=False)
    write_index(folder, files, ["a", "b"], durable=False)
    with pytest.raises(FormatError, match=message):
        ma.open(folder)


def test_shards_of_several_sorts_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "x", ROWS[:1])
    ma.save(folder / "other.safetensors", {"a": np.zeros(3)}, durable=False)
    with ma.open(folder / "other.safetensors") as archive:
        digest = archive.reader.contents.index_digest
    about = json.loads((folder / INDEX).read_text())
    about["metadata"]["modelarchive"]["shards"]["other.safetensors"] = digest
    (folder / INDEX).write_bytes(signed(json.dumps(about).encode()))
    with pytest.raises(FormatError, match=r"'other\.safetensors' holds arrays, others parameters"):
        ma.open(folder)


def test_damage_is_named_with_its_shard(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "x", ROWS)
    path = folder / "model-00001.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)
    with ma.open(folder) as archive:
        with pytest.raises(IntegrityError, match=r"model-00001.safetensors: w"):
            archive.verify()
        with pytest.raises(IntegrityError, match=r"  w: expected"):
            archive.load(verify=True)


def test_one_shard_is_not_taken_for_the_model(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "x", ROWS)
    with pytest.raises(FormatError, match="is one shard of a model: its arrays, as 'w', are pieces of larger ones"):
        ma.convert(folder / "model-00001.safetensors", tmp_path / "y.h5")
