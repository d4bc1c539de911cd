#!/usr/bin/env bash
# torch 2.13.0
# Where one module stands at two places of a network, one activation for two layers say, torch.export gives the forward
# stand-ins for modules, everywhere in the network. They say that they are of the same class and are not: a comparison
# of classes is false. A slice of a row of modules is called "slice(None, -1, None)", so what is said of a call's module
# (nn_module_stack) is no path that get_submodule finds, and a slice of a ParameterList raises a TypeError. The same
# forward of a network whose modules stand once has none of it. One would have guessed that exporting a row of layers
# does not depend on what they share.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" -W ignore - <<'PYTHON'
import torch
from torch import nn


class Row(nn.Module):
    def __init__(self, is_shared):
        super().__init__()
        activations = [nn.ReLU()] * 3 if is_shared else [nn.ReLU() for _ in range(3)]
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), each) for each in activations)
        self.scales = nn.ParameterList([torch.ones(2)] * 3)


class Slice(Row):
    def forward(self, x):
        for layer in self.layers[:-1]:
            x = layer(x)
        return x


class Classes(Row):
    def forward(self, x):
        return x + sum(type(layer) is nn.Sequential for layer in self.layers)


class Parameters(Row):
    def forward(self, x):
        return sum(x * each for each in self.scales[1:])


def exported(kind, is_shared):
    return torch.export.export(kind(is_shared), (torch.zeros(1, 2),), strict=False)


for is_shared in (False, True):
    program = exported(Slice, is_shared)
    stacks = [node.meta.get("nn_module_stack") or {} for node in program.graph.nodes]
    paths = sorted({path for stack in stacks for path, _ in stack.values() if path})
    print("modules called:", paths)
    assert ("layers.slice(None, -1, None).0.0" in paths) == is_shared
    assert ("layers.0.0" in paths) != is_shared
    found = exported(Classes, is_shared).module()(torch.zeros(1, 2))
    print("layers that are Sequential:", int(found[0, 0]))
    assert int(found[0, 0]) == (0 if is_shared else 3)
    try:
        exported(Parameters, is_shared)
        said = ""
    except TypeError as error:
        said = str(error)
    print("a slice of parameters:", said or "as ever")
    assert bool(said) == is_shared
PYTHON
