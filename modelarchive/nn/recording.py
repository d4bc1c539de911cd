"""The switch that turns a forward pass into a recording or an observation of itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from modelarchive.nn.block import Block
    from modelarchive.nn.parameter import Parameter


class Recorder(Protocol):
    """Who is told about a forward pass while it stands in :data:`RECORDER`."""

    def call(self, block: Block, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """`block` is called with `inputs`, and `named` by keyword; the result is what the call returns."""

    def parameter(self, parameter: Parameter) -> Any:
        """The value of `parameter` is asked for; the result is what ``data()`` returns."""

    def refused(self, error: Exception) -> None:
        """What cannot be recorded was refused with `error`."""

    def changes(self, owner: Block | Parameter, what: str) -> None:
        """State is about to change; may raise to forbid it."""


#: The recorder of the forward pass that runs in this thread or task; None: plain NumPy.
RECORDER: Final[ContextVar[Recorder | None]] = ContextVar("modelarchive_recorder", default=None)
