"""The vocabulary: where its schemas lie, and the pieces of them that are checked one at a time."""

from __future__ import annotations

import functools
import importlib.resources
import json
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from modelarchive import ops
from modelarchive.nn.kinds import KINDS

#: The version of the vocabulary that this package writes and reads.
VERSION: Final = 1
CONTAINERS: Final = ("Graph", "Scan", "Sequential")
#: Prefix of every schema's ``$id``; the rest is its path without ".json".
URN: Final = "urn:modelarchive:schema:"

Schema = dict[str, Any]


@functools.cache
def folder() -> Traversable:
    """The folder of the schemas: the installed package, or the folder beside it in a source checkout."""
    try:
        return importlib.resources.files("modelarchive.schemas")
    except ModuleNotFoundError:
        return Path(__file__).resolve().parents[2] / "schemas"


@functools.cache
def all_schemas() -> dict[str, Schema]:
    """Every schema by its path without ".json": "architecture-1", "kinds/dense-1", "ops/add-1"."""
    found: dict[str, Schema] = {}
    for place, prefix in ((folder(), ""), (folder() / "kinds", "kinds/"), (folder() / "ops", "ops/")):
        for file in sorted(place.iterdir(), key=lambda each: each.name):
            if file.name.endswith(".json"):
                found[prefix + file.name.removesuffix(".json")] = _read(prefix + file.name)
    return found


@functools.cache
def _read(path: str) -> Schema:
    file = folder()
    for part in path.split("/"):
        file = file / part
    schema: Schema = json.loads(file.read_text("utf-8"))
    return schema


@functools.cache
def _dispatch(name: str, word: str) -> dict[str, str]:
    """What ``block-1.json`` or ``op-1.json`` lists: word -> path of the schema."""
    return {
        rule["if"]["properties"][word]["const"]: rule["then"]["$ref"].removeprefix(URN)
        for rule in _read(f"{name}-1.json")["allOf"]
    }


def kind_schemas() -> dict[str, str]:
    """Kind -> path of its schema."""
    return _dispatch("block", "kind")


def op_schemas() -> dict[str, str]:
    """Op -> path of its schema."""
    return _dispatch("op", "op")


def is_op(name: object) -> bool:
    """Whether `name` is an op of the vocabulary; the constant is one without a function."""
    return name == "constant" or name in ops.OPS


def is_kind(name: object) -> bool:
    """Whether `name` is a layer or a container of the vocabulary."""
    return name in KINDS or name in CONTAINERS


def children_of(block: Any) -> list[dict[str, Any]]:
    """What stands in a container, each with "name" and, where it is a block, "block", as far as it is readable.

    Args:
        block: JSON of a block, which need not be valid.
    """
    if type(block) is not dict or type(block.get("kind")) is not str:
        return []
    if block["kind"] == "Scan":
        return [{"name": "body", "block": block["body"]}] if "body" in block else []
    items = block.get({"Sequential": "children", "Graph": "nodes"}.get(block["kind"], ""))
    return [each for each in items if type(each) is dict] if type(items) is list else []


@functools.cache
def piece(name: str) -> Schema:
    """A schema for one thing at a time, so that problems are flat and each thing is checked once.

    What is checked as a piece of its own is left open where it stands inside another: blocks, the children
    of a Sequential, the nodes of a Graph and the arguments of ops.

    Args:
        name: "architecture", "child", "node", a kind, or "op " and the name of an op.
    """
    open_object: Schema = {"type": "object"}
    inner = {f"{URN}block-1": open_object, f"{URN}op-1": {}}
    if name == "architecture":
        schema = _read("architecture-3.json")  # of which versions 1 and 2 are parts
    elif name == "child":
        schema = _read("kinds/sequential-1.json")
        schema = {**schema["$defs"]["child"], "$defs": {}}
    elif name == "node":
        schema = _read("kinds/graph-2.json")
        schema = {**schema["$defs"]["node"], "$defs": schema["$defs"]}
    elif name.startswith("op "):
        schema = _read(op_schemas()[name.removeprefix("op ")] + ".json")
    else:
        schema = _read(kind_schemas()[name] + ".json")
        inner |= {"#/$defs/child": open_object, "#/$defs/node": open_object}
    filled: Schema = _filled(schema, inner)
    filled.pop("$id", None)
    return filled


def _filled(schema: Any, inner: dict[str, Schema]) -> Any:
    if isinstance(schema, list):
        return [_filled(item, inner) for item in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {key: _filled(value, inner) for key, value in schema.items() if key != "$ref"}
    if "$ref" in schema:
        rest |= inner.get(schema["$ref"], {"$ref": schema["$ref"]})
    return rest
