"""A drawing as SVG text that follows the reader's light or dark mode and brings its own background."""

from __future__ import annotations

from xml.sax.saxutils import escape

#: Name -> colour in light mode, in dark mode. Text on each of the fills is `ink`.
COLOURS = {
    "paper": ("#ffffff", "#16181d"),
    "ink": ("#1c2128", "#e8eaed"),
    "faint": ("#5d6672", "#a2abb8"),
    "line": ("#c9d0d9", "#3d444f"),
    "blue": ("#dbe9fb", "#1d3a5f"),
    "amber": ("#fbeccb", "#54411a"),
    "green": ("#d9f0dd", "#1e4429"),
    "violet": ("#e8e0fa", "#3b2f66"),
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

    def box(self, x: float, y: float, width: float, height: float, colour: str, *, dashed: bool = False) -> None:
        """A filled box with an edge; dashed: only the edge."""
        fill = "none" if dashed else f"var(--{colour})"
        dashes = ' stroke-dasharray="3 3"' if dashed else ""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" fill="{fill}" '
            f'stroke="var(--{colour}-line)"{dashes}/>'
        )

    def bar(self, x: float, y: float, height: float, colour: str, *, width: float = 8, faded: bool = False) -> None:
        """A bar without an edge; faded: half there."""
        opacity = ' opacity="0.3"' if faded else ""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{width / 2:g}" '
            f'fill="var(--{colour})"{opacity}/>'
        )

    def line(self, x: float, y: float, to_x: float, to_y: float, colour: str = "line") -> None:
        """A straight line."""
        self.parts.append(f'<path d="M{x:g} {y:g}L{to_x:g} {to_y:g}" stroke="var(--{colour})" fill="none"/>')

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
            ".small{font-size:11px}.bold{font-weight:600}"
            ".mono{font-family:ui-monospace,SFMono-Regular,Menlo,'DejaVu Sans Mono',monospace;font-size:11px}"
        )
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
                f'width="{self.width:g}" height="{self.height:g}" role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<style>{style}</style>",
                f'<rect width="{self.width:g}" height="{self.height:g}" rx="10" fill="var(--paper)"/>',
                *self.parts,
                "</svg>",
                "",
            ]
        )
