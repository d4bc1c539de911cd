"""Made with torch 2.13.0, transformers 5.23.0, safetensors 0.8.0: `python tests/data/foreign/safetensors/make.py`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

FOLDER = Path(__file__).parent

#: Every dtype that torch's loader has, the values chosen so that each format holds them exactly.
DTYPES = (
    "float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e8m0fnu complex64 "
    "int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool"
)


def dtypes() -> None:
    tensors = {name: torch.tensor([1, 2, 0.5, 4]).to(getattr(torch, name)) for name in DTYPES.split()}
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "names/of any:kind é": torch.ones(1)}
    save_file(tensors, FOLDER / "dtypes.safetensors", metadata={"made by": "torch", "é": "ü"})


def sharded() -> None:
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    model.save_pretrained(FOLDER, max_shard_size="2KB")
    (FOLDER / "config.json").unlink()
    (FOLDER / "generation_config.json").unlink(missing_ok=True)
    sums = {name: value.double().sum().item() for name, value in model.state_dict().items()}
    (FOLDER / "sums.json").write_text(json.dumps(sums, indent=2) + "\n")


dtypes()
sharded()
