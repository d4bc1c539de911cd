#!/usr/bin/env bash
# torch 2.13.0
# A forward that does something else where the batch is 1 is exported with an example of four rows, Dim.AUTO for the batch
# and nothing else. The program has the way of four rows alone; no guard, no constraint and no error tells, and called on
# one row it gives another result than the module. A branch on `shape[0] > 4` is told apart: there the program refuses
# sizes on the other side. One would have guessed that a size that a module asks for is a guard whatever it is compared
# with.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" -W ignore - <<'PYTHON'
import torch

AUTO = torch.export.Dim.AUTO


class One(torch.nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[0] == 1 else x * 3


class Few(torch.nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[0] > 4 else x * 3


def exported(module):
    return torch.export.export(module, (torch.ones(4, 2),), dynamic_shapes=({0: AUTO},)).module()


module, one = One(), torch.ones(1, 2)
found = exported(module)(one)
print(f"asked for 1: the module gives {module(one)[0, 0]:g}, its program {found[0, 0]:g}")
assert (module(one) == 2).all()
assert (found == 3).all()
try:
    exported(Few())(torch.ones(6, 2))
    raise SystemExit("asked for more than 4: the program takes 6 now")
except (AssertionError, RuntimeError) as error:
    print(f"asked for more than 4: the program refuses 6: {str(error).splitlines()[0]}")
PYTHON
