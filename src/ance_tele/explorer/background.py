"""Encode the corpus with the checkpoints whose vectors are missing, while the page is open: in a process of its own."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.console.system_errors import refused_by_system
from ance_tele.engine.processes import Worker, WorkerDied
from ance_tele.engine.work import Facts, Unit, Work, describe
from ance_tele.explorer.asking import Asker
from ance_tele.explorer.opening import open_loaded, precision_of, weights_of
from ance_tele.runs.folder import open_run

log = logging.getLogger(__name__)

# Of the process that encodes: whoever asks meanwhile is answered first.
NICENESS = 10


@dataclass(frozen=True)
class EncodeCheckpoints:
    """The corpus of a run to vectors in the cache; a unit is the number of a checkpoint.

    Attributes:
        run: The run folder.
        data: Where its collection lies; None for where the run says.
        cache: Folder for the vectors.
    """

    run: str
    data: str | None
    cache: str

    def open(self) -> Work:
        """Open the run and its tokens; return what encodes with a checkpoint, and says what the vectors are of."""
        os.nice(NICENESS)
        opened, cache = open_run(Path(self.run), self.data), Path(self.cache)
        last = opened.retriever(opened.last, cache)
        tokens, precision = last.tokens.passages.key, precision_of(last)
        last.checkpoint.release()

        def work(unit: Unit) -> Facts:
            retriever = open_loaded(opened, unit[0], last, cache, encode=True)
            assert retriever is not None, "vectors that were encoded"
            weights = weights_of(opened, unit[0], retriever.checkpoint)
            retriever.checkpoint.release()
            return {"weights": weights, "tokens": tokens, "precision": precision}

        return work


@contextmanager
def encoding(job: EncodeCheckpoints, asker: Asker) -> Iterator[None]:
    """Encode what an asker is waiting for while the block runs; the process ends with it, in the middle of its work.

    What goes wrong with a checkpoint is logged and kept by the asker; the others are encoded all the same.
    """
    worker, stopped = Worker({}), threading.Event()
    thread = threading.Thread(target=_encode, args=(worker, describe(job), asker, stopped), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        while thread.is_alive():  # once is not enough: it may be about to start the process
            worker.stop()
            thread.join(0.05)
        worker.close()


def _encode(worker: Worker, description: str, asker: Asker, stopped: threading.Event) -> None:
    for number in asker.waiting:
        if stopped.is_set():
            return
        asker.begin(number)
        try:
            asker.add(number, worker.do(description, (number,)))
        except UserError as error:
            asker.leave_out(number, str(error))
        except WorkerDied as died:
            if not stopped.is_set():
                asker.leave_out(number, f"The process that encoded with it {died}; if memory ran out, free some.")
        except Exception as error:  # of the process: its traceback, whose last line says what happened
            log.debug("%s", error)
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            asker.leave_out(number, refused_by_system(error) or f"Encoding the corpus with it failed ({last}).")
    worker.close()
