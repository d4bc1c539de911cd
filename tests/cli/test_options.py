"""Errors name the options of the command line, not Python's arguments."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import modelarchive
import modelarchive as ma
from modelarchive.cli import commands
from modelarchive.cli.options import CALL, OPTIONS, PYTHON_ONLY, SENTENCES, as_options
from tests.cli.conftest import Run

PACKAGE = Path(modelarchive.__path__[0])

#: An argument as Python spells it.
SPELLING = re.compile(r"(?<![\w-])[a-z_]+=(?!=)")

#: What stays: arguments of Keras, PyTorch and transformers in the user's own code, and whole calls, which are code.
THEIRS = re.compile(rf"padding='same'|training=True|momentum=None|from_flax=True|dtype=torch.*|{CALL}")


@functools.cache
def texts() -> list[tuple[Path, int, str]]:
    return list(_texts())


def _texts() -> Iterator[tuple[Path, int, str]]:
    """Every text in the package that is no docstring, and in no `__repr__`; of an f-string, with X for its values."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "cli" in path.relative_to(PACKAGE).parts:
            continue
        nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
        left_out: set[int] = set()
        for node in nodes:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                left_out.add(id(node.value))
            if isinstance(node, ast.FunctionDef) and node.name in ("__repr__", "__str__"):
                left_out |= {id(each) for each in ast.walk(node)}
        for node in nodes:
            if id(node) in left_out:
                continue
            if isinstance(node, ast.JoinedStr):
                left_out |= {id(each) for each in node.values}
                parts = (str(each.value) if isinstance(each, ast.Constant) else "X" for each in node.values)
                yield path, node.lineno, "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, node.lineno, node.value


@pytest.mark.slow
def test_every_text_of_the_package_is_said_in_options() -> None:
    known = commands()
    seen = 0
    for path, line, text in texts():
        if not SPELLING.search(text):
            continue
        seen += 1
        for command in known:
            said = THEIRS.sub("", as_options(text, command, known))
            where = f"{path.relative_to(PACKAGE)}, line {line}: {text!r} in {command} is said as {said!r}"
            assert not SPELLING.search(said), f"{where}: add the argument to cli/options.py"
    assert seen > 20


@pytest.mark.slow
def test_the_table_is_not_stale() -> None:
    everything = "\n".join(text for _, _, text in texts())
    for sentence in SENTENCES:
        assert sentence in everything
    assert not OPTIONS.keys() & PYTHON_ONLY


@pytest.mark.parametrize(
    ("text", "command", "said"),
    [
        ("rename= gives source names a place", "transplant", "--rename OLD=NEW gives source names a place"),
        ('mismatch="skip" or "overlap" decides', "transplant", "--mismatch skip or overlap decides"),
        ("inputs={'x': (None, 3), 'y': ('n',)} for", "show", "--input x:?,3 --input y:n of `convert` for"),
        ("pass inputs=x, an example", "convert", "pass --input x:1,3,224,224:float32, an example"),
        ("pass inputs= with fixed ones", "show", "pass --input x:1,3,224,224:float32 of `convert` with fixed ones"),
        ('pass inputs={"shape": [None, 3]}, with', "convert", "pass --input x:1,3,224,224:float32, with"),
        ('pass inputs={"name": "x", "shape": [None, 3]}, with', "convert", "pass --input x:?,3, with"),
        (
            'inputs=[{"name": "r", "value": 8}, {"name": "x", "shape": [None, 3]}] or with inputs=[{"shape": [2]}]',
            "convert",
            "--input r=8 --input x:?,3 or with --input x:1,3,224,224:float32",
        ),
        ('pass inputs={"name": "x; ls", "shape": [None, "n"]}', "convert", "pass --input 'x; ls':?,n"),
        ('rename={"a.*": "b c.*", "d": "e"} brings', "transplant", "--rename 'a.*=b c.*' --rename d=e brings"),
        ('leave them out with select="a.*"', "transplant", "leave them out with --select 'a.*'"),
        ("convert(path, rename={}, inputs=f(x)) does it", "convert", "convert(path, rename={}, inputs=f(x)) does it"),
        ("without verify=True, or", "show", "without Python's argument verify as True, or"),
        ("freeze='a.*' matches nothing", "transplant", "--freeze matches nothing"),
        # A name in quotes, a command to copy, and words that end alike are no arguments.
        ("no parameter 'inputs=3'", "show", "no parameter 'inputs=3'"),
        ("`modelarchive reindex rows=1.h5` writes", "show", "`modelarchive reindex rows=1.h5` writes"),
        ("my_inputs=3 and --rename=x and a.rows=2", "show", "my_inputs=3 and --rename=x and a.rows=2"),
        ("inputs == 3", "show", "inputs == 3"),
    ],
)
def test_renderings(text: str, command: str, said: str) -> None:
    assert as_options(text, command, commands()) == said


def test_a_path_is_no_argument(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "inputs=3"
    folder.mkdir()
    (folder / "rename=4.h5").write_bytes(b"nothing")
    assert "inputs=3/rename=4.h5: " in run("show", folder / "rename=4.h5").err


def test_the_hint_of_a_misfit_works(run: Run, model: Path, tmp_path: Path, net: ma.nn.Block, x: np.ndarray) -> None:
    other = ma.nn.Sequential()
    other.add(backbone=ma.nn.Sequential(ma.nn.Dense(8), ma.nn.Dense(6)), head=ma.nn.Dense(2))
    other.initialize(seed=1)
    other(x)
    target = tmp_path / "target.h5"
    ma.save_model(target, other, inputs=x)
    arguments: tuple[object, ...] = ("transplant", model, target, "--select", "features.*", "--dry-run")
    done = run(*arguments)
    assert done.code == 2
    assert "--rename " in done.err
    assert "rename=" not in done.err
    assert run(*arguments, "--rename", "features.*=backbone.*").code == 0
    arguments = ("transplant", model, target, "--dry-run")
    arguments += ("--rename", "features.*=backbone.*", "--rename", "output.*=head.*")
    done = run(*arguments)
    assert "--mismatch skip" in done.err
    for choice in ("skip", "overlap"):
        assert run(*arguments, "--mismatch", choice).code == 0


def test_the_hint_of_undeclared_inputs_works(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    net = ma.nn.Dense(3)
    net.initialize(seed=0)
    net(np.ones((1, 4), np.float32))
    # An architecture without declared inputs, as MXNet's symbols give.
    from modelarchive.exchange import bundle_of
    from modelarchive.exchange.bundle import save_bundle

    bundle = bundle_of(net, inputs=np.ones((1, 4), np.float32))
    assert bundle.architecture is not None
    bundle.architecture["inputs"] = []
    save_bundle(tmp_path / "net.h5", bundle)
    done = run("convert", tmp_path / "net.h5", tmp_path / "net.onnx")
    assert done.code == 4
    assert "--input x:1,3,224,224:float32" in done.err
    assert run("convert", tmp_path / "net.h5", tmp_path / "net.onnx", "--input", "x:?,4:float32").code == 0
