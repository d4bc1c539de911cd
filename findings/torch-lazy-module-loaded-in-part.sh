#!/usr/bin/env bash
# torch 2.13.0 (torch.nn.LazyLinear)
# A lazy layer whose weight was loaded without its bias (load_state_dict(strict=False), as one does to take a part of
# another network) can no longer be called: its first call initialises all of it again, and asks the weight, which is an
# ordinary Parameter by then, to materialize: AttributeError.
# One would have guessed that the first call makes what is missing (the bias) and keeps what was loaded.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" - <<'PYTHON'
import torch

layer = torch.nn.LazyLinear(3)
weight = torch.ones(3, 5)
answer = layer.load_state_dict({"weight": weight}, strict=False)
print("missing:", answer.missing_keys, "- loaded:", torch.equal(layer.weight, weight))
try:
    layer(torch.zeros(1, 5))
    said = "the call works"
except AttributeError as error:
    said = str(error)
print("the first call:", said)
assert said == "'Parameter' object has no attribute 'materialize'"
PYTHON
