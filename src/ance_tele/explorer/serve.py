"""Serve the explorer of a finished run."""

import errno
import logging
import socket
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.data.load import cache_folder
from ance_tele.explorer.examples import examples
from ance_tele.mining.sources import SOURCES
from ance_tele.runs.folder import open_run
from ance_tele.runs.summary import Summary

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger(__name__)

EPISODES = ("all", "kept")


def serve(
    run: str | Path,
    data: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    episodes: str = "all",
) -> None:
    """Serve a local web page on a finished run until it is interrupted.

    Args:
        run: A run folder; nothing in it is written but review.csv.
        data: Where the collection lies now, if it was moved.
        host: Address to listen on. Whoever reaches it can read the collection: there is no password.
        port: Port to listen on; 0 takes any that is free.
        episodes: "all" encodes the corpus, into the cache and while the page is open, with checkpoints whose vectors
            were not kept, with the last one before it opens; "kept" leaves those out.

    Raises:
        UserError: This is no finished run, its data is gone or has changed, or the address is not available.
    """
    with listen(host, port) as listening:  # before anything is encoded
        app = open_explorer(run, data, host, episodes)
        import uvicorn

        shown = f"[{host}]" if ":" in host else host
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))
        try:
            log.info(f"Explorer: http://{shown}:{listening.getsockname()[1]}/  (Ctrl-C ends it)")
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            log.info("The explorer has ended.")


def open_explorer(
    run: str | Path, data: str | Path | None = None, host: str = "127.0.0.1", episodes: str = "all"
) -> "FastAPI":
    """Open a run and return the web application on it; arguments and errors as of :func:`serve`."""
    try:
        from ance_tele.explorer.app import make_app
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "pydantic", "starlette", "uvicorn"):
            raise
        raise UserError(f"The explorer needs fastapi and uvicorn; run: {install('serve')}.") from None
    from ance_tele.explorer.asking import Asker
    from ance_tele.explorer.background import EncodeCheckpoints, encoding
    from ance_tele.explorer.guard import is_loopback
    from ance_tele.explorer.marking import Marks
    from ance_tele.explorer.training import Training

    run = Path(run)
    if episodes not in EPISODES:
        raise UserError(f"episodes is '{episodes}'; it must be one of {', '.join(EPISODES)}.")
    opened = open_run(run, data)
    if opened.model is None:
        raise UserError(f"{run} is a run without a model (recipe '{opened.recipe.name}'); there is nothing to explore.")
    if not (run / "summary.json").is_file():
        raise UserError(f"{run} is not finished: it has no summary.json; run the same command again, then explore it.")
    if not is_loopback(host):
        log.info(f"Whoever reaches {host} can now read this collection and mark passages: there is no password.")
    collection, own = opened.collection, Summary.read(run).sources
    training, marks = Training(run, opened.recipe, collection), Marks(run / "review.csv")
    marks.counts()  # a file that cannot be read is refused now
    asker = Asker(opened, cache_folder(), episodes == "kept")
    job = EncodeCheckpoints(str(run.resolve()), None if data is None else str(data), str(cache_folder().resolve()))
    background = partial(encoding, job, asker) if asker.waiting else nullcontext
    about = {
        "run": run.resolve().name,
        "recipe": opened.recipe.name,
        "collection": collection.name,
        "passages": len(collection.corpus),
        "model": Path(opened.model).name,
        "split": opened.recipe.evaluation.split,
        "examples": examples(collection, opened.recipe.evaluation.split),
        "sources": {**{one.name: {"title": one.title, "colour": one.colour} for one in SOURCES.values()}, **own},
    }
    return make_app(about, asker, training, marks, host, background)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        UserError: The port is taken or not allowed, or the address is not of this machine.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"port is {port}; it must be from 0 to 65535.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise UserError(f"There is no host '{host}'; --host takes an address of this machine.") from None
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"Port {port} is taken; give another one with --port, or --port 0 for any.") from None
        if error.errno in (errno.EACCES, errno.EADDRNOTAVAIL):
            raise UserError(f"{host} port {port} cannot be had ({error.strerror}); give --host or --port.") from None
        raise
    return made
