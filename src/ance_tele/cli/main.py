"""The command line: errors become one sentence, and each verb is a thin call of a public function."""

import errno
import os
import re
import sys
from collections.abc import Sequence

from jsonargparse import ArgumentError

from ance_tele.cli.common import echo
from ance_tele.cli.flags import check_flags, config_content, config_first, plainly, underscored
from ance_tele.cli.parsers import make_parser
from ance_tele.cli.verbs import VERBS
from ance_tele.console.errors import UserError
from ance_tele.console.log import log_to
from ance_tele.settings import unknown


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after one sentence on what went wrong."""
    try:
        with log_to(echo):
            return _main(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on where it was.", 130)
    except Exception as error:
        if _disk_is_full(error):
            return _fail("No space left on device; free some and run the same command again: what is finished stands.")
        if not isinstance(error, OSError):
            raise
        where = f" ({error.filename})" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}; mend it and run the same command again.")


def _disk_is_full(error: Exception) -> bool:
    """Say whether an error, of whichever library, means that the disk is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # What safetensors, numpy and torch say, none of which gives an errno.
    signs = (
        r"No space left on device|\d+ requested and \d+ written|PytorchStreamWriter|inline_container.*unexpected pos"
    )
    return re.search(signs, str(error)) is not None


def _fail(sentence: str, code: int = 2) -> int:
    if os.environ.get("ANCE_TELE_DEBUG"):
        raise
    print(f"ance-tele: {sentence}", file=sys.stderr)
    return code


def _main(argv: list[str]) -> int:
    if argv and argv[0] not in (*VERBS, "-h", "--help", "--version"):
        raise UserError(unknown("verb", argv[0], tuple(VERBS)))
    argv = underscored(argv)
    if argv and argv[0] in ("run", "compare", "reproduce"):
        argv = config_first(argv)
        config_content(argv)  # a file that makes no sense is refused before the parser stumbles over it
    parser, verbs = make_parser(argv)
    if argv and argv[0] in verbs:
        check_flags(argv, verbs[argv[0]])
    try:
        given = parser.parse_args(argv)
    except ArgumentError as error:
        raise UserError(plainly(str(error), argv[0])) from None
    verb = given.verb
    if verb is None:
        parser.print_help()
        return 0
    return VERBS[verb](getattr(given, verb), argv)
