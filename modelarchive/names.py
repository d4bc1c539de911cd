"""The grammar of names: parameter names, keys of saved dicts, select and rename patterns."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final
from urllib.parse import quote, unquote_to_bytes

#: One part of a dotted parameter name.
PART: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
#: A parameter name has at most this many parts.
MAX_PARTS: Final = 64
#: HDF5 keeps the name of a link, with what else it says about it, within 64 KiB.
MAX_LINK_BYTES: Final = 60_000
TOO_LONG: Final = f"the key takes more than {MAX_LINK_BYTES:,} bytes"
#: Numbers that are keys of dicts fit into 64 bits.
MAX_NUMBER: Final = 2**63 - 1
#: Keys under which checkpoints keep a network's parameters, in the order of asking.
CHECKPOINT_KEYS: Final = ("state_dict", "model_state_dict", "model", "module", "net", "params")
#: A name that starts so would collide with safetensors' own entries.
RESERVED: Final = ("__metadata__", "__hdf5__")
_PART_OF_NAME: Final = rf"(?!{'|'.join(RESERVED)}){PART.pattern}"
#: A whole parameter name, of which nothing is wrong.
NAME: Final = re.compile(rf"{_PART_OF_NAME}(?:\.{_PART_OF_NAME}){{0,{MAX_PARTS - 1}}}")


def problem_with_part(part: str) -> str | None:
    """What is wrong with one part of a parameter name, or None."""
    if not PART.fullmatch(part):
        return f"{part!r} is not 1 to 128 letters, digits, '_' or '-'"
    if part.startswith(RESERVED):
        return f"{part!r} is reserved"
    return None


def problem_with_name(name: str) -> str | None:
    """What is wrong with a dotted parameter name, or None."""
    if NAME.fullmatch(name):
        return None
    parts = name.split(".")
    if len(parts) > MAX_PARTS:
        return f"{name[:60]!r}... has more than {MAX_PARTS} parts"
    return next((problem for part in parts if (problem := problem_with_part(part))), None)


def problems_with_texts(several: Iterable[str]) -> list[tuple[str, str]]:
    """Names that UTF-8 cannot say, which a dict may have, and what is wrong with them."""
    return [
        (ascii(name), "is no text: half of a character of two parts (a lone surrogate) stands alone in it")
        for name in several
        if _SURROGATE.search(name)
    ]


def as_text(text: str) -> str:
    r"""The text with escapes (``\ud800``) in place of halves of characters, which UTF-8 cannot say."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def blocks_of(several: Iterable[str]) -> set[str]:
    """The dotted paths above names."""
    blocks: set[str] = set()
    for block in {name.rpartition(".")[0] for name in several}:
        while block and block not in blocks:
            blocks.add(block)
            block = block.rpartition(".")[0]
    return blocks


def joined(path: str, name: str) -> str:
    """The dotted path of what is inside `path`; "" is the whole model."""
    return f"{path}.{name}" if path else name


def as_part(preferred: str) -> str:
    """A part of a dotted name that looks like `preferred`, which may be any text."""
    found = re.sub(r"[^A-Za-z0-9_-]", "_", preferred[:100]) or "node"
    return f"x{found}" if problem_with_part(found) else found


class Taken:
    """Names that are taken, and the next number for each that was wished again: many alike cost no more than few.

    Args:
        names: Those that are taken from the beginning.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = set(names)
        self._numbers: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        """Whether something has the name."""
        return name in self._names

    def add(self, name: str) -> None:
        """Take a name."""
        self._names.add(name)

    def free(self, preferred: str, reserved: Container[str] = ()) -> str:
        """`preferred`, or the first of ``wish_2``, ``wish_3`` ... that is neither taken nor reserved; taken now."""
        name, number = preferred, self._numbers.get(preferred, 1)
        while name in self._names or name in reserved:
            number += 1
            name = f"{preferred}_{number}"
        self._numbers[preferred] = number
        self._names.add(name)
        return name


def encode_key(key: str | int) -> str:
    """A dict key as one HDF5 link name: any string but keeps its dots and its unicode.

    A number is written after ``%i``, which begins no encoded string: ``%i0``, ``%i-7``. ``/``, ``%``, NUL and lone
    surrogates are percent-encoded; so are the names that HDF5 cannot hold (``.``, ``..``; the empty key becomes a bare
    ``%``) and the first ``_`` of a reserved name.
    """
    if isinstance(key, int):
        return f"%i{key}"
    if key == "":
        return "%"
    if key in (".", ".."):
        return key.replace(".", "%2E")
    if key.startswith(RESERVED):
        return "%5F" + encode_key(key[1:])
    return _ENCODED.sub(lambda found: quote(found[0].encode("utf-8", "surrogatepass"), safe=""), key)


def is_too_long(link: str) -> bool:
    """Whether HDF5 cannot hold an encoded key as the name of a link."""
    return len(link.encode()) > MAX_LINK_BYTES


def are_links(keys: Collection[str]) -> bool:
    """Whether :func:`encode_key` leaves every one of the keys as it is."""
    if {"", ".", ".."} & {*keys} or any(key.startswith(RESERVED) for key in keys):
        return False
    return not _ENCODED.search("".join(keys))


def decode_key(link: str) -> str | int:
    """The inverse of :func:`encode_key`."""
    if link == "%":
        return ""
    if "%" not in link:
        return link
    if number := _NUMBER.fullmatch(link):
        return int(number[1])
    return unquote_to_bytes(link).decode("utf-8", "surrogatepass")


_NUMBER: Final = re.compile(r"%i(0|-?[1-9][0-9]{0,18})")
_ENCODED: Final = re.compile("[/%\0\ud800-\udfff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def matcher(patterns: str | Iterable[str] | None) -> re.Pattern[str]:
    """Compile one or several patterns: ``*`` is any run of characters, ``?`` any one; dots included.

    ``"features.*"`` matches every parameter below ``features``; None matches everything.
    """
    if patterns is None:
        return re.compile("", re.DOTALL)
    several = [patterns] if isinstance(patterns, str) else list(patterns)
    return re.compile("|".join(f"(?:{_regex(pattern)})\\Z" for pattern in several) or r"(?!)", re.DOTALL)


def select(names: Iterable[str], patterns: str | Iterable[str] | None) -> list[str]:
    """The names that match any of the patterns, in their own order."""
    match = matcher(patterns).match
    return [name for name in names if match(name)]


def rename(name: str, rules: Mapping[str, str]) -> str:
    """Rename by the first rule whose pattern matches: ``{"features.*": "backbone.*"}``.

    Each ``*`` or ``?`` of the new name takes what the wildcard at the same position of the pattern matched.

    Raises:
        ValueError: A new name has more wildcards than its pattern.
    """
    for pattern, new in rules.items():
        found = re.fullmatch(_regex(pattern), name, re.DOTALL)
        if found is None:
            continue
        texts = iter(found.groups())
        wildcards = sum(new.count(sign) for sign in "*?")
        if wildcards > len(found.groups()):
            raise ValueError(f"rename {pattern!r} -> {new!r}: the new name has more wildcards than the pattern")
        return re.sub(r"[*?]", lambda _, texts=texts: next(texts), new)  # type: ignore[misc]
    return name


def _regex(pattern: str) -> str:
    signs = {"*": "(.*)", "?": "(.)"}
    return "".join(signs.get(character) or re.escape(character) for character in pattern)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``layer.2`` before ``layer.10``."""
    # A number by its length and then its digits: a name may hold more of them than int() takes.
    return tuple(
        (0, len(run.lstrip("0")), run.lstrip("0")) if run.isascii() and run.isdigit() else (1, 0, run)
        for run in re.split(r"(\d+)", name)
        if run
    )


def near(name: str, candidates: Sequence[str]) -> str | None:
    """The candidate that looks most like `name`, for "did you mean"; None if none is close."""
    import difflib

    # difflib is quadratic: past a few thousand candidates only those with the same last part are compared.
    if len(candidates) > 2000:
        last = name.rsplit(".", 1)[-1]
        candidates = [other for other in candidates if other.rsplit(".", 1)[-1] == last][:2000]
    found = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return found[0] if found else None


#: Names for which another is looked for: a source of another network has thousands that no place is near to.
_MOST: Final = 20


def remarks_on(several: Iterable[str], candidates: Sequence[str]) -> dict[str, str]:
    """Name -> the candidate that looks most like it, as it is said behind the name; without those that have none."""
    found = {name: near(name, candidates) for name in islice(several, _MOST)}
    return {name: f" (near: {other})" for name, other in found.items() if other}
