"""Frozen dataclasses as JSON objects.

Fields with their default value are not written. Reading is lenient: unknown keys are ignored, and fields that are
missing or of another type get their default, or else are empty (None, {}, ()). Entries of lists and mappings that lack
a required number are dropped. A key that is no Python name is the ``key`` of its field's metadata.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from ance_tele.console.numbers import number

T = TypeVar("T")


def encode(value: Any) -> Any:
    """Return a record, or a part of it, as JSON values."""
    if is_dataclass(value):
        held = [(field, getattr(value, field.name)) for field in fields(value)]
        return {_key(field): encode(one) for field, one in held if one != _default(field)}
    if isinstance(value, Mapping):
        return {name: encode(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(one) for one in value]
    return value


def decode(kind: type[T], found: Any) -> T:
    """Read a JSON value as a record; missing fields are empty.

    Raises:
        ValueError: The record has a field that cannot be empty, and the value lacks it.
    """
    record: T = _read(kind, found if isinstance(found, Mapping) else {})
    if record is MISSING:
        raise ValueError(f"{found!r:.80} is no {kind.__name__}")
    return record


def decode_list(kind: type[T], found: Any) -> tuple[T, ...]:
    """Read a JSON list of records; invalid entries are dropped."""
    read = (_read(kind, one) for one in (found if isinstance(found, (list, tuple)) else ()))
    return tuple(one for one in read if one is not MISSING)


def _read(kind: Any, found: Any) -> Any:
    """Convert a JSON value by a type hint; MISSING if it is of another type."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return found
    if NoneType in inner:
        return None if found is None else _read(inner[0], found)
    if origin is tuple and isinstance(found, (list, tuple)):
        return decode_list(inner[0], found)
    if origin is Mapping and isinstance(found, Mapping):
        read = {str(name): _read(inner[1], one) for name, one in found.items()}
        return {name: one for name, one in read.items() if one is not MISSING}
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(found, Mapping):
        values = {field.name: _field(field, hint, found) for field, hint in _hinted(kind)}
        return MISSING if any(value is MISSING for value in values.values()) else kind(**values)
    if kind is str and found not in (None, "") and not isinstance(found, (Mapping, list, tuple)):
        return str(found)
    if kind is bool and isinstance(found, bool):
        return found
    if kind in (int, float) and (value := number(found)) is not None:
        return kind(value)
    return MISSING


def _field(field: Field[Any], kind: Any, found: Mapping[str, Any]) -> Any:
    """Return the value of a field: found, else default, else empty."""
    empty: list[Any] = [None, (), {}]
    given = [_read(kind, found[_key(field)])] if _key(field) in found else []
    candidates = [*given, _default(field), *(_read(kind, one) for one in empty)]
    return next((one for one in candidates if one is not MISSING), MISSING)


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _key(field: Field[Any]) -> str:
    return str(field.metadata.get("key", field.name))


@cache
def _hinted(kind: Any) -> list[tuple[Field[Any], Any]]:
    hints = get_type_hints(kind)
    return [(field, hints[field.name]) for field in fields(kind)]
