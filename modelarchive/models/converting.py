"""Convert a file into another format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from modelarchive.archive import Archive
from modelarchive.archive.choices import Choice
from modelarchive.exchange.bundle import Bundle, Note, Progress, bundle_of, save_bundle
from modelarchive.formats import FORMATS, format_of_name
from modelarchive.models.reading import Inputs, declared, format_of_file, notes_of, read, without_architecture
from modelarchive.models.rooms import room


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    inputs: Inputs | None = None,
    parameters_only: bool = False,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    base: str | os.PathLike[str] | None = None,
    compression: Choice = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> list[Note]:
    """Convert a file into another format: from what its content says, to what the target's suffix says.

    Args:
        source: A file of any format that is known, or a Hugging Face folder.
        target: The file to write; an old one is replaced as a whole, or left as it was. A folder that is there,
            or a name that ends in a slash, is a Hugging Face folder.
        inputs: What the model takes, in order: ``{"name": "x", "shape": [None, 3, 224, 224], "dtype": "float32"}``,
            for sources that do not say, such as MXNet's symbols, and for others than they say; or as text,
            ``"x:?,3,224,224:float32"``, or all of them as a dict of shapes by name. A Hugging Face folder needs
            the names only, to leave others out or to have the mask of GPT-2 and Llama.
        parameters_only: Leave the architecture out. So the parameters come too where it cannot be said: those of
            a Keras or ONNX file, or of a Hugging Face folder, under the names that they have there.
        config: For Keras' files of weights: the file that ``model.to_json()`` was written into, or its content.
        base: For PEFT adapters: the folder of the model that the adapter was made for, and is merged into.
        compression: As in :func:`save`; only where the target is an archive.
        durable: As in :func:`save`.
        progress: As in :func:`save`; called only where the target is an archive.

    Returns:
        Everything that was changed or lost, in reading and in writing; and that there is no architecture, and why,
        where one was to be expected.

    Raises:
        ConversionError: Something cannot be said in the target's format; lists all of it; nothing is written.
        FormatError: The source is of no format that is known, or damaged.
        SpecError: The model does not take such `inputs`.
        ValueError: The target's suffix names no format, or one that has no `compression`; or the source takes no
            `config` or `base`.
    """
    name = format_of_name(target)
    if compression is not None and name != "archive":
        raise ValueError(f"compression is {compression!r}, and only archives are compressed, not {FORMATS[name].what}")
    kind = format_of_file(source)
    if kind == "archive" and config is None and base is None:
        with Archive(source) as opened:
            bundle = bundle_of(opened)
            bundle = declared(without_architecture(bundle) if parameters_only else bundle, inputs)
            written = _write(name, bundle, target, compression=compression, durable=durable, progress=progress)
            return [*notes_of(kind, bundle), *written]
    bundle = read(source, inputs=inputs, parameters_only=parameters_only, config=config, base=base)
    written = _write(name, bundle, target, compression=compression, durable=durable, progress=progress)
    return [*notes_of(kind, bundle), *written]


def _write(
    name: str,
    bundle: Bundle,
    target: str | os.PathLike[str],
    *,
    compression: Choice,
    durable: bool,
    progress: Progress | None,
) -> list[Note]:
    if name == "archive":
        return save_bundle(target, bundle, compression=compression, durable=durable, progress=progress)
    notes: list[Note] = room(name).write(bundle, target, durable=durable)
    return notes
