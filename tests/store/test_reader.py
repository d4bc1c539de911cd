"""A file that HDF5 tools have edited gives what is in it now, and one warning; never anything else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import maintenance
from modelarchive.store.reader import Reader
from modelarchive.store.source import Source
from tests.hdf5_tools import needs_hdf5_tools, run
from tests.sampling import some
from tests.structures import assert_same, everything, stale_load

DATA = {
    "a": np.arange(6, dtype="f4").reshape(2, 3),
    "b": np.arange(64, dtype="i8"),
    "s": np.array(["x", "yy"]),
    "n": 5,
    "l": [np.arange(2), np.arange(3.0)],
}
NEW = np.array([[7, 8]], dtype="i2")
WORDS = np.array(["hé", "llo"], dtype=np.dtypes.StringDType())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save(path, DATA, durable=False)
    return path


def put(name: str, value: Any, **options: Any) -> Callable[[h5py.File], None]:
    """Delete a dataset and create another one in its place."""

    def edit(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, data=value, **options)

    return edit


def resize(file: h5py.File) -> None:
    put("arrays/a", np.arange(10.0), maxshape=(None,), chunks=(4,))(file)
    file["arrays/a"].resize((12,))


def swap(file: h5py.File) -> None:
    for old, new in (("0", "t"), ("1", "0"), ("t", "1")):
        file.move(f"arrays/l/{old}", f"arrays/l/{new}")


def renamed(old: str, new: str) -> dict[str, Any]:
    return {(new if key == old else key): value for key, value in DATA.items()}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in DATA.items() if name != key}


EDITS: dict[str, tuple[Callable[[h5py.File], Any], Any]] = {
    "attribute set": (lambda f: f["arrays/a"].attrs.__setitem__("unit", "m"), DATA),
    "root attribute set": (lambda f: f.attrs.__setitem__("author", "me"), DATA),
    "long attribute": (lambda f: f.attrs.__setitem__("notes", "x" * 60_000), DATA),
    "renamed": (lambda f: f.move("arrays/a", "arrays/z"), renamed("a", "z")),
    "swapped": (
        lambda f: (f.move("arrays/a", "arrays/t"), f.move("arrays/b", "arrays/a"), f.move("arrays/t", "arrays/b")),
        {**DATA, "a": DATA["b"], "b": DATA["a"]},
    ),
    "replaced": (put("arrays/a", NEW), {**DATA, "a": NEW}),
    "replaced, same shape": (put("arrays/a", -DATA["a"]), {**DATA, "a": -DATA["a"]}),
    "resized": (resize, {**DATA, "a": np.array([*range(10), 0, 0], "f8")}),
    "added": (put("arrays/new", NEW), {**DATA, "new": NEW}),
    "added in a new group": (put("arrays/g/h", NEW), {**DATA, "g": {"h": NEW}}),
    "added to a list": (put("arrays/l/2", NEW), {**DATA, "l": [*DATA["l"], NEW]}),
    "added by name to a list": (
        put("arrays/l/x", NEW),
        {**DATA, "l": {"0": DATA["l"][0], "1": DATA["l"][1], "x": NEW}},
    ),
    "deleted": (lambda f: f.__delitem__("arrays/a"), without("a")),
    "last deleted": (lambda f: f.__delitem__("arrays/l/0"), {**DATA, "l": DATA["l"][1:]}),
    "group deleted": (lambda f: f.__delitem__("arrays/l"), without("l")),
    "list swapped": (swap, {**DATA, "l": DATA["l"][::-1]}),
    "hard link": (lambda f: f.__setitem__("arrays/z", f["arrays/a"]), {**DATA, "z": DATA["a"]}),
    "gzip": (put("arrays/a", DATA["b"], compression="gzip", shuffle=True, fletcher32=True), {**DATA, "a": DATA["b"]}),
    "gzip, odd chunks": (put("arrays/a", DATA["a"], compression="gzip", chunks=(2, 2)), DATA),
    "big-endian": (put("arrays/a", DATA["a"].astype(">f4")), DATA),
    "big-endian complex": (put("arrays/a", np.arange(3).astype(">c16")), {**DATA, "a": np.arange(3).astype("c16")}),
    "boolean": (put("arrays/a", np.array([True, False])), {**DATA, "a": np.array([True, False])}),
    "unwritten": (
        lambda f: (f.__delitem__("arrays/a"), f.create_dataset("arrays/a", (3,), "f8", fillvalue=2.0)),
        {**DATA, "a": np.full(3, 2.0)},
    ),
    "scalar": (put("arrays/a", np.float32(3)), {**DATA, "a": np.float32(3)}),
    "variable-length strings": (put("arrays/s", WORDS.tolist(), dtype=h5py.string_dtype()), {**DATA, "s": WORDS}),
    "fixed-length strings": (
        put("arrays/s", np.array([b"abc", b"d"])),
        {**DATA, "s": np.array(["abc", "d"], dtype=np.dtypes.StringDType())},
    ),
    "one string": (put("arrays/s", "text"), {**DATA, "s": "text"}),
    "foreign datasets": (put("elsewhere/x", NEW), DATA),
    "named type": (lambda f: f.__setitem__("arrays/t", np.dtype("f4")), DATA),
    "attribute of no value": (lambda f: f["arrays/l"].attrs.__setitem__("kind", h5py.Empty("f4")), DATA),
}


@pytest.mark.parametrize("name", some(EDITS))
def test_edited_with_h5py(path: Path, name: str) -> None:
    edit, expected = EDITS[name]
    with h5py.File(path, "r+") as file:
        edit(file)
    written = path.read_bytes()
    assert_same(expected, stale_load(path))
    assert_same(expected, stale_load(path, mmap=True))
    with pytest.warns(ma.StaleIndexWarning), pytest.raises(ma.IntegrityError) as caught, ma.open(path) as archive:
        archive.verify()
    assert "(index)" in caught.value.damaged
    with pytest.warns(ma.StaleIndexWarning), pytest.raises(ma.IntegrityError):
        ma.load(path, verify=True)
    assert path.read_bytes() == written, "reading changed the file"
    maintenance.repack(path, durable=False)
    assert_same(expected, ma.load(path, verify=True))
    if not name.startswith(("foreign", "one string", "variable")):
        assert list(ma.load(path)) == list(ma.load(path, mmap=True))


#: What an index cannot describe: no bytes of its own, or bytes that mean something else.
BEYOND_AN_INDEX = {
    "resized",
    "gzip",
    "gzip, odd chunks",
    "big-endian",
    "big-endian complex",
    "unwritten",
    "variable-length strings",
    "one string",
}


@pytest.mark.parametrize("name", some(sorted(EDITS.keys() - BEYOND_AN_INDEX)))
def test_reindexed_after_an_edit(path: Path, name: str) -> None:
    edit, expected = EDITS[name]
    with h5py.File(path, "r+") as file:
        edit(file)
    maintenance.reindex(path, durable=False)
    assert_same(expected, ma.load(path, verify=True))
    with ma.open(path) as archive:
        archive.verify()
    with h5py.File(path) as file:
        assert "arrays" in file


@pytest.mark.parametrize("name", sorted(BEYOND_AN_INDEX))
def test_what_an_index_cannot_describe(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        EDITS[name][0](file)
    written = path.read_bytes()
    with pytest.raises(ma.FormatError, match="cannot be indexed in place") as caught:
        maintenance.reindex(path)
    assert "repack" in str(caught.value.hint)
    assert path.read_bytes() == written


def test_opened_for_writing_and_not_changed(path: Path) -> None:
    written = path.read_bytes()
    with h5py.File(path, "r+") as file:
        assert file["arrays/a"][0, 0] == 0
    assert path.read_bytes() == written
    assert_same(DATA, ma.load(path, verify=True))


def test_values_changed_in_place(path: Path) -> None:
    """The index still holds, so the new values are read; that they are new is what the digests are for."""
    with h5py.File(path, "r+") as file:
        file["arrays/a"][...] = 9
        file["arrays/s"][0] = b"z"
    expected = {**DATA, "a": np.full((2, 3), 9, "f4"), "s": np.array(["z", "yy"])}
    assert_same(expected, ma.load(path))
    with ma.open(path) as archive, pytest.raises(ma.IntegrityError) as caught:
        archive.verify()
    assert caught.value.damaged.keys() == {"a", "/arrays/s"}
    for options in ({}, {"mmap": True}):
        with pytest.raises(ma.IntegrityError) as caught:
            ma.load(path, verify=True, **options)
        assert caught.value.damaged.keys() == {"a", "/arrays/s"}


def test_a_lone_array_keeps_its_value_or_its_names(path: Path) -> None:
    ma.save(path, NEW)
    with h5py.File(path, "r+") as file:
        file.move("arrays/array", "arrays/other")
    assert_same(NEW, stale_load(path))
    with h5py.File(path, "r+") as file:
        file["arrays/more"] = 1
    assert_same({"more": np.int64(1), "other": NEW}, stale_load(path))


@pytest.mark.slow
@needs_hdf5_tools
@pytest.mark.parametrize("options", [(), ("-l", "CHUNK=2"), ("-l", "COMPA"), ("-L",), ("-f", "SHUF")])
def test_h5repack(path: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    data = everything()
    del data["a/b.c%"]["."], data["texts"][3]  # h5repack 1.10 fails on filters for arrays of no elements
    ma.save(path, data)
    out = tmp_path / "out.h5"
    run("h5repack", *options, path, out)
    assert_same(data, stale_load(out))
    maintenance.repack(out)
    assert_same(data, ma.load(out, verify=True))


@needs_hdf5_tools
def test_h5repack_with_gzip(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    run("h5repack", "-f", "GZIP=4", path, out)
    with h5py.File(out) as file:
        assert file["arrays/b"].compression == "gzip"
    assert_same(DATA, stale_load(out))


@needs_hdf5_tools
def test_h5repack_drops_the_user_block_or_keeps_it(path: Path, tmp_path: Path) -> None:
    lost, kept = tmp_path / "lost.h5", tmp_path / "kept.h5"
    run("h5repack", path, kept)
    data = kept.read_bytes()
    lost.write_bytes(data[data.index(b"\x89HDF\r\n\x1a\n") :])
    assert lost.read_bytes().startswith(b"\x89HDF")
    for out in (lost, kept):
        assert_same(DATA, stale_load(out))
    with pytest.raises(ma.FormatError, match="user block"):
        maintenance.reindex(lost)


def test_replaced_while_open(path: Path, tmp_path: Path) -> None:
    """An archive that is open shows the file that it opened, never what another save put in its place."""
    with h5py.File(path, "r+") as file:
        put("arrays/a", DATA["a"], compression="gzip")(file)
    with pytest.warns(ma.StaleIndexWarning):
        archive = ma.open(path)
    with archive:
        ma.save(path, {**DATA, "a": DATA["a"] + 1})
        np.testing.assert_array_equal(archive.parameters["b"], DATA["b"])
        np.testing.assert_array_equal(archive.parameters["a"], DATA["a"])
    with ma.open(path) as archive:
        ma.save(path, {**DATA, "a": DATA["a"] + 2})
        np.testing.assert_array_equal(archive.parameters["a"], DATA["a"] + 1)
        archive.verify()


@pytest.mark.slow
def test_open_for_writing_elsewhere(path: Path) -> None:
    """With a stale index HDF5's own lock is respected, and named for what it is."""
    with h5py.File(path, "r+") as file:
        file.attrs["x"] = 1
    code = f"import h5py; file = h5py.File({str(path)!r}, 'r+'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(OSError, match="another program has the file open") as caught:
            ma.load(path)
        other.communicate(b"\n")
    assert caught.value.filename == str(path)


def test_a_sealed_reader_reads_no_hdf5(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelarchive.store.guarded import guard

    def fail(*args: Any, **options: Any) -> None:
        raise AssertionError("HDF5 was opened")

    for name in ("read_contents", "read_array", "read_text"):
        monkeypatch.setattr(guard, name, fail)
    assert_same(DATA, ma.load(path, verify=True))
    assert_same(DATA, ma.load(path, verify=True, mmap=True))
    reader = Reader(path)
    assert reader.damaged() == {}
    reader.source.close()


MIXED = {
    "packed": np.zeros(60_000, "f4"),
    "large": np.random.default_rng(0).integers(0, 256, 1 << 17, dtype="u1"),
    "small": np.arange(3, dtype="u1"),
    "none": np.zeros((0, 3)),
}


@pytest.mark.parametrize("options", [{}, {"mmap": True}, {"verify": True}, {"mmap": True, "verify": True}])
@pytest.mark.parametrize("is_mappable", [True, False])
def test_every_way_in_gives_the_same_in_the_same_order(
    tmp_path: Path, options: dict[str, bool], is_mappable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ma.save(tmp_path / "x.h5", MIXED, durable=False, compression="deflate")
    if not is_mappable:
        monkeypatch.setattr(Source, "_mapped", lambda self: None)
    found = ma.load(tmp_path / "x.h5", **options)
    assert list(found) == list(MIXED)
    assert_same(MIXED, found)


def test_names_that_are_asked_for_twice_or_by_another_name(tmp_path: Path) -> None:
    net = ma.nn.Sequential(ma.nn.Dense(4, in_units=4), ma.nn.Dense(4, in_units=4))
    net[1].weight = net[0].weight
    net.initialize()
    net.save_parameters(tmp_path / "x.h5")
    with ma.open(tmp_path / "x.h5") as archive:
        reader = archive.reader
        assert reader.contents.aliases == {"1.weight": "0.weight"}
        for get in (reader.views, reader.load, lambda wanted: reader.load(wanted, verify=True)):
            for wanted in (["1.weight"], ["1.weight", "0.weight"], ["0.bias", "0.bias"], ["0.weight", "1.bias"]):
                found = get(wanted)
                assert list(found) == list(dict.fromkeys(wanted))
                assert all(np.array_equal(found[name], archive.parameters[name]) for name in wanted)


@pytest.mark.parametrize("worth", [0, 1 << 62])
def test_threads_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worth: int) -> None:
    monkeypatch.setattr("modelarchive.store.fill.WORTH_THREADS", worth)
    monkeypatch.setattr("modelarchive.store.source.WORTH_THREADS", worth)
    sizes = [0, 1, 300, 70_000, 1_100_000, 5, 400_000]
    data = {f"a{size}": np.random.default_rng(size).standard_normal(size) for size in sizes}
    ma.save(tmp_path / "x.h5", data, durable=False)
    for options in ({}, {"verify": True}, {"mmap": True}):
        assert_same(data, ma.load(tmp_path / "x.h5", **options))
    with ma.open(tmp_path / "x.h5") as archive:
        archive.verify()
    with (tmp_path / "x.h5").open("r+b") as file:
        file.seek(-9, 2)
        file.write(b"!")
    with ma.open(tmp_path / "x.h5") as archive, pytest.raises(ma.IntegrityError):
        archive.verify()
