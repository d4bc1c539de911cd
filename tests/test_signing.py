"""A signature says who made a file, and openssl agrees; every change and every other key is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import cli
from tests.structures import index_of

pytest.importorskip("cryptography")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from modelarchive import signing

PEM = serialization.Encoding.PEM


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save(path, {"a": np.arange(1000.0), "b": [1, "text"]}, durable=False)
    return path


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_keys(tmp_path, "alice")


def make_keys(folder: Path, name: str, password: bytes | None = None, *, openssh: bool = False) -> tuple[Path, Path]:
    """Files with a private and a public key."""
    key = ed25519.Ed25519PrivateKey.generate()
    forms = serialization.PrivateFormat, serialization.PublicFormat
    private = forms[0].OpenSSH if openssh else forms[0].PKCS8
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    secret, public = folder / f"{name}.pem", folder / f"{name}.pub"
    secret.write_bytes(key.private_bytes(PEM, private, how))
    encoding = serialization.Encoding.OpenSSH if openssh else PEM
    form = forms[1].OpenSSH if openssh else forms[1].SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(encoding, form))
    return secret, public


def test_signed_and_checked(path: Path, keys: tuple[Path, Path]) -> None:
    before = path.read_bytes()
    made = signing.sign(path, keys[0])
    assert made == path.with_name("x.h5.sig")
    assert made.stat().st_size == 64
    assert path.read_bytes() == before
    assert signing.check(path, keys[1]).arrays == 1
    with ma.open(path) as archive:
        assert signing.check(archive, keys[1]).arrays == 1
        np.testing.assert_array_equal(archive.parameters["a"], np.arange(1000.0))


def test_without_cryptography_the_extra_is_named(
    path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signing.sign(path, keys[0])
    for name in ("exceptions", "hazmat.primitives"):
        monkeypatch.setitem(sys.modules, f"cryptography.{name}", None)
    with pytest.raises(ma.MissingDependencyError, match=r"modelarchive\[signing\]"):
        signing.sign(path, keys[0])
    with pytest.raises(ma.MissingDependencyError, match=r"modelarchive\[signing\]"):
        signing.check(path, keys[1])
    assert cli.main(["verify", str(path), "--key", str(keys[1])]) == 4
    assert "modelarchive[signing]" in capsys.readouterr().err


def test_the_signature_is_the_same_each_time(path: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    first = signing.sign(path, keys[0]).read_bytes()
    assert signing.sign(path, keys[0], out=tmp_path / "other.sig").read_bytes() == first


def test_openssl_agrees(path: Path, tmp_path: Path) -> None:
    """Keys made by openssl; what it signs is accepted here, what is signed here it accepts."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=300)

    secret, public, text = tmp_path / "key.pem", tmp_path / "key.pub", tmp_path / "message"
    openssl("genpkey", "-algorithm", "ed25519", "-out", secret)
    openssl("pkey", "-in", secret, "-pubout", "-out", public)
    with ma.open(path) as archive:
        text.write_bytes(signing.message(archive))
    made = signing.sign(path, secret)
    openssl("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", text, "-sigfile", made)
    theirs = tmp_path / "theirs.sig"
    openssl("pkeyutl", "-sign", "-inkey", secret, "-rawin", "-in", text, "-out", theirs)
    assert signing.check(path, public, signature=theirs).arrays == 1
    assert theirs.read_bytes() == made.read_bytes()


def test_openssh_keys_and_passwords(path: Path, tmp_path: Path) -> None:
    secret, public = make_keys(tmp_path, "ssh", openssh=True)
    signing.sign(path, secret)
    signing.check(path, public)
    secret, public = make_keys(tmp_path, "locked", b"open sesame")
    signing.sign(path, secret, password=b"open sesame")
    signing.check(path, public)
    for password in (None, b"wrong"):
        with pytest.raises(ma.FormatError, match="private key") as caught:
            signing.sign(path, secret, password=password)
        assert caught.value.file == str(secret)


def test_another_key_or_another_file(path: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    signing.sign(path, keys[0])
    other = make_keys(tmp_path, "mallory")
    with pytest.raises(ma.IntegrityError) as caught:
        signing.check(path, other[1])
    assert caught.value.damaged.keys() == {"(signature)"}
    ma.save(path, {"a": np.arange(1000.0) + 1, "b": [1, "text"]}, durable=False)
    with pytest.raises(ma.IntegrityError, match="signature"):
        signing.check(path, keys[1])


@pytest.mark.slow
def test_every_byte_counts(path: Path, keys: tuple[Path, Path]) -> None:
    """A bit anywhere in the file, padding included: nothing that is signed can be changed."""
    signing.sign(path, keys[0])
    data = path.read_bytes()
    contents = index_of(path)
    places = {0, 7, 8, contents.user_block - 1, contents.user_block, len(data) - 1}
    places |= set(range(0, len(data), 97)) | {contents.arrays["a"].offset}
    for place in sorted(places):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ma.StaleIndexWarning)
            with pytest.raises((ma.IntegrityError, ma.FormatError)):
                signing.check(path, keys[1])


def test_a_file_that_a_tool_changed_is_not_signed(path: Path, keys: tuple[Path, Path]) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = 1
    for act in (lambda: signing.sign(path, keys[0]), lambda: signing.check(path, keys[1])):
        signing.signature_path(path).write_bytes(bytes(64))
        with pytest.warns(ma.StaleIndexWarning), pytest.raises(ma.IntegrityError, match="index"):
            act()


def test_damage_is_not_signed(path: Path, keys: tuple[Path, Path]) -> None:
    data = bytearray(path.read_bytes())
    data[index_of(path).arrays["a"].offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(ma.IntegrityError):
        signing.sign(path, keys[0])
    assert not signing.signature_path(path).exists()


@pytest.mark.parametrize("length", [0, 63, 65, 1000])
def test_signatures_that_are_none(path: Path, keys: tuple[Path, Path], length: int) -> None:
    signing.signature_path(path).write_bytes(bytes(length))
    with pytest.raises(ma.FormatError, match="64 bytes"):
        signing.check(path, keys[1])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_for_a_signature_is_not_waited_for(path: Path, keys: tuple[Path, Path]) -> None:
    os.mkfifo(signing.signature_path(path))
    with pytest.raises(ma.FormatError, match="is no regular file"):
        signing.check(path, keys[1])


def test_keys_that_are_none(path: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    signing.sign(path, keys[0])
    bad = tmp_path / "bad"
    for content in (
        b"",
        b"\xff" * 100,
        b"no key at all",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ):
        bad.write_bytes(content)
        for act in (lambda: signing.sign(path, bad), lambda: signing.check(path, bad)):
            with pytest.raises(ma.FormatError, match="key that can be read") as caught:
                act()
            assert "genpkey" in str(caught.value)
    other = ec.generate_private_key(ec.SECP256R1())
    bad.write_bytes(other.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    with pytest.raises(ma.FormatError, match="another sort"):
        signing.sign(path, bad)
    bad.write_bytes(other.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ma.FormatError, match="another sort"):
        signing.check(path, bad)


def test_the_commands(path: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    secret, public = map(str, keys)
    assert cli.main(["sign", str(path)]) == 2
    assert cli.main(["verify", str(path), "--key", public]) == 4
    assert cli.main(["sign", str(path), "--key", secret]) == 0
    capsys.readouterr()
    assert cli.main(["verify", str(path), "--key", public, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["ok"]
    assert cli.main(["sign", str(path), "--message"]) == 0
    with ma.open(path) as archive:
        assert capsys.readouterr().out.encode() == signing.message(archive)
    other = make_keys(path.parent, "mallory")
    assert cli.main(["verify", str(path), "--key", str(other[1])]) == 1
    assert "(signature)" in capsys.readouterr().out
    assert cli.main(["verify", str(path), "--signature", "x.sig"]) == 2


def test_the_other_key_of_the_two_is_named(path: Path, keys: tuple[Path, Path]) -> None:
    with pytest.raises(ma.FormatError, match="is a public key, which checks"):
        signing.sign(path, keys[1])
    signing.sign(path, keys[0])
    with pytest.raises(ma.FormatError, match=r"is a private key.*\n.*openssl pkey -in alice\.pem -pubout"):
        signing.check(path, keys[0])


def test_without_a_signature_and_after_a_change(path: Path, keys: tuple[Path, Path]) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing says who signed x\.h5"):
        signing.check(path, keys[1])
    signing.sign(path, keys[0])
    with path.open("ab") as file:
        file.write(b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ma.IntegrityError, match="do not use the file unless you know why"):
            signing.check(path, keys[1])
