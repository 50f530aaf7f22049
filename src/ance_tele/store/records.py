"""Frozen dataclasses as JSON objects: one declaration of the fields both writes and reads a file.

Writing leaves out a field that holds its default; a field without a default is always written. Reading is lenient: an
unknown key is ignored, and a field that is absent or of another type has its default, or else is empty (None, {}, ()).
An entry of a list or a mapping that lacks a number it must have is dropped. A key that is no name of Python is the
``key`` of its field's metadata.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from ance_tele.console.errors import UserError
from ance_tele.console.numbers import number

T = TypeVar("T")


class _UnreadableError(Exception):
    """A value is not of the type that it is read as."""


def encode(value: Any) -> Any:
    """Return a record, or what it consists of, as JSON values."""
    if is_dataclass(value):
        held = [(field, getattr(value, field.name)) for field in fields(value)]
        return {_key(field): encode(one) for field, one in held if one != _default(field)}
    if isinstance(value, Mapping):
        return {name: encode(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(one) for one in value]
    return value


def decode(kind: type[T], found: Any) -> T:
    """Read a JSON value as a record; whatever it lacks is empty.

    Raises:
        ValueError: The record has a field that cannot be empty, and the value lacks it.
    """
    try:
        record: T = _read(kind, found if isinstance(found, Mapping) else {})
    except _UnreadableError:
        raise ValueError(f"{found!r:.80} is no {kind.__name__}") from None
    return record


def decode_list(kind: type[T], found: Any) -> tuple[T, ...]:
    """Read a JSON list of records; entries that are none are dropped."""
    return tuple(_read_list(kind, found)) if isinstance(found, (list, tuple)) else ()


def _read(kind: Any, found: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return found
    if origin is UnionType or NoneType in inner:
        return None if found is None else _read(inner[0], found)
    if origin is tuple and isinstance(found, (list, tuple)):
        return tuple(_read_list(inner[0], found))
    if origin is not None and issubclass(origin, Mapping) and isinstance(found, Mapping):
        pairs = zip(map(str, found), _each(inner[1], found.values()), strict=True)
        return {name: one for name, one in pairs if one is not MISSING}
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(found, Mapping):
        return kind(**{field.name: _field(field, hint, found) for field, hint in _hinted(kind)})
    if kind is str and found not in (None, "") and not isinstance(found, (Mapping, list, tuple)):
        return str(found)
    if kind is bool and isinstance(found, bool):
        return found
    if kind in (int, float) and (value := number(found)) is not None:
        return kind(value)
    raise _UnreadableError


def _read_list(kind: Any, found: Any) -> list[Any]:
    return [one for one in _each(kind, found) if one is not MISSING]


def _each(kind: Any, found: Any) -> list[Any]:
    """Read values one by one; one that cannot be read is MISSING."""
    read = []
    for one in found:
        try:
            read.append(_read(kind, one))
        except _UnreadableError:
            read.append(MISSING)
    return read


def _field(field: Field[Any], kind: Any, found: Mapping[str, Any]) -> Any:
    (read,) = _each(kind, [found[_key(field)]]) if _key(field) in found else [MISSING]
    if read is not MISSING:
        return read
    default = _default(field)
    return default if default is not MISSING else _empty(kind)


def _empty(kind: Any) -> Any:
    origin = get_origin(kind)
    if kind is Any or NoneType in get_args(kind):
        return None
    if origin is not None:
        return () if origin is tuple else {}
    if is_dataclass(kind):
        return _read(kind, {})
    raise _UnreadableError


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _key(field: Field[Any]) -> str:
    return str(field.metadata.get("key", field.name))


@cache
def _hinted(kind: Any) -> list[tuple[Field[Any], Any]]:
    hints = get_type_hints(kind)
    return [(field, hints[field.name]) for field in fields(kind)]


def read_object(path: Path, advice: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: Its file.
        advice: What the user can do where it cannot be read; ends the sentence of the error.

    Raises:
        UserError: The file cannot be read, or holds something else.
    """
    found = read_values(path, advice)
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a JSON {type(found).__name__} instead of an object: {advice}.")
    return found


def read_values(path: Path, advice: str) -> Any:
    """Read any JSON; arguments and errors as in :func:`read_object`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        trouble = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise UserError(f"{path} is not valid JSON ({trouble}): {advice}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid JSON (byte {error.start} is not UTF-8): {advice}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {advice}.") from error
