"""Pickles as plain data: every opcode of every protocol is followed, and nothing that a pickle names is run.

Python's own ``Unpickler`` is not used, not even with its hooks overridden: it sets states and attributes of whatever a
pickle has made, hashes what a pickle calls a key, and lets a pickle choose how large its memo becomes. Here the only
things that are ever called are those of :mod:`modelarchive.exchange.torch.stored.meanings`, functions of this package;
all else that a pickle names is a :class:`Stub`, which keeps what the pickle gave it. The work is in proportion to the
pickle's bytes, nesting is no recursion, and keys are hashed where their hashes cannot be chosen.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable
from typing import Any, Final

from modelarchive.errors import FormatError, ModelArchiveError
from modelarchive.exchange.torch.stored.machine import Find, Machine
from modelarchive.exchange.torch.stored.stubs import Named, Stub, text_of

#: Numbers of so many bits are kept; what would be longer is a stub.
_BITS: Final = 1024
#: Longest number with a point, in digits.
_DIGITS: Final = 400
#: A text between quotes, as Python 2 wrote it. Of other escapes Python warns, which may be an error of another kind.
_QUOTED: Final = re.compile(rb"""(?:[^\\]|\\(?:[\\'"abfnrtv]|x[0-9A-Fa-f]{2}))*+""", re.DOTALL)


def follow(content: memoryview, at: int, find: Find, load: Callable[[Any], Any]) -> tuple[Any, int]:
    """What a pickle stands for, and where it ends.

    Args:
        content: The bytes that it is in.
        at: Where it begins in them.
        find: Gives what a module and a name stand for.
        load: Gives what a persistent id stands for.

    Returns:
        Plain data, stubs, and what `find` and `load` gave; and the place behind the pickle.

    Raises:
        CutShortError: It goes on where the bytes end.
        FormatError: It is no pickle, or a damaged one.
        UnsafeFileError: It takes more than a file of its size may.
    """
    machine = Machine(content, at, find, load)
    try:
        while (code := machine.code()) != _STOP:
            operation = _OPCODES.get(code)
            if operation is None:
                raise FormatError(f"is no pickle: byte {machine.at - 1:,} is no instruction")
            operation(machine)
        return machine.pop(), machine.at
    except ModelArchiveError:
        raise
    except IndexError as error:
        raise FormatError("is damaged: its pickle takes what it has not put there") from error
    except UnicodeError as error:
        raise FormatError("is damaged: a text in its pickle is none") from error
    except (TypeError, ValueError, OverflowError, AttributeError, KeyError) as error:
        raise FormatError("is damaged: its pickle does with a value what that cannot do") from error


def _string(data: bytes) -> str | bytes:
    """What Python 2 called a string: text, or bytes."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


def _quoted(data: bytes) -> str | bytes:
    data = data.strip()
    if len(data) < 2 or data[0] != data[-1] or data[:1] not in b"'\"":
        raise FormatError("is damaged: a text in its pickle has no quotes")
    if not _QUOTED.fullmatch(data, 1, len(data) - 1):
        raise FormatError("is damaged: a text in its pickle is badly quoted")
    return _string(codecs.escape_decode(data[1:-1])[0])


def _long(data: bytes) -> Any:
    return int.from_bytes(data, "little", signed=True) if len(data) * 8 <= _BITS else Stub("int")


def _digits(data: bytes) -> Any:
    """A number in decimal digits, also a truth."""
    if data in (b"00", b"01"):
        return data == b"01"
    if len(data) > _BITS // 4:
        return Stub("int")
    try:
        return int(data.removesuffix(b"L"))
    except ValueError as error:
        raise FormatError("is damaged: a number in its pickle is none") from error


def _place(data: bytes) -> int:
    found = _digits(data)
    if not isinstance(found, int):
        raise FormatError("is damaged: a place in its pickle is no number")
    return found


def _float(data: bytes) -> float:
    try:
        return float(data if len(data) <= _DIGITS else b"")
    except ValueError as error:
        raise FormatError("is damaged: a number in its pickle is none") from error


def _buffer(_: Machine) -> None:
    raise FormatError("has a pickle with buffers outside of it, which are not there")


def _extension(width: int) -> Callable[[Machine], None]:
    return lambda machine: machine.push(Named(f"copyreg extension {machine.number(width)}"))


def _tuple(count: int) -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.last(count))


def _signed(width: int) -> Callable[[Machine], None]:
    return lambda machine: machine.push(int.from_bytes(machine.take(width), "little", signed=True))


def _of_bytes(width: int, decode: Callable[[bytes], Any]) -> Callable[[Machine], None]:
    """What pushes bytes that a number of so many bytes counts, decoded."""
    return lambda machine: machine.push(decode(machine.take(machine.number(width))))


def _of_line(decode: Callable[[bytes], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.push(decode(machine.line()))


_STOP: Final = ord(".")
_DOUBLE: Final = struct.Struct(">d")

#: Every instruction, as Python's pickletools lists them.
_OPCODES: Final[dict[int, Callable[[Machine], None]]] = {
    0x80: lambda machine: machine.skip(1),  # PROTO
    0x95: lambda machine: machine.skip(8),  # FRAME: how many bytes a reader may fetch at once
    # The stack and the memo
    ord("("): Machine.mark,
    ord("0"): Machine.discard,
    ord("1"): Machine.discard_marked,
    ord("2"): lambda machine: machine.push(machine.top()),
    ord("p"): lambda machine: machine.put(_place(machine.line())),
    ord("q"): lambda machine: machine.put(machine.number(1)),
    ord("r"): lambda machine: machine.put(machine.number(4)),
    0x94: Machine.memoize,
    ord("g"): lambda machine: machine.get(_place(machine.line())),
    ord("h"): lambda machine: machine.get(machine.number(1)),
    ord("j"): lambda machine: machine.get(machine.number(4)),
    # Numbers
    ord("N"): lambda machine: machine.push(None),
    0x88: lambda machine: machine.push(True),
    0x89: lambda machine: machine.push(False),
    ord("I"): _of_line(_digits),
    ord("L"): _of_line(_digits),
    ord("J"): _signed(4),
    ord("K"): lambda machine: machine.push(machine.number(1)),
    ord("M"): lambda machine: machine.push(machine.number(2)),
    0x8A: _of_bytes(1, _long),
    0x8B: _of_bytes(4, _long),
    ord("F"): _of_line(_float),
    ord("G"): lambda machine: machine.push(_DOUBLE.unpack(machine.take(8))[0]),
    # Texts and bytes
    ord("S"): _of_line(_quoted),
    ord("T"): _of_bytes(4, _string),
    ord("U"): _of_bytes(1, _string),
    ord("V"): _of_line(lambda data: data.decode("raw-unicode-escape")),
    ord("X"): _of_bytes(4, text_of),
    0x8C: _of_bytes(1, text_of),
    0x8D: _of_bytes(8, text_of),
    ord("B"): _of_bytes(4, bytes),
    ord("C"): _of_bytes(1, bytes),
    0x8E: _of_bytes(8, bytes),
    0x96: _of_bytes(8, bytes),
    0x97: _buffer,
    0x98: _buffer,
    # Containers
    ord(")"): lambda machine: machine.push(()),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("t"): lambda machine: machine.push(tuple(machine.marked())),
    ord("]"): lambda machine: machine.push([]),
    ord("l"): lambda machine: machine.push(machine.marked()),
    ord("a"): lambda machine: machine.appended([machine.pop()]),
    ord("e"): lambda machine: machine.appended(machine.marked()),
    ord("}"): lambda machine: machine.push({}),
    ord("d"): Machine.dict_of_marked,
    ord("s"): lambda machine: machine.entered([*machine.pair()]),
    ord("u"): lambda machine: machine.entered(machine.marked()),
    0x8F: lambda machine: machine.push(Stub("set")),
    0x90: lambda machine: machine.appended(machine.marked()),
    0x91: lambda machine: machine.push(Stub("set", (machine.marked(),))),
    # What a pickle names
    ord("c"): Machine.named_by_lines,
    0x93: Machine.named_by_stack,
    ord("R"): Machine.reduced,
    0x81: Machine.newly,
    0x92: Machine.created,
    ord("i"): Machine.instance,
    ord("o"): Machine.object_of,
    ord("b"): Machine.built,
    0x82: _extension(1),
    0x83: _extension(2),
    0x84: _extension(4),
    ord("P"): lambda machine: machine.persistent(text_of(machine.line())),
    ord("Q"): lambda machine: machine.persistent(machine.pop()),
}
