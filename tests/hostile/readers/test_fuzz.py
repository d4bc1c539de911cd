"""The fuzzer of what reads other systems' files: a fixed run of it, and that it would see what must not come."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import models
from tests.hostile.readers import figures, fuzz, guided, judge, messages, mutators, references
from tests.hostile.readers.samples import Sample, kept, samples

#: How many files; `python -m tests.hostile.readers.fuzz` runs many more.
COUNT = 500
SEED = 20_26


class Unwatched:
    """Stands for what hears the interpreter's events, which no process gets rid of again."""

    @contextlib.contextmanager
    def over(self, folder: Path) -> Iterator[dict[str, None]]:
        yield {}


@pytest.fixture(scope="module")
def found() -> dict[str, Sample]:
    return samples()


def judged(sample: Sample, folder: Path) -> judge.Verdict:
    return judge.judge(sample.put(folder), sample, Unwatched(), show=True)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_fixed_run(tmp_path: Path) -> None:
    record = tmp_path / "counts.json"
    code = fuzz.main(["--count", str(COUNT), "--seed", str(SEED), "--record", str(record)])
    result = json.loads(record.read_text("utf-8"))
    assert (code, result["bad"]) == (0, [])
    assert result["tried"] == COUNT
    counts: Counter[str] = Counter()
    for _, outcome, count in result["counts"]:
        counts[outcome] += count
    assert counts["refused"] > counts["equal"] > 50
    assert {reader for reader, _, _ in result["counts"]} == set(mutators.WEIGHTS)


@pytest.mark.slow
def test_samples_are_whole_and_seen_alike(found: dict[str, Sample], tmp_path: Path) -> None:
    outcomes: Counter[tuple[str, str]] = Counter()
    for at, sample in enumerate(found.values()):
        folder = tmp_path / str(at)
        folder.mkdir()
        verdict = judged(sample, folder)
        assert verdict.outcome in judge.GOOD, f"{sample.reader}, {sample.name}: {verdict}"
        assert verdict.outcome == "refused" or sample.reader != "none"
        outcomes[sample.reader, verdict.outcome] += 1
    for reader, reference in references.REFERENCES.items():
        is_there = importlib.util.find_spec(reference.needs) is not None
        assert outcomes[reader, "equal"] > (1 if is_there else -1), reader


@pytest.mark.slow
def test_the_same_number_is_the_same_file(found: dict[str, Sample]) -> None:
    forwards = [mutators.mutant(found, 5, number) for number in range(100)]
    backwards = [mutators.mutant(found, 5, number) for number in reversed(range(100))]
    assert forwards == backwards[::-1]


@pytest.mark.slow
def test_every_way_makes_files_of_its_kind(found: dict[str, Sample]) -> None:
    rng = random.Random(0)
    files = [data for sample in found.values() for data in sample.files.values()]
    for is_it, way in mutators.WAYS:
        fitting = [data for data in files if is_it(data)]
        made = [way(data, fitting, rng) for data in fitting for _ in range(10)]
        assert sum(data is not None for data in made) > len(made) / 2, way
        assert any(is_it(data) for data in made if data is not None), way


def test_messages_come_back_as_they_were(found: dict[str, Sample]) -> None:
    for sample in found.values():
        if sample.reader == "onnx":
            data = sample.files[sample.path]
            assert messages.message_of(messages.fields_of(data)) == data


def test_what_is_packed_or_kept_comes_back(found: dict[str, Sample], tmp_path: Path) -> None:
    for at, sample in enumerate(found.values()):
        assert guided.unpacked(guided.packed(sample)) == sample
        sample.keep(tmp_path / str(at))
        assert kept(tmp_path / str(at)) == sample
    assert guided.unpacked(b"") is None


def _small(found: dict[str, Sample], tmp_path: Path) -> tuple[Sample, Path]:
    return found["safetensors/small.safetensors"], tmp_path


def test_it_sees_other_content(found: dict[str, Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = models.read

    def lying(path: Path, **options: Any) -> Any:
        bundle = honest(path, **options)
        bundle.parameters = {name: np.array(array) + 1 for name, array in bundle.parameters.items()}
        return bundle

    monkeypatch.setattr(models, "read", lying)
    assert judged(*_small(found, tmp_path)).outcome == "wrong"


def test_it_sees_what_is_left_out(found: dict[str, Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = models.read

    def less(path: Path, **options: Any) -> Any:
        bundle = honest(path, **options)
        bundle.parameters = dict([*bundle.parameters.items()][1:])
        return bundle

    monkeypatch.setattr(models, "read", less)
    assert judged(*_small(found, tmp_path)).outcome == "wrong"
    assert judged(found["mxnet/mydict"], tmp_path).outcome == "wrong"


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), MemoryError(), ma.FormatError("names no file")])
def test_it_sees_other_errors(
    error: Exception, found: dict[str, Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(models, "read", failing)
    assert judged(*_small(found, tmp_path)).outcome == "error"


@pytest.mark.slow
def test_it_sees_what_takes_long(found: dict[str, Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(path: Path, **options: Any) -> Any:
        with contextlib.suppress(Exception):
            while True:
                pass

    monkeypatch.setattr(models, "read", endless)
    monkeypatch.setattr(judge, "SECONDS", 0.1)
    assert judged(*_small(found, tmp_path)).outcome == "slow"


@pytest.mark.slow
def test_it_sees_what_takes_memory(found: dict[str, Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = models.read

    def greedy(path: Path, **options: Any) -> Any:
        np.ones(128 << 20, np.uint8)  # too large to lie in what the process has freed, and still holds
        return honest(path, **options)

    monkeypatch.setattr(models, "read", greedy)
    monkeypatch.setattr(judge, "ROOM", 16 << 20)
    assert judged(*_small(found, tmp_path)).outcome == "memory"


def test_what_ends_the_process_is_kept_and_counted(tmp_path: Path, found: dict[str, Sample]) -> None:
    chosen = fuzz.parser().parse_args(["--keep", str(tmp_path / "keep"), "--jobs", "2"])
    chosen.folder = tmp_path
    sample = found["torch/state.pt"]
    sample.keep(tmp_path / "1")
    line = fuzz._lost(chosen, 7, "crash", -11)
    assert (line["reader"], line["verdict"][0]) == ("torch", "crash")
    assert kept(tmp_path / "keep" / "1-7") == sample


def test_the_table_adds_runs() -> None:
    run = {"tried": 3, "seed": 1, "guided": False, "counts": [["onnx", "refused", 2], ["none", "error", 1]]}
    text = figures.tables([run, run | {"guided": True, "seed": 2}])
    assert "6 files (3 by chance, seed 1; 3 led by coverage, seed 2)" in text
    assert "| ONNX | 4 | 4 | 0 |" in text
    assert "| all | 6 | 4 | 0 | 0 | 0 | 2 |" in text
