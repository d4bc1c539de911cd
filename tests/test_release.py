"""The release script refuses what is no release, and a dry run leaves tree and tags as they were."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from modelarchive.version import VERSION
from tests.conftest import ROOT

SCRIPT = ROOT / ".ci" / "release"
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The files that the script looks at first, committed."""
    folder = tmp_path / "repository"
    for name in (".ci/release", "docs/changelog.md", "modelarchive/version.py", "CITATION.cff"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    changelog = folder / "docs" / "changelog.md"
    text = re.sub(r"^## \S+, .*$", "## 7.8.9, not released", changelog.read_text("utf-8"), count=1, flags=re.MULTILINE)
    changelog.write_text(text, "utf-8")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "begin")
    return folder


def script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ".ci/release", *arguments]
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=plain, capture_output=True, text=True, check=False, timeout=300)


def module() -> ModuleType:
    spec = importlib.util.spec_from_loader("release", SourceFileLoader("release", str(SCRIPT)))
    assert spec is not None
    found = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(found)
    finally:
        sys.dont_write_bytecode = bytecode
    return found


def test_a_version_that_can_be_released(repository: Path) -> None:
    done = script(repository, "7.8.9", "--check-only")
    assert (done.returncode, done.stdout) == (0, "7.8.9 can be released\n"), done.stderr


@pytest.mark.parametrize(
    ("version", "change", "why"),
    [
        ("7.8", "", "'7.8' is no version"),
        ("7.9.0", "", "expected a heading '## 7.9.0, not released', found '## 7.8.9, not released'"),
        ("7.8.9", "echo more >> CITATION.cff", "changes that are not committed"),
        ("7.8.9", "git tag v7.8.9", "there is a tag v7.8.9 already"),
        ("7.8.9", "git tag v7.10.0", "v7.10.0 is later than 7.8.9"),
        ("7.8.9", "printf '# Changelog\\n\\n## 7.8.9, not released\\n\\n## 7.8.8, 2026-01-01\\n\\n- old\\n' "
         "> docs/changelog.md; git -c user.name=x -c user.email=x@x commit -qam x", "says nothing under"),
    ],
)  # fmt: skip
def test_what_is_no_release_is_refused(repository: Path, version: str, change: str, why: str) -> None:
    subprocess.run(["bash", "-c", change], cwd=repository, check=True)
    before = git(repository, "tag"), git(repository, "rev-parse", "HEAD"), git(repository, "status", "--porcelain")
    done = script(repository, version, "--dry-run")
    assert done.returncode == 1
    assert why in done.stderr
    assert before == (
        git(repository, "tag"), git(repository, "rev-parse", "HEAD"), git(repository, "status", "--porcelain"),
    )  # fmt: skip


@pytest.mark.slow
def test_a_candidate_comes_before_its_release(repository: Path) -> None:
    git(repository, "tag", "v7.8.9rc2")
    assert script(repository, "7.8.9", "--check-only").returncode == 0
    git(repository, "tag", "v7.8.10rc1")
    assert "v7.8.10rc1 is later than 7.8.9" in script(repository, "7.8.9", "--check-only").stderr


def test_version_and_date_are_said_wherever_they_stand(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = module()
    monkeypatch.setattr(release, "run", lambda *command, **_: "")  # the pictures are drawn by a test of their own
    release.prepare(repository, "7.8.9")
    assert 'VERSION: Final = "7.8.9"' in (repository / "modelarchive" / "version.py").read_text("utf-8")
    assert re.search(r"^## 7\.8\.9, \d{4}-\d\d-\d\d$", (repository / "docs/changelog.md").read_text("utf-8"), re.M)
    citation = (repository / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^(?:version|date-released): (.*)$", citation, re.M)[0] == "7.8.9"
    assert len(re.findall(r"^date-released: \d{4}-\d\d-\d\d$", citation, re.M)) == 1


def test_the_changelog_begins_with_the_version_that_comes() -> None:
    text = (ROOT / "docs" / "changelog.md").read_text("utf-8")
    headings = re.findall(r"^## (\S+), (.+)$", text, re.MULTILINE)
    assert headings[0][1] == "not released" or headings[0][0] == VERSION
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", when) for _, when in headings[1:])
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"version: {VERSION}\n" in citation


def test_what_a_wheel_must_not_ship_is_known() -> None:
    unwanted = module().UNWANTED
    assert all(map(unwanted.search, ("modelarchive/cli/digits/train.py", "tests/test_house.py", "docs/conf.py")))
    assert not any(map(unwanted.search, ("modelarchive/nn/block.py", "modelarchive/schemas/op-1.json")))
