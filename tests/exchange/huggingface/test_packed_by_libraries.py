"""Folders that hqq, torchao and auto-round packed, beside what these libraries make of them again."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import modelarchive as ma
from modelarchive.exchange import huggingface
from modelarchive.exchange.huggingface import dequantising
from tests.exchange.huggingface.test_reading import FOREIGN

PACKED = FOREIGN / "quantised"
NAMES = sorted(each.name for each in PACKED.iterdir() if each.is_dir())


def meant(name):
    """What the library makes of each matrix, by our names."""
    with np.load(PACKED / name / "meant.npz") as found:
        return {key.replace(".o_proj.", ".out_proj."): found[key] for key in found.files}


def copied(name, tmp_path, **arrays):
    """A copy of a folder with other arrays in the place of some; None: without it."""
    folder = shutil.copytree(PACKED / name, tmp_path / name)
    found = {**load_file(folder / "model.safetensors"), **arrays}
    save_file({key: each for key, each in found.items() if each is not None}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_what_the_library_makes_of_them(name, tmp_path):
    bundle = huggingface.read(PACKED / name)
    for key, wanted in meant(name).items():
        np.testing.assert_array_equal(bundle.parameters[key].astype(np.float32), wanted, key)
    notes = [note.what for note in bundle.notes if note.where == "quantization_config"]
    assert notes[0].startswith("7 weights of")
    assert any("rounds the inputs" in each for each in notes) == (name == "torchao")
    net = bundle.build()
    assert np.isfinite(net(np.array([[1, 2, 3]]))).all()
    ma.convert(PACKED / name, tmp_path / "x.h5", durable=False)
    ma.convert(tmp_path / "x.h5", f"{tmp_path / 'back'}/", durable=False)
    again = huggingface.read(tmp_path / "back")
    assert not [note for note in again.notes if "quanti" in note.where]
    assert all(np.array_equal(again.parameters[key], each) for key, each in bundle.parameters.items())


def test_what_was_packed_was_counted():
    assert set(NAMES) == {"hqq", "torchao", "auto_round-auto_gptq", "auto_round-gptqmodel"}


_LAYER = "model.layers.0.self_attn.q_proj."


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("hqq", {"packing": np.frombuffer(b"5bit_u8", np.uint8)}, "packing is '5bit_u8', expected 8bit_u8"),
        ("hqq", {"packing": np.zeros(65, np.uint8)}, "packing has 65 elements, expected at most 64"),
        ("hqq", {"shape": np.array([32, 2**31], np.int64)}, r"shape is \(32, 2147483648\)"),
        ("hqq", {"shape": np.array([64, 32], np.int64)}, "W_q has 64 rows of 16 in 8bit_u8, which hold no"),
        ("hqq", {"scale": None}, "has no scale"),
        ("hqq", {"zero": np.zeros((3, 1), np.float32)}, "zero has the shape .3, 1., expected one for each row"),
        ("hqq", {"quant_zero": np.ones((), np.uint8)}, "zeros that are quantised themselves"),
        ("hqq", {"compute_dtype": np.frombuffer(b"__import__('os')", np.uint8)}, 'compute_dtype is "__import__'),
        ("hqq", {"W_q": np.zeros((64, 16), np.int32)}, "W_q is int32, expected uint8"),
        ("auto_round-auto_gptq", {"qzeros": np.zeros((2, 5), np.int32)}, "qzeros has the shape .2, 5., and scales"),
    ],
)
def test_parts_that_do_not_belong_together(name, arrays, message, tmp_path):
    folder = copied(name, tmp_path, **{_LAYER + part: array for part, array in arrays.items()})
    with pytest.raises(ma.ConversionError, match=message) as caught:
        huggingface.read(folder)
    assert "self_attn.q_proj" in str(caught.value)
    assert ma.convert(folder, tmp_path / "x.h5", parameters_only=True, durable=False)


def test_classes_of_torchao_are_told_by_the_metadata(tmp_path):
    folder = shutil.copytree(PACKED / "torchao", tmp_path / "x")
    file = folder / "model.safetensors"
    data = file.read_bytes()
    assert data.count(b"IntxUnpackedToInt8Tensor")
    file.write_bytes(data.replace(b"IntxUnpackedToInt8Tensor", b"Int4TilePackedTo4dTensor"))
    with pytest.raises(ma.ConversionError, match="is 'Int4TilePackedTo4dTensor' in the metadata of the file, expected"):
        huggingface.read(folder)


def quanto(tmp_path, packed, bias=True):
    """A folder as quanto writes it: which layers are packed stands in a file of its own."""
    folder = shutil.copytree(FOREIGN / "qwen2", tmp_path / "x")
    arrays = dict(huggingface.read(folder, parameters_only=True).parameters)
    arrays = {key: np.array(each).astype(np.float16) for key, each in arrays.items()}
    layer = "model.layers.0.self_attn.q_proj"
    del arrays[f"{layer}.weight"]
    if not bias:
        del arrays[f"{layer}.bias"]
    kind, parts = packed
    arrays |= {f"{layer}.{part}": each for part, each in parts.items()}
    arrays |= {f"{layer}.{part}_scale": np.ones((), np.float16) for part in ("input", "output")}
    save_file(arrays, folder / "model.safetensors")
    (folder / "quanto_qmap.json").write_text(json.dumps({layer: {"weights": kind, "activations": "none"}}))
    return folder


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_quanto(bits, tmp_path):
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2**bits, (8, 8))  # a row is a group
    scale, shift = rng.random((8, 1)).astype(np.float16), rng.random((8, 1)).astype(np.float16)
    if bits == 8:
        parts = {"weight._data": (numbers - 128).astype(np.int8), "weight._scale": scale}
        wanted = (numbers - 128).astype(np.float16) * scale
    else:
        rows = 8 * bits // 8
        data = np.zeros((rows, 8), np.uint8)
        for row in range(8):
            data[row % rows] |= (numbers[row] << (bits * (row // rows))).astype(np.uint8)
        parts = {"weight._data._data": data, "weight._scale": scale, "weight._shift": shift}
        wanted = numbers.astype(np.float16) * scale - shift
    bundle = huggingface.read(quanto(tmp_path, (f"qint{bits}", parts)))
    found = bundle.parameters["model.layers.0.self_attn.q_proj.weight"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, wanted)
    assert "model.layers.0.self_attn.q_proj.bias" in bundle.parameters
    assert "1 weights of quanto" in str(bundle.notes)
    assert "quanto_qmap" not in str([note for note in bundle.notes if note.where == "(files)"])


def test_parts_of_quanto_that_do_not_belong_together(tmp_path):
    short = {"weight._data": np.zeros((8, 8), np.int8), "weight._scale": np.ones((3, 1), np.float16)}
    with pytest.raises(ma.ConversionError, match=r"weight\._scale has the shape .3, 1., and the weight"):
        huggingface.read(quanto(tmp_path / "a", ("qint8", short)))
    groups = {"weight._data._data": np.zeros((1, 32), np.uint8), "weight._scale": np.ones((2, 1), np.float16),
              "weight._shift": np.ones((2, 1), np.float16)}  # fmt: skip
    with pytest.raises(ma.ConversionError, match="is in groups, and the files do not say"):
        huggingface.read(quanto(tmp_path / "b", ("qint4", groups), bias=False))
    with pytest.raises(ma.ConversionError, match=r"is packed, and quanto_qmap\.json says of it"):
        huggingface.read(quanto(tmp_path / "c", ("qint3", groups)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"packing_format": "auto_round:llm_compressor"}, "packing_format is 'auto_round:llm_compressor', expected"),
        ({"data_type": "mx_fp"}, "data_type is 'mx_fp', expected int"),
        ({"quant_method": "aqlm"}, "is 'aqlm', expected gptq"),
    ],
)
def test_what_is_not_read_is_refused_by_name(options, message, tmp_path):
    folder = copied("auto_round-auto_gptq", tmp_path)
    values = json.loads((folder / "config.json").read_text("utf-8"))
    values["quantization_config"] |= options
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(ma.ConversionError, match=message) as caught:
        huggingface.read(folder)
    assert "dequantize" in caught.value.hint


def test_names_with_an_owner_are_the_methods(tmp_path):
    folder = copied("auto_round-auto_gptq", tmp_path)
    values = json.loads((folder / "config.json").read_text("utf-8"))
    values["quantization_config"]["quant_method"] = "intel/auto-round"
    (folder / "config.json").write_text(json.dumps(values))
    assert huggingface.read(folder).architecture is not None


@pytest.mark.parametrize(("size", "words"), [(128, 1), (64, 2), (32, 4), (-1, 1)])
def test_awq_in_rows(size, words):
    rng = np.random.default_rng(0)
    outputs, inputs = 16, 256
    each = inputs if size == -1 else size
    groups = inputs // each
    numbers, zeros = rng.integers(0, 16, (outputs, inputs)), rng.integers(0, 16, (outputs, groups))
    scales = np.zeros((outputs, 8 * words), np.float16)
    scales[:, :groups] = rng.random((outputs, groups)).astype(np.float16)

    def packed(array, count):
        found = np.zeros((outputs, count), np.uint32)
        for row, place in np.ndindex(array.shape):  # number by number, as awq's own loop does
            found[row, place // 8] |= np.uint32(array[row, place]) << np.uint32(4 * (place % 8))
        return found.view(np.int32)

    found = dequantising.awq_in_rows(packed(numbers, inputs // 8), packed(zeros, words), scales, each)
    place = np.arange(inputs) // each
    wanted = (numbers - zeros[:, place]).astype(np.float16) * scales[:, place]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, wanted)
