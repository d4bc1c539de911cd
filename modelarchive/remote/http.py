"""Requests by HTTP, in the session that fsspec made: one request gives bytes, the file's size and its version."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any, Final

from modelarchive.remote.transport import ADVICE, LATER, PASSING, Answer, Failure, range_header

#: Seconds without a byte after which a connection counts as dead, unless the caller sets a timeout of their own.
_SILENCE: Final = 60.0
_CONNECT: Final = 30.0
#: The least bytes a second: a server that drips is given up in the end.
_LEAST_RATE: Final = 8 << 10
#: A file of so many bytes is taken whole from a server that gives no ranges.
WHOLE: Final = 1 << 18
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_DOWNLOAD: Final = "download the file, or ask for a server that gives ranges: it must answer 206"
_OPTIONS: Final = 'expected {"headers": {...}} or {"client_kwargs": {...}}, see fsspec\'s documentation'


class HttpTransport:
    """Requests to an HTTP server.

    Args:
        system: fsspec's file system, whose session has the caller's options.
        url: The URL.
    """

    def __init__(self, system: Any, url: str) -> None:
        self.advance: Callable[[int], None] = lambda nbytes: None
        self._system = system
        self._url = url

    def fill(self, start: int, buffer: memoryview) -> Answer:
        """One request, see :class:`modelarchive.remote.transport.Transport`."""
        from fsspec.asyn import sync

        try:
            answer: Answer = sync(self._system.loop, self._fill, start, buffer)
        except (TypeError, AttributeError):
            # The client looks at its options when it asks.
            if not self._system.kwargs and not self._system.client_kwargs:
                raise
        else:
            return answer
        raise Failure("storage_options= has what HTTP does not take", hint=_OPTIONS)

    async def _fill(self, start: int, buffer: memoryview) -> Answer:
        import aiohttp

        options = dict(self._system.kwargs)
        options["headers"] = {
            **(options.pop("headers", None) or {}),
            "Range": range_header(start, len(buffer)),
            "Accept-Encoding": "identity",
        }
        if "timeout" not in options and "timeout" not in self._system.client_kwargs:
            total = _SILENCE + len(buffer) / _LEAST_RATE
            options["timeout"] = aiohttp.ClientTimeout(total=total, sock_connect=_CONNECT, sock_read=_SILENCE)
        received = 0
        try:
            session = await self._system.set_session()
            async with session.get(self._system.encode_url(self._url), **options) as response:
                answer = _checked(response, start, len(buffer))
                async for chunk in response.content.iter_any():
                    if received + len(chunk) > answer.nbytes:
                        raise Failure(f"the server sends more than the {answer.nbytes:,} bytes that it announced")
                    buffer[received : received + len(chunk)] = chunk
                    received += len(chunk)
                    self.advance(len(chunk))
        except (ValueError, aiohttp.NonHttpUrlClientError, aiohttp.TooManyRedirects) as error:
            raise Failure(_words(error)) from None
        except TimeoutError:
            raise Failure("the server is silent, or too slow", again=True, received=received, hint=LATER) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Failure(_words(error), again=not _is_final(error), received=received, hint=LATER) from None
        if received < answer.nbytes:
            what = f"{received:,} of {answer.nbytes:,} bytes came"
            raise Failure(what, again=True, received=received, hint=LATER)
        return answer


def _words(error: Exception) -> str:
    """What an error of the client is, in words that have no URL in them."""
    import aiohttp

    known: dict[type[Exception], str] = {
        aiohttp.ClientConnectorCertificateError: "the server's certificate is not valid",
        aiohttp.ClientSSLError: "no secure connection can be made",
        aiohttp.ClientConnectorDNSError: "there is no such server",
        aiohttp.ClientConnectorError: "the server cannot be reached",
        aiohttp.ServerDisconnectedError: "the server closed the connection",
        aiohttp.ClientPayloadError: "the connection was cut",
        aiohttp.TooManyRedirects: "the server leads in a circle: too many redirects",
        aiohttp.NonHttpUrlClientError: "the server leads elsewhere than to HTTP",
        ValueError: "it is no URL that can be asked for",
    }
    return next((words for kind, words in known.items() if isinstance(error, kind)), "the connection failed")


def _is_final(error: Exception) -> bool:
    import aiohttp

    return isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorDNSError)


def _checked(response: Any, start: int, wanted: int) -> Answer:
    """What a response announces, once it is what was asked for.

    Raises:
        Failure: It is not.
    """
    status = response.status
    if response.history and response.history[0].url.scheme == "https" != response.url.scheme:
        raise Failure("the server leads from HTTPS to a connection that is not secure", status=status)
    if status not in (200, 206):
        return _refused(response, start)
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        what = f"the server sends it encoded ({encoding[:20]}), though none was asked for"
        raise Failure(what, status=status, hint=_DOWNLOAD)
    version = response.headers.get("ETag") or response.headers.get("Last-Modified")
    length = response.headers.get("Content-Length")
    announced = int(length) if length is not None and length.isdecimal() else None
    if status == 200:
        if start or announced is None or announced > min(wanted, WHOLE):
            what = "the server ignores ranges: it would send the whole file (200 instead of 206)"
            raise Failure(what, status=status, hint=_DOWNLOAD)
        return Answer(announced, announced, version)
    found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if found is None:
        raise Failure("the server does not say which range it sends", status=status, hint=_DOWNLOAD)
    begin, end = int(found[1]), int(found[2]) + 1
    size = None if found[3] == "*" else int(found[3])
    nbytes = end - begin
    if begin != start or not 0 < nbytes <= wanted or (size is not None and end > size):
        what = f"bytes {start:,} to {start + wanted:,} were asked for, the server sends {begin:,} to {end:,}"
        raise Failure(what, status=status, hint=_DOWNLOAD)
    if announced is not None and announced != nbytes:
        what = f"the server announces {nbytes:,} bytes as the range, and {announced:,} as the answer"
        raise Failure(what, status=status, hint=_DOWNLOAD)
    return Answer(nbytes, size, version)


def _refused(response: Any, start: int) -> Answer:
    """The failure of a status that brings no bytes; of an empty file the answer that there are none."""
    status = response.status
    if status == 416 and start == 0 and response.headers.get("Content-Range", "").replace(" ", "") == "bytes*/0":
        return Answer(0, 0, response.headers.get("ETag"))
    pause = None
    with contextlib.suppress(ValueError):
        pause = float(response.headers.get("Retry-After", ""))
    what = {
        401: "the server wants to know who asks (401)",
        403: "the server refuses it (403)",
        404: "there is no such file (404)",
        410: "the file is gone (410)",
        416: "the file is shorter than what was asked for (416)",
        429: "the server has had too many requests (429)",
    }.get(status, f"the server answers {status}")
    hint = LATER if status in PASSING else ADVICE.get(status)
    raise Failure(what, status=status, again=status in PASSING, pause=pause, hint=hint)
