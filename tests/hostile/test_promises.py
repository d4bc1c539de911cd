"""What docs/security.md promises of opening a file, watched by the interpreter's own audit events."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.store.guarded import starting, worker
from modelarchive.store.guarded.starting import IS_READY
from tests.conftest import ROOT
from tests.structures import without_index

X = np.ones((1, 4), "f4")

#: Opens a file in every way, once to import what that needs, and once watched.
PROGRAM = """
import json, os, sys, warnings
import modelarchive as ma
warnings.simplefilter("ignore", ma.StaleIndexWarning)
path = sys.argv[1]

def ways():
    ma.load(path), ma.load(path, mmap=True)
    ma.load_model(path)
    with ma.open(path) as archive:
        list(archive.select("*")), archive.build(), archive.metadata, archive.architecture
    if "verify" in sys.argv:
        ma.load(path, verify=True), ma.load_model(path, verify=True)

ways()
seen = []
sys.addaudithook(lambda event, arguments: seen.append((event, repr(arguments[0]) if arguments else "")))
ways()
events = sorted({event for event in seen if event[0] not in HARMLESS})
print(json.dumps([events, "h5py" in sys.modules, "subprocess" in sys.modules]))
"""
#: Events that reach nothing outside: all others count, files, processes, the network and code among them.
HARMLESS = ("builtins.id", "array.__new__", "mmap.__new__", "fcntl.flock", "object.__getattr__", "sys._getframe")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    net = nn.Sequential(nn.Dense(3), nn.Dense(2))
    net.initialize(seed=0)
    net(X)
    path = tmp_path / "model.h5"
    ma.save_model(path, net, inputs=X, metadata={"license": "MIT"}, tokens={"0.weight": ["a", "b", "c"]})
    return path


def watched(path: Path, *more: str) -> tuple[list[list[str]], bool, bool]:
    program = PROGRAM.replace("HARMLESS", repr(HARMLESS))
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), *more],
        capture_output=True, text=True, check=False, timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events, hdf5, processes = json.loads(done.stdout)
    return events, hdf5, processes


@pytest.mark.slow
def test_no_other_file_is_read_and_nothing_is_run_or_connected(path: Path) -> None:
    events, hdf5, processes = watched(path)
    assert events == [["open", repr(str(path))]]
    assert not hdf5, "an ordinary archive is read without HDF5"
    assert not processes


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["verify"]])
def test_neither_where_hdf5_is_asked(path: Path, more: list[str]) -> None:
    """The other process was started before, and a pair of sockets leads there; how it is confined is tried there."""
    events, hdf5, _ = watched(path if more else without_index(path), *more)
    assert {event for event, _ in events} <= {"open", "socket.__new__", "socket.sendmsg"}
    assert [name for event, name in events if event == "open"] == [repr(str(path))]
    assert not hdf5


@pytest.mark.slow
def test_the_other_process_has_no_file_of_this_one(path: Path) -> None:
    starting.stop()
    with path.open("rb") as file:
        os.set_inheritable(file.fileno(), True)
        with starting.job(file.fileno(), seconds=300) as connection:
            connection.shutdown(socket.SHUT_WR)
            # The other end closes when the job is over, and all that belonged to it closed before.
            while connection.recv(1000):
                pass
        assert starting._server is not None
        folder = Path(f"/proc/{starting._server.process.pid}/fd")
        if not folder.exists():
            pytest.skip("the system does not say what a process has open")
        opened = {str(each.readlink()) for each in folder.iterdir()}
    assert {name.partition(":")[0] for name in opened} == {"/dev/null", "socket", "pipe"}


@pytest.mark.slow
def test_the_other_process_ends_when_it_has_nothing_to_do() -> None:
    ours, theirs = socket.socketpair()
    code = f"from modelarchive.store.guarded import worker; worker.IDLE = 0.1; worker.main({theirs.fileno()})"
    with ours, theirs, subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno()]) as process:
        assert ours.recv(1) == IS_READY
        assert process.wait(300) == 0
    assert worker.IDLE == 60, "docs/security.md says a minute"
