"""Files that cannot be mapped, in processes that have little room: read as needed, or refused in our words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn

X = np.ones((1, 3000), "f4")

#: Takes away what is left of the address space but for some megabytes, and tries something.
CODE = """
import resource, sys
import numpy as np
import modelarchive as ma
from modelarchive.errors import OutOfMemoryError
{before}
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {room}, resource.RLIM_INFINITY))
try:
    {act}
except OutOfMemoryError as error:
    print(error)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux' limits")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of 270 MB, whose largest block has 240 MB, and the same as a safetensors file."""
    folder = tmp_path_factory.mktemp("files")
    net = nn.Sequential().add(small=nn.Dense(2500), large=nn.Dense(24_000))
    net.initialize("ones")
    net(X)
    ma.save_model(folder / "m.h5", net, inputs=X, durable=False)
    ma.save_model(folder / "small.h5", nn.Sequential().add(small=net.children["small"]), inputs=X, durable=False)
    ma.convert(folder / "m.h5", folder / "m.safetensors", durable=False)
    return folder


def run(files: Path, act: str, room: int, before: str = "") -> str:
    # What is imported at its first use is there before the limit is.
    before = f"ma.load_model('small.h5', block='small')({act_input}); ma.load('small.h5'); {before}"
    code = CODE.format(act=act, room=room << 20, before=before)
    done = subprocess.run([sys.executable, "-c", code], cwd=files, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


act_input = "np.ones((1, 3000), 'f4')"
BLOCK = f"print(ma.load_model('m.h5', block='small')({act_input}).shape)"


@pytest.mark.slow
def test_a_block_is_read_where_the_file_has_no_room(files: Path) -> None:
    assert run(files, BLOCK, room=150) == "(1, 2500)\n"


@pytest.mark.slow
@pytest.mark.parametrize("act", ["ma.load_model('m.h5')", "ma.load('m.h5')", "ma.open('m.h5')['large.weight']"])
def test_what_has_no_room_is_refused_in_our_words(files: Path, act: str) -> None:
    said = run(files, act, room=150)
    assert "m.h5: the system gives no 240,000,000 bytes of memory for an array of it" in said
    assert "a part takes less" in said


@pytest.mark.slow
def test_a_foreign_file_that_has_no_room(files: Path) -> None:
    before = "ma.convert('small.h5', 'small.safetensors', durable=False); ma.load('small.safetensors')"
    said = run(files, "ma.load('m.safetensors')", room=150, before=before)
    assert "m.safetensors: cannot be mapped here, and the system gives no" in said


@pytest.mark.parametrize("left", [0, 3000])
def test_a_file_that_became_shorter_is_told(tmp_path: Path, left: int) -> None:
    ma.save(tmp_path / "x.h5", {"small": np.arange(5000.0), "large": np.zeros(2**19)}, durable=False)
    with ma.open(tmp_path / "x.h5") as archive:
        with (tmp_path / "x.h5").open("r+b") as file:
            file.truncate(left)
        for name in ("small", "large"):
            with pytest.raises(OSError, match="became shorter while it was read"):
                archive.load(name)
