"""Of several processes each imports a share of the test files first: what one has compiled, the others find."""

from __future__ import annotations

import contextlib
import importlib

import pytest


def pytest_collectstart(collector: pytest.Collector) -> None:
    # Each process collects all files. In a fresh checkout, in the same order, each would rewrite the asserts of all.
    given = getattr(collector.config, "workerinput", None)
    if given is None or not isinstance(collector, pytest.Session):
        return
    root = collector.config.rootpath
    paths = [root / argument.partition("::")[0] for argument in collector.config.args]
    files = {file for path in paths for file in ([path] if path.is_file() else path.rglob("test_*.py"))}
    for file in sorted(files)[int(given["workerid"][2:]) :: given["workercount"]]:
        # What fails or skips says so where it is collected.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts))
