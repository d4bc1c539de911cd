"""Archives on a web server: the same as on a disk, by few requests and few bytes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import compare, maintenance, nn
from modelarchive.exchange.bundle import deferred
from modelarchive.remote import RemoteFile
from modelarchive.remote.file import FIRST
from modelarchive.remote.ranges import PART
from tests.remote.server import Server, redirect

SLACK = 64 << 10


def test_the_architecture_is_one_request(server: Server, url: str, model: Path) -> None:
    with ma.open(url) as archive, ma.open(model) as local:
        assert archive.architecture == local.architecture
        assert archive.metadata == {"license": "MIT"}
        assert archive.is_remote
        assert archive.summary() == local.summary()
    assert [(each.start, each.stop) for each in server.requests] == [(0, FIRST)]


@pytest.mark.parametrize("block", ["1", "2"])
def test_a_block_is_two_requests_and_its_own_bytes(server: Server, url: str, model: Path, block: str) -> None:
    found = ma.load_model(url, block=block)
    expected = ma.load_model(model, block=block)
    for name, parameter in expected.collect_params().items():
        assert np.array_equal(found.collect_params()[name].value(), parameter.value())
    assert len(server.requests) <= 2
    nbytes = sum(parameter.value().nbytes for parameter in expected.collect_params().values())
    assert server.nbytes <= FIRST + nbytes + SLACK


def test_a_block_for_pytorch_reads_no_other(server: Server, url: str, net: nn.Block) -> None:
    torch = pytest.importorskip("torch")
    found = ma.load_model(url, block="1", backend="torch")
    ones = np.ones((1, 600), np.float32)
    assert np.allclose(found(torch.from_numpy(ones)).detach().numpy(), net[1](ones), atol=1e-4)
    assert len(server.requests) == 2
    assert server.nbytes <= FIRST + 600 * 200 * 4 + SLACK


def test_the_whole_model_comes_once(server: Server, url: str, model: Path, net: nn.Block, x: np.ndarray) -> None:
    assert np.array_equal(ma.load_model(url)(x), net(x))
    assert server.nbytes == model.stat().st_size
    server.reset()
    found, expected = ma.load(url), ma.load(model)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert server.nbytes == model.stat().st_size


def test_an_index_that_is_longer_than_the_first_request(server: Server) -> None:
    arrays = {f"layer{number:05}.weight": np.full(3, number, np.float32) for number in range(6000)}
    path = server.folder / "many.h5"
    ma.save(path, arrays)
    with ma.open(f"{server.url}/many.h5") as archive:
        assert np.array_equal(archive["layer05999.weight"], arrays["layer05999.weight"])
        front = archive.reader.contents.declared[0][1]
    assert len(server.requests) <= 4
    assert server.nbytes <= front + SLACK


def test_large_arrays_come_in_parts_and_small_ones_together(server: Server) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"small{number}": rng.integers(0, 9, 100 + number) for number in range(50)}
    arrays |= {"large": rng.integers(0, 255, PART * 5 // 2, np.uint8)}
    ma.save(server.folder / "both.h5", arrays)
    with ma.open(f"{server.url}/both.h5") as archive:
        server.reset()
        found = archive.load()
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())
    lengths = [each.stop - each.start for each in server.requests]
    assert len(lengths) <= 4
    assert max(lengths) <= PART
    assert min(sorted(lengths)[-3:]) >= PART // 2


def test_rows_are_read_alone(server: Server, url: str, model: Path) -> None:
    with ma.open(url) as archive, ma.open(model) as local:
        server.reset()
        assert np.array_equal(archive.rows("1.weight", 3, 5), local.rows("1.weight", 3, 5))
    assert server.nbytes == 2 * 600 * 4


def test_verify_passes_everything_through(server: Server, url: str, model: Path) -> None:
    seen: list[int] = []
    with ma.open(url) as archive, ma.open(model) as local:
        report = archive.verify(seen.append)
        assert (report.arrays, report.texts, report.nbytes) == (lambda r: (r.arrays, r.texts, r.nbytes))(local.verify())
        assert archive.verify(block="2").arrays == 2
    assert sum(seen) == report.nbytes


@pytest.mark.parametrize("name", ["2.weight", "2.bias"])
def test_damage_is_named_by_whoever_reads_it(url: str, model: Path, name: str, tmp_path: Path) -> None:
    with ma.open(model) as archive:
        offset = archive.reader.contents.entry(name).offset
    data = bytearray(model.read_bytes())
    data[offset] ^= 1
    model.write_bytes(data)
    out = tmp_path / "out.h5"
    for read in (
        lambda: ma.load_model(url),
        lambda: ma.load_model(url, block="2"),
        lambda: ma.load(url),
        lambda: ma.open(url)[name],
        lambda: ma.open(url).verify(),
        lambda: ma.transplant(url, {name: np.zeros_like(ma.load(model)[name])}),
        lambda: maintenance.extract(url, "2", out),
        lambda: ma.convert(url, out.with_suffix(".safetensors")),
    ):
        with pytest.raises(ma.IntegrityError) as caught:
            read()
        assert list(caught.value.damaged) == [name]
    assert list(tmp_path.glob("*out*")) == []
    assert ma.load_model(url, block="0") is not None


def test_a_damaged_text_is_named(url: str, model: Path) -> None:
    with ma.open(model) as archive:
        offset = archive.reader.contents.texts["/architecture/data"].offset
    data = bytearray(model.read_bytes())
    data[offset + 3] ^= 1
    model.write_bytes(data)
    with pytest.raises(ma.IntegrityError, match="/architecture/data"), ma.open(url) as archive:
        archive.architecture  # noqa: B018


def test_a_large_damaged_array_leaves_no_file(server: Server, tmp_path: Path) -> None:
    """It is passed on while it comes, and its end tells that it was wrong."""
    path = server.folder / "large.h5"
    ma.save(path, {"a": np.zeros(5 * PART, np.uint8)})
    with ma.open(path) as archive:
        offset = archive.reader.contents.entry("a").offset
    with path.open("r+b") as file:
        file.seek(offset + 4 * PART)
        file.write(b"1")
    with pytest.raises(ma.IntegrityError):
        ma.convert(f"{server.url}/large.h5", tmp_path / "out.h5")
    assert [each.name for each in tmp_path.iterdir()] == ["served"]


def test_compressed_arrays(server: Server) -> None:
    rng = np.random.default_rng(0)
    arrays = {"a": rng.integers(0, 4, (3000, 1000), np.int32), "b": rng.integers(0, 9, 40_000)}
    ma.save(server.folder / "packed.h5", arrays, compression="deflate")
    url = f"{server.url}/packed.h5"
    found = ma.load(url)
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    server.reset()
    with ma.open(url) as archive:
        assert np.array_equal(archive.rows("a", 2000, 2010), arrays["a"][2000:2010])
        assert len(server.requests) <= 3
        server.reset()
        archive.verify()
        assert len(server.requests) <= 4


def test_extract_convert_and_transplant(server: Server, url: str, model: Path, tmp_path: Path, net: nn.Block) -> None:
    maintenance.extract(url, "1", tmp_path / "far.h5")
    maintenance.extract(model, "1", tmp_path / "near.h5")
    assert (tmp_path / "far.h5").read_bytes() == (tmp_path / "near.h5").read_bytes()
    ma.convert(url, tmp_path / "far.safetensors")
    ma.convert(model, tmp_path / "near.safetensors")
    assert (tmp_path / "far.safetensors").read_bytes() == (tmp_path / "near.safetensors").read_bytes()
    other = nn.Sequential(nn.Dense(600, in_units=600), nn.Dense(200, in_units=600), nn.Dense(4, in_units=200))
    other.initialize(seed=1)
    server.reset()
    ma.transplant(url, other, select="2.*")
    assert np.array_equal(other[2].weight.value(), net[2].weight.value())
    assert len(server.requests) == 2
    ma.load_parameters(url, other)
    assert np.array_equal(other[0].weight.value(), net[0].weight.value())


def test_diff_reads_no_array(server: Server, url: str, model: Path, tmp_path: Path) -> None:
    assert not compare.diff(url, model)
    changed = dict(ma.load(model))
    changed["0.bias"][3] += 1
    ma.save(tmp_path / "other.h5", {"w": np.ones(3)})
    net = ma.load_model(model)
    net[0].bias.set_data(changed["0.bias"])
    ma.save_model(tmp_path / "changed.h5", net, inputs=np.ones((1, 600), np.float32), metadata={"license": "MIT"})
    found = compare.diff(url, tmp_path / "changed.h5")
    assert found.changed == {"0.bias": None}
    assert sum(each.start > 0 for each in server.requests) == 0
    # The copy on the disk is damaged, and says of itself that it is not.
    copy = tmp_path / "copy.h5"
    with ma.open(model) as archive:
        offset = archive.reader.contents.entry("1.weight").offset
    data = bytearray(model.read_bytes())
    data[offset] ^= 1
    copy.write_bytes(data)
    assert list(compare.diff(url, copy).changed) == ["1.weight"]


def test_a_redirect_is_followed(server: Server, url: str, model: Path) -> None:
    server.fault = redirect(server.url)
    assert ma.load_model(f"{server.url}/moved/model.h5", block="2") is not None


def test_plain_safetensors(server: Server, model: Path) -> None:
    ma.convert(model, server.folder / "plain.safetensors")
    expected = ma.load(model)
    server.reset()
    found = ma.load(f"{server.url}/plain.safetensors")
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert server.nbytes == (server.folder / "plain.safetensors").stat().st_size
    server.reset()
    state = {"2.weight": np.zeros((4, 200), np.float32)}
    ma.transplant(f"{server.url}/plain.safetensors", state)
    assert np.array_equal(state["2.weight"], expected["2.weight"])
    assert server.nbytes <= FIRST + SLACK


def test_plain_safetensors_piece_by_piece(
    server: Server, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays that are not held as a whole, and rows of one."""
    from modelarchive.exchange import remote, safetensors

    ma.convert(model, server.folder / "plain.safetensors")
    expected = ma.load(model)
    monkeypatch.setattr(remote, "BATCH", 10_000)
    ma.convert(f"{server.url}/plain.safetensors", tmp_path / "again.h5")
    again = ma.load(tmp_path / "again.h5")
    assert all(np.array_equal(again[name], expected[name]) for name in expected)
    parameters = safetensors.read(RemoteFile(f"{server.url}/plain.safetensors")).parameters
    weight = deferred(parameters)["1.weight"]
    server.reset()
    assert weight.rows is not None
    assert np.array_equal(weight.rows(3, 5), expected["1.weight"][3:5])
    assert weight.rows(4, 4).shape == (0, 600)
    assert server.nbytes == 2 * 600 * 4


def test_safetensors_in_several_files(server: Server, model: Path, tmp_path: Path) -> None:
    from modelarchive.exchange import safetensors

    with ma.open(model) as archive:
        safetensors.write(archive, server.folder / "model.safetensors", max_shard_bytes=1 << 19)
    expected = ma.load(model)
    for place in ("/model.safetensors.index.json", "/"):
        found = ma.load(server.url + place)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    next(server.folder.glob("model-00002*")).unlink()
    with pytest.raises(ma.RemoteError, match=r"model-00002-of-.*no such file"):
        ma.load(server.url + "/")


def test_a_folder_of_shards(server: Server, net: nn.Block, x: np.ndarray, model: Path) -> None:
    """Of a block, the shards that hold it."""
    folder = server.folder / "parts"
    ma.save_model(folder, net, inputs=x, max_shard_size=1_500_000)
    url = f"{server.url}/parts/"
    assert np.array_equal(ma.load_model(url)(x), net(x))
    with ma.open(url) as archive:
        server.reset()
        assert np.array_equal(archive.build("1").weight.value(), net[1].weight.value())
        assert {each.path for each in server.requests} == {f"/parts/{_shard(folder, '1.weight')}"}
        assert not compare.diff(archive, folder)
        archive.verify()
    damaged = folder / _shard(folder, "2.weight")
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(ma.IntegrityError):
        ma.open(url).verify()
    damaged.unlink()
    assert ma.load_model(url, block="0") is not None
    with pytest.raises(ma.RemoteError, match="no such file") as caught:
        ma.load_model(url, block="2")
    assert damaged.name in str(caught.value)


def _shard(folder: Path, name: str) -> str:
    index = json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))
    found: str = index["weight_map"][name]
    return found


def test_an_index_of_shards_makes_no_request_elsewhere(server: Server) -> None:
    """What it names are files of its folder."""
    index = server.folder / "model.safetensors.index.json"
    for name in ("../secret.safetensors", "http://127.0.0.1:1/x.safetensors", "/etc/x", "a/b.safetensors"):
        index.write_text(json.dumps({"metadata": {}, "weight_map": {"w": name}}))
        server.reset()
        with pytest.raises(ma.UnsafeFileError):
            ma.load(server.url + "/model.safetensors.index.json")
        index.write_text(json.dumps({"metadata": {"modelarchive": {"shards": {name: "0"}}}, "weight_map": {}}))
        with pytest.raises(ma.UnsafeFileError):
            ma.open(server.url + "/")
        assert {each.path for each in server.requests} == {"/model.safetensors.index.json"}


def test_other_systems_are_to_be_downloaded(server: Server, model: Path) -> None:
    np.save(server.folder / "a.npy", np.ones(3))
    np.savez(server.folder / "a.npz", a=np.ones(3))
    (server.folder / "page.h5").write_text("<!DOCTYPE html><html><title>Log in</title></html>")
    (server.folder / "words.txt").write_text("word 1 2 3\nother 4 5 6\n")
    for name, said in {
        "a.npy": "NumPy",
        "a.npz": "zip file",
        "page.h5": "HTML page",
        "words.txt": "word vectors",
    }.items():
        with pytest.raises(ma.FormatError, match=said):
            ma.load(f"{server.url}/{name}")
        with pytest.raises(ma.FormatError):
            ma.open(f"{server.url}/{name}")


def test_an_index_that_does_not_hold_is_not_read_elsewhere(server: Server, url: str, model: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(model, "r+") as file:
        file["parameters"].attrs["note"] = "changed"
    with pytest.raises(ma.FormatError, match="no network") as caught:
        ma.open(url)
    assert "download it" in str(caught.value)
    with h5py.File(server.folder / "plain.h5", "w") as file:
        file["x"] = np.ones(3)
    with pytest.raises(ma.FormatError):
        ma.open(f"{server.url}/plain.h5")
    assert all(each.start == 0 for each in server.requests)


def test_a_hidden_object_is_not_looked_for_elsewhere(server: Server, url: str, model: Path) -> None:
    """Where HDF5 would have to be asked, verify says so."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(model, "r+") as file:
        file["extra"] = np.ones(3)
    maintenance.reindex(model)
    with ma.open(url) as archive, pytest.raises(ma.FormatError, match="HDF5's parser gets no network"):
        archive.verify()


def test_a_closed_archive_makes_no_request(server: Server, url: str) -> None:
    with ma.open(url) as archive:
        pass
    server.reset()
    with pytest.raises(ValueError, match="is closed"):
        archive["0.weight"]
    assert server.requests == []
