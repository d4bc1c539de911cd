#!/usr/bin/env bash
# torch 2.13.0 (torch.optim.Optimizer.load_state_dict)
# State is converted to the dtype of its parameter when it is loaded, all of it but `step`: an optimizer that keeps
# float32 moments for bfloat16 parameters gets them back with 8 bits, without a word.
# One would have guessed that load_state_dict gives back what state_dict gave.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" - <<'PYTHON'
import torch

parameter = torch.nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
optimizer = torch.optim.AdamW([parameter])
parameter.grad = torch.ones_like(parameter)
optimizer.step()
state = optimizer.state_dict()
state["state"][0]["exp_avg"] = torch.full((2,), 1 / 3)
optimizer.load_state_dict(state)
found = optimizer.state[parameter]["exp_avg"]
print("given: ", state["state"][0]["exp_avg"].dtype, state["state"][0]["exp_avg"].tolist())
print("loaded:", found.dtype, found.tolist())
assert found.dtype == torch.bfloat16, "the dtype of state is kept"
PYTHON
