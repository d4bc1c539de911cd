"""Foreign files are read alike where they can be mapped and where their file system maps nothing."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import mapped
from modelarchive.exchange.mapped import MappedFile
from tests.conftest import ROOT

FOREIGN = ROOT / "tests" / "data" / "foreign"
FILES = ["keras/new-image.keras", "keras/new-image.weights.h5", "keras/old-image.h5", "mxnet/lenet-0000.params"]
FOLDERS = ["numpy", "onnx", "safetensors", "vectors"]


def refuse(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))


def assert_same(*loaded: Any) -> None:
    """Byte orders too, which files of NumPy keep."""
    named = [each if isinstance(each, dict) else {"": each} for each in loaded]
    left, right = ({k: (v.dtype.str, v.shape, v.tobytes()) for k, v in each.items()} for each in named)
    assert left == right


def loadable() -> list[Path]:
    found = [FOREIGN / name for name in FILES]
    kinds = (".npz", ".npy", ".onnx", ".safetensors", ".bin")
    return found + sorted(path for each in FOLDERS for path in (FOREIGN / each).iterdir() if path.suffix in kinds)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of what is left out
@pytest.mark.parametrize("path", loadable(), ids=lambda path: path.name)
def test_a_file_that_cannot_be_mapped_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ma.load(path)
    monkeypatch.setattr(mmap, "mmap", refuse)
    assert_same(expected, ma.load(path))
    assert_same(expected, ma.load(path, mmap=True))


def test_a_pt_file_that_cannot_be_mapped_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.arange(5), "b": torch.zeros(2, 3)}, tmp_path / "x.pt")
    expected = ma.load(tmp_path / "x.pt")
    monkeypatch.setattr(mmap, "mmap", refuse)
    assert_same(expected, ma.load(tmp_path / "x.pt"))


def test_its_views_are_writable_and_the_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(range(8)))
    monkeypatch.setattr(mmap, "mmap", refuse)
    file = MappedFile(path)
    view = file.array(2, np.dtype("u1"), (3,)).view()
    view[0] = 99
    assert path.read_bytes() == bytes(range(8))
    assert file.read(6, 10) == b"\x06\x07"
    assert bytes(file.buffer()[:2]) == b"\0\x01"


def test_a_part_has_no_place_before_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"before123456behind")
    stream: Any = MappedFile(path).part(6, 6).stream()
    assert (stream.seek(-2, 2), stream.read(), stream.seek(1), stream.read(2)) == (4, b"56", 1, b"23")
    with pytest.raises(OSError, match="before the beginning"):
        stream.seek(-1)


def test_a_file_that_became_shorter_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(100))
    found = MappedFile(path).array(0, np.dtype("u1"), (100,))
    path.write_bytes(bytes(10))
    with pytest.raises(OSError, match="became shorter while it was read"):
        found.read()


def test_memory_that_the_system_does_not_give_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(size: int) -> None:
        raise MemoryError

    path = tmp_path / "x"
    path.write_bytes(bytes(1000))
    monkeypatch.setattr(mmap, "mmap", refuse)
    monkeypatch.setattr(mapped, "bytearray", nothing, raising=False)
    with pytest.raises(ma.OutOfMemoryError, match="gives no 1,000 bytes of memory"):
        MappedFile(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(ma.FormatError, match="is no regular file"):
        MappedFile(tmp_path / "x")
