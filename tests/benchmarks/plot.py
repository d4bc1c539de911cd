"""Plots of growth as SVG: both axes logarithmic, a line for each system."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

Points = list[tuple[float, float]]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 340, 70, 130, 34, 46
COLOURS: Final = ("#0b6e4f", "#c8553d", "#2f4b7c", "#a05195", "#f0a202", "#6b6b6b")


def svg(title: str, across: str, up: str, curves: dict[str, Points]) -> str:
    """The plot as text; `across` and `up` say what the axes count."""
    every = [point for points in curves.values() for point in points]
    low, high = _decades(x for x, _ in every)
    bottom, top = _decades(y for _, y in every)

    def place(x: float, y: float) -> tuple[float, float]:
        right = (math.log10(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        above = (math.log10(y) - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)
        return round(LEFT + right, 1), round(HEIGHT - BOTTOM - above, 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{title}</text>',
    ]
    for decade in range(low, high + 1):
        x, y = place(10**decade, 10**bottom)
        lines += [_line(x, TOP, x, y), f'<text x="{x}" y="{y + 16}" text-anchor="middle">{10**decade:,}</text>']
    for decade in range(bottom, top + 1):
        x, y = place(10**low, 10**decade)
        lines += [
            _line(x, y, WIDTH - RIGHT, y),
            f'<text x="{x - 6}" y="{y + 4}" text-anchor="end">{_number(decade)}</text>',
        ]
    lines.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{across}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    lines.append(f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{up}</text>')
    for at, (name, points) in enumerate(curves.items()):
        colour = COLOURS[at % len(COLOURS)]
        places = [place(*point) for point in sorted(points)]
        drawn = " ".join(f"{x},{y}" for x, y in places)
        lines.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
        lines.append(f'<text x="{WIDTH - RIGHT + 10}" y="{TOP + 14 + 18 * at}" fill="{colour}">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _decades(values: Iterable[float]) -> tuple[int, int]:
    logs = [math.log10(value) for value in values]
    low = math.floor(min(logs))
    return low, max(math.ceil(max(logs)), low + 1)


def _number(decade: int) -> str:
    return f"{10**decade:,}" if decade >= 0 else f"{10.0**decade:g}"


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="#ddd"/>'
