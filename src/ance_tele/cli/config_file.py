"""YAML files of settings, as --config takes them, such as the config.yaml of a run."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError


def read_configs(paths: Iterable[str]) -> dict[str, tuple[Any, str]]:
    """Return value and "file line N" of each setting by name; later files override earlier ones.

    Raises:
        UserError: A file cannot be read or holds no settings; file and line are named.
    """
    return {name: found for path in paths for name, found in _read(path).items()}


def _read(path: str) -> dict[str, tuple[Any, str]]:
    from ance_tele.store.yaml_files import read_yaml  # only where there is a file

    content = read_yaml(Path(path))
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings; one 'name: value' a line is needed.")
    text = Path(path).read_text("utf-8")
    return {str(name): (value, f"{path}{_line(text, name)}") for name, value in content.items()}


def _line(text: str, name: Any) -> str:
    """Return " line N" of a setting, "" if it does not start a line."""
    found = re.search(rf"^['\"]?{re.escape(str(name))}['\"]?\s*:", text, re.MULTILINE)
    return f" line {text.count(chr(10), 0, found.start()) + 1}" if found else ""
