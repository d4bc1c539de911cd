"""The page says what the file holds, in JSON that no parser of HTML finds a tag in, and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import os
import re
import shutil
import sys
import tracemalloc
from importlib import resources
from pathlib import Path
from typing import Any

import h5py
import jsonschema
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, page
from modelarchive.page import runs
from modelarchive.page.thumbnails import LETTERS, heights
from tests.cli.conftest import Run as Run
from tests.cli.conftest import run as run
from tests.conftest import ROOT
from tests.page import samples

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((resources.files("modelarchive.schemas") / "page" / "page-1.json").read_text("utf-8"))
)


class _Parser(html.parser.HTMLParser):
    """The elements of a page, as a browser finds them, and their texts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = dict(attrs).get("id") or tag
        self.texts.setdefault(self._open, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open, [""])[-1] += data


def parsed(path: Path, other: Path | None = None) -> tuple[_Parser, dict[str, Any]]:
    parser = _Parser()
    parser.feed(page.render(path, other=other))
    shown: dict[str, Any] = json.loads(parser.texts["content"][0])
    SCHEMA.validate(shown)
    return parser, shown


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return samples.networks(tmp_path_factory.mktemp("networks"))


@pytest.mark.slow
def test_it_loads_nothing_and_runs_its_own_script_alone(networks: dict[str, Path]) -> None:
    parser, _ = parsed(networks["lenet"])
    assert [tag for tag, _ in parser.tags] == [
        "html", "head", "meta", "meta", "meta", "meta", "title", "style", "body", "noscript", "div", "script", "script"
    ]  # fmt: skip
    policy = next(found["content"] for _, found in parser.tags if "http-equiv" in found)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for tag in ("script", "style"):
        digest = hashlib.sha256(parser.texts[tag][-1].encode()).digest()
        assert rules[f"{tag}-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert not [found for _, found in parser.tags if {"src", "href"} & found.keys()]
    text = "".join(parser.texts["script"]) + "".join(parser.texts["style"])
    assert not re.search(
        r"\bfetch\(|XMLHttpRequest|@import|url\(|\beval\(|innerHTML|document\.write|new Function", text
    )


def test_nothing_of_a_file_is_markup(tmp_path: Path) -> None:
    clean, _ = parsed(samples.many(tmp_path / "many.h5", 3))
    path = samples.hostile(tmp_path / "<b>hostile&amp;.h5")
    parser, shown = parsed(path)
    assert [tag for tag, _ in parser.tags] == [tag for tag, _ in clean.tags]
    assert parser.texts["title"] == [path.name]
    values = [each["value"] for each in shown["models"][0]["arrays"] if "value" in each]
    assert values == list(samples.HOSTILE)
    raw = page.render(path).partition('id="content">')[2].partition("</script>")[0]
    assert not set("<>&\u2028\u2029") & set(raw)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet", "encoder", "resnet", "unet", "classifier"])
def test_blocks_steps_and_arrays(networks: dict[str, Path], name: str) -> None:
    shown = parsed(networks[name])[1]["models"][0]
    network = ma.load_model(networks[name])
    blocks = shown["blocks"]
    assert [block["path"] for block in blocks] == [
        path for path, _ in network.named_blocks() if not path.endswith("out_proj")
    ]
    assert [each["name"] for each in shown["arrays"]] == list(network.collect_params())
    seen = set()
    for at, block in enumerate(blocks):
        for child in block.get("children", ()):
            assert child > at
            seen.add(child)
        steps = block.get("nodes", ())
        for start, end, _ in block.get("edges", ()):
            assert 0 <= start < end < len(steps)
        assert {step["role"] for step in steps} <= {"input", "output", "block", "call", "op", "parameter"}
        assert not steps or "children" in block
    assert seen == set(range(1, len(blocks)))
    drawn = [step["block"] for block in blocks for step in block.get("nodes", ()) if step["role"] == "block"]
    assert len(drawn) == len(set(drawn)), "a block is drawn once, and called again elsewhere"


@pytest.mark.slow
def test_damage_is_named(tmp_path: Path) -> None:
    path = samples.damaged(tmp_path / "x.h5")
    shown = parsed(path)[1]["models"][0]
    with pytest.raises(ma.IntegrityError) as caught:
        ma.verify(path)
    assert [where for where, _ in shown["damaged"]] == list(caught.value.damaged) == ["1.weight"]
    assert dict(shown["facts"])["checked"] == "not whole: 1 damaged part"


def test_damage_in_a_shard_is_that_of_an_array(tmp_path: Path) -> None:
    """The page leads to it; its shard is said with what is wrong."""
    network = nn.Sequential(nn.Dense(4, in_units=3), nn.Dense(2, in_units=4))
    network.initialize(seed=0)
    ma.save_model(tmp_path / "x", network, inputs=np.zeros((1, 3), np.float32), max_shard_size=60)
    file = next(each for each in (tmp_path / "x").glob("*.safetensors") if "1.weight" in ma.load(each))
    samples.damage(file, "1.weight")
    ((where, what),) = parsed(tmp_path / "x")[1]["models"][0]["damaged"]
    assert where == "1.weight"
    assert what.startswith(f"in {file.name}: expected ")
    assert "found" in what


@pytest.mark.slow
def test_what_was_checked_is_said(networks: dict[str, Path], tmp_path: Path) -> None:
    path = shutil.copy(networks["lenet"], tmp_path / "lenet.h5")
    shown = parsed(path)[1]["models"][0]
    assert shown["damaged"] == []
    assert "signature" not in dict(shown["facts"])
    assert dict(shown["facts"])["checked"].startswith("every digest")
    (tmp_path / "lenet.h5.sig").write_bytes(bytes(64))
    assert "--key" in dict(parsed(path)[1]["models"][0]["facts"])["signature"]
    with h5py.File(path, "r+") as file:
        file.attrs["author"] = "somebody"
    with pytest.warns(UserWarning, match="reindex"):
        shown = parsed(path)[1]["models"][0]
    assert [where for where, _ in shown["damaged"]] == ["(index)"]


@pytest.mark.slow
def test_shapes_stand_on_edges(networks: dict[str, Path]) -> None:
    shown = parsed(networks["lenet"])[1]["models"][0]
    features = next(block for block in shown["blocks"] if block["path"] == "features")
    assert [label for *_, label in features["edges"]] == [
        f"batch x {each}" for each in ("1 x 28 x 28", "6 x 28 x 28", "6 x 14 x 14", "16 x 10 x 10", "16 x 5 x 5")
    ]


@pytest.mark.slow
def test_blocks_built_alike_have_one_number(networks: dict[str, Path]) -> None:
    blocks = {block["path"]: block for block in parsed(networks["encoder"])[1]["models"][0]["blocks"]}
    assert len({blocks[f"layers.{at}"]["alike"] for at in range(12)}) == 1
    assert blocks["layers.0.linear1"]["alike"] != blocks["layers.0.linear2"]["alike"]


@pytest.mark.slow
def test_trouble_is_in_the_numbers(tmp_path: Path) -> None:
    arrays = {
        each["name"]: each["statistics"]
        for each in parsed(samples.troubled(tmp_path / "x.h5"))[1]["models"][0]["arrays"]
    }
    assert [name for name, each in arrays.items() if each["nans"]] == ["layer.277.weight"]
    assert [name for name, each in arrays.items() if each["zeros"] == 64] == ["layer.100.weight"]


def test_two_files(tmp_path: Path) -> None:
    shown = parsed(*samples.two(tmp_path))[1]
    assert [each["title"] for each in shown["models"]] == ["before.h5", "after.h5"]
    changes = shown["changes"]
    assert changes["equal"] == 3
    assert list(changes["arrays"]) == ["1.weight"]
    before = ma.load(tmp_path / "before.h5")["1.weight"].astype(np.float64)
    relative = np.sqrt(before.size * 0.25**2) / np.sqrt(np.square(before).sum())
    assert float(changes["arrays"]["1.weight"]["relative"]) == pytest.approx(relative, rel=1e-3)
    assert changes["metadata"] == [["/step", "1", "2"]]
    assert changes["architecture"] == []


def test_a_run(tmp_path: Path) -> None:
    folder = samples.run(tmp_path / "run")
    shown = parsed(folder)[1]
    run = shown["run"]
    assert [each["title"] for each in shown["models"]] == ["step-00000500.h5"]
    assert [each["step"] for each in run["checkpoints"]] == [100, 200, 300, 400, 500]
    assert [each["problem"] for each in run["checkpoints"]] == ["", "", "damaged: classifier.2.weight", "", ""]
    assert [each["metrics"].get("accuracy") for each in run["checkpoints"]] == [0.6, 0.8, None, 0.9, 0.92]
    whole = {step: ma.load(folder / f"step-00000{step}.h5") for step in (100, 200, 400, 500)}
    flat = {step: np.concatenate([each.ravel() for each in found.values()]) for step, found in whole.items()}
    norms = [np.linalg.norm(each.astype(np.float64)) for each in flat.values()]
    assert [each for each in run["norm"] if each is not None] == pytest.approx(norms, rel=1e-4)
    assert run["norm"][2] is run["move"][0] is run["move"][2] is None
    for before, after, at in ((100, 200, 1), (200, 400, 3), (400, 500, 4)):
        moved = np.linalg.norm(flat[after] - flat[before]) / np.linalg.norm(flat[before])
        assert run["move"][at] == pytest.approx(moved, rel=1e-3)
    assert run["moves"]["features.0.weight"] == [None, 0, None, 0, 0]
    name = "classifier.1.weight"
    moved = np.linalg.norm(whole[500][name] - whole[400][name]) / np.linalg.norm(whole[400][name])
    assert run["moves"][name][4] == pytest.approx(moved, rel=1e-3)
    assert run["norms"][name][1] == pytest.approx(np.linalg.norm(whole[200][name]), rel=1e-4)


def test_a_run_that_goes_beyond_all_bounds(tmp_path: Path) -> None:
    """A run that diverges is looked at most of all: its squares are larger than any number."""
    net = nn.Dense(2, in_units=2, dtype="float64")
    net.initialize()
    with ma.Checkpoints(tmp_path / "run") as checkpoints:
        for step, value in enumerate((1e200, 1e200, -1e200, 1.7e308, 1.7e308)):
            net.weight.set_data(np.full((2, 2), value))
            checkpoints.save(step, model=net)
    run = parsed(tmp_path / "run")[1]["run"]
    assert run["norm"] == [2e200, 2e200, 2e200, None, None]
    assert run["moves"]["weight"][:2] == [None, 0]
    assert [each["problem"] for each in run["checkpoints"]] == [""] * 5


def test_a_checkpoint_that_is_removed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = samples.run(tmp_path / "run")
    gone = folder / "step-00000200.h5"
    look = runs.opened

    def opened(path: Path) -> Any:
        if path == gone:
            gone.unlink()
        return look(path)

    monkeypatch.setattr(runs, "opened", opened)
    shown = parsed(folder)[1]["run"]["checkpoints"]
    assert [bool(each["problem"]) for each in shown] == [False, True, True, False, False]


def test_what_is_no_checkpoint_is_none_of_a_run(tmp_path: Path, run: Run) -> None:
    """A file of another system, and a folder whose index is gone."""
    folder = tmp_path / "run"
    with ma.Checkpoints(folder, incremental=True, random=False) as found:
        for step in (1, 2):
            found.save(step, model={"w": np.ones(3)})
    (folder / "step-00000002" / "model.safetensors.index.json").unlink()
    (folder / "step-00000003.h5").write_bytes(np.ones(3).tobytes())
    shutil.copy(ROOT / "tests" / "data" / "foreign" / "keras" / "old-image.h5", folder / "step-00000004.h5")
    problems = [each["problem"] for each in parsed(folder)[1]["run"]["checkpoints"]]
    assert problems[0] == ""
    assert problems[1] == "has no model.safetensors.index.json, which is written last: a part of it is gone"
    assert all(problems[1:])
    shown = run("show", folder, "--json")
    assert shown.code == 1
    assert [each["ok"] for each in shown.json["checkpoints"]] == [True, False, False, False]
    assert shown.json["checkpoints"][1]["error"] == problems[1]
    verified = run("verify", folder, "--json")
    assert verified.code != 0
    assert [each["ok"] for each in verified.json] == [True, False, False, False]


def test_a_run_of_which_nothing_is_whole(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "step-00000001.h5").write_bytes(b"nothing")
    with pytest.raises(ma.errors.CheckpointError, match="no checkpoint here is whole"):
        page.render(folder)
    assert run("view", folder, "-o", tmp_path / "x.html").code != 0
    assert not (tmp_path / "x.html").exists()


def test_metrics_that_are_no_number(tmp_path: Path) -> None:
    with ma.Checkpoints(tmp_path / "run", asynchronous=False) as found:
        found.save(1, model={"w": np.zeros((2, 2), np.float32)}, metrics={"loss": float("nan")})
        found.save(2, model={"w": np.ones((2, 2), np.float32), "new": np.ones(3)}, metrics={"loss": float("inf")})
    run = parsed(tmp_path / "run")[1]["run"]
    assert [each["metrics"] for each in run["checkpoints"]] == [{"loss": "nan"}, {"loss": "inf"}]
    assert run["moves"] == {"w": [None, None]}
    assert run["norms"] == {"w": [0, 2], "new": [None, pytest.approx(3**0.5, rel=1e-4)]}


def test_files_of_other_systems(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", w=np.eye(3))
    shown = parsed(tmp_path / "x.npz")[1]["models"][0]
    assert shown["blocks"] == []
    assert "NumPy" in shown["what"]
    assert shown["arrays"][0]["statistics"]["zeros"] == 6


def test_pictures_of_odd_arrays(tmp_path: Path) -> None:
    odd = {
        "kernels": np.arange(2 * 3 * 9, dtype=np.float32).reshape(2, 3, 3, 3),
        "nothing": np.zeros((0, 4)),
        "row": np.ones((1, 9)),
        "cube": np.random.default_rng(0).standard_normal((3, 4, 5)),
        "bad": np.array([[np.nan, 1], [np.inf, -1]]),
        "bits": np.eye(3, dtype=bool),
        "phases": np.ones((3, 3), np.complex64),
    }
    ma.save(tmp_path / "x.h5", odd)
    found = {each["name"]: each.get("thumbnail") for each in parsed(tmp_path / "x.h5")[1]["models"][0]["arrays"]}
    assert {name for name, each in found.items() if each is None} == {"nothing", "row", "phases"}
    assert found["bad"] == {"width": 2, "shades": f"!{LETTERS[62]}!{LETTERS[0]}"}
    assert found["kernels"] is not None
    assert len(found["kernels"]["shades"]) % found["kernels"]["width"] == 0


def test_a_histogram_shows_the_single_value() -> None:
    assert heights([0, 1, 1_000_000]) == "AB" + LETTERS[63]


def test_the_command(run: Run, tmp_path: Path) -> None:
    first, second = samples.two(tmp_path)
    done = run("view", first, second, "-o", tmp_path / "x.html", "--json")
    assert done.code == 0
    assert done.json == {
        "page": str(tmp_path / "x.html"),
        "bytes": (tmp_path / "x.html").stat().st_size,
        "opened": False,
    }
    assert run("view", tmp_path / "none.h5", "-o", tmp_path / "y.html").code == 4
    assert not (tmp_path / "y.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2000])
def test_many_arrays_stay_small(tmp_path: Path, count: int) -> None:
    size = len(page.render(samples.many(tmp_path / "many.h5", count)))
    assert size < 100_000 + 600 * count + 1000


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names of files are text there")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/\xff<title>.h5"))
    ma.save(path, {"x": np.ones(3)})
    page.write(path, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert r"\udcff&lt;title&gt;.h5" in text


@pytest.mark.slow
def test_a_comparison_holds_a_piece_of_each_array(tmp_path: Path) -> None:
    values = np.zeros(8 << 20, np.float32)
    ma.save(tmp_path / "a.h5", {"w": values})
    ma.save(tmp_path / "b.h5", {"w": values + 1})
    page.render(tmp_path / "a.h5")  # what is imported stays
    tracemalloc.start()
    try:
        page.render(tmp_path / "a.h5", other=tmp_path / "b.h5")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < values.nbytes
