"""What notebooks show: trees that open and tables, as HTML without scripts, whose texts are nothing but text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

from modelarchive.names import MAX_PARTS

#: Lines of a tree or a table that are shown.
MOST: Final = 2000
#: A tree of so many lines is open as a whole.
_FEW: Final = 12


def tree(title: str, found: Mapping[str, str], *, sign: str = ".") -> str:
    """Names with parts as a tree that opens, by `<details>` alone.

    Args:
        title: What stands at its root.
        found: Name -> what is said of it; a name's parents need not be there. What lies deeper than names of archives
            do stays in one line.
        sign: What stands between the parts of a name.
    """
    texts = {tuple(name.split(sign, MAX_PARTS - 1)) if name else (): name for name in list(found)[:MOST]}
    inside: dict[tuple[str, ...], dict[tuple[str, ...], None]] = {}
    for parts in texts:
        for depth in range(len(parts)):
            inside.setdefault(parts[:depth], {})[parts[: depth + 1]] = None

    def said(parts: tuple[str, ...]) -> str:
        return escape(found[texts[parts]]) if parts in texts else ""

    lines = [f"<div><details open><summary><b>{escape(title)}</b> {said(())}</summary><ul>"]
    # Depth first, without recursion: a stranger's names may be nested as deep as they like.
    pending: list[tuple[str, ...] | None] = [*reversed(inside.get((), {}))]
    while pending:
        branch = pending.pop()
        if branch is None:
            lines.append("</ul></details></li>")
            continue
        text = f"<b>{escape(branch[-1])}</b> {said(branch)}"
        if branch not in inside:
            lines.append(f"<li>{text}</li>")
            continue
        is_open = " open" if len(found) <= _FEW else ""
        lines.append(f"<li><details{is_open}><summary>{text}</summary><ul>")
        pending += [None, *reversed(inside[branch])]
    lines.append("</ul></details>")
    return "\n".join([*lines, _more(len(found)), "</div>"])


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, below: str = "") -> str:
    """Rows under their titles, and a line below them."""
    found = list(rows)
    lines = ["<div><table><thead>", _row("th", head), "</thead><tbody>", *(_row("td", row) for row in found[:MOST])]
    return "\n".join([*lines, "</tbody></table>", f"<p>{escape(below)}</p>", _more(len(found)), "</div>"])


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _more(count: int) -> str:
    return f"<p>... and {count - MOST:,} more</p>" if count > MOST else ""
