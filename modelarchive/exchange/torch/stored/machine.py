"""The stack and the memo of a pickle, and what its instructions do with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from modelarchive.errors import FormatError
from modelarchive.exchange.torch.stored.stubs import Meaning, Named, Stub, key_of, kind_of, text_of


class CutShortError(Exception):
    """The pickle goes on where its bytes end."""


#: Gives what a module and a name stand for.
Find: TypeAlias = Callable[[str, str], Any]

_NOTHING: Final = object()


class Machine:
    """Follows one pickle.

    Args:
        content: The bytes that it is in.
        at: Where it begins in them.
        find: Gives what a module and a name stand for.
        load: Gives what a persistent id stands for.

    Attributes:
        at: Where the next byte is read; behind the pickle, once it was followed.
    """

    def __init__(self, content: memoryview, at: int, find: Find, load: Callable[[Any], Any]) -> None:
        self.at = self._begin = at
        self._content = content
        self._size = len(content)
        self._find = find
        self._load = load
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: list[Any] = []

    def code(self) -> int:
        """The next byte."""
        if self.at >= self._size:
            raise CutShortError
        self.at += 1
        return self._content[self.at - 1]

    def skip(self, count: int) -> None:
        """Pass over so many bytes."""
        self.at += count

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self.at + count
        if end > self._size:
            raise CutShortError
        found = bytes(self._content[self.at : end])
        self.at = end
        return found

    def number(self, width: int) -> int:
        """The next bytes as a number without sign."""
        return int.from_bytes(self.take(width), "little")

    def line(self) -> bytes:
        """The next bytes up to the end of the line, without it."""
        step, begin, at = 64, self.at, self.at
        while True:
            piece = bytes(self._content[at : at + step])
            if (found := piece.find(b"\n")) >= 0:
                self.at = at + found + 1
                return bytes(self._content[begin : at + found])
            if len(piece) < step:
                raise CutShortError
            at += step
            step *= 2

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def pop(self) -> Any:
        """Take the last value, which lies behind the last mark."""
        if self._marks and len(self._stack) <= self._marks[-1]:
            raise IndexError
        return self._stack.pop()

    def pair(self) -> tuple[Any, Any]:
        """Take the last two values."""
        second = self.pop()
        return self.pop(), second

    def top(self) -> Any:
        """The last value, which stays."""
        return self._stack[-1]

    def marked(self) -> list[Any]:
        """Take what lies behind the last mark."""
        mark = self._marks.pop()
        found = self._stack[mark:]
        del self._stack[mark:]
        return found

    def last(self, count: int) -> tuple[Any, ...]:
        """Take so many values, of which there is one at least."""
        if len(self._stack) < count:
            raise IndexError
        found = tuple(self._stack[-count:])
        del self._stack[-count:]
        return found

    def mark(self) -> None:
        """Remember where the stack ends."""
        self._marks.append(len(self._stack))

    def discard(self) -> None:
        """Drop the last value, or the mark that stands in its place."""
        if self._marks and len(self._stack) == self._marks[-1]:
            self._marks.pop()
        else:
            self._stack.pop()

    def discard_marked(self) -> None:
        """Drop what lies behind the last mark."""
        self.marked()

    def put(self, place: int) -> None:
        """Keep the last value in the memo."""
        # Who writes a pickle counts what it keeps: a place beyond the bytes so far is nobody's, and would take memory.
        if not 0 <= place <= self.at - self._begin:
            raise FormatError("is damaged: its pickle keeps values in places that cannot be")
        if place >= len(self._memo):
            self._memo.extend([_NOTHING] * (place + 1 - len(self._memo)))
        self._memo[place] = self._stack[-1]

    def memoize(self) -> None:
        """Keep the last value in the next place of the memo."""
        self._memo.append(self._stack[-1])

    def get(self, place: int) -> None:
        """Put on the stack what the memo has."""
        found = self._memo[place] if place >= 0 else _NOTHING
        if found is _NOTHING:
            raise IndexError
        self._stack.append(found)

    def named(self, module: str, name: str) -> None:
        """Put on the stack what a name stands for."""
        self._stack.append(self._find(module, name))

    def named_by_lines(self) -> None:
        """The same, of two lines."""
        module = text_of(self.line())
        self.named(module, text_of(self.line()))

    def named_by_stack(self) -> None:
        """The same, of two texts on the stack."""
        module, name = self.pair()
        if not isinstance(name, str) or not isinstance(module, str):
            raise FormatError("is damaged: its pickle names what is no name")
        self.named(module, name)

    def persistent(self, identity: Any) -> None:
        """Put on the stack what a persistent id stands for."""
        self._stack.append(self._load(identity))

    def called(self, made: Any, arguments: Any, keywords: Any = None) -> None:
        """Put on the stack what a class or function makes of arguments."""
        if isinstance(arguments, list):
            arguments = tuple(arguments)
        if not isinstance(arguments, tuple):
            raise FormatError("is damaged: its pickle calls with what are no arguments")
        if isinstance(made, Meaning):
            self._stack.append(made(arguments))
        elif isinstance(made, Named | Stub):
            stub = Stub(made.name, arguments)
            if keywords:
                stub.state = keywords
            self._stack.append(stub)
        else:
            raise FormatError(f"is damaged: its pickle calls {kind_of(made)}, which is no function")

    def reduced(self) -> None:
        """Call: the function and its arguments lie on the stack."""
        made, arguments = self.pair()
        self.called(made, arguments)

    def newly(self) -> None:
        """The same for a class, of which Python takes the ``__new__`` alone: lists and dicts are empty after it."""
        made, arguments = self.pair()
        self.called(made, arguments)
        if arguments and isinstance(self.top(), list | dict):
            raise FormatError(f"is damaged: its pickle makes {kind_of(self.top())} of what that does not take")

    def created(self) -> None:
        """The same, with keywords."""
        keywords = self.pop()
        made, arguments = self.pair()
        self.called(made, arguments, keywords if isinstance(keywords, dict) else None)

    def object_of(self) -> None:
        """The same, with class and arguments behind a mark."""
        made, *arguments = self.marked() or [None]
        self.called(made, arguments)

    def instance(self) -> None:
        """The same, the class named, the arguments behind a mark."""
        module, name = text_of(self.line()), text_of(self.line())
        arguments = self.marked()
        self.called(self._find(module, name), arguments)

    def built(self) -> None:
        """Set a state."""
        state, value = self.pop(), self.top()
        if isinstance(value, Stub):
            value.state = state
        elif hasattr(value, "set_state"):
            value.set_state(state)
        # Attributes of plain containers (`_metadata` of a state_dict) and of tensors say nothing of values.

    def appended(self, values: list[Any]) -> None:
        """Append to the list on the stack."""
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Stub):
            target.items.extend(values)
        else:
            raise FormatError(f"is damaged: its pickle appends to {kind_of(target)}")

    def dict_of_marked(self) -> None:
        """Put a dict on the stack, of keys and values behind a mark."""
        values = self.marked()
        self._stack.append({})
        self.entered(values)

    def entered(self, values: list[Any]) -> None:
        """Set entries of the dict on the stack, keys and values in turn."""
        target = self.top()
        entries = target.entries if isinstance(target, Stub) else target
        if not isinstance(entries, dict) or len(values) % 2:
            raise FormatError(f"is damaged: its pickle sets entries of {kind_of(target)}")
        for at in range(0, len(values), 2):
            entries[key_of(values[at])] = values[at + 1]
