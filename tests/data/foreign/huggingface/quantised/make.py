"""Makes the folders beside it, with transformers 5.24.0, torch 2.13.0, hqq 0.2.8.post1, torchao 0.18.0 and
auto-round 0.16.1: ``python make.py``.

One layer of Llama with random parameters, each of its matrices packed by the library in another way, and as
``meant.npz`` what the library makes of them again.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

HERE = Path(__file__).parent
SIZES = {
    "vocab_size": 8, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 64, "max_position_embeddings": 16,
}  # fmt: skip
NAMES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
         "mlp.up_proj", "mlp.down_proj")  # fmt: skip


def layer_of(dtype, **options):
    torch.manual_seed(0)
    module = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES | options)).to(dtype).eval()
    return module, [module.get_submodule(f"model.layers.0.{name}") for name in NAMES]


def write(name, module, arrays, meant, options=None, metadata=None, **files):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    values = module.config.to_dict() | {"architectures": ["LlamaForCausalLM"]}
    values["dtype"] = str(module.dtype).removeprefix("torch.")
    if options is not None:
        values["quantization_config"] = options
    (folder / "config.json").write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    for file, text in files.items():
        (folder / f"{file}.json").write_text(json.dumps(text, indent=1) + "\n", "utf-8")
    arrays = {key: array.detach().clone().contiguous() for key, array in arrays.items()}
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt", **(metadata or {})})
    found = {f"model.layers.0.{key}.weight": array.detach().float().numpy() for key, array in meant.items()}
    np.savez_compressed(folder / "meant.npz", **found)
    for file in folder.iterdir():
        file.chmod(0o644)


def hqq():
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    module, layers = layer_of(torch.bfloat16)
    arrays = {key: each for key, each in module.state_dict().items() if "_proj" not in key}
    meant = {}
    ways = ((8, 1, False), (4, 1, False), (3, 0, False), (3, 1, False), (2, 1, False), (1, 0, False), (4, 0, True))
    for name, layer, (bits, axis, is_viewed) in zip(NAMES, layers, ways, strict=True):
        how = BaseQuantizeConfig(nbits=bits, group_size=16, axis=axis, view_as_float=is_viewed)
        packed = HQQLinear(layer, how, compute_dtype=torch.bfloat16, device="cpu", del_orig=False)
        packed.cuda("cpu")  # what it computes in
        arrays |= {f"model.layers.0.{name}.{key}": each for key, each in packed.state_dict().items()}
        meant[name] = packed.dequantize()
    options = {
        "quant_method": "hqq",
        "quant_config": {"weight_quant_params": {"nbits": 4}},
        "skip_modules": ["lm_head"],
    }
    write("hqq", module, arrays, meant, options)


def torchao():
    from torchao import quantization as own
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict

    module, layers = layer_of(torch.bfloat16)
    ways = (
        own.Int8WeightOnlyConfig(version=2),
        own.Float8WeightOnlyConfig(),
        own.IntxWeightOnlyConfig(weight_dtype=torch.int4),
        own.IntxWeightOnlyConfig(weight_dtype=torch.int3, granularity=own.PerGroup(8)),
        own.Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=own.PerGroup(16)),
        own.Float8WeightOnlyConfig(weight_dtype=torch.float8_e5m2),
        own.IntxWeightOnlyConfig(
            weight_dtype=torch.int5, granularity=own.PerGroup(32), mapping_type=own.MappingType.ASYMMETRIC
        ),
    )
    for name, way in zip(NAMES, ways, strict=True):
        own.quantize_(module, way, filter_fn=lambda _, path, name=name: path.endswith(name))
    meant = {name: layer.weight.dequantize() for name, layer in zip(NAMES, layers, strict=True)}
    arrays, metadata = flatten_tensor_state_dict(module.state_dict())
    options = {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8DynamicActivationIntxWeightConfig"}}}
    write("torchao", module, arrays, meant, options, metadata)


def auto_round(form):
    from auto_round_extension.torch import qlinear_torch, qlinear_torch_zp

    kind = qlinear_torch_zp if form == "auto_round:auto_gptq" else qlinear_torch
    module, layers = layer_of(torch.float16, num_key_value_heads=2)
    arrays = {key: each for key, each in module.state_dict().items() if "_proj" not in key}
    meant = {}
    for name, layer, bits in zip(NAMES, layers, (4, 8, 2, 3, 4, 4, 8), strict=True):
        packed = kind.QuantLinear(bits, 16, layer.in_features, layer.out_features, False, weight_dtype=torch.float16)
        packed.device = torch.device("cpu")  # which one of the two classes does not set
        generator = torch.Generator().manual_seed(bits)
        scales = torch.rand(layer.out_features, layer.in_features // 16, generator=generator) / 2**bits + 0.01
        zeros = torch.randint(1, 2**bits, scales.shape, generator=generator)
        packed.pack(layer.float(), scales, zeros.float(), None, device="cpu")
        own = {key: each for key, each in packed.state_dict().items() if key in ("qweight", "qzeros", "scales")}
        arrays |= {f"model.layers.0.{name}.{key}": each for key, each in own.items()}
        # What its forward multiplies with: rows of the matrix of ones.
        meant[name] = packed(torch.eye(layer.in_features)).T.half()
    options = {"quant_method": "auto-round", "packing_format": form, "bits": 4, "group_size": 16, "data_type": "int"}
    write(form.replace(":", "-"), module, arrays, meant, options)


hqq()
torchao()
auto_round("auto_round:auto_gptq")
auto_round("auto_round:gptqmodel")
