"""Draw the house: ``python -m tests.house``, and as a picture with ``--svg FILE``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests import ROOT
from tests.house.plan import EXCHANGE, House, Room, read
from tests.site.pictures.house import drawn


def main(arguments: list[str] | None = None) -> int:
    """Print rooms, floors, arrows and circles; 1 if there is a circle."""
    parser = argparse.ArgumentParser(prog="python -m tests.house", description="Draw the house from its imports.")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a picture of it, too")
    chosen = parser.parse_args(arguments)
    house = read(ROOT)
    if chosen.svg is not None:
        chosen.svg.write_text(drawn(house), "utf-8")
    print("\n".join(described(house)))
    return 1 if house.circles else 0


def described(house: House) -> Iterator[str]:
    """The house in lines of text."""
    rooms = house.rooms
    lines = sum(room.lines for room in rooms.values())
    yield f"{len(rooms)} rooms, {len(house.modules)} files, {lines:,} lines, {len(house.ideas):,} ideas:"
    yield "an idea is a name at the top of a file; one that several files have is one idea."
    yield ""
    yield from _table(house.floors(), rooms, house.arrows(rooms))
    yield ""
    yield f"{EXCHANGE}, one room a system:"
    yield ""
    yield from _table(house.floors(EXCHANGE), house.exchange, house.arrows(house.exchange))
    yield ""
    share = len(rooms[EXCHANGE].ideas) / len(house.ideas)
    public = len(house.public(rooms[EXCHANGE].ideas)) / len(house.public(house.ideas))
    yield f"{EXCHANGE} has {share:.1%} of the ideas, {public:.1%} of the public ones"
    yield f"{EXCHANGE} has {rooms[EXCHANGE].lines / lines:.1%} of the lines"
    for importer, imported in sorted(house.doors):
        yield f"a door upwards: {importer} -> {imported}"
    yield from (f"a circle: {' -> '.join(circle)}" for circle in house.circles)
    yield f"{len(house.circles)} circles, imports for types only counted"


def _table(floors: list[list[str]], rooms: Mapping[str, Room], arrows: Mapping[str, set[str]]) -> Iterator[str]:
    yield f"{'floor':>5}  {'room':<12} {'files':>5} {'lines':>6} {'ideas':>5}  imports"
    order = list(rooms)
    for number, floor in enumerate(floors):
        for at, name in enumerate(floor):
            room = rooms[name]
            below = " ".join(sorted(arrows[name], key=order.index))
            label = "" if at else len(floors) - 1 - number
            counts = f"{len(room.modules):>5} {room.lines:>6,} {len(room.ideas):>5,}"
            yield f"{label:>5}  {name:<12} {counts}  {below}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
