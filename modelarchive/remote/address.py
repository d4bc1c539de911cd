"""URLs: which texts are one, how one is shown without its credentials, what lies beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

#: A scheme of two letters at least, since one is a drive; behind it perhaps others, as fsspec chains them.
_URL: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]+::)*[A-Za-z][A-Za-z0-9+.-]+://")
#: A URL in a text that somebody else wrote.
_IN_TEXT: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+")
#: Values of options below this length would be found in any text; no credential is so short.
_LEAST_SECRET: Final = 4


def is_url(text: object) -> bool:
    """Whether a path is the URL of a file elsewhere."""
    return isinstance(text, str) and _URL.match(text) is not None


def shown(url: str) -> str:
    """The URL as messages have it: without user and password, and without its query, which may be a signature."""
    return "::".join(_shown(part) for part in url.split("::"))


def _shown(url: str) -> str:
    scheme, sign, rest = url.partition("://")
    if not sign:
        return url.partition("?")[0]
    front, query, _ = rest.partition("?")
    front = front.partition("#")[0]
    host, slash, path = front.partition("/")
    host = host.rpartition("@")[2]
    port = host.rpartition(":")[2] if ":" in host and not host.endswith("]") else "0"
    if not port.isdecimal() or (port != "0" and "@" in path):
        # A password with a slash in it is no URL, and no reason to print it; digits before the slash pass for a port.
        return f"{scheme}://..."
    return f"{scheme}://{host}{slash}{path}{'?...' if query else ''}"


def scrubbed(text: str, secrets: Mapping[str, Any]) -> str:
    """What another library says, without the credentials that it may repeat.

    Args:
        text: What it says.
        secrets: The options that it was given; none of their values stays.
    """
    found = _IN_TEXT.sub(lambda match: shown(match[0]), text)
    for value in sorted(_texts(secrets), key=len, reverse=True):
        found = found.replace(value, "...")
    return found


def _texts(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value} if len(value) >= _LEAST_SECRET else set()
    if isinstance(value, Mapping):
        value = list(value.values())
    return {text for each in value for text in _texts(each)} if isinstance(value, list | tuple | set) else set()


def name_of(url: str) -> str:
    """The name of the file, or of the folder that a URL with a slash at its end is."""
    path = urlsplit(url.rpartition("::")[2] if "://" in url.rpartition("::")[2] else url.partition("::")[0]).path
    return unquote(path.rstrip("/").rpartition("/")[2]) or "file"


def is_folder(url: str) -> bool:
    """Whether a URL says that it is a folder: by a slash at its end."""
    return url.partition("?")[0].partition("#")[0].endswith("/")


def within(url: str, name: str) -> str:
    """The URL of a file in a folder; a query stays, for it may be what opens the folder."""
    front, sign, query = url.partition("?")
    if front.rpartition("::")[2].startswith(("http://", "https://")):
        name = quote(name)  # "%2e%2e" and "a?b" are names there, and no way out of the folder
    return f"{front.rstrip('/')}/{name}{sign}{query}"


def folder_of(url: str) -> str:
    """The URL of the folder that a file is in."""
    front, sign, query = url.partition("?")
    return f"{front.rpartition('/')[0]}/{sign}{query}"
