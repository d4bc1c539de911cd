"""The fuzzer: a fixed run of it, and that it would see what must not come."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import modelarchive as ma
from modelarchive.store.guarded import boundary
from tests.hostile import figures, fuzz, hdf5_structures, judge, mutators, views
from tests.hostile.samples import Sample, samples

#: How many files; `python -m tests.hostile.fuzz` runs many more.
COUNT = 300
SEED = 20_26


#: Nearly all draw on the samples, which take seconds to make.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found() -> dict[str, Sample]:
    return samples()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mutant.h5"


def test_a_fixed_run(found: dict[str, Sample], path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "SECONDS", 2)
    counts: Counter[str] = Counter()
    for number in range(COUNT):
        family, sample, data = mutators.mutant(found, SEED, number)
        path.write_bytes(data)
        for verdict in judge.judge(path, sample):
            counts[verdict.outcome] += 1
            assert verdict.outcome in judge.GOOD, f"seed {SEED}, number {number}, {family}, {sample.name}: {verdict}"
    assert counts["refused"] > counts["equal"] > 0


def test_samples_are_whole_and_seen_alike(found: dict[str, Sample], path: Path) -> None:
    for sample in found.values():
        path.write_bytes(sample.data)
        assert views.by_h5py(path) == sample.view
        if sample.contents is not None:
            assert views.by_index(path) == sample.view
            assert len(sample.structures) >= 5
            verdicts = judge.judge(path, sample)
            assert [verdict.outcome for verdict in verdicts] == ["equal", "equal"]


def test_every_family_makes_mutants(found: dict[str, Sample]) -> None:
    seen = {mutators.mutant(found, 0, number)[0] for number in range(400)}
    assert seen == set(mutators.FAMILIES)


def test_the_same_number_is_the_same_file(found: dict[str, Sample]) -> None:
    forwards = [mutators.mutant(found, 5, number)[2] for number in range(100)]
    backwards = [mutators.mutant(found, 5, number)[2] for number in reversed(range(100))]
    assert forwards == backwards[::-1]


def test_what_is_sealed_is_right(found: dict[str, Sample], path: Path) -> None:
    """Sealing breaks nothing: what is refused of a sealed mutant is refused for its change."""
    for sample in found.values():
        if sample.contents is not None:
            path.write_bytes(mutators.sealed(sample.data, sample.contents))
            assert views.ours(path, verified=True, whole=True) == sample.view


def test_checksums_are_hdf5s(found: dict[str, Sample], path: Path) -> None:
    """A header whose padding is changed is read by h5py if its checksum was mended, and refused if not."""
    sample = found["arrays"]
    structure = next(each for each in sample.structures if each.kind == "OHDR" and each.messages)
    data = bytearray(sample.data)
    # The flags of a message that say that it is constant: nothing depends on them.
    data[structure.messages[0][0] + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises((OSError, RuntimeError, KeyError)):
        views.by_h5py(path)
    hdf5_structures.mended(data, structure)
    path.write_bytes(data)
    assert views.by_h5py(path) == sample.view


def test_it_sees_other_content(found: dict[str, Sample], path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = found["arrays"]
    path.write_bytes(sample.data)
    honest = views.ours
    name = next(iter(sample.view))

    def lying(path: Path, **options: Any) -> views.View:
        return {**honest(path, **options), name: ("float32", (1,), "0")}

    monkeypatch.setattr(views, "ours", lying)
    assert [verdict.outcome for verdict in judge.judge(path, sample)] == ["wrong", "wrong"]


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), MemoryError(), ma.FormatError("names no file")])
def test_it_sees_other_errors(
    error: Exception, found: dict[str, Sample], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = found["arrays"]
    path.write_bytes(sample.data)

    def failing(path: Path, **options: Any) -> views.View:
        raise error

    monkeypatch.setattr(views, "ours", failing)
    assert {verdict.outcome for verdict in judge.judge(path, sample)} == {"error"}


def test_it_sees_crashes_and_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "SECONDS", 1)

    def endless() -> None:
        while True:
            pass

    assert judge.apart(os.abort)[0] == "crash"
    assert judge.apart(endless)[0] == "hang"
    assert judge.apart(lambda: 1 / 0)[0] == "refused"
    assert judge.apart(lambda: {"a": [1]}) == ("done", {"a": [1]})


def test_a_process_that_dies_is_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mutant that takes the whole process with it, and the ones behind it are judged all the same."""
    line = {"family": "f", "sample": "s", "verdicts": [["load", "equal", ""]]}
    script = tmp_path / "dies.py"
    script.write_text(
        "import json, os, sys\n"
        "for number in range(int(sys.argv[1]), 6):\n"
        "    if number == 3: os.abort()\n"
        f"    print(json.dumps({{'number': number, **{line!r}}}), flush=True)\n"
    )

    def started(chosen: argparse.Namespace, first: int) -> Any:
        return subprocess.Popen([sys.executable, str(script), str(first)], stdout=subprocess.PIPE, bufsize=0)

    monkeypatch.setattr(fuzz, "_started", started)
    chosen = argparse.Namespace(
        count=6, seed=1, jobs=1, compare=0, record=tmp_path / "record.json", keep=None, resume=False
    )
    result = fuzz.run(chosen)
    assert result["tried"] == 6
    assert [(bad["number"], bad["verdicts"][0][1]) for bad in result["bad"]] == [(3, "crash")]
    assert figures.failures(result) == 1
    assert "| f | 5 |" in figures.tables(result)


def test_json_is_changed_within_bounds() -> None:
    rng = random.Random(0)
    for _ in range(300):
        value: Any = {"a": [1, {"b": "text"}, None], "c": {"d": [1.5, True]}}
        for _ in range(5):
            mutators.mutate_json(value, rng)
        assert len(repr(value)) < 5000
