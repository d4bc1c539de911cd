"""HDF5 is read in another process: the same answers as here, and errors for whatever happens to that process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive.store.contents import Contents, Entry
from modelarchive.store.guarded import boundary, crossing, starting
from modelarchive.store.guarded.messages import LENGTH, framed
from modelarchive.store.source import Source
from tests.structures import assert_same, everything, stale_load, without_index


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save(path, everything(), durable=False)
    return without_index(path)


def test_the_other_process_reads_with_this_package() -> None:
    """And not with one that its Python happens to find."""
    assert Path(ma.__file__).resolve().parent == starting._FOLDER


@pytest.fixture
def source(path: Path) -> Iterator[Source]:
    source = Source(path)
    yield source
    source.close()


def test_the_same_answers_as_here(path: Path, source: Source) -> None:
    there = boundary.read_contents(source)
    with ma.trusted():
        here = boundary.read_contents(source)
    assert there == here
    assert_same(everything(), stale_load(path))


def test_arrays_that_only_hdf5_can_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    data = {"f": np.arange(600, dtype="f4").reshape(20, 30), "i": np.arange(7, dtype=">i8"), "w": ["a", "bü", ""]}
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "modelarchive", 1
        file.create_dataset("arrays/f", data=data["f"], chunks=(7, 30), fletcher32=True)
        file["arrays/i"], file["arrays/w"] = data["i"], data["w"]
    found = stale_load(path)
    np.testing.assert_array_equal(found["f"], data["f"])
    np.testing.assert_array_equal(found["i"], data["i"])
    assert found["w"].tolist() == data["w"]


@pytest.mark.slow
def test_this_process_does_not_load_hdf5(path: Path) -> None:
    code = (
        "import sys, warnings, modelarchive as ma; warnings.simplefilter('ignore')\n"
        f"ma.load({str(path)!r}); print('h5py' in sys.modules)\n"
        f"with ma.trusted(): ma.load({str(path)!r}); print('h5py' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["False", "True"], done.stderr
    code = code.replace("import sys", "import os; os.environ['MODELARCHIVE_TRUSTED'] = '1'\nimport sys", 1)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_trust_ends_and_is_of_one_thread() -> None:
    from modelarchive.store.guarded.trust import is_trusted

    with ma.trusted():
        assert is_trusted()
        with ThreadPoolExecutor(1) as pool:
            assert not pool.submit(is_trusted).result()
    assert not is_trusted()


@pytest.mark.slow
def test_it_starts_again_when_it_was_ended(source: Source) -> None:
    expected = boundary.read_contents(source)
    assert starting._server is not None
    starting._server.process.kill()
    starting._server.process.wait()
    assert boundary.read_contents(source) == expected
    starting.stop()
    starting.stop()
    assert boundary.read_contents(source) == expected


@pytest.mark.slow
def test_several_threads_at_once(source: Source) -> None:
    expected = boundary.read_contents(source)
    with ThreadPoolExecutor(6) as pool:
        assert all(found == expected for found in pool.map(lambda _: boundary.read_contents(source), range(12)))


@pytest.mark.slow
def test_a_forked_process_starts_its_own(source: Source) -> None:
    expected = boundary.read_contents(source)
    server = starting._server
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert starting._server is None
            assert boundary.read_contents(source) == expected
            starting.stop()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert boundary.read_contents(source) == expected
    assert starting._server is server


@pytest.mark.slow
def test_it_ends_with_the_process_that_started_it(path: Path) -> None:
    code = (
        "import warnings, modelarchive as ma; warnings.simplefilter('ignore')\n"
        "from modelarchive.store.guarded import starting\n"
        f"ma.load({str(path)!r}); print(starting._server.process.pid, flush=True); input()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        os.kill(server, 0)
        process.kill()
    for _ in range(1200):
        try:
            os.kill(server, 0)
            # Ended, and not collected yet where nobody collects the processes of others.
            if Path(f"/proc/{server}/stat").read_text("ascii").split()[2] == "Z":
                return
        except OSError:
            return
        time.sleep(0.05)
    pytest.fail("the process is still there")


@pytest.mark.slow
def test_secrets_of_the_environment_stay_here(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    starting.stop()
    monkeypatch.setenv("MY_SECRET_TOKEN", "hunter2")
    boundary.read_contents(source)
    assert starting._server is not None
    environment = Path(f"/proc/{starting._server.process.pid}/environ")
    if environment.exists():
        assert b"hunter2" not in environment.read_bytes()


@contextmanager
def answering(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[socket.socket], None], *, patience: float = 60
) -> Iterator[None]:
    """In place of the other process, a thread that answers as it likes: a process that was taken over, say."""

    @contextmanager
    def job(descriptor: int, *, seconds: float) -> Iterator[socket.socket]:
        ours, theirs = socket.socketpair()
        ours.settimeout(patience)

        def run() -> None:
            with theirs:
                theirs.recv(1 << 16)
                answer(theirs)

        thread = threading.Thread(target=run)
        thread.start()
        with ours:
            yield ours
        thread.join()

    with monkeypatch.context() as patch:
        patch.setattr(starting, "job", job)
        yield


def said(head: Any, *blobs: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(framed(json.dumps(head).encode()) + b"".join(blobs))


NONSENSE: dict[str, Callable[[socket.socket], None]] = {
    "no JSON": lambda connection: connection.sendall(framed(b"\xff{")),
    "no object": said([1]),
    "nothing": said({}),
    "too long": lambda connection: connection.sendall(LENGTH.pack(1 << 40)),
    "no contents": said({"value": "{}", "blobs": []}),
    "another type": said({"value": '{"section": 5}', "blobs": []}),
    "deep": said({"value": "[" * 100_000, "blobs": []}),
    "no text": said({"value": 7, "blobs": []}),
    "blobs of no size": said({"value": "{}", "blobs": ["x"]}),
    "blobs below zero": said({"value": "{}", "blobs": [-1]}),
    "an error of no such class": said({"error": "SystemExit", "message": "x"}),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused(name: str, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(monkeypatch, NONSENSE[name]), pytest.raises(ma.UnsafeFileError) as caught:
        boundary.read_contents(source)
    assert caught.value.rule in ("plain data", "crash")
    assert caught.value.file == str(source.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry._replace(offset=1 << 40),
        lambda entry: entry._replace(offset=-1),
        lambda entry: entry._replace(nbytes=entry.nbytes + 1),
        lambda entry: entry._replace(shape=(-1, -1)),
        lambda entry: entry._replace(dtype="object"),
        lambda entry: entry._replace(shape=(1,) * 40),
    ],
)
def test_contents_that_cannot_be(
    change: Callable[[Entry], Entry], source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What crosses is plain data, and still held against the file."""
    contents = boundary.read_contents(source)
    name = next(iter(contents.arrays))
    contents.arrays[name] = change(contents.arrays[name])
    text, _ = crossing.encode(contents)
    with (
        answering(monkeypatch, said({"value": text, "blobs": []})),
        pytest.raises(ma.UnsafeFileError, match="nonsense") as caught,
    ):
        boundary.read_contents(source)
    assert caught.value.rule == "plain data"


@pytest.mark.parametrize(
    ("ended", "rule"),
    [(-signal.SIGSEGV, "crash"), (-signal.SIGXCPU, "time"), ("late", "time"), ("memory", "memory"), (1, "crash")],
)
def test_how_the_other_process_ended(ended: Any, rule: str, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(monkeypatch, said({"ended": ended})), pytest.raises(ma.UnsafeFileError) as caught:
        boundary.read_contents(source)
    assert caught.value.rule == rule
    assert "docs/security.md" in str(caught.value)


#: The other process, with a parser that does what libhdf5 does on some files.
BROKEN = """
import ctypes, sys
from modelarchive.store.guarded import guard, worker

def forever():
    while True:
        pass

does = {"crash": lambda: ctypes.string_at(0), "time": forever, "memory": lambda: bytearray(1 << 40)}[sys.argv[1]]
honest = guard.rehearse
guard.rehearse = lambda: (honest(), setattr(guard, "read_contents", lambda window, **options: does()))
worker.main(int(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["crash", "time", "memory"])
def test_a_parser_that_fails_for_real(rule: str, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = boundary.read_contents(source)
    starting.stop()
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-c", BROKEN, rule, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    monkeypatch.setattr(starting, "_server", starting._Server(process, ours))
    assert ours.recv(1) == starting.IS_READY
    # The processor's time is to end it, however long that takes by the clock.
    monkeypatch.setattr(boundary, "SECONDS", 1)
    monkeypatch.setattr(boundary, "CLOCK_TIMES", 1000)
    for _ in range(2):
        with pytest.raises(ma.UnsafeFileError) as caught:
            boundary.read_contents(source)
        assert caught.value.rule == rule
    assert process.poll() is None, "only the process of the one file ends"
    starting.stop()
    monkeypatch.undo()
    assert boundary.read_contents(source) == expected


def test_silence(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(connection: socket.socket) -> None:
        connection.recv(1)  # until this side gives up

    with answering(monkeypatch, silent, patience=0.2), pytest.raises(ma.UnsafeFileError) as caught:
        boundary.read_contents(source)
    assert caught.value.rule == "time"
    with answering(monkeypatch, lambda connection: None), pytest.raises(ma.UnsafeFileError) as caught:
        boundary.read_contents(source)
    assert caught.value.rule == "crash"


def test_a_process_that_cannot_be_started(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starting.stop()
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(OSError, match=r"with modelarchive\.trusted"):
        ma.load(path)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(OSError, match="cannot be started"):
        ma.load(path)
    with ma.trusted(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(everything(), ma.load(path))


@pytest.mark.slow
def test_a_part_of_a_file_and_of_memory(path: Path, tmp_path: Path) -> None:
    """As HDF5 files lie in zip files: at some place of another file, or packed."""
    data = path.read_bytes()
    outer = tmp_path / "outer.zip"
    outer.write_bytes(b"before" * 100 + data + b"after")
    with outer.open("rb") as file:
        part = boundary.Part(file.fileno(), 600, len(data), "outer.zip")
        found: Contents = boundary.call(Contents, "read_contents", part)
    with boundary.in_memory(data, "packed") as packed:
        assert boundary.call(Contents, "read_contents", packed) == found
        with ma.trusted():
            assert boundary.call(Contents, "read_contents", packed) == found
    with boundary.in_memory(b"no HDF5" * 100, "packed") as packed, pytest.raises(ma.FormatError) as caught:
        boundary.call(Contents, "read_contents", packed)
    assert caught.value.file == "packed"


def test_values_cross_as_they_are() -> None:
    value = {"a": Entry("float32", (2, 3), None, 24, None), "b": Entry("int8", (), 5, 1, "d")}
    text, blobs = crossing.encode(value)
    assert crossing.decode(dict[str, Entry], text, iter(blobs)) == value
    raw = [b"", b"x\0y", b"\xff" * 5]
    text, blobs = crossing.encode(raw)
    assert crossing.decode(list[bytes], text, iter(blobs)) == raw
    array = np.arange(6, dtype="c8").reshape(2, 3)
    text, blobs = crossing.encode(array)
    np.testing.assert_array_equal(crossing.decode(np.ndarray, text, iter(blobs)), array)
    with pytest.raises(TypeError, match="does not cross"):
        crossing.encode({"f": print})
    with pytest.raises(crossing.NotPlainError, match="does not cross"):
        crossing.decode(set[int], "[]", iter(()))
    for bad in ("[1]", '{"a": ["float32", [2], null, 24]}', '{"a": ["f", [true], null, 1, null]}', "nope"):
        with pytest.raises(crossing.NotPlainError):
            crossing.decode(dict[str, Entry], bad, iter(()))
