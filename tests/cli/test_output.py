"""Tables, units and progress: plain on a pipe, coloured on a terminal."""

from __future__ import annotations

import io
import json
import sys

import pytest

from modelarchive.cli import output
from modelarchive.cli.output import Column, printable, shape, size


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    # No fixture: pytest sets the streams anew between the fixtures and the test.
    stream = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_progress_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    with output.progress("verify \x1b[31m", 1 << 20) as advance:
        advance(1 << 19)
        advance(1 << 19)
    assert r"verify \x1b[31m" in shown.getvalue()
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with output.progress("verify", 10) as advance:
        advance(10)
    assert pipe.getvalue() == ""


def test_colour_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    rows = [("name", ("bad", "bold red"))]
    output.table([Column("a"), Column("b")], rows)
    output.say("done", style="green")
    assert "\x1b[1;31mbad" in shown.getvalue()
    assert "\x1b[32mdone" in shown.getvalue()
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    output.table([Column("a"), Column("b")], rows)
    assert "\x1b" not in pipe.getvalue()


def test_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("[bold]text[/bold] :smile:")
    output.table([Column("[red]x")], [("[/nothing]",)])
    out = capsys.readouterr().out
    for text in ("[bold]text[/bold] :smile:", "[red]x", "[/nothing]"):
        assert text in out


def test_units() -> None:
    assert [size(each) for each in (0, 1023, 1024, 57_344, 1 << 20, 5 << 30, 3 << 40)] == [
        "0 B", "1023 B", "1.0 KiB", "56.0 KiB", "1.0 MiB", "5.0 GiB", "3.0 TiB"
    ]  # fmt: skip
    assert size(1024 * 1024 - 1) == "1.0 MiB"
    assert shape((6, 1, 5)) == "6 x 1 x 5"
    assert shape(()) == "()"


def test_printable() -> None:
    assert printable("plain é ü 漢") == "plain é ü 漢"
    assert printable("a\x1b]0;title\x07\u202eb\ud800") == r"a\x1b]0;title\x07\u202eb\ud800"
    assert printable("two\nlines") == "two\nlines"
    assert output.one_line("two\nlines\x9b") == r"two\nlines\x9b"


def test_json_steers_no_terminal_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"é漢 \x9b2J\x7f": ["\u202e\u2066", "\U000e0001", "\x1b", "\ud800"]}
    output.as_json(value)
    out = capsys.readouterr().out
    assert all(sign.isprintable() or sign == "\n" for sign in out)
    assert "é漢" in out
    assert json.loads(out) == value
