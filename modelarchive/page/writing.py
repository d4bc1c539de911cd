"""The page itself: script, style and what is shown, in one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final

from modelarchive.checkpoints import checkpoints_in
from modelarchive.models.content import opened
from modelarchive.names import as_text
from modelarchive.page.describing import described
from modelarchive.remote import RemoteFile, located
from modelarchive.store.replace import replacing

#: Where the page's frame, script and style lie, as `npm run build` makes them.
_BUILT: Final = "built"


def write(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    other: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write the page of a file that `modelarchive convert` reads, or of a run.

    Args:
        path: An archive, a file of another system, or the folder of :class:`~modelarchive.Checkpoints`; nothing in it
            is run.
        target: The HTML file; what is there is replaced at once, when the new one is whole.
        other: A second file, to be compared with the first.
        progress: Called with the bytes of each array that was looked at.

    Raises:
        OSError: A file cannot be read or written.
        FormatError: A file is of no known format, or damaged.
        CheckpointError: Of a run, no checkpoint is whole.
    """
    text = render(path, other=other, progress=progress)
    with replacing(target, durable=False) as temporary:
        temporary.write_text(text, "utf-8", newline="\n")
    return Path(target)


def render(
    path: str | os.PathLike[str],
    *,
    other: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> str:
    """The page's text; see :func:`write`."""
    shown = _shown(_place(path), None if other is None else _place(other), progress)
    titles = [shown["run"]["title"]] if "run" in shown else [each["title"] for each in shown["models"]]
    # A file's name need be no text.
    title = as_text(" → ".join(titles))
    script, style = _built("page.js"), _built("page.css")
    return Template(_built("page.html")).substitute(
        title=html.escape(title),
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
        content=_embedded(shown),
    )


def _place(path: str | os.PathLike[str]) -> Any:
    found = located(path)
    return found if isinstance(found, RemoteFile) else Path(found)


def _shown(path: Any, other: Any, progress: Callable[[int], None] | None) -> dict[str, Any]:
    found = checkpoints_in(path) if other is None and isinstance(path, Path) and path.is_dir() else {}
    if found:
        from modelarchive.page.runs import shown_run

        return shown_run(path, found, progress)
    with opened(path) as content:
        shown: dict[str, Any] = {"models": [described(content, progress)]}
        if other is not None:
            from modelarchive.page import comparing

            with opened(other) as second:
                shown["models"].append(described(second, progress))
                shown["changes"] = comparing.changes(content, second)
    return shown


def _built(name: str) -> str:
    return (resources.files("modelarchive.page") / _BUILT / name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(shown: Any) -> str:
    """JSON that no HTML parser finds a tag in, whatever a stranger's names say."""
    text = json.dumps(shown, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
