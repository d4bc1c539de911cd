"""The benchmarks run: all of them once, at the smallest size."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmarks import bounds, checked, cold, growing, looking, report, running, runtime
from tests.benchmarks.__main__ import main
from tests.benchmarks.measure import OPERATIONS, OURS, Row, measure
from tests.benchmarks.networks import Timed, growth_plot
from tests.benchmarks.report import SECTIONS
from tests.benchmarks.runs import LAYERS
from tests.benchmarks.systems import System
from tests.benchmarks.workloads import SIZES, WORKLOADS
from tests.conftest import ROOT
from tests.remote.nginx import PROGRAM


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_runs(section: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if section == "checkpoint" or section in LAYERS:
        pytest.importorskip("torch")
    if section == "remote":
        pytest.importorskip("aiohttp")
        if PROGRAM is None:
            pytest.skip("nginx is not installed")
    record = tmp_path / "record.json"
    assert main(["--size", "tiny", "--folder", str(tmp_path), "--only", section, "--json", str(record)]) == 0
    assert "|" in capsys.readouterr().out
    found = json.loads(record.read_text())[section]
    assert found
    if section in WORKLOADS:
        assert {row["operation"] for row in found} >= set(OPERATIONS) - {"map, torch"}
        assert all(OURS in row["medians"] for row in found)
    assert list(tmp_path.iterdir()) == [record]


def test_two_versions_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    document = tmp_path / "benchmarks.md"
    document.write_text((ROOT / "docs" / "benchmarks.md").read_text("utf-8"), "utf-8")
    monkeypatch.setattr(report, "DOCUMENT", document)
    record = tmp_path / "record.json"
    arguments = ["--against", str(ROOT), "--size", "tiny", "--rounds", "2", "--json", str(record), "--write"]
    assert checked.main(arguments) == 0
    rows = json.loads(record.read_text())
    assert {row["operation"] for row in rows if row["network"] == "tiny DenseNet"} == {*checked.OF[""]}
    assert {row["operation"] for row in rows if row["network"] == "row of 20"} == {*checked.OF["row"]}
    assert {row["operation"] for row in rows if row["network"] == "10 arrays"} == {*checked.OF["arrays"]}
    assert all(len(row["before"]) == len(row["now"]) == 2 and min(row["now"]) > 0 for row in rows)
    assert "| row of 20 | save_model |" in capsys.readouterr().out
    assert "| row of 20 | save_model |" in document.read_text("utf-8")


@pytest.mark.slow
def test_networks_run_in_every_system(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    document = tmp_path / "benchmarks.md"
    document.write_text((ROOT / "docs" / "benchmarks.md").read_text("utf-8"), "utf-8")
    monkeypatch.setattr(report, "DOCUMENT", document)
    record = tmp_path / "record.json"
    arguments = ["--against", str(ROOT), "--small", "--rounds", "2", "--threads", "1", "--json", str(record), "--write"]
    names = ["text recogniser", "U-Net", "audio convolutions"]
    assert running.main([*arguments, "--only", *names]) == 0
    rows = json.loads(record.read_text())
    assert [row["network"] for row in rows] == names
    assert all(row["clock"].keys() == {running.OURS, *running.PEERS} for row in rows)
    assert all(len(times) == 2 and min(times) > 0 for row in rows for times in row["processor"].values())
    assert "| text recogniser |" in capsys.readouterr().out
    assert "| text recogniser |" in document.read_text("utf-8")


@pytest.mark.slow
def test_every_network_is_one_that_runs() -> None:
    torch = pytest.importorskip("torch")
    from tests.benchmarks.running_networks import NETWORKS, made

    for name in NETWORKS:
        module, x = made(name, small=True)
        with torch.no_grad():
            output = module(x)
        assert output.isfinite().all(), name
        assert output.std() > 0, name


@pytest.mark.slow
def test_calls_and_processes_of_onnx_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("onnx", "onnxruntime"):
        pytest.importorskip(module)
    document = ROOT / "docs" / "exchange" / "onnxruntime.md"
    monkeypatch.setattr(runtime, "DOCUMENT", tmp_path / document.name)
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    runtime.DOCUMENT.write_text(document.read_text("utf-8"), "utf-8")
    assert runtime.main(["--small", "--rounds", "1", "--write"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[2] in runtime.DOCUMENT.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="only Linux is asked to forget a file")
def test_what_is_read_from_the_disk_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text((ROOT / "docs" / "benchmarks.md").read_text("utf-8"), "utf-8")
    monkeypatch.setattr(report, "DOCUMENT", document)
    assert cold.main(["--megabytes", "64", "--rounds", "1", "--folder", str(tmp_path), "--write"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[2] for line in lines[2:]] == ["67.1", "67.1", "67.1", "33.6", "33.6"]
    assert all(line in document.read_text("utf-8") for line in lines)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_statistics_beside_numpy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert looking.main(["--megabytes", "64", "--folder", str(tmp_path)]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert [row[0].removeprefix("| ") for row in rows] == [*looking.WAYS]
    assert float(rows[0][-1].rstrip(" |")) < float(rows[1][-1].rstrip(" |"))


def test_ratios_of_running() -> None:
    clock = {"now": [2.0, 3.0], "before": [8.0, 9.0], "torch": [4.0, 2.0], "onnxruntime": [1.0, 1.5]}
    row = running.Row("net", clock, clock)
    assert row.ratio("torch", "clock") == 1
    assert row.median("torch", "clock") == 1
    assert row.ratio("before", "clock") == 0.25
    table = running.table([row], "abc", "clock")
    assert "| mark |  | 2: met | 1: met | 0.625: met |" in table


@pytest.mark.slow
def test_a_checkout_that_is_none_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        list(checked.measured(tmp_path, ["row of 20"], 1))


def test_a_wrong_load_is_noticed(tmp_path: Path) -> None:
    import pickle

    arrays = WORKLOADS["many"](SIZES["tiny"])

    def load(path: Path) -> dict[str, object]:
        loaded = pickle.loads(path.read_bytes())
        loaded["block0.parameter3"] = loaded["block0.parameter3"] + 1
        return loaded  # type: ignore[no-any-return]

    wrong = System(OURS, "numpy", save=lambda path, data: path.write_bytes(pickle.dumps(data)), load=load)
    with pytest.raises(ValueError, match=r"block0\.parameter3 came back different"):
        measure("many", arrays, [wrong], tmp_path, rounds=1, operations={"load": "load"})


def test_docs_have_a_place_for_the_table(tmp_path: Path) -> None:
    document = ROOT / "docs" / "benchmarks.md"
    text = document.read_text("utf-8")
    assert text.count(report.BEGIN) == text.count(report.END) == 1
    copy = tmp_path / "copy.md"
    copy.write_text(text)
    report.write_document(copy, {"vision": "TABLE", "large": "OTHER"}, ["large", "vision"])
    report.write_document(copy, {"vision": "TABLE"}, ["large", "vision"])
    written = copy.read_text()
    assert written.partition(report.BEGIN)[0] == text.partition(report.BEGIN)[0]
    assert written.partition(report.END)[2] == text.partition(report.END)[2]
    assert [written.count(word) for word in ("TABLE", "OTHER")] == [1, 1]
    assert written.index("OTHER") < written.index("TABLE")


def test_curves_are_tables_and_plots() -> None:
    rows = [
        (axis, count, Row(f"{count}-{axis}", "save", {OURS: [count * 1e-3], "other": [count * 2e-3]}))
        for axis in ("arrays", "megabytes")
        for count in (10, 1000)
    ]
    found = growing.plots(rows)
    assert sorted(found) == ["growth-arrays-save.svg", "growth-megabytes-save.svg"]
    for plot in found.values():
        ElementTree.fromstring(plot)
        assert plot.count("<polyline") == 2
    assert "| 1,000 | save | 1,000 | 2,000 |" in growing.tables(rows)
    assert all(f"]({name})" in growing.tables(rows) for name in found)


def test_growth_is_plotted() -> None:
    rows = [Timed(f"build, {nodes} nodes", [nodes * 1e-4], nodes=nodes) for nodes in (10, 1000, 20_000)]
    plot = growth_plot([*rows, Timed("forward", [1.0], [2.0])])
    ElementTree.fromstring(plot)
    assert plot.count("<polyline") == 1
    points = [tuple(map(float, point.split(","))) for point in plot.split('points="')[1].split('"')[0].split()]
    # Linear growth is a straight line, also with logarithms on both axes.
    (x1, y1), (x2, y2), (x3, y3) = points
    assert abs((y2 - y1) / (x2 - x1) - (y3 - y2) / (x3 - x2)) < 0.01


@pytest.mark.slow
def test_what_parts_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert bounds.main(["--size", "tiny", "--rounds", "1"]) == 0
    rows = [each.split(" | ") for each in capsys.readouterr().out.splitlines() if " | " in each][1:]
    names = {row[0].removeprefix("| ") for row in rows if "---" not in row[0]}
    assert {name for name in names if not name.endswith(", one thread")} == {
        "open, build one of 20 blocks",
        "transplant of files, 20 blocks",
        "save of 10 arrays",
    }


@pytest.mark.slow
def test_products_are_a_part_of_running(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    # Others are read, and run, where every system runs them.
    parts = list(bounds.of_networks(tmp_path, 1, ["text recogniser"], small=True))
    for whole, products, peer in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        assert 0 < products[2] < whole[2], whole[0]
        assert peer[2] > 0
