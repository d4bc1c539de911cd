#!/usr/bin/env bash
# bitsandbytes 0.50.2 on a CPU, torch 2.13.0, Python 3.11
#
# `quantize_4bit` takes 64 numbers a block, across the ends of rows; `dequantize_4bit` gives them back, each within half a
# step of nf4. On a CPU that holds where a row is a whole number of blocks. Of a matrix of 64 rows of 96 numbers other ones
# come back, with an error that is several times as large, and without a warning. The same numbers as one row give the
# same codes, and come back well.
#
# One would have guessed that a shape says nothing of what the numbers are.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'bitsandbytes==0.50.2' 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" -W ignore - <<'PYTHON'
import torch
from bitsandbytes import functional

torch.manual_seed(0)
weight = torch.randn(64, 96)
errors, codes = {}, {}
for name, given in (("64 rows of 96", weight), ("one row", weight.reshape(1, -1)), ("96 rows of 64", weight.reshape(96, 64))):
    codes[name], state = functional.quantize_4bit(given, quant_type="nf4", blocksize=64)
    errors[name] = float((functional.dequantize_4bit(codes[name], state) - given).abs().max())
    print(f"{name}: the largest error is {errors[name]:.2f}")
assert torch.equal(codes["64 rows of 96"].flatten(), codes["one row"].flatten())
assert errors["one row"] < 0.6
assert errors["96 rows of 64"] < 0.6
assert errors["64 rows of 96"] > 1
PYTHON
