"""Schemas, classes and fields agree, in both directions; what is published does not change."""

from __future__ import annotations

import hashlib
import inspect
import json
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modelarchive import dtypes, ops
from modelarchive.architecture import vocabulary
from modelarchive.architecture.schema import compiled
from modelarchive.nn.kinds import KINDS
from modelarchive.ops.activation import ACTIVATIONS

SCHEMAS = vocabulary.all_schemas()
#: The two lists that grow when a word enters the vocabulary: which word, and where its schemas lie.
GROWING = {"block-1": ("kind", "kinds/"), "op-1": ("op", "ops/")}
PINNED = Path(__file__).with_name("published_schemas.json")


def subschemas(schema: Any) -> Any:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from subschemas(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from subschemas(value)


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_valid_and_documented(name: str) -> None:
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == vocabulary.URN + name
    assert schema["title"]
    assert len(schema["description"]) > 3
    for field, described in schema["properties"].items():
        text = described.get("description", "") or described.get("$ref", "")
        assert text, f"{name}: {field} is not described"


def test_every_kind_has_a_schema_and_every_schema_a_kind() -> None:
    assert set(vocabulary.kind_schemas()) == {*KINDS, *vocabulary.CONTAINERS}
    # Of several versions the newest is the one that is listed: those before are parts of it.
    newest = {name.rpartition("-")[0]: name for name in SCHEMAS if name.startswith("kinds/")}
    assert set(vocabulary.kind_schemas().values()) == set(newest.values())
    assert all(SCHEMAS[path]["title"] == kind for kind, path in vocabulary.kind_schemas().items())
    assert SCHEMAS["block-1"]["properties"]["kind"]["enum"] == sorted(vocabulary.kind_schemas())


@pytest.mark.parametrize("kind", KINDS)
def test_fields_of_class_constructor_and_schema_agree(kind: str) -> None:
    layer = KINDS[kind]
    schema = SCHEMAS[vocabulary.kind_schemas()[kind]]
    fields = set(schema["properties"]) - {"kind", "frozen", "shares"}
    assert fields == set(layer.fields)
    assert set(schema["required"]) == {"kind", *fields}
    assert schema["additionalProperties"] is False
    arguments = set(inspect.signature(layer.__init__).parameters) - {"self"}
    assert {name for name in arguments if not name.endswith("_initializer")} == fields
    has_parameters = "dtype" in fields
    assert ("shares" in schema["properties"]) == ("frozen" in schema["properties"]) == has_parameters


def test_every_op_has_a_schema_and_every_schema_an_op() -> None:
    assert set(vocabulary.op_schemas()) == {*ops.OPS, "constant"}
    assert set(vocabulary.op_schemas().values()) == {name for name in SCHEMAS if name.startswith("ops/")}
    assert SCHEMAS["op-1"]["properties"]["op"]["enum"] == list(vocabulary.op_schemas())


@pytest.mark.parametrize("name", ops.OPS)
def test_arguments_of_function_and_schema_agree(name: str) -> None:
    schema = SCHEMAS[vocabulary.op_schemas()[name]]
    arguments = schema["properties"]["arguments"]
    assert set(arguments["properties"]) == set(arguments["required"]) == set(ops.OPS[name].defaults)
    inputs = schema["properties"]["inputs"]
    assert (inputs["minItems"], inputs.get("maxItems")) == (ops.OPS[name].arrays or 1, ops.OPS[name].arrays)


def test_lists_of_words_agree_with_the_code() -> None:
    activations, floats, dense = set(), set(), set()
    for schema in SCHEMAS.values():
        for each in subschemas(schema):
            words = frozenset(word for word in each.get("enum", ()) if word is not None)
            if "relu6" in words:
                activations.add(words)
            elif "int8" in words and "arguments" not in schema["properties"]:
                dense.add(words)
            elif "float16" in words and "int8" not in words:
                floats.add(words)
    assert activations == {frozenset(ACTIVATIONS)}
    assert dense == {frozenset(dtypes.DENSE)}
    assert floats == {frozenset(name for name, each in dtypes.DENSE.items() if dtypes.is_float(each))}


def test_every_keyword_is_compiled() -> None:
    for name in ("architecture", "child", "node", *vocabulary.kind_schemas()):
        compiled(name)
    for name in vocabulary.op_schemas():
        compiled(f"op {name}")


@pytest.mark.parametrize("name", GROWING)
def test_the_lists_are_those_of_the_files(name: str) -> None:
    assert _file(name).read_text("utf-8") == listing(name), "run: python -m tests.architecture.test_vocabulary"


def test_published_schemas_do_not_change() -> None:
    """A published file never changes: a changed kind is a new version beside it.

    After adding schemas: ``python -m tests.architecture.test_vocabulary`` lists and pins the new ones.
    """
    pinned = json.loads(PINNED.read_text("utf-8"))
    assert {name: digest for name, digest in digests().items() if name in pinned} == pinned
    assert set(pinned) == set(SCHEMAS) - set(GROWING)


def digests() -> dict[str, str]:
    return {name: hashlib.sha256(_file(name).read_bytes()).hexdigest() for name in SCHEMAS if name not in GROWING}


def listing(name: str) -> str:
    """A list that grows, with every kind or op that has a schema."""
    word, folder = GROWING[name]
    schema = json.loads(json.dumps(SCHEMAS[name]))
    names = {each["properties"][word]["const"]: path for path, each in SCHEMAS.items() if path.startswith(folder)}
    schema["properties"][word]["enum"] = sorted(names)
    schema["allOf"] = [
        {"if": {"properties": {word: {"const": each}}, "required": [word]}, "then": {"$ref": vocabulary.URN + path}}
        for each, path in sorted(names.items())
    ]
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _file(name: str) -> Traversable:
    file = vocabulary.folder()
    for part in f"{name}.json".split("/"):
        file = file / part
    return file


if __name__ == "__main__":
    pinned = json.loads(PINNED.read_text("utf-8")) if PINNED.exists() else {}
    PINNED.write_text(json.dumps(digests() | pinned, indent=1) + "\n", "utf-8")
    for each in GROWING:
        Path(str(_file(each))).write_text(listing(each), "utf-8")
