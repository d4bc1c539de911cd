"""A model written as a folder that transformers loads: config.json, safetensors, and the tokenizer's files."""

from __future__ import annotations

import contextlib
import copy
import errno
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from modelarchive.archive.folders import Counterpart
from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange import safetensors
from modelarchive.exchange.bundle import Bundle, Note, Parameters, Source, bundle_of, deferred
from modelarchive.exchange.huggingface.alone import KEY
from modelarchive.exchange.huggingface.bert import POOLINGS, Pooling
from modelarchive.exchange.huggingface.config import Config
from modelarchive.exchange.huggingface.families import FAMILIES
from modelarchive.exchange.huggingface.family import Family
from modelarchive.exchange.huggingface.folder import CONFIG, MAX_CONFIG_BYTES, WEIGHTS, Kept
from modelarchive.exchange.huggingface.pooling import MODULES, POOLING, pooling_of
from modelarchive.exchange.huggingface.reading import (
    described,
    family_of,
    float_dtype,
    turned,
)
from modelarchive.exchange.huggingface.recognising import configurations
from modelarchive.exchange.huggingface.variant import Variant
from modelarchive.exchange.huggingface.words import TEXTS, VOCABULARY, words
from modelarchive.store.deferred import Deferred
from modelarchive.store.replace import replacing
from modelarchive.store.strict import short

#: Families whose tokenizers are made of a vocab.txt alone.
_WORD_PIECES: Final = ("bert", "distilbert", "electra")
#: As MiniLM and its like are pooled.
_MEAN: Final = Pooling(("pooling_mode_mean_tokens",), is_normalised=True)
#: Differences of architectures that are listed.
_MOST: Final = 20


@dataclass(frozen=True)
class Model:
    """What is written: a bundle, and what transformers calls it.

    Attributes:
        bundle: The model.
        family: Its family.
        variant: Its class, and how it is laid out.
        config: What config.json says.
        texts: The tokenizer's files.
    """

    bundle: Bundle
    family: Family
    variant: Variant
    config: dict[str, Any]
    texts: dict[str, str]

    @property
    def embedding(self) -> str:
        """The parameter whose rows are words."""
        return self.family.embedding if self.variant.is_flat else self.family.embedding_of(self.variant.head)


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
    model, notes = recognised(bundle, config)
    entries, told = theirs(model)
    notes += told
    texts, told = _texts(model)
    notes += told
    others = {key: value for key, value in bundle.metadata.items() if key != KEY}
    with _folder(target) as folder:
        weights = Bundle(Parameters(entries), metadata=others)
        notes += safetensors.write(weights, folder / WEIGHTS, max_shard_bytes=max_shard_bytes, durable=durable)
        for name, text in {CONFIG: json.dumps(model.config, indent=2) + "\n", **texts}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            with replacing(folder / name, durable=durable) as temporary:
                temporary.write_text(text, "utf-8", newline="")
    return notes


def counterpart_of(bundle: Bundle) -> tuple[Counterpart | None, list[Note]]:
    """See :func:`modelarchive.exchange.huggingface.counterpart`."""
    model, notes = recognised(bundle, None)
    family, variant = model.family, model.variant
    first: dict[int, str] = {}
    for name, entry in deferred(bundle.parameters).items():
        first.setdefault(id(entry), name)
    stored = {name: family.theirs(name, is_flat=variant.is_flat) for name in first.values()}
    turned_round = [name for name in stored if family.is_transposed(name)]
    # Where nothing is tied transformers has this one twice, and an archive has each array once.
    twice = [name for name in stored if not variant.is_tied and f"{family.guesses.get(variant.head)}.bias" == name]
    if turned_round or any(stored[name] != name for name in twice):
        what = "lies the other way" if turned_round else "stands twice"
        return None, [Note((turned_round or twice)[0], f"{what} in transformers' files")]
    others = {*deferred(bundle.parameters)} - stored.keys()
    if clash := [name for name, theirs in stored.items() if theirs in others]:
        return None, [Note(clash[0], "has a name in transformers' files that another parameter has here")]
    texts, told = _texts(model)
    files = {CONFIG: json.dumps(model.config, indent=2) + "\n", **texts}
    beside = {name: text.encode() for name, text in files.items()}
    return Counterpart({name: theirs for name, theirs in stored.items() if theirs != name}, beside), notes + told


def recognised(bundle: Bundle, given: Mapping[str, Any] | None) -> tuple[Model, list[Note]]:
    """The model with its configuration, once what that means was compared with the architecture.

    Raises:
        ConversionError: There is no configuration, or it means another network; lists the differences.
    """
    if bundle.architecture is None:
        hint = "nothing was written: a folder holds a whole model"
        raise ConversionError([("(architecture)", bundle.reason or "there is none")], hint=hint)
    kept = bundle.metadata.get(KEY)
    kept = kept if isinstance(kept, dict) else {}
    values = dict(given) if given is not None else kept.get("config")
    is_guess = not isinstance(values, dict)
    candidates = [values] if isinstance(values, dict) else list(configurations(bundle.architecture))
    if not candidates:
        problem = f"it looks like none of {', '.join(FAMILIES)}, and metadata[{KEY!r}] has no config"
        raise ConversionError([("(architecture)", problem)], hint=f"pass config=, what {CONFIG} shall say")
    if len(json.dumps(candidates[0])) > MAX_CONFIG_BYTES:
        raise ConversionError([(f"metadata[{KEY!r}]", f"its config has more than {MAX_CONFIG_BYTES:,} bytes")])
    texts, problems = _kept_texts(kept.get("files"))
    if problems:
        raise ConversionError(problems)
    first: list[tuple[str, str]] = []
    for candidate in candidates:
        found = _compared(bundle, candidate, texts, is_guess=is_guess)
        if isinstance(found, Model):
            return _settled(found)
        first = first or found
    where = f"{CONFIG} means" if not is_guess else "the configuration that looks most like it means"
    raise ConversionError(
        first, hint=f"{where} another network, or an unknown one; pass config=, what {CONFIG} shall say"
    )


def _kept_texts(files: Any) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The tokenizer's texts out of metadata, and what is wrong with them."""
    files = files if isinstance(files, dict) else {}
    # Names from a file are no paths: these and no others.
    texts = {name: files[name] for name in TEXTS if isinstance(files.get(name), str)}
    where = f"metadata[{KEY!r}]"
    bad = [name for name, text in texts.items() if any("\ud800" <= sign <= "\udfff" for sign in text)]
    return texts, [(where, f"{name} is no Unicode text") for name in bad]


def _compared(
    bundle: Bundle, values: dict[str, Any], texts: dict[str, str], *, is_guess: bool
) -> Model | list[tuple[str, str]]:
    """The model, if the configuration means its architecture; else where they differ."""
    config = Config(values)
    family, head = family_of(config)
    if family is None or head is None:
        return config.problems
    try:
        pooling = pooling_of(Kept(texts), config, head)
    except FormatError as error:
        return [(MODULES, str(error))]
    if config.problems:
        return config.problems
    poolings = [pooling, None] if pooling is not None else [None, _MEAN] if is_guess and head == "Model" else [None]
    count = len((bundle.architecture or {})["inputs"])
    first: list[tuple[str, str]] = []
    is_flat = (
        bool(family.prefix)
        and head != "Model"
        and not any(name.startswith(f"{family.prefix}.") for name in bundle.parameters)
    )
    for each in poolings:
        variant = Variant(
            head,
            next((each for each in family.takes(head) if len(each) == count), ()),
            has_pooler="pooler.dense.weight" in bundle.parameters,
            is_tied=_ties(bundle, family, head, is_flat=is_flat),
            pooling=each,
            is_flat=is_flat,
        )
        found = differences(bundle, config, family, variant)
        if not found:
            return Model(bundle, family, variant, values, _with_pooling(texts, each, pooling))
        first = first or found
    return first


def _with_pooling(texts: dict[str, str], actual: Pooling | None, said: Pooling | None) -> dict[str, str]:
    """The texts, with what says how places are pooled if they are, and without if they are not."""
    if actual == said:
        return texts
    if actual is None:
        return {name: text for name, text in texts.items() if name not in (MODULES, POOLING)}
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (kind, path) in enumerate(kinds[: 2 + actual.is_normalised])
    ]
    return texts | {
        MODULES: json.dumps(modules, indent=2) + "\n",
        POOLING: json.dumps({mode: mode in actual.modes for mode in POOLINGS}, indent=2) + "\n",
    }


def _settled(model: Model) -> tuple[Model, list[Note]]:
    """With a configuration that says of tied weights and of the dtype what is so."""
    notes = []
    values, family = model.config, model.family
    ties = model.variant.is_tied
    if ties is not None and not family.always_tied and ties is not family.ties(values):
        if "tie_word_embeddings" in values:
            notes.append(Note("tie_word_embeddings", f"is written as {str(ties).lower()}, as the parameters are"))
        values = values | {"tie_word_embeddings": ties}
    values, told = _with_dtype(values, float_dtype(deferred(model.bundle.parameters)))
    return replace(model, config=values), notes + told


def _ties(bundle: Bundle, family: Family, head: str, *, is_flat: bool) -> bool | None:
    """Whether the layer that guesses words shares the embedding's weight; None: there is no such layer."""
    if head not in family.guesses:
        return None
    entries = deferred(bundle.parameters)
    own, embedding = (
        entries.get(f"{family.guesses[head]}.weight"),
        entries.get(family.embedding if is_flat else family.embedding_of(head)),
    )
    return own is embedding


def _with_dtype(values: dict[str, Any], dtype: str) -> tuple[dict[str, Any], list[Note]]:
    """The configuration with the dtype that the parameters have."""
    key = "torch_dtype" if "torch_dtype" in values else "dtype"
    said = values.get(key)
    if said == dtype or (said is None and dtype == "float32"):
        return values, []
    notes = [] if said is None else [Note(key, f"is written as {dtype}, which the parameters are")]
    return values | {key: dtype}, notes


def differences(bundle: Bundle, config: Config, family: Family, variant: Variant) -> list[tuple[str, str]]:
    """Where the architecture is another one than the configuration says."""
    found = bundle.architecture or {}
    if not variant.inputs:
        declared = ", ".join(str(each["name"]) for each in found["inputs"])
        expected = " or ".join(", ".join(each) for each in family.takes(variant.head))
        return [("inputs", f"are {declared or 'not declared'}, expected {expected}")]
    network = family.make(config, variant, len(bundle.parameters))
    if network is None:
        return config.problems
    network.cast(float_dtype(deferred(bundle.parameters)))  # some numbers are rounded to it
    meant = described(network, variant.inputs, config).architecture
    # Of which size the example was that the network was recorded on, does not matter.
    one, other = (_with_numbered_inputs(each["model"]) for each in (meant, found))
    return list(itertools.islice(_unlike(one, other, "/model"), _MOST))


def _with_numbered_inputs(model: dict[str, Any]) -> dict[str, Any]:
    """A Graph whose inputs are called by their places: what they are called decides nothing."""
    new = {name: f"input {at}" for at, name in enumerate(model.get("inputs", ()))}

    def renamed(refs: Any) -> Any:
        if isinstance(refs, list):
            return [renamed(ref) for ref in refs]
        return new.get(refs, refs) if isinstance(refs, str) else refs

    nodes = [
        node | {"inputs": renamed(node["inputs"])} if "inputs" in node else node for node in model.get("nodes", ())
    ]
    return model | {"inputs": list(new.values()), "nodes": nodes, "outputs": renamed(model.get("outputs"))}


def _unlike(expected: Any, found: Any, where: str) -> Iterator[tuple[str, str]]:
    """JSON pointers of what differs; which parameters are frozen, and dtypes, which a file decides, do not."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *(key for key in found if key not in expected)]:
            if key not in ("dtype", "frozen", "dropout"):
                yield from _unlike(expected.get(key), found.get(key), f"{where}/{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for at, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from _unlike(one, other, f"{where}/{at}")
    elif expected != found:
        yield where, f"is {short(found)}, {CONFIG} makes it {short(expected)}"


def theirs(model: Model) -> tuple[dict[str, Deferred], list[Note]]:
    """The arrays by transformers' names, lying as theirs do; one of several that are shared."""
    family = model.family
    entries: dict[str, Deferred] = {}
    written: set[int] = set()
    notes = []
    for name, entry in deferred(model.bundle.parameters).items():
        if id(entry) in written:
            continue
        written.add(id(entry))
        there = family.theirs(name, is_flat=model.variant.is_flat)
        found = turned(entry) if family.is_transposed(name) else entry
        entries[there] = found
        if there != name and not model.variant.is_tied and f"{family.guesses.get(model.variant.head)}.bias" == name:
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
