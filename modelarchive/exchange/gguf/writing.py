"""A GGUF file written: a whole model of llama.cpp's where the network is one, else its parameters."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelarchive import names
from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Bundle, Note, Source, bundle_of, deferred, few, shared_names
from modelarchive.exchange.gguf.architectures import ARCHITECTURES
from modelarchive.exchange.gguf.emitting import Written, content, problem_with
from modelarchive.exchange.gguf.encodings import ALIASES, BY_NAME, ENCODINGS, WRITTEN, Encoding, package, quantised
from modelarchive.exchange.gguf.exporting import exported
from modelarchive.exchange.gguf.files import MAX_RANK
from modelarchive.exchange.gguf.reading import EMBEDDING, KEY, OTHERS, WORDS
from modelarchive.exchange.huggingface.alone import KEY as FOLDER
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.deferred import Deferred
from modelarchive.store.fill import fill
from modelarchive.store.replace import replacing

_ARCHITECTURE: Final = "general.architecture"
#: What a file says of its architecture that holds parameters of none.
_NONE: Final = "modelarchive"
#: Keys that tell how the tensors are stored, which is decided anew, and of how many files.
_ANEW: Final = ("general.file_type", "general.quantization_version", "general.alignment",
                "split.no", "split.count", "split.tensors.count")  # fmt: skip
#: ``enum llama_ftype``, by what most tensors are.
_FILE_TYPES: Final = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "BF16": 32, "TQ1_0": 36, "TQ2_0": 37,
    "MXFP4": 38,
}  # fmt: skip
_QUANTIZATION_VERSION: Final = 2
#: Dtypes that have an encoding of their own.
_OF_DTYPE: Final = {each.dtype: each for each in ENCODINGS.values() if each.dtype is not None}
#: ggml's own programs read names shorter than that.
_LONGEST_NAME: Final = 64
#: Matrices that llama.cpp keeps as float32.
_KEPT_WIDE: Final = ("position_embd.weight", "token_types.weight", "gate_inp.weight", "gate_inp_shexp.weight")


def write_file(source: Source, path: str | os.PathLike[str], *, dtype: str | None, durable: bool) -> list[Note]:
    """See :func:`modelarchive.exchange.gguf.write`."""
    wanted = _encoding(dtype)
    bundle = bundle_of(source).state()
    kept, notes = _kept(bundle)
    arrays, metadata, told = _said(bundle, kept)
    notes += told
    is_whole = metadata[_ARCHITECTURE][1] in ARCHITECTURES
    tensors, told = _tensors(arrays, wanted, is_whole=is_whole)
    notes += told
    metadata |= _of_encodings(tensors)
    head, fills = content(metadata, tensors)
    with replacing(Path(os.fsdecode(path)), durable=durable) as temporary:
        temporary.write_bytes(head)
        fill(temporary, fills)
    return notes


def _encoding(dtype: str | None) -> Encoding | None:
    if dtype is None:
        return None
    name = ALIASES.get(dtype, dtype)
    if name not in WRITTEN:
        raise ValueError(f"dtype is {dtype!r}, expected {', '.join(WRITTEN)}")
    found = BY_NAME[name]
    if found.dtype is None:
        package()
    return found


# ---------------------------------------------------------------------- metadata


def _kept(bundle: Bundle) -> tuple[dict[str, tuple[str, Any]], list[Note]]:
    """Metadata that a GGUF file had, as type and value; what cannot be written is left out."""
    found = bundle.metadata.get(KEY)
    values = found.get("values") if isinstance(found, dict) else None
    types = found.get("types") if isinstance(found, dict) else None
    if not isinstance(values, dict) or not isinstance(types, dict):
        return {}, []
    kept: dict[str, tuple[str, Any]] = {}
    notes = []
    for key, value in values.items():
        kind = types.get(key)
        problem = problem_with(value, kind) if isinstance(kind, str) else "has no type"
        if problem is not None:
            notes.append(Note(key, f"left out: it {problem}"))
        elif key not in _ANEW and kind is not None:
            kept[key] = (kind, value)
    return kept, notes


def _said(
    bundle: Bundle, kept: dict[str, tuple[str, Any]]
) -> tuple[dict[str, Deferred], dict[str, tuple[str, Any]], list[Note]]:
    """The arrays by the file's names, and its metadata."""
    notes: list[Note] = []
    architecture = kept.pop(_ARCHITECTURE, (None, None))[1]
    others = {key: value for key, value in bundle.metadata.items() if key not in (KEY, FOLDER)}
    behind = {OTHERS: ("string", json.dumps(others))} if others else {}
    if bundle.architecture is not None:
        try:
            model = exported(bundle)
        except Refusal as error:
            notes.append(Note("(architecture)", f"left out: {error}"))
        else:
            notes += model.notes
            # The network's own keys are made anew.
            own = next(iter(model.metadata)).partition(".")[0]
            front = {key: value for key, value in kept.items() if not key.startswith(f"{own}.")}
            words, told = _words(bundle, model.embedding, front)
            metadata = {_ARCHITECTURE: ("string", own), **model.metadata, **front, **words, **behind}
            return model.arrays, metadata, notes + told + _of_folder(bundle)
        # Keys of a network that is no longer whole would be taken for one.
        kept = {key: value for key, value in kept.items() if not key.startswith(f"{architecture}.")}
        architecture = None
    notes += [Note(name, f"written again: {other} is the same array, and a GGUF file shares none")
              for name, other in shared_names(bundle.parameters).items()]  # fmt: skip
    words, told = _words(bundle, EMBEDDING, kept)
    name = architecture if isinstance(architecture, str) and architecture else _NONE
    metadata = {_ARCHITECTURE: ("string", name), **kept, **words, **behind}
    return deferred(bundle.parameters), metadata, notes + told + _of_folder(bundle)


def _of_folder(bundle: Bundle) -> list[Note]:
    """What a Hugging Face folder had beside the network."""
    folder = bundle.metadata.get(FOLDER)
    files = folder.get("files") if isinstance(folder, dict) else None
    if not files:
        return []
    what = f"left out: a GGUF file has no place for {few(map(str, files))}"
    return [Note(f"metadata[{FOLDER!r}]", what)]


def _words(
    bundle: Bundle, embedding: str, kept: dict[str, tuple[str, Any]]
) -> tuple[dict[str, tuple[str, Any]], list[Note]]:
    """The words of the embedding's rows, and the tokenizer that they belong to, out of `kept` where it is no longer."""
    tokenizer = [key for key in kept if key.startswith("tokenizer.ggml.")]
    table = bundle.tokens.get(embedding)
    notes = [Note(name, "the words of its rows are left out") for name in bundle.tokens if name != embedding]
    words = None if table is None else list(table)
    if words is None:
        if tokenizer or embedding == EMBEDDING:
            return {}, notes
        return {"tokenizer.ggml.model": ("string", "none")}, notes
    beside = [key for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type") if key in kept]
    if tokenizer and any(len(kept[key][1]) != len(words) for key in beside):
        notes.append(Note("(tokenizer)", f"left out: it is not of the {len(words):,} words that {embedding} has"))
        for key in tokenizer:
            del kept[key]
        tokenizer = []
    found: dict[str, tuple[str, Any]] = {} if tokenizer else {"tokenizer.ggml.model": ("string", "none")}
    if not tokenizer:
        notes.append(Note("(tokenizer)", "is none: llama.cpp runs the network on numbers of words, not on texts"))
    return found | {WORDS: ("array of string", words)}, notes


# ---------------------------------------------------------------------- tensors


def _tensors(
    arrays: Mapping[str, Deferred], wanted: Encoding | None, *, is_whole: bool
) -> tuple[dict[str, Written], list[Note]]:
    """Every array as it is stored.

    Raises:
        ConversionError: GGUF has no word for dtypes, ranks or names; lists all of them.
    """
    problems = names.problems_with_texts(arrays)
    problems += [(name, f"has {each.ndim} axes, GGUF has at most {MAX_RANK}")
                 for name, each in arrays.items() if each.ndim > MAX_RANK]  # fmt: skip
    problems += [(name, f"GGUF has no type for {each.dtype}")
                 for name, each in arrays.items() if each.dtype.newbyteorder("=") not in _OF_DTYPE]  # fmt: skip
    if problems:
        raise ConversionError(problems, hint="nothing was written")
    found = {}
    uneven: list[str] = []
    for name, each in arrays.items():
        encoding = _chosen(name, each, wanted, is_whole=is_whole)
        if each.ndim and each.shape[-1] % encoding.block:
            uneven.append(name)
            encoding = BY_NAME["f16"]
        found[name] = _written(name, each, encoding)
    notes = []
    if uneven and wanted is not None:
        what = f"stored as F16, as llama.cpp does: their rows are no whole blocks of {wanted.name}'s {wanted.block}"
        notes.append(Note(few(uneven), what))
    if long := [name for name in arrays if len(name.encode()) >= _LONGEST_NAME]:
        what = f"have names of {_LONGEST_NAME} bytes or more, which programs of ggml refuse; Python's gguf reads them"
        notes.append(Note(few(long), what))
    return found, notes + _rounded(arrays, found)


def _chosen(name: str, array: Deferred, wanted: Encoding | None, *, is_whole: bool) -> Encoding:
    """How an array is stored."""
    own = _OF_DTYPE[array.dtype.newbyteorder("=")]
    if array.dtype.kind in "iu":
        return own
    # What is added and multiplied place by place is float32 in llama.cpp, always.
    is_wide = array.ndim < 2 or name.endswith(_KEPT_WIDE) or (is_whole and own.name == "F64")
    if wanted is None:
        # The package's own reader takes no bfloat16 without axes.
        return BY_NAME["f32"] if (is_whole and is_wide) or (own.name == "BF16" and not array.ndim) else own
    return BY_NAME["f32"] if is_wide else wanted


def _written(name: str, array: Deferred, encoding: Encoding) -> Written:
    if encoding.dtype is not None:
        if array.dtype == encoding.dtype:
            return Written(array.shape, encoding, array)
        stored = array.changed(lambda each: quantised(each, encoding, name), dtype=encoding.dtype)
        return Written(array.shape, encoding, stored)
    nbytes = array.size // encoding.block * encoding.nbytes
    stored = array.changed(lambda each: quantised(each, encoding, name), (nbytes,), np.dtype(np.uint8))
    return Written(array.shape, encoding, stored)


def _rounded(arrays: Mapping[str, Deferred], tensors: Mapping[str, Written]) -> list[Note]:
    """Of how many arrays the numbers are rounded, by what they become."""
    count: dict[str, int] = {}
    for name, each in tensors.items():
        kind, dtype = arrays[name].dtype, each.encoding.dtype
        if dtype is None or (kind != dtype and not np.can_cast(kind, dtype, "safe") and not _holds(dtype, kind)):
            count[each.encoding.name] = count.get(each.encoding.name, 0) + 1
    listed = ", ".join(f"{number:,} as {name}" for name, number in count.items())
    return [Note("(parameters)", f"rounded: {listed}")] if count else []


def _holds(wide: np.dtype, narrow: np.dtype) -> bool:
    """Whether a dtype holds all numbers of another, bfloat16's too, of which NumPy knows nothing."""
    return wide.name in ("float32", "float64") and narrow.itemsize == 2


def _of_encodings(tensors: Mapping[str, Written]) -> dict[str, tuple[str, Any]]:
    """What the metadata say of how most numbers are stored."""
    sizes: dict[str, int] = {}
    for each in tensors.values():
        if len(each.shape) > 1:
            sizes[each.encoding.name] = sizes.get(each.encoding.name, 0) + each.stored.nbytes
    found: dict[str, tuple[str, Any]] = {}
    if (most := max(sizes, key=lambda name: sizes[name], default="F32")) in _FILE_TYPES:
        found["general.file_type"] = ("uint32", _FILE_TYPES[most])
    if any(each.encoding.dtype is None for each in tensors.values()):
        found["general.quantization_version"] = ("uint32", _QUANTIZATION_VERSION)
    return found
