"""Which tests have passed, told from one run to another: what says nothing new there is left out."""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path

import pytest

# No option: the command is README.md's. The processes that a run starts are not told, they report to this one.
PASSED_INTO = os.environ.pop("MODELARCHIVE_PASSED_INTO", None)
#: Rooms whose code goes another way where a framework is installed: what passed without one says nothing of that way.
DEPENDING = re.compile(
    r"tests/(cli|exchange/(huggingface|keras|torch|test_across|test_vllm)|transplant"
    r"|test_(documents|models))\b"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--passed-before", type=Path, help="leave out what MODELARCHIVE_PASSED_INTO of another run names")


def pytest_configure(config: pytest.Config) -> None:
    if PASSED_INTO is not None:
        config.pluginmanager.register(Passed(Path(PASSED_INTO)))


class Passed:
    """Writes down the tests that passed, whichever process ran them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: dict[str, set[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.outcomes.setdefault(report.nodeid, set()).add(report.outcome)

    def pytest_sessionfinish(self) -> None:
        passed = [name for name, outcomes in self.outcomes.items() if outcomes == {"passed"}]
        self.path.write_text(json.dumps(sorted(passed)))


@functools.cache
def _asks_what_is_installed(module: Path) -> bool:
    return "find_spec(" in module.read_text("utf-8")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (path := config.getoption("--passed-before")) is None:
        return
    passed = set(json.loads(path.read_text()))

    def is_left_out(item: pytest.Item) -> bool:
        return item.nodeid in passed and not DEPENDING.match(item.nodeid) and not _asks_what_is_installed(item.path)

    left_out = {item for item in items if is_left_out(item)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
