"""What one request gives, and how it may fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

#: What tells one state of a file from another, in the words of several file systems.
_VERSIONS: Final = (
    "ETag",
    "etag",
    "md5Hash",
    "blob_id",
    "generation",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
)


class Answer(NamedTuple):
    """What a request gave.

    Attributes:
        nbytes: Bytes that came; fewer than were asked for at the end of the file, or where the server likes.
        size: Bytes of the whole file; None: it was not said.
        version: What tells this state of the file from another; None: nothing does.
    """

    nbytes: int
    size: int | None
    version: str | None


class Failure(Exception):  # noqa: N818 - a signal between transport and file, never seen by users
    """A request that gave not all that was asked for.

    Attributes:
        what: What happened, in words.
        status: The server's number for it; None: there is none.
        again: Whether another attempt may help.
        received: Bytes that came before.
        answer: What the server had announced; None: nothing.
        pause: Seconds that the server asks to wait.
        hint: The next step for the user.
    """

    def __init__(
        self,
        what: str,
        *,
        status: int | None = None,
        again: bool = False,
        received: int = 0,
        answer: Answer | None = None,
        pause: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.status = status
        self.again = again
        self.received = received
        self.answer = answer
        self.pause = pause
        self.hint = hint


class Transport(Protocol):
    """What makes requests for one file, from any thread.

    Attributes:
        advance: Called with the number of bytes whenever some came.
    """

    advance: Callable[[int], None]

    def fill(self, start: int, buffer: memoryview) -> Answer:
        """One request: bytes from `start` on into the buffer.

        Raises:
            Failure: Not all came that there is.
        """


ADVICE: Final = {
    401: "credentials are passed as storage_options=, or in the URL",
    403: "a signed URL may have expired; credentials are passed as storage_options=, or in the URL",
    404: "compare it with where it was published; the URL of a folder of shards ends in a slash",
    410: "compare it with where it was published",
    416: "download it again from where it was published: it is shorter than its index says",
}
NO_CREDENTIALS: Final = f"{ADVICE[401]}; of S3's public files the option anon says that none are needed"
#: Statuses after which the same request may succeed.
PASSING: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
LATER: Final = "try again later"


def range_header(start: int, nbytes: int) -> str:
    """The range of bytes that is asked for, as HTTP says it."""
    return "=".join(("bytes", f"{start}-{start + nbytes - 1}"))


def version_in(details: Mapping[str, Any]) -> str | None:
    """What tells this state of a file from another, of what a file system says of it."""
    return next((str(details[key]) for key in _VERSIONS if details.get(key) is not None), None)
