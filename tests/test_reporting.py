"""What is told of a test: whatever did not pass, and its call."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.reporting import told


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ({"setup": "passed", "call": "passed", "teardown": "passed"}, ["call"]),
        ({"setup": "passed", "call": "failed", "teardown": "passed"}, ["call"]),
        ({"setup": "passed", "call": "skipped", "teardown": "passed"}, ["call"]),
        ({"setup": "passed", "call": "failed", "teardown": "failed"}, ["call", "teardown"]),
        ({"setup": "passed", "call": "passed", "teardown": "failed"}, ["call", "teardown"]),
        ({"setup": "failed", "teardown": "passed"}, ["setup"]),
        ({"setup": "skipped", "teardown": "failed"}, ["setup", "teardown"]),
    ],
)
def test_what_is_told(outcomes: dict[str, str], expected: list[str]) -> None:
    reports = [
        SimpleNamespace(when=when, passed=outcome == "passed", outcome=outcome, duration=1.5)
        for when, outcome in outcomes.items()
    ]
    found = told(reports)
    assert [report.when for report in found] == expected
    assert [report.outcome for report in found] == [outcomes[when] for when in expected]
    assert found[0].duration == 1.5 * len(reports)
