"""Arrays go onto a device through small buffers, in one pass, every digest compared; a fake device counts."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import save_file

import modelarchive as ma
from modelarchive import dtypes, nn
from modelarchive.errors import FormatError, IntegrityError, OutOfMemoryError
from modelarchive.exchange.bundle import bundle_of
from modelarchive.exchange.torch import build_module, devices, staging
from modelarchive.store.source import Source

SIZE = 1 << 12
X = np.ones((2, 40), "f4")


class Late(devices.Lane):
    """A device that copies as late as it may: who fills a buffer too early spoils what is on its way."""

    lanes: list[Late] = []  # noqa: RUF012 - of the test that runs

    def __init__(self, device: Any, behind: Any = None) -> None:
        super().__init__(device, behind)
        self.behind = behind
        self.begun: list[list[Any]] = [[], []]
        self.bytes = self.copies = 0
        self.thread = threading.get_ident()
        self.is_closed = False
        Late.lanes.append(self)

    def copy(self, target: Any, part: Any) -> None:
        assert threading.get_ident() == self.thread
        assert target.dtype == part.dtype == torch.uint8
        assert target.shape == part.shape
        self.begun[self._turn].append((target, part))

    def wait(self, turn: int) -> None:
        for target, part in self.begun[turn]:
            target.copy_(part)
            self.bytes += len(part)
            self.copies += 1
        self.begun[turn].clear()

    def close(self) -> None:
        super().close()
        self.is_closed = True


@pytest.fixture(params=[devices.Lane, Late])
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The CPU stands for a device, behind small buffers."""
    monkeypatch.setattr(devices, "is_elsewhere", lambda device: device is not None)
    monkeypatch.setattr(devices, "lane_to", request.param)
    for module in (devices, staging):
        monkeypatch.setattr(module, "BUFFER", SIZE)
    monkeypatch.setattr(staging, "THREADS", 3)
    Late.lanes = []
    return request.param


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {
        name: rng.integers(0, 2, (5, 7)).astype(dtypes.numpy_dtype(name))
        for name in dtypes.DENSE
        if name not in ("uint16", "uint32", "uint64")
    }
    found |= {f"large{n}": rng.standard_normal((n, 33)).astype("f4") for n in (31, 32, 64, 100, 1000)}
    return found | {"number": np.array(3.5), "empty": np.zeros((3, 0), "f4"), "byte": np.array([7], "u1")}


def assert_equal(tensor: Any, array: np.ndarray) -> None:
    assert tuple(tensor.shape) == array.shape
    assert (
        tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() == array.tobytes() if array.size else True
    )


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("compression", [None, {"large*": "deflate"}])
@pytest.mark.parametrize("size", [None, "20KB"])
def test_every_array_arrives(tmp_path: Path, lane: Any, verify: bool, compression: Any, size: Any) -> None:
    expected = arrays()
    data = {"a": expected, "b": [np.arange(3), "text", 5]}
    rule = compression and {f"a/{name}": each for name, each in compression.items()} | {"*": None}
    ma.save(tmp_path / "x", data, max_shard_size=size, compression=rule, durable=False)
    found = ma.load(tmp_path / "x", backend="torch", device="cpu", verify=verify)
    assert list(found["a"]) == list(expected)
    for name, array in expected.items():
        assert_equal(found["a"][name], array)
        assert found["a"][name].is_contiguous()
    assert found["b"][1:] == ["text", 5]
    if lane is Late:
        plain = 0 if compression else sum(each.nbytes for each in (*expected.values(), np.arange(3)))
        assert not plain or sum(each.bytes for each in Late.lanes) == plain
        assert all(each.is_closed for each in Late.lanes)
        assert len(Late.lanes) <= 3


def test_bytes_are_read_once(tmp_path: Path, lane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    data = {str(n): rng.standard_normal(n) for n in (10, 100, 1000, 10_000)}
    ma.save(tmp_path / "x.h5", data, durable=False)
    read: list[tuple[int, int]] = []
    original = Source._read_all

    def note(self: Source, buffer: memoryview, offset: int, *descriptor: int) -> None:
        read.append((offset, len(buffer)))
        original(self, buffer, offset, *descriptor)

    monkeypatch.setattr(Source, "_read_all", note)
    ma.load(tmp_path / "x.h5", backend="torch", device="cpu", verify=True)
    with ma.open(tmp_path / "x.h5") as archive:
        begin = min(entry.offset for entry in archive.reader.contents.arrays.values() if entry.offset)
    assert sum(nbytes for offset, nbytes in read if offset >= begin) == sum(each.nbytes for each in data.values())
    assert max(nbytes for offset, nbytes in read if offset >= begin) <= SIZE


def test_a_damaged_array_is_named(tmp_path: Path, lane: Any) -> None:
    data = {str(n): np.ones(n) for n in (3, 30, 3000)}
    ma.save(tmp_path / "x.h5", data, durable=False)
    with ma.open(tmp_path / "x.h5") as archive:
        places = {name: entry.offset for name, entry in archive.reader.contents.arrays.items()}
    raw = bytearray((tmp_path / "x.h5").read_bytes())
    for name in ("30", "3000"):
        raw[places[name] + 100] ^= 1  # type: ignore[operator]
    (tmp_path / "x.h5").write_bytes(raw)
    ma.load(tmp_path / "x.h5", backend="torch", device="cpu")
    with pytest.raises(IntegrityError) as caught:
        ma.load(tmp_path / "x.h5", backend="torch", device="cpu", verify=True)
    assert {*caught.value.damaged} == {"30", "3000"}
    assert caught.value.file == str(tmp_path / "x.h5")


def test_copies_wait_for_the_work_of_who_asks(tmp_path: Path, lane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread has a stream of its own in CUDA: what the caller has begun only the caller's thread can tell."""
    monkeypatch.setattr(devices, "work_on", lambda device: threading.get_ident())
    ma.save(tmp_path / "x.h5", {str(at): np.ones(2 * SIZE, "u1") for at in range(9)}, durable=False)
    ma.load(tmp_path / "x.h5", backend="torch", device="cpu")
    assert {each.behind for each in Late.lanes} <= {threading.get_ident()}
    assert not Late.lanes or {each.thread for each in Late.lanes} != {threading.get_ident()}


def test_the_first_failure_ends_the_reading(tmp_path: Path, lane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ma.save(tmp_path / "x.h5", {str(at): np.ones(2 * SIZE, "u1") for at in range(200)}, durable=False)
    fill, failed, count = Source.fill, threading.Event(), [0]

    def failing(self: Source, buffer: memoryview, offset: int) -> None:
        count[0] += 1
        if count[0] == 1:
            failed.set()
            raise OSError("the disk said no")
        failed.wait(10)
        fill(self, buffer, offset)

    monkeypatch.setattr(Source, "fill", failing)
    with pytest.raises(OSError, match="the disk said no"):
        ma.load(tmp_path / "x.h5", backend="torch", device="cpu")
    assert count[0] < 150


def test_a_file_that_ends_before(tmp_path: Path, lane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ma.save(tmp_path / "x.h5", {"a": np.ones(30_000)}, durable=False)
    with ma.open(tmp_path / "x.h5") as archive:
        entries = archive.deferred({"a": "a"})
        with (tmp_path / "x.h5").open("r+b") as file:
            file.truncate(50_000)
        with pytest.raises(OSError, match="became shorter while it was read"):
            staging.tensors_on("cpu", entries)


def network() -> nn.Block:
    middle = nn.Sequential(nn.Dense(70, activation="relu"), nn.BatchNorm())
    net = nn.Sequential().add(a=nn.Dense(40), b=middle, c=nn.Dense(40))
    net.initialize(seed=0)
    net(X)
    net.freeze("a.*")
    return net


@pytest.mark.parametrize("size", [None, "8KB"])
def test_networks_arrive(tmp_path: Path, lane: Any, size: Any) -> None:
    net = network()
    ma.save_model(tmp_path / "m", net, inputs=X, max_shard_size=size, durable=False)
    on_cpu = ma.load_model(tmp_path / "m", backend="torch")
    for options in ({}, {"verify": True}):
        module = ma.load_model(tmp_path / "m", backend="torch", device="cpu", **options)
        assert list(module.state_dict()) == list(on_cpu.state_dict())
        for name, tensor in on_cpu.state_dict().items():
            assert torch.equal(tensor, module.state_dict()[name])
        trained = [[each.requires_grad for each in one.parameters()] for one in (module, on_cpu)]
        assert trained[0] == trained[1]
        assert torch.equal(module(torch.from_numpy(X)), on_cpu(torch.from_numpy(X)))
    half = ma.load_model(tmp_path / "m", backend="torch", device="cpu", dtype="float16", block="b", verify=True)
    assert {each.dtype for each in half.parameters()} == {torch.float16}


def test_a_block_reads_its_own_arrays(tmp_path: Path, lane: Any) -> None:
    ma.save_model(tmp_path / "m.h5", network(), inputs=X, durable=False)
    with ma.open(tmp_path / "m.h5") as archive:
        place = archive.reader.contents.arrays["c.weight"].offset
        own = sum(each.nbytes for each in archive.select("b.*").values())
    raw = bytearray((tmp_path / "m.h5").read_bytes())
    raw[place] ^= 1  # type: ignore[index]
    (tmp_path / "m.h5").write_bytes(raw)
    ma.load_model(tmp_path / "m.h5", backend="torch", device="cpu", block="b", verify=True)
    if lane is Late:
        assert sum(each.bytes for each in Late.lanes) == own
    with pytest.raises(IntegrityError, match=r"c\.weight"):
        ma.load_model(tmp_path / "m.h5", backend="torch", device="cpu", verify=True)


def test_a_module_of_a_path(tmp_path: Path, lane: Any) -> None:
    ma.save_model(tmp_path / "m.h5", network(), inputs=X, durable=False)
    expected = build_module(tmp_path / "m.h5").state_dict()
    for source in (tmp_path / "m.h5", ma.load_model(tmp_path / "m.h5"), bundle_of(tmp_path / "m.h5")):
        found = build_module(source, device="cpu", verify=True).state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_shared_parameters_stay_shared(tmp_path: Path, lane: Any) -> None:
    net = nn.Sequential().add(a=nn.Dense(40), c=nn.Dense(40))
    net.initialize(seed=0)
    net(X)
    net.children["c"].weight, net.children["c"].bias = net.children["a"].weight, net.children["a"].bias
    ma.save_model(tmp_path / "m.h5", net, inputs=X, durable=False)
    module = ma.load_model(tmp_path / "m.h5", backend="torch", device="cpu")
    assert module.a.weight is module.c.weight
    assert len(list(module.parameters())) == 2


def test_files_of_other_systems_arrive(tmp_path: Path, lane: Any) -> None:
    expected = {"a": torch.randn(700, 33), "b": torch.arange(5), "c": torch.ones(3, dtype=torch.bfloat16)}
    save_file(expected, tmp_path / "x.safetensors")
    found = ma.load(tmp_path / "x.safetensors", backend="torch", device="cpu")
    assert {*found} == {*expected}
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    if lane is Late:
        assert sum(each.bytes for each in Late.lanes) == sum(each.nbytes for each in expected.values())
    with pytest.raises(FormatError, match="no digests to verify"):
        ma.load(tmp_path / "x.safetensors", backend="torch", device="cpu", verify=True)
    np.save(tmp_path / "x.npy", np.arange(10, dtype=">f4"))
    assert ma.load(tmp_path / "x.npy", backend="torch", device="cpu").tolist() == list(range(10))


@pytest.mark.parametrize("device", ["nowhere", "cuda:77", "xpu:99", 1.5, "cpu:x"])
def test_a_device_that_is_not_there(tmp_path: Path, device: Any) -> None:
    ma.save(tmp_path / "x.h5", {"a": np.ones(3)}, durable=False)
    ma.save_model(tmp_path / "m.h5", network(), inputs=X, durable=False)
    for load in (
        lambda: ma.load(tmp_path / "x.h5", backend="torch", device=device),
        lambda: ma.load_model(tmp_path / "m.h5", backend="torch", device=device),
        lambda: ma.load_model(tmp_path / "m.h5", backend="torch", device=device, verify=True),
    ):
        with pytest.raises(ValueError, match=r"device is .*, and PyTorch finds none of that name here"):
            load()


def test_no_room(tmp_path: Path, lane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ma.save(tmp_path / "x.h5", {"a": np.ones(3)}, durable=False)

    def full(*args: Any, **options: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with ma.open(tmp_path / "x.h5") as archive:
        entries = archive.deferred({"a": "a"})
        monkeypatch.setattr(devices, "device_of", torch.device)
        monkeypatch.setattr(torch, "empty", full)
        with pytest.raises(OutOfMemoryError, match="cpu has no room for 24 bytes of arrays"):
            staging.tensors_on("cpu", entries)


def test_the_cpu_keeps_views_of_the_file(tmp_path: Path) -> None:
    ma.save(tmp_path / "x.h5", {"a": np.ones(3)}, durable=False)
    found = ma.load(tmp_path / "x.h5", backend="torch", device="cpu")
    assert found["a"].tolist() == [1, 1, 1]
    assert not devices.is_elsewhere("cpu")
    assert not devices.is_elsewhere(None)
