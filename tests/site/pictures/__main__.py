"""Writes the pictures into docs/pictures/: ``python -m tests.site.pictures``."""

from __future__ import annotations

from tests.site.pictures import PICTURES

if __name__ == "__main__":
    for path, picture in PICTURES.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(picture(), "utf-8")
        print(path)
