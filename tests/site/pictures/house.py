"""The picture of the house: floors one above the other, arrows from each room to what it imports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from tests import ROOT
from tests.house.plan import EXCHANGE, House, read, without_detours
from tests.site.pictures.svg import Drawing

WIDTH: Final = 400
#: On the left, where the number of a floor stands; on both sides arrows go past a wide floor.
_LEFT: Final = 30
_RIGHT: Final = 8
_TOP: Final = 76
_HEIGHT: Final = 28
#: Between two rows, for the arrows; between two rooms; between two arrows that go past a room side by side.
_BETWEEN: Final = 30
_GAP: Final = 8
_LANE: Final = 6
#: A chip: a room in the large room.
_CHIP: Final = 22
_CHIPS_WIDTH: Final = 280
#: Wing -> colour of its boxes; "" is neither.
_COLOURS: Final = {"file wing": "blue", "model wing": "green", "": "violet"}


class Box(NamedTuple):
    """Where a room is drawn."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Its horizontal middle."""
        return self.x + self.width / 2


def picture() -> str:
    """The SVG."""
    return drawn(read(ROOT))


def drawn(house: House) -> str:
    """The SVG of a house."""
    boxes = placed(house)
    bottom = max(box.y + box.height for box in boxes.values())
    drawing = Drawing(WIDTH, bottom + 44, "The house: rooms floor by floor, and arrows to what each imports")
    drawing.text(16, 30, "The house", "bold")
    drawing.text(16, 48, "Imports run downwards, never in a circle.", "small", colour="faint")
    floors = house.floors()
    for number, floor in enumerate(floors):
        box = boxes[floor[0]]
        drawing.text(12, box.y + box.height / 2 + 4, str(len(floors) - 1 - number), "small", colour="faint")
    for points in routed(house, boxes):
        drawing.arrow(points)
    for name, box in boxes.items():
        drawing.box(*box, _COLOURS[house.wing_of(name)])
        drawing.text(box.middle, box.y + 18, name, "bold", anchor="middle")
    for name, box in chips(house, boxes[EXCHANGE]).items():
        drawing.box(*box, "plain")
        drawing.text(box.middle, box.y + 15, name, "small", anchor="middle")
    _key(drawing, bottom + 20)
    return str(drawing)


def placed(house: House) -> dict[str, Box]:
    """Where each room is drawn."""
    boxes: dict[str, Box] = {}
    top = float(_TOP)
    for row in _rows(house):
        widths = [_width(name) for name in row]
        left = _LEFT + (WIDTH - _LEFT - _RIGHT - sum(widths) - _GAP * (len(row) - 1)) / 2
        height = _high(house) if row == [EXCHANGE] else _HEIGHT
        for name, width in zip(row, widths, strict=True):
            boxes[name] = Box(left, top, width, height)
            left += width + _GAP
        top += height + _BETWEEN
    return boxes


def _rows(house: House) -> list[list[str]]:
    """Floors, the large room below what else is on its own."""
    rows = []
    for floor in house.floors():
        others = [name for name in floor if name != EXCHANGE]
        rows += [others, [EXCHANGE]] if EXCHANGE in floor else [others]
    return [row for row in rows if row]


def _width(name: str) -> float:
    return _CHIPS_WIDTH + 16 if name == EXCHANGE else len(name) * 7.9 + 14


def _high(house: House) -> float:
    return _HEIGHT + (_CHIP + 5) * sum(1 for _ in _lines(house)) + 4


def _lines(house: House) -> Iterator[list[str]]:
    """The rooms of the large room, floor by floor, a long floor on several lines."""
    for floor in house.floors(EXCHANGE):
        line: list[str] = []
        for name in floor:
            if line and sum(map(_chip, [*line, name])) + 6 * len(line) > _CHIPS_WIDTH:
                yield line
                line = []
            line.append(name)
        yield line


def _chip(name: str) -> float:
    return len(name) * 6.1 + 14


def chips(house: House, box: Box) -> dict[str, Box]:
    """Where the rooms of the large room are drawn."""
    found = {}
    y = box.y + _HEIGHT
    for line in _lines(house):
        x = box.middle - (sum(map(_chip, line)) + 6 * (len(line) - 1)) / 2
        for name in line:
            found[name] = Box(x, y, _chip(name), _CHIP)
            x += _chip(name) + 6
        y += _CHIP + 5
    return found


def routed(house: House, boxes: dict[str, Box]) -> Iterator[list[tuple[float, float]]]:
    """The points of each arrow: from the lower edge of a room, past those between, to the upper edge of another."""
    below = without_detours(house.arrows(house.rooms))
    rows = _rows(house)
    level = {name: at for at, row in enumerate(rows) for name in row}
    taken: dict[int, list[float]] = {}
    for name, start in boxes.items():
        for other in sorted(below[name], key=lambda each: (boxes[each].middle, each)):
            end = boxes[other]
            # Not all to the middle: what comes from the left arrives on the left.
            aside = max(-0.35, min(0.35, (start.middle - end.middle) / 400)) * end.width
            first, last = (start.middle, start.y + start.height), (end.middle + aside, end.y - 1)
            points = [first]
            for between in range(level[name] + 1, level[other]):
                there = [boxes[each] for each in rows[between]]
                top, bottom = there[0].y, there[0].y + there[0].height
                share = (top - first[1]) / (last[1] - first[1])
                x = _beside(there, first[0] + share * (last[0] - first[0]), taken.setdefault(between, []))
                points += [(x, top), (x, bottom)]
            yield [*points, last]


def _beside(there: list[Box], x: float, taken: list[float]) -> float:
    """The place nearest to `x` where neither a box stands nor another arrow passes; it is taken then."""
    lanes = [_LANE * lane for lane in range(8)]
    places = [x, *(box.x - 5 - lane for box in there for lane in lanes)]
    places += [box.x + box.width + 5 + lane for box in there for lane in lanes]
    free = [
        place
        for place in places
        if all(not box.x - 4 < place < box.x + box.width + 4 for box in there)
        and all(abs(place - other) >= _LANE for other in taken)
    ]
    found = min(free, key=lambda place: abs(place - x))
    taken.append(found)
    return found


def _key(drawing: Drawing, y: float) -> None:
    """What the colours are."""
    x = 16.0
    for words, colour in _COLOURS.items():
        if words:
            drawing.box(x, y, 12, 12, colour)
            drawing.text(x + 18, y + 10, words, "small", colour="faint")
            x += 100
