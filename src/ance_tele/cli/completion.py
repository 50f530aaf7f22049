"""The verb `completion`: a static script for a shell, by shtab, so that pressing Tab starts no Python."""

from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from ance_tele.cli.common import echo
from ance_tele.cli.flags import Flag, Given, Result, Verb, parser_of
from ance_tele.console.errors import UserError
from ance_tele.console.values import alternatives
from ance_tele.recipes import RECIPES

Shell = Literal["bash", "zsh", "fish"]

# Flags whose values are files or folders of this machine.
FILES = ("data", "out", "model", "config", "run", "runs", "review", "run_file", "to", "source", "target", "vectors")


def completion_verb(verbs: Callable[[], Mapping[str, Verb]]) -> Callable[[Given], Result]:
    """Return the function of the verb; ``verbs`` returns all, of which it is one."""

    def run(given: Given) -> Result:
        try:
            import shtab
        except ImportError:
            raise UserError("Completion needs shtab: pip install 'ance-tele[completion]'.") from None
        script = shtab.complete(whole_parser(verbs()), given.shell)
        echo(script)
        return {"shell": given.shell, "script": script}

    return run


def whole_parser(verbs: Mapping[str, Verb]) -> ArgumentParser:
    """Return one parser of all verbs with their flags, and what may follow them, as shtab reads it."""
    import shtab

    whole = ArgumentParser("ance-tele", description="Train dense retrievers with self-mined teleportation negatives.")
    within: _SubParsersAction[Any] = whole.add_subparsers(dest="verb")
    for name, verb in verbs.items():
        one = within.add_parser(name, help=verb.help.partition(". ")[0], add_help=False)
        for action in parser_of(name, verb)._actions:
            flag = getattr(action, "flag", None)
            if flag is not None:
                if found := values(flag):
                    action.choices = found
                elif flag.key in FILES:
                    action.complete = shtab.FILE  # type: ignore[attr-defined]
            action.help = None if action.help is None else action.help.replace("%", "%%")
            one._add_action(action)
    return whole


def values(flag: Flag) -> list[str]:
    """Return the words that may follow a flag; none where any may.

    Example:
        >>> values(Flag("--loss", "", Literal["binary", "list"])), values(Flag("--k", "", int))
        (['binary', 'list'], [])
    """
    if flag.key in ("recipe", "recipes"):
        return list(RECIPES)
    kinds = [one for one in alternatives(flag.kind) if getattr(one, "__origin__", None) is Literal]
    words = [str(word) for one in kinds for word in get_args(one)]
    return words + (["true", "false"] if flag.setting and bool in alternatives(flag.kind) else [])


def completion(verbs: Callable[[], Mapping[str, Verb]]) -> Verb:
    """Return the verb."""
    return Verb(
        completion_verb(verbs),
        "Print a script that completes verbs, flags and recipes in a shell.",
        "bash|zsh|fish",
        [Flag("shell", ", ".join(get_args(Shell)), Shell)],
    )
