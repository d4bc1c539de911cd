"""Requests to S3, by s3fs: one gives bytes, the object's size and its version, as HTTP does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from modelarchive.remote.generic import failure
from modelarchive.remote.transport import LATER, Answer, Failure, range_header

#: Bytes that are taken at a time.
_CHUNK: Final = 1 << 18
_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)


class S3Transport:
    """Requests for one object.

    Args:
        system: s3fs' file system.
        path: Bucket and key.
        options: The caller's, of which no value gets into a message.
    """

    def __init__(self, system: Any, path: str, options: Mapping[str, Any]) -> None:
        self.advance: Callable[[int], None] = lambda nbytes: None
        self._system = system
        self._options = options
        self._bucket, self._key, self._version = system.split_path(path)

    def fill(self, start: int, buffer: memoryview) -> Answer:
        """One request, see :class:`modelarchive.remote.transport.Transport`."""
        from fsspec.asyn import sync

        problem: Exception
        try:
            answer: Answer = sync(self._system.loop, self._fill, start, buffer)
            return answer
        except Failure:
            raise
        except Exception as error:  # botocore has a hundred of them
            problem = error
        raise failure(problem, self._options) from None

    async def _fill(self, start: int, buffer: memoryview) -> Answer:
        more = {"VersionId": self._version} if self._version else {}
        response = await self._system._call_s3(
            "get_object",
            Bucket=self._bucket,
            Key=self._key,
            Range=range_header(start, len(buffer)),
            **more,
            **self._system.req_kw,
        )
        found = _RANGE.fullmatch(response.get("ContentRange") or "")
        if found is None or int(found[1]) != start or not 0 <= int(found[2]) - start < len(buffer):
            raise Failure("the server does not send the range that was asked for")
        nbytes = int(found[2]) + 1 - start
        answer = Answer(nbytes, int(found[3]), response.get("ETag"))
        await self._received(response["Body"], buffer[:nbytes], answer)
        return answer

    async def _received(self, body: Any, buffer: memoryview, answer: Answer) -> None:
        """All bytes of an answer.

        Raises:
            Failure: There are more, or it is cut.
        """
        received = 0
        problem: Exception | None = None
        try:
            while chunk := await body.read(_CHUNK):
                if received + len(chunk) > len(buffer):
                    raise Failure(f"the server sends more than the {len(buffer):,} bytes that it announced")
                buffer[received : received + len(chunk)] = chunk
                received += len(chunk)
                self.advance(len(chunk))
        except Failure:
            raise
        except Exception as error:  # botocore's, aiohttp's
            problem = error
        finally:
            body.close()
        if received < len(buffer):
            cut = f"{received:,} of {len(buffer):,} bytes came"
            what = cut if problem is None else failure(problem, self._options).what
            raise Failure(what, again=True, received=received, answer=answer, hint=LATER)
