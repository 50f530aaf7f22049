"""Where a verb writes, tried before it begins."""

import os
from pathlib import Path
from tempfile import TemporaryFile

from ance_tele.cli.flags import Given
from ance_tele.console.errors import UserError
from ance_tele.store.urls import is_url


def check_places(verb: str, given: Given) -> None:
    """Refuse a file or folder that is not there and cannot be made; nothing is made.

    Raises:
        UserError: States flag, place and cause.
    """
    for key in ("out", "target", *(("to",) if verb == "suspects" else ())):
        place = getattr(given, key, None)
        if place and not is_url(place) and not os.path.lexists(place):
            above = next(one for one in Path(place).absolute().parents if os.path.lexists(one))
            if cause := _refusal(above):
                flag = "" if key == "target" else f"--{key} "
                raise UserError(f"{flag}{place} cannot be written: {cause}; give another place.")


def _refusal(folder: Path) -> str | None:
    """Return why nothing can be written in a folder; None if it can."""
    if folder.exists() and not folder.is_dir():
        return f"{folder} is a file, not a folder"
    try:
        with TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"the system refuses files in {folder} ({os.strerror(error.errno or 0)})"
