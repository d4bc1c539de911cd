"""Other file systems of fsspec, its caches, the Hugging Face Hub's own, and what is not installed."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from tests.remote.server import Handler, Server


@pytest.fixture
def expected(model: Path) -> np.ndarray:
    return ma.load(model)["1.weight"]


def test_memory(model: Path, expected: np.ndarray) -> None:
    import fsspec

    fsspec.filesystem("memory").put(str(model), "/models/model.h5")
    with ma.open("memory://models/model.h5") as archive:
        assert np.array_equal(archive["1.weight"], expected)
        archive.verify()
    with pytest.raises(ma.RemoteError, match="no such file"):
        ma.open("memory://models/nothing.h5")


def test_a_member_of_a_zip_file(model: Path, expected: np.ndarray, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "models.zip", "w") as file:
        file.write(model, "model.h5")
    assert np.array_equal(ma.load(f"zip://model.h5::local://{tmp_path}/models.zip")["1.weight"], expected)


# fsspec's block cache closes its own files when they are collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["blockcache", "filecache", "simplecache"])
def test_a_cache_is_read_again(server: Server, url: str, expected: np.ndarray, tmp_path: Path, kind: str) -> None:
    cache = {"protocol": kind, "cache_storage": str(tmp_path / "cache")}
    assert np.array_equal(ma.load(url, cache=cache)["1.weight"], expected)
    server.reset()
    assert np.array_equal(ma.load(url, cache=cache)["1.weight"], expected)
    assert server.nbytes < expected.nbytes
    assert list((tmp_path / "cache").iterdir())
    gc.collect()


def test_a_cache_by_its_name_lies_in_the_users_folder(
    url: str, expected: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert np.array_equal(ma.load(url, cache="filecache")["1.weight"], expected)
    assert list((tmp_path / "mine" / "modelarchive").iterdir())


def test_what_is_not_installed_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        for name in [each for each in sys.modules if each.partition(".")[0] == "fsspec"]:
            patched.delitem(sys.modules, name)
        patched.setitem(sys.modules, "fsspec", None)
        with pytest.raises(ma.MissingDependencyError, match=r"modelarchive\[remote\]"):
            ma.open(url)
    with pytest.raises(ma.MissingDependencyError, match="needs a package that is not installed"):
        ma.open("oss://bucket/x.h5")


def hub(handler: Handler, model: Path) -> bool:
    """As much of the Hub as its file system class asks for."""
    revision = "/api/models/owner/name/revision/main"
    if handler.asked == revision or handler.asked == "/api/models/owner/name":
        body = json.dumps({"id": "owner/name", "modelId": "owner/name", "sha": "1" * 40, "private": False}).encode()
        handler.give(200, body, {"Content-Type": "application/json"})
        return True
    return False


class Hub:
    """The paths of a repository, and its file."""

    def __init__(self, model: Path) -> None:
        self.model = model
        self.ranges: list[tuple[int, int]] = []

    def __call__(self, handler: Handler, data: bytes, start: int, stop: int) -> bool:
        entry = {"type": "file", "path": "model.h5", "oid": "2" * 40, "size": self.model.stat().st_size}
        if hub(handler, self.model):
            return True
        if "/tree/" in handler.asked or "/paths-info/" in handler.asked:
            handler.give(200, json.dumps([entry]).encode(), {"Content-Type": "application/json"})
            return True
        if handler.asked == "/owner/name/resolve/main/model.h5":
            whole = self.model.read_bytes()
            found = handler.headers["Range"].removeprefix("bytes=").split("-")
            begin, end = int(found[0]), int(found[1]) + 1
            self.ranges.append((begin, end))
            handler.range(whole, begin, min(end, len(whole)))
            return True
        return False


def test_the_hub(server: Server, model: Path, net: nn.Block, tmp_path: Path) -> None:
    """`hf://` by huggingface_hub's own class, sent to a server that answers as the Hub does."""
    pytest.importorskip("huggingface_hub")
    found = Hub(model)
    server.fault = found
    options: dict[str, Any] = {"endpoint": server.url, "token": False, "skip_instance_cache": True}
    with ma.open("hf://owner/name/model.h5", storage_options=options) as archive:
        assert np.array_equal(archive.build("1").weight.value(), net[1].weight.value())
    assert len(found.ranges) == 2
