"""A GGUF file read: as a whole model where its architecture is known, else its parameters and metadata."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import ml_dtypes
import numpy as np

from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.budget import reading, spend
from modelarchive.exchange.bundle import Bundle, Note, Parameters
from modelarchive.exchange.gguf.architecture import Architecture
from modelarchive.exchange.gguf.architectures import ARCHITECTURES, architecture_of
from modelarchive.exchange.gguf.encodings import narrowed, package
from modelarchive.exchange.gguf.files import Contents, Tensor
from modelarchive.exchange.gguf.importing import arrays_of
from modelarchive.exchange.gguf.lifting import Options, options_of
from modelarchive.exchange.gguf.splits import whole
from modelarchive.exchange.huggingface import alone, through
from modelarchive.exchange.huggingface import reading as folders
from modelarchive.exchange.huggingface.config import Config
from modelarchive.exchange.huggingface.families import FAMILIES
from modelarchive.exchange.mapped import MappedFile
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import document_object, short

#: Under which key of the metadata the file's own travel, with their types.
KEY: Final = "gguf"
#: The words that rows of the embedding belong to.
WORDS: Final = "tokenizer.ggml.tokens"
EMBEDDING: Final = "token_embd.weight"
#: Memory that the place of a word takes in a list.
_WORD_BYTES: Final = 8
#: Under which key metadata that were not GGUF's own are written, and come back.
OTHERS: Final = "modelarchive.metadata"
#: What floats can be read as.
DTYPES: Final = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


def read_file(
    path: str | os.PathLike[str], *, inputs: Sequence[str] | None, parameters_only: bool, dtype: str | None
) -> Bundle:
    """See :func:`modelarchive.exchange.gguf.read`."""
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected {', '.join(DTYPES)}")
    file = MappedFile(path)
    with reading(file.path, file.size):
        found, lone = whole(file)
        if any(each.encoding.dtype is None and each.encoding.name != "Q8_K" for each in found.tensors.values()):
            package()
        wanted = None if dtype is None else DTYPES[dtype]
        kept, notes = _kept(found)
        notes += lone
        if found.unused:
            notes.append(Note("(file)", f"{found.unused:,} bytes that belong to no tensor are left out"))
        architecture = architecture_of(found.values)
        if parameters_only or architecture is None or EMBEDDING not in found.tensors:
            return _alone(found, wanted, kept, notes, _reason(found, parameters_only=parameters_only))
        return _model(architecture, found, inputs, wanted, kept, notes)


def _reason(found: Contents, *, parameters_only: bool) -> str:
    """Why there is no architecture."""
    name = found.values.get("general.architecture")
    if parameters_only:
        return "only the parameters were asked for"
    if not isinstance(name, str):
        return "the file does not say of which architecture it is (general.architecture)"
    if name in ARCHITECTURES:
        return f"the file has no {EMBEDDING}: it is no whole {name}"
    return f"its architecture is {short(name)}; those that are known are {', '.join(ARCHITECTURES)}"


def _alone(found: Contents, wanted: np.dtype | None, kept: dict[str, Any], notes: list[Note], reason: str) -> Bundle:
    """The parameters under the names that the file has."""
    entries = {name: _as(name, tensor.array(), wanted) for name, tensor in found.tensors.items()}
    table, told = _words(found)
    tokens = {} if table is None else {EMBEDDING: table}
    notes += told + _of_quantised(found.tensors, str(wanted or "float32"))
    return Bundle(Parameters(entries), None, reason, _without(kept, tokens), tokens, notes)


def _model(
    architecture: Architecture,
    found: Contents,
    inputs: Sequence[str] | None,
    wanted: np.dtype | None,
    kept: dict[str, Any],
    notes: list[Note],
) -> Bundle:
    """The whole model; its parameters have one dtype."""
    options = options_of(architecture, found)
    arrays, unknown, told = arrays_of(architecture, found, options.config)
    options.problems += unknown
    if options.problems:
        raise ConversionError(options.problems)
    dtype = wanted or _one_dtype(found.tensors)
    arrays = {name: _as(name, each, dtype) for name, each in arrays.items()}
    bundle, embedding = _assembled(options, arrays, inputs)
    notes += options.notes + told + bundle.notes + _of_quantised(found.tensors, str(dtype))
    table, told = _words(found)
    notes += told
    tokens = {} if table is None else {embedding: table}
    config = {key: value for key, value in options.config.items() if value is not None}
    metadata = _without(kept, tokens) | {alone.KEY: {"config": config, "files": {}}}
    return Bundle(bundle.parameters, bundle.architecture, "", metadata, tokens, notes, bundle.known)


def _assembled(options: Options, arrays: dict[str, Deferred], inputs: Sequence[str] | None) -> tuple[Bundle, str]:
    """The network and its parameters, and the name of the embedding; errors are said in GGUF's keys and names."""
    values = options.config
    stretched = values.get("rope_parameters", {}).get("rope_type")
    family = None if stretched == "yarn" else FAMILIES.get(values["model_type"])
    try:
        if family is not None:
            config = Config(values)
            its, head = folders.family_of(config)
            if its is None or head is None:
                raise ConversionError(config.problems, hint=config.hint)
            model, entries, notes = folders.assembled(config, its, head, arrays, inputs, pooling=options.pooling)
            bundle = Bundle(Parameters(entries), model.architecture, notes=notes, known=model)
            return bundle, its.embedding_of(head)
        reason = ConversionError([("model_type", f"{values['model_type']} is of no family that is read by itself")])
        if not through.may_read(values, reason):
            what = f"{options.architecture.name} is read through transformers and PyTorch, which are not installed"
            if stretched == "yarn":
                what = f"rotary positions of YaRN: {what}"
            hint = "pip install 'modelarchive[transformers]'"
            raise ConversionError([("general.architecture", what)], hint=hint)
        bundle = through.assembled(values, arrays, inputs or ("input_ids",))
        return bundle, options.architecture.names["token_embd"] + ".weight"
    except ConversionError as error:
        raise _in_gguf(error, options.architecture) from error


def _in_gguf(error: ConversionError, architecture: Architecture) -> ConversionError:
    """An error of transformers' options and names as one of the file's."""
    keys = {option: f"{architecture.name}.{key}" for key, (option, _) in architecture.keys.items()}
    problems = []
    for where, what in error.unsupported:
        place = keys.get(where) or architecture.ours(where.replace(".out_proj.", ".o_proj.")) or where
        for option, key in keys.items():
            what = re.sub(rf"\b{option}\b", key, what)
        problems.append((place.replace("config.json", "(metadata)"), what.replace("config.json", "the metadata")))
    return ConversionError(problems, hint=error.hint and error.hint.replace("config.json", "the metadata"))


# ---------------------------------------------------------------------- dtypes, metadata, words


def _as(name: str, array: Deferred, dtype: np.dtype | None) -> Deferred:
    """An array of floats in a dtype; others, and all where there is none, stay as they are."""
    if dtype is None or array.dtype == dtype or array.dtype.kind in "iu":
        return array
    return array.changed(lambda each: narrowed(each, dtype, name), dtype=dtype)


def _one_dtype(tensors: Mapping[str, Tensor]) -> np.dtype:
    """That of all floats, where they have one; else float32, which holds them all."""
    found = {each.encoding.dtype or np.dtype(np.float32) for each in tensors.values()}
    floats = {each for each in found if each.kind not in "iu"}
    return floats.pop() if len(floats) == 1 else np.dtype(np.float32)


def _of_quantised(tensors: Mapping[str, Tensor], dtype: str) -> list[Note]:
    """That tensors were dequantised, and of which types they were."""
    count: dict[str, int] = {}
    for each in tensors.values():
        if each.encoding.dtype is None:
            count[each.encoding.name] = count.get(each.encoding.name, 0) + 1
    if not count:
        return []
    listed = ", ".join(f"{number:,} of {name}" for name, number in count.items())
    return [Note("(parameters)", f"dequantised to {dtype}: {listed}")]


def _kept(found: Contents) -> tuple[dict[str, Any], list[Note]]:
    """The file's metadata as the archive's: values and their types; and what JSON cannot say."""
    notes = [
        Note(key, "left out: it holds infinite numbers, or what is none, which JSON cannot say")
        for key, value in found.values.items()
        if not _is_finite(value)
    ]
    lost = {note.where for note in notes}
    values = {key: value for key, value in found.values.items() if key not in lost}
    return {"values": values, "types": {key: found.types[key] for key in values}}, notes


def _is_finite(value: Any) -> bool:
    several = value if isinstance(value, list) else [value]
    return all(math.isfinite(each) for each in several if isinstance(each, float))


def _words(found: Contents) -> tuple[list[str] | None, list[Note]]:
    """The word of each row of the embedding; "" for rows that have none."""
    table, embedding = found.values.get(WORDS), found.tensors.get(EMBEDDING)
    if embedding is None or not embedding.shape or found.types.get(WORDS) != "array of string":
        return None, []
    rows = embedding.shape[0]
    spend("a word for each row", nbytes=_WORD_BYTES * rows)
    if any(word.endswith("\0") or (not word.isascii() and _SURROGATE.search(word)) for word in table or ()):
        return None, [Note(WORDS, "are no words of rows: some are no UTF-8, or end in NUL")]
    notes = []
    if len(table or ()) > rows:
        notes.append(Note(WORDS, f"{len(table or ()) - rows:,} words belong to no row: the embedding has {rows:,}"))
    return [*(table or ())[:rows], *[""] * (rows - len(table or ()))], notes


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _without(kept: dict[str, Any], tokens: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The metadata, without the words where the rows of the embedding have them, and with what was not GGUF's."""
    values, types = dict(kept["values"]), dict(kept["types"])
    others: dict[str, Any] = {}
    if types.get(OTHERS) == "string":
        with contextlib.suppress(FormatError):
            others = document_object(values[OTHERS], what=OTHERS, strict=True)
            del values[OTHERS], types[OTHERS]
    if any(list(table) == values.get(WORDS) for table in tokens.values()):
        del values[WORDS], types[WORDS]
    return {**others, KEY: {"values": values, "types": types}}
