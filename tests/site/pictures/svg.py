"""A drawing as SVG text that follows the reader's light or dark mode and brings its own background."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

#: Name -> colour in light mode, in dark mode. Text on each of the fills is `ink`.
COLOURS = {
    "paper": ("#ffffff", "#16181d"),
    "ink": ("#1c2128", "#e8eaed"),
    "faint": ("#5d6672", "#a2abb8"),
    "arrow": ("#8b95a3", "#808a99"),
    "plain": ("#ffffff", "#23272f"),
    "blue": ("#dbe9fb", "#1d3a5f"),
    "amber": ("#fbeccb", "#54411a"),
    "green": ("#d9f0dd", "#1e4429"),
    "violet": ("#e8e0fa", "#3b2f66"),
    "plain-line": ("#a9b1bd", "#5a6371"),
    "blue-line": ("#3a76c4", "#6fa8ee"),
    "amber-line": ("#b07c12", "#dcaf52"),
    "green-line": ("#38884b", "#6bc07f"),
    "violet-line": ("#7456c2", "#a58df0"),
}


class Drawing:
    """Shapes and texts, one upon the other, in units of a phone's pixels."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A filled box with an edge."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" fill="var(--{colour})" '
            f'stroke="var(--{colour}-line)"/>'
        )

    def bar(self, x: float, y: float, height: float, colour: str, *, width: float = 8, faded: bool = False) -> None:
        """A bar without an edge; faded: half there."""
        opacity = ' opacity="0.3"' if faded else ""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{width / 2:g}" '
            f'fill="var(--{colour})"{opacity}/>'
        )

    def arrow(self, points: Sequence[tuple[float, float]]) -> None:
        """A curve through points from above to below, straight down at each, with a head at its end."""
        (x, y), *rest = points
        path = f"M{x:.1f} {y:.1f}"
        for to_x, to_y in rest:
            bend = (to_y - y) / 2
            path += f"C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y:.1f}"
            x, y = to_x, to_y
        self.parts.append(f'<path class="arrow" d="{path}"/>')

    def text(
        self, x: float, y: float, words: str, style: str = "", *, colour: str = "ink", anchor: str = "start"
    ) -> None:
        """One line of text; style: of the classes `small`, `mono`, `bold`."""
        end = "" if anchor == "start" else f' text-anchor="{anchor}"'
        kind = f' class="{style}"' if style else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" fill="var(--{colour})"{kind}{end} xml:space="preserve">{escape(words)}</text>'
        )

    def upwards(self, x: float, y: float, words: str, *, colour: str = "ink") -> None:
        """A line of text that is read from below."""
        self.parts.append(
            f'<text transform="translate({x:g} {y:g}) rotate(-90)" fill="var(--{colour})" class="small">'
            f"{escape(words)}</text>"
        )

    def __str__(self) -> str:
        """The whole file."""
        light, dark = (";".join(f"--{name}:{shades[mode]}" for name, shades in COLOURS.items()) for mode in range(2))
        style = (
            f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
            "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
            ".arrow{fill:none;stroke:var(--arrow);stroke-width:1.1;marker-end:url(#head)}"
            ".small{font-size:11px}.bold{font-weight:600}"
            ".mono{font-family:ui-monospace,SFMono-Regular,Menlo,'DejaVu Sans Mono',monospace;font-size:11px}"
        )
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
                f'width="{self.width:g}" height="{self.height:g}" role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<style>{style}</style>",
                '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
                'orient="auto"><path d="M0 0 8 4 0 8z" fill="var(--arrow)"/></marker></defs>',
                f'<rect width="{self.width:g}" height="{self.height:g}" rx="10" fill="var(--paper)"/>',
                *self.parts,
                "</svg>",
                "",
            ]
        )
