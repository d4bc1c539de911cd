"""Which tests are slow, and whether they say so: ``python -m tests.slowest [pytest's arguments]``.

The figures are processor time, of the tests' other processes too: a busy machine changes them little. What takes more
than half a second has to be marked ``slow``; what does not is listed beside, and 1 is returned. That is judged
where what README's command installs is installed: the run without slow tests is for that.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

#: Seconds from which a test has to be marked.
LIMIT = 0.5
#: How many are listed.
LISTED = 40
#: What tests import, and the first of them would be charged for.
FRAMEWORKS = ("h5py", "torch", "keras", "onnxruntime", "transformers")


def seconds() -> float:
    """Processor time of this process and of all that it started, whether they have ended or not."""
    return sum(os.times()[:4]) + sum(map(_of_process, _children(os.getpid())))


def _children(process: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):  # it has ended meanwhile, or this system does not tell
        for path in Path(f"/proc/{process}/task").glob("*/children"):
            found += [int(each) for each in path.read_text().split()]
    return found


def _of_process(process: int) -> float:
    """Its own time, that of its children that have ended, and that of those that have not."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(_of_process, _children(process)))


class Costs:
    """What each test took, its fixtures included."""

    def __init__(self) -> None:
        self.of: defaultdict[str, float] = defaultdict(float)
        self.marked: set[str] = set()
        self._since = 0.0

    @pytest.hookimpl
    def pytest_collection_finish(self) -> None:
        for name in FRAMEWORKS:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        self._since = seconds()

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: Any) -> None:
        now = seconds()
        self.of[report.nodeid] += now - self._since
        self._since = now
        if "slow" in report.keywords:
            self.marked.add(report.nodeid)

    @property
    def unmarked(self) -> list[str]:
        """The tests that are slow and do not say so."""
        return [name for name, cost in self.of.items() if cost > LIMIT and name not in self.marked]

    def lines(self) -> Iterator[str]:
        """The costliest tests, and what the marked ones take together."""
        yield f"{'seconds':>8}  {'':4}"
        for name, cost in sorted(self.of.items(), key=lambda each: -each[1])[:LISTED]:
            yield f"{cost:8.2f}  {'slow' if name in self.marked else '':4}  {name}"
        whole, slow = sum(self.of.values()), sum(self.of[name] for name in self.marked)
        yield f"{whole:8.0f}  all {len(self.of):,} tests; {slow:.0f} of it the {len(self.marked)} that are marked slow"
        for name in self.unmarked:
            yield f"more than {LIMIT:g} s, and not marked slow: {name} ({self.of[name]:.2f} s)"


def main(arguments: list[str]) -> int:
    """Run the tests, print what they took; 1 if one is slow and not marked, or failed."""
    costs = Costs()
    code = pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[costs])
    print("\n".join(costs.lines()))
    return 1 if costs.unmarked or code else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
