"""A network as torch.export takes it: its arrays in, and its arrays out in one tuple, whatever stands around them."""

from __future__ import annotations

from typing import Any

import torch

from modelarchive.exchange.torch.arguments import Arguments
from modelarchive.exchange.torch.assuming import Assumed
from modelarchive.exchange.torch.branching import Checks, Ways
from modelarchive.exchange.torch.comparing import numbered
from modelarchive.exchange.torch.flags import Flags, constants_of, flags_of
from modelarchive.exchange.torch.looping import Loops
from modelarchive.exchange.torch.tensors_of_sizes import TensorsOfSizes


class _Returned:
    """What a forward returned last; no container, whose items PyTorch would put back."""

    structure: Any = None

    def __init__(
        self,
        network: torch.nn.Module,
        checks: Checks | None,
        assumed: Assumed | None,
        loops: Loops,
        *,
        takes_flags: bool,
    ) -> None:
        self.checks, self.assumed, self.loops, self.takes_flags = checks, assumed, loops, takes_flags
        self.flags, self.constants = flags_of(network), constants_of(network)
        self.decided: dict[str, None] = {}


class Whole(torch.nn.Module):
    """A network that returns its arrays in one tuple, whatever it returns them in.

    Args:
        network: The network.
        arguments: How it is called.
        checks: Each way is gone that values may send its forward, but for these; None: values are not asked for.
        assumed: What is taken for true; None: nothing is.
        loops: Loops over sizes that have no number.
        takes_flags: Whether numbers in its state are taken as they are, for sizes.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        arguments: Arguments,
        checks: Checks | None,
        assumed: Assumed | None,
        loops: Loops,
        *,
        takes_flags: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.arguments = arguments
        self.returned = _Returned(network, checks, assumed, loops, takes_flags=takes_flags)

    def forward(self, *inputs: Any) -> Any:
        """The arrays that the network gives; what they stand in is in `returned`."""

        def run() -> tuple[tuple[torch.Tensor, ...], Any]:
            arrays: list[Any] = []
            known = self.returned
            flags = known.flags if known.takes_flags else {}
            tensors = TensorsOfSizes(Flags(self.network, known.constants, flags, known.decided, is_lax=True))
            with tensors, known.loops.collecting():
                structure = numbered(self.arguments.call(self.network, inputs), arrays)
            return tuple(arrays), structure

        checks = self.returned.checks
        if checks is None:
            arrays, self.returned.structure = run()
        else:
            if self.returned.assumed is not None:
                self.returned.assumed.number = 0
            known = self.returned
            ways = Ways(self.network, inputs, run, checks, known.constants, known.flags, known.decided, known.assumed)
            arrays, self.returned.structure = ways.results()
        return arrays
