"""What came of each network, kept beside this file, and the page of the documents that it makes."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

from tests.coverage.judging import VERDICTS, Verdict
from tests.coverage.packages import installed

RECORD = Path(__file__).with_name("found.json")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "coverage.md"
#: Set -> what it is, and the packages whose versions count.
SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "constructs": ("what people write in a forward, one construct a network", ()),
    "semantics": ("what PyTorch means by a line: dtypes, views and writing in place, windows, hooks, modes", ()),
    "blocks": ("blocks as people write them in their repositories, one idea a network", ()),
    "networks": ("small networks as papers publish them, whole, one network a kind", ()),
    "random": (
        "networks of three to eight operations, drawn at random from some 200: of fixed sizes, of free lengths, and of "
        "free heights and widths; saved, loaded in NumPy and PyTorch, and compared at many sizes, batches and values: "
        "fixed where the sizes that are declared free cannot be; as far as they were run",
        (),
    ),
    "torchvision": (
        "one network of each family of torchvision, of detectors also their backbones and heads",
        ("torchvision",),
    ),
    "timm": ("the smallest network of each module of timm", ("timm",)),
    "transformers": (
        "the base of the types of transformers that people have most, and one head of it, with masks, and with noise "
        "where a network draws some; and others; as far as they were run",
        ("transformers",),
    ),
    "folders": (
        "the base of the types of transformers that people have most, and one head of it, as folders of transformers",
        ("transformers",),
    ),
    "packages": ("networks of packages of PyPI, saved and loaded in NumPy and PyTorch at two batches", ()),
    "kerashub": (
        "the backbones of KerasHub in small sizes, and heads on them, on Keras' PyTorch backend, as far as they were "
        "run: whole where every axis that Keras leaves open is free, batch and length",
        ("keras", "keras-hub"),
    ),
}
#: Versions that the table names in full.
_FEW = 4
_HEAD = """\
# Coverage

Written by `python -m tests.coverage --write`; do not edit.

How many networks that people have come in whole from PyTorch: each is made with random weights, read with
`modelarchive.save_model`'s reader, and its outputs in NumPy are compared with PyTorch's own. *Whole* is read with a
free batch, *fixed* with the sizes of the example only, *refused* ends in an error that says what and where. A network
whose outputs differ, or that is changed by being read, is *wrong*. The last column counts those of the first two whose
`state_dict` is the module's own, strictly, both ways.

"""


def recorded() -> dict[str, Any]:
    """Set -> when, with which versions, and what came of each network."""
    found: dict[str, Any] = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    return found


def record(found: list[Verdict]) -> None:
    """Keep what came of networks, beside what is known of others of the same sets."""
    known = recorded()
    for name in dict.fromkeys(each.set for each in found):
        seen = {each.name.partition(": ")[0] for each in found if each.set == name}
        packages = ("torch", *(sorted(seen & installed().keys()) if name == "packages" else SETS[name][1]))
        versions = {each: importlib.metadata.version(each).partition("+")[0] for each in packages}
        networks = known.get(name, {}).get("networks", {})
        for each in found:
            if each.set == name:
                networks[each.name] = {"verdict": each.verdict, "strict": each.strict, "why": _without_paths(each.why)}
                if each.export:
                    networks[each.name] |= {"seconds": round(each.seconds, 2), "export": round(each.export, 2)}
        known[name] = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "versions": {**known.get(name, {}).get("versions", {}), **versions, "python": platform.python_version()},
            "networks": networks,
        }
    known = {name: known[name] for name in SETS if name in known}
    RECORD.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _without_paths(why: str) -> str:
    """A reason without the places of files on this machine."""
    return " ".join(word for word in why.split() if "/" not in word or word.count("/") < 2)


def document(known: dict[str, Any]) -> str:
    """The whole page."""
    lines = [
        "| set | networks | whole | fixed | refused | wrong | states load strictly | with |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, each in known.items():
        mine = [every for every in each["networks"].values() if every["verdict"] != "failed"]
        counts = Counter(every["verdict"] for every in mine)
        strict = sum(every["strict"] for every in mine if every["verdict"] in VERDICTS[:2])
        versions = _with(each["versions"])
        cells = [name, len(mine), *(counts[verdict] for verdict in VERDICTS[:4]), strict, f"{each['date']}: {versions}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", *(f"- **{name}**: {SETS[name][0]}." for name in known), ""]
    for name, each in known.items():
        if (times := _times(each["networks"])) is not None:
            lines += [times.format(name), "", f"The {name}: {_versions(each['versions'])}.", ""]
    for name, each in known.items():
        rest = {key: every for key, every in each["networks"].items() if every["verdict"] in VERDICTS[1:4]}
        if not rest:
            continue
        lines += [f"## Not whole: {name}", "", "| network | what came | why |", "| --- | --- | --- |"]
        for key, every in rest.items():
            why = every["why"].replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
            lines.append(f"| {key.replace('_', chr(92) + '_')} | {every['verdict']} | {why} |")
        lines.append("")
    return _HEAD + "\n".join(lines)


def _with(versions: dict[str, str]) -> str:
    """The versions; of many those that count for all."""
    if len(versions) <= _FEW:
        return _versions(versions)
    counting = {name: versions[name] for name in ("torch", "python")}
    return f"{_versions(counting)}, {len(versions) - len(counting)} packages"


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{package} {version}" for package, version in versions.items())


def _times(networks: dict[str, Any]) -> str | None:
    """How long saving took beside what torch.export takes by itself, where that was measured."""
    found = sorted(
        each["seconds"] / each["export"] for each in networks.values() if each.get("export", 0) > 0 < each["seconds"]
    )
    if not found:
        return None
    middle, late = statistics.median(found), found[len(found) * 9 // 10]
    took = (
        f"{middle:.1f} times what `torch.export` takes by itself in the median, at most {late:.1f} times in nine of ten"
    )
    return f"Saving a network of {{}} took {took} (time of the processor)."


def write() -> None:
    """Write the page from what is recorded."""
    DOCUMENT.write_text(document(recorded()), "utf-8")
