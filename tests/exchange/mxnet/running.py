"""Outputs of exported models in MXNet, from one process for all of them: MXNet takes seconds to import."""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
from pathlib import Path

PYTHON = os.environ.get("MODELARCHIVE_MXNET_PYTHON", "")
SCRIPT = Path(__file__).with_name("outputs_of_mxnet.py")


def outputs(folder: Path) -> None:
    """Run each exported model ``x-symbol.json`` of a folder on ``x-inputs.npz``, and write ``x-outputs.npz``."""
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{folder}\n")
    process.stdin.flush()
    said = []
    while (line := process.stdout.readline()) != "done\n":
        said.append(line)
        if not line:
            _process.cache_clear()
            raise RuntimeError("MXNet: " + "".join(said))


@functools.cache
def _process() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [PYTHON, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    atexit.register(process.communicate)
    return process
