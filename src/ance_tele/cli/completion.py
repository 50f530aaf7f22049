"""The verb `completion`: a static script for a shell, by shtab, so that pressing Tab starts no Python."""

import re
from argparse import ONE_OR_MORE, ArgumentParser, _SubParsersAction
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from ance_tele.cli.common import echo
from ance_tele.cli.flags import Flag, Given, Result, Verb, parser_of
from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.console.values import alternatives
from ance_tele.recipes import RECIPES

Shell = Literal["bash", "zsh", "fish"]

# How many words of one argument zsh completes.
WORDS = 8

# Flags whose values are files or folders of this machine.
FILES = ("data", "out", "model", "config", "run", "runs", "review", "run_file", "to", "source", "target", "vectors")


def completion_verb(verbs: Callable[[], Mapping[str, Verb]]) -> Callable[[Given], Result]:
    """Return the function of the verb; ``verbs`` returns all, of which it is one."""

    def run(given: Given) -> Result:
        try:
            import shtab
        except ImportError:
            raise UserError(f"Completion needs shtab: {install('completion')}.") from None
        parser = whole_parser(verbs())
        script = shtab.complete(parser, given.shell)
        if given.shell == "zsh":
            script = several_words(script, parser)
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
                action.help = flag.help.replace("%", "%%")
            one._add_action(action)
    return whole


def several_words(script: str, parser: ArgumentParser) -> str:
    """Return a script of zsh in which arguments of several words are completed at each; by shtab only the first is.

    Example:
        >>> parser = ArgumentParser()
        >>> _ = parser.add_argument("--names", nargs="+")
        >>> print(several_words('"--names[help]:names:(a b)" "(*):runs:_files"', parser)[:50])
        "--names[help]:names:(a b)::names:(a b)::names:(a b
    """
    nested = [one for action in parser._actions if isinstance(action.choices, dict) for one in action.choices.values()]
    actions = [action for one in (parser, *nested) for action in one._actions if action.nargs == ONE_OR_MORE]
    names = "|".join({name for action in actions for name in action.option_strings}) or "$."
    option = re.compile(rf'("(?:{names})\[(?:[^\]\\]|\\.)*\])(:[^"]*)"')
    again = r":\2" * (WORDS - 1)
    return option.sub(rf'\1\2{again}"', script).replace('"(*):', '"*:')


def values(flag: Flag) -> list[str]:
    """Return the words that may follow a flag; none where any may.

    Example:
        >>> values(Flag("--loss", "", Literal["binary", "list"])), values(Flag("--k", "", int))
        (['binary', 'list'], [])
    """
    if flag.words or flag.key in ("recipe", "recipes"):
        return list(flag.words or RECIPES)
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
