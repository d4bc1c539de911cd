"""The old file or the new one, whole, whichever call of whichever operation is the last or is refused."""

from __future__ import annotations

import errno
import mmap
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import maintenance
from modelarchive.models import transplant_file
from modelarchive.store import replace
from tests import memory
from tests.faults.__main__ import BEGIN, DOCUMENT, END, report
from tests.faults.contention import contend
from tests.faults.injection import QUICK, interrupt, is_possible, lost, summary, unordered
from tests.faults.operations import NEW, OPERATIONS, TARGET, X, network
from tests.faults.runner import kind_of
from tests.structures import assert_same

Interrupted = tuple[dict[str, list[str]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def interrupted() -> Iterator[Interrupted]:
    if not is_possible():
        pytest.skip("needs a C compiler, and Linux")
    with tempfile.TemporaryDirectory(dir=memory.folder()) as folder:
        yield interrupt(Path(folder), list(OPERATIONS), QUICK, in_turn=True)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_interrupted_at_every_call(interrupted: Interrupted, operation: str) -> None:
    calls, records = interrupted
    own = [record for record in records if record["operation"] == operation]
    # At every call, and at each kind of call in every way.
    kinds = list(map(kind_of, calls[operation]))
    assert [record["number"] for record in own] == sorted(record["number"] for record in own)
    assert {record["number"] for record in own} == set(range(len(kinds)))
    tried = {(kinds[record["number"]], record["action"]) for record in own}
    assert tried == {(kind, action) for kind in kinds for action, _ in QUICK}
    assert len(own) >= 20
    assert [(lost(record), record) for record in own if lost(record)] == []
    # The test would see nothing if nothing were interrupted.
    assert {record["state"] for record in own} == {"old", "new"}
    killed, refused = ([each["ended"] for each in own if each["action"].startswith(way)] for way in ("kill", "refuse"))
    assert all(ended.startswith("killed") for ended in killed)
    assert refused.count("refused") > len(refused) / 2


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_power_cut_finds_everything_on_the_disk(interrupted: Interrupted, operation: str) -> None:
    assert unordered(interrupted[0][operation]) is None


def test_an_order_that_a_power_cut_would_show() -> None:
    good = ["create t", "write t", "fsync t", "rename x", "fsync ."]
    assert unordered(good) is None
    assert unordered([*good, "write x"]) == "written to after the rename"
    assert unordered(["fsync t", "write t", "rename x", "fsync ."]) == "renamed before everything was synced"
    assert unordered(good[:-1]) == "the folder is not synced after the rename"


@pytest.mark.slow
def test_what_counts_as_lost(interrupted: Interrupted) -> None:
    good = {"state": "new", "ended": "done", "after": "clean"}
    assert lost(good) is None
    assert lost(good | {"state": "neither"}) == "neither the old file nor the new one"
    assert "the old file is there" in str(lost(good | {"state": "old"}))
    assert "something else" in str(lost(good | {"ended": "wrong: KeyError()"}))
    assert "stays behind" in str(lost(good | {"after": "strays"}))
    assert lost({"state": "old", "ended": "killed 9", "after": "clean"}) is None


@pytest.mark.slow
def test_writers_that_are_killed_and_a_reader(tmp_path: Path) -> None:
    counts = contend(tmp_path, seconds=0, kills=3, kills_a_second=8)
    assert counts["kills"] == 3
    assert counts["versions"] > 1
    assert counts["wrong"] == counts["strays"] == 0


@pytest.mark.slow
def test_the_figures_stand_in_the_document(interrupted: Interrupted, tmp_path: Path) -> None:
    calls, records = interrupted
    counts = contend(tmp_path, seconds=0)
    written = DOCUMENT.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    shape = [line.split("|")[1].strip() for line in report(calls, records, counts, 0).splitlines() if "|" in line]
    assert [line.split("|")[1].strip() for line in written.splitlines() if "|" in line] == shape
    assert [row[0] for row in summary(records)] == list(OPERATIONS)
    for line in written.splitlines():
        if line.startswith("| ") and line.split("|")[1].strip() in OPERATIONS:
            assert line.rstrip("| ").endswith(" 0"), "the document tells of something lost"


@pytest.mark.slow
def test_a_file_system_that_cannot_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other, out = tmp_path / TARGET, tmp_path / "other.h5", tmp_path / "out.h5"
    ma.save(path, NEW)
    ma.save_model(other, network(1), inputs=X)
    expected = network(1)(X)

    def refuse(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(mmap, "mmap", refuse)
    for found in (ma.load(path), ma.load(path, mmap=True), ma.load(path, verify=True)):
        assert_same(NEW, found)
    views = ma.load(path, mmap=True)
    views["a"][:] = 0
    assert_same(NEW, ma.load(path))
    with ma.open(other) as archive:
        archive.verify()
        np.testing.assert_array_equal(archive.build()(X), expected)
    maintenance.repack(path)
    maintenance.extract(other, "features", out)
    transplant_file(out, other, other, rename={"*": "features.*"})
    maintenance.reindex(other)
    for verify in (False, True):
        np.testing.assert_array_equal(ma.load_model(other, verify=verify)(X), expected)
    ma.save(path, NEW, compression="deflate")
    for options in ({}, {"mmap": True}, {"verify": True}):
        assert_same(NEW, ma.load(path, **options))


@pytest.mark.parametrize("number", [errno.EPERM, errno.EEXIST, errno.EACCES, errno.EBUSY, errno.EXDEV])
def test_a_file_system_that_renames_over_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / TARGET
    ma.save(path, {"old": 1})
    written = path.read_bytes()
    original = Path.replace

    def rename(self: Path, target: Path) -> Path:
        if target.exists():
            raise OSError(number, "refused", str(self), None, str(target))
        return original(self, target)

    monkeypatch.setattr(Path, "replace", rename)
    with pytest.raises(OSError, match="nothing was changed") as caught:
        ma.save(path, NEW)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == written
    assert list(tmp_path.iterdir()) == [path]
    ma.save(tmp_path / "new.h5", NEW)
    assert_same(NEW, ma.load(tmp_path / "new.h5", verify=True))


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file that another one is mounted on, as containers are given single files: no rename goes over it."""
    path, behind = tmp_path / TARGET, tmp_path / "behind.h5"
    for each in (path, behind):
        ma.save(each, {"old": 1})
    if subprocess.run(["mount", "--bind", behind, path], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here; a refusal that is made up stands for it")
    yield path
    subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)  # unless the test has come so far


@pytest.mark.parametrize("act", [lambda path: ma.save(path, NEW), maintenance.repack, maintenance.reindex])
def test_a_file_that_is_mounted(mounted: Path, act: Callable[[Path], object]) -> None:
    written, beside = mounted.read_bytes(), sorted(mounted.parent.iterdir())
    with pytest.raises(OSError, match="nothing was changed") as caught:
        act(mounted)
    assert (caught.value.errno, caught.value.filename) == (errno.EBUSY, str(mounted))
    assert mounted.read_bytes() == written
    assert sorted(mounted.parent.iterdir()) == beside
    # Lazily: the process that read it for this one may end a moment later.
    subprocess.run(["umount", "--lazy", mounted], check=True)
    ma.save(mounted, NEW)
    assert_same(NEW, ma.load(mounted, verify=True))
    assert sorted(mounted.parent.iterdir()) == beside


def test_a_folder_that_fails_to_sync_says_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(replace, "sync_folder", refuse)
    with pytest.raises(OSError, match="the new file is there") as caught:
        ma.save(tmp_path / TARGET, NEW)
    assert caught.value.filename == str(tmp_path / TARGET)
    assert_same(NEW, ma.load(tmp_path / TARGET, verify=True))
