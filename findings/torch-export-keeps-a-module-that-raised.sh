#!/usr/bin/env bash
# torch 2.13.0
# A network that tries what its parts take (`try: part(x)`, `except TypeError: part(x, more)`), as containers of layers
# do, runs. torch.export with strict=False, which says that it runs the code in Python, ends in an AssertionError about
# keys of its own: the module that raised stays on its stack of modules that are being called, and the call around it
# finds that one there when it returns. One would have guessed that an exception which the code catches is no matter.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" -W ignore - <<'PYTHON'
import torch


class Part(torch.nn.Module):
    def forward(self, x, more=None):
        if more is None:
            raise TypeError("needs more")
        return x * more


class Container(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.part = Part()

    def forward(self, x):
        try:
            return self.part(x)
        except TypeError:
            return self.part(x, more=2)


x = torch.ones(3)
print(f"the network gives {Container()(x).tolist()}")
assert (Container()(x) == 2).all()
try:
    torch.export.export(Container(), (x,), strict=False)
    raise SystemExit("torch.export follows it now")
except AssertionError as error:
    print(f"torch.export: AssertionError: {error}")
    assert "Unexpected key" in str(error)
PYTHON
