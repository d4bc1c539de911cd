"""GGUF files byte by byte, right ones and wrong ones, without any code that is tested."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)
_CODES = {UINT8: "B", INT8: "b", UINT16: "H", INT16: "h", UINT32: "I", INT32: "i", FLOAT32: "f", BOOL: "B",
          UINT64: "Q", INT64: "q", FLOAT64: "d"}  # fmt: skip
F32 = 0


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind: int, value: Any) -> bytes:
    return text(value) if kind == STRING else struct.pack("<" + _CODES[kind], value)


def pair(key: str | bytes, kind: int, value: Any) -> bytes:
    return text(key) + struct.pack("<I", kind) + scalar(kind, value)


def array(key: str, kind: int, values: list[Any], *, claims: int | None = None) -> bytes:
    count = len(values) if claims is None else claims
    return text(key) + struct.pack("<IIQ", ARRAY, kind, count) + b"".join(scalar(kind, each) for each in values)


def info(
    name: str | bytes, sizes: tuple[int, ...], kind: int = F32, offset: int = 0, *, rank: int | None = None
) -> bytes:
    """A tensor's; sizes as GGUF has them, the fastest first."""
    count = len(sizes) if rank is None else rank
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", count, *sizes, kind, offset)


def whole(
    pairs: list[bytes],
    infos: list[bytes],
    data: bytes = b"",
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    tensors: int | None = None,
    keys: int | None = None,
    alignment: int = 32,
) -> bytes:
    counts = (len(infos) if tensors is None else tensors, len(pairs) if keys is None else keys)
    head = magic + struct.pack("<IQQ", version, *counts) + b"".join(pairs) + b"".join(infos)
    return head + bytes(-len(head) % alignment) + data


def numbers(*shape: int) -> np.ndarray:
    return np.arange(int(np.prod(shape)), dtype="<f4").reshape(shape)


def small() -> bytes:
    """Every type of metadata, and two tensors."""
    pairs = [
        pair("general.architecture", STRING, "strange"),
        pair("a.uint8", UINT8, 255),
        pair("a.int8", INT8, -3),
        pair("a.uint16", UINT16, 65535),
        pair("a.int16", INT16, -300),
        pair("a.uint32", UINT32, 2**32 - 1),
        pair("a.int32", INT32, -7),
        pair("a.float32", FLOAT32, 0.1),
        pair("a.bool", BOOL, 1),
        pair("a.uint64", UINT64, 2**64 - 1),
        pair("a.int64", INT64, -(2**63)),
        pair("a.float64", FLOAT64, 0.1),
        pair("a.text", STRING, "Käse"),
        array("b.ints", INT32, [1, -2, 3]),
        array("b.floats", FLOAT32, [0.5, -1.5]),
        array("b.bools", BOOL, [0, 1]),
        array("b.texts", STRING, ["", "one", "zwölf"]),
        array("b.none", STRING, []),
    ]
    data = numbers(2, 3).tobytes().ljust(32, b"\0") + numbers(4).tobytes().ljust(32, b"\0")
    return whole(pairs, [info("w", (3, 2)), info("v", (4,), offset=32)], data)


def network() -> bytes:
    """A Llama of one layer, with a tokenizer of words alone."""
    words, units, wide = 6, 8, 12
    sizes = {"context_length": 16, "embedding_length": units, "block_count": 1, "feed_forward_length": wide,
             "attention.head_count": 2, "attention.head_count_kv": 1, "rope.dimension_count": 4}  # fmt: skip
    pairs = [
        pair("general.architecture", STRING, "llama"),
        *(pair(f"llama.{key}", UINT32, value) for key, value in sizes.items()),
        pair("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        array("tokenizer.ggml.tokens", STRING, [f"word{at}" for at in range(words)]),
    ]
    shapes = {
        "token_embd": (words, units), "output_norm": (units,), "blk.0.attn_norm": (units,), "blk.0.ffn_norm": (units,),
        "blk.0.attn_q": (units, units), "blk.0.attn_k": (4, units), "blk.0.attn_v": (4, units),
        "blk.0.attn_output": (units, units), "blk.0.ffn_gate": (wide, units), "blk.0.ffn_up": (wide, units),
        "blk.0.ffn_down": (units, wide), "output": (words, units),
    }  # fmt: skip
    infos, data = [], b""
    for name, shape in shapes.items():
        infos.append(info(f"{name}.weight", shape[::-1], F32, len(data)))
        data += (np.linspace(-1, 1, int(np.prod(shape)), dtype="<f4") + (len(shape) == 1)).tobytes()
        data += bytes(-len(data) % 32)
    return whole(pairs, infos, data)


def split() -> dict[str, bytes]:
    """A model in two files, by their names."""
    files = {}
    for at, name in enumerate("ab"):
        pairs = [
            pair("general.architecture", STRING, "strange"),
            pair("split.no", UINT16, at),
            pair("split.count", UINT16, 2),
            pair("split.tensors.count", INT32, 2),
        ]
        files[f"m-0000{at + 1}-of-00002.gguf"] = whole(pairs, [info(name, (4,))], numbers(4).tobytes().ljust(32, b"\0"))
    return files
