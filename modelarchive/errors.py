"""Every exception of the package; the tree stands in the docstring of its root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

#: Hexadecimal digits of a digest.
_DIGEST: Final = 64
#: Things that a message lists one by one, and characters of what it says of each: they may be a stranger's.
_MOST: Final = 100
_LONGEST: Final = 1000


class ModelArchiveError(Exception):
    """Root of the errors that this package raises on purpose.

    ::

        ModelArchiveError(Exception)          .file .path .hint
        ├ FormatError(ValueError)             not an archive, or damaged structure
        │  └ UnsupportedVersionError          written by a newer format
        ├ UnsafeFileError(ValueError)         .rule that the file broke
        ├ IntegrityError(ValueError)          .damaged: {name: (expected, found)}
        ├ SpecError(ValueError)               .problems: [(json_pointer, rule, message)]
        ├ ParameterError(KeyError)            .missing .unexpected .mismatched
        ├ DeferredShapeError(RuntimeError)    .names whose shape is not known yet
        ├ UnsupportedDataError(TypeError)     .problems: [(path, message)]
        ├ ConversionError(ValueError)         .unsupported: [(where, what)]
        ├ CheckpointError(RuntimeError)       a run's folder cannot be used
        ├ OutOfMemoryError(MemoryError)       arrays have no room where they shall go
        ├ RemoteError(OSError)                .url .status: a file elsewhere cannot be read
        └ MissingDependencyError(ImportError) .extra

    The operating system's own refusals (no file, no permission, full disk) stay what Python
    users expect: ``FileNotFoundError``, ``PermissionError``, ``OSError``, with the file's name.

    Args:
        message: What is wrong: where, what was expected, what was found.
        file: The file concerned, if there is one.
        path: The place inside the file, structure or architecture.
        hint: The next step for the user, one sentence.
    """

    def __init__(
        self,
        message: str,
        *,
        file: object = None,
        path: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = None if file is None else str(file)
        self.path = path
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process as it is: its constructor takes other things than it keeps."""
        return _again, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        """File, message and hint."""
        text = self.message if self.file is None else f"{self.file}: {self.message}"
        return text if self.hint is None else f"{text}\n  hint: {self.hint}"


class FormatError(ModelArchiveError, ValueError):
    """The file is no archive, or its structure is damaged."""


class UnsupportedVersionError(FormatError):
    """The file was written in a newer format than this package reads."""


class UnsafeFileError(ModelArchiveError, ValueError):
    """The file breaks a safety rule and is not opened.

    Attributes:
        rule: Short name of the rule, as listed in docs/security.md.
    """

    def __init__(self, message: str, *, rule: str, **where: Any) -> None:
        super().__init__(message, **where)
        self.rule = rule


class IntegrityError(ModelArchiveError, ValueError):
    """Stored bytes differ from their digests.

    Attributes:
        damaged: ``{name: (expected, found)}``; digests whole, which the message shortens.
    """

    def __init__(self, damaged: Mapping[str, tuple[str, str]], **where: Any) -> None:
        self.damaged = dict(damaged)
        lines = [f"  {name}: expected {claim(e)}, found {claim(f)}" for name, (e, f) in self.damaged.items()]
        super().__init__("\n".join([f"{counted(len(lines), 'damaged part')}:", *lines]), **where)


class SpecError(ModelArchiveError, ValueError):
    """An architecture is invalid, or a network cannot be described by one.

    Attributes:
        problems: ``[(json_pointer, rule, message)]``, all of them.
    """

    def __init__(self, problems: Sequence[tuple[str, str, str]], **where: Any) -> None:
        self.problems = list(problems)
        lines = [f"  {pointer or '(root)'}: {message} [{rule}]" for pointer, rule, message in self.problems]
        super().__init__("\n".join([f"{counted(len(lines), 'problem')} in the architecture:", *lines]), **where)


class ParameterError(ModelArchiveError, KeyError):
    """Parameters do not fit the network that they are meant for.

    Attributes:
        missing: Names the network has and the source lacks.
        unexpected: Names the source has and the network lacks.
        mismatched: ``{name: (expected, found)}`` in words, for shapes and dtypes.

    Args:
        message: What is wrong, where one sentence says it; None: all misfits are listed, one a line.
        title: What the first line of the list says; None: "2 parameters do not fit".
        ending: What it says behind that.
        missing: As the attribute.
        unexpected: As the attribute.
        mismatched: As the attribute.
        remarks: Name of a missing or unexpected parameter -> what is said behind it.
        **where: `file`, `path` and `hint`.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        title: str | None = None,
        ending: str = "",
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        mismatched: Mapping[str, tuple[str, str]] | None = None,
        remarks: Mapping[str, str] | None = None,
        **where: Any,
    ) -> None:
        self.missing = list(missing)
        self.unexpected = list(unexpected)
        self.mismatched = dict(mismatched or {})
        if message is None:
            said = remarks or {}
            named = [("missing", name) for name in missing] + [("unexpected", name) for name in unexpected]
            lines = [f"  {word:<10}  {name}{said.get(name, '')}" for word, name in named]
            lines += [f"  mismatched  {name}: expected {e}, found {f}" for name, (e, f) in self.mismatched.items()]
            verb = "does" if len(lines) == 1 else "do"
            title = title or f"{counted(len(lines), 'parameter')} {verb} not fit"
            message = "\n".join([f"{title}{ending}:", *lines])
        super().__init__(message, **where)


class DeferredShapeError(ModelArchiveError, RuntimeError):
    """Parameters are used before their shapes or values are known.

    Attributes:
        names: The parameters concerned.
    """

    def __init__(self, message: str, *, names: Sequence[str] = (), **where: Any) -> None:
        super().__init__(message, **where)
        self.names = list(names)


class UnsupportedDataError(ModelArchiveError, TypeError):
    """Data that an archive cannot hold; raised before any file is touched.

    Attributes:
        problems: ``[(path, message)]`` with the path inside the structure, all of them.
    """

    def __init__(self, problems: Sequence[tuple[str, str]], *, done: str = "saved", **where: Any) -> None:
        self.problems = list(problems)
        lines = [f"  {path}: {message}" for path, message in self.problems]
        super().__init__("\n".join([f"{counted(len(lines), 'value')} cannot be {done}:", *lines]), **where)


class ConversionError(ModelArchiveError, ValueError):
    """A model, or a part of it, cannot be said in another format; nothing is written.

    Attributes:
        unsupported: ``[(where, what)]``, all of it; the message has the first ones.
    """

    def __init__(self, unsupported: Sequence[tuple[str, str]], **where: Any) -> None:
        self.unsupported = list(unsupported)
        lines = [f"  {place[:200]}: {what[:_LONGEST]}" for place, what in self.unsupported[:_MOST]]
        if (more := len(self.unsupported) - _MOST) > 0:
            lines.append(f"  and {more:,} more")
        title = f"{counted(len(self.unsupported), 'thing')} cannot be converted:"
        super().__init__("\n".join([title, *lines]), **where)


class CheckpointError(ModelArchiveError, RuntimeError):
    """A run's folder cannot be used: another run writes in it, or none of its checkpoints is whole."""


class OutOfMemoryError(ModelArchiveError, MemoryError):
    """Arrays have no room where they shall go: in memory, where a file cannot be mapped, or on a device."""


class RemoteError(ModelArchiveError, OSError):
    """A file that lies elsewhere cannot be read: its server, or the way to it, does not give it.

    Attributes:
        url: The URL without credentials.
        status: The server's number for what happened; None: there was none.
    """

    def __init__(self, message: str, *, url: object, status: int | None = None, **where: Any) -> None:
        super().__init__(message, file=url, **where)
        self.url = str(url)
        self.status = status


class MissingDependencyError(ModelArchiveError, ImportError):
    """An optional framework is needed and not installed.

    Attributes:
        extra: The extra that brings it: ``pip install 'modelarchive[extra]'``.
    """

    def __init__(self, message: str, *, extra: str) -> None:
        super().__init__(message, hint=f"pip install 'modelarchive[{extra}]'")
        self.extra = extra


def _again(kind: type[ModelArchiveError], args: tuple[Any, ...], state: dict[str, Any]) -> ModelArchiveError:
    # That of the class whose memory it has: another one of its bases may not make it.
    found = (kind.__base__ or kind).__new__(kind, *args)
    found.args = args  # which an OSError takes in its constructor only
    found.__dict__.update(state)
    return found


def first_line(error: Exception) -> str:
    """What an error of another library says, of many lines the first, for a message of ours; else its class."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def counted(number: int, noun: str) -> str:
    """``counted(2, "problem")`` is ``"2 problems"``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def claim(text: str) -> str:
    """What was expected or found, for people: a digest by its beginning, all else whole."""
    is_digest = len(text) == _DIGEST and all(sign in "0123456789abcdef" for sign in text)
    return f"{text[:16]}..." if is_digest else text
