#!/usr/bin/env bash
# torch 2.13.0 (torch.nn.functional.interpolate by scale_factor, on the CPU)
# Three columns made 1.25 times as many are three columns still, since 3.75 is rounded down. What they are depends on
# the mode and on the number of axes: linear, bilinear and trilinear copy the columns, and so does nearest of an image;
# nearest of a row and of a volume takes every 0.8th column, which gives the first one twice, and bicubic resamples them,
# but not with antialias=True. Four columns become five, and all modes resample, by the same factor.
# One would have guessed that a factor means the same steps for any width, and nearest the same for any number of axes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" -W ignore - <<'PYTHON'
import torch
from torch.nn.functional import interpolate


def columns(width, axes, mode, **options):
    x = torch.arange(float(width)).reshape(1, 1, *[1] * (axes - 1), width)
    found = interpolate(x, scale_factor=(*[1.0] * (axes - 1), 1.25), mode=mode, **options)
    return [round(each, 2) for each in found.flatten().tolist()]


found = {
    (mode, axes): columns(3, axes, mode)
    for mode, axes in (
        ("linear", 1), ("bilinear", 2), ("trilinear", 3), ("nearest", 1), ("nearest", 2), ("nearest", 3), ("bicubic", 2)
    )
}
found["bicubic, antialias", 2] = columns(3, 2, "bicubic", antialias=True)
for (mode, axes), each in found.items():
    print(f"three columns, {mode} of {axes} axes: {each}")
copied = [0, 1, 2]
assert found["linear", 1] == found["bilinear", 2] == found["trilinear", 3] == found["nearest", 2] == copied
assert found["nearest", 1] == found["nearest", 3] == [0, 0, 1]
assert found["bicubic", 2] != copied and found["bicubic, antialias", 2] == copied
assert columns(4, 1, "linear") == [0, 0.7, 1.5, 2.3, 3]
PYTHON
