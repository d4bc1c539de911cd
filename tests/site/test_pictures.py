"""The pictures in the documents are what the code draws, and true of the bytes that they show."""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree

import h5py
import pytest
from safetensors.numpy import load

from tests.conftest import ROOT
from tests.site.pictures import PICTURES
from tests.site.pictures.file import picture
from tests.site.pictures.layout import archive, layout

#: What a letter takes of the line, in the widest of the fonts that the pictures name.
WIDEST = {"small": 5.6, "mono": 6.7, "bold": 8, "": 7}


@pytest.mark.slow
@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_the_pictures_are_those_of_the_code(path: Path) -> None:
    assert path.read_text("utf-8") == PICTURES[path](), "run python -m tests.site.pictures"


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_fits_a_phone_and_follows_its_mode(path: Path) -> None:
    root = ElementTree.fromstring(path.read_text("utf-8"))
    width = float(root.get("width", "inf"))
    assert width <= 400
    assert "prefers-color-scheme:dark" in path.read_text("utf-8")
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        if text.get("x") and not text.get("text-anchor"):
            length = WIDEST[text.get("class", "")] * len(text.text or "")
            assert float(text.get("x", 0)) + length <= width, text.text


def test_the_picture_of_the_file_says_what_its_bytes_are() -> None:
    content = archive()
    found = layout(content)
    words = re.findall(r"<text[^>]*>([^<]*)</text>", picture())
    assert content[found.superblock :].startswith(b"\x89HDF\r\n\x1a\n")
    assert f"{found.superblock:08x}" in words
    assert f"{len(content):08x}" in words
    arrays = load(content)
    with h5py.File(io.BytesIO(content)) as file:
        for piece in found.arrays:
            stored = content[piece.begin : piece.end]
            assert stored == arrays[piece.name].tobytes()
            assert stored == file[f"parameters/{piece.name.replace('.', '/')}"][()].tobytes()
            assert f"{piece.begin:08x}" in words or piece is not found.arrays[0]


def test_the_pictures_stand_in_the_documents() -> None:
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md"))
    for path in PICTURES:
        assert f"pictures/{path.name})" in pages
