"""The formats that are known, and their suffixes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        name: The room of `exchange` that reads and writes it; "archive" is this package's own.
        suffixes: How the names of such files end; "/" stands for a folder.
        what: In words.
    """

    name: str
    suffixes: tuple[str, ...]
    what: str


#: Every format, by name. A new one is a row here, and a line in :func:`modelarchive.formats.recognise`.
FORMATS: Final = {
    known.name: known
    for known in (
        Format("archive", (".h5", ".hdf5"), "a model archive"),
        Format("safetensors", (".safetensors", ".safetensors.index.json"), "a safetensors file"),
        Format("numpy", (".npz", ".npy"), "a NumPy file (.npz, .npy)"),
        Format("vectors", (".txt", ".vec"), "a file of word vectors"),
        Format("mxnet", (".params", "-symbol.json"), "an MXNet file"),
        Format("torch", (".pt", ".pth", ".bin", ".ckpt"), "a PyTorch file"),
        Format("onnx", (".onnx",), "an ONNX model"),
        Format("keras", (".keras", ".weights.h5"), "a Keras file"),
        Format("huggingface", ("/",), "a Hugging Face folder"),
    )
}


def format_of_name(path: str | os.PathLike[str]) -> str:
    """The name of the format that a file's suffix stands for.

    Raises:
        ValueError: None does.
    """
    text = os.fsdecode(path)
    # A folder is told by what it is, or by the slash at its end, which a Path has lost.
    is_folder = text.endswith((os.sep, "/")) or Path(text).is_dir()
    name = Path(text).name.lower() + ("/" if is_folder else "")
    endings = {suffix: known.name for known in FORMATS.values() for suffix in known.suffixes}
    fitting = [suffix for suffix in endings if name.endswith(suffix)]
    if not fitting:
        raise ValueError(f"{os.fsdecode(path)!r} ends in none of {', '.join(endings)}")
    return endings[max(fitting, key=len)]
