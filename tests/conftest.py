"""What all tests share: which modelarchive is tested, and skips that can be made failures."""

from __future__ import annotations

import functools
import gc
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]

# Of several processes each takes one thread for BLAS: more wait for each other, and wait by turning in circles.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A test says nothing of how fast a machine is, or how busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Keras would take TensorFlow, which is not installed.
os.environ.setdefault("KERAS_BACKEND", "torch")

# An installed modelarchive goes before the checkout, so that `pip install '.[test]' && pytest` tests what
# users get, schemas and data included. The checkout still serves `import tests.…`.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT] + [str(ROOT)]


# No option: the command is README.md's. The processes that a run starts are not told, they report to this one.
PASSED_INTO = os.environ.pop("MODELARCHIVE_PASSED_INTO", None)


def pytest_report_header() -> str:
    import modelarchive

    return f"modelarchive: {', '.join(modelarchive.__path__)}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="fail if any test was skipped")
    parser.addoption("--passed-before", type=Path, help="leave out what MODELARCHIVE_PASSED_INTO of another run names")
    parser.addoption("--full-size", action="store_true", help="run the zoo's networks at their full size")


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


#: Rooms whose code goes another way where a framework is installed: what passed without one says nothing of that way.
DEPENDING = re.compile(
    r"tests/(cli|exchange/(huggingface|keras|torch|test_across|test_round_trips|test_vllm)|transplant"
    r"|test_(documents|models))\b"
)


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


def pytest_collection_finish() -> None:
    # Hypothesis 6.100 looks at its first test for what refers to its generator, and would see nothing that is frozen.
    given(st.none())(lambda nothing: None)()
    # What all tests import stays; it is not looked through for garbage again and again.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not session.config.getoption("--no-skips") or reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"\n--no-skips: {len(skipped)} skipped", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT
