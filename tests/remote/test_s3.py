"""A bucket, by s3fs and moto's server: as few requests as by HTTP, and errors without keys in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.remote.file import FIRST
from modelarchive.remote.ranges import PART

SECRET = "geheimer-schluessel"


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield {"key": "AKIA0123456789", "secret": SECRET, "endpoint_url": f"http://{host}:{port}"}
    finally:
        urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
        server.stop()


@pytest.fixture
def bucket(options: dict[str, Any], model: Path) -> Any:
    import s3fs

    system = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    system.mkdir("models")
    system.put(str(model), "models/model.h5")
    return system


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that s3fs makes."""
    import s3fs

    found: list[str] = []
    made = s3fs.S3FileSystem._call_s3

    async def call(self: Any, method: str, *more: Any, **arguments: Any) -> Any:
        found.append(f"{method} {arguments.get('Range', '')}".strip())
        return await made(self, method, *more, **arguments)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", call)
    return found


def test_a_block_is_two_requests(bucket: Any, options: dict[str, Any], calls: list[str], net: nn.Block) -> None:
    with ma.open("s3://models/model.h5", storage_options=options) as archive:
        assert archive.metadata == {"license": "MIT"}
        assert calls == [f"get_object bytes=0-{FIRST - 1}"]
        assert np.array_equal(archive.build("1").weight.value(), net[1].weight.value())
    assert len(calls) == 2


def test_everything_else_that_takes_a_path(
    bucket: Any, options: dict[str, Any], model: Path, net: nn.Block, x: np.ndarray, tmp_path: Path
) -> None:
    url = "s3://models/model.h5"
    assert np.array_equal(ma.load_model(url, storage_options=options)(x), net(x))
    found, expected = ma.load(url, storage_options=options), ma.load(model)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    ma.convert(url, tmp_path / "far.safetensors", storage_options=options)
    ma.convert(model, tmp_path / "near.safetensors")
    assert (tmp_path / "far.safetensors").read_bytes() == (tmp_path / "near.safetensors").read_bytes()
    state = {"2.bias": np.zeros(4, np.float32)}
    ma.transplant(url, state, select="2.bias", storage_options=options)
    assert np.array_equal(state["2.bias"], expected["2.bias"])


def test_large_arrays_in_parts(bucket: Any, options: dict[str, Any], tmp_path: Path, calls: list[str]) -> None:
    array = np.random.default_rng(0).integers(0, 255, PART * 2, np.uint8)
    ma.save(tmp_path / "large.h5", {"a": array})
    bucket.put(str(tmp_path / "large.h5"), "models/large.h5")
    calls.clear()
    assert np.array_equal(ma.load("s3://models/large.h5", storage_options=options)["a"], array)
    assert sum(call.startswith("get_object") for call in calls) in (3, 4)


def test_an_object_that_is_replaced(bucket: Any, options: dict[str, Any], model: Path) -> None:
    with ma.open("s3://models/model.h5", storage_options=options) as archive:
        data = bytearray(model.read_bytes())
        data[-1] ^= 1
        bucket.pipe("models/model.h5", bytes(data))
        with pytest.raises(ma.RemoteError, match="was replaced by another file"):
            archive["0.weight"]


def test_errors_have_no_keys(bucket: Any, options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    for url in ("s3://models/nothing.h5", "s3://nowhere/x.h5"):
        with pytest.raises(ma.RemoteError) as caught:
            ma.open(url, storage_options=options)
        assert caught.value.url == url
        assert SECRET not in str(caught.value)
        assert "AKIA" not in str(caught.value)
    assert "no such file" in str(caught.value)


def test_a_folder_of_shards(bucket: Any, options: dict[str, Any], model: Path, tmp_path: Path) -> None:
    from modelarchive.exchange import safetensors

    (tmp_path / "shards").mkdir()
    with ma.open(model) as archive:
        safetensors.write(archive, tmp_path / "shards" / "model.safetensors", max_shard_bytes=1 << 19)
    bucket.put(str(tmp_path / "shards"), "models/shards", recursive=True)
    found, expected = ma.load("s3://models/shards/", storage_options=options), ma.load(model)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
