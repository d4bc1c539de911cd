"""The command line: parse the arguments, call the command, say how it went."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Final, NoReturn

from modelarchive.cli.arguments import with_remote_options
from modelarchive.cli.options import COMMANDS
from modelarchive.cli.outcome import DONE, INTERRUPTED, WRONG_USE, complain, failed
from modelarchive.remote.address import scrubbed

#: The modules that bring the commands, in the order of the help. Each has `add(commands)`.
_GROUPS: Final = ("look", "view", "check", "difference", "sign", "parts", "convert", "upkeep", "forward", "demo")

_EPILOG: Final = """\
exit codes: 0 done; 1 the answer is no (damaged, different, not verified);
2 wrong use; 3 refused as unsafe; 4 cannot read or write"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; None: those of the process.

    Returns:
        The exit code.
    """
    try:
        chosen, left = _parser().parse_known_args(arguments)
        if left:
            COMMANDS[chosen.name].error(f"{chosen.name} does not take {' '.join(left)}")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else WRONG_USE
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding lacks is no reason to end.
            stream.reconfigure(errors="backslashreplace")
    with _warnings_as_lines():
        try:
            code: int = chosen.command(with_remote_options(chosen))
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader of the pipe has seen enough (`| head`); what is still buffered goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        except KeyboardInterrupt:
            complain("interrupted")
            return INTERRUPTED
        except Exception as error:
            return failed(error, getattr(chosen, "name", ""))
    return code


def commands() -> dict[str, argparse.ArgumentParser]:
    """Every command with its parser."""
    _parser()
    return dict(COMMANDS)


class _Parser(argparse.ArgumentParser):
    """Complains as all other errors are complained about."""

    def error(self, message: str) -> NoReturn:
        complain(scrubbed(message, {}), hint=f"{self.prog} --help")
        raise SystemExit(WRONG_USE)


def _parser() -> argparse.ArgumentParser:
    from modelarchive import __version__

    parser = _Parser(
        prog="modelarchive",
        description="Look into model archives, check them, take them apart and put them together.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"modelarchive {__version__}")
    added = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for group in _GROUPS:
        importlib.import_module(f"modelarchive.cli.{group}").add(added)
    return parser


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Warnings of the package as one line on standard error each, without Python's file and line."""

    def show(message: Warning | str, *where: Any, **more: Any) -> None:
        complain(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield
