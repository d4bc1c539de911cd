"""Servers that err, connections that end, files that change: tried again where that helps, else said."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.remote import file, http
from modelarchive.remote.file import ATTEMPTS, FIRST, LONGEST_PAUSE
from tests.hostile.readers.samples import safetensors
from tests.remote import server as faults
from tests.remote.server import Fault, Handler, Server


def read(url: str) -> np.ndarray:
    with ma.open(url) as archive:
        return archive["1.weight"]


@pytest.fixture
def expected(model: Path) -> np.ndarray:
    return ma.load(model)["1.weight"]


@pytest.mark.parametrize(
    "fault",
    [*map(faults.status, (408, 425, 429, 500, 502, 503, 504)), faults.cut(0), faults.cut(70)],
    ids=["408", "425", "429", "500", "502", "503", "504", "cut at once", "cut in the middle"],
)
def test_what_may_pass_is_tried_again(
    server: Server, url: str, expected: np.ndarray, fault: Fault, pauses: list[float]
) -> None:
    server.fault = faults.times(ATTEMPTS - 1, fault)
    assert np.array_equal(read(url), expected)
    assert len(pauses) == ATTEMPTS - 1
    assert pauses == sorted(pauses)
    server.fault = faults.times(ATTEMPTS, fault)
    with pytest.raises(ma.RemoteError) as caught:
        read(url)
    assert isinstance(caught.value, OSError)
    assert caught.value.url == url
    assert caught.value.hint == "try again later"


def test_a_cut_connection_goes_on_where_it_was_cut(server: Server, url: str, expected: np.ndarray) -> None:
    server.fault = faults.later(1, faults.times(3, faults.cut(100_000)))
    assert np.array_equal(read(url), expected)
    assert server.nbytes == FIRST + expected.nbytes


@pytest.mark.parametrize("number", [400, 401, 403, 404, 405, 410, 418, 451, 501])
def test_what_does_not_pass_is_not_tried_again(server: Server, url: str, number: int, pauses: list[float]) -> None:
    server.fault = faults.status(number)
    with pytest.raises(ma.RemoteError) as caught:
        ma.open(url)
    assert caught.value.status == number
    assert str(number) in caught.value.message
    assert len(server.requests) == 1
    assert pauses == []


def test_a_server_says_how_long_to_wait(server: Server, url: str, expected: np.ndarray, pauses: list[float]) -> None:
    server.fault = faults.times(1, faults.status(429, Retry_After="7"))
    assert np.array_equal(read(url), expected)
    server.fault = faults.times(1, faults.status(503, Retry_After="100000"))
    assert np.array_equal(read(url), expected)
    server.fault = faults.times(1, faults.status(503, Retry_After="Wed, 21 Oct 2099 07:28:00 GMT"))
    assert np.array_equal(read(url), expected)
    assert pauses[:2] == [7.0, LONGEST_PAUSE]
    assert len(pauses) == 3


def test_a_server_without_ranges(server: Server, url: str, model: Path) -> None:
    """A small file is taken whole; of a large one the answer is given up before it comes."""
    server.fault = faults.whole
    with pytest.raises(ma.RemoteError, match="ignores ranges") as caught:
        ma.open(url)
    assert caught.value.status == 200
    assert "download" in str(caught.value.hint)
    ma.save(server.folder / "small.h5", {"a": np.arange(9)})
    assert np.array_equal(ma.load(f"{server.url}/small.h5")["a"], np.arange(9))
    server.fault = faults.later(1, faults.whole)
    with pytest.raises(ma.RemoteError, match="ignores ranges"):
        read(url)


def wrong_place(handler: Handler, data: bytes, start: int, stop: int) -> bool:
    handler.range(data, start + 1, stop)
    return True


def too_much(handler: Handler, data: bytes, start: int, stop: int) -> bool:
    handler.range(data, start, stop + 1)
    return True


def no_range(handler: Handler, data: bytes, start: int, stop: int) -> bool:
    handler.give(206, data[start:stop])
    return True


def nonsense(handler: Handler, data: bytes, start: int, stop: int) -> bool:
    handler.give(206, data[start:stop], {"Content-Range": "bytes 0-999999999999/x"})
    return True


def longer(handler: Handler, data: bytes, start: int, stop: int) -> bool:
    handler.give(206, data[start:stop] + b"more", {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})
    return True


def short(handler: Handler, data: bytes, start: int, stop: int) -> bool:
    handler.give(206, data[start : stop - 1], {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})
    return True


def chunked(handler: Handler, data: bytes, start: int, stop: int) -> bool:
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (data[start:stop], b"more")) + b"0\r\n\r\n"
    headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}", "Transfer-Encoding": "chunked"}
    handler.send_response(206)
    for key, value in headers.items():
        handler.send_header(key, value)
    handler.end_headers()
    handler.wfile.write(body)
    return True


def encoded(handler: Handler, data: bytes, start: int, stop: int) -> bool:
    handler.range(data, start, stop, Content_Encoding="gzip")
    return True


@pytest.mark.parametrize("fault", [wrong_place, too_much, no_range, nonsense, longer, short, chunked, encoded])
@pytest.mark.parametrize("after", [0, 1])
def test_a_wrong_answer_is_refused(
    server: Server, url: str, fault: Fault, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_SILENCE", 5.0)
    server.fault = faults.later(after, fault)
    with pytest.raises(ma.RemoteError):
        read(url)


def test_an_answer_may_be_shorter_than_what_was_asked_for(server: Server, url: str, expected: np.ndarray) -> None:
    """A server may give less of a range, as long as it says so."""

    def less(handler: Handler, data: bytes, start: int, stop: int) -> bool:
        handler.range(data, start, min(stop, start + 100_000))
        return True

    server.fault = less
    assert np.array_equal(read(url), expected)


@pytest.mark.parametrize("headers", [{"ETag": '"2"'}, {}], ids=["another ETag", "another size"])
def test_a_file_that_is_replaced_is_never_mixed(server: Server, url: str, headers: dict[str, str]) -> None:
    def other(handler: Handler, data: bytes, start: int, stop: int) -> bool:
        size = len(data) + (not headers)
        handler.give(206, data[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{size}", **headers})
        return True

    with ma.open(url) as archive:
        server.fault = other
        with pytest.raises(ma.RemoteError, match="was replaced by another file"):
            archive["1.weight"]


def test_a_file_that_is_replaced_while_it_comes_is_never_mixed(server: Server) -> None:
    """The first answer is cut, and the rest would be another file's; a plain safetensors file has no digests."""
    path = server.folder / "plain.safetensors"
    path.write_bytes(safetensors({"w": np.zeros(50_000, "<f4")}))
    other = safetensors({"w": np.ones(50_000, "<f4")})

    def replaced(handler: Handler, data: bytes, start: int, stop: int) -> bool:
        if not start:
            return False
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(other)}", "ETag": '"2"'}
        handler.give(206, other[start:stop], headers)
        return True

    server.fault = lambda *given: faults.cut(100_000)(*given) if not given[2] else replaced(*given)
    with pytest.raises(ma.RemoteError, match="was replaced by another file"):
        ma.load(f"{server.url}/plain.safetensors")


def test_a_size_of_thousands_of_digits(server: Server, url: str) -> None:
    def endless(handler: Handler, data: bytes, start: int, stop: int) -> bool:
        handler.give(206, data[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{'9' * 5000}"})
        return True

    server.fault = endless
    with pytest.raises(ma.RemoteError, match="does not say which range"):
        ma.open(url)


def test_a_file_that_is_replaced_unseen_is_found_by_its_digest(server: Server, url: str, model: Path) -> None:
    with ma.open(url) as archive:
        model.write_bytes(bytes(model.stat().st_size))  # of the same size, with the same ETag
        with pytest.raises(ma.IntegrityError, match=r"1\.weight"):
            archive["1.weight"]


def test_a_file_that_shrinks(server: Server, url: str, model: Path) -> None:
    with ma.open(url) as archive:
        model.write_bytes(model.read_bytes()[:FIRST])
        with pytest.raises(ma.RemoteError) as caught:
            archive["2.weight"]
    assert caught.value.status == 416


def test_a_truncated_and_an_empty_file(server: Server, url: str, model: Path) -> None:
    data = model.read_bytes()
    for size in (0, 7, 100, 5000, len(data) - 1):
        model.write_bytes(data[:size])
        with pytest.raises(ma.FormatError):
            ma.open(url)


def test_a_silent_server_is_given_up(
    server: Server, url: str, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_SILENCE", 0.2)
    server.fault = faults.times(1, faults.silent(2))
    assert np.array_equal(read(url), expected)
    server.fault = faults.silent(2)
    monkeypatch.setattr(file, "ATTEMPTS", 2)
    with pytest.raises(ma.RemoteError, match="silent, or too slow"):
        read(url)


def test_the_callers_own_timeout_counts(server: Server, url: str) -> None:
    import aiohttp

    server.fault = faults.silent(1)
    options = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=0.05)}}
    with pytest.raises(ma.RemoteError, match="silent, or too slow"):
        ma.open(url, storage_options=options)


def test_nobody_is_there() -> None:
    with pytest.raises(ma.RemoteError, match="cannot be reached"):
        ma.open("http://127.0.0.1:1/x.h5")
    with pytest.raises(ma.RemoteError):
        ma.open("http://[::1/x.h5")
    with pytest.raises(ma.RemoteError, match="fsspec does not take it"):
        ma.open("nosuch://x/y.h5")
    with pytest.raises(ma.RemoteError, match="no such file"):
        ma.open("memory://nowhere.h5")


def test_redirects_in_a_circle(server: Server, url: str) -> None:
    server.fault = faults.redirect(f"{server.url}/moved")
    with pytest.raises(ma.RemoteError, match="too many redirects"):
        ma.open(f"{server.url}/moved/model.h5")
    server.fault = faults.redirect("file:///etc")
    with pytest.raises(ma.RemoteError, match="elsewhere than to HTTP"):
        ma.open(f"{server.url}/moved/passwd")


def test_credentials_are_never_shown(
    server: Server, model: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    host = server.url.removeprefix("http://")
    url = f"http://user:geheim@{host}/model.h5?X-Amz-Signature=unterschrift"
    caplog.set_level(0)
    options = {"headers": {"X-Token": "marke-1234"}}
    said = []
    with ma.open(url, storage_options=options) as archive:
        said += [str(archive), repr(archive), repr(archive.path), archive.summary(), str(archive.verify())]
    sent = server.requests[0].headers
    assert sent["X-Token"] == "marke-1234"
    assert sent["Authorization"].startswith("Basic ")
    ma.convert(url, tmp_path / "copy.h5", storage_options=options)
    said.append((tmp_path / "copy.h5").read_bytes().decode("latin-1"))
    for fault in (faults.status(403), faults.status(500), faults.cut(0), faults.whole):
        server.fault = fault
        with pytest.raises(ma.RemoteError) as caught:
            ma.open(url, storage_options=options)
        error: BaseException | None = caught.value
        while error is not None:
            said += [str(error), repr(error), repr(error.args), repr(vars(error))]
            error = error.__cause__ or error.__context__
    said.append(caplog.text)
    for secret in ("geheim", "unterschrift", "marke-1234"):
        assert not [text for text in said if secret in text]
    assert f"http://{host}/model.h5?..." in said[0]


SECRETS = {"Authorization": "Bearer geheim", "X-Api-Key": "geheim", "Cookie": "a=geheim", "PRIVATE-TOKEN": "geheim"}


@pytest.mark.parametrize(
    "options",
    [
        {"headers": SECRETS},
        {"client_kwargs": {"headers": SECRETS}},
        {"client_kwargs": {"cookies": {"a": "geheim"}}},
        {"cookies": {"a": "geheim"}},
        {},
    ],
)
def test_no_credentials_follow_a_redirect_elsewhere(server: Server, model: Path, options: dict[str, Any]) -> None:
    """Whatever the caller calls them: a server that was named is not one that it names."""
    user = "" if options else "user:geheim@"
    url = f"http://{user}{server.url.removeprefix('http://')}/moved/model.h5"
    agent = {"headers": {"User-Agent": "mine", **options.get("headers", {})}}
    with faults.serving(server.folder) as other:
        server.fault = faults.redirect(other.url)
        ma.open(url, storage_options=options | agent)
        first, second = server.requests[0].headers, other.requests[0].headers
    assert any("geheim" in value or value.startswith("Basic") for value in first.values())
    assert not any("geheim" in value or value.startswith("Basic") for value in second.values())
    assert second["User-Agent"] == "mine"
    server.reset()
    server.fault = faults.redirect(server.url)
    ma.open(url, storage_options=options | agent)
    assert [each.path for each in server.requests] == ["/moved/model.h5", "/model.h5"]
    changing = {"Host", "Range"}
    one, other_headers = ({k: v for k, v in each.headers.items() if k not in changing} for each in server.requests)
    assert one == other_headers


def test_inside_of_an_event_loop(url: str, expected: np.ndarray) -> None:
    async def main() -> np.ndarray:
        return read(url)

    assert np.array_equal(asyncio.run(main()), expected)


def test_from_many_threads(url: str, expected: np.ndarray) -> None:
    with ma.open(url) as archive:
        found: list[np.ndarray] = []
        threads = [threading.Thread(target=lambda: found.append(archive["1.weight"])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 8
    assert all(np.array_equal(each, expected) for each in found)


def test_nothing_half_written_stays(server: Server, url: str, tmp_path: Path) -> None:
    server.fault = faults.later(1, faults.status(404))
    for out in ("out.h5", "out.safetensors", "out.npz"):
        with pytest.raises(ma.RemoteError):
            ma.convert(url, tmp_path / out)
        assert [each.name for each in tmp_path.iterdir()] == ["served"]
