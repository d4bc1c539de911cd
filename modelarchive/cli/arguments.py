"""Arguments that several commands take."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from modelarchive.cli.options import COMMANDS
from modelarchive.cli.outcome import WrongUseError
from modelarchive.remote import CACHES, RemoteFile, located

Commands = Any  # argparse's own type for this is private

#: Where `--storage-option` and `--cache` are kept.
_REMOTE: Final = ("storage_option", "cache")
_SHARDS: Final = "write a folder of shards of so many bytes of arrays: 5GB, 512MiB (for folders 5GB unless said)"


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], summary: str, *, about: str = ""
) -> argparse.ArgumentParser:
    """A command with `--json`; `summary` is a sentence without its full stop, `about` what its own help says instead.

    Its options are known to errors from then on.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=about or f"{summary}.")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.set_defaults(command=run, name=name)
    COMMANDS[name] = parser
    return parser


def place(text: str) -> Any:
    """A file: on a disk, or elsewhere, where its name is a URL."""
    try:
        found = located(text)
    except FileNotFoundError as error:
        raise argparse.ArgumentTypeError(str(error.strerror)) from None
    return Path(found) if isinstance(found, str) else found


def add_place(parser: argparse.ArgumentParser, name: str, **more: Any) -> None:
    """A file that may lie elsewhere, and, with the first one, how URLs are read."""
    parser.add_argument(name, type=place, **more)
    if parser.get_default("is_remote"):
        return
    parser.set_defaults(is_remote=True)
    parser.add_argument(
        "--storage-option",
        action="append",
        type=_storage_option,
        metavar="KEY=VALUE",
        help="an option of fsspec's for the URL: anon=true, endpoint_url=https://...; again for more. VALUE is JSON "
        "where it can be. Other users may see what a command is given: credentials stand better in fsspec's "
        "configuration",
    )
    parser.add_argument(
        "--cache",
        type=_cache,
        metavar="KIND[=FOLDER]",
        help=f"keep what is read of the URL: {', '.join(CACHES)} (in ~/.cache/modelarchive unless FOLDER is given)",
    )


def with_remote_options(chosen: argparse.Namespace) -> argparse.Namespace:
    """What was chosen, each URL read as `--storage-option` and `--cache` say.

    Raises:
        WrongUseError: They are given, and no URL.
    """
    given = [name for name in _REMOTE if getattr(chosen, name, None) is not None]
    if not given:
        return chosen
    options, has_url = dict(chosen.storage_option or []), False

    def opened(value: Any) -> Any:
        nonlocal has_url
        if isinstance(value, list):
            return [opened(each) for each in value]
        if not isinstance(value, RemoteFile):
            return value
        has_url = True
        return located(value, options, chosen.cache)

    found = argparse.Namespace(**{name: opened(value) for name, value in vars(chosen).items()})
    if not has_url:
        raise WrongUseError(f"--{given[0].replace('_', '-')} is for URLs, and none is given", hint="leave it out")
    return found


def _storage_option(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        # The text may be a credential, and is not repeated.
        raise argparse.ArgumentTypeError("expected KEY=VALUE")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value


def _cache(text: str) -> dict[str, str]:
    kind, sign, folder = text.partition("=")
    if kind not in CACHES or (sign and not folder):
        raise argparse.ArgumentTypeError(f"{text!r}, expected {', '.join(CACHES)}, or one of them with =FOLDER")
    return {"protocol": kind} | ({"cache_storage": folder} if folder else {})


def on_disk(text: str) -> Path:
    """A file that has to be on a disk.

    Raises:
        argparse.ArgumentTypeError: It is elsewhere.
    """
    found = place(text)
    if isinstance(found, Path):
        return found
    raise argparse.ArgumentTypeError(f"{found} lies elsewhere, and this needs a file on a disk: download it first")


def add_output(parser: argparse.ArgumentParser, *, required: bool, text: str) -> None:
    """``-o OUT``: a file to write."""
    parser.add_argument("-o", "--output", type=on_disk, metavar="OUT", required=required, help=text)


def refuse_sources(out: Path | str | None, sources: Iterable[Any]) -> None:
    """Refuse to write over what is read: the rest of a model, or a key, would be gone.

    Args:
        out: What is to be written, if anything.
        sources: What is read; URLs and None are left alone.

    Raises:
        WrongUseError: They are one file.
    """
    if out is None or not Path(out).is_file():
        return
    for each in sources:
        if isinstance(each, Path) and each.is_file() and each.samefile(out):
            raise WrongUseError(f"{each} is read, and would be written over", hint="give OUT a name of its own")


def add_archive_output(parser: argparse.ArgumentParser, *, required: bool, text: str = "the archive to write") -> None:
    """``-o OUT``: an archive to write, or DIR/, a folder of shards."""
    more = f"{text}; DIR/ is a folder of shards"
    parser.add_argument("-o", "--output", type=_archive, metavar="OUT", required=required, help=more)


def _archive(text: str) -> Path | str:
    # A Path has lost the slash.
    path = on_disk(text)
    return f"{path}/" if text.endswith(("/", os.sep)) else path


def add_patterns(parser: argparse.ArgumentParser, option: str, text: str) -> None:
    """An option that is given once or several times, each time with a pattern of names."""
    parser.add_argument(option, action="append", metavar="PATTERN", help=text)


def add_shard_size(parser: argparse.ArgumentParser) -> None:
    """``--max-shard-size SIZE``."""
    parser.add_argument("--max-shard-size", type=_shard_size, metavar="SIZE", help=_SHARDS)


def _shard_size(text: str) -> int:
    from modelarchive.archive.folders import shard_bytes

    try:
        return shard_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: 5GB, 512MiB, or bytes") from error


def pairs(texts: list[str] | None, *, option: str) -> dict[str, str]:
    """``["a.*=b.*"]`` as ``{"a.*": "b.*"}``.

    Raises:
        WrongUseError: One has no equals sign.
    """
    found = {}
    for text in texts or []:
        old, sign, new = text.partition("=")
        if not sign or not old or not new:
            raise WrongUseError(
                f"{option} {text!r} is not of the form OLD=NEW", hint=f"{option} 'features.*=backbone.*'"
            )
        found[old] = new
    return found


def choice(
    texts: list[str], known: dict[str, str | None], *, option: str, without: str | None
) -> dict[str, str | None]:
    """One choice for all, or patterns with a choice each; where no pattern matches it is `without`.

    Raises:
        WrongUseError: A choice is unknown, or several are given and one lacks its pattern.
    """
    rules = {"*": texts[0]} if len(texts) == 1 and "=" not in texts[0] else pairs(texts, option=option)
    for word in rules.values():
        if word not in known:
            raise WrongUseError(f"{option} {word!r}, expected {', '.join(known)}", hint=f"{option} {next(iter(known))}")
    return {
        **{pattern: known[word] for pattern, word in rules.items()},
        **({"*": without} if "*" not in rules else {}),
    }


def children(text: str) -> slice:
    """``"0:2"`` as ``slice(0, 2)``; ``"3"`` is the fourth child alone.

    Raises:
        argparse.ArgumentTypeError: It is neither.
    """
    start, sign, stop = text.partition(":")
    try:
        if not sign:
            return slice(int(start), int(start) + 1 or None)
        return slice(int(start) if start else None, int(stop) if stop else None)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 0:2") from None
