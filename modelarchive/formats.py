"""The formats that are known: their suffixes, and how a file's content tells which it is of."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from modelarchive.errors import FormatError
from modelarchive.store.index import MAX_INDEX_BYTES, MIN_USER_BLOCK

#: Bytes that tell what a file is, but for those that say how much more of them there is.
_HEAD: Final = 4096
#: What tells an archive's index from the header of any other safetensors file.
_OWN_KEY: Final = b'"modelarchive":'


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


#: Every format, by name. A new one is a row here, and a line in :func:`recognise`.
FORMATS: Final = {
    known.name: known
    for known in (
        Format("archive", (".h5", ".hdf5"), "a model archive"),
        Format("safetensors", (".safetensors", ".safetensors.index.json"), "a safetensors file"),
        Format("numpy", (".npz", ".npy"), "a NumPy file (.npz, .npy)"),
        Format("vectors", (".txt", ".vec"), "a file of word vectors"),
        Format("mxnet", (".params", "-symbol.json"), "an MXNet file"),
        Format("torch", (".pt", ".pth"), "a PyTorch file"),
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


def recognise(path: str | os.PathLike[str]) -> str:
    """The name of a file's format, by its first bytes; "archive" where nothing else fits.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is a zip file of a format that is not known.
    """
    place = Path(os.fsdecode(path))
    if not place.is_file():
        # The archive's reader says what is wrong with it.
        return "huggingface" if (place / "config.json").exists() else "archive"
    with place.open("rb", buffering=0) as file:
        head = file.read(_HEAD)
        # A damaged archive is an archive, and shall not pass for a safetensors file: HDF5's superblock tells.
        if head[8:9] == b"{" and (_OWN_KEY in head or _is_hdf5(file)):
            return "archive"
        length = int.from_bytes(head[:8], "little")
        if head[8:9] == b"{" and length < min(MAX_INDEX_BYTES + 1, os.fstat(file.fileno()).st_size):
            return "safetensors"
    if head.startswith(b"PK"):
        return _inside_zip(path)
    for is_it, name in _CONTENT:
        if is_it(head):
            return name
    return "archive"


def _is_hdf5(file: IO[bytes]) -> bool:
    """Whether a superblock stands at one of the places where HDF5 looks for it."""
    at = 0
    while file.seek(at) == at and (found := file.read(8)):
        if found == b"\x89HDF\r\n\x1a\n":
            return True
        at = at * 2 or MIN_USER_BLOCK
    return False


def _is_vectors(head: bytes) -> bool:
    """Whether the first line is a word and numbers, or two counts."""
    line, end, _ = head.partition(b"\n")
    parts = line.split(b" ")
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        return bool(end)
    try:
        # The last part may be cut off; what is left of a number is a number, or a sign or nothing.
        numbers = [float(part) for part in parts[1 : None if end else -1]]
    except ValueError:
        return False
    return len(numbers) > 1


def _is_onnx(head: bytes) -> bool:
    """Whether it begins with a small version of the format, and a field that follows it in a model."""
    return head[:1] == b"\x08" and b"\0" < head[1:2] < b"\x40" and head[2:3] in _ONNX_FIELDS


#: Tags of the fields of ONNX's ModelProto: producer, domain, version, text, graph, opsets, metadata.
_ONNX_FIELDS: Final = (b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42", b"\x72")


def _is_keras(head: bytes) -> bool:
    """Whether an HDF5 file without an index in front of it has what Keras writes first.

    The older format names its attributes there; the weights of Keras 3 have the groups `layers` and `vars`.
    """
    if not head.startswith(b"\x89HDF\r\n\x1a\n") or b"modelarchive" in head:
        return False
    return any(word in head for word in _KERAS)


#: Attributes and links of Keras' HDF5 files.
_KERAS: Final = (b"keras_version", b"layer_names", b"model_config", b"layers\0", b"_layer_checkpoint_dependencies\0")


#: What the first bytes say, in the order of asking.
_CONTENT: Final[tuple[tuple[Callable[[bytes], bool], str], ...]] = (
    (lambda head: head.startswith(b"\x93NUMPY"), "numpy"),
    (_is_keras, "keras"),
    (lambda head: head.startswith(b"\x12\x01\0\0\0\0\0\0"), "mxnet"),
    # The number that torch.save wrote first before its files were zip files; another pickle is nobody's.
    (lambda head: head.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."), "torch"),
    (lambda head: head.lstrip().startswith(b"{") and b'"nodes"' in head, "mxnet"),
    (lambda head: head.lstrip().startswith(b"{") and b'"weight_map"' in head, "safetensors"),
    (_is_onnx, "onnx"),
    (_is_vectors, "vectors"),
)


def _inside_zip(path: str | os.PathLike[str]) -> str:
    import zipfile  # not needed to open an archive, and slow to import

    try:
        with zipfile.ZipFile(path) as opened:
            inside = opened.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OverflowError) as error:
        hint = "the file is damaged; take it from where it came from again"
        raise FormatError(f"is no zip file that can be read: {error}", file=path, hint=hint) from error
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in inside):
        return "torch"
    if "config.json" in inside and any(name.startswith("model.weights.") for name in inside):
        return "keras"
    if all(name.endswith(".npy") for name in inside):
        return "numpy"
    hint = f"known are {', '.join(known.what for known in FORMATS.values())}"
    raise FormatError("is a zip file of no format that is known here", file=path, hint=hint)
