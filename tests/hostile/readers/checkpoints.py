"""Files of torch.save written by hand, opcode by opcode: both forms, without PyTorch."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

#: The numbers with which the older form begins (torch.serialization).
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGES = {"f4": "FloatStorage", "f8": "DoubleStorage", "i8": "LongStorage", "u1": "ByteStorage", "f2": "HalfStorage"}

#: A value as opcodes.
Code = bytes


def text(word: str) -> Code:
    """A str."""
    raw = word.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> Code:
    """An int of 32 bits, as short as pickle has it."""
    if 0 <= value < 256:
        return b"K" + bytes([value])
    return b"J" + struct.pack("<i", value)


def numbers(values: Sequence[int]) -> Code:
    """A tuple of ints."""
    return b"(" + b"".join(map(number, values)) + b"t"


def made(module: str, name: str, *arguments: Code) -> Code:
    """A call of a global."""
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def pairs(items: Mapping[str, Code], start: Code = b"}") -> Code:
    """A dict, or what else takes items."""
    return start + b"(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def listed(*items: Code) -> Code:
    """A list."""
    return b"](" + b"".join(items) + b"e"


def tensor(key: str, array: np.ndarray, *, offset: int = 0, strides: Sequence[int] | None = None,
           shape: Sequence[int] | None = None, is_old: bool = False) -> Code:  # fmt: skip
    """A tensor whose storage is an array's memory."""
    kind = f"ctorch\n{_STORAGES[array.dtype.str[1:]]}\n".encode()
    more = b"N" if is_old else b""  # no view of another storage
    storage = b"(" + text("storage") + kind + text(key) + text("cpu") + number(array.size) + more + b"tQ"
    shape = array.shape if shape is None else shape
    strides = [step // array.itemsize for step in array.strides] if strides is None else strides
    return made("torch._utils", "_rebuild_tensor_v2", storage, number(offset), numbers(shape), numbers(strides),
                b"\x89", made("collections", "OrderedDict"))  # fmt: skip


def parameter(code: Code) -> Code:
    """An nn.Parameter."""
    return made("torch._utils", "_rebuild_parameter", code, b"\x88", made("collections", "OrderedDict"))


def zipped(value: Code, storages: Mapping[str, np.ndarray], folder: str = "archive") -> bytes:
    """A file as torch.save has written it since 1.6."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        file.writestr(zipfile.ZipInfo(f"{folder}/data.pkl"), b"\x80\x02" + value + b".")
        file.writestr(zipfile.ZipInfo(f"{folder}/byteorder"), b"little")
        for key, array in storages.items():
            file.writestr(zipfile.ZipInfo(f"{folder}/data/{key}"), array.tobytes())
        file.writestr(zipfile.ZipInfo(f"{folder}/version"), b"3\n")
    return out.getvalue()


def streamed(value: Code, storages: Mapping[str, np.ndarray]) -> bytes:
    """A file as torch.save wrote it before 1.6."""
    system = {"protocol_version": PROTOCOL, "little_endian": True,
              "type_sizes": {"short": 2, "int": 4, "long": 4}}  # fmt: skip
    heads = [pickle.dumps(each, protocol=2) for each in (MAGIC, PROTOCOL, system)]
    keys = pickle.dumps(list(storages), protocol=2)
    stored = [struct.pack("<q", array.size) + array.tobytes() for array in storages.values()]
    return b"".join([*heads, b"\x80\x02" + value + b".", keys, *stored])


def several(*, is_old: bool = False) -> tuple[Code, dict[str, np.ndarray]]:
    """A checkpoint: tensors that share, a view, a parameter, an optimizer, numbers and text beside them."""
    arrays = {"0": np.arange(12, dtype="<f4").reshape(3, 4), "1": np.arange(3, dtype="<i8"), "2": np.zeros(0, "<f8")}
    weight = tensor("0", arrays["0"], is_old=is_old)
    state = {
        "a.weight": weight,
        "a.turned": tensor("0", arrays["0"], shape=(4, 3), strides=(1, 4), is_old=is_old),
        "a.row": parameter(tensor("0", arrays["0"], shape=(4,), strides=(1,), offset=4, is_old=is_old)),
        "b.count": tensor("1", arrays["1"], is_old=is_old),
        "b.none": tensor("2", arrays["2"], is_old=is_old),
    }
    moments = b"}" + number(0) + pairs({"exp_avg": weight, "step": number(7)}) + b"s"
    value = {
        "state_dict": pairs(state, made("collections", "OrderedDict")),
        "optimizer": pairs({"state": moments, "param_groups": listed(pairs({"lr": b"G" + struct.pack(">d", 0.1)}))}),
        "epoch": number(300),
        "name": text("net"),
    }
    return pairs(value), arrays


def state_dict(*, is_old: bool = False) -> tuple[Code, dict[str, np.ndarray]]:
    """Tensors by name and nothing else."""
    arrays = {"0": np.linspace(-1, 1, 6, dtype="<f4").reshape(2, 3), "1": np.arange(2, dtype="<f2")}
    found = {"weight": tensor("0", arrays["0"], is_old=is_old), "bias": tensor("1", arrays["1"], is_old=is_old)}
    return pairs(found, made("collections", "OrderedDict")), arrays
