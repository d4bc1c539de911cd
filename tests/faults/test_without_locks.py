"""A file system that has no locks: everything that writes does so all the same, and tidies nothing away."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, zoo
from modelarchive.formats.systems import FORMATS
from modelarchive.store import replace
from tests.faults.operations import OPERATIONS, TARGET, X, network
from tests.structures import assert_same

STRAY = f".{TARGET}.0123456789ab.partial"


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    return lambda: monkeypatch.setattr(replace.fcntl, "flock", refuse)


@pytest.mark.parametrize("name", OPERATIONS)
def test_archives_are_written(name: str, without_locks: Callable[[], None], tmp_path: Path) -> None:
    for folder in ("locked", "not"):
        (tmp_path / folder).mkdir()
        OPERATIONS[name].prepare(tmp_path / folder)
    OPERATIONS[name].act(tmp_path / "locked")
    (tmp_path / "not" / STRAY).write_bytes(b"of a save that may still be alive")
    before = {each.name for each in (tmp_path / "not").iterdir()}
    without_locks()
    OPERATIONS[name].act(tmp_path / "not")
    assert (tmp_path / "not" / TARGET).read_bytes() == (tmp_path / "locked" / TARGET).read_bytes()
    assert {each.name for each in (tmp_path / "not").iterdir()} == before
    with ma.open(tmp_path / "not" / TARGET) as archive:
        archive.verify()


FOREIGN = [suffix for known in FORMATS.values() if known.name not in ("archive", "pt2") for suffix in known.suffixes]


@pytest.mark.parametrize("suffix", FOREIGN)
def test_files_of_other_formats_are_written(suffix: str, without_locks: Callable[[], None], tmp_path: Path) -> None:
    for name in ("torch", "keras"):
        if suffix in FORMATS[name].suffixes:
            pytest.importorskip("torch")
            pytest.importorskip(name)
    path = tmp_path / "x.h5"
    if suffix in (".txt", ".vec"):
        net = nn.Embedding(3, 4)
        net.initialize(seed=0)
        ma.save_model(path, net, inputs=np.array([[0]]), tokens={"weight": ["a", "b", "c"]})
    elif suffix == ".npy":
        ma.save(path, {"a": X})
    elif suffix == "/":
        net = zoo.GPT2(vocabulary=11, units=8, layers=1, heads=2, max_length=5)
        net.initialize(seed=0)
        ma.save_model(path, net, inputs=np.array([[1, 2, 3]]))
    else:
        ma.save_model(path, network(0), inputs=X)
    for folder in ("locked", "not"):
        (tmp_path / folder).mkdir()
    ma.convert(path, f"{tmp_path}/locked/out{suffix}")
    without_locks()
    ma.convert(path, f"{tmp_path}/not/out{suffix}")
    found, expected = everything_below(tmp_path / "not"), everything_below(tmp_path / "locked")
    assert found
    assert found.keys() == expected.keys()
    if suffix in FORMATS["keras"].suffixes:
        # HDF5's library notes the second.
        assert_same(ma.load(f"{tmp_path}/locked/out{suffix}"), ma.load(f"{tmp_path}/not/out{suffix}"))
    else:
        assert found == expected


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_a_signature_is_written(without_locks: Callable[[], None], tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from modelarchive import signing
    from tests.test_signing import make_keys

    ma.save(tmp_path / "x.h5", {"a": X})
    private, public = make_keys(tmp_path, "alice")
    without_locks()
    signing.sign(tmp_path / "x.h5", private)
    assert signing.check(tmp_path / "x.h5", public).arrays == 1
