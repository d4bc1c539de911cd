"""The old file or the new one, whole: through kills at every step, full disks and other writers."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import maintenance
from modelarchive.store import replace
from tests.conftest import ROOT
from tests.faults.contention import WRITER
from tests.structures import assert_same

OLD = {"a": np.arange(100), "old": "yes"}
#: Of more than one piece and one small array, so that every kind of write happens.
NEW = {"a": np.arange(400_000, dtype="f8"), "b": np.arange(3), "t": "text"}

#: Wraps every step of a save, and lets one process after another end at the n-th, as kill -9 would end it.
KILLER = """
import os, sys, threading
from pathlib import Path
import modelarchive as ma, numpy as np
from modelarchive.store import fill, replace, writer

lock, steps, last = threading.Lock(), iter(range(10**6)), -1
def step():
    with lock:
        number = next(steps)
    if number == last:
        os._exit(9)
def wrap(owner, name):
    original = getattr(owner, name)
    def wrapped(*args, **options):
        step()
        result = original(*args, **options)
        step()
        return result
    setattr(owner, name, wrapped)
for owner, name in [(os, 'fsync'), (Path, 'replace'), (Path, 'chmod'), (fill, 'write_all'), (writer, '_reserve'),
                    (writer, '_write_texts'), (writer, '_write_head'), (replace, '_locked'),
                    (replace, '_remove_abandoned'), (replace, 'sync_folder')]:
    wrap(owner, name)
new = {'a': np.arange(4_000, dtype='f8'), 'b': np.arange(3), 't': 'text'}
fill.PIECE = writer._WORTH_RESERVING = 1 << 14  # still more than one piece
folder, old = Path(sys.argv[1]), Path(sys.argv[2])
while True:
    last += 1
    target = folder / str(last) / 'x.h5'
    target.parent.mkdir()
    target.write_bytes(old.read_bytes())
    child = os.fork()
    if not child:
        ma.save(target, new)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        break
    assert status == 9, status
print(last)
"""


def python(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment,
        **options,
    )


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "x.h5")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save(path, OLD, durable=False)
    return path


@pytest.mark.slow
def test_killed_at_every_step(path: Path, tmp_path: Path) -> None:
    new = NEW | {"a": np.arange(4_000, dtype="f8")}
    folder = tmp_path / "killed"
    folder.mkdir()
    done = python(KILLER, folder, path)
    assert done.returncode == 0, done.stderr
    steps = int(done.stdout)
    assert steps > 20
    outcomes = []
    for number in range(steps + 1):
        target = folder / str(number) / "x.h5"
        found = ma.load(target, verify=True)
        outcomes.append("new" if "b" in found else "old")
        assert_same(new if "b" in found else OLD, found)
        strays = left_over(target.parent)
        ma.save(target, new, durable=False)
        assert left_over(target.parent) == [], f"a kill at step {number} left {strays}"
        assert_same(new, ma.load(target, verify=True))
    assert outcomes == sorted(outcomes, reverse=True), "old, then new"
    assert set(outcomes) == {"old", "new"}


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("modelarchive.store.fill", "write_all"),
        ("modelarchive.store.writer", "_reserve"),
        ("modelarchive.store.writer", "_write_texts"),
        ("modelarchive.store.writer", "_write_head"),
        ("os", "fsync"),
        ("os", "open"),
        ("pathlib.Path", "replace"),
    ],
)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_system_refuses_a_step(path: Path, monkeypatch: pytest.MonkeyPatch, owner: str, name: str, number: int) -> None:
    written = path.read_bytes()

    def fail(*args: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    acts = [lambda: ma.save(path, NEW), lambda: maintenance.repack(path)]
    if not owner.startswith("modelarchive"):
        acts.append(lambda: maintenance.reindex(path))
    for act in acts:
        with monkeypatch.context() as patch:
            patch.setattr(f"{owner}.{name}", fail)
            with pytest.raises(OSError, match=os.strerror(number)) as caught:
                act()
        assert caught.value.errno == number
        assert str(path) in str(caught.value)
        assert path.read_bytes() == written
        assert left_over(path.parent) == []


def test_interrupted_by_the_user(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = path.read_bytes()

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ma.save(path, NEW, progress=interrupt)
    assert path.read_bytes() == written
    assert left_over(path.parent) == []


FULL = """
import modelarchive as ma, numpy as np, os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for size in map(int, sys.argv[2:]):
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            ma.save(sys.argv[1], {'a': np.arange(400_000, dtype='f8'), 'b': ['text'] * 5})
        except OSError as error:
            print(error.errno, error, flush=True)
            sys.exit(0)
        sys.exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.slow
def test_file_size_limit(path: Path) -> None:
    """A disk that is full after so many bytes: in HDF5's own writing, in the text, in the data."""
    written = path.read_bytes()
    sizes = (0, 1000, 5000, 10_000, 20_000, 100_000, 3_000_000)
    done = python(FULL, path, *sizes)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(sizes)
    for line in lines:
        assert line.startswith(f"{errno.EFBIG} ")
        assert str(path) in line
        assert "nothing was changed" in line
    assert path.read_bytes() == written
    assert left_over(path.parent) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here; the file size limit stands for it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk(small_disk: Path) -> None:
    path = small_disk / "x.h5"
    ma.save(path, OLD)
    written = path.read_bytes()
    with pytest.raises(OSError, match="No space left") as caught:
        ma.save(path, NEW)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert path.read_bytes() == written
    assert left_over(small_disk) == []


AS_NOBODY = """
import os, sys, modelarchive as ma
ma.save(sys.argv[1] + '.first', 1)  # imports all that saving needs, from where nobody may not read
os.unlink(sys.argv[1] + '.first')
if os.geteuid() == 0:
    os.setuid(65534)  # root may write everywhere
try:
    ma.save(sys.argv[1], 1)
except OSError as error:
    print(type(error).__name__, error.filename, error)
else:
    print('saved')
"""


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "file"), [(0o555, 0o666), (0o777, 0o444)])
def test_what_may_not_be_written(tmp_path: Path, folder: int, file: int) -> None:
    inside = tmp_path / "f"
    inside.mkdir()
    path = inside / "x.h5"
    ma.save(path, OLD)
    written = path.read_bytes()
    path.chmod(file)
    inside.chmod(folder)
    for parent in (tmp_path, *list(tmp_path.parents)[:-1]):
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)
    done = python(AS_NOBODY, path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"PermissionError {path}"), done.stdout
    assert path.read_bytes() == written
    inside.chmod(0o777)
    assert left_over(inside) == []


def test_targets_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="expected a file name"):
        ma.save(tmp_path, 1)
    with pytest.raises(FileNotFoundError, match="folder to save in does not exist"):
        ma.save(tmp_path / "no" / "x.h5", 1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="no regular file"):
        ma.save(pipe, 1)
    assert pipe.is_fifo()
    with pytest.raises(ma.FormatError, match="no regular file"):
        ma.load(pipe)


def test_a_link_stays_a_link_and_a_mode_stays(tmp_path: Path) -> None:
    real, link = tmp_path / "real.h5", tmp_path / "link.h5"
    ma.save(real, OLD)
    real.chmod(0o640)
    link.symlink_to(real)
    ma.save(link, NEW)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert_same(NEW, ma.load(real))


def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        ma.save(tmp_path / "x.h5", 1)
    finally:
        os.umask(old)
    assert (tmp_path / "x.h5").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, " ", "-x", "a\nb", ".hidden"])
def test_file_names(tmp_path: Path, name: str) -> None:
    ma.save(tmp_path / name, OLD)
    assert_same(OLD, ma.load(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.slow
def test_two_writers_and_a_reader(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    enough = tmp_path_factory.mktemp("seen") / "enough"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, n, str(enough)], cwd=ROOT, stderr=subprocess.PIPE) for n in ("1", "2")]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        found = ma.load(path, verify=True)
        if "who" in found:
            assert set(found["a"][::50_000]) == {found["who"]}
            seen.add((found["who"], found["n"]))
        if len(seen) > 3:
            enough.touch()
    for writer in writers:
        assert writer.communicate()[1] == b""
        assert writer.returncode == 0
    assert ma.load(path, verify=True)["n"] >= 25
    assert left_over(path.parent) == []


def test_a_mapped_reader_keeps_what_it_opened(path: Path) -> None:
    ma.save(path, NEW)
    views = ma.load(path, mmap=True)
    with ma.open(path) as archive:
        ma.save(path, OLD)
        np.testing.assert_array_equal(archive.parameters["a"], NEW["a"])
    np.testing.assert_array_equal(views["a"], NEW["a"])
    path.unlink()
    np.testing.assert_array_equal(views["b"], NEW["b"])


def test_a_living_save_is_not_taken_for_abandoned(path: Path) -> None:
    with replace.replacing(path, durable=False) as temporary:
        ma.save(path, NEW, durable=False)
        assert temporary.exists()
        temporary.write_bytes(b"late")
    assert path.read_bytes() == b"late"


def test_a_file_taken_before_its_lock_is_made_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another save may look between a save's creating and locking of its file."""
    original = replace.fcntl.flock
    taken: list[Path] = []

    def flock(descriptor: int, how: int) -> None:
        if not taken:
            taken.extend(path.parent.glob("*.partial") or path.parent.glob(".*.partial"))
            for stray in path.parent.glob(".*.partial"):
                stray.unlink()
                taken.append(stray)
        original(descriptor, how)

    monkeypatch.setattr(replace.fcntl, "flock", flock)
    ma.save(path, NEW)
    assert taken
    assert_same(NEW, ma.load(path, verify=True))
    assert left_over(path.parent) == []


def fail_with(number: int) -> Callable[..., None]:
    def fail(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL])
def test_a_file_system_without_locks_saves(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    stray = path.with_name(f".{path.stem}.0123456789ab.partial")
    stray.write_bytes(b"of a save that may still be alive")
    monkeypatch.setattr(replace.fcntl, "flock", fail_with(number))
    ma.save(path, NEW)
    assert_same(NEW, ma.load(path, verify=True))
    assert stray.exists()


def test_a_lock_that_fails_otherwise_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replace.fcntl, "flock", fail_with(errno.EIO))
    with pytest.raises(OSError, match="nothing was changed"):
        ma.save(path, NEW)


def test_a_folder_that_cannot_be_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.fsync
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            fail_with(errno.EINVAL)()
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    ma.save(path, NEW)
    assert len(calls) == 2
    assert_same(NEW, ma.load(path))


def test_not_durable_syncs_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
    ma.save(path, NEW, durable=False)
    assert_same(NEW, ma.load(path))
