"""How a file's content tells of which known format it is."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from modelarchive.formats import protobuf
from modelarchive.formats.content import (
    HDF5_SIGNATURE,
    MAX_HEADER_BYTES,
    Content,
    OnDisk,
    format_inside,
    hdf5_start,
    is_torch_stream,
    zip_members,
)

#: Bytes that tell what a file is, but for those that say how much more of them there is.
_HEAD: Final = 4096
#: What tells an archive's index from the header of any other safetensors file.
_OWN_KEY: Final = b'"modelarchive":'
#: What a folder of weights has, if it has no config.json.
_WEIGHTS: Final = (".safetensors", ".safetensors.index.json")


def recognise(path: str | os.PathLike[str]) -> str:
    """The name of a file's format, by its first bytes; "archive" where nothing else fits.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is a zip file of a format that is not known.
    """
    place = Path(os.fsdecode(path))
    try:
        found = place.stat()
    except OSError:
        return "archive"  # whose reader says what is wrong with it
    if stat.S_ISDIR(found.st_mode):
        return "huggingface" if _is_folder_of_weights(place) else "archive"
    if not stat.S_ISREG(found.st_mode):
        return "archive"
    with OnDisk(place) as content:
        return recognised(content)


def recognised(content: Content) -> str:
    """The same of a file that is there."""
    head = content.read(0, _HEAD)
    # A damaged archive is an archive, and shall not pass for a safetensors file: HDF5's superblock tells.
    if head[8:9] == b"{" and (_OWN_KEY in head or hdf5_start(content) is not None):
        return "archive"
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length < min(MAX_HEADER_BYTES + 1, content.size):
        return "safetensors"
    if head.startswith(b"PK"):
        return _inside_zip(content)
    if protobuf.is_onnx(content):
        return "onnx"
    for is_it, name in _CONTENT:
        if is_it(head):
            return name
    return "archive"


def is_certain(path: str | os.PathLike[str]) -> bool:
    """Whether a file that was taken for one of Keras says so; any HDF5 file without an index may be one.

    An archive that another program has written anew may be such a file too, and only HDF5 can tell.
    """
    with OnDisk(path) as content:
        head = content.read(0, _HEAD)
    return not head.startswith(HDF5_SIGNATURE) or any(word in head for word in _KERAS)


def _is_folder_of_weights(folder: Path) -> bool:
    """Whether it has a config.json, or parameters as such folders hold them."""
    if (folder / "config.json").exists():
        return True
    # Folders of other kinds have safetensors too; what they have beside them tells.
    if any((folder / name).exists() for name in ("model_index.json", "saved_model.pb", ".metadata")):
        return False
    return any(each.name.endswith(_WEIGHTS) for each in folder.iterdir())


def _is_vectors(head: bytes) -> bool:
    """Whether the first line is a word and numbers, or two counts."""
    line, end, _ = head.partition(b"\n")
    parts = (line.rstrip(b" \t\r") if end else line).split(b" ")
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        return bool(end)
    # Numbers stand behind blanks, or tabs, or both.
    return any(_are_numbers(each[1 : None if end else -1]) for each in (parts, re.split(rb"[ \t]", b" ".join(parts))))


def _are_numbers(parts: list[bytes]) -> bool:
    try:
        # The last part may be cut off; what is left of a number is a number, or a sign or nothing.
        numbers = [float(part) for part in parts]
    except ValueError:
        return False
    return len(numbers) > 1


def _is_keras(head: bytes) -> bool:
    """Whether an HDF5 file has no index in front of it and does not say that it was an archive."""
    return head.startswith(HDF5_SIGNATURE) and b"modelarchive" not in head


#: Attributes and links of Keras' HDF5 files, which stand at the beginning of most of them.
_KERAS: Final = (b"keras_version", b"layer_names", b"model_config", b"layers\0", b"_layer_checkpoint_dependencies\0")


def _index_of(head: bytes) -> str:
    """Whose index of shards it is; "" if it is none."""
    if not head.lstrip().startswith(b"{") or b'"weight_map"' not in head:
        return ""
    behind = head[head.index(b'"weight_map"') :]
    # Keras' index gives the files of each layer, in a list where there are several.
    found = re.match(rb'"weight_map"\s*:\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*(\[)?\s*"((?:[^"\\]|\\.)*)"', behind)
    if found is None:
        return "safetensors"
    if found[1] or found[2].endswith(b".h5"):
        return "keras"
    return "torch" if found[2].endswith((b".bin", b".pt", b".pth", b".ckpt")) else "safetensors"


#: What the first bytes say, in the order of asking.
_CONTENT: Final[tuple[tuple[Callable[[bytes], bool], str], ...]] = (
    (lambda head: head.startswith(b"\x93NUMPY"), "numpy"),
    (_is_keras, "keras"),
    (lambda head: head.startswith(b"\x12\x01\0\0\0\0\0\0"), "mxnet"),
    (is_torch_stream, "torch"),  # another pickle is nobody's
    (lambda head: head.lstrip().startswith(b"{") and b'"nodes"' in head, "mxnet"),
    (lambda head: _index_of(head) == "safetensors", "safetensors"),
    (lambda head: _index_of(head) == "keras", "keras"),
    (lambda head: _index_of(head) == "torch", "torch"),
    (_is_vectors, "vectors"),
)


def _inside_zip(content: Content) -> str:
    from modelarchive.formats.telling import refusal  # the tables are for files that are refused

    inside = zip_members(content)
    if inside is None:
        raise refusal(content, "is no zip file that can be read")
    if min(inside.values(), default=0):
        raise refusal(content, "holds several zip files one behind the other")
    if any(name.endswith("/constants.pkl") for name in inside):
        raise refusal(content, "is a TorchScript program, which is code")
    if (name := format_inside(inside)) is not None:
        return name
    raise refusal(content, "is a zip file of no format that is known here")
