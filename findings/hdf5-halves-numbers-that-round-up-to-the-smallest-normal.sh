#!/usr/bin/env bash
# h5py 3.16.0 (HDF5 2.0.0)
# Written into a dataset of bfloat16 (a float type of 16 bits with float32's exponent), a float32 that lies just below
# the smallest normal number, 2^-126, comes back as 2^-127, half of that: where rounding carries into the exponent,
# the result is shifted once more. Every subnormal number that rounds up to a power of two is halved alike.
# One would have guessed that a number becomes one of its two neighbours. (With HDF5 1.14.4, of h5py 3.12.0, it happens
# to normal numbers too: 131008.78 becomes 65536. Ties go away from zero, 465 becomes 466, which may be meant so.)
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'h5py==3.16.0' 'numpy==2.4.6' 'ml_dtypes==0.5.4'
"$folder/environment/bin/python" - <<'PYTHON'
import io

import h5py
import ml_dtypes
import numpy as np

bfloat16 = h5py.h5t.IEEE_F32LE.copy()
bfloat16.set_fields(15, 7, 8, 0, 7)
bfloat16.set_size(2)
bfloat16.set_ebias(127)
values = np.array([1.1729e-38, 1.4570e-40, 465.0], np.float32)
with h5py.File(io.BytesIO(), "w") as file:
    space = h5py.h5s.create_simple((3,))
    dataset = h5py.h5d.create(file.id, b"w", bfloat16, space)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    found = file["w"][...]
expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
print("HDF5", h5py.version.hdf5_version, "wrote", found, "- to nearest:", expected)
assert found[0] == expected[0] / 2 and found[1] == expected[1] / 2
assert (found[2], expected[2]) == (466, 464)
PYTHON
