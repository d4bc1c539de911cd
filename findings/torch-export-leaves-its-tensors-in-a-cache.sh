#!/usr/bin/env bash
# torch 2.13.0
# A module that keeps a table of angles in a function under functools.lru_cache, as many do, is exported by
# torch.export. Afterwards the function gives the FakeTensor that it was called for while it was exported, which holds no
# numbers, and the module itself returns FakeTensors where nobody asks for any, without an error. Called once before the
# export, it exports the table as a constant, and goes on working. One would have guessed that an export leaves the
# module, and the process, as they were.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" -W ignore - <<'PYTHON'
import functools

import torch
from torch._subclasses.fake_tensor import FakeTensor


@functools.lru_cache
def angles(count):
    return torch.arange(count) * 0.5


class Network(torch.nn.Module):
    def forward(self, x):
        return x + angles(4)


network, x = Network(), torch.ones(4)
for is_called_before in (True, False):
    angles.cache_clear()
    if is_called_before:
        network(x)
    torch.export.export(network, (x,))
    found = type(network(x))
    print(f"called before the export: {is_called_before}; a call after it returns a {found.__name__}")
    assert (found is FakeTensor) == (not is_called_before)
PYTHON
