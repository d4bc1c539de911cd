"""A model written as a folder that transformers loads: config.json, safetensors, and the tokenizer's files."""

from __future__ import annotations

import base64
import contextlib
import copy
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from modelarchive.architecture.constants import constants_of
from modelarchive.archive.folders import Counterpart
from modelarchive.errors import FormatError
from modelarchive.exchange import safetensors
from modelarchive.exchange.bundle import Bundle, Note, Parameters, Source, bundle_of, deferred
from modelarchive.exchange.huggingface.alone import KEY
from modelarchive.exchange.huggingface.folder import CONFIG, WEIGHTS, Kept
from modelarchive.exchange.huggingface.identifying import Model, known
from modelarchive.exchange.huggingface.pooling import OF_DENSE
from modelarchive.exchange.huggingface.reading import turned
from modelarchive.exchange.huggingface.words import BINARIES, VOCABULARY, words
from modelarchive.store.deferred import Deferred
from modelarchive.store.replace import replacing

#: Families whose tokenizers are made of a vocab.txt alone.
_WORD_PIECES: Final = ("bert", "distilbert", "electra")


def write_folder(
    source: Source,
    path: str | os.PathLike[str],
    *,
    config: Mapping[str, Any] | None,
    max_shard_bytes: int | None,
    durable: bool,
) -> list[Note]:
    """See :func:`modelarchive.exchange.huggingface.write`."""
    target = Path(os.fsdecode(path))
    _check_place(target)
    bundle = bundle_of(source)
    model, notes = known(bundle, config)
    entries, told = theirs(model)
    notes += told
    texts, told = _texts(model)
    notes += told
    others = {key: value for key, value in bundle.metadata.items() if key != KEY}
    behind: dict[str, dict[str, Deferred]] = {}
    for name in list(entries):
        if (dense := OF_DENSE.fullmatch(name)) is not None:
            behind.setdefault(dense[1], {})[dense[2]] = entries.pop(name)
    with _folder(target) as folder:
        weights = Bundle(Parameters(entries), metadata=others)
        notes += safetensors.write(weights, folder / WEIGHTS, max_shard_bytes=max_shard_bytes, durable=durable)
        for place, arrays in behind.items():
            (folder / place).mkdir()
            safetensors.write(Bundle(Parameters(arrays)), folder / place / WEIGHTS, durable=durable)
        for name, data in _files(model, texts).items():
            (folder / name).parent.mkdir(exist_ok=True)
            with replacing(folder / name, durable=durable, size=len(data)) as temporary:
                temporary.write_bytes(data)
    return notes


def _files(model: Model, texts: Mapping[str, str]) -> dict[str, bytes]:
    """What stands beside the parameters: config.json, the tokenizer's texts, and what of it is no text."""
    found = {CONFIG: json.dumps(model.config, indent=2) + "\n", **texts}
    kept = model.bundle.metadata.get(KEY)
    binaries: Any = kept.get("binaries") if isinstance(kept, dict) else None
    files = {name: text.encode() for name, text in found.items()}
    if isinstance(binaries, dict) and (texts or not model.texts):
        for name in filter(binaries.__contains__, BINARIES):
            with contextlib.suppress(TypeError, ValueError):  # it is no base64
                files[name] = base64.b64decode(binaries[name], validate=True)
    return files


def counterpart_of(bundle: Bundle) -> tuple[Counterpart | None, list[Note]]:
    """See :func:`modelarchive.exchange.huggingface.counterpart`."""
    model, notes = known(bundle, None)
    family, traits = model.family, model.traits
    first: dict[int, str] = {}
    for name, entry in deferred(bundle.parameters).items():
        first.setdefault(id(entry), name)
    stored = {name: family.theirs(name, is_flat=traits.is_flat) for name in first.values()}
    if apart := [name for name in stored if OF_DENSE.fullmatch(name)]:
        return None, [Note(apart[0], "is in a folder of its own in sentence-transformers' files")]
    turned_round = [name for name in stored if family.is_transposed(name)]
    # Where nothing is tied transformers has this one twice, and an archive has each array once.
    twice = [name for name in stored if not traits.is_tied and f"{family.guesses.get(traits.head)}.bias" == name]
    if turned_round or any(stored[name] != name for name in twice):
        what = "lies the other way" if turned_round else "stands twice"
        return None, [Note((turned_round or twice)[0], f"{what} in transformers' files")]
    others = {*deferred(bundle.parameters)} - stored.keys()
    if clash := [name for name, theirs in stored.items() if theirs in others]:
        return None, [Note(clash[0], "has a name in transformers' files that another parameter has here")]
    texts, told = _texts(model)
    renamed = {name: theirs for name, theirs in stored.items() if theirs != name}
    return Counterpart(renamed, _files(model, texts)), notes + told


def theirs(model: Model) -> tuple[dict[str, Deferred], list[Note]]:
    """The arrays by transformers' names, lying as theirs do; one of several that are shared."""
    family = model.family
    entries: dict[str, Deferred] = {}
    written: set[int] = set()
    notes = []
    constants = constants_of(model.bundle.architecture or {})
    for name, entry in deferred(model.bundle.parameters).items():
        if id(entry) in written or name in constants:
            continue
        written.add(id(entry))
        there = family.theirs(name, is_flat=model.traits.is_flat)
        found = turned(entry) if family.is_transposed(name) else entry
        entries[there] = found
        if there != name and not model.traits.is_tied and f"{family.guesses.get(model.traits.head)}.bias" == name:
            entries[name] = copy.copy(found)  # where nothing is tied this one counts, of which transformers writes two
    notes += [Note(name, "its words are left out") for name in model.bundle.tokens if name != model.embedding]
    return entries, notes


def _texts(model: Model) -> tuple[dict[str, str], list[Note]]:
    """The tokenizer's files, if they say the same words as the model does."""
    name = model.embedding
    table = model.bundle.tokens.get(name)
    table = None if table is None else list(table)
    texts = dict(model.texts)
    if not name:
        return texts, []
    rows = deferred(model.bundle.parameters)[name].shape[0]
    try:
        said, _ = words(Kept(texts), rows, name)
    except FormatError as error:
        return {}, [Note("(files)", f"the tokenizer's are left out: {error}")]
    if said is not None and table is not None and said != table:
        return {}, [Note("(files)", f"the tokenizer's are left out: they say other words than {name} has")]
    if table is None or VOCABULARY in texts or model.family.name not in _WORD_PIECES:
        notes = [Note(name, "its words are left out: they alone make no tokenizer of this family")]
        return texts, notes if table is not None and said is None else []
    if any(not word or "\n" in word for word in table):
        return texts, [] if said else [Note(name, f"its words are left out: some have no line in {VOCABULARY}")]
    return texts | {VOCABULARY: "".join(f"{word}\n" for word in table)}, []


def _check_place(target: Path) -> None:
    """Refuse to write over anything.

    Raises:
        OSError: There is a file, or a folder with something in it.
    """
    if target.is_dir():
        if any(target.iterdir()):
            raise FileExistsError(errno.EEXIST, "the folder has files in it; nothing was changed", str(target))
    elif target.exists() or target.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, "is a file, expected a new folder", str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder to save in does not exist", str(target.parent))


@contextlib.contextmanager
def _folder(target: Path) -> Iterator[Path]:
    """A new folder beside the target, which takes its place when all is written, or goes."""
    temporary = target.with_name(f".{target.name[:100]}.{os.urandom(6).hex()}.partial")
    temporary.mkdir()
    try:
        yield temporary
        if target.is_dir():
            target.rmdir()  # an empty one
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
