"""What comes out accounts for every byte of what went in, or says what it left: for every reader.

To whole files something is added, or taken away, that means nothing to their readers. The outcome is an error, other
content, or a note more than before; never silence.
"""

from __future__ import annotations

import io
import json
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import models
from tests.exchange.onnx import wire
from tests.hostile.readers.messages import fields_of, message_of
from tests.hostile.readers.samples import Sample, samples
from tests.hostile.views import array_view
from tests.sampling import some

#: Every sample that is read.
WHOLE = {key: each for key, each in samples().items() if each.reader != "none"}
#: A file's bytes, and where chance comes from -> with something more in it; None: it has no place for that.
Addition = Callable[[bytes, random.Random], bytes | None]
#: Additions tried with each sample: a search at random takes as long as one likes, and most of it is slow.
TRIED, MORE = range(15), range(15, 30)
#: What stands for something that nobody asked for.
STRANGE = "strange_and_unknown"


def seen(sample: Sample) -> tuple[Any, ...] | None:
    """Everything that reading a file says, notes last; None where it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = sample.put(Path(folder))
        try:
            beside = path.parent / sample.beside if sample.beside else None
            option = {} if beside is None else {"base" if beside.is_dir() else "config": beside}
            bundle = models.read(path, **option)
        except ma.ModelArchiveError:
            return None
        view = {name: array_view(array) for name, array in bundle.parameters.items()}
        notes = [str(note).replace(folder, "") for note in bundle.notes]
        tokens = {name: list(words) for name, words in bundle.tokens.items()}
        return view, bundle.architecture, bundle.metadata, tokens, notes


def with_file(sample: Sample, name: str, data: bytes) -> Sample:
    return replace(sample, files=sample.files | {name: data})


# ---------------------------------------------------------------------- what is added


def bytes_behind(data: bytes, rng: random.Random) -> bytes:
    """Bytes behind the end; not blanks and line ends, which a text may end with."""
    return data + rng.choice((b"x", b"\xff", b"{}", b"PK", b"1 2 3\n", data[:1], data[:8], rng.randbytes(40) + b"x"))


def zeros_behind(data: bytes, rng: random.Random) -> bytes:
    return data + bytes(rng.choice((1, 2, 16, 512)))


def itself_behind(data: bytes, rng: random.Random) -> bytes:
    return data * rng.choice((2, 3))


def a_member(data: bytes, rng: random.Random) -> bytes | None:
    """A member more in a zip file."""
    if not data.startswith(b"PK"):
        return None
    out = io.BytesIO(data)
    with zipfile.ZipFile(out, "a") as file:
        file.writestr(rng.choice((STRANGE, f"archive/{STRANGE}", f"assets/{STRANGE}.txt")), b"abc")
    return out.getvalue()


def a_comment(data: bytes, rng: random.Random) -> bytes | None:
    """The comment of a zip file, which stands behind all else."""
    if not data.startswith(b"PK"):
        return None
    out = io.BytesIO(data)
    with zipfile.ZipFile(out, "a") as file:
        file.comment = rng.randbytes(rng.choice((1, 40)))
    return out.getvalue()


def a_key(data: bytes, rng: random.Random) -> bytes | None:
    """A key in some object of JSON: a file of it, a safetensors header, the configuration in a .keras file."""
    if data.startswith(b"{"):
        return _keyed(data, rng)
    if data[8:9] == b"{":
        end = 8 + int.from_bytes(data[:8], "little")
        header = _keyed(data[8:end], rng)
        return struct.pack("<Q", len(header)) + header + data[end:]
    if not data.startswith(b"PK"):
        return None
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    if "config.json" not in members:
        return None
    members["config.json"] = _keyed(members["config.json"], rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def _keyed(text: bytes, rng: random.Random) -> bytes:
    value = json.loads(text)
    found: list[dict[str, Any]] = []
    pending = [value]
    while pending:
        each = pending.pop()
        pending += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        found += [each] if isinstance(each, dict) else []
    rng.choice(found)[STRANGE] = rng.choice((1, "x", [2], {"a": 1}, None))
    return json.dumps(value).encode()


def a_dataset(data: bytes, rng: random.Random) -> bytes | None:
    """An array more in an HDF5 file."""
    if not data.startswith(b"\x89HDF"):
        return None
    out = io.BytesIO(data)
    with h5py.File(out, "a") as file:
        file[rng.choice((STRANGE, f"layers/{STRANGE}/vars/0"))] = np.ones(3, "f4")
    return out.getvalue()


def a_tensor(data: bytes, rng: random.Random) -> bytes | None:
    """An array more in an ONNX model, a safetensors file or an NDArray file of MXNet."""
    if data[8:9] == b"{":
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        last = max((each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"), default=0)
        header[STRANGE] = {"dtype": "U8", "shape": [3], "data_offsets": [last, last + 3]}
        raw = json.dumps(header).encode()
        return struct.pack("<Q", len(raw)) + raw + data[end:] + b"abc"
    if not _is_onnx(data):
        return None
    model = fields_of(data)
    _graph(model).append([5, 2, wire.tensor(STRANGE, [2], bytes(8))])
    return message_of(model)


def a_field(data: bytes, rng: random.Random) -> bytes | None:
    """A field of a number that ONNX does not have, in some message."""
    if not _is_onnx(data):
        return None
    model = fields_of(data)
    messages = [model]
    for each in messages:
        # What a graph says of the results between (13) is inferred anew, and not read.
        messages += [field[2] for field in each if isinstance(field[2], list) and (each is model or field[0] != 13)]
    message = rng.choice(messages)
    message.append(rng.choice(([99, 2, b"abc"], [1000, 0, 7], [77, 5, bytes(4)])))
    return message_of(model)


def a_node(data: bytes, rng: random.Random) -> bytes | None:
    """An operator whose result nobody uses."""
    if not _is_onnx(data):
        return None
    model = fields_of(data)
    graph = _graph(model)
    inputs = [name for name in _names(graph, 11) if name not in _names(graph, 5)]
    if not inputs:
        return None
    graph.insert(0, [1, 2, wire.node("Relu", inputs[:1], [STRANGE])])
    return message_of(model)


def a_function(data: bytes, rng: random.Random) -> bytes | None:
    """A function that nobody calls."""
    if not _is_onnx(data):
        return None
    return data + wire.field(25, wire.function(STRANGE, [wire.node("Relu", ["a"], ["b"])], ["a"], ["b"]))


def _is_onnx(data: bytes) -> bool:
    return data[:1] == b"\x08" and not data.startswith(b"\x08\0\0\0")


def _graph(model: list[Any]) -> list[Any]:
    found: list[Any] = next(each[2] for each in model if each[0] == 7)
    return found


def _names(graph: list[Any], number: int) -> list[str]:
    """The names of inputs (11) or stored tensors (5)."""
    own = {11: 1, 5: 8}[number]
    return [field[2].decode() for each in graph if each[0] == number for field in each[2] if field[0] == own]


ADDITIONS: tuple[Addition, ...] = (
    *(bytes_behind, zeros_behind, itself_behind, a_member, a_comment, a_key, a_dataset),
    *(a_tensor, a_field, a_node, a_function),
)


@pytest.mark.parametrize("tried", [TRIED, pytest.param(MORE, marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("key", some(WHOLE))
def test_nothing_more_is_read_in_silence(key: str, tried: range) -> None:
    sample = WHOLE[key]
    before = seen(sample)
    silent = []
    for number in tried if before is not None else ():
        rng = random.Random(f"{key}/{number}")
        addition = rng.choice(ADDITIONS)
        name = rng.choice(sorted(sample.files))
        data = addition(sample.files[name], rng)
        if data is not None and seen(with_file(sample, name, data)) == before:
            silent.append(f"{addition.__name__} in {name}, {number}")
    assert silent == []


#: Samples of several files, and how the names of those end that hold parameters.
SETS = {
    "safetensors/model.safetensors.index.json": ".safetensors",
    "huggingface/bert": ".safetensors",
    "torch/shards": ".bin",
    "keras/shards": ".h5",
    "onnx/outside": "data",
    "onnx/torch-text.onnx": ".data",
    "mxnet/convolutions-symbol.json": ".params",
}


@pytest.mark.parametrize("key", SETS)
def test_a_set_that_lacks_a_file_is_refused(key: str) -> None:
    sample = WHOLE[key]
    assert seen(sample) is not None
    for name in sample.files:
        if name.endswith(SETS[key]):
            files = {other: data for other, data in sample.files.items() if other != name}
            assert seen(replace(sample, files=files)) is None, name


@pytest.mark.parametrize("key", [key for key in SETS if "onnx" not in key and "mxnet" not in key])
def test_a_piece_of_a_set_is_told_to_be_one(key: str) -> None:
    """Its index lies beside it; where its name tells, also alone."""
    sample = WHOLE[key]
    for name, data in sample.files.items():
        if name.endswith(SETS[key]):
            alone = [{name: data}] if "-of-" in name else []
            for files in (sample.files, *alone):
                found = seen(replace(sample, path=name, files=files))
                assert found is None or any("part" in note or "one of" in note for note in found[-1]), (name, found)
