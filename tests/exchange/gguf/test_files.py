"""Files as data: what is right is read as the package of llama.cpp reads it, what is wrong is refused by name."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import budget, gguf
from tests.conftest import ROOT
from tests.exchange.gguf import wire

FOREIGN = ROOT / "tests" / "data" / "foreign" / "gguf"
ONE = [wire.info("w", (4,))]
DATA = wire.numbers(4).tobytes()


def put(folder: Path, data: bytes, name: str = "x.gguf") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_every_type_of_metadata_comes_with_its_type(tmp_path: Path) -> None:
    bundle = gguf.read(put(tmp_path, wire.small()))
    values, types = bundle.metadata["gguf"]["values"], bundle.metadata["gguf"]["types"]
    assert values["a.uint64"] == 2**64 - 1
    assert values["a.int64"] == -(2**63)
    assert values["a.float32"] == float(np.float32(0.1))
    assert values["a.float64"] == 0.1
    assert values["a.bool"] is True
    assert values["b.bools"] == [False, True]
    assert values["b.texts"] == ["", "one", "zwölf"]
    assert values["b.none"] == []
    assert types["b.ints"] == "array of int32"
    assert types["a.text"] == "string"
    assert np.array_equal(bundle.parameters["w"], wire.numbers(2, 3))
    assert "'strange'" in bundle.reason


def test_what_is_read_is_written_again_byte_for_byte_but_for_what_tells_the_types(tmp_path: Path) -> None:
    path = put(tmp_path, wire.small())
    ma.convert(path, tmp_path / "x.h5")
    ma.convert(tmp_path / "x.h5", tmp_path / "again.gguf")
    first, second = gguf.read(path), gguf.read(tmp_path / "again.gguf")
    said = dict(second.metadata["gguf"]["values"])
    assert said.pop("general.file_type") == 0
    assert said == first.metadata["gguf"]["values"]
    assert all(np.array_equal(first.parameters[name], second.parameters[name]) for name in first.parameters)
    ma.convert(tmp_path / "again.gguf", tmp_path / "third.gguf")
    assert (tmp_path / "third.gguf").read_bytes() == (tmp_path / "again.gguf").read_bytes()


@pytest.mark.parametrize("name", ["llama", "gpt2", "half", "quantised", "blocks"])
def test_the_package_finds_the_same(name: str) -> None:
    package = pytest.importorskip("gguf")
    path = FOREIGN / f"{name}.gguf"
    reader, bundle = package.GGUFReader(path), gguf.read(path, parameters_only=True)
    assert [each.name for each in reader.tensors] == list(bundle.parameters)
    for each in reader.tensors:
        theirs = package.quants.dequantize(each.data, each.tensor_type)
        ours = np.asarray(bundle.parameters[each.name], np.float32)
        assert np.array_equal(ours, theirs.reshape(ours.shape), equal_nan=True), each.name
    values = dict(bundle.metadata["gguf"]["values"])
    for words in bundle.tokens.values():
        values["tokenizer.ggml.tokens"] = list(words)
    for key, field in reader.fields.items():
        if not key.startswith("GGUF."):
            assert values[key] == field.contents(), key


BROKEN = {
    "no magic": (wire.whole([], ONE, DATA, magic=b"GGUX"), "does not begin with GGUF"),
    "the first version": (wire.whole([], ONE, DATA, version=1), "version 1"),
    "a version to come": (wire.whole([], ONE, DATA, version=4), "version 4"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 1, 0) + bytes(64), "big-endian"),
    "more tensors than bytes": (wire.whole([], ONE, DATA, tensors=2**60), "tensors"),
    "more metadata than bytes": (wire.whole([], ONE, DATA, keys=2**62), "metadata"),
    "a text beyond the file": (wire.whole([wire.text("k") + struct.pack("<IQ", 8, 2**63)], []), "takes"),
    "texts beyond the file": (wire.whole([wire.array("k", wire.STRING, [], claims=2**61)], []), "claims"),
    "numbers beyond the file": (wire.whole([wire.array("k", wire.FLOAT64, [], claims=2**62)], []), "takes"),
    "a type that is none": (wire.whole([wire.text("k") + struct.pack("<I", 13) + bytes(8)], []), "type 13"),
    "arrays of arrays": (
        wire.whole([wire.text("k") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 4, 0)], []),
        "array of arrays",
    ),
    "a bool of 2": (wire.whole([wire.pair("k", wire.BOOL, 2)], []), "0 or 1"),
    "a bool of 2 among others": (wire.whole([wire.array("k", wire.BOOL, [1, 2])], []), "0 or 1"),
    "a key twice": (wire.whole([wire.pair("k", wire.UINT8, 1)] * 2, []), "twice"),
    "a key that is no text": (wire.whole([wire.pair(b"\xff", wire.UINT8, 1)], []), "no UTF-8"),
    "a key that is long": (wire.whole([wire.pair("k" * 70_000, wire.UINT8, 1)], []), "at most"),
    "a tensor twice": (wire.whole([], ONE * 2, DATA), "twice"),
    "five axes": (wire.whole([], [wire.info("w", (1, 1, 1, 1, 1))], DATA), "5 axes"),
    "axes without end": (wire.whole([], [wire.info("w", (4,), rank=2**31)], DATA), "axes"),
    "sizes whose product overflows": (wire.whole([], [wire.info("w", (2**32, 2**32, 4))], DATA), "no memory"),
    "sizes whose product is 0 by overflow": (wire.whole([], [wire.info("w", (2**62, 4))], DATA), "no memory"),
    "an axis of 2^63": (wire.whole([], [wire.info("w", (2**63, 0))], DATA), "no memory"),
    "beyond the file": (wire.whole([], [wire.info("w", (64,))], DATA), "the file has"),
    "an offset beyond the file": (wire.whole([], [wire.info("w", (4,), offset=2**63)], DATA), "the file has"),
    "an offset between": (wire.whole([], [wire.info("w", (4,), offset=4)], DATA + bytes(32)), "multiple of 32"),
    "tensors that overlap": (
        wire.whole([], [wire.info("a", (16,)), wire.info("b", (8,), offset=32)], bytes(64)),
        "overlap",
    ),
    "one tensor in another's place": (wire.whole([], [wire.info("a", (4,)), wire.info("b", (4,))], DATA), "overlap"),
    "rows that are no whole blocks": (wire.whole([], [wire.info("w", (33,), kind=8)], bytes(64)), "whole blocks"),
    "an alignment that is no power of two": (
        wire.whole([wire.pair("general.alignment", wire.UINT32, 24)], ONE, DATA),
        "power of two",
    ),
    "an alignment of nothing": (
        wire.whole([wire.pair("general.alignment", wire.UINT32, 0)], ONE, DATA),
        "power of two",
    ),
    "an alignment of another type": (
        wire.whole([wire.pair("general.alignment", wire.STRING, "32")], ONE, DATA),
        "power of two",
    ),
    "cut in the header": (wire.small()[:400], "the file has"),
    "cut in the data": (wire.small()[:-20], "the file has"),
    "four bytes": (b"GGUF", "the file has"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_file_is_refused_by_what_is_wrong(case: str, tmp_path: Path) -> None:
    data, expected = BROKEN[case]
    for read in (gguf.read, ma.load):
        with pytest.raises(ma.FormatError) as caught:
            read(put(tmp_path, data))
        if read is gguf.read:
            assert expected in str(caught.value)
        assert str(tmp_path) in str(caught.value)


def test_types_that_are_not_known_are_listed(tmp_path: Path) -> None:
    infos = [wire.info("a", (4,), kind=4), wire.info("b", (4,), kind=900), wire.info("c", (4,))]
    with pytest.raises(ma.ConversionError) as caught:
        gguf.read(put(tmp_path, wire.whole([], infos, DATA)))
    assert [where for where, _ in caught.value.unsupported] == ["a", "b"]


def test_metadata_take_no_more_memory_than_the_file_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty text takes 8 bytes here, and ten times that in memory."""
    path = put(tmp_path, wire.whole([wire.array("k", wire.STRING, [""] * 1000)], []))
    gguf.read(path)
    monkeypatch.setattr(budget, "_BYTES", 0)
    monkeypatch.setattr(budget, "_TIMES", 9)
    with pytest.raises(ma.UnsafeFileError, match="bytes"):
        gguf.read(path)


@pytest.mark.parametrize("alignment", [1, 8, 64, 4096])
def test_other_alignments(alignment: int, tmp_path: Path) -> None:
    place = 16 + -16 % alignment
    data = DATA.ljust(place, b"\0") + DATA
    pairs = [wire.pair("general.alignment", wire.UINT32, alignment)]
    infos = [wire.info("a", (4,)), wire.info("b", (2, 2), offset=place)]
    bundle = gguf.read(put(tmp_path, wire.whole(pairs, infos, data, alignment=alignment)))
    assert np.array_equal(bundle.parameters["b"], wire.numbers(2, 2))
    assert bundle.notes == []


def test_tensors_in_another_order_and_bytes_of_none(tmp_path: Path) -> None:
    infos = [wire.info("b", (4,), offset=64), wire.info("a", (4,)), wire.info("none", (0, 3), offset=32)]
    data = DATA.ljust(64, b"\0") + (DATA[::-1]).ljust(96, b"\1")
    bundle = gguf.read(put(tmp_path, wire.whole([], infos, data)))
    assert np.array_equal(bundle.parameters["a"], wire.numbers(4))
    assert bundle.parameters["none"].shape == (3, 0)
    assert any("belong to no tensor" in note.what for note in bundle.notes)


def test_what_json_cannot_say_is_left_out_with_a_note(tmp_path: Path) -> None:
    pairs = [wire.pair("a", wire.FLOAT32, math.inf), wire.array("b", wire.FLOAT64, [1.0, math.nan])]
    bundle = gguf.read(put(tmp_path, wire.whole(pairs, ONE, DATA)))
    assert {note.where for note in bundle.notes} == {"a", "b"}
    assert bundle.metadata["gguf"]["values"] == {}


def test_a_text_that_is_no_utf_8_comes_back_as_it_was(tmp_path: Path) -> None:
    path = put(tmp_path, wire.whole([wire.pair("k", wire.STRING, b"\xe4\xff")], ONE, DATA))
    ma.convert(path, tmp_path / "x.h5")
    ma.convert(tmp_path / "x.h5", tmp_path / "y.gguf")
    assert wire.text(b"\xe4\xff") in (tmp_path / "y.gguf").read_bytes()


def split(folder: Path) -> list[Path]:
    return [put(folder, data, name) for name, data in wire.split().items()]


def test_all_files_of_a_model_are_read_whichever_is_given(tmp_path: Path) -> None:
    for path in split(tmp_path):
        bundle = gguf.read(path)
        assert list(bundle.parameters) == ["a", "b"]
        assert bundle.metadata["gguf"]["values"] == {"general.architecture": "strange"}


def test_files_of_a_model_that_are_missing_or_called_otherwise(tmp_path: Path) -> None:
    first, second = split(tmp_path)
    second.rename(tmp_path / "other.gguf")
    with pytest.raises(ma.FormatError, match="m-00002-of-00002"):
        gguf.read(first)
    with pytest.raises(ma.FormatError, match="not called so"):
        gguf.read(tmp_path / "other.gguf")
    first.replace(second)
    (tmp_path / "other.gguf").rename(first)
    with pytest.raises(ma.FormatError, match="is not file 1 of 2"):
        gguf.read(first)


def test_a_file_that_is_one_of_several_by_its_name_alone(tmp_path: Path) -> None:
    (note,) = gguf.read(put(tmp_path, wire.whole([], ONE, DATA), "m-00001-of-00003.gguf")).notes
    assert "several" in note.what
