"""JSON Schema, twice: compiled functions decide quickly, jsonschema explains what they refuse.

The compiled checks know the keywords that this project's schemas use, and raise on others. They are
stricter in one place: ``2.0`` is no integer. A test holds them against jsonschema.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence, Sized
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
        return lambda value: schema
    checks = list(_checks(schema, root))
    if not checks:
        return lambda value: True
    if len(checks) == 1:
        return checks[0]
    if len(checks) == 2:
        one, two = checks
        return lambda value: one(value) and two(value)

    def check(value: Any) -> bool:
        for each in checks:  # noqa: SIM110 - all() takes half as long again, and this runs for every value
            if not each(value):
                return False
        return True

    return check


def _checks(schema: Schema, root: Schema) -> Iterator[Check]:
    for keyword, rule in schema.items():
        if keyword in _NOTES:
            continue
        if keyword in ("additionalProperties", "prefixItems", "propertyNames") or keyword in _ONE:
            continue
        if keyword in ("properties", "items"):
            continue
        raise NotImplementedError(f"schema keyword {keyword!r}: {rule!r}")
    for keyword, make in _ONE.items():
        if keyword in schema:
            yield make(schema[keyword], root)
    if {"properties", "additionalProperties", "propertyNames"} & schema.keys():
        yield _object(schema, root)
    if {"items", "prefixItems"} & schema.keys():
        yield _array(schema, root)


def _type(types: str | list[str], root: Schema) -> Check:
    several = [_TYPES[name] for name in ([types] if isinstance(types, str) else types)]
    return several[0] if len(several) == 1 else lambda value: any(check(value) for check in several)


def _enum(values: list[Any], root: Schema) -> Check:
    allowed = {(type(value), value) for value in values}
    types = {type(value) for value in values}
    return lambda value: type(value) in types and (type(value), value) in allowed


def _bound(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Schema], Check]:
    return lambda limit, root: lambda value: type(value) not in (int, float) or holds(value, limit)


def _length(kind: type[Sized], holds: Callable[[int, int], bool]) -> Callable[[Any, Schema], Check]:
    return lambda limit, root: lambda value: type(value) is not kind or holds(len(value), limit)


def _pattern(pattern: str, root: Schema) -> Check:
    search = re.compile(pattern).search
    return lambda value: type(value) is not str or search(value) is not None


def _required(names: list[str], root: Schema) -> Check:
    wanted = frozenset(names)
    return lambda value: type(value) is not dict or wanted <= value.keys()


def _any_of(schemas: list[Any], root: Schema) -> Check:
    checks = [_compile(schema, root) for schema in schemas]
    return lambda value: any(check(value) for check in checks)


def _one_of(schemas: list[Any], root: Schema) -> Check:
    checks = [_compile(schema, root) for schema in schemas]
    return lambda value: sum(check(value) for check in checks) == 1


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


_ONE: Final[dict[str, Callable[[Any, Schema], Check]]] = {
    "type": _type,
    "enum": _enum,
    "const": lambda value, root: _enum([value], root),
    "minimum": _bound(lambda value, limit: bool(value >= limit)),
    "exclusiveMinimum": _bound(lambda value, limit: bool(value > limit)),
    "maximum": _bound(lambda value, limit: bool(value <= limit)),
    "minItems": _length(list, lambda size, limit: size >= limit),
    "maxItems": _length(list, lambda size, limit: size <= limit),
    "maxLength": _length(str, lambda size, limit: size <= limit),
    "minProperties": _length(dict, lambda size, limit: size >= limit),
    "pattern": _pattern,
    "required": _required,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "$ref": _ref,
}


def _object(schema: Schema, root: Schema) -> Check:
    known = {name: _compile(each, root) for name, each in schema.get("properties", {}).items()}
    other = _compile(schema.get("additionalProperties", True), root)
    naming = _compile(schema["propertyNames"], root) if "propertyNames" in schema else None

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return True
        for name, item in value.items():
            if not known.get(name, other)(item) or (naming is not None and not naming(name)):
                return False
        return True

    return check


def _array(schema: Schema, root: Schema) -> Check:
    first = [_compile(each, root) for each in schema.get("prefixItems", [])]
    rest = _compile(schema.get("items", True), root)

    def check(value: Any) -> bool:
        if type(value) is not list:
            return True
        return all(each(item) for each, item in zip(first, value, strict=False)) and all(map(rest, value[len(first) :]))

    return check
