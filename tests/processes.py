"""Command lines and functions in processes of their own; one server has imported for all what takes seconds."""

import gc
import importlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from ance_tele.store.manifests import checksums, file_sizes, read_manifest

Death = tuple[str, str, int]
"""Module, function in it, and the call of it at which the process dies."""


def started(argv: Sequence[object], errors: Path, death: Death | None = None) -> ForkServerProcess:
    """Start ``ance-tele`` with these arguments; its errors go into a file, what else it prints nowhere.

    With ``death`` it is killed, by SIGKILL, where that function is called so often.
    """
    return called(errors, _command, [str(word) for word in argv], death)


def called(errors: Path, function: Callable[..., int], *arguments: Any) -> ForkServerProcess:
    """Call a function of a module in a process, which ends with the exit code that it returns; errors as above."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ance_tele.cli.main", "ance_tele.episode", "ance_tele.training.trainer"])
    process = context.Process(target=_carry_out, args=(errors, dict(os.environ), function, arguments))
    process.start()
    return process


def _carry_out(
    errors: Path, environment: dict[str, str], function: Callable[..., int], arguments: tuple[Any, ...]
) -> None:
    os.environ.update(environment)
    gc.freeze()  # what has been imported need not be looked through again
    for path, stream in ((Path(os.devnull), sys.stdout), (errors, sys.stderr)):
        with path.open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
    sys.exit(function(*arguments))


def _command(argv: list[str], death: Death | None) -> int:
    if death is not None:
        _kill_at(*death)
    from ance_tele.cli.main import main

    return main(argv)


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


def age(work: Path, seconds: float) -> None:
    """Have the whole checkpoints in a folder record that the steps before them took so long."""
    whole = {folder: manifest for folder in work.glob("checkpoint-*") if (manifest := read_manifest(folder))}
    assert whole
    for folder, manifest in whole.items():
        curve = folder / "curve.json"
        before = json.loads(curve.read_text("utf-8"))
        assert before["seconds"] > 0
        curve.write_text(json.dumps({**before, "seconds": seconds}), "utf-8")
        files = file_sizes(folder)
        replace(manifest, files=files, checksums=checksums(work, files)).save(folder)
