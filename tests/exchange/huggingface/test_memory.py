"""Folders stream: memory holds the largest array and, where it lies the other way, that one turned."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import safetensors

#: Converts a small model, and says how much more memory a large one takes.
CODE = """
import re, sys
sys.path.insert(0, {package!r})
import modelarchive as ma

def peak():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]) * 1024

small, large, small_out, large_out = sys.argv[1:]
ma.convert(small, small_out, durable=False)
before = peak()
ma.convert(large, large_out, durable=False)
print(peak() - before)
"""

LAYERS = 4
UNITS = 768
LARGEST = 16 * UNITS * UNITS


def folder(path, units):
    """A GPT2Model of so many units."""
    path.mkdir()
    rng = np.random.default_rng(0)
    one = rng.standard_normal(4 * units * units, dtype=np.float32)
    arrays = {"wte.weight": one[: 8 * units].reshape(8, units), "wpe.weight": one[: 8 * units].reshape(8, units)}
    norm = {"weight": one[:units], "bias": one[:units]}
    arrays |= {f"ln_f.{end}": array for end, array in norm.items()}
    shapes = {"attn.c_attn": (units, 3 * units), "attn.c_proj": (units, units), "mlp.c_fc": (units, 4 * units),
              "mlp.c_proj": (4 * units, units)}  # fmt: skip
    for layer in range(LAYERS):
        arrays |= {f"h.{layer}.{name}.{end}": array for name in ("ln_1", "ln_2") for end, array in norm.items()}
        for name, shape in shapes.items():
            arrays[f"h.{layer}.{name}.weight"] = one[: shape[0] * shape[1]].reshape(shape)
            arrays[f"h.{layer}.{name}.bias"] = one[: shape[1]]
    safetensors.write(arrays, path / "model.safetensors", durable=False)
    config = {"model_type": "gpt2", "architectures": ["GPT2Model"], "vocab_size": 8, "n_positions": 8}
    config |= {"n_embd": units, "n_layer": LAYERS, "n_head": 8}
    (path / "config.json").write_text(json.dumps(config), "utf-8")
    return path


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
def test_the_largest_arrays_not_the_model(tmp_path):
    folders = [folder(tmp_path / name, units) for name, units in (("small", 8), ("large", UNITS))]
    archives = [tmp_path / f"{path.name}.h5" for path in folders]
    assert peak([*folders], [*archives]) < 3 * LARGEST < archives[1].stat().st_size / 3
    assert peak([*archives], [f"{path}-again/" for path in folders]) < 3 * LARGEST


def peak(sources, targets):
    """Bytes that converting the second needs beyond what converting the first did."""
    code = CODE.format(package=str(Path(ma.__path__[0]).parent))
    done = subprocess.run(
        [sys.executable, "-c", code, *sources, *targets], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
