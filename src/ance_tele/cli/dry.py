"""What a verb would do (``--dry_run``), without doing it: what is there, what would be made, steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ance_tele.cli.common import echo
from ance_tele.cli.flags import Given, Result
from ance_tele.store.manifests import read_manifest
from ance_tele.store.urls import is_url


def state(path: str | Path) -> str:
    """Return whether an artefact is there: "cached", "to be made", or "there" for files of another origin.

    Whether it is of the same inputs, only the command itself finds out.
    """
    if is_url(path):
        return "at a URL"
    if read_manifest(Path(path)) is not None:
        return "cached"
    return "there" if Path(path).exists() else "to be made"


def shown(what: str, path: str | Path, at: str | Path | None = None, **amounts: Any) -> dict[str, Any]:
    """Print what would be made, and whether it is there already (at another path, if given); return it."""
    found = {"what": what, "path": path, "state": state(at or path), **amounts}
    counted = "".join(f", {value:,} {name.replace('_', ' ')}" for name, value in amounts.items() if value is not None)
    echo(f"{what}: {path}, {found['state']}{counted}")
    return found


def would_write(what: str, flag: str, check: Callable[[Given], object] | None = None) -> Callable[[Given], Result]:
    """Return the dry run of a verb that writes the file or folder of a flag; ``check`` refuses as the verb does."""

    def dry(given: Given) -> Result:
        if check is not None:
            check(given)
        path = getattr(given, flag, None)
        if path is None:
            echo("nothing would be written")
        return {"would_make": [] if path is None else [shown(what, path)]}

    return dry
