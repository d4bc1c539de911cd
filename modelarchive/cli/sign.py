"""``sign``: a signature beside an archive, for others to check with ``verify --key``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from modelarchive.cli import output
from modelarchive.cli.arguments import Commands, add_command, add_output, on_disk, refuse_sources
from modelarchive.cli.outcome import DONE, WrongUseError
from modelarchive.errors import FormatError

#: Holds the key's password where nobody can be asked.
PASSWORD: Final = "MODELARCHIVE_KEY_PASSWORD"


def add(commands: Commands) -> None:
    """Add the command."""
    signed = add_command(commands, "sign", sign, "Sign an archive with an Ed25519 key; FILE stays as it is")
    signed.add_argument("file", type=on_disk, metavar="FILE")
    signed.add_argument("--key", type=on_disk, metavar="KEY", help="the private key's file: PEM, or OpenSSH's")
    signed.add_argument(
        "--message", action="store_true", help="print what is signed instead, for other programs to sign or check"
    )
    add_output(signed, required=False, text="the signature's file (default: FILE.sig)")


def sign(chosen: argparse.Namespace) -> int:
    """``modelarchive sign``."""
    import modelarchive
    from modelarchive import signing
    from modelarchive.models.content import refuse_foreign

    refuse_sources(chosen.output, [chosen.file, chosen.key])
    refuse_foreign(chosen.file)
    if chosen.message:
        with modelarchive.open(chosen.file) as archive:
            sys.stdout.write(signing.message(archive).decode())
        return DONE
    if chosen.key is None:
        raise WrongUseError(
            "sign needs the private key", hint="--key KEY; `openssl genpkey -algorithm ed25519` makes one"
        )
    made = _sign(chosen)
    if chosen.json:
        output.as_json({"file": str(chosen.file), "signature": str(made)})
    else:
        output.say(f"{made}: the signature of {chosen.file}")
    return DONE


def _sign(chosen: argparse.Namespace) -> Path:
    """Sign, with the key's password asked for if it has one."""
    from modelarchive import signing
    from modelarchive.models.content import size_of

    password = os.environ.get(PASSWORD)
    try:
        signing.load_private_key(chosen.key, password.encode() if password else None)
    except FormatError as error:
        if password is not None or "password" not in error.message.lower() or not sys.stdin.isatty():
            raise
        from getpass import getpass

        password = getpass(f"Password of {chosen.key}: ")
    with output.progress(f"verify {chosen.file.name}", size_of(chosen.file)) as advance:
        return signing.sign(
            chosen.file,
            chosen.key,
            out=chosen.output,
            password=password.encode() if password else None,
            progress=advance,
        )
