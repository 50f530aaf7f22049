"""The working copy of a run whose folder is a URL: where it lies, and keeping both alike."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.data.load import cache_folder
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.lock import lock
from ance_tele.store.mirror import LOCK, fetch, mirrored
from ance_tele.store.remote import Remote
from ance_tele.store.urls import is_url

log = logging.getLogger(__name__)


def working_copy(out: str) -> Path:
    """Return the folder of a run: its working copy in the cache where it is a URL, else the folder itself."""
    if not is_url(out):
        return Path(out)
    url = out.rstrip("/")
    return cache_folder() / "runs" / f"{url.rpartition('/')[2]}-{fingerprint(url)[:12]}"


@contextmanager
def kept_at(out: str, begun: bool = False) -> Iterator[Path]:
    """Yield the folder to work in; if ``out`` is a URL, what is there is fetched, and what is made is uploaded.

    Raises:
        UserError: As of :func:`ance_tele.store.mirror.mirrored`; or there is no run, and it must have ``begun``.
    """
    folder = working_copy(out)
    if not is_url(out):
        yield folder
        return
    log.info(f"{out}: the working copy is {folder}")
    with mirrored(out.rstrip("/"), folder):
        if begun:
            _check_begun(out, folder)
        yield folder


def fetched(run: str) -> str:
    """Return the folder of a run to read; if it is a URL, what is there is fetched, and nothing is uploaded.

    Raises:
        UserError: The URL cannot be read, or holds no run.
    """
    if not is_url(run):
        return run
    remote = Remote.of(run.rstrip("/"), working_copy(run))
    try:
        with lock(remote.folder / LOCK):
            fetch(remote)
    except UserError as error:
        if not (remote.folder / "run.json").exists():
            raise
        log.info(f"the working copy is read as it is: {error}")
    _check_begun(run, remote.folder)
    return str(remote.folder)


def _check_begun(url: str, folder: Path) -> None:
    if not (folder / "run.json").exists():
        raise UserError(f"{url} holds no run: there is no run.json; give the URL that --out of a run was.")
