#!/usr/bin/env bash
# pyfive 1.3.0 (h5py 3.16.0 as the reference, numpy 2.4.2), Python 3.11
#
# An HDF5 file may begin with a user block: bytes of the user's own, before HDF5's superblock. All addresses in the
# file count from the superblock then. pyfive finds the superblock, lists groups and datasets with the right shapes and
# dtypes, and reads the data of a contiguous dataset from the place that the address would be without the user block:
# other bytes of the file, without an error. With a user block that is longer than the metadata they are zeros or the
# user's own bytes.
#
# One would have guessed that whoever honours the user block for the metadata honours it for the data, or refuses.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyfive==1.3.0 h5py==3.16.0 numpy==2.4.2
"$folder/venv/bin/python" - "$folder/x.h5" <<'PY'
import sys

import h5py
import numpy as np
import pyfive

path = sys.argv[1]
with h5py.File(path, "w", userblock_size=4096, libver=("v108", "v108")) as file:
    file["x"] = np.arange(1.0, 5.0)
with h5py.File(path) as file:
    print("h5py  ", file.userblock_size, file["x"][()])
    expected = file["x"][()]
with pyfive.File(path) as file:
    found = file["x"][()]
    print("pyfive", file["x"].shape, file["x"].dtype, found)
assert found.shape == expected.shape
assert not np.array_equal(found, expected), "pyfive reads what is there now"
PY
