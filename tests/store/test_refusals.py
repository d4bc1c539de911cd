"""What the file's own room refuses, each at the place that refuses it; whole files that are wrong stand elsewhere."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import OutOfMemoryError, RemoteError, UnsupportedDataError
from modelarchive.remote import RemoteFile
from modelarchive.store import compressing, index, inflating, replace, shards, writer
from modelarchive.store.contents import Contents, Entry, Text
from modelarchive.store.deferred import Deferred
from modelarchive.store.hdf5.metadata import Metadata
from modelarchive.store.reader import Reader
from modelarchive.store.reindexing import reindex
from modelarchive.store.source import Source


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save(path, {"a": np.arange(3), "t": "text", "n": 7}, durable=False)
    return path


@pytest.fixture
def reader(path: Path) -> Iterator[Reader]:
    reader = Reader(path)
    yield reader
    reader.source.close()


# ---------------------------------------------------------------------- written


@pytest.mark.parametrize("wrong", [3, None, ["x.h5"]])
def test_what_is_no_path(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"expected str or os\.PathLike"), replace.replacing(wrong, durable=False):
        pytest.fail("nothing can be written there")


def test_nothing_is_written_elsewhere() -> None:
    url = "https://example.org/x.h5"
    with pytest.raises(RemoteError, match="not written"), replace.replacing(url, durable=False):
        pytest.fail("nothing can be written there")


def test_what_was_read_elsewhere_on_the_way_tells_of_itself(path: Path) -> None:
    before = path.read_bytes()
    error = RemoteError("answered 500", url="https://example.org/y.h5", status=500)
    with pytest.raises(RemoteError) as caught, replace.replacing(path, durable=False):
        raise error
    assert caught.value is error
    assert path.read_bytes() == before
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize(("number", "is_told"), [(errno.EIO, True), (errno.EINVAL, False), (errno.ENOTSUP, False)])
def test_a_folder_that_cannot_be_synced(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_told: bool
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        told = pytest.raises(OSError, match=os.strerror(number)) if is_told else contextlib.nullcontext()
        with told:
            replace.sync_folder(path.parent)
    with monkeypatch.context() as patch:
        patch.setattr(replace, "sync_folder", lambda folder: refuse(0))
        with pytest.raises(OSError, match="the new file is there, a power cut may undo that"):
            ma.save(path, [1], durable=True)
    assert ma.load(path) == [1]


def test_more_values_than_an_index_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(writer, "MAX_INDEX_BYTES", 1 << 12)
    ma.save(path.with_name("y.h5"), {"a": np.arange(3)}, durable=False)
    with pytest.raises(UnsupportedDataError, match="100 values are more than one index holds"):
        ma.save(path, {f"a{number}": np.arange(3) for number in range(100)}, durable=False)
    assert path.read_bytes() == before


@pytest.mark.parametrize("given", [7_999, 8_001, 16_000])
def test_a_stream_that_is_not_what_was_announced(given: int) -> None:
    """Compressed, where chunks are cut from the pieces that come."""
    content = memoryview(bytes(given))
    whole = np.zeros(8_000, "u1")
    pieces = Deferred(whole.shape, whole.dtype, lambda: whole, pieces=lambda: iter([content[:5_000], content[5_000:]]))
    with pytest.raises(ValueError, match=r"8,000 bytes were announced, (more|7999) came"):
        list(compressing.packed({"a": pieces}, {}))


def test_a_stream_that_ends_in_nothing_is_what_was_announced() -> None:
    whole = np.arange(8_000, dtype="u2")
    content = memoryview(whole.tobytes())
    pieces = Deferred(whole.shape, whole.dtype, lambda: whole, pieces=lambda: iter([content, content[:0]]))
    for array in (pieces, whole):
        assert b"".join(bytes(each.content) for _, each in compressing.packed({"a": array}, {})) == content


# ---------------------------------------------------------------------- folders of shards


def test_a_folder_does_not_take_the_place_of_a_file(path: Path) -> None:
    (path.parent / "new").mkdir()
    with pytest.raises(NotADirectoryError, match="is a file, expected a folder or nothing"):
        shards.put_in_place(path.parent / "new", path, durable=False)
    assert path.is_file()


def test_an_error_of_another_kind_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"), shards.replacing_folder(tmp_path / "m", durable=False):
        raise KeyError("mine")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("status", [404, 500, None])
def test_a_file_beside_shards_that_does_not_come(monkeypatch: pytest.MonkeyPatch, status: int | None) -> None:
    def refuse(path: object) -> bytes:
        raise RemoteError("does not come", url=str(path), status=status)

    monkeypatch.setattr(shards, "_content", refuse)
    folder = RemoteFile("https://example.org/m/")
    if status == 404:
        assert shards.read_beside(folder, "config.json") is None
        return
    with pytest.raises(RemoteError, match="does not come"):
        shards.read_beside(folder, "config.json")


def test_a_folder_that_is_closed_opens_no_shard(tmp_path: Path) -> None:
    network = ma.nn.Sequential(*[ma.nn.Dense(20, in_units=20) for _ in range(4)])
    network.initialize(seed=0)
    ma.save_model(tmp_path / "m", network, inputs=np.ones((1, 20), "f4"), max_shard_size="2KB", durable=False)
    with ma.open(tmp_path / "m") as archive:
        entries = archive.reader.contents.arrays
        assert entries.get("none") is None
        names = [*entries]
        archive.load(names[0])
    with pytest.raises(ValueError, match="is closed"):
        archive.reader.contents.entry(names[-1])


# ---------------------------------------------------------------------- read


def test_a_chunk_that_lies_outside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save(path, {"a": np.zeros((500, 400))}, compression="deflate", durable=False)
    reader = Reader(path)
    try:
        entry, chunks = reader.contents.arrays["a"], reader.contents.chunks["a"]
        packed = inflating.Packed("a", entry, chunks._replace(offset=reader.source.size - 3))
        with pytest.raises(ma.FormatError, match=r"a: chunk \d+ lies outside the file") as caught:
            inflating.load(reader.source, [packed])
        assert caught.value.file == str(path)
    finally:
        reader.source.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text._replace(dtype="int", itemsize=4), "is no int"),
        (lambda text: text._replace(dtype="complex"), "is no complex"),
        (lambda text: text._replace(dtype="U1000000000"), "strings of 6 bytes are not that long"),
    ],
)
def test_a_text_that_is_not_what_its_dtype_says(reader: Reader, change: Callable[[Text], Text], words: str) -> None:
    texts = reader.contents.texts
    assert reader.text("/arrays/t") == "text"
    texts["/arrays/t"] = change(texts["/arrays/t"])
    with pytest.raises(ma.FormatError, match=words) as caught:
        reader.text("/arrays/t")
    assert caught.value.path == "/arrays/t"


def test_memory_that_the_system_does_not_give(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise MemoryError

    source = Source(path)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(np, "empty", refuse)
            with pytest.raises(OutOfMemoryError, match="gives no 24 bytes of memory") as caught:
                source._new((3,), np.dtype("i8"), 24)
    finally:
        source.close()
    assert caught.value.file == str(path)


def test_bytes_that_belong_to_two(reader: Reader) -> None:
    contents = reader.contents
    contents.texts["/arrays/t"] = contents.texts["/arrays/t"]._replace(offset=contents.size)
    with pytest.raises(ma.FormatError, match="overlap others, or lie outside the file"):
        contents.metadata_ranges()


# ---------------------------------------------------------------------- an index


def _raw(own: str) -> bytes:
    return ('{"__metadata__":{"format":"pt","modelarchive":' + own + "}}").encode().ljust(504)


def test_an_index_of_a_newer_format() -> None:
    with pytest.raises(ma.UnsupportedVersionError, match=f"this package reads up to {index.FORMAT_VERSION}"):
        index.parse(_raw(f'"{{\\"format_version\\":{index.FORMAT_VERSION + 1}}}"'), file_size=600)


def test_a_header_of_safetensors_is_no_index() -> None:
    raw = b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    with pytest.raises(index.NotAnArchive):
        index.parse(raw, file_size=600)


def test_nothing_is_indexed_that_is_not_read(path: Path) -> None:
    path.write_bytes(_raw_file(_raw(f'"{{\\"format_version\\":{index.FORMAT_VERSION + 1}}}"')))
    with pytest.raises(ma.UnsupportedVersionError) as caught:
        reindex(path, durable=False)
    assert caught.value.file == str(path)
    path.write_bytes(b"neither an index nor HDF5" * 100)
    with pytest.raises(ma.FormatError) as other:
        reindex(path, durable=False)
    assert other.value.file == str(path)


def _raw_file(raw: bytes) -> bytes:
    return len(raw).to_bytes(8, "little") + raw + bytes(200)


# ---------------------------------------------------------------------- HDF5's metadata


@pytest.mark.parametrize(
    ("names", "texts", "words"),
    [
        (["a"], ["/arrays/a"], "two datasets have one path"),
        (["a", "a/b"], [], "/arrays/a leads to two things"),
        (["a"], ["/arrays/a/b"], "/arrays/a leads to two things"),
    ],
)
def test_a_path_that_leads_to_two_things(names: list[str], texts: list[str], words: str) -> None:
    entry, text = Entry("int8", (1,), 4096, 1, None), Text("text", (), 3, None, None, is_ascii=True)
    contents = Contents("arrays", "x", 512, dict.fromkeys(names, entry), texts=dict.fromkeys(texts, text))
    with pytest.raises(ValueError, match=words):
        Metadata(contents, {"/": {}})
