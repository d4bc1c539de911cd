"""Compressed archives: the same content to every reader, partial reads, repacking both ways, conversion of dtypes."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import modelarchive as ma
from modelarchive import models, nn
from modelarchive.archive.converting import Conversion
from modelarchive.maintenance import extract, reindex, repack
from modelarchive.store import chunks
from tests.hdf5_tools import needs_hdf5_tools, run
from tests.sampling import some
from tests.structures import assert_same, everything

RANDOM = np.random.default_rng(5)
DTYPES = ["int8", "int64", "float16", "float32", "float64", "bfloat16", "complex64", "complex128", "float8_e5m2"]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 16 KiB: a few kilobytes are several chunks."""
    monkeypatch.setattr(chunks, "CHUNK", 1 << 14)
    monkeypatch.setattr(chunks, "LEAST", 1 << 12)


def weights(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """What training leaves: values around zero, of few magnitudes."""
    values = RANDOM.standard_normal(shape) * (20 if "int" in dtype else 0.05)
    return values.astype(np.dtype(getattr(ml_dtypes, dtype, dtype)))


def network() -> nn.Block:
    built = nn.Sequential(
        nn.Dense(80, activation="relu", in_units=90), nn.BatchNorm(in_channels=80), nn.Dense(70, in_units=80)
    )
    built.initialize(seed=0)
    return built


def compressed(path: Path) -> list[str]:
    with ma.open(path) as archive:
        return list(archive.reader.contents.chunks)


@pytest.mark.parametrize("dtype", some(DTYPES))
@pytest.mark.parametrize("shape", [(60_000,), (350, 190), (9, 5, 1700), (1, 1, 1, 60_011)])
def test_every_reader_sees_the_same(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    array = weights(dtype, shape)
    ma.save(path, {"a": array, "b": np.arange(5)}, compression="deflate")
    assert compressed(path) == ["a"]
    assert path.stat().st_size < array.nbytes
    for options in ({}, {"mmap": True}, {"verify": True}):
        assert_same({"a": array, "b": np.arange(5)}, ma.load(path, **options))
    with ma.open(path) as archive:
        assert not archive.is_stale
        archive.verify()
        assert_same(array, archive.parameters["a"])
    with h5py.File(path) as file:
        dataset = file["arrays/a"]
        stored = dataset[()]
        assert (dataset.compression, dataset.shuffle) == ("gzip", array.itemsize > 1)
    if dtype == "float8_e5m2":
        assert np.array_equal(stored, array.view(np.uint8))
    elif dtype == "bfloat16":
        assert np.array_equal(stored.astype("f4"), array.astype("f4"))
    else:
        assert_same(array, stored)
    found = load_file(path)
    assert set(found) == {"b", "__hdf5__.0", "__hdf5__.1"}
    assert np.array_equal(found["b"], np.arange(5))


@needs_hdf5_tools
def test_h5dump_and_h5repack_read_it(tmp_path: Path) -> None:
    array = weights("float32", (100, 90))
    ma.save(tmp_path / "a.h5", {"a": array}, compression="deflate")
    said = run("h5dump", "-p", "-m", "%.9g", "-d", "/arrays/a", "-s", "99,80", "-c", "1,10", tmp_path / "a.h5")
    assert "PREPROCESSING SHUFFLE" in said
    assert "COMPRESSION DEFLATE" in said
    numbers = re.findall(r"\(99,\d+\): (.*)", said)
    values = [np.float32(number) for line in numbers for number in line.strip().rstrip(",").split(", ")]
    assert np.array_equal(values, array[99, 80:])
    run("h5repack", "-f", "NONE", tmp_path / "a.h5", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        assert np.array_equal(file["arrays/a"][()], array)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_rows_are_those_of_the_array(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.h5"
    shape = tuple(data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=3)))
    array = np.arange(math.prod(shape), dtype=data.draw(st.sampled_from(["i8", "f4", "i2"]))).reshape(shape)
    chunks.LEAST, chunks.CHUNK = 64, data.draw(st.sampled_from([64, 1 << 10, 1 << 14]))  # type: ignore[misc]
    ma.save(path, {"a": array}, compression="deflate", durable=False)
    start, stop = data.draw(st.integers(-50, 50)), data.draw(st.none() | st.integers(-50, 50))
    with ma.open(path) as archive:
        assert_same(array[start:stop], archive.rows("a", start, stop))
        assert_same(array, archive.rows("a"))


@pytest.mark.slow
def test_rows_read_only_the_chunks_that_hold_them(tmp_path: Path) -> None:
    array = weights("float32", (400, 100))
    ma.save(tmp_path / "a.h5", {"a": array, "s": np.float32(2)}, compression="deflate")
    with ma.open(tmp_path / "a.h5") as archive:
        first = archive.reader.contents.chunks["a"]
        raw = bytearray((tmp_path / "a.h5").read_bytes())
    raw[first.offset + 5 : first.offset + 200] = bytes(195)
    (tmp_path / "a.h5").write_bytes(raw)
    with ma.open(tmp_path / "a.h5") as archive:
        rows = first.shape[0]
        assert_same(array[rows : rows + 70], archive.rows("a", rows, rows + 70))
        with pytest.raises(ma.FormatError, match="a: chunk 0"):
            archive.rows("a", rows - 1, rows + 1)
        with pytest.raises(ma.FormatError, match="a: chunk 0"):
            archive.parameters["a"]
        with pytest.raises(ma.IntegrityError) as caught:
            archive.verify()
        assert list(caught.value.damaged) == ["a"]
        with pytest.raises(ma.ParameterError, match="'b'"):
            archive.rows("b")
        with pytest.raises(ValueError, match="no rows"):
            archive.rows("s")
    with pytest.raises(ma.IntegrityError):
        ma.load(tmp_path / "a.h5", verify=True)


@pytest.mark.slow
def test_every_flipped_bit_of_a_chunk_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    ma.save(path, {"a": weights("float32", (100, 64))}, compression="deflate")
    with ma.open(path) as archive:
        found = archive.reader.contents.chunks["a"]
    raw = path.read_bytes()
    for at in np.linspace(found.offset, found.offset + found.nbytes - 1, 60).astype(int).tolist():
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 16]) + raw[at + 1 :])
        with ma.open(path) as archive, pytest.raises(ma.IntegrityError):
            archive.verify()


def test_what_does_not_shrink_stays_as_it_is(tmp_path: Path) -> None:
    data = everything() | {"noise": RANDOM.integers(0, 256, 50_000, dtype="u1"), "zeros": np.zeros((99, 99))}
    ma.save(tmp_path / "a.h5", data, compression="deflate")
    assert_same(data, ma.load(tmp_path / "a.h5", verify=True))
    assert compressed(tmp_path / "a.h5") == ["zeros"]
    ma.save(tmp_path / "b.h5", data, compression={"zeros": None, "*": "deflate"})
    ma.save(tmp_path / "c.h5", data)
    assert (tmp_path / "b.h5").read_bytes() == (tmp_path / "c.h5").read_bytes()


@pytest.mark.parametrize(
    ("compression", "words"),
    [
        ("gzip", "compression is 'gzip', expected None, 'deflate'"),
        ({"*": "keep"}, r"compression\['\*'\] is 'keep'"),
        ({"x": "deflate"}, r"compression\['x'\]: there is no such array"),
        ({"zero": "deflate"}, "did you mean 'zeros'"),
    ],
)
def test_other_choices_are_refused(compression: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, ma.ParameterError), match=words):
        ma.save(tmp_path / "a.h5", {"zeros": np.zeros(9)}, compression=compression)
    with pytest.raises(TypeError):
        ma.save(tmp_path / "a.h5", {"zeros": np.zeros(9)}, compression=9)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_models_and_parts_of_them(tmp_path: Path) -> None:
    net, inputs = network(), RANDOM.standard_normal((3, 90)).astype("f4")
    outputs = net(inputs)
    path = tmp_path / "m.h5"
    ma.save_model(path, net, inputs=inputs, compression={"2.*": None, "*": "deflate"})
    assert compressed(path) == ["0.weight"]
    assert np.array_equal(ma.load_model(path, verify=True)(inputs), outputs)
    clone = network()
    clone.initialize(seed=1, force_reinit=True)
    clone.load_parameters(path)
    assert np.array_equal(clone(inputs), outputs)
    extract(path, "0", tmp_path / "part.h5")
    assert compressed(tmp_path / "part.h5") == ["weight"]
    assert_same(net[0].weight.data(), ma.load(tmp_path / "part.h5", verify=True)["weight"])
    other = network()
    other.initialize(seed=2, force_reinit=True)
    ma.transplant(path, other, select="0.*")
    assert_same(net[0].weight.data(), other[0].weight.data())
    net.save_parameters(tmp_path / "p.h5", compression="deflate")
    assert compressed(tmp_path / "p.h5") == ["0.weight", "2.weight"]
    with ma.open(tmp_path / "p.h5") as archive:
        archive.verify()


def test_shared_parameters_are_compressed_once(tmp_path: Path) -> None:
    class Tied(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(300, 40)
            self.output = nn.Dense(300, use_bias=False, in_units=40, flatten=False)
            self.output.weight = self.embedding.weight

        def forward(self, x: Any) -> Any:
            return self.output(self.embedding(x))

    net = Tied()
    net.initialize(seed=0)
    ma.save_model(tmp_path / "m.h5", net, inputs=np.array([[1, 2]]), compression="deflate")
    with ma.open(tmp_path / "m.h5") as archive:
        assert list(archive.reader.contents.chunks) == ["embedding.weight"]
        archive.verify()
        assert_same(archive.parameters["embedding.weight"], archive.parameters["output.weight"])
        assert_same(archive.rows("embedding.weight", 5, 9), archive.rows("output.weight", 5, 9))
    found = ma.load(tmp_path / "m.h5")
    assert found["embedding.weight"] is found["output.weight"]


def test_repacked_both_ways_the_bytes_are_the_same(tmp_path: Path) -> None:
    net, inputs = network(), np.ones((1, 90), "f4")
    plain, packed, again = (tmp_path / name for name in ("plain.h5", "packed.h5", "again.h5"))
    ma.save_model(plain, net, inputs=inputs, metadata={"a": [1]})
    ma.save_model(packed, net, inputs=inputs, metadata={"a": [1]}, compression="deflate")
    repack(plain, again, compression="deflate")
    assert again.read_bytes() == packed.read_bytes()
    repack(packed, again, compression=None)
    assert again.read_bytes() == plain.read_bytes()
    repack(packed, again)
    assert again.read_bytes() == packed.read_bytes()
    repack(packed, again, compression={"0.*": None, "*": "keep"})
    assert compressed(again) == ["2.weight"]
    with ma.open(plain) as one, ma.open(packed) as two:
        digests = [{name: entry.digest for name, entry in each.reader.contents.arrays.items()} for each in (one, two)]
        assert digests[0] == digests[1]
    saved = everything() | {"w": weights("float32", (90, 90))}
    ma.save(plain, saved)
    repack(plain, compression="deflate")
    assert compressed(plain) == ["w"]
    assert_same(saved, ma.load(plain, verify=True))


def test_what_hdf5_tools_change_is_read_and_indexed_again(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = {"z": weights("float32", (100, 90)), "a": weights("bfloat16", (9000,)), "n": np.arange(9)}
    ma.save(path, data, compression="deflate")
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "changed"
        file["arrays/added"] = np.arange(4)
    with pytest.warns(ma.StaleIndexWarning):
        assert_same(data | {"added": np.arange(4)}, ma.load(path))
    reindex(path)
    assert_same(data | {"added": np.arange(4)}, ma.load(path, verify=True))
    with ma.open(path) as archive:
        archive.verify()
        assert archive.reader.contents.chunks.keys() == {"a", "z"}


@pytest.mark.parametrize(
    "how",
    [
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True},
        {"chunks": (16, 16), "compression": 9, "shuffle": True},
        {"chunks": (16, 16), "compression": 9, "shuffle": True, "fletcher32": True},
    ],
)
def test_what_others_compress_is_read_and_repacked(how: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    array = weights("float32", (120, 90))
    ma.save(path, {"a": np.arange(3)})
    with h5py.File(path, "r+") as file:
        file.create_dataset("arrays/b", data=array, **how)
    with pytest.warns(ma.StaleIndexWarning):
        assert_same({"a": np.arange(3), "b": array}, ma.load(path))
    with pytest.warns(ma.StaleIndexWarning), ma.open(path) as archive:
        assert_same(array[7:20], archive.rows("b", 7, 20))
    repack(path)
    assert compressed(path) == ["b"]
    assert_same({"a": np.arange(3), "b": array}, ma.load(path, verify=True))


@pytest.mark.parametrize("after", ["bfloat16", "float16", "float64"])
def test_converted_as_numpy_converts(after: str, tmp_path: Path) -> None:
    net, inputs = network(), np.ones((1, 90), "f4")
    net[0].weight.data()[0, :3] = [1e-30, -1e-44, np.inf]
    path, out = tmp_path / "a.h5", tmp_path / "b.h5"
    ma.save_model(path, net, inputs=inputs)
    done = repack(path, out, dtype={"*.running_*": None, "*": after}, compression="deflate")
    dtype = np.dtype(getattr(ml_dtypes, after, after))
    before, found = ma.load(path), ma.load(out, verify=True)
    reports = {each.name: each for each in done.converted}
    assert reports.keys() == {name for name in before if "running" not in name}
    for name, array in before.items():
        expected = array if "running" in name else array.astype(dtype)
        assert_same(expected, found[name])
        if name in reports:
            exact, rounded = array.astype("f8"), expected.astype("f8")
            error = np.abs(exact[np.isfinite(exact)] - rounded[np.isfinite(exact)])
            assert reports[name].largest_error == pytest.approx(error.max(), rel=1e-6)
            assert reports[name].zeroed == np.count_nonzero((rounded == 0) & (exact != 0))
    assert reports["0.weight"].zeroed == {"bfloat16": 1, "float16": 2, "float64": 0}[after]
    with ma.open(out) as archive:
        archive.verify()
        declared = [child["block"]["dtype"] for child in archive.architecture["model"]["children"]]
    assert declared[0] == declared[2] == after
    assert ma.load_model(out)[0].weight.dtype == dtype


def test_a_conversion_that_would_lose_a_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    ma.save(path, {"a": np.float32([1, 7e4]), "b": np.float32([3]), "c": np.float64([1e300]), "n": np.arange(3)})
    before = path.read_bytes()
    with pytest.raises(ma.UnsupportedDataError) as caught:
        repack(path, dtype="float16")
    assert path.read_bytes() == before
    assert [name for name, _ in caught.value.problems] == ["a", "c"]
    assert "70000 is beyond float16, which ends at 65504" in str(caught.value)
    done = repack(path, dtype={"b": "float16", "n": "float16"})
    assert done.converted == [Conversion("b", "float32", "float16", 0.0, 0.0, 0)]
    assert_same({"a": np.float32([1, 7e4]), "b": np.float16([3]), "c": np.float64([1e300]), "n": np.arange(3)},
                ma.load(path))  # fmt: skip
    with pytest.raises(ValueError, match="dtype is 'int8'"):
        repack(path, dtype="int8")


def test_the_index_says_it_as_the_format_describes(tmp_path: Path) -> None:
    """By hand, from docs/format.md: the record's `compressed`, shuffle and zlib."""
    import zlib

    array = weights("float32", (101, 90))
    ma.save(tmp_path / "a.h5", {"a": array}, compression="deflate")
    raw = (tmp_path / "a.h5").read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    assert "a" not in header
    said = json.loads(header["__metadata__"]["modelarchive"])["compressed"]["a"]
    assert (said["dtype"], said["shape"]) == ("F32", [101, 90])
    at, rows, found = start + said["offset"], said["chunk"][0], []
    for size in said["sizes"]:
        plain = zlib.decompress(raw[at : at + size])
        count = len(plain) // 4
        found.append(bytes(plain[plane * count + element] for element in range(count) for plane in range(4)))
        at += size
    assert at == len(raw)
    assert b"".join(found)[: array.nbytes] == array.tobytes()
    assert rows * len(said["sizes"]) >= 101


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".h5"])
def test_converted_into_other_formats_and_back(suffix: str, tmp_path: Path) -> None:
    net, inputs = network(), np.ones((1, 90), "f4")
    path, other = tmp_path / "m.h5", tmp_path / f"other{suffix}"
    ma.save_model(path, net, inputs=inputs, compression="deflate")
    ma.convert(path, other)
    before, after = ma.load(path), ma.load(other)
    assert before.keys() == after.keys()
    assert all(np.array_equal(after[name], array) for name, array in before.items())


def test_what_an_exchange_has_read_is_compressed_too(tmp_path: Path) -> None:
    net, inputs = network(), np.ones((1, 90), "f4")
    ma.save_model(tmp_path / "m.h5", net, inputs=inputs)
    notes = ma.save_model(tmp_path / "c.h5", models.read(tmp_path / "m.h5"), compression="deflate")
    assert notes == []
    assert compressed(tmp_path / "c.h5") == ["0.weight", "2.weight"]
    assert np.array_equal(ma.load_model(tmp_path / "c.h5", verify=True)(inputs), net(inputs))
