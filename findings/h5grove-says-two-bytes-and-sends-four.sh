#!/usr/bin/env bash
# h5grove 4.0.0 (h5py 3.16.0, ml_dtypes 0.5.4), Python 3.11
#
# h5grove is the server behind h5web in JupyterLab. For a float of 16 bits that NumPy has no dtype for (bfloat16) its
# metadata says `"size": 2` beside `"dtype": "<f4"`, and as binary data it sends four bytes a number. A client that
# takes size and class (jupyterlab-h5web 12.9 makes a Float16Array of them) gets twice as many numbers, all wrong; one
# that takes the dtype, or asks for `dtype="safe"`, gets the right ones. float16 itself is sent as it is described.
#
# One would have guessed that size, dtype and the bytes that are sent agree.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet h5grove==4.0.0 h5py==3.16.0 ml_dtypes==0.5.4
"$folder/venv/bin/python" - "$folder/x.h5" <<'PY'
import sys

import h5grove
import h5py
import numpy as np

path = sys.argv[1]
bfloat16 = h5py.h5t.IEEE_F32LE.copy()
bfloat16.set_fields(15, 7, 8, 0, 7)
bfloat16.set_precision(16)
bfloat16.set_offset(0)
bfloat16.set_size(2)
bfloat16.set_ebias(127)
with h5py.File(path, "w") as file:
    space = h5py.h5s.create_simple((3,))
    dataset = h5py.h5d.create(file.id, b"x", bfloat16, space)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([1.5, -2, 96], np.float32))
    file["half"] = np.array([1.5, -2, 96], np.float16)
sent = {}
with h5py.File(path) as file:
    for name in ("half", "x"):
        content = h5grove.create_content(file, name)
        said = content.metadata()["type"]
        encoded = h5grove.encoders.encode(content.data(), "bin").content
        raw = encoded if isinstance(encoded, bytes) else b"".join(encoded)
        sent[name] = said["size"], len(raw) // 3
        print(f"{name}: size {said['size']}, dtype {said['dtype']}, {len(raw)} bytes sent for 3 numbers,", end=" ")
        print("as float16", np.frombuffer(raw, np.float16)[:3])
assert sent == {"half": (2, 2), "x": (2, 4)}, sent
PY
