"""The house stands: imports run downwards, names are pinned, everything public is documented."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

import modelarchive
from modelarchive import errors
from modelarchive.formats import SYSTEMS
from tests.conftest import ROOT
from tests.house.plan import read

MAX_LINES = 400
SOURCES = sorted(
    path
    for folder in ("modelarchive", "schemas", "tests")
    for path in (ROOT / folder).rglob("*.py")
    if path.parent != ROOT / "tests" / "data" / "digits"  # as it was run
)

#: What users import. A name added or taken away is a decision: change it here and in docs/changelog.md.
EXPORTED = {
    "Archive",
    "CheckpointError",
    "Checkpoints",
    "ConversionError",
    "DamagedCheckpointWarning",
    "Deferred",
    "DeferredShapeError",
    "FormatError",
    "IntegrityError",
    "MissingDependencyError",
    "ModelArchiveError",
    "OutOfMemoryError",
    "ParameterError",
    "RemoteError",
    "Report",
    "SpecError",
    "StaleIndexWarning",
    "UnsafeFileError",
    "UnsupportedDataError",
    "UnsupportedVersionError",
    "build",
    "convert",
    "describe",
    "load",
    "load_model",
    "load_parameters",
    "nn",
    "open",
    "ops",
    "save",
    "save_model",
    "save_stream",
    "transplant",
    "trusted",
    "validate",
    "verify",
}

#: What `import modelarchive` must not bring along: slow to import, or not installed everywhere.
HEAVY = {
    "h5py",
    "jsonschema",
    "rich",
    "torch",
    "keras",
    "tensorflow",
    "jax",
    "mxnet",
    "onnx",
    "safetensors.torch",
}


def python(code: str) -> str:
    """The output of a fresh interpreter that finds modelarchive where this one does."""
    start = f"import sys; sys.path.insert(0, {str(Path(modelarchive.__path__[0]).parent)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, check=False, cwd="/", timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(importlib.util.find_spec("importlinter") is None, reason="import-linter is not installed")
def test_imports_keep_the_contract() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_there_is_no_circle() -> None:
    """Imports for types only count: who reads a file reads what it imports."""
    assert read(ROOT).circles == []


def test_exchange_is_under_half_of_the_house() -> None:
    """By what other files may use: a name that several systems' rooms have is one idea."""
    house = read(ROOT)
    public = house.public(house.ideas)
    assert len(house.public(house.rooms["exchange"].ideas)) < len(public) / 2


def test_exported_names_are_pinned() -> None:
    assert set(modelarchive.__all__) == EXPORTED
    assert {name for name in EXPORTED if not hasattr(modelarchive, name)} == set()
    assert sorted(modelarchive.__all__) == sorted(set(modelarchive.__all__))


def test_importing_is_light() -> None:
    loaded = set(json.loads(python("import modelarchive, json; print(json.dumps(sorted(sys.modules)))")))
    assert loaded & HEAVY == set()


@pytest.mark.slow
def test_names_come_at_their_first_use(tmp_path: Path) -> None:
    modelarchive.save(tmp_path / "x.h5", {"x": [1]})
    path = str(tmp_path / "x.h5")
    code = f"""
import json, modelarchive
print(json.dumps(dir(modelarchive)))
modelarchive.load({path!r})
modelarchive.open({path!r}).close()
print(json.dumps(sorted(sys.modules)))
"""
    first, second = map(json.loads, python(code).splitlines())
    assert set(first) >= EXPORTED
    rooms = {name.removeprefix("modelarchive.") for name in second if name.startswith("modelarchive.")}
    assert {"models", "store.reader"} <= rooms
    assert {
        room for room in rooms if room.split(".")[0] in ("architecture", "nn", "ops", "zoo", "maintenance")
    } == set()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        modelarchive.nothing  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("first", ["modelarchive.transplant.files", "modelarchive.transplant", "modelarchive.models"])
def test_a_room_does_not_take_the_place_of_its_function(first: str) -> None:
    code = f"import {first}, modelarchive; print(callable(modelarchive.transplant), callable(modelarchive.load))"
    assert python(code) == "True True\n"


def test_every_error_stands_in_the_tree() -> None:
    tree = inspect.getdoc(errors.ModelArchiveError) or ""
    classes = {
        name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, BaseException)
    }
    drawn = dict(re.findall(r"(\w+Error)(?:\((\w+)\))?", tree))
    assert set(drawn) - {base for base in drawn.values() if base} >= set(classes)
    for name, kind in classes.items():
        assert issubclass(kind, errors.ModelArchiveError)
        assert inspect.getdoc(kind) != inspect.getdoc(kind.__base__), f"{name} has no docstring of its own"
        if drawn[name]:
            assert drawn[name] in {base.__name__ for base in kind.__mro__}
        if kind.__module__ == errors.__name__:
            assert name in modelarchive.__all__


def test_every_command_is_documented() -> None:
    cli = pytest.importorskip("modelarchive.cli")
    text = (ROOT / "docs" / "cli.md").read_text("utf-8")
    headings = set(re.findall(r"^## `modelarchive ([\w-]+)", text, re.MULTILINE))
    commands = cli.commands()
    everywhere = {"--help", "--json", "--storage-option", "--cache"}  # said once for all commands
    assert set(commands) == headings
    for name, parser in commands.items():
        section = re.split(rf"^## `modelarchive {name}\b", text, maxsplit=1, flags=re.MULTILINE)[1]
        section = re.split(r"^## ", section, maxsplit=1, flags=re.MULTILINE)[0]
        for action in parser._actions:
            for option in action.option_strings:
                if option.startswith("--") and option not in everywhere:
                    assert f"{option}" in section, f"docs/cli.md does not say what {name} {option} does"
    for option in everywhere - {"--help"}:
        assert option in text


def test_a_file_fits_in_the_head() -> None:
    found = {path: path.read_text("utf-8").splitlines() for path in SOURCES}
    assert [(path, len(lines)) for path, lines in found.items() if len(lines) > MAX_LINES] == []
    # A module opens with one sentence: its purpose.
    assert [path for path, lines in found.items() if lines and not lines[0].startswith('"""')] == []


def test_no_dumping_ground() -> None:
    banned = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "core"}
    assert [path for path in SOURCES if path.stem in banned] == []


def test_every_package_ships() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "modelarchive").rglob("__init__.py")}
    assert set(project["tool"]["setuptools"]["packages"]) == found | {"modelarchive.schemas"}
    programs = [path for path in (ROOT / "modelarchive").rglob("*.py") if not path.with_name("__init__.py").exists()]
    assert programs == [], "no module of the package, and in the wheel all the same"


def test_pyproject_knows_every_system() -> None:
    """A system is one row of the table; what cannot be made of it is compared with it, and the failure says how."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    contracts = {each["id"]: each for each in project["tool"]["importlinter"]["contracts"]}
    rooms = {name.strip() for layer in contracts["exchange"]["layers"] for name in layer.split("|")}
    doors = [line.split(" -> ") for line in contracts["frameworks"]["ignore_imports"]]
    typed = [name for each in project["tool"]["mypy"]["overrides"] for name in each["module"]]
    lacking = []
    for name, system in SYSTEMS.items():
        if name != "archive" and name not in rooms:
            lacking.append(f"contract exchange: {name} on a floor of its own, or beside others")
        if system.extra is not None and system.extra not in extras:
            lacking.append(f"optional-dependencies: {system.extra} = [...]")
        for package in system.frameworks:
            if package not in contracts["frameworks"]["forbidden_modules"]:
                lacking.append(f"contract frameworks, forbidden_modules: {package}")
            if not any(importer.split(".")[2] == name and imported == package for importer, imported in doors):
                lacking.append(f"contract frameworks, ignore_imports: modelarchive.exchange.{name}.* -> {package}")
            if f"{package}.*" not in typed:
                lacking.append(f"mypy.overrides: {package}.*, which need not be installed")
            if not any(need.startswith(package) for need in extras.get(system.extra or "", ())):
                lacking.append(f"optional-dependencies: the extra {system.extra} with {package}")
    assert lacking == [], "write into pyproject.toml"
    known = {(name, package) for name, system in SYSTEMS.items() for package in system.frameworks}
    known |= {("vllm", "vllm"), ("vllm", "torch")}  # no system, which would have files of its own: it serves folders
    assert {(importer.split(".")[2], imported) for importer, imported in doors} <= known, (
        "write into formats/systems.py"
    )


def test_the_oldest_versions_that_are_tested_are_those_that_are_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    allowed = dict(each.split(">=") for each in project["dependencies"] + project["optional-dependencies"]["test"])
    lines = (ROOT / ".ci" / "oldest.txt").read_text("utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {name: Version(version) for name, version in tested.items()} == {
        name: Version(version) for name, version in allowed.items()
    }


def test_schemas_ship_with_the_package() -> None:
    schemas = [str(path.relative_to(ROOT / "schemas")) for path in (ROOT / "schemas").rglob("*.json")]
    missing = python(
        f"from importlib.resources import files\n"
        f"print([name for name in {schemas!r} if not files('modelarchive.schemas').joinpath(name).is_file()])"
    )
    assert missing == "[]\n"
