"""What notebooks show: trees that open and tables, as HTML without scripts, whose texts are nothing but text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

#: Lines of a tree or a table that are shown.
MOST: Final = 2000
#: A tree of so many lines is open as a whole.
_FEW: Final = 12


def tree(title: str, found: Mapping[str, str], *, sign: str = ".") -> str:
    """Names with parts as a tree that opens, by `<details>` alone.

    Args:
        title: What stands at its root.
        found: Name -> what is said of it; a name's parents need not be there.
        sign: What stands between the parts of a name.
    """
    branches: dict[str, dict[str, None]] = {}
    for each in list(found)[:MOST]:
        parts = each.split(sign) if each else []
        for depth in range(len(parts)):
            branches.setdefault(sign.join(parts[:depth]), {})[sign.join(parts[: depth + 1])] = None
    lines = [f"<div><details open><summary><b>{escape(title)}</b> {escape(found.get('', ''))}</summary><ul>"]
    # Depth first, without recursion: a stranger's names may be nested as deep as they like.
    pending: list[str | None] = [*reversed(branches.get("", {}))]
    while pending:
        name: str | None = pending.pop()
        if name is None:
            lines.append("</ul></details></li>")
            continue
        text = f"<b>{escape(name.rpartition(sign)[2])}</b> {escape(found.get(name, ''))}"
        inside = branches.get(name)
        if inside is None:
            lines.append(f"<li>{text}</li>")
            continue
        is_open = " open" if len(found) <= _FEW else ""
        lines.append(f"<li><details{is_open}><summary>{text}</summary><ul>")
        pending += [None, *reversed(inside)]
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
