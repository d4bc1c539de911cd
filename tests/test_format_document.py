"""docs/format.md says enough to read archives: the reader that stands in it, and files of every format, are read."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
from blake3 import blake3

import modelarchive as ma
from modelarchive.maintenance import reindex
from modelarchive.store.index import FORMAT_VERSION
from tests.conftest import ROOT

DOCUMENT = (ROOT / "docs" / "format.md").read_text("utf-8")
DATA = ROOT / "tests" / "data"
ARCHIVES = sorted(DATA.glob("format-*/*.h5"))
MAX_READER_LINES = 64

#: What the document's reader calls a dtype -> how NumPy holds the numbers it gives.
NUMBERS = {
    "BOOL": "bool",
    **{f"{sign}{bits}": f"{name}{bits}" for sign, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "complex64": "complex64",
    "complex128": "complex128",
}


def block_after(comment: str, language: str) -> str:
    found = re.search(rf"<!-- {re.escape(comment)} -->\n```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/format.md has no {language} block after <!-- {comment} -->"
    return found[1]


def reader() -> Callable[[Path], tuple[Any, dict[str, Any]]]:
    """The reader that stands in the document."""
    namespace: dict[str, Any] = {}
    exec(compile(block_after("the reader", "python"), "docs/format.md", "exec"), namespace)
    return namespace["read_archive"]


def module_of(archive: Path) -> ModuleType:
    """The script beside an archive that wrote it."""
    specification = importlib.util.spec_from_file_location(archive.parent.name, archive.parent / "make.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def same_bits(left: Any, right: Any) -> bool:
    left, right = np.asarray(left), np.asarray(right)
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def agree(read: Any, loaded: Any) -> None:
    """What the document's reader gave and what modelarchive loaded are the same."""
    if isinstance(loaded, np.ndarray):
        dtype, shape, values = read
        assert tuple(shape) == loaded.shape
        if dtype[0] in "sSU" and dtype not in NUMBERS:
            assert dtype == ("string" if loaded.dtype.kind == "T" else dtype)
            assert values == loaded.ravel().tolist()
        elif dtype.startswith("F8"):
            assert loaded.dtype.name == NUMBERS[dtype]
            assert values == loaded.ravel().view(np.uint8).tolist()
        else:
            assert loaded.dtype.name == NUMBERS[dtype]
            with np.errstate(invalid="ignore"):
                found = np.array(values, loaded.dtype).reshape(shape)
            if loaded.dtype == ml_dtypes.bfloat16 or loaded.dtype.kind in "fc":
                # A NaN's payload does not survive Python's floats.
                wide = np.complex128 if loaded.dtype.kind == "c" else np.float64
                assert np.array_equal(found.astype(wide), loaded.astype(wide), equal_nan=True)
                parts = (
                    [(found.real, loaded.real), (found.imag, loaded.imag)]
                    if wide is np.complex128
                    else [(found, loaded)]
                )
                assert all(
                    np.array_equal(np.signbit(one.astype(float)), np.signbit(two.astype(float)))
                    or np.isnan(two.astype(float)).any()
                    for one, two in parts
                )
            else:
                assert same_bits(found, loaded)
    elif isinstance(loaded, dict):
        assert list(read) == list(loaded)
        for key, value in loaded.items():
            agree(read[key], value)
    elif isinstance(loaded, list | tuple):
        assert type(read) is type(loaded)
        assert len(read) == len(loaded)
        for one, two in zip(read, loaded, strict=True):
            agree(one, two)
    else:
        assert type(read) is type(loaded)
        assert repr(read) == repr(loaded)


def test_the_reader_is_short_and_needs_the_standard_library_only() -> None:
    lines = block_after("the reader", "python").splitlines()
    assert len(lines) <= MAX_READER_LINES
    imported = {name for line in lines for name in re.findall(r"^(?:import|from) (.*?)(?: import.*)?$", line)}
    assert imported == {"itertools, json, math, pathlib, struct, zlib", "urllib.parse"}


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_reader_reads_what_modelarchive_loads(archive: Path) -> None:
    content, _ = reader()(archive)
    agree(content, ma.load(archive))


def test_the_reader_reads_what_was_saved(tmp_path: Path) -> None:
    saved = {
        "a/b": [np.arange(6, dtype=np.float32).reshape(2, 3), (1, -2.5, "ü\0", None, True, 3j)],
        "": np.array([2**40, -1], np.int64),
        "words": np.array(["one", "zwei"]),
    }
    ma.save(tmp_path / "a.h5", saved)
    content, others = reader()(tmp_path / "a.h5")
    assert others == {}
    assert content == {
        "a/b": [("F32", [2, 3], [0, 1, 2, 3, 4, 5]), (1, -2.5, "ü\0", None, True, 3j)],
        "": ("I64", [2], [2**40, -1]),
        "words": ("U4", [2], ["one", "zwei"]),
    }


def test_the_reader_reads_models() -> None:
    content, others = reader()(DATA / "format-1" / "tied-model.h5")
    assert list(content) == ["embedding.weight", "hidden.weight", "hidden.bias", "output.weight"]
    assert content["output.weight"] == content["embedding.weight"]
    assert json.loads(others["/architecture/data"])["vocabulary"] == 1
    assert others["/architecture/type"] == "application/json"
    assert json.loads(others["/metadata/data"]) == {"é": [1, 2.5, None]}
    assert others["/tokens/embedding/weight"] == ("string", [6], ["<unk>", "the", "naïve", "cat", "", "sat"])


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_archives_of_every_format_are_read(archive: Path) -> None:
    account = module_of(archive).account
    expected = json.loads(archive.with_suffix(".json").read_text("utf-8"))
    if "data" in expected:
        assert json.loads(json.dumps(account(ma.load(archive)))) == expected["data"]
        assert json.loads(json.dumps(account(ma.load(archive, mmap=True)))) == expected["data"]
    else:
        assert json.loads(json.dumps(account(ma.load(archive)))) == expected["parameters"]
    with ma.open(archive) as opened:
        assert not opened.is_stale
        opened.verify()
        if opened.has_architecture:
            inputs = expected["inputs"]
            x = np.frombuffer(bytes.fromhex(inputs["bits"]), inputs["array"]).reshape(inputs["shape"])
            outputs = opened.build()(x)
            wanted = expected["outputs"]
            assert outputs.dtype.name == wanted["array"]
            np.testing.assert_allclose(
                outputs.ravel(), np.frombuffer(bytes.fromhex(wanted["bits"]), outputs.dtype), rtol=1e-6
            )


@pytest.mark.parametrize(
    "archive",
    # An architecture's text may gain fields without a new format: models are compared with themselves, below.
    [path for path in ARCHIVES if path.parent.name == f"format-{FORMAT_VERSION}" and "model" not in path.stem],
    ids=lambda path: path.stem,
)
def test_the_same_input_gives_the_same_bytes_today(archive: Path, tmp_path: Path) -> None:
    module = module_of(archive)
    if archive.stem in (*module.SUPERSEDED, *module.COMPRESSED):
        return
    module.save(archive.stem, tmp_path / "fresh.h5")
    assert (tmp_path / "fresh.h5").read_bytes() == archive.read_bytes()


def test_the_format_is_frozen() -> None:
    closed = module_of(DATA / "format-1" / "one.h5").SUPERSEDED
    assert len(closed) == 15, "what format 1 writes does not change any more (docs/format.md, section 9)"


@pytest.mark.slow
def test_neither_process_nor_time_leaves_a_trace(tmp_path: Path) -> None:
    script = DATA / f"format-{FORMAT_VERSION}" / "make.py"
    places = [str(Path(ma.__path__[0]).parent), str(script.parent)]
    code = f"import sys; sys.path[:0] = {places}; import make; make.save('tied-model', make.Path(sys.argv[1]))"
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for seed, path in enumerate(paths):
        time.sleep(1.1 * seed)  # HDF5's times are in seconds
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run([sys.executable, "-c", code, path], check=True, env=environment, timeout=300)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_every_released_format_has_archives() -> None:
    assert {path.parent.name for path in ARCHIVES} == {f"format-{n}" for n in range(1, FORMAT_VERSION + 1)}
    assert all(path.with_suffix(".json").exists() for path in ARCHIVES)


def test_the_document_shows_a_real_index() -> None:
    raw = (DATA / "format-1" / "one-3.h5").read_bytes()
    start = 8 + struct.unpack_from("<Q", raw)[0]
    assert block_after("index of tests/data/format-1/one-3.h5", "json") == raw[8:start].rstrip(b" ").decode() + "\n"
    shown = re.findall(r"^([0-9a-f]{8}):((?: [0-9a-f]{2}){16})", DOCUMENT, re.MULTILINE)
    assert len(shown) >= 4
    for at, digits in shown:
        assert raw[int(at, 16) :][:16] == bytes.fromhex(digits)
    assert f"{len(raw):,} bytes, U = {start}, N = {start - 8} = `{start - 8:#x}`" in DOCUMENT


def test_the_document_shows_a_real_compressed_array() -> None:
    raw = (DATA / "format-1" / "compressed.h5").read_bytes()
    start = 8 + struct.unpack_from("<Q", raw)[0]
    record = json.loads(json.loads(raw[8:start])["__metadata__"]["modelarchive"])
    shown = json.loads(block_after("compressed kernel of tests/data/format-1/compressed.h5", "json"))
    assert record["compressed"]["kernel"] == shown
    at = start + shown["offset"]
    assert f"{start} + {shown['offset']} = {at} = `{at:#x}`" in DOCUMENT
    planes = zlib.decompress(raw[at : at + shown["sizes"][0]])
    assert raw[at : at + 2].hex(" ") == "78 01"
    assert len(planes) == 2100
    for plane in (planes[:1050], planes[1050:]):
        assert f"`{plane[:4].hex(' ')}`" in DOCUMENT


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_rules_of_the_document_hold(archive: Path) -> None:
    """Layout, order, alignment and digests, by the words of sections 1 to 5."""
    raw = archive.read_bytes()
    length = struct.unpack_from("<Q", raw)[0]
    start = length + 8
    assert start % 512 == 0
    assert (start // 512).bit_count() == 1
    index = raw[8:start]
    assert index[:1] == b"{"
    header = json.loads(index)
    record = json.loads(header.pop("__metadata__")["modelarchive"])
    assert record["file_size"] == len(raw)
    assert raw[start:].startswith(b"\x89HDF\r\n\x1a\n\x02")

    own = record["index_digest"].encode()
    assert blake3(index.replace(own, b"0" * 64, 1)).hexdigest().encode() == own

    extents = sorted((*entry["data_offsets"], name) for name, entry in header.items())
    assert extents[0][0] == 0
    assert extents[-1][1] == len(raw) - start
    assert all(one[1] == two[0] for one, two in itertools.pairwise(extents))

    arrays = [extent for extent in extents if not extent[2].startswith("__hdf5__.")]
    for at, (begin, end, name) in enumerate(arrays):
        stored = raw[start + begin : start + end]
        assert blake3(stored).hexdigest() == record["digests"][64 * at : 64 * at + 64], name
    filled = [(start + begin, end - begin, name) for begin, end, name in arrays if end > begin]
    assert not filled or filled[0][0] % 4096 == 0
    multiples = [size % 64 == 0 for _, size, _ in filled]
    assert multiples == sorted(multiples, reverse=True)
    assert all(at % 64 == 0 for at, size, _ in filled if size % 64 == 0)
    assert len(record["digests"]) == 64 * len(arrays)

    covered = [(start + begin, start + end) for begin, end, _ in arrays]
    for path, text in record["texts"].items():
        size = text["itemsize"] * int(np.prod(text["shape"]))
        begin = start + (text["offset"] or 0)
        assert blake3(raw[begin : begin + size]).hexdigest() == text["digest"], path
        covered.append((begin, begin + size if text["offset"] is not None else begin))
    for name, packed in record.get("compressed", {}).items():
        begin = start + packed["offset"]
        assert blake3(inflated(packed, raw[begin : begin + sum(packed["sizes"])])).hexdigest() == packed["digest"], name
        covered.append((begin, begin + sum(packed["sizes"])))
    rest, position = blake3(), start
    for begin, end in sorted(extent for extent in covered if extent[1] > extent[0]):
        rest.update(raw[position:begin])
        position = end
    assert rest.update(raw[position:]).hexdigest() == record["metadata_digest"]


def inflated(packed: dict[str, Any], stored: bytes) -> bytes:
    """The content of a compressed array, by zlib, from its chunks."""
    itemsize = 2 ** ["8", "16", "32", "64"].index(re.sub(r"\D", "", packed["dtype"].replace("F8_", "8"))[:2] or "8")
    itemsize = {"complex64": 8, "complex128": 16, "BF16": 2}.get(packed["dtype"], itemsize)
    whole = np.zeros((*packed["shape"], itemsize), np.uint8)
    starts = [range(0, length, part) for length, part in zip(packed["shape"], packed["chunk"], strict=True)]
    for place, size in zip(itertools.product(*starts), packed["sizes"], strict=True):
        planes = np.frombuffer(zlib.decompress(stored[:size]), np.uint8).reshape(itemsize, -1)
        target = whole[tuple(slice(at, at + part) for at, part in zip(place, packed["chunk"], strict=True))]
        elements = planes.T.reshape(*packed["chunk"], itemsize)
        target[...] = elements[tuple(slice(0, length) for length in target.shape)]
        stored = stored[size:]
    assert not stored
    return whole.tobytes()


def sealed(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Change the index of an archive and give it the right digest again, as an attacker would."""
    raw = path.read_bytes()
    start = 8 + struct.unpack_from("<Q", raw)[0]
    header = json.loads(raw[8:start])
    record = json.loads(header["__metadata__"]["modelarchive"])
    change(header, record)
    record["index_digest"] = "0" * 64
    header["__metadata__"]["modelarchive"] = json.dumps(record, ensure_ascii=False)
    index = json.dumps(header, ensure_ascii=False).encode().ljust(start - 8)
    assert len(index) == start - 8
    index = index.replace(b"0" * 64, blake3(index).hexdigest().encode(), 1)
    path.write_bytes(raw[:8] + index + raw[start:])


def test_an_unknown_field_is_ignored(tmp_path: Path) -> None:
    path = Path(shutil.copy(DATA / "format-1" / "one-2.h5", tmp_path))
    sealed(path, lambda header, record: record.update(later=[1]))
    with ma.open(path) as archive:
        assert not archive.is_stale
    assert np.array_equal(ma.load(path), np.arange(4))


def test_one_path_with_two_contents_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    ma.save(path, {"x": np.arange(4), "y": "text"})
    sealed(path, lambda header, record: record["texts"].update({"/arrays/x": record["texts"].pop("/arrays/y")}))
    with pytest.raises(ma.FormatError, match=r"is an array and a text|has no value"):
        ma.load(path)


def test_a_list_out_of_order_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    ma.save(path, [np.arange(4), np.ones(4)])
    sealed(path, lambda header, record: record.update(members=[["", "list"], ["1", "array"], ["0", "array"]]))
    with pytest.raises(ma.FormatError, match="order of its number"):
        ma.load(path)
    sealed(path, lambda header, record: record.update(members=[["", "list"], ["0", "array"], ["01", "array"]]))
    with pytest.raises(ma.FormatError):
        ma.load(path)


@pytest.mark.parametrize("name", ["c", "01", "1" * 19])
def test_what_h5py_adds_to_a_list_can_be_indexed_again(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    ma.save(path, [np.arange(4), np.ones(2)])
    with h5py.File(path, "r+") as file:
        file[f"arrays/{name}"] = file["arrays/0"]
    with pytest.warns(ma.StaleIndexWarning):
        before = ma.load(path)
    assert np.array_equal(before[name], np.arange(4))
    reindex(path)
    after = ma.load(path)
    assert list(after) == list(before)
    assert all(same_bits(after[key], before[key]) for key in before)


def test_more_than_an_index_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    ma.save(path, [1])
    before = path.read_bytes()
    monkeypatch.setattr("modelarchive.store.writer.MAX_INDEX_BYTES", 2040)
    with pytest.raises(ma.UnsupportedDataError, match="more than one index holds"):
        ma.save(path, list(range(100)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_character_sets_are_declared(tmp_path: Path) -> None:
    ma.save(
        tmp_path / "a.h5",
        {"é": np.arange(2), "e": np.array([b"\xff"]), "u": np.array(["ü"]), "a": np.array(["plain"]), "n": 3},
    )
    with h5py.File(tmp_path / "a.h5") as file:
        group = file["arrays"]
        links = group.id.links
        assert [links.get_info(name.encode()).cset for name in ("é", "e")] == [h5py.h5t.CSET_UTF8, h5py.h5t.CSET_ASCII]
        sets = [file[f"arrays/{name}"].id.get_type().get_cset() for name in ("e", "u", "a", "n")]
        assert sets == [h5py.h5t.CSET_ASCII, h5py.h5t.CSET_UTF8, h5py.h5t.CSET_ASCII, h5py.h5t.CSET_ASCII]
        assert file["arrays/u"].asstr()[0] == "ü"
        assert file["arrays/a"].asstr()[0] == "plain"
    with ma.open(tmp_path / "a.h5") as archive:
        archive.verify()
