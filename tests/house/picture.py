"""The house as a picture: floors one above the other, rooms as wide as they are large, arrows to what they use."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from typing import Final, NamedTuple

from tests.house.plan import EXCHANGE, House, Room, without_detours

_MARGIN: Final = 24
#: On the left, where the number of a floor stands, and on the right.
_SIDE: Final = 44
#: Between two floors, for the arrows.
_BETWEEN: Final = 44
_HEIGHT: Final = 44
_GAP: Final = 18
#: A chip: a room in the large room.
_CHIP: Final = 24
#: Width of a letter, by which boxes hold their words.
_LETTER: Final = 8.6
#: Wing -> fill and line of its boxes; "" is neither.
_COLOURS: Final = {
    "file wing": ("#dbeafe", "#1d4ed8"),
    "model wing": ("#dcfce7", "#15803d"),
    "": ("#f1f5f9", "#475569"),
}
_STYLE: Final = """\
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #0f172a; text-anchor: middle; }
.room { font-size: 14px; font-weight: 600; }
.size, .chip, .key { font-size: 11px; }
.size, .key { fill: #475569; }
.floor { fill: #94a3b8; font-size: 12px; }
.arrow { fill: none; stroke: #94a3b8; stroke-width: 1.2; marker-end: url(#head); }"""


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


def drawn(house: House) -> str:
    """The picture, as the text of an SVG file."""
    boxes, width, height = placed(house)
    body = [
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff" rx="8"/>',
        *_floors(house, boxes),
        *_arrows(house, boxes),
        *(line for name, box in boxes.items() for line in _room(house, house.rooms[name], box)),
        *_key(height),
    ]
    about = "Rooms of the package, floor by floor; an arrow goes from a room to what it imports."
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">',
            f"<title>The house: where code lives</title><desc>{about}</desc>",
            f"<style>{_STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0 8 4 0 8z" fill="#94a3b8"/></marker></defs>',
            *body,
            "</svg>\n",
        ]
    )


def placed(house: House) -> tuple[dict[str, Box], float, float]:
    """Where each room is drawn, and how wide and high the picture is."""
    widths = {name: _width(house, room) for name, room in house.rooms.items()}
    rows = [sum(widths[name] for name in floor) + _GAP * (len(floor) - 1) for floor in house.floors()]
    width = max(rows) + 2 * _SIDE
    boxes: dict[str, Box] = {}
    top = float(_MARGIN)
    for floor, row in zip(house.floors(), rows, strict=True):
        heights = {name: _high(house) if name == EXCHANGE else _HEIGHT for name in floor}
        height = max(heights.values())
        left = (width - row) / 2
        for name in floor:
            boxes[name] = Box(left, top + (height - heights[name]) / 2, widths[name], heights[name])
            left += widths[name] + _GAP
        top += height + _BETWEEN
    return boxes, width, top + _MARGIN / 2


def _width(house: House, room: Room) -> float:
    """By the root of its lines, so that small ones can be seen; at least as wide as what stands in it."""
    words = [room.name, _size(room)]
    least = max(map(len, words)) * _LETTER + 16
    if room.name == EXCHANGE:
        return max(least, *(sum(map(_chip, floor)) + 6 * len(floor) + 10 for floor in house.floors(EXCHANGE)))
    return max(least, 2.2 * math.sqrt(room.lines))


def _high(house: House) -> float:
    return _HEIGHT + (_CHIP + 6) * len(house.floors(EXCHANGE)) + 4


def _chip(name: str) -> float:
    return len(name) * 6.4 + 14


def _size(room: Room) -> str:
    return f"{room.lines:,} lines"


def _floors(house: House, boxes: dict[str, Box]) -> Iterator[str]:
    floors = house.floors()
    for number, floor in enumerate(floors):
        box = boxes[floor[0]]
        y = box.y + box.height / 2 + 4
        yield f'<text class="floor" x="{_MARGIN / 2 + 2:g}" y="{y:g}">{len(floors) - 1 - number}</text>'


def _arrows(house: House, boxes: dict[str, Box]) -> Iterator[str]:
    """A curve from the lower edge of a room to the upper edge of each that it uses, past the rooms between."""
    below = without_detours(house.arrows(house.rooms))
    floors = house.floors()
    level = {name: at for at, floor in enumerate(floors) for name in floor}
    band = [_band([boxes[name] for name in floor]) for floor in floors]
    taken: dict[tuple[int, float], int] = {}
    for name, start in boxes.items():
        for other in sorted(below[name], key=lambda each: boxes[each].middle):
            end = boxes[other]
            # Not all to the middle: what comes from the left arrives on the left.
            aside = max(-0.35, min(0.35, (start.middle - end.middle) / 600)) * end.width
            first, last = (start.middle, start.y + start.height), (end.middle + aside, end.y - 1)
            points = [first, (first[0], band[level[name]][1])]
            for between in range(level[name] + 1, level[other]):
                there = [boxes[each] for each in floors[between]]
                top, bottom = band[between]
                share = (top - first[1]) / (last[1] - first[1])
                x, side = _beside(there, first[0] + share * (last[0] - first[0]))
                lane = taken[between, x] = taken.get((between, x), -1) + 1
                points += [(x + side * 7 * lane, top), (x + side * 7 * lane, bottom)]
            yield _curve([*points, (last[0], band[level[other]][0] - 1), last])


def _band(there: list[Box]) -> tuple[float, float]:
    """From where to where a floor reaches: a small room stands in the middle of a high one's floor."""
    return min(box.y for box in there), max(box.y + box.height for box in there)


def _beside(there: list[Box], x: float) -> tuple[float, int]:
    """The place nearest to `x` where no box stands, and on which side of a box that is: -1, 1, or 0 of none."""
    free = [(box.x - 8, -1) for box in there] + [(box.x + box.width + 8, 1) for box in there] + [(x, 0)]
    open_places = [
        (place, side) for place, side in free if all(not box.x - 7 < place < box.x + box.width + 7 for box in there)
    ]
    return min(open_places, key=lambda each: abs(each[0] - x))


def _curve(points: list[tuple[float, float]]) -> str:
    """Through all points, straight down at each."""
    (x, y), *rest = points
    path = f"M{x:.1f} {y:.1f}"
    for to_x, to_y in rest:
        if (to_x, to_y) == (x, y):
            continue
        bend = (to_y - y) / 2
        path += f"C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
    return f'<path class="arrow" d="{path}"/>'


def _room(house: House, room: Room, box: Box) -> Iterator[str]:
    fill, line = _COLOURS[house.wing_of(room.name)]
    yield f"<g><title>{escape(f'{room.name}: {room.purpose}')}</title>"
    yield (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="6" '
        f'fill="{fill}" stroke="{line}"/>'
    )
    yield f'<text class="room" x="{box.middle:.1f}" y="{box.y + 19:.1f}">{escape(room.name)}</text>'
    yield f'<text class="size" x="{box.middle:.1f}" y="{box.y + 35:.1f}">{_size(room)}</text></g>'
    if room.name == EXCHANGE:
        yield from _chips(house, box)


def _chips(house: House, box: Box) -> Iterator[str]:
    y = box.y + _HEIGHT
    for floor in house.floors(EXCHANGE):
        x = box.middle - (sum(map(_chip, floor)) + 6 * (len(floor) - 1)) / 2
        for name in floor:
            width = _chip(name)
            yield f"<g><title>{escape(f'{name}: {house.exchange[name].purpose}')}</title>"
            yield (
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_CHIP}" rx="4" fill="#ffffff" '
                'stroke="#94a3b8"/>'
            )
            yield f'<text class="chip" x="{x + width / 2:.1f}" y="{y + 16:.1f}">{escape(name)}</text></g>'
            x += width + 6
        y += _CHIP + 6


def _key(height: float) -> Iterator[str]:
    """What the colours are."""
    x = float(_MARGIN)
    for words, (fill, line) in _COLOURS.items():
        if words:
            yield f'<rect x="{x:g}" y="{height - 26:g}" width="14" height="14" rx="3" fill="{fill}" stroke="{line}"/>'
            yield f'<text class="key" x="{x + 52:g}" y="{height - 15:g}">{words}</text>'
            x += 110
