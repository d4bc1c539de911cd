#!/usr/bin/env bash
# numpy 2.4.6 (numpy.broadcast, numpy.broadcast_shapes, numpy.broadcast_arrays)
# Since NumPy 2 arrays have up to 64 axes, and operators broadcast them; the functions that only say what shape comes of
# it stop at 32, with a RuntimeError, where shapes that do not fit are a ValueError.
# One would have guessed that numpy.broadcast_shapes knows every shape that numpy.add gives.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'numpy==2.4.6'
"$folder/environment/bin/python" - <<'PYTHON'
import numpy as np

for axes in (32, 33, 64):
    shape = (1,) * axes
    total = (np.ones(shape) + np.ones(shape)).ndim
    try:
        said = len(np.broadcast_shapes(shape, shape))
    except RuntimeError as error:
        said = f"RuntimeError: {error}"
    print(f"{axes} axes: numpy.add gives {total}, numpy.broadcast_shapes: {said}")
    assert total == axes
    assert (said == axes) == (axes <= 32)
PYTHON
