"""A folder read as a whole model: what it is by its config.json, its parameters by our names, its words."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from modelarchive.architecture import Checked, describing
from modelarchive.errors import ConversionError
from modelarchive.exchange.budget import reading
from modelarchive.exchange.bundle import Bundle, Note, Parameters, deferred
from modelarchive.exchange.huggingface import quantised, through, through_timm
from modelarchive.exchange.huggingface.adapters import ADAPTER, Adapter
from modelarchive.exchange.huggingface.alone import without_config
from modelarchive.exchange.huggingface.config import Config
from modelarchive.exchange.huggingface.families import FAMILIES
from modelarchive.exchange.huggingface.family import Family, head_of
from modelarchive.exchange.huggingface.folder import CONFIG, MAX_CONFIG_BYTES, Folder
from modelarchive.exchange.huggingface.pooling import MODULES, pooling_of
from modelarchive.exchange.huggingface.sentences import Pooling
from modelarchive.exchange.huggingface.source import ModelFolder
from modelarchive.exchange.huggingface.traits import Traits
from modelarchive.exchange.huggingface.vit import pictures
from modelarchive.exchange.huggingface.words import words
from modelarchive.nn import Block, Sequential
from modelarchive.store.deferred import Deferred
from modelarchive.store.fill import pieces
from modelarchive.store.strict import short

#: The next step where transformers and PyTorch are not there.
_INSTALL: Final = (
    "pip install 'modelarchive[transformers]': with transformers and PyTorch, folders of its own classes are read as "
    "they build them"
)
#: What transformers takes for an input that is left out: every word counts, and all are of the first segment.
_LEFT_OUT: Final = {"attention_mask": 1, "token_type_ids": 0}
#: Names of old files -> today's.
_OLD: Final = ((".gamma", ".weight"), (".beta", ".bias"))


def read_folder(
    path: str | os.PathLike[str],
    *,
    inputs: Sequence[str] | None = None,
    sentences: bool | None = None,
    base: str | os.PathLike[str] | None = None,
    variant: str | None = None,
) -> Bundle:
    """See :func:`modelarchive.exchange.huggingface.read`."""
    folder = Folder(path, variant)
    if base is None and not folder.has(CONFIG):
        return without_config(folder)
    adapter = None
    if base is not None:
        folder.expect(ADAPTER)
        with reading(folder.path, folder.size()):
            adapter = Adapter(folder)
        folder = Folder(base, variant)
        folder.expect(CONFIG)
    with reading(folder.path, folder.size()):
        values = folder.json(CONFIG, most=MAX_CONFIG_BYTES)
        if adapter is not None:
            values = adapter.configured(values)
        said = quantised.said_in(values, folder)
        model = ModelFolder(
            folder, {name: each for name, each in values.items() if name not in quantised.OPTIONS}, said, adapter
        )
        if through_timm.is_of_timm(values):
            return _of_timm(model)
        try:
            return _read(model, inputs, sentences)
        except ConversionError as error:
            if not through.may_read(model.values, error):
                raise ConversionError(error.unsupported, hint=_next_step(error, model.values)) from error
            return _of_any_class(model, inputs, sentences, error)


def _next_step(error: ConversionError, values: Mapping[str, Any]) -> str | None:
    """The hint of an error, and what transformers would change, where it is not there."""
    options = {*values, "model_type", "architectures"}
    if through.is_installed() or not {where for where, _ in error.unsupported} <= options:
        return error.hint
    return "; ".join(each for each in (_INSTALL, error.hint) if each)


def _of_timm(model: ModelFolder) -> Bundle:
    """A network for pictures, as timm builds it."""
    bundle = through_timm.read(model.weights(), model.values)
    kept, notes = model.kept(None)
    bundle.metadata.update(model.metadata(kept))
    bundle.notes += notes
    return bundle


def _of_any_class(
    model: ModelFolder, inputs: Sequence[str] | None, sentences: bool | None, reason: ConversionError
) -> Bundle:
    """A network of no family that is read here, as transformers builds it."""
    values, config = model.values, Config({})
    pooling = pooling_of(model.folder, config) if sentences is not False and inputs is None else None
    if config.problems:
        raise ConversionError(config.problems)
    try:
        bundle = through.read(model.weights(), values, inputs, model.adapter, pooling, model.behind(pooling))
    except ConversionError as error:
        raise ConversionError([*reason.unsupported, *error.unsupported], hint=error.hint or reason.hint) from error
    kept, notes = model.kept(None)
    bundle.metadata.update(model.metadata(kept))
    options = dict.fromkeys(where for where, _ in reason.unsupported if where not in ("model_type", "architectures"))
    if options:
        notes.append(Note(CONFIG, f"is read as transformers takes it, for {', '.join(map(short, options))}"))
    if values.get("auto_map"):
        notes.append(Note("auto_map", "names code of the folder, which is never run"))
    bundle.notes += notes
    return bundle


def _read(model: ModelFolder, inputs: Sequence[str] | None, sentences: bool | None) -> Bundle:
    folder, values, adapter = model.folder, model.values, model.adapter
    config = Config(values)
    family, head = family_of(config)
    pooling = pooling_of(folder, config) if sentences is not False else None
    if family is not None and pooling is not None:
        head = family.of_sentences  # whatever else the class that was saved had
    if sentences and pooling is None:
        config.refuse(MODULES, "is not there: nothing says how a sentence becomes one vector")
    if family is not None and (head is None or config.problems):
        family.make(config, Traits("Model", family.inputs), 2**31 - 1)  # which lists what else there is
    if family is None or head is None or config.problems:
        raise ConversionError(config.problems, hint=config.hint)
    weights = model.weights()
    stored: Mapping[str, Deferred] = deferred(weights.parameters) | model.behind(pooling)
    merged: list[Note] = []
    if adapter is not None:
        stored, merged = _merged(adapter, stored, values, family, head)
    network, entries, notes = assembled(config, family, head, stored, inputs, pooling=pooling)
    notes += merged
    if adapter is not None:
        adapter.refuse_unused(name for name in adapter.replaced if family.ours(name, head) not in network.shapes)
    embedding, vocabulary = family.embedding_of(head), None
    if embedding:
        texts = folder if adapter is None or not adapter.has_words else adapter.folder
        vocabulary, told = words(texts, entries[embedding].shape[0], embedding)
        notes += told
    kept, told = model.kept(vocabulary)
    notes += told
    if about := [key for key in weights.metadata if key != "format"]:
        notes.append(Note("(metadata)", f"left out of the safetensors files: {', '.join(map(short, about[:8]))}"))
    notes += [note for note in weights.notes if note not in notes]
    tokens = {} if vocabulary is None else {embedding: vocabulary}
    return Bundle(Parameters(entries), network.architecture, "", model.metadata(kept), tokens, notes, network)


def assembled(
    config: Config,
    family: Family,
    head: str,
    arrays: Mapping[str, Deferred],
    inputs: Sequence[str] | None,
    *,
    pooling: Pooling | None = None,
) -> tuple[Checked, dict[str, Deferred], list[Note]]:
    """The network that options mean, and its parameters out of arrays by transformers' names, lying as they do there.

    Args:
        config: The options.
        family: Their family.
        head: End of the class name.
        arrays: Name -> array.
        inputs: What the network takes; None: what is usual.
        pooling: How sentence-transformers goes on behind it.

    Raises:
        ConversionError: Options cannot be expressed, or parameters are missing; lists all of it.
        ValueError: `inputs` are none of the family's.
    """
    ties = family.ties(config.values)
    found, notes = _named(arrays, family, head, ties=ties)
    traits = Traits(
        head,
        _chosen(inputs, family, head, config.values, pooling),
        has_pooler="pooler.dense.weight" in found,
        is_tied=_tied(found, family, head, notes) if ties else None,
        pooling=pooling,
    )
    network = family.make(config, traits, len(found))
    if network is None:
        raise ConversionError(config.problems, hint=config.hint)
    notes += config.notes + _of_dtype(config.values, dtype := float_dtype(found))
    network.cast(dtype)
    model = described(network, traits.inputs, config)
    return model, _fitting(found, network, model.shapes, notes), notes


def family_of(config: Config) -> tuple[Family | None, str | None]:
    """The family and the head; what is not known is noted in the config."""
    kind = config.get("model_type")
    if kind is None and isinstance(name := config.get("_class_name"), str):
        config.refuse("_class_name", f"{short(name)} is a part of diffusers, whose networks are not read")
        return None, None
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        config.refuse("model_type", f"{short(kind)} is none of {', '.join(FAMILIES)}")
        return None, None
    head = head_of(config.values, family)
    if head is None:
        known = ", ".join(family.names)
        config.refuse("architectures", f"{short(config.get('architectures'))} is none of {known}")
    return family, head


def described(network: Block, inputs: Sequence[str], config: Config) -> Checked:
    """The model, recorded on texts of any number and length; `inputs` are their names.

    Raises:
        ConversionError: The options do not fit each other.
    """
    declared: list[dict[str, Any]] = []
    has_default = not isinstance(network, Sequential)  # only a Graph has inputs that may be left out
    for name in reversed(inputs):
        has_default = has_default and name in _LEFT_OUT
        default = {"default": _LEFT_OUT[name]} if has_default else {}
        text = {"name": name, "shape": [None, None], "dtype": "int64"} | default
        declared.insert(0, text if name != "pixel_values" else {"name": name, "shape": pictures(config)})
    try:
        return describing.described(network, declared)
    except ValueError as error:
        config.refuse(CONFIG, f"its options do not fit each other: {error}")
        raise ConversionError(config.problems) from error


def _chosen(
    inputs: Sequence[str] | None, family: Family, head: str, values: Mapping[str, Any], pooling: Pooling | None
) -> tuple[str, ...]:
    known = [each for each in family.takes(head) if values.get("type_vocab_size") != 0 or "token_type_ids" not in each]
    if inputs is None:
        # One sentence at a time is of one segment.
        return family.inputs[:2] if pooling is not None and not family.together else known[0]
    chosen = tuple(inputs)
    if chosen not in known:
        longest = max(known, key=len)
        expected = f"the first of {', '.join(longest)}, one or more of them"
        if family.together:
            expected = " or ".join(", ".join(each) for each in known)
        raise ValueError(f"inputs is {chosen}, expected {expected}")
    return chosen


def _named(
    theirs: Mapping[str, Deferred], family: Family, head: str, *, ties: bool
) -> tuple[dict[str, Deferred], list[Note]]:
    """The arrays by our names, lying as ours do."""
    found: dict[str, Deferred] = {}
    sources: dict[str, str] = {}
    notes = []
    different = []
    for name, entry in theirs.items():
        if family.is_unused(name):
            notes.append(Note(name, "left out: transformers does not use it either"))
            continue
        ours = family.ours(_today(name), head)
        if family.is_transposed(ours) and entry.ndim == 2:
            entry = turned(entry)
        other = sources.get(ours)
        if other is None:
            found[ours], sources[ours] = entry, name
        elif not ties and ours in (name, other):
            # The layer's own bias counts; the one beside it is nobody's where nothing is tied.
            notes.append(Note(other if ours == name else name, "left out: transformers does not use it either"))
            found[ours], sources[ours] = (entry, name) if ours == name else (found[ours], other)
        elif _equal(found[ours], entry):
            notes.append(Note(name, f"left out: {sources[ours]} is the same parameter"))
        else:
            different.append((name, f"is the same parameter as {sources[ours]}, and has other values"))
    if different:
        raise ConversionError(different)
    return found, notes


def turned(entry: Deferred) -> Deferred:
    """The transposed array, in memory of its own when it is read."""
    return entry.changed(lambda array: np.array(array.T, order="C"), entry.shape[::-1])


def _equal(one: Deferred, other: Deferred) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    both = [pieces((each.view or each.read)()) for each in (one, other)]
    return all(bytes(first) == bytes(second) for first, second in zip(*both, strict=True))


def _tied(found: dict[str, Deferred], family: Family, head: str, notes: list[Note]) -> bool | None:
    """False where the file has two arrays of different values for what the configuration says is one."""
    name = f"{family.guesses.get(head, '')}.weight"
    own, embedding = found.get(name), found.get(family.embedding_of(head))
    if own is None or embedding is None:
        return None
    if _equal(own, embedding):
        del found[name]
        return None
    notes.append(Note(name, "is not tied: the file has values of its own for it, whatever config.json says"))
    return False


def float_dtype(found: Mapping[str, Deferred]) -> str:
    """The dtype of parameters that most bytes have."""
    sizes: dict[str, int] = {}
    for entry in found.values():
        if entry.dtype.name in ("float32", "float64", "float16", "bfloat16"):
            sizes[entry.dtype.name] = sizes.get(entry.dtype.name, 0) + entry.nbytes
    return max(sizes, key=lambda name: sizes[name], default="float32")


def _of_dtype(values: Mapping[str, Any], dtype: str) -> list[Note]:
    """What config.json says of the dtype, where the files say another: transformers rounds to it, nobody here."""
    key = "dtype" if values.get("dtype") is not None else "torch_dtype"
    said = values.get(key)
    if said is None or said == dtype:
        return []
    return [Note(key, f"is {short(said)}, the parameters are {dtype} and stay so")]


def _fitting(
    found: Mapping[str, Deferred], network: Block, shapes: Mapping[str, tuple[int, ...]], notes: list[Note]
) -> dict[str, Deferred]:
    """An array for each parameter, one for those that are shared.

    Raises:
        ConversionError: Some are missing, or of other shapes; lists all of them.
    """
    parameters = network.collect_params()
    first: dict[int, str] = {}
    for name, parameter in parameters.items():
        if name in found:
            first.setdefault(id(parameter), name)
    entries = {}
    problems = []
    for name, shape in shapes.items():
        source = first.get(id(parameters[name]))
        if source is None:
            problems.append((name, "is not in the files"))
        elif tuple(found[source].shape) != tuple(shape):
            problems.append((name, f"has the shape {found[source].shape}, {CONFIG} makes it {tuple(shape)}"))
        else:
            entries[name] = found[source]
    if problems:
        raise ConversionError(problems)
    notes += [Note(name, "left out: the model has no such parameter") for name in found if name not in parameters]
    return entries


def _merged(
    adapter: Adapter,
    stored: Mapping[str, Deferred],
    values: Mapping[str, Any],
    family: Family,
    head: str,
) -> tuple[dict[str, Deferred], list[Note]]:
    """The arrays of the files with an adapter merged into them."""
    ties = family.ties(values)

    def key(name: str) -> str:
        return family.ours(_today(name), head)

    embedding = next((name for name in stored if key(name) == family.embedding_of(head)), None)
    tied = {f"{family.guesses[head]}.weight": embedding} if ties and head in family.guesses and embedding else {}
    return adapter.merged(stored, kind=values.get("model_type"), key=key, tied=tied)


def _today(name: str) -> str:
    """A name of an old file as it is today."""
    for old, new in _OLD:
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name
