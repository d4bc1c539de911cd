"""Files of ``torch.save`` since PyTorch 1.6: zip files of a pickle and one member for each storage."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.torch.stored.machine import CutShortError
from modelarchive.exchange.torch.stored.meanings import meaning_of, storage_of
from modelarchive.exchange.torch.stored.pickles import follow
from modelarchive.exchange.torch.stored.stubs import Named
from modelarchive.exchange.torch.stored.tensors import Dtype, Storage, unseen
from modelarchive.exchange.zipped import Member, members

#: What PyTorch writes beside the pickle and the storages, and says nothing of values.
_KNOWN: Final = ("version", ".format_version", ".storage_alignment", "byteorder", ".data/serialization_id")
_PICKLE: Final = "data.pkl"


@dataclass
class Stored:
    """What a file of ``torch.save`` holds.

    Attributes:
        value: The object: plain data, stubs, tensors.
        notes: What was left out.
    """

    value: Any
    notes: list[Note] = field(default_factory=list)


def read_zip(file: MappedFile) -> Stored:
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
        raise UnsafeFileError(what, rule="compression")
    at = next((member for member in found if member.name.rpartition("/")[2] == _PICKLE), None)
    if at is None:
        raise FormatError("is a zip file without the data.pkl that torch.save writes")
    prefix = at.name.removesuffix(_PICKLE)
    inside = {member.name.removeprefix(prefix): member for member in found if member.name.startswith(prefix)}
    is_big_endian = _is_big_endian(file, inside.get("byteorder"))
    storages: dict[tuple[str, Dtype | None, int], Storage] = {}

    def load(identity: Any) -> Any:
        if isinstance(identity, tuple) and identity and identity[0] == "module":
            return identity[1] if len(identity) > 1 else Named("module")
        storage, _ = storage_of(identity)
        known = storages.setdefault((storage.key, storage.dtype, storage.count), storage)
        if known is storage:
            member = inside.get(f"data/{storage.key}")
            if member is None:
                raise FormatError(f"is damaged: data/{storage.key[:40]}, a storage of its tensors, is not in it")
            if member.size != storage.nbytes:
                what = f"is to have {storage.nbytes:,} bytes and has {member.size:,}"
                raise FormatError(f"is damaged: its storage data/{storage.key[:40]} {what}")
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
    used = {at.name, *(f"{prefix}{name}" for name in _KNOWN), *(f"{prefix}data/{key}" for key, *_ in storages)}
    unused = [member for member in found if member.name not in used and member.size]
    notes = [Note(each.name[:80], f"is left out: {each.size:,} bytes that no tensor refers to") for each in unused]
    return Stored(value, [*notes, *unseen_note(storages.values())])


def unseen_note(storages: Iterable[Storage]) -> list[Note]:
    """What is said of bytes of storages that no tensor is a part of."""
    count = unseen(storages)
    return [Note("(storages)", f"{count:,} bytes are left out that no tensor shows")] if count else []


def _is_big_endian(file: MappedFile, member: Member | None) -> bool:
    if member is None:
        return False
    said = file.read(member.offset, min(member.size, 16))
    if said not in (b"little", b"big"):
        raise FormatError(f"is damaged: its byte order is {said!r}, which is none")
    return said == b"big"
