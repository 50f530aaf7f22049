"""The machine at work at a URL: an object that says so, renewed as a sign of life.

Object stores cannot lock. Two that begin within a second or so of each other both look whose record is there in the
end; this is a check and no guarantee. Ages are by the clock of the store: those of two machines may differ.
"""

import json
import logging
import os
import signal
import threading
import time
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.console.numbers import duration
from ance_tele.store.files import alive, host
from ance_tele.store.lock import BEAT_SECONDS, SETTLE_SECONDS, STALE_SECONDS, Holder
from ance_tele.store.urls import asking, why

log = logging.getLogger(__name__)

NAME = ".holder.json"


@contextmanager
def held(fs: Any, base: str, url: str) -> Iterator[threading.Event]:
    """Be the holder of a URL while the block runs; yields an event that is set if somebody else takes it over.

    Raises:
        UserError: Another process holds it, and the sentence says who; or it cannot be read or written.
    """
    path, mine, done, lost = f"{base}/{NAME}", Holder.this(), threading.Event(), threading.Event()
    with asking(url):
        if (found := _record(fs, path)) is not None:
            _refuse_living(fs, path, url, found)
        _write(fs, path, mine)
        time.sleep(SETTLE_SECONDS)
        if (found := _record(fs, path)) != mine:
            who = found or "Another process"
            raise UserError(f"{who} has just begun to work at {url}; wait for it, or give another URL.")
    threading.Thread(target=_beat, args=(fs, path, url, mine, done, lost), daemon=True).start()
    try:
        yield lost
    finally:
        done.set()
        try:
            if _record(fs, path) == mine:
                fs.rm_file(path)
        except Exception as error:  # of whatever kind: the record is stale in a few minutes
            log.info(f"{url}/{NAME} cannot be removed ({why(error)}); it counts for {duration(STALE_SECONDS)} more")


def _refuse_living(fs: Any, path: str, url: str, found: Holder) -> None:
    """Refuse a URL whose holder has shown a sign of life; log that it is taken over otherwise."""
    here = found.host == host()
    gone = here and (found.process == os.getpid() or not alive(found.process))
    age = 0.0 if gone else _age(fs, path)
    if gone or age > STALE_SECONDS:
        how = "which is gone" if gone else f"of which there was no sign of life for {duration(age)}"
        log.info(f"{url} is taken over. {found} had it, {how}")
        return
    raise UserError(
        f"{found} has been at work at {url} since {found.since[:19]} ({found.command}; last sign of life "
        f"{duration(max(0.0, age))} ago); wait for it, or give another URL. If it is dead, the same command takes over "
        f"once that is {duration(STALE_SECONDS)} ago."
    )


def _write(fs: Any, path: str, holder: Holder) -> None:
    fs.pipe_file(path, json.dumps(asdict(holder)).encode())


def _record(fs: Any, path: str) -> Holder | None:
    """Return who is written into an object; None if there is none, or it is of another version."""
    try:
        return Holder(**json.loads(fs.cat_file(path)))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _age(fs: Any, path: str) -> float:
    """Return how long ago an object was written, in seconds, by the clock of the store."""
    fresh = f"{path}.now-{host()}-{os.getpid()}"
    fs.pipe_file(fresh, b"now")
    try:
        age: float = (fs.modified(fresh) - fs.modified(path)).total_seconds()
        return age
    except FileNotFoundError:  # it was given back just now
        return 2 * STALE_SECONDS
    finally:
        fs.rm_file(fresh)


def _beat(fs: Any, path: str, url: str, mine: Holder, done: threading.Event, lost: threading.Event) -> None:
    """Renew the record until the block ends; stop the process if somebody else has taken the URL over."""
    while not done.wait(BEAT_SECONDS):
        try:
            found = _record(fs, path)
            if found in (mine, None) and not done.is_set():
                _write(fs, path, mine)
                continue
        except Exception as error:  # of whatever kind; what is uploaded meanwhile has the same trouble, and says so
            log.debug(f"{path} cannot be renewed: {why(error)}")
            continue
        if done.is_set():
            return
        lost.set()
        log.warning(f"{url} has been taken over. {found} has it; this process stops")
        interrupt_main(signal.SIGTERM)
        return
