"""The command: read the networks of each set, print the table, record what came of each and write the page of it."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from tests.coverage import (
    archives,
    blocks,
    constructs,
    drawn,
    folders,
    kerashub,
    language,
    networks,
    packages,
    pictures,
    recording,
    semantics,
)
from tests.coverage.drawn import judge as drawn_judge
from tests.coverage.judging import VERDICTS, Verdict, judged, judged_as_module

SETS = {
    "constructs": constructs.constructs,
    "semantics": semantics.semantics,
    "blocks": blocks.blocks,
    "networks": networks.networks,
    "random": drawn.drawn,
    "torchvision": pictures.torchvision,
    "timm": pictures.timm,
    "transformers": language.transformers,
    "folders": folders.folders,
    "packages": packages.packages,
    "kerashub": kerashub.kerashub,
}
#: How networks of a set are judged; those of the others are read as modules.
JUDGES = {
    "folders": folders.judge,
    "networks": archives.judge,
    "random": drawn_judge.judge,
    "packages": archives.judge,
    "kerashub": kerashub.judge,
}


def main(arguments: list[str] | None = None) -> int:
    """Read the networks of the sets named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.coverage", description=__doc__)
    parser.add_argument("sets", nargs="*", choices=list(SETS), help="default: the constructs, which need no library")
    parser.add_argument("--only", help="networks whose name contains this")
    parser.add_argument("--every", type=int, default=1, help="each so many-th network")
    parser.add_argument("--first", type=int, default=0, help="begin at this one")
    parser.add_argument("--missing", action="store_true", help="those that are not recorded as whole")
    parser.add_argument("--limit", type=int, default=180, help="seconds of the processor that a network may take")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what came of each network")
    parser.add_argument("--write", action="store_true", help="keep what came of each, and write docs/coverage.md")
    chosen = parser.parse_args(arguments)

    found: list[Verdict] = []
    known = recording.recorded()
    for name in chosen.sets or ["constructs"]:
        networks = [each for each in SETS[name]() if chosen.only is None or chosen.only in each.name]
        if chosen.missing:
            whole = {key for key, each in known.get(name, {}).get("networks", {}).items() if each["verdict"] == "whole"}
            networks = [each for each in networks if each.name not in whole]
        for network in networks[chosen.first :: chosen.every]:
            verdict = judged(network, limit=chosen.limit, judge=JUDGES.get(name, judged_as_module))
            found.append(verdict)
            strict = "" if verdict.strict else " (state not strict)"
            took = f"{verdict.verdict:8} {verdict.seconds:6.1f} s{_beside(verdict)}"
            print(f"{took}  {name} {verdict.name}{strict}  {verdict.why}", flush=True)
            if chosen.record:
                chosen.record.write_text(json.dumps([each.plain() for each in found], indent=1) + "\n")
    print(table(found))
    if chosen.write:
        recording.record(found)
        recording.write()
    return int(any(each.verdict == "wrong" for each in found))


def _beside(verdict: Verdict) -> str:
    """How long torch.export alone takes, where that is known."""
    return f" (export {verdict.export:.1f} s)" if verdict.export else ""


def table(found: list[Verdict]) -> str:
    """The verdicts of each set, counted."""
    lines = [
        "| set | networks | whole | with fixed sizes only | refused | wrong | of the whole, states load strictly |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(each.set for each in found):
        mine = [each for each in found if each.set == name and each.verdict != "failed"]
        counts = Counter(each.verdict for each in mine)
        strict = sum(each.strict for each in mine if each.verdict in VERDICTS[:2])
        cells = [name, len(mine), *(counts[each] for each in VERDICTS[:4]), strict]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
