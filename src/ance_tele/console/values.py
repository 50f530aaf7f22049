"""Parse and check the values of settings by their types."""

from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from ance_tele.console.errors import UserError


def read(written: Any, kind: Any) -> Any:
    """Parse a value by its type; return it unchanged if that fails, for :func:`check` to refuse.

    A single name is a list of one.

    Args:
        written: A word of the command line, or a value of YAML (1.1, which parses 1e-4 as a text).
        kind: Type of the value: a type hint of numbers, texts, true or false, None, Literal, or tuples of them.
    """
    items = next((get_args(one)[0] for one in alternatives(kind) if get_origin(one) is tuple), None)
    if isinstance(written, list):
        return written if items is None else tuple(read(item, items) for item in written)
    if isinstance(written, int) and not isinstance(written, bool) and float in alternatives(kind):
        return float(written)
    if not isinstance(written, str):
        return written
    if NoneType in alternatives(kind) and written == "null":
        return None
    if items is not None and written[:1] == "[" and written[-1:] == "]":
        words = [word.strip(" '\"") for word in written[1:-1].split(",")]
        return tuple(read(word, items) for word in words if word)
    if items is str and written and not set(written) & set("[],"):
        return (written,)
    for one in alternatives(kind):
        if one is bool:
            return {"true": True, "false": False}.get(written.lower(), written)
        if one in (int, float):
            try:
                return one(written)
            except ValueError:
                continue
    return written


def check(name: str, value: Any, kind: Any, null: bool = True) -> None:
    """Refuse a value of the wrong type, or outside the range that ``Annotated[type, (low, high)]`` gives.

    The sentence names null among the allowed values only with ``null``.

    Raises:
        UserError: States name, value, and allowed values.
    """
    if not any(_fits(value, one) for one in alternatives(kind)):
        shown = list(value) if isinstance(value, tuple) else value
        allowed = wanted(kind) if null else wanted(kind).removesuffix(" or null")
        raise UserError(f"{name} is {shown!r}; it must be {allowed}.")
    if get_origin(kind) is Annotated and value is not None:
        low, high = kind.__metadata__[0]
        if not low <= value <= high:
            raise UserError(f"{name} is {value}; it must lie between {low} and {high}.")


def check_fields(config: Any) -> None:
    """Check every field of a dataclass by its type and range, as :func:`check` does.

    Raises:
        UserError: States name, value, and allowed values.
    """
    for name, kind in get_type_hints(type(config), include_extras=True).items():
        check(name, getattr(config, name), kind)


def wanted(kind: Any) -> str:
    """Return a description of the values that a type allows."""
    return " or ".join(map(_words, alternatives(kind)))


def alternatives(kind: Any) -> tuple[Any, ...]:
    """Return the alternatives of a type hint, None last."""
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    is_union = get_origin(kind) not in (None, Literal, tuple)
    return get_args(kind) if is_union else (kind,)


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(kind)[0]) for item in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return (
            "a list, such as '[one, two]'"
            if str in get_args(kind)
            else "numbers such as 1 2 3, as a setting or in a file [1, 2, 3]"
        )
    return {float: "a number", int: "a whole number", bool: "true or false", str: "a text", NoneType: "null"}[kind]
