"""Archives in shards: the same in a folder as in a file, opened shard by shard, and every wrong shard named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import modelarchive as ma
from modelarchive import maintenance, nn
from modelarchive.archive import folders
from modelarchive.errors import FormatError, IntegrityError, UnsafeFileError
from modelarchive.models import transplant_file
from modelarchive.store.shards import INDEX
from modelarchive.store.source import Source
from tests.hostile.index_attacks import signed
from tests.structures import assert_same

X = np.ones((2, 6), "f4")
DATA = {
    "a": np.arange(60_000.0) // 1000,
    "deep": [np.ones((4, 5), "i2"), "text", (1, None, {"z": np.zeros(0)})],
    "training": {"x": np.arange(700, dtype="c8")},
    "words": np.array(["one", "two"]),
    "b": np.ones(()),
}


class Tied(nn.Block):
    """A network with one weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Dense(6)
        self.second = nn.Dense(6)
        self.body = nn.Sequential().add(one=nn.Dense(40, activation="relu"), two=nn.Dense(6))

    def forward(self, x: Any) -> Any:
        return self.second(self.body(self.first(x)))


def network(seed: int = 0) -> Tied:
    net = Tied()
    net.initialize(seed=seed)
    net(X)
    net.second.weight = net.first.weight
    return net


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ma.save_model(
        tmp_path / "m",
        network(),
        inputs=X,
        max_shard_size="300B",
        metadata={"made": "here"},
        training={"step": 3, "moments": [np.arange(900.0), "text"]},
        durable=False,
    )
    return tmp_path / "m"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the files that are opened, in order; but for the index."""
    found: list[str] = []
    original = Source.__init__

    def note(self: Source, path: Any) -> None:
        found.extend({Path(path).name} - {INDEX})
        original(self, path)

    monkeypatch.setattr(Source, "__init__", note)
    return found


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / INDEX).read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("size", ["1B", "10KB", 10**9])
def test_a_structure_comes_back(tmp_path: Path, size: Any, compression: Any) -> None:
    ma.save(tmp_path / "x", DATA, max_shard_size=size, compression=compression, durable=False)
    for options in ({}, {"mmap": True}, {"verify": True}):
        assert_same(DATA, ma.load(tmp_path / "x", **options))
    with ma.open(tmp_path / "x") as archive:
        archive.verify()
        assert len(archive.reader.index.shards) == {"1B": 6, "10KB": 3, 10**9: 2}[size]  # type: ignore[attr-defined]
    maintenance.repack(tmp_path / "x", tmp_path / "one.h5", durable=False)
    assert_same(DATA, ma.load(tmp_path / "one.h5"))
    with ma.open(tmp_path / "one.h5") as archive:
        assert bool(archive.reader.contents.chunks) == (compression is not None)


def test_a_slash_asks_for_a_folder(tmp_path: Path) -> None:
    ma.save(f"{tmp_path}/x/", DATA, durable=False)
    ma.save_model(f"{tmp_path}/m/", network(), inputs=X, durable=False)
    assert sorted(each.name for each in (tmp_path / "m").iterdir()) == ["model.h5", "model.safetensors", INDEX]
    assert_same(DATA, ma.load(tmp_path / "x"))
    # Where shards are, shards take their place.
    ma.save(tmp_path / "x", [1, 2], durable=False)
    assert ma.load(tmp_path / "x") == [1, 2]


def test_a_network_comes_back(folder: Path) -> None:
    net = ma.load_model(folder, verify=True)
    assert net.first.weight is net.second.weight
    np.testing.assert_array_equal(net(X), network()(X))
    with ma.open(folder) as archive:
        assert archive.metadata == {"made": "here"}
        assert_same({"step": 3, "moments": [np.arange(900.0), "text"]}, archive.training)
        report = archive.verify()
        assert report.has_architecture
        shared = net.first.weight.value()
        assert archive.parameter_count == sum(each.size for each in archive.parameters.values()) - shared.size
        np.testing.assert_array_equal(archive.rows("body.one.weight", 3, 5), archive["body.one.weight"][3:5])
    assert {*ma.load(folder)} == {*net.collect_params()}


def test_other_programs_read_the_shards(folder: Path) -> None:
    found = record(folder)
    arrays = ma.load(folder)
    total = 0
    for name, file in found["weight_map"].items():
        array = load_file(folder / file)[name]
        total += array.nbytes
        if not name.startswith("training/"):
            np.testing.assert_array_equal(array, arrays[name])
    assert total == found["metadata"]["total_size"]


def test_a_block_opens_its_own_shards(folder: Path, opened: list[str]) -> None:
    places = record(folder)["weight_map"]
    own = {file for name, file in places.items() if name.startswith("body.two.")}
    assert len(own) < len({*places.values()})
    with ma.open(folder) as archive:
        assert opened == ["model.h5"]
        assert archive.architecture["model"]["kind"] == "Graph"
        assert "first.weight" in archive.parameters
        assert opened == ["model.h5"]
        archive.build("body.two")
        assert {*opened} == {"model.h5", *own}
        archive.verify(block="body.two")
        assert {*opened} == {"model.h5", *own}
        archive["first.weight"]
        assert {*opened} == {"model.h5", *own, places["first.weight"]}
    opened.clear()
    ma.load_model(folder, block="body.two", verify=True)
    assert {*opened} == {"model.h5", *own}
    assert len(opened) <= 2 * len({*opened})
    opened.clear()
    pytest.importorskip("torch")
    ma.load_model(folder, block="body.two", backend="torch", verify=True)
    assert {*opened} == {"model.h5", *own}
    opened.clear()
    maintenance.extract(folder, "body.two", folder.parent / "two.h5", durable=False)
    assert {*opened} == {"model.h5", *own}


def _missing(folder: Path, name: str) -> None:
    (folder / name).unlink()


def _renamed(folder: Path, name: str) -> None:
    (folder / name).rename(folder / f"x{name}")


def _damaged(folder: Path, name: str) -> None:
    raw = bytearray((folder / name).read_bytes())
    raw[-3] ^= 1
    (folder / name).write_bytes(raw)


def _cut(folder: Path, name: str) -> None:
    os.truncate(folder / name, 5000)


def _of_another_save(folder: Path, name: str) -> None:
    other = folder.with_name("other")
    ma.save_model(
        other, network(1), inputs=X, max_shard_size="300B", training={"moments": np.arange(900.0)}, durable=False
    )
    shutil.copy(other / name, folder / name)


def _of_another_place(folder: Path, name: str) -> None:
    shutil.copy(folder / "model-00004-of-00006.safetensors", folder / name)


@pytest.mark.parametrize("harm", [_missing, _renamed, _damaged, _cut, _of_another_save, _of_another_place])
@pytest.mark.parametrize("name", ["model-00002-of-00006.safetensors", "model.h5"])
def test_a_wrong_shard_is_named(folder: Path, harm: Callable[[Path, str], None], name: str) -> None:
    assert (folder / name).exists()
    harm(folder, name)
    with pytest.raises((FormatError, IntegrityError), match=name), ma.open(folder) as archive:
        archive.verify()
    if harm is _damaged and name != "model.h5":
        ma.load(folder)  # nobody asked
        with pytest.raises(IntegrityError, match="expected"):
            ma.load(folder, verify=True)
    elif harm is not _damaged:
        with pytest.raises(FormatError, match=name):
            ma.load(folder)


def test_two_shards_that_changed_places(folder: Path) -> None:
    one, two = (folder / f"model-0000{number}-of-00006.safetensors" for number in (3, 4))
    one.rename(folder / "x")
    two.rename(one)
    (folder / "x").rename(two)
    with pytest.raises(IntegrityError) as caught, ma.open(folder) as archive:
        archive.verify()
    assert {*caught.value.damaged} == {one.name, two.name}


def _change(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    found = record(folder)
    change(found)
    (folder / INDEX).write_bytes(signed(json.dumps(found).encode()))


def test_an_index_that_was_changed_is_named(folder: Path) -> None:
    found = record(folder)
    found["metadata"]["total_size"] = 1
    (folder / INDEX).write_text(json.dumps(found))
    for read in (ma.open, ma.load, ma.verify):
        with pytest.raises(IntegrityError) as caught:
            read(folder)
        assert [*caught.value.damaged] == [INDEX]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own, places: own["order"].pop(), "order does not list"),
        (lambda own, places: own.update(order=3), "order does not list"),
        (lambda own, places: own["order"].__setitem__(0, 3), "order does not list"),
        (lambda own, places: own.update(texts="x.h5"), "no digest of"),
        (lambda own, places: own.update(texts=["model.h5"]), "no digest of"),
        (lambda own, places: places.update({"body.one.bias": "x"}), "no digest of"),
        (lambda own, places: places.update({"body.one.bias": ["x"]}), "no digest of"),
        (lambda own, places: own.update(aliases={"second.weight": "x"}), "an alias does not name one array"),
        (lambda own, places: own.update(aliases={"first.weight": "body.one.weight"}), "an alias does not name"),
        (lambda own, places: own.update(aliases=[]), "no object of names"),
        (lambda own, places: own.update(stored={"first.weight": "x"}), "does not name one array"),
        (lambda own, places: own.update(stored={"first.weight": "first.bias"}), "one name"),
        (lambda own, places: own.update(training={"a": "b"}), "no list of pairs"),
        (lambda own, places: own.update(training=[["", []]]), "no list of pairs"),
        (lambda own, places: own.update(files={"config.json": 3}), "files is no object"),
        (lambda own, places: own.update(digest=3), "digest is no string"),
        (lambda own, places: places.update({"body.one.bias": places["body.two.weight"]}), "does not hold what"),
        (lambda own, places: own["aliases"].update({"second.weight": "body.one.weight"}), "does not hold what"),
    ],
)
def test_an_index_that_says_something_else_is_refused(folder: Path, change: Any, message: str) -> None:
    _change(folder, lambda found: change(found["metadata"]["modelarchive"], found["weight_map"]))
    with pytest.raises(FormatError, match=message):
        ma.load(folder)
    with pytest.raises((FormatError, IntegrityError)), ma.open(folder) as archive:
        archive.verify()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a//b", "..", "a\\b", "https://x/y", "a\0"])
def test_files_beside_the_shards_lie_in_the_folder(folder: Path, name: str) -> None:
    _change(folder, lambda found: found["metadata"]["modelarchive"].update(files={name: "0" * 64}))
    with pytest.raises(UnsafeFileError, match="own folder"):
        ma.open(folder)


def test_every_byte_of_the_index_counts(folder: Path) -> None:
    raw = (folder / INDEX).read_bytes()
    expected = ma.load(folder)
    for at in range(0, len(raw), 7):
        changed = bytearray(raw)
        changed[at] ^= 1
        (folder / INDEX).write_bytes(changed)
        with pytest.raises((FormatError, IntegrityError, UnsafeFileError)), ma.open(folder) as archive:
            archive.verify()
    (folder / INDEX).write_bytes(raw)
    assert_same(expected, ma.load(folder))


@pytest.mark.parametrize(
    ("size", "nbytes"),
    [("5GB", 5 * 10**9), ("1.5 MB", 1_500_000), ("2GiB", 2**31), (77, 77), ("77", 77), ("3KiB", 3072), ("9B", 9)],
)
def test_sizes(size: Any, nbytes: int) -> None:
    assert folders.shard_bytes(size) == nbytes


@pytest.mark.parametrize("size", ["", "GB", "5XB", "-5GB", 0, -1, "0.1B", 1.5, True, None, "1e9", "5 G B", "5gb"])
def test_no_sizes(size: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"max_shard_size is .*, expected bytes such as"):
        folders.shard_bytes(size)
    assert not any(tmp_path.iterdir())


def test_a_file_has_no_shards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shards lie in a folder"):
        ma.save(tmp_path / "x.h5", DATA, max_shard_size="5GB")
    assert not any(tmp_path.iterdir())


def test_surgery_in_folders(folder: Path, tmp_path: Path) -> None:
    ma.save_model(tmp_path / "other.h5", network(1), inputs=X, durable=False)
    transplant_file(tmp_path / "other.h5", folder, folder, select="body.*", durable=False)
    net = ma.load_model(folder, verify=True)
    np.testing.assert_array_equal(net.body.one.weight.value(), network(1).body.one.weight.value())
    np.testing.assert_array_equal(net.first.weight.value(), network().first.weight.value())
    transplant_file(folder, tmp_path / "other.h5", tmp_path / "back.h5", select="first.*", durable=False)
    np.testing.assert_array_equal(ma.load(tmp_path / "back.h5")["first.weight"], network().first.weight.value())
    target = network(2)
    ma.transplant(folder, target, select="body.*")
    np.testing.assert_array_equal(target.body.two.weight.value(), network(1).body.two.weight.value())


def test_repacked_in_place_and_anew(folder: Path, tmp_path: Path) -> None:
    before = ma.load(folder)
    maintenance.repack(folder, max_shard_size="1GB", durable=False)
    assert sorted(each.name for each in folder.glob("*.safetensors")) == [
        "model-00001-of-00002.safetensors",  # the network, and what training goes on from
        "model-00002-of-00002.safetensors",
    ]
    assert_same(before, ma.load(folder, verify=True))
    maintenance.repack(folder, tmp_path / "m.h5", durable=False)
    maintenance.repack(tmp_path / "m.h5", tmp_path / "n", dtype="float64", max_shard_size="1KB", durable=False)
    with ma.open(tmp_path / "n") as archive:
        archive.verify()
        assert archive["first.weight"].dtype == np.float64
        assert archive.training["step"] == 3


def test_a_link_out_of_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "config.json").symlink_to(tmp_path / "secret")
    _change(folder, lambda found: found["metadata"]["modelarchive"].update(files={"config.json": "0" * 64}))
    with pytest.raises(UnsafeFileError, match="is a link out of its own folder"), ma.open(folder) as archive:
        archive.verify()
    with pytest.raises(UnsafeFileError, match="is a link out of its own folder"):
        maintenance.repack(folder, tmp_path / "n", max_shard_size="1GB", durable=False)
    assert not (tmp_path / "n").exists()
    (folder / "config.json").unlink()
    with (folder / "config.json").open("wb") as file:
        file.truncate(200_000_000)
    with pytest.raises(FormatError, match="expected a text beside shards"), ma.open(folder) as archive:
        archive.verify()


def test_one_file_of_a_folder_leads_to_the_folder(tmp_path: Path) -> None:
    """Who finds `model.h5` in a folder gives that."""
    net = nn.Sequential(nn.Dense(3, in_units=4), nn.Dense(2, in_units=3))
    net.initialize(seed=0)
    folder = tmp_path / "pieces"
    ma.save_model(folder, net, inputs=np.ones((1, 4), np.float32), max_shard_size=20)
    for name, doors in (
        ("model.h5", (ma.load, ma.load_model, ma.verify)),
        ("model-00001-of-00004.safetensors", (ma.load_model,)),
    ):
        for door in doors:
            with pytest.raises(ma.FormatError) as caught:
                door(folder / name)
            assert str(caught.value.hint).endswith(f"give the folder, {folder}")
    assert list(ma.load(folder / "model-00001-of-00004.safetensors")) == ["0.weight"]
    with ma.open(folder / "model.h5") as archive:
        assert archive.architecture["model"]["kind"] == "Sequential"
