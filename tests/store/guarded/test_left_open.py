"""Files that an HDF5 program had open for writing when it was killed: told as that, and the way out works."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import maintenance
from tests.structures import assert_same

#: What the program does before it is killed: nothing, more than HDF5 keeps in memory, with or without a flush.
NOTHING = "file.flush()"
MORE = "[file.create_dataset(f'arrays/more{n}', data=np.ones((200, 30))) for n in range(300)]"
PROGRAM = """
import h5py, os, signal, sys, numpy as np
path, options, steps = sys.argv[1], eval(sys.argv[2]), sys.argv[3]
file = h5py.File(path, 'r+', **options)
exec(steps)
os.kill(os.getpid(), signal.SIGKILL)
"""
DATA = {"a": np.arange(5000.0), "words": ["x", "y"]}


def kill_while_it_writes(path: Path, steps: str, **options: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path), repr(options), steps], check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL


def told(text: str, path: Path) -> None:
    assert str(path) in text
    assert "a program that had it open for writing was ended before it closed it" in text
    assert "damaged" not in text


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"libver": "latest"}], ids=str)
@pytest.mark.parametrize("steps", [NOTHING, MORE, f"{MORE}; file.flush()"], ids=["nothing", "more", "flushed"])
def test_an_archive(options: dict[str, str], steps: str, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save(path, DATA)
    kill_while_it_writes(path, steps, **options)
    with pytest.warns(ma.StaleIndexWarning) as caught:
        found = ma.load(path)
    told(str(caught[0].message), path)
    assert_same(DATA, {name: found[name] for name in DATA})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ma.StaleIndexWarning)
        with ma.open(path) as archive, pytest.raises(ma.IntegrityError) as refused:
            archive.verify()
        assert (
            refused.value.damaged["(index)"][1]
            == "left by a program that was ended while it had the file open for writing"
        )
        assert refused.value.hint == "`modelarchive reindex x.h5` writes a new index if you trust the change"
    try:
        maintenance.reindex(path)
    except ma.FormatError as error:
        # There is no room for the names of more arrays.
        hint = error.hint
        maintenance.repack(path)
    else:
        hint = None
    assert hint in (None, "`modelarchive repack x.h5` writes it anew")
    assert_same(found, ma.load(path, verify=True))
    with ma.open(path) as archive:
        archive.verify()
    with h5py.File(path, "r+", libver="latest") as file:
        assert {*file["arrays"]} == {*found}


def test_an_archive_that_hdf5_cannot_read_any_more(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save(path, DATA)
    kill_while_it_writes(path, NOTHING)
    raw = bytearray(path.read_bytes())
    raw[raw.find(b"OHDR") + 4] = 99
    path.write_bytes(raw)
    with pytest.raises(ma.FormatError) as caught:
        ma.load(path)
    told(str(caught.value), path)
    assert "HDF5 cannot read it as it is: " in str(caught.value)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "my x.weights.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("layers/dense/vars/0", data=np.ones((2, 3), "f4"), maxshape=(None, 3), chunks=(2, 3))
    return path


GROWING = """
dataset = file['layers/dense/vars/0']
file.swmr_mode = True
dataset.resize((4000, 3))
dataset[...] = 1
dataset.flush()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "length"),
    [("", 2), (NOTHING, 2), ("file['layers/dense/vars/1'] = np.zeros(3)", 2), (GROWING, 4000)],
    ids=["open", "flushed", "written", "one writer of many readers"],
)
def test_a_file_of_another_system(steps: str, length: int, weights: Path) -> None:
    kill_while_it_writes(weights, steps, libver="latest")
    with pytest.raises(OSError, match="already open for write"):
        h5py.File(weights)
    for read in (ma.load, lambda path: ma.convert(path, path.with_name("out.safetensors"))):
        with pytest.raises(ma.FormatError) as caught:
            read(weights)
        told(str(caught.value), weights)
    with ma.trusted(), pytest.raises(ma.FormatError) as caught:
        ma.load(weights)
    told(str(caught.value), weights)
    if shutil.which("h5clear") is None:
        pytest.skip("h5clear is not installed")
    assert caught.value.hint is not None
    command = shlex.split(caught.value.hint.split("`")[1])
    subprocess.run(command, check=True, cwd=weights.parent, timeout=300)
    np.testing.assert_array_equal(ma.load(weights)["layers.dense.vars.0"], np.ones((length, 3), "f4"))


def test_a_file_that_is_open_now(weights: Path) -> None:
    """Its program holds the lock; it was not ended."""
    with h5py.File(weights, "r+", libver="latest"), pytest.raises(BlockingIOError, match="another program"):
        ma.load(weights)
