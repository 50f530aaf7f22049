"""Read the files of a finished run, or say in one sentence why not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.console.numbers import number
from ance_tele.report.summary import Summary, episodes

SCHEMA = 1
"""The layout of summary.json that this version reads."""

_PARTS: dict[str, type] = {
    "data": dict,
    "baselines": dict,
    "episodes": list,
    "final": dict,
    "comparisons": list,
    "settings": dict,
    "environment": dict,
}


def read_summary(run: Path) -> Summary:
    """Read and check the summary of a run.

    Raises:
        UserError: there is none, or it is not one; the message says what was found, where, and what to do.
    """
    path = Path(run) / "summary.json"
    if not path.exists():
        raise UserError(
            f"There is no summary.json in {run}: the run has not finished or this is no run's folder, "
            "so let it finish or give another folder."
        )
    summary = read_object(path, "let the run write it again, or restore it from a copy")
    schema = summary.get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        raise UserError(
            f"{path} has schema {json.dumps(schema)} where this version of ance-tele reads schema {SCHEMA}: "
            "use the version that wrote it, or run again with this one."
        )
    for name in ("recipe", "collection"):
        if not isinstance(summary.get(name), str):
            raise UserError(f"{path} has no text under {name!r}: let the run write it again.")
    for name, kind in _PARTS.items():
        if name in summary and not isinstance(summary[name], kind):
            found, wanted = type(summary[name]).__name__, kind.__name__
            raise UserError(f"{path} has a {found} under {name!r} instead of a {wanted}: let the run write it again.")
    if len(episodes(summary)) != len(summary.get("episodes", [])):
        raise UserError(f"{path} has an episode without a number: let the run write it again.")
    return summary


def read_logs(run: Path, summary: Summary) -> dict[int, Mapping[str, Any]]:
    """Read the training logs that a run has, by episode number.

    Raises:
        UserError: a log is there but broken; the message says where, and what to do.
    """
    logs: dict[int, Mapping[str, Any]] = {}
    for one in episodes(summary):
        which = int(number(one["number"]) or 0)
        path = Path(run) / f"episode-{which}" / "training_log.json"
        if path.exists():
            logs[which] = read_object(path, "restore it, or delete it to have the report without its loss curve")
    return logs


def read_object(path: Path, advice: str) -> dict[str, Any]:
    """Read a JSON object, or say in one sentence why not, with advice on what to do."""
    found = read_json(path, advice)
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a JSON {type(found).__name__} instead of an object: {advice}.")
    return found


def read_json(path: Path, advice: str) -> Any:
    """Read JSON, or say in one sentence why not, with advice on what to do."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        trouble = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise UserError(f"{path} is not valid JSON ({trouble}): {advice}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid JSON (byte {error.start} is not UTF-8): {advice}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {advice}.") from error
