"""What a verb has found, as one JSON document for machines (``--json``): docs/terminal.md has its schema."""

import io
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1


def document(verb: str, version: str, **content: Any) -> str:
    """Return the document: schema, version and verb, then "result", or "error" and "exit_code".

    Example:
        >>> print(document("search", "1.0", result={"share": float("nan")}))
        {"schema": 1, "version": "1.0", "verb": "search", "result": {"share": null}}
    """
    whole = {"schema": SCHEMA, "version": version, "verb": verb, **content}
    unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    return json.dumps(plain(whole), ensure_ascii=not unicode, allow_nan=False)


def escape_what_streams_lack() -> None:
    """Have characters that standard output or error cannot encode printed as escapes such as ``\\u2013``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def plain(value: Any) -> Any:
    """Return a value as JSON has it: records as objects, paths as texts, numbers of arrays as numbers, NaN as null."""
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # of numpy
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
