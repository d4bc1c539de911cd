"""The words that an embedding's rows belong to, out of a tokenizer's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from modelarchive.exchange.bundle import Note
from modelarchive.exchange.huggingface.folder import Texts

#: Texts that a tokenizer is made of, and what stands beside them; they travel in the metadata.
TEXTS: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "chat_template.jinja",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "modules.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "3_Dense/config.json",
    "4_Dense/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)
VOCABULARY: Final = "vocab.txt"
#: Tokenizers of SentencePiece, which are no text; they travel as base64.
BINARIES: Final = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
#: Longest of these.
MAX_BINARY_BYTES: Final = 16_000_000


def words(folder: Texts, rows: int, name: str) -> tuple[list[str] | None, list[Note]]:
    """The word of each row of an embedding; "" for rows that have none.

    Args:
        folder: The model's files.
        rows: How many rows there are.
        name: The embedding, for the notes.

    Returns:
        The words, or None where no file says them; and what was changed or lost.
    """
    if folder.has("tokenizer.json"):
        source = "tokenizer.json"
        document = folder.json(source)
        model = document.get("model")
        found = [*_of_vocabulary(model.get("vocab") if isinstance(model, dict) else None)]
        found += _added(document.get("added_tokens"))
    elif folder.has("vocab.json"):
        source = "vocab.json"
        found = [*_of_vocabulary(folder.json(source))]
        found += _of_vocabulary(folder.json("added_tokens.json") if folder.has("added_tokens.json") else None)
    elif folder.has(VOCABULARY):
        source = VOCABULARY
        found = [(word, at) for at, word in enumerate(lines(folder.text(source)))]
    else:
        return None, []
    if problem := _problem(found):
        return None, [Note(source, f"its words are left out: {problem}")]
    notes = []
    table = [""] * rows
    beyond = 0
    for word, at in found:
        if at < rows:
            table[at] = word
        else:
            beyond += 1
    if beyond:
        notes.append(Note(source, f"{beyond:,} words are left out: the embedding has {rows:,} rows"))
    if empty := sum(not word for word in table):
        notes.append(Note(name, f'{empty:,} of {rows:,} rows have no word; theirs is ""'))
    return table, notes


def lines(text: str) -> list[str]:
    """The words of a vocab.txt, one a line."""
    found = text.split("\n")
    return found[:-1] if found[-1] == "" else found


def _of_vocabulary(vocabulary: Any) -> Iterator[tuple[str, Any]]:
    """Words and rows: of a mapping, or of a list of words with their scores."""
    if isinstance(vocabulary, Mapping):
        yield from vocabulary.items()
    elif isinstance(vocabulary, list):
        for at, item in enumerate(vocabulary):
            yield (item[0] if isinstance(item, list) and item else item), at


def _added(tokens: Any) -> Iterator[tuple[Any, Any]]:
    for token in tokens if isinstance(tokens, list) else ():
        if isinstance(token, Mapping):
            yield token.get("content"), token.get("id")


def _problem(found: Sequence[tuple[Any, Any]]) -> str | None:
    """Why these are no words of rows."""
    for word, at in found:
        if not isinstance(word, str) or type(at) is not int or at < 0:
            return f"{str(word)[:40]!r} and {str(at)[:40]!r} are no word and its number"
        if word.endswith("\0"):
            return f"{word[:40]!r} ends in NUL, which an archive cannot keep"
        try:
            word.encode()
        except UnicodeEncodeError:
            return f"{word[:40]!r} is no Unicode text"
    return None
