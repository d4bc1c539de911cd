"""The picture of the house: every room is in it, inside of it, and no arrow goes through a room."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from tests.conftest import ROOT
from tests.house.plan import EXCHANGE, House, read, without_detours
from tests.site.pictures.house import WIDTH, Box, chips, drawn, placed

#: The house is read first, which takes seconds.
pytestmark = pytest.mark.slow

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def house() -> House:
    return read(ROOT)


def test_every_room_and_every_arrow_is_drawn(house: House) -> None:
    picture = ElementTree.fromstring(drawn(house))
    words = [each.text for each in picture.iter(f"{SVG}text")]
    assert {*house.rooms, *house.exchange} <= set(words)
    arrows = without_detours(house.arrows(house.rooms))
    assert len(curves(picture)) == sum(map(len, arrows.values()))


def test_rooms_stand_apart_and_in_the_picture(house: House) -> None:
    boxes = placed(house)
    inside = chips(house, boxes[EXCHANGE])
    for box in boxes.values():
        assert box.x > 24  # behind the number of its floor
        assert box.x + box.width < WIDTH
    for box in inside.values():
        assert boxes[EXCHANGE].x < box.x
        assert box.x + box.width < boxes[EXCHANGE].x + boxes[EXCHANGE].width
        assert box.y + box.height < boxes[EXCHANGE].y + boxes[EXCHANGE].height
    for one, other in [*combinations(boxes.values(), 2), *combinations(inside.values(), 2)]:
        assert one.x + one.width < other.x or other.x + other.width < one.x or not overlap(one, other)


def test_arrows_go_around_rooms(house: House) -> None:
    boxes = placed(house)
    for points in curves(ElementTree.fromstring(drawn(house))):
        inside = [
            name for x, y in points for name, box in boxes.items()
            if box.x < x < box.x + box.width and box.y + 1 < y < box.y + box.height - 1
        ]  # fmt: skip
        assert inside == []


def overlap(one: Box, other: Box) -> bool:
    return one.y < other.y + other.height and other.y < one.y + one.height


def curves(picture: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """Points on each arrow."""
    found = []
    for path in picture.iter(f"{SVG}path"):
        if path.get("class") != "arrow":
            continue
        numbers = [float(each) for each in re.findall(r"-?[\d.]+", path.get("d") or "")]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        points = []
        for at in range(0, len(pairs) - 1, 3):
            four = pairs[at : at + 4]
            points += [bezier(four, step / 16) for step in range(17)]
        found.append(points)
    return found


def bezier(four: list[tuple[float, float]], t: float) -> tuple[float, float]:
    shares = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
    x, y = (sum(share * point[axis] for share, point in zip(shares, four, strict=True)) for axis in (0, 1))
    return x, y
