"""The switch that turns a forward pass into a recording or an observation of itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, Protocol


class Recorder(Protocol):
    """Who is told about a forward pass while it stands in :data:`RECORDER`.

    Blocks and parameters are any here: both know this switch, and so it does not know them.
    """

    def call(self, block: Any, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """`block` is called with `inputs`, and `named` by keyword; the result is what the call returns."""

    def parameter(self, parameter: Any) -> Any:
        """The value of `parameter` is asked for; the result is what ``data()`` returns."""

    def refused(self, error: Exception) -> None:
        """What cannot be recorded was refused with `error`."""

    def changes(self, owner: Any, what: str) -> None:
        """State is about to change; may raise to forbid it."""


#: The recorder of the forward pass that runs in this thread or task; None: plain NumPy.
RECORDER: Final[ContextVar[Recorder | None]] = ContextVar("modelarchive_recorder", default=None)
