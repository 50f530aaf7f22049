"""Mutations of one field, in JSON, delimited text and YAML."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

# The content of a file, its name and chance, to what becomes of it; None where the mutation is not for such a file.
Change = Callable[[bytes, str, Random], bytes | None]
TEXT = (".jsonl", ".json", ".tsv", ".csv", ".trec", ".yaml")


class Twice(dict[str, Any]):
    """An object one field of which is written twice, with another value the second time."""

    again: tuple[str, Any]


def _dump(value: Any) -> str:
    if isinstance(value, dict):
        pairs = [*value.items(), *([value.again] if isinstance(value, Twice) else [])]
        return "{" + ", ".join(f"{json.dumps(key)}: {_dump(one)}" for key, one in pairs) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_dump, value))}]"
    return value.text if isinstance(value, Literally) else json.dumps(value)


@dataclass(frozen=True)
class Literally:
    """Text that stands in JSON as it is, such as a number that Python would not write."""

    text: str


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and value:
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(one)


def _in_json(text: str, chance: Random, change: Callable[[Any, Random], Any]) -> str | None:
    """Change one field of one object; ``change`` gets a value and returns another, or MISSING or TWICE."""
    root = json.loads(text)
    objects = list(_objects(root))
    if not objects:
        return None
    chosen = chance.choice(objects)
    key = chance.choice(list(chosen))
    value = change(chosen[key], chance)
    if value is MISSING:
        del chosen[key]
    elif isinstance(value, Doubled):
        twice = Twice(chosen)
        twice.again = (key, value.value)
        root = _replace(root, chosen, twice)
    else:
        chosen[key] = value
    return _dump(root)


def _replace(value: Any, old: Any, new: Any) -> Any:
    if value is old:
        return new
    if isinstance(value, dict):
        return {key: _replace(one, old, new) for key, one in value.items()}
    return [_replace(one, old, new) for one in value] if isinstance(value, list) else value


MISSING = object()


@dataclass(frozen=True)
class Doubled:
    """The field, and once more with this value."""

    value: Any


def field(change: Callable[[Any, Random], Any]) -> Change:
    """Make a mutation of one field, of JSON, of delimited text or of YAML."""

    def mutate(content: bytes, name: str, chance: Random) -> bytes | None:
        if not name.endswith(TEXT):
            return None
        text = content.decode("utf-8")
        if name.endswith(".json"):
            found = _in_json(text, chance, change)
            return None if found is None else found.encode("utf-8", "surrogatepass")
        lines = text.splitlines()
        place = chance.randrange(len(lines))
        new = _in_line(lines[place], name, chance, change)
        if new is None:
            return None
        lines[place] = new
        return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")

    return mutate


def _in_line(line: str, name: str, chance: Random, change: Callable[[Any, Random], Any]) -> str | None:
    if name.endswith(".jsonl"):
        return _in_json(line, chance, change)
    if name.endswith(".yaml"):
        key, _, before = line.partition(": ")
        value = change(before, chance)
        if value is MISSING:
            return ""
        if isinstance(value, Doubled):
            return f"{line}\n{key}: {_dump(value.value)}"
        return f"{key}: {_dump(value)}"
    separator = "," if name.endswith(".csv") else " " if name.endswith(".trec") else "\t"
    parts = line.split(separator)
    at = chance.randrange(len(parts))
    value = change(parts[at], chance)
    if value is MISSING:
        del parts[at]
    elif isinstance(value, Doubled):
        parts.insert(at, parts[at])
    else:
        parts[at] = value if isinstance(value, str) else value.text if isinstance(value, Literally) else _dump(value)
    return separator.join(parts)


def one_of(*values: Any) -> Callable[[Any, Random], Any]:
    return lambda before, chance: chance.choice(values)
