"""What all tests share: which modelarchive is tested, and skips that can be made failures."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import ROOT, memory

# Of several processes each takes one thread for BLAS: more wait for each other, and wait by turning in circles.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A test says nothing of how fast a machine is, or how busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# An installed modelarchive goes before the checkout, so that `pip install '.[test]' && pytest` tests what
# users get, schemas and data included. The checkout still serves `import tests.…`.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT] + [str(ROOT)]


pytest_plugins = ["tests.collecting", "tests.passed", "tests.reporting"]


def pytest_report_header() -> str:
    import modelarchive

    return f"modelarchive: {', '.join(modelarchive.__path__)}; temporary files: {tempfile.gettempdir()}"


def pytest_configure() -> None:
    memory.take_temporary_files()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="fail if any test was skipped")
    parser.addoption("--full-size", action="store_true", help="run the zoo's networks at their full size")


def pytest_collection_finish() -> None:
    # Hypothesis 6.100 looks at its first test for what refers to its generator, and would see nothing that is frozen.
    given(st.none())(lambda nothing: None)()
    # What all tests import stays; it is not looked through for garbage again and again.
    gc.collect()
    gc.freeze()
    # What a test makes is gone with it, and nearly always without garbage collection.
    gc.set_threshold(20_000)


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
