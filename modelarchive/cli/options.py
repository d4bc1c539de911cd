"""What errors call by the names of Python's arguments, said in the options of the command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Final, NamedTuple


class Option(NamedTuple):
    """How the command line spells an argument.

    Attributes:
        flag: The option.
        form: What is written behind it: "" for a switch; "{}" is the value that stands in the text.
    """

    flag: str
    form: str = ""


#: Argument in Python -> option. One that no command has yet, or has any more, is told as Python's.
OPTIONS: Final[Mapping[str, Option]] = {
    "cast_dtype": Option("--cast-dtype"),
    "children": Option("--children", "A:B"),
    "compression": Option("--compression", "{}"),
    "dry_run": Option("--dry-run"),
    "freeze": Option("--freeze"),
    "inputs": Option("--input", "x:1,3,224,224:float32"),
    "mismatch": Option("--mismatch", "{}"),
    "parameters_only": Option("--parameters-only"),
    "rename": Option("--rename", "OLD=NEW"),
    "resize": Option("--resize", "PATTERN=HOW"),
    "rows": Option("--rows", "NAME=WORDS.txt"),
    "select": Option("--select", "PATTERN"),
    "until": Option("--until", "LAYER"),
}

#: Arguments that only Python has.
PYTHON_ONLY: Final = frozenset(
    {"allow_missing", "backend", "block", "config", "external_data", "ignore_extra", "name", "parameters", "tokens",
     "verify"}
)  # fmt: skip

#: What the command line says instead, where another word for the argument would not do.
SENTENCES: Final[Mapping[str, str]] = {
    "pass parameters=, the file that holds the arrays": "put the file that holds the arrays beside it",
    "pass config=, the JSON of the model": "exchange.keras.read takes the JSON of the model as well",
}

_QUOTED: Final = r'"[^"\n]*"'
_VALUE: Final = (
    rf"'[^'\n]*'|{_QUOTED}(?:(?:,| or|, or) {_QUOTED})*|\{{[^{{}}]*\}}|\[[^][]*\]|\([^()]*\)|[\w.]+(?:\([^()]*\))?"
)
#: Commands to copy and quoted names stand as they are; else an argument, an equals sign and perhaps a value.
_SPELLING: Final = re.compile(
    r"(?P<kept>`modelarchive [^`]*`|(?<!\w)'[^'\n]*')"
    rf"|(?<![\w.-])(?P<name>{'|'.join(sorted({*OPTIONS, *PYTHON_ONLY}))})=(?!=)(?P<value>{_VALUE})?"
)


def as_options(text: str, command: str, commands: Mapping[str, argparse.ArgumentParser]) -> str:
    """A message or a hint with Python's arguments said as the command line has them.

    Args:
        text: As the package says it: ``"rename= gives source names a place"``.
        command: The command that runs; an option that only another one has is named with that one.
        commands: Every command, by name.
    """

    def said(found: re.Match[str]) -> str:
        if found["kept"]:
            return found["kept"]
        option = OPTIONS.get(found["name"])
        owners = [] if option is None else [name for name, parser in commands.items() if _has(parser, option.flag)]
        if option is None or not owners:
            return f"Python's argument {found['name']}" + (f" as {found['value']}" if found["value"] else "")
        form = option.form
        if form == "{}":
            form = (found["value"] or "CHOICE").replace('"', "")
        written = f"{option.flag} {form}".rstrip()
        return written if command in owners else f"{written} of `{owners[0]}`"

    for sentence, instead in SENTENCES.items():
        text = text.replace(sentence, instead)
    return _SPELLING.sub(said, text)


def _has(parser: argparse.ArgumentParser, flag: str) -> bool:
    return flag in parser._option_string_actions
