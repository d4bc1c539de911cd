"""Convert a file into another format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelarchive.archive import Archive
from modelarchive.archive.choices import Choice
from modelarchive.archive.folders import shard_bytes
from modelarchive.exchange.bundle import Bundle, Note, Progress, bundle_of, deferred, save_bundle
from modelarchive.formats import FORMATS, format_of_name
from modelarchive.formats.systems import listed
from modelarchive.models.folders import FOLDER, save_folder
from modelarchive.models.reading import declared, format_of_file, notes_of, read, without_architecture
from modelarchive.models.rooms import room
from modelarchive.remote import located
from modelarchive.store.deferred import expect
from modelarchive.store.replace import expect_on_disk

if TYPE_CHECKING:
    from modelarchive.architecture.declarations import Inputs


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    inputs: Inputs | None = None,
    parameters_only: bool = False,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    base: str | os.PathLike[str] | None = None,
    until: str | Sequence[str] | None = None,
    variant: str | None = None,
    dtype: str | None = None,
    compression: Choice = None,
    max_shard_size: int | str | None = None,
    plain: bool = False,
    durable: bool = True,
    progress: Progress | None = None,
    storage_options: Mapping[str, Any] | None = None,
    cache: str | Mapping[str, Any] | None = None,
) -> list[Note]:
    """Convert a file into another format: from what its content says, to what the target's suffix says.

    Args:
        source: A file of any format that is known, or a Hugging Face folder; or the URL of an archive or a
            safetensors file.
        target: The file to write; an old one is replaced as a whole, or left as it was. A folder that is there,
            or a name that ends in a slash, is a Hugging Face folder and an archive in shards at the same time.
        inputs: What the model takes: ``{"name": "x", "shape": [None, 3, 224, 224], "dtype": "float32"}``, for sources
            that do not say, such as MXNet's symbols, and for others than they say; or as text,
            ``"x:?,3,224,224:float32"``, or all of them as a dict of shapes by name. What has a name of the model's is
            of that input, the rest in their order. A Hugging Face folder needs
            the names only, to leave others out or to have the mask of GPT-2 and Llama.
        parameters_only: Leave the architecture out. So the parameters come too where it cannot be said: those of
            a Keras or ONNX file, or of a Hugging Face folder, under the names that they have there.
        config: For Keras' files of weights: the file that ``model.to_json()`` was written into, or its content.
        base: For PEFT adapters: the folder of the model that the adapter was made for, and is merged into.
        until: For ONNX models: values of the graph, or nodes, that the model is to end with instead of its outputs, in
            front of what cannot be said, say.
        variant: For Hugging Face folders: which of several files of parameters is read, by the word in its name,
            "fp16" of ``model.fp16.safetensors``.
        dtype: Where the target is a GGUF file: what its matrices are stored as, "f16", "bf16", "q8_0", "f32" or
            another type of :func:`modelarchive.exchange.gguf.write`. Where the source is one and the target is none:
            what floats are read as, "float32", "float16" or "bfloat16".
        compression: As in :func:`save`; only where the target is an archive.
        max_shard_size: As in :func:`save`, for folders and for several safetensors files. Given, it makes a folder
            of any model, an archive in shards; transformers loads those that it has a class for.
        plain: For Hugging Face folders: no archive at the same time, but safetensors files of the model's arrays
            alone, as servers need them that refuse arrays they do not know (vLLM without a loader of this package).
        durable: As in :func:`save`.
        progress: As in :func:`save`; called only where the target is an archive.
        storage_options: As :class:`modelarchive.Archive` takes it, where `source` is a URL.
        cache: As there.

    Returns:
        Everything that was changed or lost, in reading and in writing; and that there is no architecture, and why,
        where one was to be expected.

    Raises:
        ConversionError: Something cannot be said in the target's format; lists all of it; nothing is written.
        FormatError: The source is of no format that is known, or damaged.
        SpecError: The model does not take such `inputs`.
        ValueError: The target's suffix names no format, or one that has no `compression`, no shards or is never
            `plain`; or the source takes no `config`, `base`, `until` or `variant`; or neither takes such a `dtype`.
    """
    name = format_of_target(target, max_shard_size)
    if compression is not None and name != "archive":
        raise ValueError(f"compression is {compression!r}, and only archives are compressed, not {FORMATS[name].what}")
    if plain and name != FOLDER:
        raise ValueError(f"plain is for Hugging Face folders, and {os.fsdecode(target)!r} is {FORMATS[name].what}")
    source = located(source, storage_options, cache)
    options: dict[str, Any] = {"max_shard_size": max_shard_size, "plain": plain, "durable": durable}
    options["progress"] = progress
    kind = format_of_file(source)
    stored = _written_as(name, dtype)
    if dtype is not None and stored is None and not FORMATS[kind].reads_as:
        files = listed(each.what for each in FORMATS.values() if each.reads_as or each.writes_as)
        raise ValueError(f"dtype is {dtype!r}, and is for {files} only")
    if kind == "archive" and (config, base, until, variant) == (None, None, None, None):
        with Archive(source) as opened:
            bundle = bundle_of(opened)
            bundle = declared(without_architecture(bundle) if parameters_only else bundle, inputs)
            written = _write(name, bundle, target, stored=stored, compression=compression, **options)
            return [*notes_of(kind, bundle), *written]
    wanted = dtype if stored is None else None
    given: dict[str, Any] = {"config": config, "base": base, "until": until, "variant": variant, "dtype": wanted}
    bundle = read(source, inputs=inputs, parameters_only=parameters_only, **given)
    written = _write(name, bundle, target, stored=stored, compression=compression, **options)
    return [*notes_of(kind, bundle), *written]


def format_of_target(target: str | os.PathLike[str], max_shard_size: int | str | None) -> str:
    """The name of the format that a file or folder to be written is of.

    Raises:
        ValueError: Its suffix names no format, or one without shards where a size of them is given.
        RemoteError: It is a URL.
    """
    expect_on_disk(target)
    if max_shard_size is None:
        return format_of_name(target)
    shard_bytes(max_shard_size)
    try:
        name = format_of_name(target)
    except ValueError:
        if Path(os.fsdecode(target)).suffix:
            raise
        return FOLDER
    if name not in (FOLDER, "safetensors"):
        why = "and shards lie in a folder" if name == "archive" else "which has no shards"
        raise ValueError(f"{os.fsdecode(target)!r} would be a file ({FORMATS[name].what}), {why}")
    return name


def _written_as(name: str, dtype: str | None) -> str | None:
    """What the target's arrays are stored as; None: as they are."""
    known = FORMATS[name].writes_as
    if dtype is None or not known:
        return None
    if dtype not in known:
        raise ValueError(f"dtype is {dtype!r}, expected {listed(map(repr, known), last='or')}")
    return dtype


def _write(
    name: str,
    bundle: Bundle,
    target: str | os.PathLike[str],
    *,
    stored: str | None,
    compression: Choice,
    max_shard_size: int | str | None,
    plain: bool,
    durable: bool,
    progress: Progress | None,
) -> list[Note]:
    if name == "archive":
        return save_bundle(target, bundle, compression=compression, durable=durable, progress=progress)
    if name == FOLDER:
        options: dict[str, Any] = {"max_shard_size": max_shard_size, "plain": plain}
        return save_folder(target, bundle, durable=durable, progress=progress, **options)
    expect(deferred(bundle.parameters).values())
    encoding = {} if stored is None else {"dtype": stored}
    limit = {} if max_shard_size is None else {"max_shard_bytes": shard_bytes(max_shard_size)}
    notes: list[Note] = room(name).write(bundle, target, durable=durable, **limit, **encoding)
    return notes
