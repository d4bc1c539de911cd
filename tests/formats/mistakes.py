"""One thing of each kind that people hand over by mistake, made by hand: builders by the keys of the tables."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save, save_file

from tests import ROOT

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 548105171\n"
PAGE = "\n<!DOCTYPE html>\n<html><head><title>Log in</title></head><body>...</body></html>\n"
ARRAYS = {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.ones(4, np.float32)}


def _zip(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, b"content")
    return out.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        member = tarfile.TarInfo("model.pt")
        member.size = 4
        file.addfile(member, io.BytesIO(b"abcd"))
    return out.getvalue()


def _message(number: int, content: bytes) -> bytes:
    """A field of Protocol Buffers that has a length."""
    tag, length = number << 3 | 2, len(content)
    return _varint(tag) + _varint(length) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _named_pickle(module: bytes) -> bytes:
    body = b"\x8c" + bytes([len(module)]) + module + b"\x8c\x05Model\x93)R."
    return b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body


_NODE = _message(1, _message(1, b"input") + _message(2, b"Placeholder"))
_CORE_ML = b"\x08\x05" + _message(2, _message(1, b"an input")) + _message(502, b"program")
_SAVED_MODEL = b"\x08\x01" + _message(2, _message(1, b"meta") + _message(2, _NODE * 8))
_WHOLE = save(ARRAYS)
_PIECES = save(ARRAYS, {"DCP_SHARDING_INFO": json.dumps({"w": {"saved_offsets": [3, 0]}}), "format": "pt"})


def _hdf5() -> bytes:
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for name, array in ARRAYS.items():
            file[name] = array
        file["large"] = np.zeros(10_000)
    return out.getvalue()


#: Key of a file's mistake -> its name where that matters (None: any), and its bytes.
FILES: dict[str, tuple[str | None, Callable[[], bytes]]] = {
    "empty": (None, lambda: b""),
    "lfs": (None, POINTER.encode),
    "ggml": (None, lambda: b"tjgg\3\0\0\0" + bytes(16)),
    "tflite": (None, lambda: b"\x1c\0\0\0TFL3" + bytes(100)),
    "ort": (None, lambda: b"\x24\0\0\0ORTM" + bytes(100)),
    "packed": (None, lambda: gzip.compress(b"something")),
    "tar": (None, _tar),
    "matlab": (None, lambda: b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(128) + bytes(400)),
    "page": (None, PAGE.encode),
    "openvino": (None, lambda: b'<?xml version="1.0"?>\n<net name="x" version="11"><layers/></net>'),
    "xml": (None, lambda: b'\xef\xbb\xbf<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
    "diffusers-index": (None, lambda: b'{"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30"}'),
    "adapter-config": (None, lambda: b'{"peft_type": "LORA", "r": 8}'),
    "tensorflowjs": (None, lambda: b'{"format": "layers-model", "weightsManifest": []}'),
    "huggingface-config": (None, lambda: b'{"model_type": "gpt2", "n_layer": 2}'),
    "keras-config": (None, lambda: b'{"class_name": "Sequential", "config": {}}'),
    "json": (None, lambda: json.dumps({"a": list(range(100))}).encode()),
    "sklearn": (None, lambda: _named_pickle(b"sklearn.linear_model")),
    "pickled-tensors": (None, lambda: _named_pickle(b"torch._utils")),
    "pickle": (None, lambda: pickle.dumps({"a": np.arange(30)})),
    "deflated": (None, lambda: zlib.compress(pickle.dumps([1, 2, 3]))),
    "cut-zip": (None, lambda: _npz(**ARRAYS)[:-80]),
    "distcp": ("__0_0.distcp", lambda: _zip("archive/data.pkl", "archive/data/0") * 2),
    "streams": (None, lambda: _npz(a=np.ones(3)) + _npz(b=np.zeros(2))),
    "torchscript": (None, lambda: _zip("net/data.pkl", "net/constants.pkl", "net/code/__torch__.py")),
    "aotinductor": (None, lambda: _zip("net/archive_format", "net/data/aotinductor/model/model.so")),
    "zipped": (None, lambda: _zip("net.mlpackage/Manifest.json", "net.mlpackage/Data/model.mlmodel")),
    "zip": (None, lambda: _zip("notes.doc")),
    "pieces": (None, lambda: _PIECES),
    "cut-safetensors": (None, lambda: _WHOLE[:-20]),
    "cut-hdf5": (None, lambda: _hdf5()[:60_000]),
    "savedmodel-graph": (None, lambda: _SAVED_MODEL),
    "coreml": (None, lambda: _CORE_ML),
    "cut-onnx": (None, lambda: (b"\x08\x08" + _message(2, b"pytorch") + _message(7, bytes(5000)))[:-100]),
    "tensorflow-graph": (None, lambda: _NODE * 3),
    "tensorflow-index": (None, lambda: bytes(100) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"),
    "msgpack": ("flax_model.msgpack", lambda: b"\x81\xa6params\x81\xa1w\xc4\x04abcd" + bytes(20)),
    "text": (None, lambda: b"learning_rate: 0.1\nlayers: [1, 2]\n"),
}


def file(key: str, folder: Path, name: str = "thing.h5") -> Path:
    """A file that is such a mistake."""
    own, content = FILES[key]
    path = folder / (own or name)
    path.write_bytes(content())
    return path


def _folder(folder: Path, texts: dict[str, str | bytes], **arrays: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    for name, several in arrays.items():
        save_file(several, folder / f"{name}.safetensors")
    return folder


_ARCHIVE = ROOT / "tests" / "data" / "format-1" / "compressed.h5"
#: Key of a folder's mistake -> what is in it, and its files of parameters.
FOLDERS: dict[str, tuple[dict[str, str | bytes], dict[str, dict[str, np.ndarray]]]] = {
    "savedmodel": ({"saved_model.pb": "x", "variables/variables.index": "x"}, {}),
    "diffusers": ({"model_index.json": "{}", "unet/config.json": '{"_class_name": "UNet2DConditionModel"}'}, {}),
    "checkpoint": ({".metadata": "x", "__0_0.distcp": "x"}, {}),
    "mlpackage": ({"Manifest.json": "{}", "Data/com.apple.CoreML/model.mlmodel": "x"}, {}),
    "tensorflowjs-folder": ({"model.json": "{}", "group1-shard1of1.bin": "x"}, {}),
    "tensorflow-checkpoint": ({"checkpoint": "x", "model.ckpt.index": "x"}, {}),
    "deepspeed": ({"zero_to_fp32.py": "x", "latest": "x"}, {}),
    "orbax": ({"_METADATA": "{}", "manifest.ocdbt": "x"}, {}),
    "run": ({"step-00000100.h5": "x", "step-00000900.h5": "x", "step-00001000.h5": "x"}, {}),
    "weights": ({"README.md": "x", "model.onnx": "x"}, {}),
    "archives": ({"a.h5": b"", "net.h5": _ARCHIVE.read_bytes(), "weights.npz": "x"}, {}),
    "models": ({"README.md": "x", "bert/config.json": "{}", "notes/a.txt": "x", "run/step-00000100.h5": "x"}, {}),
    "folder": ({"README.md": "x", "notes/a.txt": "x"}, {}),
}


def folder(key: str, inside: Path) -> Path:
    """A folder that is such a mistake."""
    texts, arrays = FOLDERS[key]
    return _folder(inside / "thing", texts, **arrays)
