"""Working at a URL: its content is fetched, and what the block makes is uploaded now and then, and at its end."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.store.holder import held
from ance_tele.store.lock import lock
from ance_tele.store.remote import Remote
from ance_tele.store.urls import asking, why

log = logging.getLogger(__name__)

# One process at a time in a working copy.
LOCK = ".lock.mirror"

PUSH_SECONDS = 30.0
# A store that cannot be reached is asked again after longer and longer pauses, of this at most.
LONGEST_PAUSE = 600.0
# Pauses between the tries at the end.
LAST_PAUSES = (1.0, 3.0, 9.0)
# What a signal leaves for uploads: the process ends some seconds later in any case.
STOP_SECONDS = 5.0


@contextmanager
def mirrored(url: str, folder: Path) -> Iterator[None]:
    """Work in a folder that is kept like a URL while the block runs.

    Args:
        url: Of an object store, as fsspec takes it.
        folder: The working copy; what is in it and not at the URL is uploaded.

    Raises:
        UserError: The URL cannot be used, somebody else works there, or what the block has made could not be uploaded.
    """
    remote = Remote.of(url, folder)
    with lock(folder / LOCK), held(remote.fs, remote.base, url) as lost:
        fetch(remote)
        pushing = _Pushing(remote, lost)
        pushing.thread.start()
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            if failure := pushing.end(STOP_SECONDS) if stopped else pushing.end():
                log.warning(failure)
            raise
        if failure := pushing.end():
            raise UserError(failure)


def fetch(remote: Remote) -> None:
    """Fetch what is at a URL and not here; log how much that is.

    Raises:
        UserError: The URL cannot be read.
    """
    with asking(remote.url):
        fetched = remote.pull()
    if fetched:
        log.info(f"{fetched / 2**20:,.1f} MiB fetched from {remote.url}")


class _Pushing:
    """Uploads in a thread of its own, until :meth:`end` uploads the rest."""

    def __init__(self, remote: Remote, lost: threading.Event) -> None:
        self.remote, self.lost = remote, lost
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        failures = 0
        while not self.ending.wait(min(PUSH_SECONDS * 2**failures, LONGEST_PAUSE)):
            if self.lost.is_set():
                return
            try:
                self.remote.push(self.ending.is_set)
            except Exception as error:  # of whatever kind: the run goes on, and the end says it if nothing helps
                failures += 1
                if failures == 1:
                    log.warning(f"{self.remote.url} cannot be written now ({why(error)}); tried again now and then")
                continue
            if failures and not self.ending.is_set():
                log.info(f"{self.remote.url} is up to date again")
            failures = 0

    def end(self, seconds: float = inf) -> str | None:
        """Upload what is left, trying again now and then; return None, or why not all of it is there, in a sentence."""
        until = time.monotonic() + seconds
        self.ending.set()
        self.thread.join()
        for pause in (*LAST_PAUSES, 0.0):
            reason = "somebody else has taken it over"
            if self.lost.is_set():
                break
            try:
                if self.remote.push(lambda: time.monotonic() > until):
                    return None
                reason = "there was no time"
            except Exception as error:  # of whatever kind
                reason = why(error)
            if time.monotonic() + pause > until:
                break
            time.sleep(pause)
        return (
            f"{self.remote.url} is not up to date ({reason}); all there is lies in {self.remote.folder}, and the same "
            "command on this machine uploads it."
        )
