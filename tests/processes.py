"""Command lines in processes of their own; what takes seconds to import, one server has imported for all of them."""

import gc
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

Death = tuple[str, str, int]
"""Module, function in it, and the call of it at which the process dies."""


def started(argv: Sequence[object], errors: Path, death: Death | None = None) -> ForkServerProcess:
    """Start ``ance-tele`` with these arguments; its errors go into a file, what else it prints nowhere.

    With ``death`` it is killed, by SIGKILL, where that function is called so often.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ance_tele.cli.main", "ance_tele.episode", "ance_tele.training.trainer"])
    words = [str(word) for word in argv]
    process = context.Process(target=_carry_out, args=(words, errors, dict(os.environ), death))
    process.start()
    return process


def _carry_out(argv: list[str], errors: Path, environment: dict[str, str], death: Death | None) -> None:
    os.environ.update(environment)
    gc.freeze()  # what has been imported need not be looked through again
    for path, stream in ((Path(os.devnull), sys.stdout), (errors, sys.stderr)):
        with path.open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
    if death is not None:
        _kill_at(*death)
    from ance_tele.cli.main import main

    sys.exit(main(argv))


def _kill_at(module: str, name: str, call: int) -> None:
    owner: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    whole, calls = getattr(owner, last), 0

    def deadly(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*args, **options)

    setattr(owner, last, deadly)
