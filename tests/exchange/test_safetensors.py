"""safetensors files: what torch and transformers wrote is read, what is written the library reads, attacks fail."""

from __future__ import annotations

import json
import struct
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import load_file, save_file

import modelarchive as ma
from modelarchive import nn
from modelarchive.exchange import Bundle, safetensors, save_bundle
from modelarchive.exchange.bundle import Parameters, deferred
from modelarchive.store.deferred import Deferred
from tests.conftest import ROOT
from tests.structures import assert_same

FOREIGN = ROOT / "tests" / "data" / "foreign" / "safetensors"


def test_what_torch_wrote() -> None:
    bundle = safetensors.read(FOREIGN / "dtypes.safetensors")
    assert bundle.metadata == {"made by": "torch", "é": "ü"}
    assert bundle.architecture is None
    assert bundle.reason
    arrays = dict(bundle.parameters)
    assert arrays.pop("scalar").tolist() == 2.5
    assert arrays.pop("empty").shape == (0, 3)
    assert arrays.pop("names/of any:kind é").tolist() == [1]
    assert len(arrays) == 17
    for name, array in arrays.items():
        assert array.dtype.name == name
        values = [1, 2, 0.5, 4]
        expected = [bool(v) for v in values] if name == "bool" else [int(v) if "int" in name else v for v in values]
        assert array.astype(np.complex64).tolist() == expected, name


def test_what_transformers_wrote_in_shards() -> None:
    bundle = safetensors.read(FOREIGN / "model.safetensors.index.json")
    sums = json.loads((FOREIGN / "sums.json").read_text())
    assert set(bundle.parameters) <= set(sums)
    assert len(bundle.parameters) > 10
    for name, array in bundle.parameters.items():
        assert np.isclose(array.astype(np.float64).sum(), sums[name]), name
    assert bundle.notes == []


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.standard_normal((3, 4)).astype(np.float32),
        "a.half": rng.standard_normal((3,)).astype(np.float16),
        "fortran": np.asfortranarray(rng.standard_normal((5, 6))),
        "big": np.arange(6, dtype=">i4"),
        "strided": np.arange(20, dtype=np.int64)[::3],
        "empty": np.zeros((0, 3), np.int8),
        "scalar": np.array(3.5),
        "flags": np.array([True, False, True]),
        "bfloat": np.ones(3, ml_dtypes.bfloat16),
        "float8": np.ones(5, ml_dtypes.float8_e4m3fn),
        "complex": np.ones(2, np.complex64),
    }


def known(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those that the library has a code for: complex64 only from 0.6 on."""
    has_complex = [*map(int, version("safetensors").split(".")[:2])] >= [0, 6]
    return {name: array for name, array in arrays.items() if has_complex or array.dtype.kind != "c"}


def native(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("=")) if array.dtype.kind in "iufc" else array


@pytest.mark.parametrize("limit", [None, 1, 60, 10_000])
def test_round_trip(arrays: dict[str, np.ndarray], tmp_path: Path, limit: int | None) -> None:
    path = tmp_path / "model.safetensors"
    assert safetensors.write(arrays, path, max_shard_bytes=limit) == []
    path = path if limit is None else tmp_path / "model.safetensors.index.json"
    bundle = safetensors.read(path)
    assert list(bundle.parameters) == list(arrays)
    for name, array in arrays.items():
        assert_same(bundle.parameters[name], native(array))
        assert_same(deferred(bundle.parameters)[name].read(), native(array))
    if limit is None:
        for name, found in bundle.parameters.items():
            assert found.flags.aligned, name
    elif limit == 60:
        assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 3


def test_the_library_reads_what_is_written(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch

    path = tmp_path / "x.safetensors"
    arrays = known(arrays)
    safetensors.write(arrays, path)
    found = load_torch(path)
    assert set(found) == set(arrays)
    assert torch.equal(found["a.weight"], torch.from_numpy(arrays["a.weight"]))
    assert found["bfloat"].tolist() == [1, 1, 1]
    plain = {name: array for name, array in arrays.items() if array.dtype.isbuiltin != 2}
    safetensors.write(plain, path)
    for name, array in load_file(path).items():
        assert np.array_equal(array, plain[name]), name


def test_through_an_archive(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    save_file({name: native(a) for name, a in known(arrays).items() if a.dtype.isbuiltin != 2 and a.flags.c_contiguous},
              tmp_path / "in.safetensors", metadata={"format": "np", "step": "3"})  # fmt: skip
    bundle = safetensors.read(tmp_path / "in.safetensors")
    assert save_bundle(tmp_path / "x.h5", bundle) == []
    safetensors.write(tmp_path / "x.h5", tmp_path / "out.safetensors")
    again = safetensors.read(tmp_path / "out.safetensors")
    assert again.metadata == {"format": "np", "step": "3"}
    assert list(again.parameters) == list(bundle.parameters)
    assert_same(dict(again.parameters), dict(bundle.parameters))


def test_an_archive_is_one_too(tmp_path: Path) -> None:
    ma.save(tmp_path / "x.h5", {"a": np.arange(3), "b": np.zeros(2)})
    bundle = safetensors.read(tmp_path / "x.h5")
    assert sorted(bundle.parameters) == ["a", "b"]
    assert bundle.metadata == {"format": "pt"}


def test_losses_are_told(tmp_path: Path) -> None:
    shared = np.zeros(2, np.float32)
    bundle = Bundle({"a": shared, "b": shared}, metadata={"n": 3, "s": "x"}, tokens={"a": ["u", "v"]})
    notes = safetensors.write(bundle, tmp_path / "x.safetensors")
    assert [note.where for note in notes] == ["metadata['n']", "a", "b"]
    assert safetensors.read(tmp_path / "x.safetensors").metadata == {"n": "3", "s": "x", "format": "pt"}


def test_what_it_has_no_code_for(tmp_path: Path) -> None:
    with pytest.raises(ma.ConversionError) as caught:
        safetensors.write({"a": np.zeros(2, np.complex128), "__metadata__": np.zeros(1)}, tmp_path / "x.safetensors")
    assert [where for where, _ in caught.value.unsupported] == ["a", "__metadata__"]
    assert list(tmp_path.iterdir()) == []


def test_dtypes_that_numpy_lacks(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    build(path, {"a": entry("F4", [2], 0, 1), "b": entry("F6_E2M3", [4], 1, 4), "c": entry("U8", [1], 4, 5)}, bytes(5))
    with pytest.raises(ma.ConversionError) as caught:
        safetensors.read(path)
    assert [where for where, _ in caught.value.unsupported] == ["a", "b"]


def entry(dtype: Any, shape: Any, begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def build(path: Path, header: Any, data: bytes, *, length: int | None = None) -> None:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)


HUGE = 2**62
ATTACKS: dict[str, tuple[Any, bytes]] = {
    "no object": (b"[1, 2]", b""),
    "not JSON": (b'{"a"', b""),
    "not UTF-8": (b'{"\xff": 1}', b""),
    "deep": (b'{"a":' * 100_000, b""),
    "twice": (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"1",
    ),
    "shape larger than the data": ({"a": entry("F32", [100], 0, 8)}, bytes(8)),
    "shape that overflows": ({"a": entry("F32", [HUGE, HUGE, 4], 0, 0)}, b""),
    "shape that overflows to zero": ({"a": entry("U8", [HUGE, HUGE, 0], 0, 0)}, b""),
    "negative length": ({"a": entry("F32", [-1, -2], 0, 8)}, bytes(8)),
    "length that is a boolean": ({"a": entry("U8", [True], 0, 1)}, b"1"),
    "length that is a float": ({"a": entry("U8", [1.0], 0, 1)}, b"1"),
    "offsets beyond the file": ({"a": entry("U8", [1000], 0, 1000)}, bytes(8)),
    "offsets that fall": ({"a": entry("U8", [0], 8, 0)}, bytes(8)),
    "offsets that overlap": ({"a": entry("U8", [8], 0, 8), "b": entry("U8", [8], 0, 8)}, bytes(8)),
    "a gap": ({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 6, 8)}, bytes(8)),
    "bytes of nobody": ({"a": entry("U8", [2], 0, 2)}, bytes(8)),
    "entry that is a list": ({"a": [1, 2]}, b""),
    "entry without a shape": ({"a": {"dtype": "U8", "data_offsets": [0, 0]}}, b""),
    "dtype that is a number": ({"a": entry(3, [1], 0, 1)}, b"1"),
    "dtype that is a list": ({"a": entry(["U8"], [1], 0, 1)}, b"1"),
    "three offsets": ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 1]}}, b"1"),
    "too many axes": ({"a": entry("U8", [1] * 1000, 0, 1)}, b"1"),
    "metadata that is a list": ({"__metadata__": ["a"], "a": entry("U8", [1], 0, 1)}, b"1"),
    "metadata of numbers": ({"__metadata__": {"a": 1}, "a": entry("U8", [1], 0, 1)}, b"1"),
}


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attacks(attack: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    build(path, *ATTACKS[attack])
    with pytest.raises(ma.FormatError, match=r"x\.safetensors"):
        safetensors.read(path)
    with pytest.raises(ma.ModelArchiveError):
        ma.load(path)


@pytest.mark.parametrize("length", [0, 1, 10**6, 100_000_001, 2**63, 2**64 - 1])
def test_header_length(length: int, tmp_path: Path) -> None:
    build(tmp_path / "x.safetensors", {"a": entry("U8", [1], 0, 1)}, b"1", length=length)
    with pytest.raises(ma.FormatError):
        safetensors.read(tmp_path / "x.safetensors")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    safetensors.write({"a": np.arange(3, dtype=np.int16), "b": np.ones(2)}, whole)
    raw = whole.read_bytes()
    cut = tmp_path / "cut.safetensors"
    for size in range(len(raw)):
        cut.write_bytes(raw[:size])
        with pytest.raises(ma.FormatError):
            safetensors.read(cut)


@pytest.mark.slow
@given(st.data())
def test_never_laxer_than_the_library(data: st.DataObject) -> None:
    """Mutated headers: what is read here the library reads too, and every other file ends in a designed error."""
    import tempfile

    header = json.dumps({"__metadata__": {"k": "v"}, "ab": entry("F32", [2, 1], 0, 8), "c": entry("I8", [3], 8, 11)})
    raw = bytearray(struct.pack("<Q", len(header)) + header.encode() + bytes(range(11)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(raw)
        try:
            found = safetensors.read(path).parameters
            sizes = {name: (array.shape, array.nbytes) for name, array in found.items()}
        except (ma.FormatError, ma.ConversionError):
            return
        try:
            theirs = dict(deserialize(bytes(raw)))
        except SafetensorError as error:
            pytest.fail(f"read here, refused there: {error}\n{raw!r}")
        assert sizes == {name: (tuple(value["shape"]), len(value["data"])) for name, value in theirs.items()}


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/b", "a\\b", "..", "", "C:x", "a\0b"])
def test_shards_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    safetensors.write({"a": np.zeros(1)}, tmp_path / "secret.safetensors")
    folder = tmp_path / "folder"
    folder.mkdir()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ma.UnsafeFileError) as caught:
        safetensors.read(index)
    assert caught.value.rule == "own folder only"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "{" * 100_000])
def test_broken_index(text: str, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(ma.FormatError, match=r"index\.json"):
        safetensors.read(index)


def test_shards_and_index_disagree(tmp_path: Path) -> None:
    safetensors.write({"a": np.zeros(1), "b": np.ones(1)}, tmp_path / "x.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "x.safetensors", "z": "x.safetensors"}}))
    with pytest.raises(ma.FormatError, match="'z'"):
        safetensors.read(index)
    index.write_text(json.dumps({"weight_map": {"a": "x.safetensors"}}))
    bundle = safetensors.read(index)
    assert list(bundle.parameters) == ["a"]
    assert [note.where for note in bundle.notes] == ["b"]
    index.write_text(json.dumps({"weight_map": {"a": "missing.safetensors", "b": "gone.safetensors"}}))
    with pytest.raises(ma.FormatError, match=r"2 files .*'missing\.safetensors', 'gone\.safetensors'"):
        safetensors.read(index)


def test_shards_take_their_places_together_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors.index.json"
    arrays = {f"a{number}": np.full(100, number, "f4") for number in range(4)}
    safetensors.write(arrays, path, max_shard_bytes=400)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert len(before) == 5

    def gone() -> np.ndarray:
        raise OSError(5, "the disk is gone")

    entries = deferred({name: array + 1 for name, array in arrays.items()})
    entries["a3"] = Deferred((100,), np.dtype("f4"), gone)
    with pytest.raises(OSError, match="nothing was changed"):
        safetensors.write(Bundle(Parameters(entries)), path, max_shard_bytes=400)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
    # Fewer than before: none is left that no index names.
    (tmp_path / "y-00001-of-00002.safetensors").touch()
    safetensors.write(arrays, path, max_shard_bytes=800)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "x-00001-of-00002.safetensors",
        "x-00002-of-00002.safetensors",
        "x.safetensors.index.json",
        "y-00001-of-00002.safetensors",
    ]


def test_metadata_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    """JSON may say half of a character; UTF-8, and what reads these files, cannot."""
    net = nn.Sequential(nn.Dense(2, in_units=3))
    net.initialize(seed=0)
    x = np.ones((1, 3), np.float32)
    odd = {"k\ud800": "é\udfff", "list": ["\ud800"]}
    ma.save_model(tmp_path / "odd.h5", net, inputs=x, metadata=odd)
    notes = ma.convert(tmp_path / "odd.h5", tmp_path / "odd.safetensors")
    assert sum("half of a character" in note.what for note in notes) == 2
    with safe_open(tmp_path / "odd.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt", "k\\ud800": "é\\udfff", "list": '["\\ud800"]'}
    ma.convert(tmp_path / "odd.h5", tmp_path / "odd.onnx")
    with ma.open(tmp_path / "odd.h5") as archive:
        assert archive.metadata == odd
    read = ma.load_model(tmp_path / "odd.onnx")
    assert np.array_equal(read(x), net(x))
