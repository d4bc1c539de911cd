"""Writes docs/vocabulary.md from the schemas: ``python -m tests.conformance.document [--measure 100] [kind ...]``.

With ``--measure`` the figures of the conformance table are measured first, for the kinds named or for all,
and kept in ``measured.json`` beside this file.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from modelarchive import ops
from modelarchive.architecture import vocabulary
from modelarchive.nn.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "vocabulary.md"
MEASURED = Path(__file__).with_name("measured.json")
#: Said once for all kinds and ops.
EVERYWHERE = {"kind", "frozen", "shares", "op", "inputs"}
LARGE = {2147483647: "2^31 - 1", 9007199254740992: "2^53"}
#: Limits that stand for "any".
NO_LIMIT = 2147483647

INTRODUCTION = """\
# The vocabulary

Written by `python -m tests.conformance.document` from `schemas/`; do not edit.

An architecture is JSON: what a network is, in the words below and no others. It holds no code.
The [JSON Schemas](https://github.com/modelarchive/modelarchive/tree/main/schemas) are normative, this page is a
reading copy.
`modelarchive.validate` checks an architecture against them, and then what a schema cannot say: unique names,
references, shapes through the whole network.

```python
>>> import modelarchive as ma
>>> from modelarchive import nn
>>> architecture = ma.describe(nn.Dense(2, in_units=3), {"shape": [None, 3]})
>>> architecture["inputs"]
[{'name': 'x', 'shape': [None, 3], 'dtype': 'float32'}]
>>> architecture["model"]["kind"], architecture["model"]["units"]
('Dense', 2)
```

Every field of a kind and every argument of an op is written out; nothing depends on a library's default.
Integers are at most 2^31 - 1 unless the table says otherwise.
"""

SHARED = """\
Kinds with parameters have two more fields, which may be absent:
"""

CONFORMANCE = """\
## Conformance

Every kind's NumPy forward against PyTorch, over generated layers and inputs: how many were tried, and the
largest difference from the reference in float64, relative to its largest element.
`tests/conformance/` runs a part of this in CI, with the limits 1e-5 in float32 and 1e-12 in float64.

| kind | configurations tried | largest error, float32 | largest error, float64 |
| --- | --- | --- | --- |
"""


def document() -> str:
    """The whole text."""
    schemas = vocabulary.all_schemas()
    dense = schemas[vocabulary.kind_schemas()["Dense"]]["properties"]
    families: dict[str, list[str]] = {}
    for kind, layer in KINDS.items():
        families.setdefault(layer.__module__.rpartition(".")[2].replace("_", " "), []).append(kind)
    names = sorted([*ops.OPS, "constant"])
    shared = _table({name: dense[name] for name in ("frozen", "shares")}, dense)
    parts = [INTRODUCTION, *_index(families, names), SHARED, *shared, ""]
    architecture = schemas["architecture-3"]
    parts += ["## Architecture", "", architecture["description"], ""]
    parts += [*_table(architecture["properties"], architecture.get("$defs", {})), ""]
    parts += _definitions(architecture)
    parts += ["## Containers", ""]
    for kind in vocabulary.CONTAINERS:
        parts += _kind(schemas[vocabulary.kind_schemas()[kind]])
    for family, kinds in families.items():
        parts += [f"## Kinds: {family}", ""]
        for kind in kinds:
            parts += _kind(schemas[vocabulary.kind_schemas()[kind]])
    parts += ["## Ops", "", "Pure functions of arrays with literal arguments; they stand at the nodes of a Graph.", ""]
    for name in names:
        parts += _op(name, schemas[vocabulary.op_schemas()[name]])
    return "\n".join(parts) + "\n" + CONFORMANCE + "\n".join(_conformance()) + "\n"


def _index(families: dict[str, list[str]], names: list[str]) -> list[str]:
    """Links to each kind and op; of two headings that differ in capitals alone, the second one's anchor ends in -1."""
    rows = {"containers": list(vocabulary.CONTAINERS), **families, "ops": names}
    taken: set[str] = set()
    lines = ["| | |", "| --- | --- |"]
    for title, words in rows.items():
        links = []
        for word in words:
            anchor = word.lower() if word.lower() not in taken else f"{word.lower()}-1"
            taken.add(anchor)
            links.append(f"[{word}](#{anchor})")
        lines.append(f"| {title} | {', '.join(links)} |")
    return [*lines, ""]


def _kind(schema: dict[str, Any]) -> list[str]:
    fields = {name: each for name, each in schema["properties"].items() if name not in EVERYWHERE - {"inputs"}}
    fields = fields if schema["title"] == "Graph" else {name: fields[name] for name in fields if name != "inputs"}
    table = [*_table(fields, schema.get("$defs", {})), ""] if fields else []
    return [f"### {schema['title']}", "", schema["description"], "", *table, *_definitions(schema)]


def _definitions(schema: dict[str, Any]) -> list[str]:
    lines = []
    for name, each in schema.get("$defs", {}).items():
        lines += [f"**{name}** in {schema['title']}: {each.get('description', '')}", ""]
        if "properties" in each:
            lines += [*_table(each["properties"], schema["$defs"]), ""]
    return lines


def _op(name: str, schema: dict[str, Any]) -> list[str]:
    inputs = schema["properties"]["inputs"]
    least, most = inputs["minItems"], inputs.get("maxItems")
    count = f"{least} or more" if most is None else str(least) if least == most else f"{least} to {most}"
    arguments = schema["properties"]["arguments"]["properties"]
    lines = [f"### `{name}`", "", f"{schema['description']} Inputs: {count}.", ""]
    return [*lines, *_table(arguments, schema.get("$defs", {}), head="argument"), ""] if arguments else lines


def _table(fields: dict[str, Any], definitions: dict[str, Any], head: str = "field") -> list[str]:
    lines = [f"| {head} | values | meaning |", "| --- | --- | --- |"]
    for name, schema in fields.items():
        found = _resolved(schema, definitions)
        meaning = found.get("description", "").replace("*", "\\*")
        lines.append(f"| `{name}` | {_cell(values(schema, definitions))} | {_cell(meaning)} |")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return {**definitions.get(name, {}), **schema}


def values(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a schema admits, in words."""
    if "$ref" in schema:
        target = schema["$ref"]
        return f"**{target.removeprefix('#/$defs/')}**" if target.startswith("#") else "a block"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(values(each, definitions) for each in schema["anyOf"])
    kinds = schema.get("type", [])
    return " or ".join(_typed(kind, schema, definitions) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _typed(kind: str, schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if kind == "array":
        return _array(schema, definitions)
    if kind in ("integer", "number"):
        return f"{kind}{_range(schema)}"
    words = {"boolean": "`true`, `false`", "null": "`null`", "string": "string", "object": "object"}
    if kind == "object" and "additionalProperties" in schema and isinstance(schema["additionalProperties"], dict):
        return f"name to {values(schema['additionalProperties'], definitions)}"
    return words[kind]


def _array(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if "prefixItems" in schema:
        return "[" + ", ".join(values(each, definitions) for each in schema["prefixItems"]) + "]"
    item = values(schema["items"], definitions) if "items" in schema else "any"
    if least == most:
        return f"list of {least} ({item})"
    if most is not None and most <= 16:
        return f"list of {least} to {most} ({item})"
    return f"list of {f'at least {least} ' if least else ''}({item})"


def _range(schema: dict[str, Any]) -> str:
    words = []
    if "exclusiveMinimum" in schema:
        words.append(f"above {schema['exclusiveMinimum']}")
    if schema.get("minimum", -NO_LIMIT) > -NO_LIMIT:
        words.append(f"at least {schema['minimum']}")
    if "exclusiveMaximum" in schema:
        words.append(f"below {schema['exclusiveMaximum']}")
    most = schema.get("maximum", NO_LIMIT)
    if most < NO_LIMIT or (most in LARGE and most > NO_LIMIT):
        words.append(f"at most {LARGE.get(most, most)}")
    return ", " + ", ".join(words) if words else ""


def _conformance() -> list[str]:
    found = json.loads(MEASURED.read_text("utf-8"))
    lines = []
    for kind in KINDS:
        figures = found.get(kind)
        if figures is None:
            lines.append(f"| {kind} | not measured | | |")
        else:
            errors = [f"{figures[dtype]:.1e}" if figures[dtype] else "0" for dtype in ("float32", "float64")]
            lines.append(f"| {kind} | {figures['tried']} | {errors[0]} | {errors[1]} |")
    return lines


def main() -> None:
    """Measure where asked, and write the document."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.document", description=__doc__)
    parser.add_argument("--measure", type=int, default=0, metavar="COUNT", help="configurations to try of each kind")
    parser.add_argument("kinds", nargs="*", help="kinds to measure (default: all)")
    chosen = parser.parse_args()
    if chosen.measure:
        from tests.conformance.__main__ import measured

        known = json.loads(MEASURED.read_text("utf-8")) if MEASURED.exists() else {}
        for kind in chosen.kinds or KINDS:
            tried, largest = measured(kind, chosen.measure)
            known[kind] = {"tried": tried, **{dtype: float(f"{each:.2g}") for dtype, each in largest.items()}}
        known = {kind: known[kind] for kind in KINDS if kind in known}
        MEASURED.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    DOCUMENT.write_text(document(), "utf-8")


if __name__ == "__main__":
    main()
