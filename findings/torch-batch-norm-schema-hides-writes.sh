#!/usr/bin/env bash
# torch 2.13.0 (torch.ops.aten.native_batch_norm)
# The schema of aten::native_batch_norm marks no argument as written, and running_mean and running_var are written in
# place when it trains: whoever watches an operator's schema (a TorchDispatchMode that saves tensors before they change,
# a functionalisation of one's own) misses the writes.
# One would have guessed "Tensor(a!)? running_mean", as batch_norm's newer variant has it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" - <<'PYTHON'
import torch

operator = torch.ops.aten.native_batch_norm.default
print(operator._schema)
mean, variance = torch.zeros(2), torch.ones(2)
operator(torch.randn(4, 2) + 3, None, None, mean, variance, True, 0.1, 1e-5)
print("is_mutable:", operator._schema.is_mutable, "- running_mean afterwards:", mean.tolist())
assert not operator._schema.is_mutable
assert not any(each.alias_info for each in operator._schema.arguments)
assert mean.all()
PYTHON
