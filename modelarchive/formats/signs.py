"""The signs by which each system's files and folders are recognised: by their first bytes, and what lies in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, TypeAlias

from modelarchive.formats import protobuf
from modelarchive.formats.content import HDF5_SIGNATURE, MAX_HEADER_BYTES, Look, hdf5_start, is_torch_stream
from modelarchive.remote import RemoteFile

#: Whether a file is a system's; and whether a zip file is, by the names of its members.
Sign: TypeAlias = Callable[[Look], bool]
MemberSign: TypeAlias = Callable[[Collection[str]], bool]

#: What tells an archive's index from the header of any other safetensors file.
_OWN_KEY: Final = b'"modelarchive":'
#: Attributes and links of Keras' HDF5 files, which stand at the beginning of most of them.
_KERAS: Final = (b"keras_version", b"layer_names", b"model_config", b"layers\0", b"_layer_checkpoint_dependencies\0")
#: The first entry of an index of shards: the file that has an array, or a list of several.
_SHARD: Final = re.compile(rb'"weight_map"\s*:\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*(\[)?\s*"((?:[^"\\]|\\.)*)"')


def begins(text: bytes) -> Sign:
    """A file that begins with these bytes."""
    return lambda look: look.head.startswith(text)


# ---------------------------------------------------------------------- archives and safetensors


def archive(look: Look) -> bool:
    """An index in front, or HDF5 behind it: a damaged archive shall not pass for a safetensors file."""
    return look.head[8:9] == b"{" and (_OWN_KEY in look.head or hdf5_start(look.content) is not None)


def safetensors(look: Look) -> bool:
    """A header in front that the file is long enough for; an archive has one too, and its own sign."""
    length = int.from_bytes(look.head[:8], "little")
    return look.head[8:9] == b"{" and length < min(MAX_HEADER_BYTES + 1, look.content.size)


# ---------------------------------------------------------------------- indexes of shards


def index(look: Look) -> bool:
    """Any index of shards; JSON with nodes in it is MXNet's."""
    return is_json(look) and b'"weight_map"' in look.head and not symbol(look)


def index_of(*ends: str, lists: bool = False) -> Sign:
    """An index of shards whose names end so.

    Args:
        ends: The ends.
        lists: Whether an array that is there in several files is a sign of it, too.
    """
    several = tuple(end.encode() for end in ends)

    def sign(look: Look) -> bool:
        found = _SHARD.search(look.head) if index(look) else None
        return found is not None and (lists if found[1] else found[2].endswith(several))

    return sign


def is_json(look: Look) -> bool:
    """An object in JSON, by its beginning."""
    return look.head.lstrip().startswith(b"{")


# ---------------------------------------------------------------------- systems' own


def symbol(look: Look) -> bool:
    """A symbol of MXNet: JSON with nodes in it."""
    return is_json(look) and b'"nodes"' in look.head


def torch_stream(look: Look) -> bool:
    """What torch.save wrote before its files were zip files; another pickle is nobody's."""
    return is_torch_stream(look.head)


def onnx(look: Look) -> bool:
    """A message of Protocol Buffers that is a model of ONNX."""
    return protobuf.is_onnx(look.content)


def hdf5(look: Look) -> bool:
    """An HDF5 file that has no index in front of it, and does not say that it was an archive."""
    return look.head.startswith(HDF5_SIGNATURE) and b"modelarchive" not in look.head


def says_keras(look: Look) -> bool:
    """Whether a file is Keras' by what it says; any HDF5 file without an index may be one."""
    return not look.head.startswith(HDF5_SIGNATURE) or any(word in look.head for word in _KERAS)


def vectors(look: Look) -> bool:
    """Text whose first line is a word and numbers, or two counts."""
    line, end, _ = look.head.partition(b"\n")
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


# ---------------------------------------------------------------------- members of zip files, and folders


def arrays_inside(members: Collection[str]) -> bool:
    """NumPy's: arrays and nothing else."""
    return all(name.endswith(".npy") for name in members) and not arguments_inside(members)


def arguments_inside(members: Collection[str]) -> bool:
    """MXNet's, in NumPy's format: the arguments of a symbol, and what it keeps beside them."""
    return bool(members) and all(name.startswith(("arg:", "aux:")) and name.endswith(".npy") for name in members)


def pickle_inside(members: Collection[str]) -> bool:
    """PyTorch's: the pickle that names the storages."""
    return any(name == "data.pkl" or name.endswith("/data.pkl") for name in members)


def program_inside(members: Collection[str]) -> bool:
    """PyTorch's exported programs: one in JSON, in the layout of 2.8 and later, or in that before."""
    return "serialized_exported_program.json" in members or any(
        name.partition("/")[2].startswith("models/") and name.endswith(".json") for name in members
    )


def config_inside(members: Collection[str]) -> bool:
    """Keras': a configuration and weights."""
    return "config.json" in members and any(name.startswith("model.weights.") for name in members)


def shards_of_archive(folder: Path | RemoteFile) -> bool:
    """An archive in several files: its index says so."""
    if isinstance(folder, RemoteFile):
        return b'"modelarchive"' in bytes((folder / "model.safetensors.index.json").head(4096))
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return False
    try:
        with index.open("rb") as file:
            return b'"modelarchive"' in file.read(4096)
    except OSError:
        return False


def preset_inside(folder: Path) -> bool:
    """KerasHub's: a config.json, and weights as Keras names them."""
    names = ("model.weights.h5", "model.weights.json")
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in names)


def weights_inside(folder: Path) -> bool:
    """Hugging Face's: a config.json, or parameters as such folders hold them."""
    if (folder / "config.json").exists():
        return True
    # Folders of other kinds have safetensors too; what they have beside them tells.
    if any((folder / name).exists() for name in ("model_index.json", "saved_model.pb", ".metadata")):
        return False
    ends = (".safetensors", ".safetensors.index.json", "_model.bin", "_model.bin.index.json")
    return any(each.name.endswith(ends) for each in folder.iterdir())
