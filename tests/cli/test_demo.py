"""``modelarchive demo``: every promise of the story, on its real network."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

import modelarchive as ma
from tests.cli.conftest import Run


@pytest.mark.slow
def test_the_story_holds(run: Run, tmp_path: Path) -> None:
    figures = run("demo", "--folder", tmp_path / "demo", "--json").json
    assert figures["accuracy"] > 0.96
    assert figures["images"] == 360
    assert figures["largest_error"] < 1e-5, "against the logits that PyTorch recorded"
    assert figures["bit_identical"] is True
    assert figures["knew_the_class"] is False
    assert figures["block_identical"] is True
    assert figures["readers_agree"] is True
    assert figures["damaged"] == ["hidden.weight"]
    assert figures["transplanted"] == 6
    assert figures["seconds"] > 0


@pytest.mark.slow
def test_it_prints_its_chapters_and_leaves_its_files(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = run("demo", "--folder", folder)
    assert (done.code, done.err) == (0, "")
    assert "NO" not in done.out.split()
    for chapter in range(1, 11):
        assert f"\n{chapter}. " in done.out
    with h5py.File(folder / "lenet.h5") as file:
        weight = file["parameters/features/0/weight"][...]
    assert np.array_equal(load_file(folder / "lenet.h5")["features.0.weight"], weight)
    assert np.array_equal(ma.load(folder / "odd-or-even.h5")["0.weight"], weight)


def test_a_folder_that_cannot_be_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("demo", "--folder", tmp_path / "file")
    assert done.code == 4
    assert "file" in done.err


@pytest.mark.slow
def test_pytorch_s_chapters_hold(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    figures = run("demo", "--torch", "--folder", tmp_path / "demo", "--json").json
    assert figures["torch_accuracy"] > 0.96
    assert figures["torch_still_training"] is True
    assert figures["torch_largest_error"] < 1e-5
    assert figures["torch_not_needed"] is True
    assert figures["torch_knew_the_class"] is False
    assert figures["torch_transplanted"] == 12
    assert figures["torch_layers_identical"] is True
    assert figures["torch_readers_agree"] is True
    assert figures["run_killed"] == 12
    assert 0 < figures["run_resumed"] <= 12
    assert figures["run_identical"] is True


@pytest.mark.slow
def test_pytorch_s_chapters_are_printed(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = run("demo", "--torch", "--folder", tmp_path / "demo")
    assert (done.code, done.err) == (0, "")
    assert "NO" not in done.out.split()
    for chapter in range(1, 17):
        assert f"\n{chapter}. " in done.out
    assert "features.1.num_batches_tracked" in done.out


def test_without_pytorch_its_chapters_say_what_to_install(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    done = run("demo", "--torch", "--folder", tmp_path / "demo")
    assert done.code == 4
    assert "demo --torch needs PyTorch" in done.err
    assert "pip install 'modelarchive[torch]'" in done.err
    assert not (tmp_path / "demo").exists()
