"""Quantised weights: what the libraries that wrote them make of them, bit for bit, or what their papers say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import modelarchive as ma
from modelarchive.exchange import huggingface
from modelarchive.exchange.huggingface import dequantising
from tests.zoo.comparison import error, randomised
from tests.zoo.conftest import transformers

__all__ = ["transformers"]  # the fixture
torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
WORDS = RNG.integers(1, 40, (2, 9))
_LLAMA = {
    "vocab_size": 40, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "max_position_embeddings": 32, "pad_token_id": 0,
}  # fmt: skip
_GPT2 = {"vocab_size": 40, "n_embd": 64, "n_layer": 1, "n_head": 4, "n_positions": 20}


def saved(folder, transformers, name="LlamaForCausalLM", dtype=torch.float16, **options):
    """A folder as transformers writes it, of random parameters."""
    cls = getattr(transformers, name)
    torch.manual_seed(0)
    made = _GPT2 if name.startswith("GPT2") else _LLAMA
    module = randomised(cls(cls.config_class(**(made | options))), torch).to(dtype)
    module.save_pretrained(folder)
    return module


def quantised(folder, options, pack):
    """Pack the dense layers of a folder; what `pack` gives of a weight ``(out, in)`` is parts, and what they mean."""
    arrays = load_file(folder / "model.safetensors")
    meant = {}
    for name in [name for name in arrays if "_proj." in name and name.endswith("weight")]:
        parts, meant[name] = pack(arrays.pop(name))
        arrays |= {f"{name.removesuffix('weight')}{part}": array for part, array in parts.items()}
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    said(folder, options)
    return meant


def said(folder, options):
    values = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(values | {"quantization_config": options}), "utf-8")


def same(bundle, meant):
    """Whether parameters are these, bit for bit."""
    for name, array in meant.items():
        found = bundle.parameters[name.replace(".o_proj.", ".out_proj.")]
        assert found.dtype == array.dtype, name
        np.testing.assert_array_equal(found.astype(np.float32), array.astype(np.float32), name)


def words_of(numbers, bits):
    """Numbers put one behind the other into words of 32 bits, bit by bit, along the first axis."""
    count = -(-len(numbers) * bits // 32)
    words = np.zeros((count, numbers.shape[1]), np.uint32)
    for at, row in enumerate(numbers):
        for bit in range(bits):
            place = at * bits + bit
            words[place // 32] |= ((row >> bit) & 1).astype(np.uint32) << np.uint32(place % 32)
    return words.view(np.int32)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("in_order", [True, False])
def test_gptq(bits, version, in_order, transformers, tmp_path):
    saved(tmp_path / "x", transformers)

    def pack(weight):
        outputs, inputs = weight.shape
        group = np.arange(inputs) // 16
        group = group if in_order else RNG.permutation(group)
        numbers = RNG.integers(0, 2**bits, (inputs, outputs))
        zeros = RNG.integers(1, 2**bits, (inputs // 16, outputs))
        scales = (RNG.random((inputs // 16, outputs)) / 2**bits / 8).astype(np.float16)
        stored = zeros - 1 if version == "gptq" else zeros
        parts = {"qweight": words_of(numbers, bits), "qzeros": words_of(stored.T, bits).T.copy(), "scales": scales}
        parts |= {"g_idx": group.astype(np.int32)} if not in_order or bits == 4 else {}
        meant = (numbers - zeros[group]).astype(np.float16) * scales[group]
        return parts, meant.T

    meant = quantised(tmp_path / "x", {"quant_method": "gptq", "bits": bits, "checkpoint_format": version}, pack)
    bundle = huggingface.read(tmp_path / "x")
    same(bundle, meant)
    assert "quantization_config" not in bundle.metadata["huggingface"]["config"]
    assert bundle.metadata["huggingface"]["quantization_config"]["bits"] == bits
    assert np.isfinite(bundle.build()(WORDS)).all()


def test_awq(transformers, tmp_path):
    saved(tmp_path / "x", transformers)
    order = (0, 2, 4, 6, 1, 3, 5, 7)

    def packed(numbers):
        words = np.zeros((len(numbers), numbers.shape[1] // 8), np.uint32)
        for at, column in enumerate(order):
            words |= numbers[:, column::8].astype(np.uint32) << np.uint32(4 * at)
        return words.view(np.int32)

    def pack(weight):
        outputs, inputs = weight.shape
        numbers, zeros = RNG.integers(0, 16, (inputs, outputs)), RNG.integers(0, 16, (inputs // 32, outputs))
        scales = RNG.random((inputs // 32, outputs)).astype(np.float16)
        wide = [np.repeat(each, 32, axis=0) for each in (zeros, scales)]
        meant = (numbers - wide[0]).astype(np.float16) * wide[1]
        return {"qweight": packed(numbers), "qzeros": packed(zeros), "scales": scales}, meant.T

    meant = quantised(tmp_path / "x", {"quant_method": "awq", "bits": 4, "version": "gemm"}, pack)
    same(huggingface.read(tmp_path / "x"), meant)


@pytest.mark.parametrize(
    ("name", "dtype", "options"),
    [
        ("LlamaForCausalLM", torch.float16, {"load_in_8bit": True}),
        ("LlamaForCausalLM", torch.bfloat16, {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
        ("LlamaForCausalLM", torch.float16,
         {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}),
        ("LlamaForCausalLM", torch.float32, {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}),
        ("GPT2LMHeadModel", torch.float32, {"load_in_8bit": True}),
        ("GPT2LMHeadModel", torch.float32, {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")  # of bitsandbytes' own
def test_bitsandbytes(name, dtype, options, transformers, tmp_path):
    pytest.importorskip("bitsandbytes")
    # Rows of whole blocks: of others bitsandbytes 0.50 takes the scales of the wrong blocks, on the CPU alone.
    saved(
        tmp_path / "plain", transformers, name, dtype, **({} if name.startswith("GPT2") else {"intermediate_size": 128})
    )
    how = transformers.BitsAndBytesConfig(**options, bnb_4bit_compute_dtype=dtype)
    cls = getattr(transformers, name)
    cls.from_pretrained(tmp_path / "plain", quantization_config=how, dtype=dtype, device_map="cpu").save_pretrained(
        tmp_path / "x"
    )
    theirs = cls.from_pretrained(tmp_path / "x", device_map="cpu").dequantize().float()
    bundle = huggingface.read(tmp_path / "x")
    (note,) = [note for note in bundle.notes if note.where == "quantization_config"]
    assert "weights of bitsandbytes" in note.what
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(WORDS)).logits.numpy()
    net = bundle.build()
    net.cast("float32")
    assert error(net(WORDS), wanted) < 1e-5


def test_blocks_of_four_bits_that_end_within_a_row() -> None:
    pytest.importorskip("bitsandbytes")
    from bitsandbytes.backends.default import ops
    from bitsandbytes.functional import quantize_4bit

    for kind in ("nf4", "fp4"):
        numbers, state = quantize_4bit(torch.randn(10, 96), quant_type=kind, blocksize=64)
        theirs = (
            ops._dequantize_4bit_compute.__wrapped__
            if hasattr(ops._dequantize_4bit_compute, "__wrapped__")
            else (ops._dequantize_4bit_compute)
        )
        wanted = theirs(numbers.reshape(-1), state.absmax, state.code, 64, (10, 96), torch.float32)
        found = dequantising.blocks_of_four_bits(numbers.numpy(), state.code.numpy(), state.absmax.numpy(), 64, 960)
        np.testing.assert_array_equal(found.reshape(10, 96), wanted.numpy())


_INT4 = {"num_bits": 4, "type": "int", "symmetric": True}
_FLOAT8 = {"num_bits": 8, "type": "float"}
#: Case -> (format, options of weights, dtype).
COMPRESSED = {
    "int4 in groups": ("pack-quantized", _INT4 | {"strategy": "group", "group_size": 32}, torch.bfloat16),
    "int4 in rows": ("pack-quantized", _INT4 | {"strategy": "channel"}, torch.float16),
    "int4 with zeros": (
        "pack-quantized", _INT4 | {"strategy": "group", "group_size": 16, "symmetric": False}, torch.float16
    ),
    "int3 with zeros": (
        "pack-quantized", _INT4 | {"num_bits": 3, "strategy": "group", "group_size": 32, "symmetric": False},
        torch.float32,
    ),
    "int8 packed": ("pack-quantized", _INT4 | {"num_bits": 8, "strategy": "channel"}, torch.float32),
    "int8 in rows": ("int-quantized", _INT4 | {"num_bits": 8, "strategy": "channel"}, torch.bfloat16),
    "int8 as a whole": ("int-quantized", _INT4 | {"num_bits": 8, "strategy": "tensor"}, torch.float32),
    "FP8 in rows": ("float-quantized", _FLOAT8 | {"strategy": "channel"}, torch.bfloat16),
    "FP8 as a whole": ("float-quantized", _FLOAT8 | {"strategy": "tensor"}, torch.bfloat16),
    "FP8 in cut blocks": (
        "float-quantized", _FLOAT8 | {"strategy": "block", "block_structure": [40, 36]}, torch.bfloat16
    ),
    "NVFP4": (
        "nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
        torch.bfloat16,
    ),
    "MXFP4": (
        "mxfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}, torch.bfloat16
    ),
    "MXFP8": ("mxfp8-quantized", _FLOAT8 | {"strategy": "group", "group_size": 32}, torch.bfloat16),
}  # fmt: skip


def scales_of(weight, options, form):
    """Scales that fit a weight, as compressed-tensors lays them, and what else it stores beside."""
    rows, columns = weight.shape
    blocks = {
        "tensor": (rows, columns), "channel": (1, columns), "group": (1, options.get("group_size")),
        "tensor_group": (1, options.get("group_size")), "block": tuple(options.get("block_structure", ())),
    }[options["strategy"]]  # fmt: skip
    down, across = (-(-size // block) for size, block in zip(weight.shape, blocks, strict=True))
    largest = torch.zeros(down, across)
    for row in range(down):
        for column in range(across):
            part = weight[row * blocks[0] : (row + 1) * blocks[0], column * blocks[1] : (column + 1) * blocks[1]]
            largest[row, column] = part.abs().max()
    top = 2 ** (options["num_bits"] - 1) - 1 if options["type"] == "int" else {8: 448.0, 4: 6.0}[options["num_bits"]]
    scale = largest / top
    beside = {}
    if form.startswith("mx"):
        scale = 2.0 ** torch.floor(torch.log2(scale))
    if form.startswith("nv"):
        beside["weight_global_scale"] = torch.tensor([2688.0 / float(weight.abs().max())])
        scale = (scale * beside["weight_global_scale"]).clamp(max=448).to(torch.float8_e4m3fn)
    if not options.get("symmetric", True):
        half = 2 ** (options["num_bits"] - 1)
        beside["weight_zero_point"] = torch.randint(-half, half, scale.shape, dtype=torch.int8)
    scale = scale.reshape(1) if options["strategy"] == "tensor" else scale
    return beside | {"weight": weight, "weight_scale": scale.to(weight.dtype)}


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_tensors(name, transformers, tmp_path):
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from safetensors.torch import load_file as load_tensors
    from safetensors.torch import save_file as save_tensors

    form, options, dtype = COMPRESSED[name]
    saved(tmp_path / "x", transformers, dtype=dtype)
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**options), format=form)
    compressor = BaseCompressor.get_value_from_registry(form)
    arrays, meant = load_tensors(tmp_path / "x" / "model.safetensors"), {}
    for each in [each for each in arrays if "_proj." in each]:
        parts = compressor.compress(scales_of(arrays.pop(each), options, form), scheme)
        prefix = each.removesuffix("weight")
        arrays |= {prefix + part: tensor.contiguous() for part, tensor in parts.items() if tensor is not None}
        meant[each] = compressor.decompress(parts, scheme)["weight"]
    save_tensors(arrays, tmp_path / "x" / "model.safetensors", metadata={"format": "pt"})
    acts = {"num_bits": 8} if form == "int-quantized" else None
    groups = {"group_0": {"targets": ["Linear"], "weights": options, "input_activations": acts}}
    said(tmp_path / "x", {"quant_method": "compressed-tensors", "format": form, "config_groups": groups})
    bundle = huggingface.read(tmp_path / "x")
    for each, tensor in meant.items():
        found = bundle.parameters[each.replace(".o_proj.", ".out_proj.")]
        assert found.dtype.name == str(tensor.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(found.astype(np.float32), tensor.float().numpy(), each)
    notes = [note.what for note in bundle.notes if note.where == "quantization_config"]
    assert any("rounds the inputs" in what for what in notes) == bool(acts)
    assert np.isfinite(bundle.build()(WORDS)).all()


@pytest.mark.parametrize("block", [(32, 32), (48, 64)])
def test_fp8_in_blocks(block, transformers, tmp_path):
    size = {"hidden_size": 192, "intermediate_size": 192, "head_dim": 48} if block[0] == 48 else {}
    saved(tmp_path / "x", transformers, dtype=torch.bfloat16, **size)
    from safetensors.torch import load_file as load_tensors
    from safetensors.torch import save_file as save_tensors

    arrays = load_tensors(tmp_path / "x" / "model.safetensors")
    for name in [name for name in arrays if "_proj." in name]:
        rows, columns = arrays[name].shape
        apart = arrays[name].float().reshape(rows // block[0], block[0], columns // block[1], block[1])
        scale = apart.abs().amax((1, 3)) / 448
        arrays[name] = (apart / scale[:, None, :, None]).reshape(rows, columns).to(torch.float8_e4m3fn)
        arrays[f"{name}_scale_inv"] = scale
    save_tensors(arrays, tmp_path / "x" / "model.safetensors", metadata={"format": "pt"})
    options = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": list(block)}
    said(tmp_path / "x", options)
    how = transformers.FineGrainedFP8Config(dequantize=True, weight_block_size=block)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "x", quantization_config=how)
    bundle = huggingface.read(tmp_path / "x")
    for name, tensor in theirs.state_dict().items():
        found = bundle.parameters[name.replace(".o_proj.", ".out_proj.")]
        assert found.dtype.name == "bfloat16"
        np.testing.assert_array_equal(found.astype(np.float32), tensor.float().numpy(), name)


def test_mxfp4_of_gpt_oss(transformers, tmp_path):
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    blocks = RNG.integers(0, 256, (3, 8, 2, 16), np.uint8)
    scales = RNG.integers(100, 140, (3, 8, 2), np.uint8)
    save_file({"x_blocks": blocks, "x_scales": scales}, tmp_path / "model.safetensors")
    from modelarchive.exchange.huggingface.quantised import plain

    arrays = huggingface.read(tmp_path, parameters_only=True).parameters
    from modelarchive.exchange.bundle import deferred

    found, notes = plain(deferred(arrays), {"quant_method": "mxfp4"}, {"dtype": "bfloat16"})
    wanted = convert_moe_packed_tensors(torch.from_numpy(blocks), torch.from_numpy(scales))
    assert found["x"].shape == (3, 64, 8)
    np.testing.assert_array_equal(found["x"].read().astype(np.float32), wanted.float().numpy())
    assert "1 weights of MXFP4" in notes[0].what


@pytest.mark.parametrize("options", [None, {}])
def test_nothing_said_is_nothing_quantised(options, transformers, tmp_path):
    saved(tmp_path / "x", transformers)
    said(tmp_path / "x", options)
    assert huggingface.read(tmp_path / "x").notes == []


def test_a_quantised_folder_comes_back_as_numbers(transformers, tmp_path):
    saved(tmp_path / "x", transformers)

    def pack(weight):
        outputs, inputs = weight.shape
        parts = {"qweight": np.full((inputs // 8, outputs), 0x21436587, np.int32),
                 "scales": np.full((4, outputs), 0.01, np.float16),
                 "qzeros": np.zeros((4, outputs // 8), np.int32)}  # fmt: skip
        return parts, None

    quantised(tmp_path / "x", {"quant_method": "gptq", "bits": 4}, pack)
    ma.convert(tmp_path / "x", tmp_path / "x.h5", durable=False)
    assert ma.convert(tmp_path / "x.h5", f"{tmp_path / 'back'}/", durable=False) == []
    values = json.loads((tmp_path / "back" / "config.json").read_text("utf-8"))
    assert "quantization_config" not in values
    module = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "back").float()
    with torch.no_grad():
        wanted = module(torch.from_numpy(WORDS)).logits.numpy()
    net = ma.load_model(tmp_path / "x.h5")
    net.cast("float32")
    assert error(net(WORDS), wanted) < 1e-5
