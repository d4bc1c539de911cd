"""Requests by HTTP, in the session that fsspec made: one request gives bytes, the file's size and its version."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from modelarchive.remote.transport import ADVICE, LATER, PASSING, Answer, Failure, range_header

#: Seconds without a byte after which a connection counts as dead, unless the caller sets a timeout of their own.
_SILENCE: Final = 60.0
_CONNECT: Final = 30.0
#: The least bytes a second: a server that drips is given up in the end.
_LEAST_RATE: Final = 8 << 10
#: A file of so many bytes is taken whole from a server that gives no ranges.
WHOLE: Final = 1 << 18
_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
#: Redirects that are followed, and the statuses of such.
_REDIRECTS: Final = 10
_MOVED: Final = frozenset((301, 302, 303, 307, 308))
#: Of the caller's headers and options what another server may know, too; all else may be a credential.
_PUBLIC_HEADERS: Final = frozenset(("range", "accept-encoding", "user-agent"))
_SECRETS: Final = ("auth", "cookies", "headers")
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
        body = _Body(buffer, self.advance)
        try:
            url = self._system.encode_url(self._url)
            async with contextlib.AsyncExitStack() as stack:
                session = await self._system.set_session()
                for _ in range(_REDIRECTS + 1):
                    async with session.get(url, allow_redirects=False, **options) as response:
                        if (target := _led_to(response)) is None:
                            return await body.received(response, start)
                    if not _is_same_server(url, target):
                        session, options = await self._anonymous(stack, session, options)
                    elif target.user is None:
                        target = target.with_user(url.user).with_password(url.password)
                    url = target
        except (ValueError, aiohttp.NonHttpUrlClientError) as error:
            raise Failure(_words(error)) from None
        except TimeoutError:
            raise body.cut("the server is silent, or too slow") from None
        except (aiohttp.ClientError, OSError) as error:
            raise body.cut(_words(error), again=not _is_final(error)) from None
        raise Failure("the server leads in a circle: too many redirects")

    async def _anonymous(
        self, stack: contextlib.AsyncExitStack, session: Any, options: Mapping[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """A session and options that tell nothing of who asks, for a server that the caller has not named."""
        headers = {name: value for name, value in options["headers"].items() if name.lower() in _PUBLIC_HEADERS}
        rest = {name: value for name, value in options.items() if name not in _SECRETS}
        settings = self._system.client_kwargs
        if settings.keys() & set(_SECRETS):
            others = {name: value for name, value in settings.items() if name not in _SECRETS}
            session = await stack.enter_async_context(await self._system.get_client(loop=self._system.loop, **others))
        return session, {**rest, "headers": headers}


class _Body:
    """What came of one answer.

    Args:
        buffer: Where it goes.
        advance: Called with the number of bytes whenever some came.
    """

    def __init__(self, buffer: memoryview, advance: Callable[[int], None]) -> None:
        self._buffer = buffer
        self._advance = advance
        self._nbytes = 0
        self._answer: Answer | None = None

    async def received(self, response: Any, start: int) -> Answer:
        """All of it.

        Raises:
            Failure: It is not what was asked for.
        """
        self._answer = answer = _checked(response, start, len(self._buffer))
        async for chunk in response.content.iter_any():
            if self._nbytes + len(chunk) > answer.nbytes:
                raise Failure(f"the server sends more than the {answer.nbytes:,} bytes that it announced")
            self._buffer[self._nbytes : self._nbytes + len(chunk)] = chunk
            self._nbytes += len(chunk)
            self._advance(len(chunk))
        if self._nbytes < answer.nbytes:
            raise self.cut(f"{self._nbytes:,} of {answer.nbytes:,} bytes came")
        return answer

    def cut(self, what: str, *, again: bool = True) -> Failure:
        """That no more came."""
        return Failure(what, again=again, received=self._nbytes, answer=self._answer, hint=LATER)


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
        aiohttp.NonHttpUrlClientError: "the server leads elsewhere than to HTTP",
        ValueError: "it is no URL that can be asked for",
    }
    return next((words for kind, words in known.items() if isinstance(error, kind)), "the connection failed")


def _is_final(error: Exception) -> bool:
    import aiohttp

    return isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorDNSError)


def _led_to(response: Any) -> Any:
    """The URL that a server redirects to; None: this is its answer.

    Raises:
        Failure: It is none that may be asked for.
    """
    location = response.headers.get("Location")
    if response.status not in _MOVED or location is None:
        return None
    target = response.url.join(type(response.url)(location))
    if target.scheme not in ("http", "https"):
        raise Failure("the server leads elsewhere than to HTTP")
    if response.url.scheme == "https" != target.scheme:
        raise Failure("the server leads from HTTPS to a connection that is not secure", status=response.status)
    return target


def _is_same_server(one: Any, other: Any) -> bool:
    """Whether two URLs are of one server, the second one perhaps by HTTPS in place of HTTP."""
    is_secured = (one.scheme, other.scheme) == ("http", "https") and one.host == other.host
    return bool(one.origin() == other.origin() or is_secured)


def _checked(response: Any, start: int, wanted: int) -> Answer:
    """What a response announces, once it is what was asked for.

    Raises:
        Failure: It is not.
    """
    status = response.status
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
