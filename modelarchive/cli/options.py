"""What errors call by the names of Python's arguments, said in the options of the command line."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Option(NamedTuple):
    """How the command line spells an argument.

    Attributes:
        flag: The option.
        form: What is written behind it where the text gives no value that the command line takes; "": nothing.
        takes: The values that it takes as Python does: str, dict of str for ``OLD=NEW``, or list of declarations.
    """

    flag: str
    form: str = ""
    takes: type | None = None


#: Every command by name, as it was added: who has which option.
COMMANDS: Final[dict[str, argparse.ArgumentParser]] = {}

#: Argument in Python -> option. One that no command has is called as Python does.
OPTIONS: Final[Mapping[str, Option]] = {
    "after": Option("--from", "LAYER", str),
    "cast_dtype": Option("--cast-dtype"),
    "children": Option("--children", "A:B"),
    "base": Option("--base", "DIR", str),
    "config": Option("--config", "model.json"),
    "cache": Option("--cache", "blockcache", str),
    "compression": Option("--compression", "CHOICE", str),
    "dtype": Option("--dtype", "DTYPE", str),
    "dry_run": Option("--dry-run"),
    "freeze": Option("--freeze"),
    "inputs": Option("--input", "x:1,3,224,224:float32", list),
    "max_shard_size": Option("--max-shard-size", "5GB", str),
    "mismatch": Option("--mismatch", "CHOICE", str),
    "parameters_only": Option("--parameters-only"),
    "plain": Option("--plain"),
    "rename": Option("--rename", "OLD=NEW", dict),
    "resize": Option("--resize", "PATTERN=HOW", dict),
    "rows": Option("--rows", "NAME=WORDS.txt"),
    "select": Option("--select", "PATTERN", str),
    "storage_options": Option("--storage-option", "KEY=VALUE", dict),
    "variant": Option("--variant", "fp16", str),
    "until": Option("--until", "LAYER", str),
}

#: Arguments that only Python has.
PYTHON_ONLY: Final = frozenset(
    {"allow_missing", "backend", "block", "external_data", "ignore_extra", "name", "parameters", "tokens", "verify"}
)  # fmt: skip

#: What the command line says instead, where another word for the argument would not do.
SENTENCES: Final[Mapping[str, str]] = {
    "credentials are passed as storage_options=, or in the URL": "credentials stand in fsspec's configuration, "
    "the environment, the URL or --storage-option KEY=VALUE",
    "pass parameters=, the file that holds the arrays": "put the file that holds the arrays beside it",
}

_QUOTED: Final = r'"[^"\n]*"'
_VALUE: Final = (
    rf"'[^'\n]*'|{_QUOTED}(?:(?:,| or|, or) {_QUOTED})*"
    r"|\{[^{}]*\}|\[(?:[^][]|\[[^][]*\])*\]|\([^()]*\)|[\w.]+(?:\([^()]*\))?"
)
#: A call with its arguments, three deep: code that is run in Python.
CALL: Final = r"\w[\w.]*\((?:[^()\n]|\((?:[^()\n]|\([^()\n]*\))*\))*\)"
#: Commands to copy, quoted names and code stand as they are; else an argument, an equals sign and perhaps a value.
_SPELLING: Final = re.compile(
    rf"(?P<kept>`modelarchive [^`]*`|(?<!\w)'[^'\n]*'|{CALL})"
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
        written = _written(option, found["value"] or "")
        return written if command in owners else f"{written} of `{owners[0]}`"

    for sentence, instead in SENTENCES.items():
        text = text.replace(sentence, instead)
    return _SPELLING.sub(said, text)


def _written(option: Option, value: str) -> str:
    """An option with its value: ``--rename 'a.*=b.*'`` of ``{"a.*": "b.*"}``."""
    given = _literal(value)
    if option.takes is dict and isinstance(given, dict) and all(isinstance(each, str) for each in given.values()):
        return " ".join(f"{option.flag} {shlex.quote(f'{old}={new}')}" for old, new in given.items())
    if option.takes is list:
        several = given if isinstance(given, list) else [given]
        if isinstance(given, dict) and all(isinstance(each, tuple) for each in given.values()):
            several = [{"name": name, "shape": shape} for name, shape in given.items()]
        if several and all(_is_declared(each) for each in several):
            return " ".join(f"{option.flag} {_declared(each)}" for each in several)
    if option.takes is str and isinstance(given, list) and all(isinstance(each, str) for each in given):
        return " ".join(f"{option.flag} {shlex.quote(each)}" for each in given)
    if option.takes is str and isinstance(given, str):
        return f"{option.flag} {shlex.quote(given)}"
    if option.takes is str and value.startswith('"'):
        return f"{option.flag} {value.replace(chr(34), '')}"  # several to choose from
    return f"{option.flag} {option.form}".rstrip()


def _is_declared(given: Any) -> bool:
    return isinstance(given, dict) and "name" in given and ("shape" in given or "value" in given)


def _declared(given: Mapping[str, Any]) -> str:
    """An input as the command line declares it: ``x:?,3``, or ``rate=16000``; its name may be any text of a file."""
    name = shlex.quote(str(given["name"]))
    if "value" in given:
        return f"{name}={given['value']}"
    sizes = ",".join("?" if size is None else shlex.quote(str(size)) for size in given["shape"])
    return f"{name}:{sizes}"


def _literal(value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return None


def _has(parser: argparse.ArgumentParser, flag: str) -> bool:
    return flag in parser._option_string_actions
