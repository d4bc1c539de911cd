"""A folder from a stranger: files by fixed names, in the folder itself, of bounded size."""

from __future__ import annotations

import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.exchange import safetensors, torch
from modelarchive.exchange.budget import reading
from modelarchive.exchange.bundle import Bundle, Note
from modelarchive.exchange.shards import is_there
from modelarchive.formats import explain, refusing
from modelarchive.store.shards import is_own
from modelarchive.store.strict import document, document_object, short

#: Longest text that is read; tokenizers of large vocabularies take some tens of megabytes.
_MAX_TEXT_BYTES: Final = 100_000_000
#: Longest config.json.
MAX_CONFIG_BYTES: Final = 4_000_000
CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
_INDEX_NAME: Final = WEIGHTS + safetensors.INDEX_SUFFIX
#: How parameters are called, the likeliest first; of pickles the arrays alone are read, as data.
_USUAL: Final = (WEIGHTS, _INDEX_NAME, "pytorch_model.bin", f"pytorch_model.bin{safetensors.INDEX_SUFFIX}")
#: The same of what transformers calls a variant: model.fp16.safetensors, model.safetensors.index.fp16.json.
_VARIANTS: Final = tuple(
    re.compile(each)
    for each in (
        r"model\.[a-z]\w*\.safetensors", r"model\.safetensors\.index\.\w+\.json",
        r"pytorch_model\.[a-z]\w*\.bin", r"pytorch_model\.bin\.index\.\w+\.json",
    )
)  # fmt: skip
#: A variant's word, and where it stands in the names of files.
_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_VARIED: Final = re.compile(
    r".*\.(safetensors|bin)\.index\.(?P<index>[\w-]+)\.json|[^.]*\.(?P<file>[\w-]+)\.(safetensors|bin)"
)
_SHARD: Final = re.compile(r"-\d+-of-\d+")
#: Any others, where one alone is there.
_ANY: Final = tuple(map(re.compile, (r".*\.safetensors\.index\.json", r".*\.safetensors", r".*_model\.bin")))
_INDEX: Final = re.compile(r".*\.index(\.\w+)?\.json")
#: Parameters of other frameworks, which are not read here.
_OTHERS: Final = ("tf_model.h5", "flax_model.msgpack")


def _with_word(name: str, word: str) -> str:
    """The name of a variant's file: the word stands before the suffix."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{word}.{suffix}"


def _word_in(name: str) -> str:
    """The word of a variant in the name of a file of parameters, or of an index; "": it has none."""
    found = _VARIED.fullmatch(name)
    return "" if found is None else found["index"] or found["file"]


class Texts(ABC):
    """Texts by name: files of a folder, or what is kept of them."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is such a text."""

    @abstractmethod
    def text(self, name: str, *, most: int = _MAX_TEXT_BYTES) -> str:
        """The text; of at most so many bytes.

        Raises:
            FormatError: It is not there, no UTF-8, or too long.
        """

    @abstractmethod
    def where(self, name: str) -> str:
        """What messages call it."""

    def json(self, name: str, *, most: int = _MAX_TEXT_BYTES) -> dict[str, Any]:
        """A JSON file, an object.

        Raises:
            FormatError: It is none, or too long.
        """
        text = self.text(name, most=most)
        with reading(self.where(name), len(text)):
            try:
                return document_object(text, what=name, strict=False)
            except FormatError as error:
                # JSON that leaves the bounds is what it says.
                raise error if text.lstrip().startswith("{") else self.explained(error, name) from error

    def explained(self, error: FormatError, name: str) -> FormatError:
        """The error, or one that says what the text is instead."""
        return error

    def json_list(self, name: str) -> list[Any]:
        """A JSON file, a list.

        Raises:
            FormatError: It is none, or too long.
        """
        text = self.text(name, most=MAX_CONFIG_BYTES)
        with reading(self.where(name), len(text)):
            found = document(text, what=name, strict=False)
            if not isinstance(found, list):
                raise FormatError(f"is {type(found).__name__}, expected a list")
            return found


class Kept(Texts):
    """Texts that were kept in metadata.

    Args:
        texts: Name -> text.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def has(self, name: str) -> bool:
        """Whether there is such a text."""
        return name in self._texts

    def text(self, name: str, *, most: int = _MAX_TEXT_BYTES) -> str:
        """The text."""
        if name not in self._texts:
            raise FormatError("is not there", file=self.where(name))
        return self._texts[name]

    def where(self, name: str) -> str:
        """What messages call it."""
        return f"metadata: {name}"


class Folder(Texts):
    """The files of one model.

    Args:
        path: The folder.
        variant: The word in the names of the parameters' files, if it is not those without one that are meant.

    Raises:
        FormatError: It is no folder.
        ValueError: `variant` is no word.
    """

    def __init__(self, path: str | os.PathLike[str], variant: str | None = None) -> None:
        if variant is not None and not _WORD.fullmatch(variant):
            raise ValueError(f"variant is {variant!r}, expected a word: 'fp16' of model.fp16.safetensors")
        self.path, self.variant = Path(os.fsdecode(path)), variant
        if not self.path.is_dir():
            raise FormatError("is no folder", file=self.path, hint=f"a folder with {CONFIG} is expected")
        self._real = Path(os.path.realpath(self.path))

    def expect(self, name: str) -> None:
        """Refuse a folder without a file, and say what it is instead.

        Raises:
            FormatError: It has no such file.
        """
        if self.has(name):
            return
        hint = "it says which model the parameters are of" if name == CONFIG else "an adapter of peft has one"
        error = FormatError(f"has no {name}", file=self.path, hint=hint)
        raise explain(error, self.path)

    def explained(self, error: FormatError, name: str) -> FormatError:
        """The error, or one that says what the file is instead."""
        return explain(error, self.path / name)

    def has(self, name: str) -> bool:
        """Whether there is such a file.

        Raises:
            UnsafeFileError: It is a link out of the folder, or a pipe or a device.
        """
        file = self.path / name
        try:
            mode = file.stat().st_mode
        except OSError:
            return False
        self._own(file)
        if not stat.S_ISREG(mode):
            raise UnsafeFileError("is no regular file", rule="own folder only", file=file)
        return True

    def text(self, name: str, *, most: int = _MAX_TEXT_BYTES) -> str:
        """A text file.

        Raises:
            FormatError: It is no UTF-8, or too long.
        """
        found = self.data(name, most=most)
        if (told := refusing.of_text(self.path / name)) is not None:
            raise told
        try:
            return found.decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"is not UTF-8: {error}", file=self.path / name) from error

    def data(self, name: str, *, most: int) -> bytes:
        """The bytes of a file.

        Raises:
            FormatError: It is not there, or too long.
        """
        if not self.has(name):
            raise FormatError("is not there", file=self.path / name)
        with (self.path / name).open("rb") as file:
            found = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)  # which asks for that much memory
        if len(found) > most:
            raise FormatError(f"has more than {most:,} bytes", file=self.path / name)
        return found

    def where(self, name: str) -> str:
        """What messages call it."""
        return str(self.path / name)

    def size(self) -> int:
        """The bytes of its files."""
        return sum(each.stat().st_size for each in self.path.iterdir() if each.is_file())

    def weights(self, name: str | None = None) -> Bundle:
        """The parameters, of one file or of several, as the files have them.

        Args:
            name: The file, or the index of several; None: the one that there is.

        Raises:
            FormatError: There are none, or several that are not of one model.
            UnsafeFileError: A shard lies elsewhere.
        """
        found = name or self.weights_name()
        for each in self._shards(found):
            self.has(each)  # refuses links that lead out; the readers of shards refuse other names
        bundle: Bundle = (safetensors if ".safetensors" in found else torch).read(self.path / found)
        if name is None and self.variant is None and found not in _USUAL:
            bundle.notes.append(Note("(files)", f"the parameters are those of {short(found)}"))
        return bundle

    def weights_name(self) -> str:
        """The file of the parameters, or the index of several, whatever they are called.

        Raises:
            FormatError: There are none, or several that are not of one index.
        """
        inside = sorted(entry.name for entry in self.path.iterdir())
        if self.variant is not None:
            return self._of_variant(self.variant, inside)
        usual = next((name for name in _USUAL if self.has(name)), None)
        if usual is not None:
            return usual
        for pattern in (*_VARIANTS, *_ANY):
            several = [name for name in inside if pattern.fullmatch(name)]
            if any(_SHARD.search(name) for name in several):
                raise self._without_index(several)
            if len(several) == 1 and self.has(several[0]):
                return several[0]
            if several:
                what = f"has several files of parameters: {', '.join(several[:8])}"
                words = [found for name in several if (found := _word_in(name))]
                meant = (
                    f"variant={words[0]!r} reads {several[0]}"
                    if words
                    else f"give the one that is meant, {several[0]} say"
                )
                raise FormatError(what, file=self.path, hint=meant)
        raise self._without_weights()

    def _without_index(self, shards: list[str]) -> FormatError:
        """The refusal of shards, or one of them, of which nothing says what they are together."""
        what = f"has no index of its shards ({', '.join(shards[:3])}{', ...' if len(shards) > 3 else ''})"
        name = f"{_SHARD.sub('', shards[0])}.index.json"
        hint = f"take {name} from where the shards came from; load() of one file gives the arrays in it"
        return FormatError(what, file=self.path, hint=hint)

    def _of_variant(self, variant: str, inside: list[str]) -> str:
        """The file of a variant, or the index of several.

        Raises:
            FormatError: There is none.
        """
        wanted = [_with_word(name, variant) for name in _USUAL]
        found = next((name for name in wanted if self.has(name)), None)
        others = [name for name in inside if _word_in(name) == variant and not _SHARD.search(name)]
        if found is None and len(others) == 1 and self.has(others[0]):
            found = others[0]
        if found is not None:
            return found
        there = list(dict.fromkeys(word for name in inside if (word := _word_in(name))))
        hint = f"its variants are {', '.join(map(short, there[:8]))}" if there else "it has no variants: leave it out"
        raise FormatError(f"has no parameters of the variant {short(variant)}", file=self.path, hint=hint)

    def _without_weights(self) -> FormatError:
        hint = "save the model with transformers' save_pretrained, which writes safetensors"
        if others := [name for name in _OTHERS if (self.path / name).exists()]:
            return FormatError(f"has {', '.join(others)}, but no {WEIGHTS}", file=self.path, hint=hint)
        return explain(FormatError(f"has no {WEIGHTS}, nor {_INDEX_NAME}", file=self.path, hint=hint), self.path)

    def _shards(self, name: str) -> list[str]:
        """The files that an index names; the file itself if it is none."""
        if not _INDEX.fullmatch(name):
            return [name]
        named = self.json(name).get("weight_map")
        several = (
            dict.fromkeys(each for each in named.values() if isinstance(each, str)) if isinstance(named, dict) else {}
        )
        return [each for each in several if is_own(each) and is_there(self.path / each)]

    def weights_files(self) -> list[str]:
        """Names of the files that the parameters are in, the index among them."""
        name = self.weights_name()
        return [name, *self._shards(name)]

    def others(self, known: set[str]) -> list[str]:
        """Names of files and folders that are not among the known ones."""
        return sorted(entry.name for entry in self.path.iterdir() if entry.name not in known)

    def _own(self, file: Path) -> None:
        """Refuse a link that leads out of the folder, but for the cache in which the Hub's files lie."""
        real = Path(os.path.realpath(file))
        places = [self._real]
        if self._real.parent.name == "snapshots":
            places.append(self._real.parent.parent / "blobs")
        if not any(real.is_relative_to(place) for place in places):
            raise UnsafeFileError(
                f"is a link to {real}, which is not in its own folder", rule="own folder only", file=file
            )
