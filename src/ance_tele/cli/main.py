"""The command line: errors become one sentence, and each verb is a thin call of a public function."""

import os
import sys
from collections.abc import Sequence

from ance_tele import __version__
from ance_tele.cli.common import echo
from ance_tele.cli.flags import parse
from ance_tele.cli.urls import refuse_urls
from ance_tele.cli.verbs import VERBS
from ance_tele.console.display import Display
from ance_tele.console.errors import UserError, unknown
from ance_tele.console.garbage import skip_last_collection
from ance_tele.console.signals import STOPPED, exit_code, stoppable
from ance_tele.console.system_errors import refused_by_system
from ance_tele.console.waiting import wait_well


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0; 2 after one sentence on what is wrong; 130 or 143 if stopped."""
    if argv is None:  # the process is the command's own
        skip_last_collection()
    try:
        with stoppable(), Display(echo).shown():
            return _main(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as stop:
        return _fail(STOPPED, exit_code(stop))
    except MemoryError:
        return _fail("Out of memory; give the process more, or smaller files or settings.")
    except Exception as error:
        sentence = refused_by_system(error)
        if sentence is None:
            raise
        return _fail(sentence)


def _fail(sentence: str, code: int = 2) -> int:
    if os.environ.get("ANCE_TELE_DEBUG"):
        raise
    print(f"ance-tele: {sentence}", file=sys.stderr)
    return code


def _main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(help_text())
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    if words[0] not in VERBS:
        raise UserError(unknown("verb", words[0], VERBS))
    verb = VERBS[words[0]]
    given = parse(words[0], verb, words[1:])
    refuse_urls(words[0], given)
    wait_well()
    return verb.run(given)


def help_text() -> str:
    """Return the help of the command line: the list of verbs."""
    verbs = "\n".join(f"    {name:<11} {verb.help.partition('. ')[0].rstrip('.')}." for name, verb in VERBS.items())
    return (
        "usage: ance-tele VERB ...\n\n"
        "Train dense retrievers with self-mined teleportation negatives, episode by episode.\n\n"
        f"verbs:\n{verbs}\n\n"
        "`ance-tele VERB --help` explains a verb; `ance-tele --version` prints the version."
    )
