"""The command line: errors become one sentence, and each verb is a thin call of a public function."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from typing import TextIO

from ance_tele import __version__
from ance_tele.cli.common import echo
from ance_tele.cli.flags import parse
from ance_tele.cli.output import document, escape_what_streams_lack
from ance_tele.cli.places import check_places
from ance_tele.cli.urls import refuse_urls
from ance_tele.cli.verbs import VERBS
from ance_tele.console.display import Display
from ance_tele.console.errors import UserError, nearest, unknown
from ance_tele.console.garbage import skip_last_collection
from ance_tele.console.signals import STARTS_AGAIN, STOPPED, Terminated, exit_code, stoppable
from ance_tele.console.system_errors import refused_by_system
from ance_tele.console.waiting import wait_well

# An error that is none of the user's or the system's ends Python itself, with 1 and a traceback.
DONE, FAILED, REFUSED, PIPE_CLOSED = 0, 1, 2, 141
EXIT_CODES = {
    DONE: "done, or all of it was done before",
    FAILED: "an internal error: a traceback on standard error",
    REFUSED: "refused: one sentence on standard error says what was found, where, and what to do",
    exit_code(
        KeyboardInterrupt()
    ): "stopped by Ctrl-C (SIGINT); the same command goes on, or starts again if nothing is kept",
    PIPE_CLOSED: "the reader of a pipe, such as `head`, has closed it",
    exit_code(Terminated()): "stopped by SIGTERM; likewise",
}

# Verbs that leave finished parts on disk when they are stopped.
KEEPING = (
    *("run", "compare", "reproduce", "teach", "distil", "pretrain"),
    *("merge", "encode", "retrieve", "export", "report", "demo"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, one of :data:`EXIT_CODES`."""
    if argv is None:  # the process is the command's own
        skip_last_collection()
        escape_what_streams_lack()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with stoppable(_stopped(words)), Display(echo).shown():
            return _main(words)
    except UserError as error:
        return _fail(words, str(error))
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has gone
        _drop_what_follows(sys.stdout)
        return PIPE_CLOSED
    except KeyboardInterrupt as stop:
        return _fail(words, _stopped(words), exit_code(stop))
    except MemoryError:
        return _fail(words, "Out of memory; give the process more, or smaller files or settings.")
    except Exception as error:
        sentence = refused_by_system(error)
        if sentence is None:
            raise
        return _fail(words, sentence)


def _stopped(words: list[str]) -> str:
    """Return what is printed when a command is stopped: whether it goes on, or starts again."""
    keeps = words[:1] and (words[0] in KEEPING or (words[0] == "evaluate" and "--on" in words))
    return STOPPED if keeps else STARTS_AGAIN


def _fail(words: list[str], sentence: str, code: int = REFUSED) -> int:
    if os.environ.get("ANCE_TELE_DEBUG"):
        raise
    _print(f"ance-tele: {sentence}", "stderr")
    if "--json" in words:
        _print(document(words[0], __version__, error=sentence, exit_code=code), "stdout")
    return code


def _print(line: str, name: str) -> None:
    """Print to a standard stream; where it takes nothing more (a full disk, a closed pipe), what follows is dropped."""
    stream = getattr(sys, name)
    try:
        print(line, file=stream, flush=True)
    except OSError:
        _drop_what_follows(stream)


def _drop_what_follows(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _main(words: list[str]) -> int:
    if words[:1] == ["help"] and words[1:]:
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    if words[0] not in VERBS:
        near = nearest(words[0], ("--version", "--help"), 0.7) if words[0].startswith("--") else None
        raise UserError(unknown("flag", words[0], [near]) if near else unknown("verb", words[0], VERBS))
    verb = VERBS[words[0]]
    given = parse(words[0], verb, words[1:])
    refuse_urls(words[0], given)
    if not (given.dry_run or getattr(given, "plan", False) or getattr(given, "print_config", False)):
        check_places(words[0], given)
    wait_well()
    with redirect_stdout(sys.stderr) if given.json else nullcontext():
        result = (verb.dry if verb.dry and given.dry_run else verb.run)(given)
    if given.json and result is not None:
        print(document(words[0], __version__, result=result), flush=True)
    return DONE


def help_text() -> str:
    """Return the help of the command line: the list of verbs."""
    verbs = "\n".join(f"    {name:<11} {verb.help.partition('. ')[0].rstrip('.')}." for name, verb in VERBS.items())
    return (
        "usage: ance-tele VERB ...\n\n"
        "Train dense retrievers with self-mined teleportation negatives, episode by episode.\n\n"
        f"verbs:\n{verbs}\n\n"
        "`ance-tele VERB --help` explains a verb; `ance-tele --version` prints the version."
    )
