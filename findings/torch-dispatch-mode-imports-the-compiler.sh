#!/usr/bin/env bash
# torch 2.13.0 (torch.utils._python_dispatch.TorchDispatchMode)
# The first operator under a TorchDispatchMode of one's own imports torch._dynamo, the compiler: nearly a hundred modules
# and, on a small machine, two seconds, although nothing is compiled.
# One would have guessed that a mode which only passes operators on costs what its own function costs.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" - <<'PYTHON'
import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Passing(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


before = "torch._dynamo" in sys.modules
with Passing():
    torch.ones(2) + 1
modules = sum(name.partition(".")[2].startswith("_dynamo") for name in sys.modules if name.startswith("torch."))
print("imported before:", before, "- modules of torch._dynamo after one operator:", modules)
assert not before
assert modules > 50
PYTHON
