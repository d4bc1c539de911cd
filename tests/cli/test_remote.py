"""URLs where commands take files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.cli import output
from modelarchive.remote import RemoteFile
from tests.cli.conftest import Run, damage
from tests.remote import server as faults
from tests.remote.server import Server, serving


@pytest.fixture
def server(model: Path) -> Iterator[Server]:
    pytest.importorskip("aiohttp")
    with serving(model.parent) as found:
        yield found


@pytest.fixture
def url(server: Server, model: Path) -> str:
    return f"{server.url}/{model.name}"


@pytest.mark.parametrize("options", [[], ["--tree"], ["--stats"], ["--json"]], ids=str)
def test_show_says_the_same_of_a_url(run: Run, url: str, model: Path, options: list[str]) -> None:
    far, near = run("show", url, *options), run("show", model, *options)
    assert (far.code, far.err) == (0, "")
    assert far.out.replace(url, str(model)) == near.out


def test_verify(run: Run, url: str, model: Path) -> None:
    assert run("verify", url).out.startswith(f"{url}: whole: architecture and 6 arrays")
    damage(model, "output.weight")
    found = run("verify", "--json", url)
    assert found.code == 1
    assert list(found.json[0]["damaged"]) == ["output.weight"]


def test_no_page_of_what_is_damaged_on_the_way(run: Run, url: str, model: Path, tmp_path: Path) -> None:
    damage(model, "output.weight")
    found = run("view", url, "-o", tmp_path / "page.html")
    assert found.code == 1
    assert "output.weight" in found.err
    assert not (tmp_path / "page.html").exists()


def test_extract_convert_transplant_diff_and_run(
    run: Run, url: str, model: Path, tmp_path: Path, x: np.ndarray
) -> None:
    for where, source in (("far", url), ("near", model)):
        out = tmp_path / where
        out.mkdir()
        np.save(out / "x.npy", x)
        assert run("extract", source, "output", "-o", out / "part.h5").code == 0
        assert run("convert", source, out / "x.safetensors").code == 0
        assert run("transplant", source, source, "--select", "output.*", "-o", out / "moved.h5").code == 0
        assert run("run", source, "--input", out / "x.npy", "-o", out / "y.npy").code == 0
        assert run("view", source, "-o", out / "page.html").code == 0
    for name in ("part.h5", "x.safetensors", "moved.h5", "y.npy"):
        assert (tmp_path / "far" / name).read_bytes() == (tmp_path / "near" / name).read_bytes()
    far, near = (
        re.split(r'"checked","[^"]*"', (tmp_path / each / "page.html").read_text()) for each in ("far", "near")
    )
    assert far == near
    assert run("diff", url, model).out == "the same: 6 of 6 arrays equal\n"
    net = ma.load_model(model)
    net.collect_params()["output.bias"].set_data(np.ones(3, np.float32))
    ma.save_model(tmp_path / "other.h5", net, inputs=x, metadata={"license": "MIT", "accuracy": 0.5})
    found = run("diff", url, tmp_path / "other.h5")
    assert found.code == 1
    assert "by its digest" in found.out
    assert run("diff", "--json", url, tmp_path / "other.h5").json["changed"] == {"output.bias": None}


def test_plain_safetensors(run: Run, server: Server, model: Path) -> None:
    run("convert", model, model.with_name("plain.safetensors"))
    found = run("show", f"{server.url}/plain.safetensors")
    assert (found.code, "safetensors" in found.out) == (0, True)
    assert run("verify", f"{server.url}/plain.safetensors").code == 1


@pytest.mark.parametrize("command", ["repack", "reindex", "sign"])
def test_what_needs_a_disk_says_so(run: Run, url: str, server: Server, command: str) -> None:
    found = run(command, url)
    assert found.code == 2
    assert "download it first" in found.err
    assert server.requests == []


def test_nothing_is_written_to_a_url(run: Run, url: str, server: Server) -> None:
    assert run("extract", url, "output", "-o", url).code == 2
    assert run("convert", url, f"{server.url}/other.h5").code != 0


def test_a_server_that_refuses(run: Run, server: Server, url: str) -> None:
    server.fault = faults.status(403)
    found = run("show", url.replace("http://", "http://user:geheim@"))
    assert found.code == 4
    assert found.err.startswith(f"modelarchive: {url}: the server refuses it (403)\n")
    assert "geheim" not in found.err
    assert "storage_options" not in found.err
    assert "--storage-option KEY=VALUE" in found.err


def test_options_go_to_the_server(run: Run, server: Server, url: str, model: Path) -> None:
    headers = '{"X-Model": "geheim"}'
    found = run("show", url, "--storage-option", f"headers={headers}", "--storage-option", "block_size=65536")
    assert (found.code, found.err) == (0, "")
    assert all(each.headers["X-Model"] == "geheim" for each in server.requests)
    server.requests.clear()
    assert run("diff", "--storage-option", f"headers={headers}", url, model).code == 0
    assert server.requests[0].headers["X-Model"] == "geheim"


@pytest.mark.parametrize("option", ["--storage-option=nonsense=true", "--storage-option=headers=geheim"])
def test_options_that_do_not_fit_are_refused_without_their_values(run: Run, url: str, option: str) -> None:
    found = run("show", url, option)
    assert found.code == 4
    assert "geheim" not in found.err
    assert "unexpected" not in found.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--storage-option", "geheim"], "argument --storage-option: expected KEY=VALUE"),
        (["--storage-option", "=geheim"], "argument --storage-option: expected KEY=VALUE"),
        (["--cache", "memory"], "argument --cache: 'memory', expected blockcache, filecache, simplecache"),
        (["--cache", "filecache="], "argument --cache: 'filecache=', expected blockcache"),
    ],
)
def test_options_that_are_none(run: Run, url: str, server: Server, options: list[str], words: str) -> None:
    found = run("show", url, *options)
    assert (found.code, server.requests) == (2, [])
    assert words in found.err
    assert "geheim" not in found.err


def test_options_without_a_url(run: Run, model: Path) -> None:
    for option, value in (("--storage-option", "anon=true"), ("--cache", "blockcache")):
        found = run("show", model, option, value)
        assert (found.code, found.out) == (2, "")
        assert f"{option} is for URLs, and none is given" in found.err


def test_what_is_cached_is_not_asked_for_again(run: Run, server: Server, url: str, tmp_path: Path) -> None:
    option = f"--cache=filecache={tmp_path / 'kept'}"
    first = run("show", url, option)
    assert first.code == 0
    sent = server.nbytes
    assert sent
    assert run("show", url, option).out == first.out
    assert server.nbytes == sent
    assert any((tmp_path / "kept").iterdir())


def test_a_signature_is_not_looked_for_elsewhere(run: Run, server: Server, url: str, tmp_path: Path) -> None:
    found = run("verify", "--key", tmp_path / "key.pub", url)
    assert (found.code, server.requests) == (2, [])


def test_bytes_and_rate_are_shown_on_a_terminal_only(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = RemoteFile(url)
    with output.transfers(file, Path("x")):
        file.head(1)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    file = RemoteFile(url)
    with output.transfers(file):
        file.head(1)
    shown = capsys.readouterr()
    assert "mlp.h5" in shown.err
    assert "KiB" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    "command",
    [
        ("show", "{model}", "{url}"),
        ("demo", "{url}"),
        ("demo", "--folder", "{url}"),
        ("repack", "{url}"),
        ("reindex", "{url}"),
        ("sign", "{url}", "--key", "x"),
        ("sign", "{model}", "--key", "{url}"),
        ("verify", "{model}", "--key", "{url}"),
        ("verify", "{model}", "--key", "x", "--signature", "{url}"),
        ("run", "{model}", "--input", "{url}"),
        ("run", "{model}", "--backend", "{url}", "--input", "x"),
        ("convert", "{model}", "{url}"),
        ("convert", "{model}", "x.h5", "--config", "{url}"),
        ("convert", "{model}", "x.h5", "--base", "{url}"),
        ("transplant", "{model}", "{model}", "-o", "{url}"),
    ],
)
def test_urls_in_the_wrong_place_are_told_without_credentials(run: Run, model: Path, command: tuple[str, ...]) -> None:
    url = "https://user:secret@example.org/model.h5?signature=secret"
    found = run(*(each.format(model=model, url=url) for each in command))
    assert found.code != 0
    assert "example.org" in found.err
    assert "secret" not in found.out + found.err
