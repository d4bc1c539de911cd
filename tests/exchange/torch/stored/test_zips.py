"""Zip files as PyTorch has them, and as others make them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read

torch = pytest.importorskip("torch")


def test_the_way_out_of_a_compressed_file_works() -> None:
    net = torch.nn.Linear(3, 4)
    torch.save(net.state_dict(), "x.pt")
    with zipfile.ZipFile("x.pt") as source, zipfile.ZipFile("packed.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    with pytest.raises(ma.UnsafeFileError, match="compressed") as caught:
        read("packed.pt")
    assert "without compression" in caught.value.hint
    with zipfile.ZipFile("packed.pt") as source:
        source.extractall("unpacked")
    with zipfile.ZipFile("again.pt", "w", zipfile.ZIP_STORED) as again:
        for path in sorted(Path("unpacked").rglob("*")):
            again.write(path, path.relative_to("unpacked"))
    found = read("again.pt").parameters
    assert all(found[name].tobytes() == each.numpy().tobytes() for name, each in net.state_dict().items())
