"""Blocks as people write them in their repositories, each with what goes around it: one idea a network."""

from __future__ import annotations

from collections.abc import Iterator

from tests.coverage.blocks.attention import ATTENTION
from tests.coverage.blocks.images import IMAGES
from tests.coverage.blocks.mathematics import MATHEMATICS
from tests.coverage.blocks.sequences import SEQUENCES
from tests.coverage.blocks.signals import SIGNALS
from tests.coverage.blocks.wrapping import WRAPPING
from tests.coverage.judging import Network

#: Name -> what makes the network, and an example.
BLOCKS = {**ATTENTION, **SEQUENCES, **IMAGES, **SIGNALS, **MATHEMATICS, **WRAPPING}


def blocks() -> Iterator[Network]:
    """All of them."""
    for name, (make, example) in BLOCKS.items():
        yield Network("blocks", name, lambda make=make, example=example: (make(), example))
