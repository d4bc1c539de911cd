#!/usr/bin/env bash
# torch 2.13.0 (torch.save with _use_new_zipfile_serialization=False, the format of PyTorch before 1.6)
# Tensors of the dtypes that came without a storage class of their own (uint16, uint32, uint64, the float8 kinds) are
# saved in the older format without a word, and torch.load of that file fails: it asks the untyped storage, which the
# file names for them, for a dtype that this class does not have.
# One would have guessed that torch.save refuses what torch.load cannot read, or that the older format holds them too.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" - "$folder/tensor.pt" <<'PYTHON'
import sys

import torch

for dtype in (torch.float16, torch.int64, torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2):
    torch.save(torch.ones(3).to(dtype), sys.argv[1], _use_new_zipfile_serialization=False)
    try:
        found = str(torch.load(sys.argv[1]).dtype)
    except AttributeError as error:
        found = f"AttributeError: {error}"
    print(f"{dtype}: saved, loaded as {found}")
    assert found.startswith("AttributeError") == (dtype not in (torch.float16, torch.int64)), dtype
PYTHON
