"""A worker process: reads units from standard input, a JSON line each, and writes a line for each that is done.

    python -m ance_tele.engine.worker

It ends when its input does, so that none outlives the process that has started it.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from queue import SimpleQueue
from threading import Thread
from typing import Any, TextIO

from ance_tele.console.errors import UserError
from ance_tele.console.events import leave_bars
from ance_tele.console.signals import GRACE_SECONDS
from ance_tele.console.system_errors import refused_by_system
from ance_tele.engine.work import Facts, Work, opened


def attempt(open_job: Callable[[str], Work], description: str, unit: Sequence[int]) -> dict[str, Any]:
    """Do one unit; return its facts, or the error in words, as :func:`facts_of` takes them."""
    try:
        return {"facts": open_job(description)(tuple(unit))}
    except UserError as error:
        return {"error": str(error)}
    except MemoryError:
        raise  # the process ends, and its unit is tried again
    except Exception as error:
        sentence = refused_by_system(error)
        return {"failure": traceback.format_exc()} if sentence is None else {"error": sentence}


def facts_of(answer: Mapping[str, Any], where: str) -> Facts:
    """Return the facts of an answer, or raise its error.

    Raises:
        UserError: What was asked for cannot be done.
        RuntimeError: It failed; ``where`` it did begins the message, and the traceback follows.
    """
    if "error" in answer:
        raise UserError(answer["error"])
    if "failure" in answer:
        raise RuntimeError(f"{where} failed:\n{answer['failure']}")
    facts: Facts = answer["facts"]
    return facts


def serve(lines: TextIO, out: TextIO) -> None:
    """Do the units of all lines until there are no more; the last job stays open."""
    coming: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in lines:
            coming.put(line)
        os.kill(os.getpid(), signal.SIGTERM)  # in the middle of a unit too: nobody waits for it
        time.sleep(GRACE_SECONDS)  # what trains saves its step
        os._exit(1)

    Thread(target=read, daemon=True).start()
    open_job = lru_cache(maxsize=1)(opened)
    while True:
        asked = json.loads(coming.get())
        print(json.dumps(attempt(open_job, asked["job"], asked["unit"])), file=out, flush=True)


def main() -> None:
    """Serve; what libraries print goes to standard error, so that it is not taken for an answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's, which the other end answers
    leave_bars()  # likewise
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, out)


if __name__ == "__main__":
    main()
