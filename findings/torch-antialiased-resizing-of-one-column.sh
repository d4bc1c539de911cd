#!/usr/bin/env bash
# torch 2.13.0 on a CPU (torch.nn.functional.interpolate, mode="bilinear", antialias=True)
# An image that is one element wide and is made longer comes out as zeros. The same column beside two copies of itself
# comes out right: the width is not resized in either case.
# One would have guessed that resizing along one axis does not depend on how many equal columns stand beside each other.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" - <<'PYTHON'
import torch
from torch.nn.functional import interpolate

column = torch.arange(1.0, 6.0).reshape(1, 1, 5, 1)
one = interpolate(column, size=(9, 1), mode="bilinear", antialias=True)[0, 0, :, 0]
three = interpolate(column.expand(1, 1, 5, 3).contiguous(), size=(9, 3), mode="bilinear", antialias=True)[0, 0, :, 0]
plain = interpolate(column, size=(9, 1), mode="bilinear")[0, 0, :, 0]
print("one column, antialias:   ", one.tolist())
print("three columns, antialias:", three.tolist())
print("one column, without:     ", plain.tolist())
assert torch.allclose(three, plain, atol=0.2)
assert (one - three).abs().max() > 0.5, "one column is resized as three are"
PYTHON
