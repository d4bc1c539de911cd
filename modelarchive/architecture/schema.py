"""JSON Schema, twice: compiled functions decide quickly, jsonschema explains what they refuse.

The compiled checks know the keywords that this project's schemas use, and raise on others. They are
stricter in one place: ``2.0`` is no integer. A test holds them against jsonschema.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from modelarchive import names
from modelarchive.architecture import vocabulary
from modelarchive.architecture.vocabulary import Schema

Check: TypeAlias = Callable[[Any], bool]
#: (JSON pointer, rule, message)
Problem: TypeAlias = tuple[str, str, str]

_TYPES: Final[dict[str, Check]] = {
    "object": lambda value: type(value) is dict,
    "array": lambda value: type(value) is list,
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
    "boolean": lambda value: type(value) is bool,
    "null": lambda value: value is None,
}
#: Problems of one piece that are told.
MAX_TOLD: Final = 100
_NOTES: Final = {"$schema", "$id", "$defs", "title", "description"}


def problems(name: str, value: Any, pointer: str) -> list[Problem]:
    """What is wrong with one thing, by the schema that :func:`vocabulary.piece` calls `name`.

    Args:
        name: The piece: "architecture", "node", a kind, ...
        value: JSON.
        pointer: Where `value` stands.
    """
    if compiled(name)(value):
        return []
    errors = itertools.islice(_validator(name).iter_errors(value), MAX_TOLD)
    found = [_told(error, pointer) for error in errors]
    return found or [(pointer, "type", "expected integers without a decimal point, found one with")]


@functools.cache
def compiled(name: str) -> Check:
    """The quick check of a piece."""
    schema = vocabulary.piece(name)
    return _compile(schema, schema)


@functools.cache
def _validator(name: str) -> Any:
    import jsonschema  # slow to import, and needed only to explain what is wrong

    return jsonschema.Draft202012Validator(vocabulary.piece(name))


def _told(error: Any, pointer: str) -> Problem:
    where = pointer + "".join("/" + escaped(str(part)) for part in error.absolute_path)
    rule = str(error.validator)
    expected = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
    message = shortened(error.message, 300)
    if rule in ("anyOf", "oneOf", "enum", "const", "pattern") and expected:
        message = f"{message} (expected: {shortened(expected, 120)})"
    return where, rule, message


def escaped(part: str) -> str:
    """A key as one part of a JSON pointer (RFC 6901)."""
    return part.replace("~", "~0").replace("/", "~1")


def shortened(text: str, length: int) -> str:
    """`text`, its middle left out where it is longer than `length`."""
    return text if len(text) <= length else f"{text[: length // 2]} ... {text[-length // 2 :]}"


def did_you_mean(name: object, known: Sequence[str]) -> str:
    """``"; did you mean 'Dense'?"``, or nothing; with limits, for comparing names is slow."""
    if type(name) is not str or len(name) > 100:
        return ""
    near = names.near(name, known[:300])
    return f"; did you mean {near!r}?" if near else ""


def _compile(schema: Any, root: Schema) -> Check:
    """One function for a schema: the checks of all its keywords."""
    if isinstance(schema, bool):
        return _anything if schema else _nothing
    checks = list(_checks(schema, root))
    if len(checks) < 2:
        return checks[0] if checks else _anything
    if len(checks) == 2:
        one, two = checks
        return lambda value: one(value) and two(value)

    def check(value: Any) -> bool:
        for each in checks:  # noqa: SIM110 - all() takes half as long again, and this runs for every value
            if not each(value):
                return False
        return True

    return check


def _anything(value: Any) -> bool:
    return True


def _nothing(value: Any) -> bool:
    return False


def _checks(schema: Schema, root: Schema) -> Iterator[Check]:
    known = _NOTES.union({"type"}, _ALONE, *(words for _, words, _ in _TOGETHER))
    for keyword in schema.keys() - known:
        raise NotImplementedError(f"schema keyword {keyword!r}: {schema[keyword]!r}")
    said = schema.get("type")
    for types, words, make in _TOGETHER:
        if isinstance(said, str) and said in types:
            yield make(schema, root, said)
            said = None
        elif words & schema.keys():
            yield make(schema, root, None)
    if said is not None:
        yield _type(said)
    for keyword, alone in _ALONE.items():
        if keyword in schema:
            yield alone(schema[keyword], root)


def _type(types: str | list[str]) -> Check:
    several = [_TYPES[name] for name in ([types] if isinstance(types, str) else types)]
    return several[0] if len(several) == 1 else lambda value: any(check(value) for check in several)


# ---------------------------------------------------------------------- keywords that go with a type
#
# Each is one function for all of them, since calls are what takes the time. It is given the type that the schema
# demands, or None: then values of other types pass, as JSON Schema has it.


def _number(schema: Schema, root: Schema, said: str | None) -> Check:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above = schema.get("exclusiveMinimum", -math.inf)
    if said == "integer":
        return lambda value: type(value) is int and low <= value <= high and value > above
    passes = said is None
    return lambda value: low <= value <= high and value > above if type(value) in (int, float) else passes


def _string(schema: Schema, root: Schema, said: str | None) -> Check:
    longest = schema.get("maxLength", math.inf)
    search = re.compile(schema.get("pattern", "")).search
    passes = said is None
    return lambda value: len(value) <= longest and search(value) is not None if type(value) is str else passes


def _array(schema: Schema, root: Schema, said: str | None) -> Check:
    least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    first = [_compile(each, root) for each in schema.get("prefixItems", [])]
    rest = _compile(schema.get("items", True), root)
    passes = said is None

    def check(value: Any) -> bool:
        if type(value) is not list:
            return passes
        if not least <= len(value) <= most:
            return False
        if first:
            return all(each(item) for each, item in zip(first, value, strict=False)) and all(
                map(rest, value[len(first) :])
            )
        for item in value:  # noqa: SIM110 - as above
            if not rest(item):
                return False
        return True

    return check


def _object(schema: Schema, root: Schema, said: str | None) -> Check:
    properties = schema.get("properties", {})
    known = {name: _compile(each, root) for name, each in properties.items() if each is not False}
    refused = frozenset(name for name, each in properties.items() if each is False)
    other = _compile(schema.get("additionalProperties", True), root)
    naming = _compile(schema["propertyNames"], root) if "propertyNames" in schema else None
    wanted, least = frozenset(schema.get("required", ())), schema.get("minProperties", 0)
    is_open = not known and other is _anything and naming is None
    passes = said is None

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return passes
        if not (wanted <= value.keys() and refused.isdisjoint(value) and len(value) >= least):
            return False
        if is_open:
            return True
        for name, item in value.items():
            if not known.get(name, other)(item) or (naming is not None and not naming(name)):
                return False
        return True

    return check


_Together: TypeAlias = Callable[[Schema, Schema, str | None], Check]
_TOGETHER: Final[list[tuple[tuple[str, ...], set[str], _Together]]] = [
    (("integer", "number"), {"minimum", "maximum", "exclusiveMinimum"}, _number),
    (("string",), {"maxLength", "pattern"}, _string),
    (("array",), {"items", "prefixItems", "minItems", "maxItems"}, _array),
    (
        ("object",),
        {"properties", "additionalProperties", "propertyNames", "required", "minProperties"},
        _object,
    ),
]

# ---------------------------------------------------------------------- keywords for values of every type


def _enum(values: list[Any], root: Schema) -> Check:
    types = frozenset(type(value) for value in values)
    if types <= {str, type(None)}:  # none of which equals another of another type, as 1 does True
        words = frozenset(values)
        return lambda value: type(value) in types and value in words
    allowed = {(type(value), value) for value in values}
    return lambda value: type(value) in types and (type(value), value) in allowed


def _any_of(schemas: list[Any], root: Schema) -> Check:
    checks = [_compile(schema, root) for schema in schemas]

    def check(value: Any) -> bool:
        for each in checks:  # noqa: SIM110 - as above
            if each(value):
                return True
        return False

    return check


def _one_of(schemas: list[Any], root: Schema) -> Check:
    checks = [_compile(schema, root) for schema in schemas]
    return lambda value: [check(value) for check in checks].count(True) == 1


def _ref(reference: str, root: Schema) -> Check:
    target: Any = root
    for part in reference.removeprefix("#/").split("/"):
        target = target[part]
    made: list[Check] = []

    def check(value: Any) -> bool:
        if not made:  # compiled at first use: a schema may refer to itself
            made.append(_compile(target, root))
        return made[0](value)

    return check


_ALONE: Final[dict[str, Callable[[Any, Schema], Check]]] = {
    "enum": _enum,
    "const": lambda value, root: _enum([value], root),
    "anyOf": _any_of,
    "oneOf": _one_of,
    "$ref": _ref,
}
