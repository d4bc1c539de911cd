"""Small networks as papers publish them, whole: of kinds that no list of libraries has, one network a kind."""

from __future__ import annotations

from collections.abc import Iterator

from tests.coverage.judging import Network
from tests.coverage.networks.generating import GENERATING
from tests.coverage.networks.mixtures import MIXTURES
from tests.coverage.networks.modules import MODULES
from tests.coverage.networks.operators import OPERATORS
from tests.coverage.networks.pictures import PICTURES
from tests.coverage.networks.science import SCIENCE
from tests.coverage.networks.series import SERIES
from tests.coverage.networks.words import WORDS

#: Name -> what makes the network, and an example.
NETWORKS = {**PICTURES, **GENERATING, **SCIENCE, **WORDS, **SERIES, **MODULES, **OPERATORS, **MIXTURES}


def networks() -> Iterator[Network]:
    """All of them."""
    for name, (make, example) in NETWORKS.items():
        yield Network("networks", name, lambda make=make, example=example: (make(), example))
