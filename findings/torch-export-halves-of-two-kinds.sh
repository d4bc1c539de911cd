#!/usr/bin/env bash
# torch 2.13.0
# A pyramid of features whose height may be any (Dim.AUTO): two strided convolutions halve it and round up, three pools
# halve it and round down, and the last two floors are doubled and added. torch.export raises NotImplementedError, of an
# equation that SymPy's solve_univariate_inequality cannot solve. The same pyramid of pools alone is exported. One would
# have guessed that a condition which cannot be solved is kept as it is, or refused in PyTorch's own words.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" -W ignore - <<'PYTHON'
import logging

import torch
from torch.nn import functional

logging.disable(logging.CRITICAL)
KERNEL = torch.ones(3, 1, 3, 3)


class Pyramid(torch.nn.Module):
    def __init__(self, strides):
        super().__init__()
        self.strides = strides

    def forward(self, x):
        for _ in range(self.strides):
            x = functional.conv2d(x, KERNEL, stride=2, padding=1, groups=3)
        floors = [functional.max_pool2d(x, 2)]
        for _ in range(2):
            floors.append(functional.max_pool2d(floors[-1], 2))
        for floor in floors[1::-1]:
            floors.append(functional.interpolate(floors[-1], scale_factor=2) + floor)
        return floors[-1]


def exported(strides):
    free = ({2: torch.export.Dim.AUTO},)
    return torch.export.export(Pyramid(strides), (torch.ones(2, 3, 64, 64),), dynamic_shapes=free, strict=False)


print(f"of pools alone: exported, {len(exported(0).graph.nodes)} nodes")
try:
    exported(2)
except NotImplementedError as error:
    print(f"with strides before: NotImplementedError: {' '.join(str(error).split())}")
else:
    raise SystemExit("with strides before: it is exported now")
PYTHON
