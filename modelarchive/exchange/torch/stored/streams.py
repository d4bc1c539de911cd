"""Files of ``torch.save`` before PyTorch 1.6: five pickles one behind the other, and then the storages."""

from __future__ import annotations

from typing import Any, Final

from modelarchive.errors import FormatError
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.torch.stored.machine import CutShortError
from modelarchive.exchange.torch.stored.meanings import meaning_of, storage_of
from modelarchive.exchange.torch.stored.pickles import follow
from modelarchive.exchange.torch.stored.stubs import Named
from modelarchive.exchange.torch.stored.tensors import Storage
from modelarchive.exchange.torch.stored.zips import Stored

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
#: Before each storage stands the number of its elements.
_COUNT_BYTES: Final = 8


def read_stream(file: MappedFile) -> Stored:
    """What a file of PyTorch before 1.6 holds.

    Raises:
        FormatError: It is damaged, cut short, goes on behind its end, or is no such file.
    """
    try:
        return _read(file)
    except CutShortError as error:
        raise _cut(file) from error


def _read(file: MappedFile) -> Stored:
    content = file.buffer()
    magic, at = follow(content, 0, meaning_of, _no_storage)
    if type(magic) is not int or magic != _MAGIC:
        raise FormatError("is no file of torch.save: it does not begin with its number")
    protocol, at = follow(content, at, meaning_of, _no_storage)
    if type(protocol) is not int or protocol != _PROTOCOL:
        raise FormatError("is no file of torch.save that is known: its protocol is another than 1001")
    _system, at = follow(content, at, meaning_of, _no_storage)
    storages: dict[str, Storage] = {}
    views: dict[str, tuple[Storage, str, int]] = {}

    def load(identity: Any) -> Any:
        if isinstance(identity, tuple) and identity and identity[0] in ("module", b"module"):
            return identity[1] if len(identity) > 1 else Named("module")
        storage, view = storage_of(identity, of_stream=True)
        root = storages.setdefault(storage.key, storage)
        if (root.dtype, root.count) != (storage.dtype, storage.count):
            raise FormatError(f"is damaged: its storage {storage.key[:40]!r} is described in two ways")
        return root if view is None else _view(root, view, views)

    value, at = follow(content, at, meaning_of, load)
    keys, at = follow(content, at, meaning_of, _no_storage)
    are_keys = isinstance(keys, list) and all(isinstance(key, str | int) for key in keys)
    if not are_keys or set(map(str, keys)) != set(storages):
        raise FormatError("is damaged: it lists other storages than its tensors are parts of")
    for key in dict.fromkeys(map(str, keys)):
        at = _place(file, storages[key], at)
    for view, root_key, first in views.values():
        root = storages[root_key]
        view.place = (root.place or 0) + first * (root.nbytes // root.count if root.count else 0)
    if (left := file.size - at) > 0:
        what = f"goes on for {left:,} bytes behind the first object: several torch.save wrote into one file"
        raise FormatError(what, hint="save each into a file of its own")
    return Stored(value, [*storages.values(), *(view for view, *_ in views.values())])


def _view(root: Storage, view: Any, views: dict[str, tuple[Storage, str, int]]) -> Storage:
    """A part of a storage, as PyTorch had them before 0.4."""
    is_known = isinstance(view, tuple) and len(view) == 3 and isinstance(view[0], str | int)
    if not is_known or not all(type(number) is int and 0 <= number <= root.count for number in view[1:]):
        raise FormatError("is damaged: a part of a storage is described by what is none")
    name, first, count = view
    if first + count > root.count:
        raise FormatError(f"is damaged: a part of its storage {root.key[:40]!r} ends beyond it")
    key = f"{root.key}/{name}"
    made = views.setdefault(key, (Storage(key, root.dtype, count), root.key, first))
    if (made[0].count, made[2]) != (count, first):
        raise FormatError(f"is damaged: a part of its storage {root.key[:40]!r} is described in two ways")
    return made[0]


def _place(file: MappedFile, storage: Storage, at: int) -> int:
    """Where a storage begins; returns where it ends."""
    count = file.read(at, _COUNT_BYTES)
    if len(count) < _COUNT_BYTES:
        raise _cut(file)
    found = int.from_bytes(count, "little")
    if found != storage.count:
        what = f"is to have {storage.count:,} elements and has {found:,}"
        raise FormatError(f"is damaged: its storage {storage.key[:40]!r} {what}")
    storage.place = at + _COUNT_BYTES
    end = storage.place + storage.nbytes
    if end > file.size:
        raise _cut(file)
    return end


def _no_storage(_: Any) -> Any:
    raise FormatError("is damaged: a storage stands where none can")


def _cut(file: MappedFile) -> FormatError:
    return FormatError(f"is cut short: what torch.save wrote goes on after its {file.size:,} bytes")
