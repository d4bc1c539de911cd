"""NumPy's, safetensors' and word vectors' files from strangers: numbers of any size, bytes that belong to nothing."""

from __future__ import annotations

import io
import json
import math
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.exchange import numpy as exchange
from modelarchive.exchange import safetensors, vectors
from modelarchive.store import strict

HUGE = "0x" + "f" * 4000


def npy(descr: str = "'<f4'", order: str = "False", shape: str = "(1,)") -> bytes:
    """An array with such a header."""
    head = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(4)


@pytest.mark.parametrize(
    "header",
    [{"shape": f"({HUGE},)"}, {"shape": HUGE}, {"descr": HUGE}, {"order": HUGE}, {"shape": "~1"},
     {"shape": "-" * 90 + "1"},
     {"shape": "(1," * 90 + ")" * 90}, {"shape": f"({2**62}, {2**62})"}, {"shape": "(" + "1," * 3000 + ")"},
     {"descr": "'<f4' * 10"}, {"descr": "[('a', '|O')]"}, {"shape": "(1e999,)"}, {"shape": "(True,)"}],
)  # fmt: skip
@pytest.mark.parametrize("is_zipped", [True, False])
def test_headers_of_arrays_are_data(tmp_path: Path, header: dict[str, str], *, is_zipped: bool) -> None:
    path = tmp_path / "x.npy"
    data = npy(**header)
    if is_zipped:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a.npy", data)
        data = out.getvalue()
    path.write_bytes(data)
    with pytest.raises(ma.ModelArchiveError) as caught:
        exchange.read(path)
    assert caught.value.file == str(path)
    assert len(str(caught.value)) < 1000
    assert "<ast." not in str(caught.value)


def zipped(**more: Any) -> bytes:
    """A file of two arrays."""
    out = io.BytesIO()
    np.savez(out, a=np.ones(3), b=np.zeros(2), **more)
    return out.getvalue()


def _gap(data: bytes) -> bytes:
    """Bytes between the first member and the second, which the list still finds."""
    at = data.index(b"PK\3\4", 4)
    behind, end = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    moved = bytearray(data[:at] + bytes(7) + data[at:])
    second = moved.index(b"PK\1\2", moved.index(b"PK\1\2") + 4)
    moved[second + 42 : second + 46] = struct.pack("<I", at + 7)
    moved[end + 7 + 16 : end + 7 + 20] = struct.pack("<I", behind + 7)
    return bytes(moved)


def _renamed(data: bytes) -> bytes:
    """A member that calls itself otherwise than the list does."""
    return data.replace(b"a.npy", b"c.npy", 1)


def _as_folder(data: bytes) -> bytes:
    """A member that is marked as a folder, and has bytes all the same."""
    at = data.index(b"PK\1\2") + 38
    return data[:at] + bytes([data[at] | 0x10]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data + b"xyz", "behind its end"),
        (lambda data: data + bytes(16), "behind its end"),
        (lambda data: data[:-2] + b"\3\0abc", "remark"),
        (_gap, "belong to no member"),
        (_renamed, "calls itself"),
        (_as_folder, "marked as a folder"),
    ],
)
def test_every_byte_of_a_zip_file_belongs_to_it(tmp_path: Path, change: Callable[[bytes], bytes], words: str) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(changed := change(zipped()))
    with zipfile.ZipFile(io.BytesIO(changed)) as naive:
        assert len(naive.namelist()) == 2
    with pytest.raises(FormatError, match=words) as caught:
        exchange.read(path)
    if caught.value.hint and "zip the same members" in caught.value.hint:
        with zipfile.ZipFile(io.BytesIO(changed)) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
        assert exchange.read(path).parameters["a"].tolist() == [1, 1, 1]


def stored(path: Path, header: dict[str, Any] | bytes, data: bytes = b"") -> Path:
    """A safetensors file."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)
    return path


@pytest.mark.parametrize(
    "shape", [[2**62] * 300, [2**62] * 50_000, [10**400], ["1"], [[1]], "11", {"0": 1}, [1.5], [True]]
)
def test_shapes_are_a_few_numbers(tmp_path: Path, shape: Any) -> None:
    path = stored(tmp_path / "x.safetensors", {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}})
    with pytest.raises(FormatError) as caught:
        safetensors.read(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("levels", [150, 480, 980, 100_000])
@pytest.mark.parametrize("key", ["dtype", "shape", "data_offsets"])
def test_headers_nest_to_a_bound(tmp_path: Path, key: str, levels: int) -> None:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} | {key: "@"}
    text = json.dumps({"a": entry}).replace('"@"', "[" * levels + "]" * levels)
    with pytest.raises(FormatError):
        safetensors.read(stored(tmp_path / "x.safetensors", text.encode()))


def test_what_a_header_says_beside_is_told(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "strange": 1}
    notes = safetensors.read(stored(tmp_path / "x.safetensors", {"a": entry}, bytes(4))).notes
    assert [(note.where, "'strange'" in note.what) for note in notes] == [("(header)", True)]


def test_a_shard_alone_is_told(tmp_path: Path) -> None:
    entry = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    for name, expected in {"m-00001-of-00002": ["(shards)"], "m-00001-of-00001": []}.items():
        notes = safetensors.read(stored(tmp_path / f"{name}.safetensors", entry, bytes(4))).notes
        assert [note.where for note in notes] == expected


@pytest.mark.parametrize("name", ["a" * 300, "\ud800", "é" * 200, "folder"])
def test_an_index_names_files_that_can_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises((FormatError, UnsafeFileError), match=r"not there|not in its own folder"):
        safetensors.read(index)


@pytest.mark.parametrize(
    "text",
    [b"a " + b"1 " * 5000 + b"\n" + b"a\n" * 5000, b"9" * 5000 + b" 3\na 1 2 3\n", b"99999999 99999\na 1\n",
     b" 1 2 3\na 4 5\n", b"a 1_0 2_0\n", b"a 1 2\nb 1_0 2\n", b"1000000 1\n"],
)  # fmt: skip
def test_vectors_take_what_is_there(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "x.vec"
    path.write_bytes(text)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as caught:
            vectors.read(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.file == str(path)


@pytest.mark.parametrize("text", ["1e999", "-1e999", "Infinity", "NaN", "9" * 65, "9" * 5000, "9" * 400 + ".5"])
def test_numbers_of_other_systems_are_finite_and_short(text: str) -> None:
    with pytest.raises(FormatError):
        strict.document(f'{{"a": [{text}]}}', what="it", strict=False)


def test_what_python_writes_and_json_has_not_is_read_where_that_is_asked_for() -> None:
    found = strict.document('{"a": [Infinity, -Infinity, NaN]}', what="it", strict=True, finite=False)["a"]
    assert found[:2] == [math.inf, -math.inf]
    assert math.isnan(found[2])
    with pytest.raises(FormatError, match="larger than any number"):
        strict.document('{"a": 1e999}', what="it", strict=True, finite=False)


def test_levels_are_counted_of_lists_and_objects() -> None:
    inside = strict.MAX_LEVELS // 2
    within, beyond = ('{"a": [' * times + "1" + "]}" * times for times in (inside, inside + 1))
    assert strict.document(within, what="it", strict=True)
    with pytest.raises(FormatError, match="nested too deeply"):
        strict.document(beyond, what="it", strict=True)


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    data = bytearray(zipped())
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 4)
    first = data.index(b"PK\1\2")
    data[second + 16 : second + 28] = data[first + 16 : first + 28]
    data[second + 42 : second + 46] = struct.pack("<I", 0)
    data[second + 46 : second + 51] = b"a.npx"
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises((UnsafeFileError, FormatError)):
        exchange.read(tmp_path / "x.npz")
