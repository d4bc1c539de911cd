"""Of a row of cases that are alike the run without slow tests takes some; the whole run takes all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

import pytest

#: Each so manyth of them.
EVERY: Final = 4


def some(cases: Iterable[Any], *, slow: Collection[Any] = ()) -> list[Any]:
    """The same cases to parametrise with, marked slow but for each fourth that is not among the slow ones."""
    return [
        pytest.param(case, marks=pytest.mark.slow) if at % EVERY or case in slow else case
        for at, case in enumerate(cases)
    ]
