"""The picture of the file: a small archive's bytes from the start to the end, and who reads which of them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.site.pictures.layout import Layout, archive, layout
from tests.site.pictures.svg import Drawing

WIDTH = 400
LEFT, RIGHT = 76, 306
#: Of the bars that say who reads what.
READERS = {"safetensors": (322, "blue-line"), "HDF5": (346, "amber-line"), "modelarchive": (370, "violet-line")}
LINE = 16
PAD = 9


@dataclass(frozen=True)
class Section:
    """A stretch of the file, as it is drawn.

    Attributes:
        begin: Its address.
        colour: Of its box.
        title: What it is.
        lines: What is in it, in monospace.
        readers: Who reads it; who only passes over it, knowing that it is there, is `passing`.
        passing: See there.
    """

    begin: int
    colour: str
    title: str
    lines: list[str]
    readers: tuple[str, ...]
    passing: tuple[str, ...] = ()

    @property
    def height(self) -> float:
        return 2 * PAD + LINE * (1 + len(self.lines)) - 2


def sections(found: Layout) -> list[Section]:
    """The file from its start to its end, in words."""
    text = {piece.name: piece for piece in found.texts}
    return [
        Section(0, "blue", f"length: {found.header:,}", [found.content[:8].hex(" ")], ("safetensors", "modelarchive")),
        Section(
            8,
            "blue",
            "index: JSON",
            [
                *(f"{each.name:9}{each.says:10}{_offsets(each.begin, each.end, found)}" for each in found.arrays),
                "digests, texts, size of the file",
                f"spaces from {found.index_end:08x} on",
            ],
            ("safetensors", "modelarchive"),
        ),
        Section(
            found.superblock,
            "amber",
            "HDF5: superblock",
            [found.content[found.superblock : found.superblock + 8].hex(" ")],
            ("HDF5",),
            ("safetensors", "modelarchive"),
        ),
        Section(
            found.superblock + 48,
            "amber",
            "HDF5: object headers",
            [*found.groups, "room for what is added later"],
            ("HDF5",),
            ("safetensors", "modelarchive"),
        ),
        Section(
            found.texts[0].begin,
            "green",
            "texts",
            [f"{name:19}{_cut(text[name].says, 12)}" for name in ("/architecture/data", "/metadata/data")],
            ("HDF5", "modelarchive"),
            ("safetensors",),
        ),
        Section(
            found.arrays[0].begin,
            "violet",
            "arrays, in C order",
            [f"{each.name:9}{each.says:10}{each.end - each.begin:>5} bytes" for each in found.arrays],
            ("safetensors", "HDF5", "modelarchive"),
        ),
    ]


def picture() -> str:
    """The SVG."""
    found = layout(archive())
    parts = sections(found)
    top, gap = 112, 6
    height = top + sum(part.height + gap for part in parts) + 64
    drawing = Drawing(WIDTH, height, f"The {len(found.content):,} bytes of a small archive, from its start to its end")
    drawing.text(16, 30, "One file, three readers", "bold")
    drawing.text(16, 50, f"net.h5, {len(found.content):,} bytes:", "small", colour="faint")
    drawing.text(16, 66, "a network of two layers", "small", colour="faint")
    for name, (x, colour) in READERS.items():
        drawing.upwards(x + 8, top - 10, name, colour=colour)
    user_block = sum(part.height + gap for part in parts if part.begin < found.superblock)
    drawing.upwards(READERS["HDF5"][0] + 8, top + user_block - 12, "user block: skipped", colour="faint")
    y = top
    for part in parts:
        _section(drawing, part, y)
        y += part.height + gap
    drawing.text(LEFT - 8, y + 8, f"{len(found.content):08x}", "mono", colour="faint", anchor="end")
    drawing.text(LEFT, y + 8, "the end", "small", colour="faint")
    drawing.text(
        16, y + 32, "Full: reads it. Pale: knows that it is there, and passes over it.", "small", colour="faint"
    )
    drawing.text(16, y + 48, "Heights are not to scale.", "small", colour="faint")
    return str(drawing)


def _section(drawing: Drawing, part: Section, y: float) -> None:
    drawing.text(LEFT - 8, y + PAD + 9, f"{part.begin:08x}", "mono", colour="faint", anchor="end")
    drawing.box(LEFT, y, RIGHT - LEFT, part.height, part.colour)
    drawing.text(LEFT + PAD, y + PAD + 9, part.title, "bold")
    for number, line in enumerate(part.lines, 1):
        drawing.text(LEFT + PAD, y + PAD + 8 + number * LINE, line, "mono")
    for name, (x, colour) in READERS.items():
        if name in part.readers or name in part.passing:
            drawing.bar(x, y, part.height, colour, faded=name in part.passing)


def _offsets(begin: int, end: int, found: Layout) -> str:
    return f"[{begin - found.superblock}, {end - found.superblock}]"


def _cut(text: str, length: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= length else plain[: length - 1] + "…"
