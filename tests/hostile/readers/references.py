"""What other programs read of the same files: json and NumPy, NumPy itself, onnx, h5py, PyTorch, or a few lines here.

Each gives every array that a file holds, by the names that the file has for them; any error is a refusal.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import ml_dtypes
import numpy as np

from tests.hostile.views import CODES, View, array_view

#: So begin names of arrays that are parameters by one reading and settings by another.
MAYBE: Final = "maybe "


def arrays_of(arrays: Mapping[str, np.ndarray]) -> View:
    return {name: array_view(array) for name, array in arrays.items()}


def by_safetensors(path: Path) -> View:
    """The header as JSON, and runs of bytes; of an index the arrays that it names."""
    if path.suffix == ".json":
        where = json.loads(path.read_bytes())["weight_map"]
        shards = {name: by_safetensors(path.parent / name) for name in set(where.values())}
        return {name: shards[shard][name] for name, shard in where.items()}
    data = path.read_bytes()
    start = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    view = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        dtype = _MORE.get(entry["dtype"]) or np.dtype(CODES[entry["dtype"]]).newbyteorder("<")
        view[name] = array_view(np.frombuffer(data[start + begin : start + end], dtype).reshape(entry["shape"]))
    return view


def by_folder(path: Path) -> View:
    """The safetensors files of a Hugging Face folder."""
    index = path / "model.safetensors.index.json"
    return by_safetensors(index if index.exists() else path / "model.safetensors")


_MORE: Final = {
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "C64": np.dtype(np.complex64),
}


def by_numpy(path: Path) -> View:
    """np.load without pickle; raw bytes of two and of one count as integers, as they do here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = io.BytesIO(path.read_bytes())
        found = np.load(data, allow_pickle=False)
        arrays = {"array": found} if isinstance(found, np.ndarray) else dict(found.items())
    raw = {"V1": "u1", "V2": "u2"}
    return arrays_of({name: each.view(raw.get(each.dtype.str[1:], each.dtype)) for name, each in arrays.items()})


def by_lines(path: Path) -> View:
    """Word vectors: blanks and tabs between a word and its numbers, two counts in front or none."""
    data = path.read_bytes()
    head, _, rest = data.partition(b"\n")
    counts = head.split()
    is_counted = len(counts) == 2 and all(each.isdigit() for each in counts)
    lines = [line for line in (rest if is_counted else data).split(b"\n") if line.strip()]
    width = int(counts[1]) if is_counted else len(_numbers_behind(lines[0]))
    numbers = [_numbers_behind(line)[-width:] for line in lines]
    is_text = all(len(row) == width for row in numbers) and len(lines) == (int(counts[0]) if is_counted else len(lines))
    if is_counted and not is_text:
        return {"weight": array_view(_binary(rest, int(counts[0]), width))}
    with np.errstate(over="ignore"):
        return {"weight": array_view(np.stack([np.array(row, np.float32) for row in numbers]))}


def _numbers_behind(line: bytes) -> list[float]:
    found: list[float] = []
    for part in reversed(re.split(rb"[ \t]+", line.rstrip(b" \t\r\n"))[1:]):
        try:
            found.insert(0, float(part))
        except ValueError:
            break
    return found


def _binary(data: bytes, count: int, width: int) -> np.ndarray:
    """The vectors of word2vec's binary form."""
    if not 0 < count * width * 4 <= len(data):
        raise ValueError("not so many bytes")
    rows = np.zeros((count, width), "<f4")
    at = 0
    for row in range(count):
        space = data.find(b" ", at)
        if space < 0 or space + 1 + 4 * width > len(data):
            raise ValueError("ends too early")
        rows[row] = np.frombuffer(data, "<f4", width, space + 1)
        at = space + 1 + 4 * width
    if data[at:].strip(b"\n"):
        raise ValueError("more behind its end")
    return rows


def by_onnx(path: Path) -> View:
    """Initialisers and constants as the onnx package reads them, of all graphs and functions."""
    import onnx

    model = onnx.load(str(path))
    tensors: dict[str, Any] = {}
    for at, graph in enumerate(_graphs(model)):
        tensors |= {f"{at}/{each.name}": each for each in getattr(graph, "initializer", ())}
        for number, node in enumerate(graph.node):
            for each in node.attribute:
                if each.HasField("t"):
                    tensors[f"{MAYBE}{at}/{number}/{each.name}"] = each.t
                if each.floats:
                    tensors[f"{MAYBE}{at}/{number}/{each.name}"] = onnx.numpy_helper.from_array(
                        np.array(each.floats, np.float32)
                    )
    # Strings and sparse arrays are left out here with a note, too.
    kept = {name: each for name, each in tensors.items() if each.data_type != onnx.TensorProto.STRING}
    return arrays_of({name: onnx.numpy_helper.to_array(each, str(path.parent)) for name, each in kept.items()})


def _graphs(model: Any) -> Iterator[Any]:
    pending = [model.graph, *model.functions]
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            for each in node.attribute:
                pending += [each.g] if each.HasField("g") else []
                pending += each.graphs


def by_h5py(path: Path) -> View:
    """Every array of numbers in an HDF5 file, or in the one inside a .keras file."""
    import h5py

    data = path.read_bytes()
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read("model.weights.h5")
    view: View = {}

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "biufcV":
            array = np.zeros(item.shape, item.dtype)
            if array.size:
                item.read_direct(array)
            view[name] = array_view(array)

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(look)
    return view


def by_torch(path: Path) -> View:
    """Every tensor that PyTorch's weights-only loader finds, inside dicts and lists."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = torch.load(path, map_location="cpu", weights_only=True)
    view: View = {}
    pending: list[tuple[str, Any]] = [("", value)]
    for _ in range(100_000):
        if not pending:
            break
        name, value = pending.pop()
        if isinstance(value, torch.Tensor):
            plain = value.detach().contiguous()
            if plain.is_conj() or plain.is_neg():
                plain = plain.resolve_conj().resolve_neg()
            raw = plain.reshape(-1).view(torch.uint8).numpy() if plain.numel() else np.zeros(0, np.uint8)
            kind = str(plain.dtype).removeprefix("torch.")
            view[name] = array_view(raw.view(getattr(ml_dtypes, kind, kind)).reshape(tuple(plain.shape)))
        elif isinstance(value, Mapping):
            pending += [(f"{name}.{key}" if name else str(key), each) for key, each in value.items()]
        elif isinstance(value, list | tuple):
            pending += [(f"{name}.{at}" if name else str(at), each) for at, each in enumerate(value)]
    return view


def by_struct(path: Path) -> View:
    """The dense arrays of an NDArray file of MXNet; of a symbol those of the parameters beside it."""
    if path.read_bytes()[:1].isspace() or path.read_bytes()[:1] == b"{":
        if b'"RNN"' in path.read_bytes():
            raise ValueError("one array that several parameters lie in")
        path = path.with_name(path.name.removesuffix("symbol.json") + "0000.params")
    data = path.read_bytes()
    magic, _, count = struct.unpack_from("<QQQ", data)
    if magic != 0x112:
        raise ValueError("no NDArray file")
    at, arrays = 24, []
    for _ in range(count):
        start, kind = struct.unpack_from("<Ii", data, at)
        if start not in (0xF993FAC9, 0xF993FACA) or kind != 0:
            raise ValueError("sparse, or older")
        (axes,) = struct.unpack_from("<i", data, at + 8)
        shape = struct.unpack_from(f"<{axes}q", data, at + 12)
        at += 12 + 8 * axes
        if axes == (0 if start == 0xF993FAC9 else -1):
            arrays.append(None)
            continue
        (code,) = struct.unpack_from("<i", data, at + 8)
        dtype = np.dtype(_MXNET[code])
        nbytes = dtype.itemsize * int(np.prod(shape, dtype=object))
        if at + 12 + nbytes > len(data):
            raise ValueError("ends too early")
        arrays.append(np.frombuffer(data[at + 12 : at + 12 + nbytes], dtype).reshape(shape))
        at += 12 + nbytes
    (number,) = struct.unpack_from("<Q", data, at)
    at, names = at + 8, []
    for _ in range(number):
        (length,) = struct.unpack_from("<Q", data, at)
        names.append(data[at + 8 : at + 8 + length].decode())
        at += 8 + length
    if at != len(data):
        raise ValueError("more behind its end")
    named = zip(names or map(str, range(count)), arrays, strict=True)
    return arrays_of({name: array for name, array in named if array is not None})


def by_gguf(path: Path) -> View:
    """The package of llama.cpp; a model in several files is read file by file."""
    import gguf

    found = re.fullmatch(r"(.*)-\d{5}-of-(\d{5})\.gguf", path.name)
    several = [path]
    if found and int(found[2]) < 10:
        several = [path.with_name(f"{found[1]}-{at:05}-of-{found[2]}.gguf") for at in range(1, int(found[2]) + 1)]
    view: View = {}
    with np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
        for each in several:
            for tensor in gguf.GGUFReader(each).tensors:
                view[tensor.name] = array_view(_numbers(gguf, tensor))
    return view


def _numbers(package: Any, tensor: Any) -> np.ndarray:
    """As they are stored, or what blocks mean; the package keeps bfloat16 as bytes."""
    shape = tuple(map(int, tensor.shape[::-1]))
    name = tensor.tensor_type.name
    if name == "BF16":
        return np.frombuffer(tensor.data.tobytes(), ml_dtypes.bfloat16).reshape(shape)
    if tensor.data.dtype != np.uint8:
        return np.asarray(tensor.data).reshape(shape)
    return np.asarray(package.quants.dequantize(tensor.data, tensor.tensor_type)).reshape(shape)


_MXNET: Final = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8", "?", "<i2", "<u2", "<u4", "<u8", ml_dtypes.bfloat16)


class Reference(NamedTuple):
    """How a format is read elsewhere.

    Attributes:
        read: A file as another program sees it.
        is_apart: Whether that takes a process of its own, for it may crash or hang.
        is_named: Whether arrays keep the names that they have in the file.
        needs: The package that it is done with.
    """

    read: Callable[[Path], View]
    is_apart: bool
    is_named: bool
    needs: str = "numpy"


#: Format -> another program that reads it.
REFERENCES: Final = {
    "safetensors": Reference(by_safetensors, is_apart=False, is_named=True),
    "numpy": Reference(by_numpy, is_apart=False, is_named=True),
    "vectors": Reference(by_lines, is_apart=False, is_named=True),
    "huggingface": Reference(by_folder, is_apart=False, is_named=True),
    "mxnet": Reference(by_struct, is_apart=False, is_named=False),
    "onnx": Reference(by_onnx, is_apart=True, is_named=False, needs="onnx"),
    "keras": Reference(by_h5py, is_apart=True, is_named=False, needs="h5py"),
    "torch": Reference(by_torch, is_apart=True, is_named=False, needs="torch"),
    "gguf": Reference(by_gguf, is_apart=True, is_named=False, needs="gguf"),
}


def prepare() -> None:
    """Import what a process that is made for one reading would import each time."""
    for reference in REFERENCES.values():
        with contextlib.suppress(ImportError):
            importlib.import_module(reference.needs)


def disagreement(ours: View, theirs: View, *, is_named: bool, is_noted: bool) -> str:
    """Where two readers see other arrays; "" where they see the same.

    Args:
        ours: What modelarchive shows.
        theirs: What the other program shows.
        is_named: Whether both call them alike.
        is_noted: Whether a note says that something was left out.
    """
    if is_named:
        names = [name for name in ours if ours[name] != theirs.get(name)]
        names += [] if is_noted else [name for name in theirs if name not in ours]
        return f"{names[0]!r}: {ours.get(names[0])} and {theirs.get(names[0])}" if names else ""
    # By shape and bits: not every program has a word for every dtype.
    there, here = ({each[1:] for each in view.values()} for view in (theirs, ours))
    if alone := [name for name in ours if ours[name][1:] not in there]:
        return f"{alone[0]!r}: {ours[alone[0]]} is in nothing that the other program reads"
    left = [name for name in theirs if theirs[name][1:] not in here and not name.startswith(MAYBE) and not is_noted]
    return f"{left[0]!r}: {theirs[left[0]]} was left out without a word" if left else ""
