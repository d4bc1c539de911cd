"""What a transplant moves, where it moves it, and that it moves all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive import nn
from tests.transplant.networks import Donor, Receiver, Tied, Words, X, ready, state, values

RENAME = {"features.*": "backbone.*"}
WORDS = ["the", "cat", "sat", "on", "mat"]
OTHERS = ["a", "mat", "the", "dog"]


@pytest.fixture
def donor() -> nn.Block:
    return ready(Donor())


@pytest.fixture
def path(tmp_path: Path, donor: nn.Block) -> Path:
    path = tmp_path / "donor.h5"
    ma.save_model(path, donor, inputs=X, durable=False)
    return path


SOURCES: dict[str, Callable[[nn.Block, Path], Any]] = {
    "path": lambda donor, path: path,
    "text path": lambda donor, path: str(path),
    "block": lambda donor, path: donor,
    "mapping": lambda donor, path: {name: p.data() for name, p in donor.collect_params().items()},
}


@pytest.mark.parametrize("source", SOURCES)
def test_features_into_another_network(donor: nn.Block, path: Path, source: str) -> None:
    target = ready(Receiver(), seed=1)
    before = values(target)
    report = ma.transplant(SOURCES[source](donor, path), target, select="features.*", rename=RENAME)
    given_, after = values(donor), values(target)
    for name in ("0.weight", "0.bias", "1.weight", "1.bias"):
        assert after[f"backbone.{name}"] == given_[f"features.{name}"]
        assert report.copied[f"backbone.{name}"] == (f"features.{name}", "whole")
    assert after["output.weight"] == before["output.weight"]
    assert report.missing == ["output.weight", "output.bias"]
    assert not report.unexpected
    np.testing.assert_array_equal(target.backbone(X), donor.features(X))


def test_an_open_archive_and_a_closed_one(donor: nn.Block, path: Path) -> None:
    target = ready(Receiver(), seed=1)
    with ma.open(path) as archive:
        ma.transplant(archive, target, select="features.*", rename=RENAME)
    path.write_bytes(bytes(path.stat().st_size))
    np.testing.assert_array_equal(target.backbone(X), donor.features(X))


def test_values_are_copies(donor: nn.Block) -> None:
    target = ready(Receiver(), seed=1)
    ma.transplant(donor, target, select="features.*", rename=RENAME)
    before = values(target)
    for parameter in donor.collect_params().values():
        parameter.data()[...] = 0
    assert values(target) == before


def test_without_select_all_that_fits_by_name(donor: nn.Block) -> None:
    target = ready(Receiver(classes=3), seed=1)
    report = ma.transplant(donor, target)
    assert set(report.copied) == {"output.weight", "output.bias"}
    assert len(report.unexpected) == 4


def test_a_deferred_target_learns_its_shapes(donor: nn.Block) -> None:
    target = Receiver()
    target.initialize(seed=1)
    report = ma.transplant(donor, target, select="features.*", rename=RENAME)
    assert len(report.copied) == 4
    assert target.backbone[0].weight.shape == (8, 12)
    assert target(X).shape == (2, 5)
    np.testing.assert_array_equal(target.backbone(X), donor.features(X))


def test_a_target_that_was_never_initialised(donor: nn.Block) -> None:
    target = Receiver(classes=3)
    ma.transplant(donor, target, select=["features.*", "output.*"], rename=RENAME)
    np.testing.assert_array_equal(target(X), donor(X))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"select": "*"}, ma.ParameterError, "features.0.weight"),
        ({"select": "features.*"}, ma.ParameterError, "unexpected  features.0.weight"),
        (
            {"select": ["features.*", "output.*"], "rename": RENAME},
            ma.ParameterError,
            r"mismatched  output.weight: expected shape \(5, 6\), found shape \(3, 6\)",
        ),
        ({"select": "feature.*"}, ma.ParameterError, "no source parameter matches"),
        ({"select": []}, ma.ParameterError, "no source parameter matches"),
        ({"rename": {"features.*": "output.weight"}}, ValueError, "rename sends both"),
        ({"rename": {"features.0.*": "output.*"}}, ValueError, "'output.weight' keeps its name: select= leaves it out"),
        ({"rename": {"features.*": "a.*.*"}}, ValueError, "more wildcards"),
        ({"mismatch": "ignore"}, ValueError, "error, skip, overlap"),
        ({"mismatch": "skip", "rows": {"output.bias": (["a"], ["b"])}}, ValueError, "words for"),
        ({"rows": {"nothing": (["a"], ["b"])}, "mismatch": "skip"}, ValueError, "nothing is copied into"),
        ({"rows": {"output.weight": ["a"]}, "mismatch": "skip"}, ValueError, "carries no words"),
        ({"rows": {"output.weight": (["a", "a", "b"], list("abcde"))}}, ValueError, "stands twice"),
    ],
)
def test_all_or_nothing(donor: nn.Block, options: dict[str, Any], error: type[Exception], words: str) -> None:
    target = ready(Receiver(), seed=1)
    before = state(target)
    with pytest.raises(error, match=words):
        ma.transplant(donor, target, freeze=True, **options)
    assert state(target) == before


def test_every_problem_in_one_error(donor: nn.Block) -> None:
    target = ready(Receiver(), seed=1)
    with pytest.raises(ma.ParameterError) as caught:
        ma.transplant(donor, target, select="*", rename={"features.0.*": "backbone.0.*"})
    assert caught.value.unexpected == ["features.1.weight", "features.1.bias"]
    assert caught.value.mismatched.keys() == {"output.weight", "output.bias"}
    assert 'mismatch="skip"' in str(caught.value.hint)
    assert "rename=" in str(caught.value.hint)


def test_skip(donor: nn.Block) -> None:
    target = ready(Receiver(), seed=1)
    before = values(target)
    report = ma.transplant(donor, target, rename=RENAME, mismatch="skip")
    assert report.mismatched.keys() == {"output.weight", "output.bias"}
    assert len(report.copied) == 4
    assert values(target)["output.weight"] == before["output.weight"]


def test_overlap(donor: nn.Block) -> None:
    target = ready(Receiver(classes=5), seed=1)
    before = target.output.weight.data().copy()
    report = ma.transplant(donor, target, rename=RENAME, mismatch="overlap")
    np.testing.assert_array_equal(target.output.weight.data()[:3], donor.output.weight.data())
    np.testing.assert_array_equal(target.output.weight.data()[3:], before[3:])
    assert report.copied["output.weight"][1] == "overlap (3, 6) of (5, 6)"


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    ours=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    theirs=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    policy=st.sampled_from(["error", "skip", "overlap"]),
)
def test_policies(ours: tuple[int, int], theirs: tuple[int, int], policy: str) -> None:
    """Against NumPy's own slicing, for every pair of shapes."""
    target = nn.Block()
    target.w, target.v = nn.Parameter(theirs, init="zeros"), nn.Parameter((1,), init="zeros")
    target.initialize()
    source = {"w": np.arange(1, 1 + np.prod(ours), dtype="f4").reshape(ours), "v": np.ones(1, "f4")}
    expected = np.zeros(theirs, "f4")
    if ours == theirs or policy == "overlap":
        common = tuple(slice(min(pair)) for pair in zip(ours, theirs, strict=True))
        expected[common] = source["w"][common]
    if ours != theirs and policy == "error":
        with pytest.raises(ma.ParameterError):
            ma.transplant(source, target, mismatch=policy)
        assert target.v.data() == 0
    else:
        ma.transplant(source, target, mismatch=policy)
        assert target.v.data() == 1
    np.testing.assert_array_equal(target.w.data(), expected)


@pytest.mark.parametrize("policy", ["error", "skip", "overlap"])
def test_another_dtype_is_never_cast(donor: nn.Block, policy: str) -> None:
    donor.cast("float64")
    target = ready(Receiver(classes=3), seed=1)
    before = values(target)
    with pytest.raises(ma.ParameterError):
        ma.transplant(donor, target, mismatch=policy)
    assert values(target) == before


def test_a_dry_run_changes_nothing(donor: nn.Block) -> None:
    target = ready(Receiver(), seed=1)
    before = state(target)
    options = {"select": "features.*", "rename": RENAME, "freeze": True}
    planned = ma.transplant(donor, target, dry_run=True, **options)
    assert state(target) == before
    done = ma.transplant(donor, target, **options)
    assert (planned.copied, planned.frozen, planned.missing) == (done.copied, done.frozen, done.missing)
    assert "4 would be copied" in str(planned)
    assert "4 copied, 4 frozen" in str(done)


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [(True, 4), (False, 0), ("backbone.0.*", 2), (["*.bias"], 2)],
)
def test_freeze(donor: nn.Block, tmp_path: Path, freeze: Any, frozen: int) -> None:
    target = ready(Receiver(), seed=1)
    report = ma.transplant(donor, target, select="features.*", rename=RENAME, freeze=freeze)
    still = [name for name, p in target.collect_params().items() if not p.trainable]
    assert still == report.frozen
    assert len(still) == frozen
    ma.save_model(tmp_path / "x.h5", target, inputs=X)
    again = ma.load_model(tmp_path / "x.h5")
    assert [name for name, p in again.collect_params().items() if not p.trainable] == still


def test_freeze_that_matches_nothing(donor: nn.Block) -> None:
    target = ready(Receiver(), seed=1)
    before = target.backbone[0].weight.data().tobytes()
    with pytest.raises(ValueError, match="matches nothing"):
        ma.transplant(donor, target, select="features.*", rename=RENAME, freeze="output.*")
    assert target.backbone[0].weight.data().tobytes() == before


def rows_of(net: nn.Block, words: list[str]) -> dict[str, bytes]:
    return {word: row.tobytes() for word, row in zip(words, net.embedding.weight.data(), strict=True)}


@pytest.mark.parametrize("stored", [True, False])
def test_rows_by_word(tmp_path: Path, stored: bool) -> None:
    """Into another vocabulary: by the words given, or by those that the archive carries."""
    tokens = np.zeros((1, 3), "i4")
    donor, target = ready(Words(len(WORDS)), x=tokens), ready(Words(len(OTHERS)), seed=1, x=tokens)
    path = tmp_path / "words.h5"
    ma.save_model(path, donor, inputs=tokens, tokens={"embedding.weight": WORDS})
    before, given_ = rows_of(target, OTHERS), rows_of(donor, WORDS)
    rows: Any = {"embedding.weight": OTHERS if stored else (WORDS, OTHERS)}
    report = ma.transplant(path if stored else donor, target, select="embedding.*", rows=rows)
    after = rows_of(target, OTHERS)
    assert {word: after[word] for word in ("mat", "the")} == {word: given_[word] for word in ("mat", "the")}
    assert {word: after[word] for word in ("a", "dog")} == {word: before[word] for word in ("a", "dog")}
    assert report.copied["embedding.weight"][1] == "2 of 4 rows by word"


def test_rows_without_a_word_stay_as_they_are() -> None:
    tokens = np.zeros((1, 3), "i4")
    donor, target = ready(Words(4), x=tokens), ready(Words(5), seed=1, x=tokens)
    before = target.embedding.weight.data().copy()
    rows = {"embedding.weight": (["", "a", "", "b"], ["", "b", "", "c", ""])}
    report = ma.transplant(donor, target, select="embedding.*", rows=rows)
    assert report.copied["embedding.weight"][1] == "1 of 5 rows by word"
    expected = before.copy()
    expected[1] = donor.embedding.weight.data()[3]
    np.testing.assert_array_equal(target.embedding.weight.data(), expected)


def test_rows_follow_a_rename(tmp_path: Path) -> None:
    tokens = np.zeros((1, 3), "i4")
    path = tmp_path / "words.h5"
    ma.save_model(path, ready(Words(5), x=tokens), inputs=tokens, tokens={"embedding.weight": WORDS})
    target = nn.Block()
    target.table = nn.Embedding(4, 4)
    target.initialize(seed=1)
    report = ma.transplant(
        path, target, select="embedding.*", rename={"embedding.*": "table.*"}, rows={"table.weight": OTHERS}
    )
    assert report.copied["table.weight"] == ("embedding.weight", "2 of 4 rows by word")


def test_rows_of_another_width(donor: nn.Block) -> None:
    tokens = np.zeros((1, 3), "i4")
    source, target = ready(Words(5, width=3), x=tokens), ready(Words(4), x=tokens)
    before = state(target)
    with pytest.raises(ma.ParameterError, match="rows of"):
        ma.transplant(source, target, select="embedding.*", rows={"embedding.weight": (WORDS, OTHERS)})
    assert state(target) == before


@pytest.mark.parametrize("number", [4, 6])
def test_word_lists_of_the_wrong_length(number: int) -> None:
    tokens = np.zeros((1, 3), "i4")
    source, target = ready(Words(5), x=tokens), ready(Words(4), x=tokens)
    words = [f"w{i}" for i in range(number)]
    with pytest.raises(ValueError, match=f"{number} and 4 words for 5 and 4 rows"):
        ma.transplant(source, target, select="embedding.*", rows={"embedding.weight": (words, OTHERS)})


def test_a_shared_parameter_of_the_target_is_filled_once() -> None:
    target = ready(Tied(), x=np.zeros((1, 6), "f4"))
    weight = np.ones((6, 6), "f4")
    report = ma.transplant({"first.weight": weight}, target)
    assert target.second.weight is target.first.weight
    np.testing.assert_array_equal(target.second.weight.data(), weight)
    assert report.missing == []
    ma.transplant({"first.weight": weight * 2, "second.weight": weight * 2}, target)
    np.testing.assert_array_equal(target.second.weight.data(), weight * 2)


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_a_shared_parameter_takes_no_two_values(policy: str) -> None:
    target = ready(Tied(), x=np.zeros((1, 6), "f4"))
    before = state(target)
    source = {"first.weight": np.ones((6, 6), "f4"), "second.weight": np.zeros((6, 6), "f4")}
    if policy == "error":
        with pytest.raises(ma.ParameterError, match="which it is shared with"):
            ma.transplant(source, target)
        assert state(target) == before
    else:
        report = ma.transplant(source, target, mismatch="skip")
        assert report.mismatched.keys() == {"second.weight"}
        assert (target.first.weight.data() == 1).all()


def test_from_a_tied_source_into_an_untied_target(tmp_path: Path) -> None:
    tied = ready(Tied(), x=np.zeros((1, 6), "f4"))
    ma.save_model(tmp_path / "tied.h5", tied, inputs=np.zeros((1, 6), "f4"))
    target = nn.Block()
    target.first, target.second = (nn.Dense(6, use_bias=False, in_units=6) for _ in range(2))
    target.initialize(seed=1)
    ma.transplant(tmp_path / "tied.h5", target, select="*")
    np.testing.assert_array_equal(target.first.weight.data(), target.second.weight.data())
    target.first.weight.data()[...] = 0
    assert target.second.weight.data().any(), "the copies must not share memory"


def test_into_itself(donor: nn.Block) -> None:
    before = values(donor)
    ma.transplant(donor, donor, rename={"features.*": "features.*"})
    assert values(donor) == before


def test_a_network_of_another_type_is_refused(donor: nn.Block) -> None:
    for wrong in ([1], 3, None):
        with pytest.raises(TypeError, match="expected a path, an archive, a network or a mapping"):
            ma.transplant(wrong, donor)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rename": [("a", "b")]}, "rename is list, expected a dict"),
        ({"rename": {"a": None}}, "None is NoneType, expected a name or pattern"),
        ({"select": 3}, "3 is int, expected a pattern or several"),
        ({"select": ["a", 3]}, "3 is int, expected a name or pattern"),
        ({"freeze": 3}, "3 is int, expected a pattern or several"),
        ({"resize": "bicubic"}, "resize is str, expected a dict"),
        ({"rows": ["a"]}, "rows is list, expected a dict"),
    ],
)
def test_options_of_another_type_are_refused(options, words):
    target = {"a": np.zeros(1)}
    with pytest.raises(TypeError, match=words):
        ma.transplant({"a": np.ones(1)}, target, **options)
    assert target["a"][0] == 0


def test_patterns_may_come_from_an_iterator():
    target = {"a": np.zeros(1), "b": np.zeros(1)}
    report = ma.transplant({"a": np.ones(1), "b": np.ones(1)}, target, select=(name for name in "a"))
    assert list(report.copied) == ["a"]


def test_names_that_a_file_cannot_hold_as_they_are(tmp_path):
    names = ["a/b.w", "100%.w", "%2F", "é ü:/", ".", ""]
    ma.save(tmp_path / "x.h5", {name: np.full(1, number) for number, name in enumerate(names)})
    target = {name: np.zeros(1, int) for name in names}
    ma.transplant(tmp_path / "x.h5", target)
    assert [int(each[0]) for each in target.values()] == [*range(len(names))]
    deep = {"a/b": np.zeros(1, int)}
    ma.save(tmp_path / "deep.h5", {"a": {"b": np.ones(1, int)}})
    ma.transplant(tmp_path / "deep.h5", deep)
    assert deep["a/b"][0] == 1
