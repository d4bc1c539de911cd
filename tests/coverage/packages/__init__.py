"""Networks of packages of PyPI that people take their networks from, saved as archives and read back."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from typing import Final

from tests.coverage.judging import Network
from tests.coverage.packages import agents, diffusion, pictures, sounds, tables, volumes, words
from tests.coverage.packages.giving import Networks

#: Package -> its networks.
NETWORKS: Final[Networks] = {
    name: networks
    for part in (pictures, volumes, diffusion, sounds, words, tables, agents)
    for name, networks in part.NETWORKS.items()
}


def installed() -> dict[str, str]:
    """The packages that are here -> their versions."""
    found = {}
    for name in NETWORKS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def packages() -> Iterator[Network]:
    """The networks of the packages that are installed; says which are not."""
    here = installed()
    if missing := sorted(NETWORKS.keys() - here):
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
    for package in here:
        for name, make in NETWORKS[package].items():

            def made(make=make):  # type: ignore[no-untyped-def]
                network, *inputs = make()
                return network, tuple(inputs)

            yield Network("packages", f"{package}: {name}", made)
