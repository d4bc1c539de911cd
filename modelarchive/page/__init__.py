"""Looking at a model: one HTML file that shows what a file holds, and needs nothing."""

from modelarchive.page.writing import render, write

__all__ = ["render", "write"]
