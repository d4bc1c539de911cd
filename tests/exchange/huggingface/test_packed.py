"""Packed weights that are no such: parts that do not belong together, and methods that are not read."""

from __future__ import annotations

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import modelarchive as ma
from modelarchive.dtypes import DENSE
from modelarchive.exchange import huggingface
from modelarchive.exchange.huggingface.quantised import plain
from modelarchive.store.deferred import Deferred
from tests.exchange.huggingface.test_quantised import quantised, said, saved
from tests.zoo.conftest import transformers

__all__ = ["transformers"]  # the fixture


def four_bits(count=64, shape=(8, 8), **more):
    """A layer of bitsandbytes, well-formed."""
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": list(shape)} | more
    return {
        "weight": np.zeros((count // 2, 1), np.uint8), "weight.absmax": np.ones(1, np.float32),
        "weight.quant_map": np.zeros(16, np.float32),
        "weight.quant_state.bitsandbytes__nf4": np.frombuffer(json.dumps(state).encode(), np.uint8),
    }  # fmt: skip


_WORDS = {"qweight": np.zeros((8, 16), np.int32), "qzeros": np.zeros((4, 2), np.int32),
          "scales": np.ones((4, 16), np.float16), "g_idx": np.zeros(64, np.int32)}  # fmt: skip
_PACKED = {"weight_packed": np.zeros((8, 2), np.int32), "weight_shape": np.array([8, 16]),
           "weight_scale": np.ones((8, 1), np.float16)}  # fmt: skip
_GROUPS = {"config_groups": {"x": {"weights": {"num_bits": 4}}}}
BAD = {
    "no scales": ("gptq", {"bits": 4}, {"qweight": _WORDS["qweight"]}, "has no scales"),
    "zeros of another shape": ("gptq", {"bits": 4}, _WORDS | {"qzeros": np.zeros((4, 3), np.int32)},
                               "qzeros has the shape"),
    "words of floats": ("gptq", {"bits": 4}, _WORDS | {"qweight": np.zeros((8, 16), np.float32)},
                        "is float32, expected int32"),
    "a short order": ("gptq", {"bits": 4}, _WORDS | {"g_idx": np.zeros(3, np.int32)}, "g_idx has the shape"),
    "AWQ's outputs": ("awq", {}, _WORDS | {"scales": np.ones((4, 15), np.float16)}, "multiple of 8"),
    "AWQ's groups": ("awq", {}, {"qweight": np.zeros((7, 2), np.int32), "qzeros": np.zeros((4, 2), np.int32),
                                 "scales": np.ones((4, 16), np.float16)}, "7 inputs"),
    "a huge shape": ("bitsandbytes", {}, four_bits(shape=(2**30, 2**30)), "expected half of"),
    "a negative shape": ("bitsandbytes", {}, four_bits(shape=(-8, -8)), "has the shape"),
    "blocks of nothing": ("bitsandbytes", {}, four_bits(blocksize=0), "has blocks of"),
    "another dtype": ("bitsandbytes", {}, four_bits(dtype="int8"), "has the dtype"),
    "no JSON": ("bitsandbytes", {}, four_bits() | {"weight.quant_state.bitsandbytes__nf4": np.full(9, 255, np.uint8)},
                "is no JSON"),
    "a long state": ("bitsandbytes", {}, four_bits(x="a" * 5000), "at most 4,096"),
    "two states": ("bitsandbytes", {}, four_bits() | {"weight.quant_state.bitsandbytes__fp4": np.zeros(1, np.uint8)},
                   "expected one"),
    "rows of another number": ("bitsandbytes", {}, {"weight": np.zeros((4, 4), np.int8), "SCB": np.ones(3, np.float32)},
                               "SCB has the shape"),
    "a kernel's layout": ("bitsandbytes", {}, {"weight": np.zeros((4, 4), np.int8), "SCB": np.ones(4, np.float32),
                                               "weight_format": np.array(1, np.uint8)}, "weight_format"),
    "a shape that does not fit": ("compressed-tensors", _GROUPS, _PACKED | {"weight_shape": np.array([8, 2**40])},
                                  "weight_packed has the shape"),
    "a shape below zero": ("compressed-tensors", _GROUPS, _PACKED | {"weight_shape": np.array([8, -16])},
                           "weight_packed has the shape"),
    "unknown bits": ("compressed-tensors", {}, _PACKED, "of no bits"),
    "scales that do not divide": ("compressed-tensors", _GROUPS,
                                  _PACKED | {"weight_scale": np.ones((8, 3), np.float16)}, "does not divide"),
    "scales of other rows": ("compressed-tensors", _GROUPS, _PACKED | {"weight_scale": np.ones((5, 3), np.float16)},
                             "weight_scale has the shape"),
    "scales of no group": ("compressed-tensors", _GROUPS, _PACKED | {"weight_scale": np.ones((8, 0), np.float16)},
                           "of no elements"),
    "no blocks across": ("compressed-tensors", {}, {"weight": np.zeros((2, 8), np.int8),
                                                    "weight_scale": np.ones((2, 0), np.float16)}, "of no elements"),
    "no outputs": ("gptq", {"bits": 4}, {"qweight": np.zeros((4, 0), np.int32), "qzeros": np.zeros((1, 0), np.int32),
                                         "scales": np.ones((1, 0), np.float16)}, "of no elements"),
    "int8 alone": ("compressed-tensors", {}, {"weight": np.zeros((4, 4), np.int8)}, "has no weight_scale"),
    "int8 of nobody": ("bitsandbytes", {}, {"weight": np.zeros((4, 4), np.int8)}, "no part says"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_parts_that_do_not_belong_together(name, tmp_path):
    method, options, parts, told = BAD[name]
    save_file({f"layer.{part}": array for part, array in parts.items()}, tmp_path / "model.safetensors")
    values = {"model_type": "llama", "architectures": ["LlamaModel"], "num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps(values), "utf-8")
    said(tmp_path, {"quant_method": method, "checkpoint_format": "gptq"} | options)
    with pytest.raises(ma.ConversionError, match=told) as caught:
        huggingface.read(tmp_path)
    assert caught.value.unsupported[0][0] == "layer"
    with pytest.warns(UserWarning, match=told):
        arrays = ma.load(tmp_path)
    assert set(arrays) == {f"layer.{part}" for part in parts}


def made(options, **parts):
    """What parts stand for, of one layer."""
    arrays = {f"layer.{part}": Deferred.of(array) for part, array in parts.items()}
    found, _ = plain(arrays, options, {"dtype": "float32"})
    return found["layer.weight"].read()


@pytest.mark.parametrize("across", [8, 2**33, 2**70])
def test_a_block_is_no_larger_than_the_matrix(across):
    """As large as a file says it is, it would not fit into memory."""
    numbers = np.arange(-16, 16).reshape(4, 8)
    scales = np.array([[2.0], [3.0]], np.float32)
    wanted = numbers * np.repeat(scales, 2, axis=0)
    groups = {"x": {"weights": {"num_bits": 8, "block_structure": [2, across]}}}
    tensors = {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": groups}
    assert (made(tensors, weight=numbers.astype(np.int8), weight_scale=scales) == wanted).all()
    blocks = {"quant_method": "fp8", "weight_block_size": [2, across]}
    assert (made(blocks, weight=numbers.astype(DENSE["float8_e4m3fn"]), weight_scale_inv=scales) == wanted).all()


def test_scales_of_fp8_may_be_powers_of_two():
    numbers, powers = np.arange(-16, 16).reshape(4, 8), np.array([[0.5], [4.0]], np.float32)
    blocks = {"quant_method": "fp8", "weight_block_size": [2, 8]}
    for scales in (powers.astype(ml_dtypes.float8_e8m0fnu), np.array([[126], [129]], np.uint8)):
        found = made(blocks, weight=numbers.astype(DENSE["float8_e4m3fn"]), weight_scale_inv=scales)
        assert (found == numbers * np.repeat(powers, 2, axis=0)).all()


@pytest.mark.parametrize("nested", [False, True])
def test_a_block_is_no_longer_than_the_weight(nested):
    state: dict[str, Any] = {"blocksize": 2**31 - 1, "dtype": "float32", "shape": [2, 2]}
    parts = {"weight": np.array([[0x12], [0x34]], np.uint8), "weight.quant_map": np.arange(16, dtype=np.float32)}
    if nested:
        state |= {"nested_blocksize": 2**31 - 1, "nested_offset": 1.0}
        parts |= {"weight.absmax": np.array([3], np.uint8), "weight.nested_absmax": np.full(1, 2, np.float32),
                  "weight.nested_quant_map": np.arange(256, dtype=np.float32)}  # fmt: skip
    else:
        parts["weight.absmax"] = np.full(1, 7, np.float32)
    parts["weight.quant_state.bitsandbytes__nf4"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    assert (made({"quant_method": "bitsandbytes"}, **parts) == 7 * np.array([[1, 2], [3, 4]])).all()


def test_a_weight_beside_its_parts_is_not_lost():
    parts = _WORDS | {"weight": np.ones((16, 64), np.float16)}
    with pytest.raises(ma.ConversionError, match="is there beside the parts of GPTQ"):
        made({"quant_method": "gptq", "bits": 4}, **parts)


def test_fp8_without_scales_is_no_weight():
    with pytest.raises(ma.ConversionError, match="has no _scale_inv"):
        made({"quant_method": "fp8"}, weight=np.ones((4, 4), DENSE["float8_e4m3fn"]))


def test_an_order_that_leads_out_is_found_when_it_is_read(transformers, tmp_path):
    saved(tmp_path / "x", transformers)
    bad = np.full(64, 99, np.int32)

    def pack(weight):
        outputs, inputs = weight.shape
        order = {"g_idx": np.full(inputs, 99, np.int32)}
        return {"qweight": np.zeros((inputs // 8, outputs), np.int32), "qzeros": np.zeros((4, outputs // 8), np.int32),
                "scales": np.ones((4, outputs), np.float16)} | order, bad  # fmt: skip

    quantised(tmp_path / "x", {"quant_method": "gptq", "bits": 4}, pack)
    with pytest.raises(ma.FormatError, match="g_idx is from 99 to 99, expected from 0 to 3"):
        ma.load_model(tmp_path / "x")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"quant_method": "aqlm"}, "'aqlm', expected gptq, auto-round, awq"),
        ({"quant_method": ["gptq"]}, "expected gptq, auto-round"),
        ([1], "expected gptq, auto-round"),
        ({"quant_method": "gptq", "bits": 5}, "bits is 5"),
        ({"quant_method": "gptq", "bits": 4.0}, "bits is 4.0"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "checkpoint_format is 'marlin'"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv_fast"}, "version is 'gemv_fast'"),
        ({"quant_method": "compressed-tensors", "format": "marlin-24"}, "format is 'marlin-24'"),
        ({"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity_config"),
        ({"quant_method": "compressed-tensors", "transform_config": {"config_groups": {"x": 1}}}, "transform_config"),
    ],
)
def test_methods_that_are_not_read_say_what_to_do(options, told, transformers, tmp_path):
    saved(tmp_path / "x", transformers)
    said(tmp_path / "x", options)
    for door in (ma.load_model, lambda path: ma.convert(path, tmp_path / "x.h5")):
        with pytest.raises(ma.ConversionError, match=told) as caught:
            door(tmp_path / "x")
        assert "model.dequantize()" in caught.value.hint
        assert "--parameters-only" in caught.value.hint
    assert ma.convert(tmp_path / "x", tmp_path / "x.h5", parameters_only=True)


#: Names of parts, of any method, and dtypes that files have.
PARTS = (
    "qweight", "qzeros", "scales", "g_idx", "weight", "SCB", "weight_format", "weight.absmax", "weight.quant_map",
    "weight.nested_absmax", "weight.nested_quant_map", "weight.quant_state.bitsandbytes__nf4", "weight_packed",
    "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx", "weight_global_scale", "weight_scale_inv",
    "weight_blocks", "weight_scales",
)  # fmt: skip
DTYPES = ("int8", "uint8", "int32", "int64", "float16", "float32", "bfloat16", "float8_e4m3fn")
METHODS = ("gptq", "awq", "bitsandbytes", "compressed-tensors", "fp8", "fbgemm_fp8", "mxfp4")
WHOLE = (
    {}, _WORDS, _PACKED, four_bits(), {"weight": np.ones((4, 4), np.int8), "SCB": np.ones(4, np.float32)},
    {"weight": np.ones((4, 4), np.int8), "weight_scale": np.ones((4, 1), np.float32)},
    {"weight_packed": np.ones((4, 8), np.uint8), "weight_scale": np.ones((4, 1), np.uint8)},
    {"weight": np.ones((6, 4), DENSE["float8_e4m3fn"]), "weight_scale_inv": np.ones((2, 2), np.float32)},
    {"weight_blocks": np.ones((2, 3, 1, 16), np.uint8), "weight_scales": np.ones((2, 3, 1), np.uint8)},
)  # fmt: skip
SAID = st.fixed_dictionaries(
    {"quant_method": st.sampled_from(METHODS)},
    optional={
        "bits": st.sampled_from([2, 3, 4, 8]), "checkpoint_format": st.sampled_from(["gptq", "gptq_v2"]),
        "weight_block_size": st.lists(st.integers(-1, 9), max_size=3) | st.none() | st.text(max_size=2),
        "config_groups": st.fixed_dictionaries({"x": st.fixed_dictionaries({"weights": st.fixed_dictionaries(
            {"num_bits": st.integers(-1, 9)}, optional={"block_structure": st.lists(st.integers(-1, 5), max_size=3)})
        }) | st.none()}) | st.lists(st.integers(), max_size=1),
    },
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_parts_are_read_or_refused(data):
    """What is read is of the shape and dtype that was said before."""
    options = data.draw(SAID)
    said = {"bits": 4} | options
    arrays = {f"layer.{part}": Deferred.of(array) for part, array in data.draw(st.sampled_from(WHOLE)).items()}
    for part in data.draw(st.lists(st.sampled_from(PARTS), max_size=3, unique=True)):
        shape = data.draw(st.lists(st.sampled_from([0, 1, 2, 4, 8, 16]), max_size=3))
        dtype = np.dtype(DENSE[data.draw(st.sampled_from(DTYPES))])
        numbers = data.draw(st.integers(0, 2**32 - 1))
        raw = np.random.default_rng(numbers).integers(0, 256, int(np.prod(shape)) * dtype.itemsize, np.uint8)
        arrays[f"layer.{part}"] = Deferred.of(raw.view(dtype).reshape(shape))
    try:
        found, _ = plain(arrays, said, {})
    except ma.ConversionError:
        return
    for entry in found.values():
        try:
            array = entry.read()
        except ma.FormatError:
            continue
        assert (array.shape, array.dtype) == (entry.shape, entry.dtype)
