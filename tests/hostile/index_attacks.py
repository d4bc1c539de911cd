"""Forge an index: change what it says in one place, and seal it again so that only the rule can refuse it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelarchive.store.digest import digest

ZEROS = "0" * 64


def parts_of(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The safetensors header and the archive's own part of an index."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header, json.loads(header["__metadata__"]["modelarchive"])


def forge(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> None:
    """Rewrite the index with `change(header, own)` applied, its digest right.

    The change sees the pairs of `members` as a dict, which is easier to change.
    """
    header, own = parts_of(path)
    if "members" in own:
        own["members"] = dict(own["members"])
    change(header, own)
    if isinstance(own.get("members"), dict):
        own["members"] = list(own["members"].items())
    own["index_digest"] = ZEROS
    header["__metadata__"] = {"format": "pt", "modelarchive": json.dumps(own)}
    write_text(path, json.dumps(header))


def write_text(path: Path, text: str) -> None:
    """Put any text where the index is, its digest right if it has a place for one."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    raw = text.encode("utf-8", "surrogatepass").ljust(length)
    assert len(raw) == length, "the forged index is longer than the user block"
    path.write_bytes(data[:8] + raw.replace(ZEROS.encode(), digest(raw).encode(), 1) + data[8 + length :])


def text_of(path: Path) -> str:
    """The index as text, with the place of its digest zeroed."""
    data = path.read_bytes()
    raw = data[8 : 8 + int.from_bytes(data[:8], "little")].decode().rstrip()
    return raw.replace(parts_of(path)[1]["index_digest"], ZEROS)
