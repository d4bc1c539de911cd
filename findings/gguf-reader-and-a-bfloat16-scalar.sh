#!/usr/bin/env bash
# gguf 0.19.0, Python 3.11
#
# GGUF has tensors without axes. `GGUFWriter` writes one in float32 and in BF16; `GGUFReader` reads the first, and for the
# second raises IndexError (tuple index out of range) while the file is opened, so that none of its other tensors and
# none of its keys can be read.
#
# One would have guessed that what the package writes it reads, whatever the type.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet gguf==0.19.0
"$folder/environment/bin/python" - "$folder" <<'PYTHON'
import sys

import gguf
import numpy as np

found = {}
for name, array, kind in (
    ("float32", np.zeros((), np.float32), None),
    ("bfloat16", np.zeros((), np.uint16), gguf.GGMLQuantizationType.BF16),
):
    path = f"{sys.argv[1]}/{name}.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("scale", array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    try:
        found[name] = str([tensor.name for tensor in gguf.GGUFReader(path).tensors])
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
    print(f"{name}: {found[name]}")
assert found["float32"] == "['scale']"
assert found["bfloat16"].startswith("IndexError")
PYTHON
