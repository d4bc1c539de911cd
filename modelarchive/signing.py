"""Sign archives, and check who signed them: detached Ed25519 signatures of the index's digest.

The index holds the digest of everything else in the file, so a signature of its digest is one of the whole file,
and an archive of any size is signed as fast as its index is read.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelarchive.archive import Archive, Report
from modelarchive.archive.verifying import stale_index
from modelarchive.errors import FormatError, IntegrityError, MissingDependencyError
from modelarchive.store.replace import replacing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

#: What is added to an archive's name.
SUFFIX: Final = ".sig"
#: Bytes of an Ed25519 signature (RFC 8032).
LENGTH: Final = 64
#: Keys are small files.
MAX_KEY: Final = 1 << 16

_CHANGED: Final = "do not use the file unless you know why"

Progress = Callable[[int], None]


def sign(
    path: str | os.PathLike[str],
    key: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    password: bytes | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Sign an archive, after it was verified.

    Args:
        path: The archive; it stays as it is.
        key: A file with an Ed25519 private key: PEM (PKCS #8), or OpenSSH's.
        out: The signature's file, 64 bytes; None: the archive's name with ``.sig`` behind it.
        password: The key's, where it has one.
        durable: As in :func:`modelarchive.save`.
        progress: Called with the number of bytes verified since the last call.

    Returns:
        The signature's file.

    Raises:
        IntegrityError: The archive is damaged: nobody shall sign that.
        FormatError: The key is no Ed25519 private key, or its password is wrong.
        MissingDependencyError: `cryptography` is not installed.
    """
    private = load_private_key(key, password)
    with Archive(path) as archive:
        archive.verify(progress)
        signature = private.sign(message(archive))
        target = signature_path(archive.path) if out is None else Path(os.fsdecode(out))
    with replacing(target, durable=durable, size=len(signature)) as temporary:
        temporary.write_bytes(signature)
    return target


def check(
    archive: str | os.PathLike[str] | Archive,
    key: str | os.PathLike[str],
    *,
    signature: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check that an archive is whole and was signed with a key.

    Args:
        archive: The archive. An open one is checked as it is open: what is taken from it afterwards was checked.
        key: A file with an Ed25519 public key: PEM, or a line of OpenSSH's.
        signature: The signature's file; None: the archive's name with ``.sig`` behind it.
        progress: As in :meth:`modelarchive.Archive.verify`.

    Raises:
        IntegrityError: It was not signed with this key, or was changed since, or is damaged.
        FormatError: The key is no Ed25519 public key, or the signature has not 64 bytes.
        MissingDependencyError: `cryptography` is not installed.
        OSError: A file cannot be read.
    """
    public = _public_key(key)
    from cryptography.exceptions import InvalidSignature

    with _opened(archive) as found:
        file = signature_path(found.path) if signature is None else Path(os.fsdecode(signature))
        if signature is None and file.exists() and not file.is_file():
            raise FormatError("is no regular file", file=file)  # a pipe that somebody has sent would be waited for
        if not file.exists():
            what = f"no such file, so that nothing says who signed {found.path.name}"
            raise FileNotFoundError(errno.ENOENT, what, os.fspath(file))
        if found.is_stale:
            raise IntegrityError({"(index)": stale_index(found.reader)}, file=found.path, hint=_CHANGED)
        signed = _read(file, LENGTH)
        if len(signed) != LENGTH:
            raise FormatError(f"is no signature: it has not {LENGTH} bytes", file=file)
        try:
            public.verify(signed, message(found))
        except InvalidSignature:
            claim = (f"made by the key {Path(os.fsdecode(key)).name}", "made by another key, or for another file")
            raise IntegrityError({"(signature)": claim}, file=found.path, hint=_CHANGED) from None
        return found.verify(progress)


def message(archive: Archive) -> bytes:
    """What is signed: two lines of text, which any program can write and check.

    Raises:
        IntegrityError: The archive's index does not hold any more, so there is no digest to sign.
        FormatError: It is a folder of shards from before their index carried a digest.
    """
    if archive.is_stale:
        raise IntegrityError(
            {"(index)": stale_index(archive.reader)},
            file=archive.path,
            hint=f"`modelarchive reindex {archive.path.name}` comes before",
        )
    if not archive.reader.contents.index_digest:
        hint = "`modelarchive repack` writes one that carries it"
        raise FormatError("is a folder whose index carries no digest to sign", file=archive.path, hint=hint)
    return f"modelarchive signature 1\n{archive.reader.contents.index_digest}\n".encode()


def signature_path(path: Path) -> Path:
    """Where the signature of an archive is, unless said otherwise."""
    return path.with_name(path.name + SUFFIX)


@contextlib.contextmanager
def _opened(archive: str | os.PathLike[str] | Archive) -> Iterator[Archive]:
    if isinstance(archive, Archive):
        yield archive
        return
    with Archive(archive) as opened:
        yield opened


def load_private_key(path: str | os.PathLike[str], password: bytes | None = None) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        FormatError: It is none, or none of Ed25519, or the password is missing or wrong.
        MissingDependencyError: `cryptography` is not installed.
    """
    from_openssh, from_pem = _serialization("load_ssh_private_key", "load_pem_private_key")
    from cryptography.exceptions import UnsupportedAlgorithm

    data = _read(Path(os.fsdecode(path)), MAX_KEY)
    load = from_openssh if b"OPENSSH PRIVATE KEY" in data else from_pem
    try:
        key = load(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if _is_public(path):
            raise FormatError("is a public key, which checks", file=path, hint="the private key signs") from error
        raise FormatError(f"is no private key that can be read: {error}", file=path, hint=_HINT) from error
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not isinstance(key, Ed25519PrivateKey):
        raise FormatError("is a private key of another sort than Ed25519", file=path, hint=_HINT)
    return key


def _public_key(path: str | os.PathLike[str]) -> Ed25519PublicKey:
    from_openssh, from_pem = _serialization("load_ssh_public_key", "load_pem_public_key")
    from cryptography.exceptions import UnsupportedAlgorithm

    data = _read(Path(os.fsdecode(path)), MAX_KEY)
    if b"PRIVATE KEY" in data:
        hint = f"`openssl pkey -in {Path(os.fsdecode(path)).name} -pubout` prints the public key of it"
        raise FormatError("is a private key, which nobody but its owner is to have", file=path, hint=hint)
    try:
        key = (from_pem if b"-----BEGIN" in data else from_openssh)(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError(f"is no public key that can be read: {error}", file=path, hint=_HINT) from error
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(key, Ed25519PublicKey):
        raise FormatError("is a public key of another sort than Ed25519", file=path, hint=_HINT)
    return key


def _is_public(path: str | os.PathLike[str]) -> bool:
    try:
        _public_key(path)
    except FormatError:
        return False
    return True


_HINT: Final = "`openssl genpkey -algorithm ed25519` and `ssh-keygen -t ed25519` make keys"


def _serialization(*names: str) -> list[Any]:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise MissingDependencyError("signatures need the package cryptography", extra="signing") from error
    return [getattr(serialization, name) for name in names]


def _read(path: Path, most: int) -> bytes:
    """A small file, and one byte more if it is larger."""
    with path.open("rb") as file:
        return file.read(most + 1)
