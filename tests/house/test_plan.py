"""The house is read from its source as it is: on a toy house, and against grimp, which import-linter goes by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.house.__main__ import described
from tests.house.plan import House, knots, read, shortest_circle, without_detours

PROJECT = """
[tool.importlinter]
root_package = "toy"
[[tool.importlinter.contracts]]
id = "floors"
layers = ["top", "exchange | store", "nn"]
ignore_imports = ["toy.nn -> toy.top"]
[[tool.importlinter.contracts]]
id = "exchange"
layers = ["mine | yours"]
[[tool.importlinter.contracts]]
id = "wings"
source_modules = ["toy.store"]
forbidden_modules = ["toy.nn"]
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    files = {
        "__init__.py": '"""A toy."""\n',
        "top.py": '"""The top."""\nfrom toy import store\nfrom toy.exchange.mine import read\n',
        "store.py": '"""Files."""\ndef write(): ...\n',
        "nn.py": '"""Networks."""\ndef deep():\n    from toy import top\n\nclass Block: ...\n_LIMIT: int = 3\n',
        "exchange/__init__.py": '"""Systems."""\n',
        "exchange/mine.py": '"""Mine."""\nfrom toy.nn import Block\ndef read(): ...\n',
        "exchange/yours.py": '"""Yours."""\nfrom .. import nn\nif True:\n    import toy.nn as n\ndef read(): ...\n',
    }
    for name, text in files.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    (tmp_path / "pyproject.toml").write_text(PROJECT, "utf-8")
    return tmp_path


def test_rooms_floors_arrows_and_ideas(toy: Path) -> None:
    house = House(toy)
    assert house.floors() == [["top"], ["exchange", "store"], ["nn"]]
    assert house.arrows(house.rooms) == {"top": {"store", "exchange"}, "exchange": {"nn"}, "store": set(), "nn": set()}
    assert house.rooms["exchange"].ideas == {"read"}  # in two files one idea
    assert house.rooms["nn"].ideas == {"deep", "Block", "_LIMIT"}
    assert house.public(house.rooms["nn"].ideas) == {"deep", "Block"}
    assert house.rooms["exchange"].purpose == "Systems."
    assert {name: house.wing_of(name) for name in house.rooms} == {
        "top": "", "exchange": "model wing", "store": "file wing", "nn": "model wing"
    }  # fmt: skip
    assert house.circles == []
    text = "\n".join(described(house))
    assert "a door upwards: toy.nn -> toy.top" in text
    assert "0 circles" in text


def test_a_circle_is_found_for_types_too(toy: Path) -> None:
    path = toy / "toy" / "store.py"
    path.write_text(
        '"""Files."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from toy.top import x\n', "utf-8"
    )
    house = House(toy)
    assert house.circles == [["toy.store", "toy.top", "toy.store"]]
    assert "a circle: toy.store -> toy.top -> toy.store" in "\n".join(described(house))


def test_circles_of_any_length() -> None:
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"f"}}
    assert knots(arrows) == [{"a", "b", "c"}, {"f"}]
    assert shortest_circle(arrows, {"a", "b", "c"}) == ["a", "b", "c", "a"]
    assert shortest_circle(arrows, {"f"}) == ["f", "f"]


def test_an_arrow_that_follows_from_others_is_a_detour() -> None:
    arrows = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set(), "d": set()}
    assert without_detours(arrows) == {"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": set()}


def test_imports_are_those_that_import_linter_sees() -> None:
    grimp = pytest.importorskip("grimp")
    house = read(ROOT)
    graph = grimp.build_graph(house.package, cache_dir=None)
    assert set(house.modules) == graph.modules - {f"{house.package}.schemas"}
    theirs = {
        name: graph.find_modules_directly_imported_by(name) - {f"{house.package}.schemas"} for name in house.modules
    }
    assert {name: set(module.imports) for name, module in house.modules.items()} == theirs
