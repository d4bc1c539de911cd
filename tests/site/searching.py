"""What the site's own search finds: the index that its pages load, asked as they ask it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

#: What people type, and a page that must come.
QUESTIONS = {
    "load part of a model": "tutorials/part-of-a-model",
    "give PyTorch model to someone without PyTorch": "tutorials/without-pytorch",
    "what was lost": "tutorials/what-was-lost",
    "encoder of BERT": "tutorials/encoder-of-bert",
    "is a pickle safe to open": "tutorials/look-at-a-file",
    "superblock": "format",
    "transplant": "transplant",
    "LayerNorm": "reference/nn",
}


def index(site: Path) -> dict[str, Any]:
    """The site's search index."""
    text = (site / "searchindex.js").read_text("utf-8")
    found: dict[str, Any] = json.loads(text.removeprefix("Search.setIndex(").rstrip().removesuffix(")"))
    return found


def pages(found: dict[str, Any], question: str) -> list[str]:
    """The pages that have every word of the question in their text or titles, as Sphinx' search wants it.

    Words are brought to their stems by Sphinx' own stemmer; those that say nothing ("of", "a") are left out.
    """
    from sphinx.search.en import SearchEnglish

    english = SearchEnglish({})
    words = [word for word in re.findall(r"\w+", question.lower()) if word not in english.stopwords]
    hits = [_with(found, english.stem(word)) | _with(found, word) for word in words]
    common = set.intersection(*hits) if hits else set()
    return [found["docnames"][number] for number in sorted(common)]


def _with(found: dict[str, Any], word: str) -> set[int]:
    pages: set[int] = set()
    for table in ("terms", "titleterms"):
        numbers = found[table].get(word, [])
        pages |= {numbers} if isinstance(numbers, int) else set(numbers)
    return pages | {
        entry[0] for prefix in found["objects"].values() for entry in prefix if word in str(entry[-1]).lower()
    }


def unanswered(site: Path) -> list[str]:
    """Questions whose page the search does not find."""
    found = index(site)
    return [
        f"searching for {question!r} does not find {page}"
        for question, page in QUESTIONS.items()
        if page not in pages(found, question)
    ]
