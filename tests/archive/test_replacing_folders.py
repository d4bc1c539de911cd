"""A folder of shards takes the place of an old one as a whole, and of nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.archive import folders
from modelarchive.store import shards, writer
from tests import memory
from tests.archive.folder_faulting import ACTS, interrupt
from tests.archive.test_folders import DATA, X, folder, network
from tests.faults.injection import QUICK, is_possible
from tests.faults.runner import kind_of

__all__ = ["folder"]  # the fixture


def test_an_old_folder_stays_until_the_new_one_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    calls = 0
    original = {name: getattr(module, name) for module, name in _STEPS}

    def failing_at(number: int) -> None:
        for module, name in _STEPS:

            def step(*args: Any, name: str = name, **options: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == number:
                    raise OSError(28, "No space left on device")
                return original[name](*args, **options)

            monkeypatch.setattr(module, name, step)

    number = 0
    while True:
        number, calls = number + 1, 0
        failing_at(number)
        try:
            ma.save_model(folder, network(1), inputs=X, max_shard_size="300B", durable=False)
        except OSError as error:
            assert str(folder) in str(error)  # noqa: PT017
        else:
            break
        assert {each.name: each.read_bytes() for each in folder.iterdir()} == before
        assert [each.name for each in folder.parent.iterdir()] == ["m"]
    assert number > len(before)
    np.testing.assert_array_equal(ma.load_model(folder, verify=True)(X), network(1)(X))
    assert [each.name for each in folder.parent.iterdir()] == ["m"]


_STEPS: Any = [(writer, "write"), (folders, "write_index"), (shards, "put_in_place")]


def test_what_killed_saves_have_left_goes(folder: Path) -> None:
    left = folder.with_name(".m.0123456789ab.partial")
    left.mkdir()
    (left / "model.h5").write_bytes(b"x")
    of_another = folder.with_name(".mine.0123.partial")
    of_another.mkdir()
    ma.save(folder, [1], durable=False)
    assert sorted(each.name for each in folder.parent.iterdir()) == [".mine.0123.partial", "m"]


def test_what_is_no_archive_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for path in (folder, tmp_path / "other"):
        with pytest.raises(FileExistsError, match=r"no shards of an archive, 'notes.txt' say; nothing was changed"):
            ma.save(path, DATA, max_shard_size=100, durable=False)
        assert (path / "notes.txt").read_text() == "mine"
    with pytest.raises(NotADirectoryError, match="is a file, expected a folder"):
        ma.save(tmp_path / "file", DATA, max_shard_size=100, durable=False)
    with pytest.raises(FileNotFoundError, match="the folder to save in does not exist"):
        ma.save(tmp_path / "no" / "x", DATA, max_shard_size=100, durable=False)
    (tmp_path / "empty").mkdir()
    ma.save(tmp_path / "empty", DATA, max_shard_size=100, durable=False)
    (tmp_path / "link").symlink_to("empty")
    ma.save(tmp_path / "link", [3], max_shard_size=100, durable=False)
    assert (tmp_path / "link").is_symlink()
    assert ma.load(tmp_path / "empty") == [3]


@pytest.mark.slow
def test_interrupted_at_every_call() -> None:
    if not is_possible():
        pytest.skip("needs a C compiler, and Linux")
    with tempfile.TemporaryDirectory(dir=memory.folder()) as where:
        records = interrupt(Path(where), QUICK)
    for act in ACTS:
        own = [record for record in records if record["act"] == act]
        assert len(own) >= (90 if act == "save" else 5 * len(QUICK))
        tried = {(kind_of(record["call"]), record["action"]) for record in own}
        assert tried == {(kind, action) for kind, _ in tried for action, _ in QUICK}
        # The test would see nothing if nothing were interrupted.
        assert {record["ended"] for record in own} >= {"killed 9", "refused"}
        assert {record["state"] for record in own} >= {1, 2}
    wrong = [
        record
        for record in records
        # Where two folders cannot change places in one step, there is a moment with none, which the next save mends.
        if (record["state"] is None and (record["act"] == "save" or record["action"] == "refuse"))
        or (record["ended"] == "done" and record["state"] != 2)
        or record["ended"].startswith("wrong")
        or record["after"] != 3
        or record["strays"]
    ]
    assert wrong == []
