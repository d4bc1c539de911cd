"""Of several processes each tells of a test once: each message wakes the process that collects them twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from _pytest.runner import runtestprotocol


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if not hasattr(item.config, "workerinput"):
        return None
    for report in told(runtestprotocol(item, log=False, nextitem=nextitem)):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def told(reports: Sequence[Any]) -> list[Any]:
    """Of the reports of a test its call's, and those of a setup and a teardown that have not passed.

    The first of them says how long all took.
    """
    found = [report for report in reports if report.when == "call" or not report.passed]
    found[0].duration = sum(report.duration for report in reports)
    return found
