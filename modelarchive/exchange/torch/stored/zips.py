"""Files of ``torch.save`` since PyTorch 1.6: zip files of a pickle and one member for each storage."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.mapped import FilePart, MappedFile
from modelarchive.exchange.torch.stored.machine import CutShortError
from modelarchive.exchange.torch.stored.meanings import meaning_of, storage_of
from modelarchive.exchange.torch.stored.pickles import follow
from modelarchive.exchange.torch.stored.stubs import Named
from modelarchive.exchange.torch.stored.tensors import Storage, unseen
from modelarchive.exchange.zipped import Member, members

#: What PyTorch writes beside the pickle and the storages, and says nothing of values.
_KNOWN: Final = ("version", ".format_version", ".storage_alignment", "byteorder", ".data/serialization_id")
_PICKLE: Final = "data.pkl"
_AGAIN: Final = "where the file was made, save it again with torch.save"


@dataclass
class Stored:
    """What a file of ``torch.save`` holds.

    Attributes:
        value: The object: plain data, stubs, tensors.
        storages: What its tensors are parts of.
        notes: What was left out.
    """

    value: Any
    storages: list[Storage]
    notes: list[Note] = field(default_factory=list)

    def unseen(self) -> list[Note]:
        """What is said of bytes of storages that no tensor shows, once it is known which tensors there are."""
        count = unseen(self.storages)
        return [Note("(storages)", f"{count:,} bytes are left out that no tensor shows")] if count else []


def read_zip(file: MappedFile | FilePart) -> Stored:
    """What a zip file of PyTorch holds.

    Raises:
        FormatError: It is damaged, or no such file.
        UnsafeFileError: It is compressed, or claims more than it has.
    """
    found = members(file, most=lambda _: file.size << 10)
    if any(member.name.endswith("/constants.pkl") for member in found):
        raise FormatError("is a TorchScript program, which is code")
    if packed := next((member for member in found if member.is_compressed), None):
        what = f"is a compressed zip file, which torch.save never writes: {packed.name[:80]!r}"
        hint = "unpack its members and zip them again without compression, as `zip -0` does"
        raise UnsafeFileError(what, rule="compression", hint=hint)
    names = _by_name(found)
    prefix = _prefix(names)
    at = names[f"{prefix}{_PICKLE}"]
    inside = {name.removeprefix(prefix): member for name, member in names.items() if name.startswith(prefix)}
    is_big_endian = _is_big_endian(file, inside.get("byteorder"))
    storages: dict[tuple[str, bool], Storage] = {}

    def load(identity: Any) -> Any:
        if isinstance(identity, tuple) and identity and identity[0] == "module":
            return identity[1] if len(identity) > 1 else Named("module")
        storage, _ = storage_of(identity)
        # PyTorch takes all tensors of a storage to be of the dtype that the first one says; uint8 is that of bytes.
        known = storages.setdefault((storage.key, storage.dtype is None), storage)
        other = storages.get((storage.key, storage.dtype is not None), known)
        if not known.is_like(storage) or not other.is_like(storage):
            raise FormatError(f"is damaged: its storage {storage.key[:40]!r} is described in two ways")
        if known is storage:
            member = inside.get(f"data/{_folded(storage.key)}")
            if member is None:
                raise FormatError(f"is damaged: {f'data/{storage.key[:40]}'!r}, a storage of its tensors, is not in it")
            if member.size != storage.nbytes:
                what = f"is to have {storage.nbytes:,} bytes and has {member.size:,}"
                raise FormatError(f"is damaged: its storage {f'data/{storage.key[:40]}'!r} {what}")
            storage.place, storage.is_big_endian = member.offset, is_big_endian
        return known

    content = file.read(at.offset, at.size)
    if at.checksum and zlib.crc32(content) != at.checksum:  # PyTorch can be told to write none, which is 0
        raise FormatError("is damaged: its data.pkl differs from its checksum")
    try:
        value, end = follow(memoryview(content), 0, meaning_of, load)
    except CutShortError as error:
        raise FormatError("is damaged: its data.pkl is cut short") from error
    if end < at.size:
        raise FormatError(f"is damaged: its data.pkl goes on for {at.size - end:,} bytes behind the first pickle")
    used = {f"{prefix}{name}" for name in (_PICKLE, *_KNOWN, *(f"data/{_folded(key)}" for key, _ in storages))}
    unused = [member for name, member in names.items() if name not in used and member.size]
    notes = [Note(each.name[:80], f"is left out: {each.size:,} bytes that no tensor refers to") for each in unused]
    return Stored(value, list(storages.values()), notes)


def _folded(name: str) -> str:
    """A name as PyTorch looks it up, which does not tell capitals of ASCII from small letters."""
    return name.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def _by_name(found: list[Member]) -> dict[str, Member]:
    """The members by their names, where there is no doubt which one a name means.

    Raises:
        FormatError: PyTorch would take either of two.
    """
    names: dict[str, Member] = {}
    for member in found:
        known = names.setdefault(_folded(member.name), member)
        if known is not member:
            what = f"{known.name[:80]!r} and {member.name[:80]!r}"
            raise FormatError(f"holds {what}, which are one name to PyTorch", hint=_AGAIN)
    return names


def _prefix(names: Iterable[str]) -> str:
    """The folder of the pickle, and of all that belongs to it.

    Raises:
        FormatError: There is no pickle, or two.
    """
    prefixes = [name.removesuffix(_PICKLE) for name in names if name.rpartition("/")[2] == _PICKLE]
    if not prefixes:
        raise FormatError("is a zip file without the data.pkl that torch.save writes")
    if len(prefixes) > 1:
        what = f"holds a {_PICKLE} in {prefixes[0][:80]!r} and in {prefixes[1][:80]!r}, expected one"
        raise FormatError(what, hint="save each into a file of its own")
    return prefixes[0]


def _is_big_endian(file: MappedFile | FilePart, member: Member | None) -> bool:
    if member is None:
        return False
    said = file.read(member.offset, min(member.size, 16))
    if said not in (b"little", b"big"):
        raise FormatError(f"is damaged: its byte order is {said!r}, which is none")
    return said == b"big"
