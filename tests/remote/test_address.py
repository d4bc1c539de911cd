"""URLs as they are taken, and as they are shown."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.remote import RemoteFile, address, is_url, located
from modelarchive.remote.address import scrubbed, shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.org/a/b.h5", "https://example.org/a/b.h5"),
        ("https://user:pass@example.org/a.h5", "https://example.org/a.h5"),
        ("https://user:pa/ss@example.org/a.h5", "https://..."),
        ("https://user:12/ss@example.org/a.h5", "https://..."),
        ("https://example.org:8080/a.h5?token=1#part", "https://example.org:8080/a.h5?..."),
        ("https://[::1]:80/a.h5", "https://[::1]:80/a.h5"),
        ("s3://bucket/key@2/a.h5", "s3://bucket/key@2/a.h5"),
        ("hf://owner/model@main/a.h5", "hf://owner/model@main/a.h5"),
        ("simplecache::https://u:p@example.org/a.h5?x", "simplecache::https://example.org/a.h5?..."),
        ("zip://a.h5::s3://key:secret@bucket/x.zip", "zip://a.h5::s3://bucket/x.zip"),
    ],
)
def test_a_url_is_shown_without_credentials(url: str, said: str) -> None:
    assert shown(url) == said
    assert str(RemoteFile(url)) == said


def test_another_librarys_words_are_shown_without_credentials() -> None:
    text = "cannot GET https://u:p@host/x?sig=abc with key AKIA1234 and token 'tok-en'"
    options = {"key": "AKIA1234", "client_kwargs": {"more": ["tok-en"]}, "x": "a"}
    assert scrubbed(text, options) == "cannot GET https://host/x?... with key ... and token '...'"


def test_what_is_a_url() -> None:
    assert all(map(is_url, ("https://x/y", "s3://b/k", "memory://x", "filecache::s3://b/k", "abfs://c@a/x")))
    assert not any(
        map(is_url, ("x.h5", "/x/y.h5", "C:\\x.h5", "C:/x.h5", "a:b.h5", "x::y.h5", Path("x"), 3, b"s3://x"))
    )


def test_names() -> None:
    file = RemoteFile("https://example.org/dir/a%20b.h5?token=1")
    assert (file.name, file.stem) == ("a b.h5", "a b")
    folder = RemoteFile("https://example.org/dir/?token=1")
    assert folder.is_dir()
    assert folder.name == "dir"
    assert str(folder / "x.h5") == "https://example.org/dir/x.h5?..."
    assert str((folder / "x.h5").parent) == str(folder)
    assert folder / "x.h5" is folder / "x.h5"


def test_options_are_for_urls(tmp_path: Path) -> None:
    for options in ({"storage_options": {"anon": True}}, {"cache": "blockcache"}):
        with pytest.raises(ValueError, match="is for URLs"):
            ma.open(tmp_path / "x.h5", **options)
    with pytest.raises(ValueError, match="a Path has lost a slash"):
        ma.open(Path("https://example.org/x.h5"), cache="blockcache")
    with pytest.raises(ValueError, match="'filecache'"):
        ma.open("https://example.org/x.h5", cache="mycache")


@pytest.mark.parametrize("name", ["%2e%2e", "..%2fx", "a?b", "a#b", "a b"])
def test_a_name_in_a_folder_is_a_name_there(name: str) -> None:
    for folder in ("https://example.org/in/", "blockcache::http://example.org/in/?token=x"):
        path = urlsplit(str(address.within(folder, name))).path
        assert path.rpartition("/")[0].endswith("/in")
        assert unquote(path.rpartition("/")[2]) == name
        assert (RemoteFile(folder) / name).name == name
    assert address.within("s3://bucket/in/", name) == f"s3://bucket/in/{name}"


@pytest.mark.parametrize("name", ["x.h5", "x", "x/", "x.onnx", "x.xyz"])
@pytest.mark.parametrize("size", [None, 100])
def test_nothing_is_written_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: int | None
) -> None:
    monkeypatch.chdir(tmp_path)
    ma.save("source.h5", {"a": np.ones(3)})
    block = nn.Dense(2, in_units=2)
    block.initialize(seed=0)
    for write in (
        lambda url: ma.save(url, {"a": np.ones(3)}, max_shard_size=size),
        lambda url: ma.save_model(url, block, inputs=np.ones((1, 2), "f4"), max_shard_size=size),
        lambda url: ma.convert("source.h5", url, max_shard_size=size),
        lambda url: block.save_parameters(url),
        ma.Checkpoints,
    ):
        with pytest.raises(ma.RemoteError, match="read and not written") as caught:
            write(f"https://u:geheim@example.org/{name}?geheim")
        assert "geheim" not in str(caught.value)
        assert caught.value.__cause__ is None
    assert [each.name for each in tmp_path.iterdir()] == ["source.h5"]


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "a b.h5"
    ma.save(path, {"a": np.arange(3)})
    assert located(path.as_uri()) == str(path)
    with ma.open(path.as_uri()) as archive:
        assert not archive.is_remote


def test_who_needs_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ma.FormatError, match="download it first"):
        os.fspath(RemoteFile("https://example.org/x.onnx"))


def test_an_error_crosses_processes() -> None:
    error = ma.RemoteError("the server refuses it (403)", url="https://example.org/x", status=403, hint="ask")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.url, again.status, again.args) == (str(error), error.url, 403, error.args)
    assert isinstance(again, OSError)
