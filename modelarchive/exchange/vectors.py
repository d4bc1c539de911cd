"""Word vectors: GloVe's and word2vec's text files, and word2vec's binary ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from modelarchive.errors import ConversionError, FormatError, counted
from modelarchive.exchange.budget import reading
from modelarchive.exchange.bundle import Bundle, Note, Source, bundle_of, deferred
from modelarchive.formats import explain
from modelarchive.store.replace import replacing

#: The only parameter of an Embedding.
_NAME: Final = "weight"
#: No line, and no word of a binary file, is longer.
_MAX_LINE: Final = 1 << 24
_MAX_WORD: Final = 1 << 16
#: At most so many numbers a word.
_MAX_WIDTH: Final = 1 << 20
_NONE: Final = "is no file of word vectors"
_CUT: Final = "where it is cut short, take it from where it came from again"
#: Numbers written at a time.
_ROWS: Final = 1024


def read(path: str | os.PathLike[str]) -> Bundle:
    """Read word vectors: GloVe's text, or word2vec's text or binary form, told apart by content.

    Args:
        path: The file. Words may contain spaces, as some of GloVe's do.

    Returns:
        An Embedding as a whole model: the parameter ``weight``, float32 of shape (words, numbers a word), and
        its words as tokens.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is no such file, or damaged, or counts more words than it can hold.
    """
    with Path(os.fsdecode(path)).open("rb") as file, reading(path, size := os.fstat(file.fileno()).st_size):
        try:
            words, vectors = _read(file, size)
            if not vectors.size:
                raise FormatError("holds no words")
        except FormatError as error:
            error.hint = f"each line is a word and its numbers, blanks or tabs between them; {_CUT}"
            raise explain(error, path) if error.args[0].startswith(_NONE) else error from error
    notes = []
    decoded = [_decoded(word) for word in words]
    if damaged := [after for word, after in zip(words, decoded, strict=True) if after.encode() != word]:
        notes.append(
            Note(_NAME, f"{counted(len(damaged), 'word')} not UTF-8, kept with escapes: {damaged[0]!r} is one")
        )
    if len(set(decoded)) < len(decoded):
        twice = counted(len(decoded) - len(set(decoded)), "row")
        notes.append(Note(_NAME, f"{twice} more for words that stand there already; every row is kept"))
    return Bundle({_NAME: vectors}, _architecture(vectors), tokens={_NAME: decoded}, notes=notes)


def write(
    source: Source,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    with_header: bool = True,
    durable: bool = True,
) -> list[Note]:
    """Write an embedding and its words as text, which every tool for word vectors reads.

    Args:
        source: A bundle or an archive with the words of the rows.
        path: The file.
        name: The parameter; None: the only one that has words.
        with_header: Begin with the two counts as word2vec does; without them the file is as GloVe's.
        durable: As in :func:`modelarchive.save`.

    Returns:
        What is left out: every other parameter, the architecture, metadata.

    Raises:
        ConversionError: There is not one parameter with words, or words that such a file cannot hold; lists all.
        OSError: The file cannot be written.
    """
    bundle = bundle_of(source)
    entries = deferred(bundle.parameters)
    chosen = [name] if name is not None else list(bundle.tokens)
    if len(chosen) != 1:
        what = "has words too: choose one with name=" if chosen else "no parameter has words for its rows"
        hint = "save_model(..., tokens={name: words}) stores words" if not chosen else None
        raise ConversionError([(each, what) for each in chosen] or [("(tokens)", what)], hint=hint)
    key = chosen[0]
    if key not in entries or key not in bundle.tokens or entries[key].ndim != 2:
        raise ConversionError([(key, "is no parameter of two axes with words for its rows")])
    words = list(bundle.tokens[key])
    array = entries[key].read()
    problems = [
        (f"{key}[{at}]", f"the word {word[:40]!r} is empty, or has a space or a line break in it")
        for at, word in enumerate(words)
        if not word or any(sign in word for sign in " \n\r")
    ]
    if array.dtype.kind not in "iuf" and array.dtype.name not in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        problems.append((key, f"is of {array.dtype}"))
    if len(words) != len(array) or not array.size:
        problems.append((key, f"has {len(array)} rows of {array.shape[1]} numbers, and {len(words)} words"))
    if problems:
        raise ConversionError(problems, hint="nothing was written")
    with replacing(path, durable=durable) as temporary, temporary.open("wb") as out:
        if with_header:
            out.write(b"%d %d\n" % array.shape)
        for start in range(0, len(array), _ROWS):
            rows = array[start : start + _ROWS]
            out.writelines(_lines(words[start : start + _ROWS], rows))
    lost = [Note(other, "left out: a file of word vectors holds one array") for other in entries if other != key]
    if bundle.metadata:
        lost.append(Note("(metadata)", f"left out: {', '.join(map(str, bundle.metadata))}"))
    kind = (bundle.architecture or {}).get("model", {}).get("kind", "Embedding")
    if kind != "Embedding":
        lost.append(Note("(architecture)", "left out: a file of word vectors holds one array"))
    if array.dtype != np.float32:
        lost.append(Note(key, f"{array.dtype} became decimal numbers, which are read as float32"))
    return lost


def _lines(words: list[str], rows: np.ndarray) -> Iterator[bytes]:
    """Lines with the shortest decimal numbers that give the same bits again."""
    wide = rows if rows.dtype.kind in "iu" or rows.dtype in (np.float32, np.float64) else rows.astype(np.float32)
    for word, row in zip(words, wide, strict=True):
        # str() of a NumPy scalar is shortest for its own dtype, which tolist() would have widened.
        yield f"{word} {' '.join(map(str, row))}\n".encode()


def _read(file: BinaryIO, size: int) -> tuple[list[bytes], np.ndarray]:
    first = file.readline(_MAX_LINE)
    counts = first.split()
    if len(counts) == 2 and all(part.isdigit() for part in counts):
        count, width = (int(part[:19]) for part in counts)
        room = size - file.tell()
        # In text a number takes two bytes at least, in binary form four.
        if not 0 < width <= _MAX_WIDTH or count * (2 * width + 1) > room + 1:
            raise FormatError(f"counts {count:,} words of {width:,} numbers, and has {room:,} bytes for them")
        start = file.tell()
        line = next((each for each in _read_lines(file) if each.strip()), b"")
        is_text = _numbers(line, width) is not None
        file.seek(start)
        return _text(file, count, width) if is_text or not count else _binary(file, count, width, room)
    width = _width(first)
    file.seek(0)
    count = sum(1 for line in _read_lines(file) if line.strip())
    if count * (2 * width + 1) > size + 1:
        raise FormatError(f"has {count:,} lines, and no room for {width:,} numbers in each, as in the first")
    file.seek(0)
    return _text(file, count, width)


def _width(line: bytes) -> int:
    """How many numbers stand at the end of GloVe's first line."""
    # Of a line that begins with a blank or a tab nobody knows whether its word is empty, or its first number.
    is_plain = line[:1] not in (b" ", b"\t")
    # With a tab in it the line has more numbers than blanks tell, or a tab inside of its word.
    for parts in (line.rstrip().replace(b"\t", b" ").split(b" "), line.rstrip().split(b" ")):
        if is_plain and 2 <= len(parts) <= _MAX_WIDTH and _numbers(line, len(parts) - 1) is not None:
            return len(parts) - 1
    raise FormatError(f"{_NONE}: its first line is not a word and numbers")


def _read_lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_MAX_LINE):
        yield line


def _text(file: BinaryIO, count: int, width: int) -> tuple[list[bytes], np.ndarray]:
    vectors = np.empty((count, width), np.float32)
    words: list[bytes] = []
    for number, line in enumerate(_read_lines(file), 1):
        if not line.strip():
            continue
        found = _split(line, width)
        if found is None or len(words) == count:
            expected = f"a word and {width} numbers" if found is None else f"{count} words in all"
            raise FormatError(f"line {number} of its words is {line[:60]!r}, expected {expected}")
        word, vectors[len(words)] = found
        words.append(word)
    if len(words) != count:
        raise FormatError(f"has {len(words)} words, expected {count}")
    return words, vectors


def _split(line: bytes, width: int) -> tuple[bytes, np.ndarray] | None:
    """The word of a line, which may have spaces in it, and its numbers: float32 of shape (width,).

    None if it is not a word and so many numbers.
    """
    for between in (b" ", b"\t", None):
        # With both signs between the numbers, None splits at either; a word keeps the ones inside of it.
        parts = line.rstrip(b" \t\r\n").rsplit(between, width)
        if len(parts) != width + 1:
            continue
        if any(b"_" in part for part in parts[1:]):
            continue  # 1_000 is a number in Python only
        try:
            # A number beyond float32 becomes infinite, as it does in every other reader.
            with np.errstate(over="ignore"):
                return parts[0], np.array([float(part) for part in parts[1:]], np.float32)
        except ValueError:
            continue
    return None


def _numbers(line: bytes, width: int) -> np.ndarray | None:
    """The numbers of a line; None if it is not a word and so many numbers."""
    found = _split(line, width)
    return None if found is None else found[1]


def _binary(file: BinaryIO, count: int, width: int, room: int) -> tuple[list[bytes], np.ndarray]:
    if count * (4 * width + 1) > room:
        raise FormatError(f"counts {count:,} words of {width:,} numbers, and has {room:,} bytes for them")
    vectors = np.empty((count, width), "<f4")
    words = []
    held = b""
    begin = 0
    nbytes = 4 * width
    for row in range(count):
        while (at := held.find(b" ", begin)) < 0 or len(held) < at + 1 + nbytes:
            if at < 0 and len(held) - begin > _MAX_WORD:
                raise FormatError(f"has no word after {row} of {count} words")
            piece = file.read(max(nbytes, 1 << 18))
            if not piece:
                raise FormatError(f"ends after {row} of {count} words")
            held, begin = held[begin:] + piece, 0
        # Some writers end each vector with a line break, which then stands before the next word.
        words.append(held[begin:at].lstrip(b"\n"))
        vectors[row] = np.frombuffer(held, "<f4", width, at + 1)
        begin = at + 1 + nbytes
    if held[begin:].strip(b"\n") or file.read(2).strip(b"\n"):
        raise FormatError(f"has more bytes after its {count} words")
    return words, vectors


def _decoded(word: bytes) -> str:
    # Neither NUL at the end nor half a character can be stored; the escapes can.
    return word.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _architecture(vectors: np.ndarray) -> dict[str, Any]:
    from modelarchive.architecture import describe
    from modelarchive.nn import Embedding

    declared = [{"name": "words", "shape": [None, None], "dtype": "int64"}]
    return describe(Embedding(*vectors.shape), declared)
