"""Files of torch.save as attackers make them: any pickle, in either format, beside any storages."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping

#: What begins every pickle here, and names in it.
PROTOCOL = b"\x80\x04"
FLOATS = b"ctorch\nFloatStorage\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
MAGIC = 0x1950A86A20F9469CFC6C


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = value.to_bytes(max(1, (value.bit_length() + 8) // 8), "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def several(*values: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(values) + b"t"


def storage(count: int = 4, key: str = "0", kind: bytes = FLOATS, *, of_stream: bool = False) -> bytes:
    more = [b"N"] if of_stream else []
    return several(text("storage"), kind, text(key), text("cpu"), number(count), *more) + b"Q"


def tensor(
    shape: bytes = several(number(4)),
    strides: bytes = several(number(1)),
    offset: bytes = b"K\x00",
    of: bytes | None = None,
) -> bytes:
    return REBUILD + several(of or storage(), offset, shape, strides, b"\x89", b"}") + b"R"


def a_dict(*entries: tuple[bytes, bytes]) -> bytes:
    return b"}(" + b"".join(key + value for key, value in entries) + b"u"


def zip_file(content: bytes, storages: Mapping[str, bytes] | None = None, **members: bytes) -> bytes:
    """A zip file with this pickle, which is closed here."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x/data.pkl", PROTOCOL + content + b".")
        archive.writestr("x/version", "3\n")
        for key, data in ({"0": bytes(16)} if storages is None else storages).items():
            archive.writestr(f"x/data/{key}", data)
        for name, data in members.items():
            archive.writestr(f"x/{name}", data)
    return out.getvalue()


def stream_file(content: bytes, storages: Mapping[str, bytes] | None = None, size: int = 4) -> bytes:
    """The same as a stream of PyTorch before 1.6; elements of storages have so many bytes."""
    found = {"0": bytes(16)} if storages is None else storages
    begin = b"".join(pickle.dumps(each, 2) for each in (MAGIC, 1001, {"little_endian": True}))
    data = b"".join(struct.pack("<q", len(each) // size) + each for each in found.values())
    return begin + PROTOCOL + content + b"." + pickle.dumps([*found], 2) + data
