"""Kinds of things that people hand over by mistake, and the signs by which a file or folder is recognised as one."""

from __future__ import annotations

import json
import re
import shlex
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modelarchive.errors import FormatError
from modelarchive.formats import protobuf
from modelarchive.formats.commands import convert_line
from modelarchive.formats.content import (
    MAX_HEADER_BYTES,
    Content,
    Look,
    OnDisk,
    hdf5_end,
    hdf5_start,
    is_torch_stream,
    zip_members,
)
from modelarchive.formats.signs import archive
from modelarchive.formats.systems import FORMATS, system_inside
from modelarchive.remote import RemoteFile

_HEAD: Final = 4096
#: Files of a folder that are looked into, and that a message names.
_MOST_FILES: Final = 100
_MOST_NAMES: Final = 5
#: Longest JSON that is looked into.
_MAX_JSON: Final = 4 << 20
#: The key under which PyTorch's distributed checkpoints say in safetensors that tensors are pieces.
SHARDING: Final = "DCP_SHARDING_INFO"

#: How pickles begin: their protocol and a first instruction; of protocols 0 and 1 what they are most often of.
_PICKLE: Final = re.compile(
    rb"\x80[\x02-\x05][\x95\x8a\x8c}\](c)KMGX]|c[A-Za-z_][\w.]*\n[\w.]+\n|\([dl]p\d+\n|[\]}]q\x00", re.DOTALL
)

#: What a sign found, for the words of the message; None: it is not there.
Found = dict[str, Any] | None
Sign = Callable[[Content], Found]


@dataclass(frozen=True)
class Mistake:
    """A kind of thing that is no model that is read here.

    Attributes:
        key: Its name in this table.
        what: What it is, in words, for the documents.
        sign: Tells it, and finds what the message says of it; takes an open file, or the path of a folder.
        says: The message: what it is, and why that is no model.
        way: The way out. ``{name}`` is the path as text, for Python; ``{path}`` the same for a shell, and ``{stem}``
            the file's own name without suffix.
        is_vague: Whether a file of a system that is read may look like that, too.
    """

    key: str
    what: str
    sign: Callable[[Any], dict[str, Any] | None]
    says: str
    way: str
    is_vague: bool = False

    def error(self, path: Path, found: dict[str, Any]) -> FormatError:
        """The refusal of a file or folder."""
        stem = path.stem or "model"
        words = {"name": str(path), "path": shlex.quote(str(path)), "stem": shlex.quote(stem), **found}
        words |= {"parameters": f"{stem}-parameters.pt", "program": f"{stem}-program.pt2"}
        return FormatError(self.says.format(**words), file=path, hint=self.way.format(**words))


def pointer(content: Content) -> Found:
    """Git LFS: three lines of text that stand for a file."""
    head = content.read(0, 1024)
    if not head.startswith(b"version https://git-lfs.github.com/spec/") or content.size > 1024:
        return None
    size = re.search(rb"^size (\d{1,18})$", head, re.MULTILINE)
    return {"bytes": f"{int(size[1]):,} bytes" if size else "other bytes"}


def empty(content: Content) -> Found:
    """No byte at all."""
    return None if content.size else {}


def begins(*texts: bytes, at: int = 0) -> Sign:
    """Fixed bytes at a fixed place."""
    return lambda content: {} if content.read(at, 16).startswith(texts) else None


def page(content: Content) -> Found:
    """A page of HTML, as servers send it in the place of a file."""
    text = _start(content).lower()
    return {} if text.startswith((b"<!doctype html", b"<html")) else None


def openvino(content: Content) -> Found:
    """The graph of OpenVINO."""
    text = _start(content)
    return {} if text.startswith((b"<?xml", b"<net")) and b"<net " in text else None


def xml(content: Content) -> Found:
    """Any other XML: what storage servers answer instead of a file."""
    return {} if _start(content).startswith(b"<?xml") else None


def _start(content: Content) -> bytes:
    return content.read(0, _HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()


def document(*keys: str) -> Sign:
    """JSON, an object that has one of these keys; without keys: any."""

    def sign(content: Content) -> Found:
        start = _start(content)
        if not start.startswith((b"{", b"[")):
            return None
        if not keys:
            is_known = b'"weight_map"' in start or b'"nodes"' in start
            return {} if re.match(rb"\{\s*[\"}]|\[\s*[\[\]{\"\d-]", start) and not is_known else None
        if not start.startswith(b"{") or content.size > _MAX_JSON:
            return None
        try:
            found = json.loads(content.read(0, content.size))
        except (ValueError, RecursionError):
            return None
        return {} if isinstance(found, dict) and any(key in found for key in keys) else None

    return sign


def pickled(*words: bytes) -> Sign:
    """A pickle of Python that names one of these modules; without words: any."""

    def sign(content: Content) -> Found:
        head = content.read(0, 1 << 16)
        if not _PICKLE.match(head):
            return None
        if is_torch_stream(head):
            return None
        return {} if not words or any(word in head for word in words) else None

    return sign


def deflated(content: Content) -> Found:
    """A pickle that joblib compressed."""
    head = content.read(0, 512)
    if head[:1] != b"x":
        return None
    try:
        return {} if zlib.decompressobj().decompress(head, 16).startswith(b"\x80") else None
    except zlib.error:
        return None


def zipped(*wanted: str, of_any_format: bool = False) -> Sign:
    """A zip file that has a member whose path ends so; without such ends: any.

    Args:
        wanted: How a path ends: ".onnx", or a whole name.
        of_any_format: Also one of a format that is read.
    """

    def sign(content: Content) -> Found:
        members = zip_members(content) if content.read(0, 2) == b"PK" else None
        if not members or (not of_any_format and system_inside(members) is not None):
            return None
        has = any(
            name.endswith(end) if end.startswith(".") else name.rpartition("/")[2] == end
            for name in members
            for end in wanted
        )
        return {"inside": next(iter(members))[:80]} if has or not wanted else None

    return sign


def named(pattern: str, *, head: bytes = b"") -> Sign:
    """A file by its name, where its content says nothing, and how it begins."""
    expression = re.compile(pattern)
    return lambda content: (
        {} if expression.search(content.path.name) and content.read(0, len(head)).startswith(head) else None
    )


def either(*several: Sign) -> Sign:
    """The first of several signs that is there."""
    return lambda content: next((found for sign in several if (found := sign(content)) is not None), None)


def cut_zip(content: Content) -> Found:
    """A zip file without the list of members that stands at its end."""
    return {"has": f"{content.size:,}"} if content.read(0, 4) == b"PK\3\4" and zip_members(content) is None else None


def cut_hdf5(content: Content) -> Found:
    """An HDF5 file that is shorter than its superblock says."""
    end = hdf5_end(content)
    return None if end is None else _shorter(content, end)


def cut_safetensors(content: Content) -> Found:
    """A safetensors file, or an archive, that is shorter than its header says."""
    head = content.read(0, 16)
    length = int.from_bytes(head[:8], "little")
    if not re.match(rb'\{\s*"', head[8:]) or not 2 <= length <= MAX_HEADER_BYTES:
        return None
    if hdf5_start(content) is not None:
        return None  # an archive, of which HDF5 tells how long it was written
    if length + 8 > content.size:
        return _shorter(content, length + 8)
    return _shorter(content, length + 8 + _end_of_arrays(content, length))


def _end_of_arrays(content: Content, length: int) -> int:
    try:
        header = json.loads(content.read(8, length))
        entries = [value for name, value in header.items() if name != "__metadata__"]
        return max((int(entry["data_offsets"][1]) for entry in entries), default=0)
    except (ValueError, OverflowError, RecursionError, KeyError, TypeError, AttributeError, IndexError):
        return 0


def pieces(content: Content) -> Found:
    """A safetensors file of a distributed checkpoint that has a piece of a tensor in it.

    Files of one process say the same of tensors that are whole: they begin at 0. So do the pieces of the first of
    several processes, whose files have names of their own.
    """
    length = int.from_bytes(content.read(0, 8), "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, content.size):
        return None
    raw = content.read(8, length)
    if SHARDING.encode() not in raw:
        return None
    try:
        header = json.loads(raw)
        offsets = json.loads(header["__metadata__"][SHARDING])
        begins = {name: any(about["saved_offsets"]) for name, about in offsets.items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    inside = [name for name in header if name != "__metadata__"]
    is_shard = re.match(r"shard-\d+-model-", content.path.name) is not None
    some = next((name for name in inside if is_shard or begins.get(name)), None)
    return None if some is None else {"tensor": some[:80]}


def cut_onnx(content: Content) -> Found:
    """An ONNX model whose last part is longer than the file."""
    end = protobuf.is_cut_onnx(content)
    return None if end is None else _shorter(content, end)


def _shorter(content: Content, needed: int) -> Found:
    if not content.size < needed < 2**60:
        return None
    return {"has": f"{content.size:,}", "needed": f"{needed:,}"}


def message(is_it: Callable[[Content], bool]) -> Sign:
    """Protocol Buffers of a known kind."""
    return lambda content: {} if is_it(content) else None


def behind(content: Content) -> Found:
    """Several zip files one behind the other, of which the list at the end knows the last one only."""
    members = zip_members(content) if content.read(0, 2) == b"PK" else None
    first = min(members.values(), default=0) if members else 0
    return {"before": f"{first:,}"} if first else None


def distributed(content: Content) -> Found:
    """A shard of a distributed checkpoint of PyTorch: by its name, or by what lies beside it."""
    if isinstance(content.path, RemoteFile):
        return None  # it is no zip file, and nobody asks what lies beside it
    folder = content.path.absolute().parent
    if content.path.suffix == ".distcp" or (behind(content) is not None and (folder / ".metadata").exists()):
        return {"folder": folder.name}
    return None


def table(content: Content) -> Found:
    """The index of a checkpoint of TensorFlow: the magic number of its tables at the end."""
    at = content.size - 8
    return {} if at >= 40 and content.read(at, 8) == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb" else None


def text(content: Content) -> Found:
    """Text of any kind."""
    head = content.read(0, _HEAD)
    if len(head) < 2 or head.lstrip()[:1] in (b"{", b"["):
        return None
    try:
        words = head.decode()
    except UnicodeDecodeError as error:
        # A character may be cut in two.
        if error.start < len(head) - 4:
            return None
        words = head[: error.start].decode()
    is_plain = words.isascii() or content.size > 64
    if not is_plain or any(ord(sign) < 32 and sign not in "\t\n\r\f" for sign in words) or "\x7f" in words:
        return None
    line = next((each.strip() for each in words.splitlines() if each.strip()), "")
    return {"line": line[:60]} if line else None


def folder_with(*names: str, ends: str = "") -> Callable[[Path], Found]:
    """A folder that has all of these files, and one whose name ends so."""

    def sign(folder: Path) -> Found:
        if not all((folder / name).exists() for name in names):
            return None
        return {} if not ends or any(each.endswith(ends) for each in _inside(folder)) else None

    return sign


def _inside(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir())
    except OSError:
        return []


def run(folder: Path) -> Found:
    """The newest checkpoint in the folder of a run."""
    steps = [found for each in _inside(folder) if (found := _STEP.fullmatch(each))]
    return {"newest": max(steps, key=lambda step: int(step[1]))[0]} if steps else None


_STEP: Final = re.compile(r"step-([0-9]{8,18})(?:\.h5)?")


def archives(folder: Path) -> Found:
    """The archives in a folder that is none itself."""
    endings = tuple(FORMATS["archive"].suffixes)
    several = [each for each in _inside(folder) if each.endswith(endings) and (folder / each).is_file()]
    found = []
    for each in several[:_MOST_FILES]:
        with OnDisk(folder / each) as content:
            found += [each] if archive(Look(content)) else []
    if not found:
        return None
    what = "a model archive" if len(found) == 1 else f"{len(found)} model archives"
    return {"archives": f"{what}: {_some(found)}", "first": shlex.quote(str(folder / found[0]))}


def models(folder: Path) -> Found:
    """Models that are folders, and lie in a folder that is none itself."""
    signs = [run, *(known.folder for known in FORMATS.values() if known.folder is not None)]
    several = [folder / each for each in _inside(folder)[:_MOST_FILES]]
    found = [each.name for each in several if each.is_dir() and any(sign(each) for sign in signs)]
    return {"models": _some(found), "first": shlex.quote(str(folder / found[0]))} if found else None


def anything(folder: Path) -> Found:
    """Whatever is in a folder."""
    return {"holds": _some(_inside(folder)) or "nothing"}


def _some(names: list[str]) -> str:
    """The first names of several, and how many more there are."""
    more = f", and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(name if name.isprintable() else repr(name) for name in names[:_MOST_NAMES]) + more


def weights(folder: Path) -> Found:
    """The first file of parameters in a folder."""
    # What is recognised by a guess alone may be any text; an archive would be handed over as one.
    systems = [*(known for name, known in FORMATS.items() if known.signs and name != "archive"), FORMATS["archive"]]
    endings = [end for known in systems for end in sorted(known.suffixes, key=len, reverse=True)]
    inside = _inside(folder)
    found = next((each for end in endings for each in inside if each.endswith(end)), None)
    if found is None:
        return None
    return {"weights": shlex.quote(str(folder / found)), "command": convert_line(folder / found)}
