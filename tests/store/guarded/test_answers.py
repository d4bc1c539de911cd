"""What the process that reads HDF5 answers is held against the file, and its end is told."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import modelarchive as ma
from modelarchive.store.contents import Chunks, Contents, Entry
from modelarchive.store.guarded import boundary, crossing, starting
from modelarchive.store.source import Source
from tests.store.guarded.test_boundary import answering, path, said, source

__all__ = ["path", "source"]  # the fixtures


@pytest.mark.parametrize(
    "change",
    [
        lambda found: replace(found, size=found.size + 1),
        lambda found: replace(found, aliases={"x": "none"}),
        lambda found: replace(found, chunks={"none": Chunks((1,), 0, (1,))}),
        lambda found: replace(found, texts={path: text._replace(dtype="!") for path, text in found.texts.items()}),
        lambda found: replace(found, texts={path: text._replace(itemsize=0) for path, text in found.texts.items()}),
        lambda found: replace(found, texts={path: text._replace(offset=1 << 40) for path, text in found.texts.items()}),
    ],
)
def test_contents_that_no_file_has(
    change: Callable[[Contents], Contents], source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, _ = crossing.encode(change(boundary.read_contents(source)))
    with (
        answering(monkeypatch, said({"value": text, "blobs": []})),
        pytest.raises(ma.UnsafeFileError, match="nonsense"),
    ):
        boundary.read_contents(source)


@pytest.mark.parametrize(
    ("head", "blobs", "words"),
    [
        ({"value": '["int8",[2]]', "blobs": [2]}, [b"xy"], "was changed while it was read"),
        ({"value": '["uint8",[3]]', "blobs": [3]}, [b"xyz"], "was changed while it was read"),
        ({"value": '["int8",[3]]', "blobs": [4]}, [b"xyzw"], "nonsense about .*: 4 bytes, expected at most 3"),
        ({"value": '["int8",[3]]', "blobs": [-3]}, [], "nonsense about .*: -3 bytes"),
    ],
)
def test_an_array_that_is_another_one(
    head: Any, blobs: list[bytes], words: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Entry("int8", (3,), None, 3, None)
    with answering(monkeypatch, said(head, *blobs)), pytest.raises(ma.ModelArchiveError, match=words):
        boundary.read_array(source, "/arrays/x", entry)


def test_what_is_interrupted_ends_the_other_process(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []
    monkeypatch.setattr(starting, "_send", lambda data, descriptors: None)
    monkeypatch.setattr(starting, "stop", lambda: stopped.append(True))
    with pytest.raises(KeyboardInterrupt), starting.job(source.descriptor, seconds=1):
        raise KeyboardInterrupt
    assert stopped == [True]


def test_a_process_that_is_gone_whenever_it_is_asked(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    stopped = []
    monkeypatch.setattr(starting, "_running", lambda: starting._Server(None, ours))  # type: ignore[arg-type]
    monkeypatch.setattr(starting, "stop", lambda: stopped.append(True))
    with ours, pytest.raises(OSError, match="it ended at once"):
        boundary.read_contents(source)
    assert len(stopped) == 2
