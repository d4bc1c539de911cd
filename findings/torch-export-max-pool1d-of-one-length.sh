#!/usr/bin/env bash
# torch 2.13.0
# Max pooling along one axis is exported with Dim.AUTO for the length, and the program takes the example's length alone:
# a plain number stands in its signature, and another length is refused. AvgPool1d, MaxPool2d over (1, 2), and
# MaxPool1d that is asked for the places too take any length. Dim.DYNAMIC says that the code made the size a constant,
# where the network is one layer of PyTorch's own. One would have guessed that all pooling layers take any length, or
# none.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" -W ignore - <<'PYTHON'
import torch

AUTO = torch.export.Dim.AUTO


class Places(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.max_pool1d(x, 2, return_indices=True)[0]


def takes_another_length(module):
    x, longer = torch.ones(3, 2, 1, 12), torch.ones(5, 2, 1, 30)
    if not isinstance(module, torch.nn.MaxPool2d):
        x, longer = x[:, :, 0], longer[:, :, 0]
    program = torch.export.export(module, (x,), dynamic_shapes=({0: AUTO, x.ndim - 1: AUTO},)).module()
    try:
        shape = tuple(program(longer).shape)
    except (AssertionError, RuntimeError) as error:
        print(f"{type(module).__name__}: {str(error).splitlines()[0]}")
        return False
    print(f"{type(module).__name__}: {shape} of {tuple(longer.shape)}")
    return True


assert not takes_another_length(torch.nn.MaxPool1d(2))
assert takes_another_length(torch.nn.AvgPool1d(2))
assert takes_another_length(torch.nn.MaxPool2d((1, 2)))
assert takes_another_length(Places())
PYTHON
