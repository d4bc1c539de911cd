#!/usr/bin/env bash
# torch 2.13.0
# A module of two inputs is exported with one tensor given for both, as attention is called on itself. The program still
# takes two, and uses the second one for both: called on two others it gives another result than the module, exported
# strictly or not, and nothing tells. With a copy for the second input it is right. One would have guessed that each
# argument is an input of its own, or that an example of one tensor for two is refused.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" -W ignore - <<'PYTHON'
import torch


class Apart(torch.nn.Module):
    def forward(self, one, other):
        return one - 2 * other


module, example = Apart(), torch.zeros(3)
one, other = torch.full((3,), 10.0), torch.ones(3)
for strict in (False, True):
    for second in (example, example.clone()):
        found = torch.export.export(module, (example, second), strict=strict).module()(one, other)
        how = "one tensor for both" if second is example else "a copy for the second"
        print(f"strict={strict}, {how}: 10 - 2 * 1 is {found[0]:g}")
        assert found[0] == (-1 if second is example else 8)
PYTHON
