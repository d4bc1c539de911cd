#!/usr/bin/env bash
# torch 2.13.0 on a CPU (torch.nn.functional.gelu, approximate="none")
# GELU of infinity is NaN, and of minus infinity too; x * (1 + erf(x / sqrt(2))) / 2 spelled out with torch.erf gives
# infinity for the one. With approximate="tanh" infinity stays infinity.
# One would have guessed that the function and its formula agree at infinity, or that both ways of it do.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" - <<'PYTHON'
import torch
from torch.nn.functional import gelu

x = torch.tensor([float("inf"), 3.0])
formula = x * (1 + torch.erf(x / 2**0.5)) / 2
print("gelu:   ", gelu(x).tolist())
print("tanh:   ", gelu(x, approximate="tanh").tolist())
print("formula:", formula.tolist())
assert formula[0] == float("inf")
assert gelu(x)[0].isnan(), "gelu of infinity is a number"
PYTHON
