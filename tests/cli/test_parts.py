"""``modelarchive extract`` and ``modelarchive transplant``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from tests.cli.conftest import Run


def test_extract_a_block(run: Run, model: Path, tmp_path: Path, net: ma.nn.Block, x: np.ndarray) -> None:
    out = tmp_path / "features.h5"
    done = run("extract", model, "features", "-o", out)
    assert (done.code, done.err) == (0, "")
    part = ma.load_model(out)
    assert np.array_equal(part(x), net.features(x))
    with ma.open(out) as archive:
        assert archive.metadata["license"] == "MIT"


def test_extract_children(run: Run, model: Path, tmp_path: Path, net: ma.nn.Block, x: np.ndarray) -> None:
    out = tmp_path / "first.h5"
    found = run("extract", model, "features", "--children", ":1", "-o", out, "--json").json
    assert found["parameters"] == ["0.weight", "0.bias"]
    assert np.array_equal(ma.load_model(out)(x), net.features[0](x))


def test_extract_what_lies_between_two_layers(
    run: Run, model: Path, tmp_path: Path, net: ma.nn.Block, x: np.ndarray
) -> None:
    head, tail, middle = tmp_path / "head.h5", tmp_path / "tail.h5", tmp_path / "middle.h5"
    found = run("extract", model, "--until", "features.0", "-o", head, "--json").json
    assert found["parameters"] == ["features.0.weight", "features.0.bias"]
    assert run("extract", model, "--from", "features", "-o", tail).code == 0
    assert run("extract", model, "--from", "features.0", "--until", "features", "-o", middle).code == 0
    between = ma.load_model(middle)(ma.load_model(head)(x))
    assert np.array_equal(between, net.features(x))
    assert np.array_equal(ma.load_model(tail)(between), net(x))
    assert run("extract", model, "features", "--until", "0", "-o", head).code == 0
    assert list(ma.load(head)) == ["0.weight", "0.bias"]


def test_extract_at_no_such_layer(run: Run, model: Path, tmp_path: Path) -> None:
    done = run("extract", model, "--until", "fetures", "-o", tmp_path / "out.h5")
    assert done.code == 2
    assert "did you mean 'features'?" in done.err
    assert run("extract", model, "--until", "features", "-o", tmp_path / "out.h5").code == 0


def test_extract_nothing_in_particular(run: Run, model: Path, tmp_path: Path) -> None:
    done = run("extract", model, "-o", tmp_path / "out.h5")
    assert done.code == 2
    assert "BLOCK, --until or --from is needed" in done.err
    assert not (tmp_path / "out.h5").exists()


def test_extract_from_parameters_alone(run: Run, parameters: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    assert run("extract", parameters, "output", "-o", out).code == 0
    assert list(ma.load(out)) == ["weight", "bias"]


@pytest.mark.parametrize("kind", ["model", "parameters"])
def test_extract_no_such_block(run: Run, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    file = request.getfixturevalue(kind)
    done = run("extract", file, "fetures", "-o", tmp_path / "out.h5")
    assert done.code == 2
    assert "fetures" in done.err
    assert "hint" in done.err
    assert not (tmp_path / "out.h5").exists()


def test_extract_wrong_children(run: Run, model: Path, tmp_path: Path) -> None:
    done = run("extract", model, "features", "--children", "first", "-o", tmp_path / "out.h5")
    assert done.code == 2
    assert "'first' is not of the form 0:2" in done.err


def test_transplant(run: Run, model: Path, tmp_path: Path, net: ma.nn.Block, x: np.ndarray) -> None:
    target, out = tmp_path / "target.h5", tmp_path / "out.h5"
    other = ma.nn.Sequential()
    other.add(backbone=ma.nn.Sequential(ma.nn.Dense(8), ma.nn.Dense(6)), head=ma.nn.Dense(2))
    other.initialize(seed=1)
    other(x)
    ma.save_model(target, other, inputs=x)
    before = target.read_bytes()
    arguments = ("transplant", model, target, "--select", "features.*", "--rename", "features.*=backbone.*", "--freeze")

    plan = run(*arguments, "--dry-run")
    assert plan.code == 0
    assert "would be copied" in plan.out
    assert not out.exists()

    done = run(*arguments, "-o", out)
    assert (done.code, done.err) == (0, "")
    assert "4 parameters copied" in done.out
    assert target.read_bytes() == before
    built = ma.load_model(out)
    assert np.array_equal(built.backbone[0].weight.data(), net.features[0].weight.data())
    assert not built.backbone[0].weight.trainable
    assert built.head.weight.trainable
    assert np.array_equal(built.head.weight.data(), other.head.weight.data())

    found = run(*arguments, "-o", out, "--json").json
    assert found["copied"]["backbone.0.weight"] == {"source": "features.0.weight", "how": "whole"}


def test_rows_by_word(run: Run, tmp_path: Path) -> None:
    class Words(ma.nn.Block):
        def __init__(self, count: int) -> None:
            super().__init__()
            self.embedding = ma.nn.Embedding(count, 2)

        def forward(self, x: np.ndarray) -> np.ndarray:
            return self.embedding(x)

    ours, theirs = Words(3), Words(2)
    for seed, each in enumerate((ours, theirs)):
        each.initialize(seed=seed)
    tokens = np.zeros((1, 1), np.int64)
    ma.save_model(tmp_path / "ours.h5", ours, inputs=tokens, tokens={"embedding.weight": ["a", "b", "c"]})
    ma.save_model(tmp_path / "theirs.h5", theirs, inputs=tokens)
    (tmp_path / "words.txt").write_text("c\nnew\n")
    rows = f"embedding.weight={tmp_path / 'words.txt'}"
    done = run("transplant", tmp_path / "ours.h5", tmp_path / "theirs.h5", "--rows", rows, "-o", tmp_path / "out.h5")
    assert (done.code, done.err) == (0, "")
    assert "1 of 2 rows by word" in done.out
    found = ma.load(tmp_path / "out.h5")["embedding.weight"]
    assert np.array_equal(found[0], ours.embedding.weight.data()[2])
    assert np.array_equal(found[1], theirs.embedding.weight.data()[1])


def test_transplant_refused(run: Run, model: Path, parameters: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    done = run("transplant", model, parameters, "--rename", "output.*=features.0.*", "--select", "output.*", "-o", out)
    assert done.code == 2
    assert "features.0.weight" in done.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rename", "a"], "not of the form OLD=NEW"),
        (["--rows", "x=missing.txt"], "no such file"),
        (["--mismatch", "perhaps"], "invalid choice"),
        ([], "-o OUT is needed"),
    ],
)
def test_transplant_wrong_use(run: Run, model: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    output = ["-o", tmp_path / "out.h5"] if arguments else []
    done = run("transplant", model, model, *arguments, *output)
    assert done.code in (2, 4)
    assert words in done.err
