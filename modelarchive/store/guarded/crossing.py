"""What crosses the process boundary: JSON and bytes, turned back into values of a type that the reader expects."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from modelarchive import dtypes

#: Makes a value of its JSON; takes the bytes that belong to it from the iterator.
Maker = Callable[[Any, Iterator[Any]], Any]
#: Types that JSON has.
_PLAIN: Final = (str, int, float, bool, type(None))


class NotPlainError(ValueError):
    """What came across is not what was expected."""


def encode(value: Any) -> tuple[str, list[bytes | memoryview]]:
    """A value as JSON and the bytes of what is in it.

    Args:
        value: Dataclasses, named tuples, dicts under strings, lists, tuples, strings, numbers, bytes, arrays.
    """
    blobs: list[bytes | memoryview] = []
    return json.dumps(_plain(value, blobs), separators=(",", ":")), blobs


def decode(kind: Any, text: str, blobs: Iterator[Any]) -> Any:
    """The value of a type from its JSON and its bytes.

    Args:
        kind: The type, annotated to the last item: ``dict[str, Entry]``.
        text: What :func:`encode` made, or a hostile process.
        blobs: Gives, for a number of bytes, a buffer of so many, or an array of a dtype and shape.

    Raises:
        NotPlainError: It is no such value.
    """
    try:
        return _maker(kind)(json.loads(text), blobs)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise NotPlainError(f"expected {kind!r}: {error}") from error


def blob_sizes(blobs: list[bytes | memoryview]) -> list[int]:
    """How long each is, in bytes."""
    return [blob.nbytes if isinstance(blob, memoryview) else len(blob) for blob in blobs]


def _plain(value: Any, blobs: list[bytes | memoryview]) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, bytes):
        blobs.append(value)
        return None
    if isinstance(value, np.ndarray):
        blobs.append(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        return [dtypes.dense_name(value.dtype), value.shape]
    if isinstance(value, dict):
        return {key: _plain(item, blobs) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, blobs) for item in value]
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name), blobs) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} does not cross the process boundary")


def _maker(kind: Any) -> Maker:
    """How a value of that type is made; found once a type."""
    if kind not in _MAKERS:
        _MAKERS[kind] = _find(kind)
    return _MAKERS[kind]


_MAKERS: Final[dict[Any, Maker]] = {}


def _find(kind: Any) -> Maker:
    if kind in _PLAIN or kind is None:
        return _exactly(type(None) if kind is None else kind)
    if kind is bytes:
        return lambda value, blobs: bytes(next(blobs))
    if kind is np.ndarray:
        return _array
    if kind is Any:
        return lambda value, blobs: value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _either([_maker(argument) for argument in arguments])
    if origin is dict:
        item = _maker(arguments[1])
        return lambda value, blobs: {key: item(each, blobs) for key, each in _is(dict, value).items()}
    if origin is list or (origin is tuple and arguments[-1] is Ellipsis):
        item = _maker(arguments[0])
        return lambda value, blobs: origin([item(each, blobs) for each in _is(list, value)])
    if origin is tuple:
        makers = [_maker(argument) for argument in arguments]
        return lambda value, blobs: _row(makers, value, blobs)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _record(kind)
    if isinstance(kind, type) and issubclass(kind, tuple):
        hints = typing.get_type_hints(kind)
        makers = [_maker(hint) for hint in hints.values()]
        return lambda value, blobs: kind(*_row(makers, value, blobs))
    raise TypeError(f"{kind!r} does not cross the process boundary")


def _exactly(kind: type) -> Maker:
    def make(value: Any, blobs: Iterator[Any]) -> Any:
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise NotPlainError(f"expected {kind.__name__}, found {type(value).__name__}")
        return value

    return make


def _either(makers: list[Maker]) -> Maker:
    """The first that fits; of types with bytes in them, at most one."""

    def make(value: Any, blobs: Iterator[Any]) -> Any:
        for maker in makers[:-1]:
            try:
                return maker(value, blobs)
            except (NotPlainError, TypeError):
                continue
        return makers[-1](value, blobs)

    return make


def _record(kind: Any) -> Maker:
    hints = typing.get_type_hints(kind)
    makers = {field.name: _maker(hints[field.name]) for field in dataclasses.fields(kind)}

    def make(value: Any, blobs: Iterator[Any]) -> Any:
        if _is(dict, value).keys() != makers.keys():
            raise NotPlainError(f"is no {kind.__name__}")
        return kind(**{name: maker(value[name], blobs) for name, maker in makers.items()})

    return make


def _row(makers: list[Maker], value: Any, blobs: Iterator[Any]) -> tuple[Any, ...]:
    return tuple(maker(each, blobs) for maker, each in zip(makers, _is(list, value), strict=True))


def _array(value: Any, blobs: Iterator[Any]) -> np.ndarray:
    name, shape = _is(list, value)
    dtype = dtypes.DENSE[name]
    return np.frombuffer(next(blobs), dtype).reshape([_exactly(int)(axis, blobs) for axis in _is(list, shape)])


def _is(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise NotPlainError(f"expected {kind.__name__}, found {type(value).__name__}")
    return value
