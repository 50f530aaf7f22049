"""Verbs and their flags as data, and the parser of command lines and --config files."""

import json
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NoReturn, get_origin

from ance_tele.cli.config_file import read_configs
from ance_tele.cli.synonyms import synonyms
from ance_tele.console.errors import UserError, nearest, unknown
from ance_tele.console.values import check, read, wanted
from ance_tele.paper.settings import OFFICIAL, SCALES
from ance_tele.recipes import recipe
from ance_tele.settings import removed, setting_kinds

AT_HAND = "by what is at hand"


@dataclass(frozen=True)
class Flag:
    """A flag, or a positional argument.

    Attributes:
        name: "--data", "-k"; a positional argument has no dashes.
        help: For --help.
        kind: Type of its value, for :mod:`ance_tele.console.values`. A tuple takes several words; a positional
            argument is optional if None is allowed.
        default: Value where it is not given.
        setting: It is a setting of a recipe, stored in ``Given.settings``, only if given.
        heading: Its group in --help.
        words: What may follow it, for completion, where its kind does not say so.
    """

    name: str
    help: str
    kind: Any = str | None
    default: Any = None
    setting: bool = False
    heading: str = "Flags"
    words: Sequence[str] = ()

    @property
    def key(self) -> str:
        """Its name without dashes."""
        return self.name.lstrip("-")


def switch(name: str, help: str) -> Flag:
    """Return a flag that takes no value."""
    return Flag(name, help, bool, False)


# Flags of every verb.
COMMON = (switch("--json", "print one JSON document, and all other lines on standard error"),)
DRY = switch("--dry_run", "print what would be done, and touch nothing")


class Given(Namespace):
    """The parsed command line and --config files: flags as attributes, settings of the recipe in a dictionary."""

    settings: dict[str, Any]


Result = Mapping[str, Any] | None


@dataclass(frozen=True)
class Verb:
    """A verb; the first sentence of ``help`` is shown in the list of verbs.

    ``run`` prints for people, and returns what ``--json`` prints as "result"; None where another process prints.
    ``dry`` does the same of what would be done, for a verb that writes or takes long.
    """

    run: Callable[[Given], Result]
    help: str
    usage: str = ""
    flags: Sequence[Flag] = ()
    dry: Callable[[Given], Result] | None = None

    @property
    def every_flag(self) -> list[Flag]:
        """Its flags, and those of every verb."""
        return [*self.flags, *COMMON, *([DRY] if self.dry else [])]


def parse(name: str, verb: Verb, words: Sequence[str]) -> Given:
    """Parse the words after a verb; they override --config files, later files override earlier ones.

    Raises:
        UserError: A flag does not exist, or a value is not of its type.
    """
    parser, words = _Parser(name, verb), [_underscored(word) for word in words]
    for word in takewhile(lambda word: word != "--", words):
        option = word.partition("=")[0]
        if option.startswith("--") and " " not in word and option not in (*parser.names, "--help"):
            raise UserError(parser.unknown_flag(option[2:]))
        if len(word) == 2 and word[0] == "-" and word[1].isalpha() and word not in (*parser.names, "-h"):
            raise UserError(parser.unknown_flag(word[1]).replace(f"-{word}", word, 1))
    given, left = parser.parse_known_args(words, Given(settings={}))
    if left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    for key, (value, where) in read_configs(getattr(given, "config", ())).items():
        try:
            if not removed(key, value):
                _take_from_file(given, parser.flag_in_file(key), value)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    for key, flag in {DRY.key: DRY, **parser.flags}.items():
        if not flag.setting and key not in given:
            setattr(given, key, flag.default)
    return given


def _underscored(word: str) -> str:
    """Replace the dashes within a flag's name by underscores: --query-model=a-b becomes --query_model=a-b."""
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if word.startswith("--") else word


def _take(given: Given, flag: Flag, written: Any, null: bool = True) -> None:
    """Parse and check a value, and store it as a setting or as an attribute; ``null`` as of :func:`check`."""
    value = read(written, flag.kind)
    check(flag.key, value, flag.kind, null)
    if flag.setting:
        given.settings[flag.key] = value
    else:
        setattr(given, flag.key, value)


def _take_from_file(given: Given, flag: Flag, written: Any) -> None:
    """Store a value of a --config file unless the command line gave one."""
    own = given.settings.get(flag.key) if flag.setting else getattr(given, flag.key, None)
    if flag.key == "recipe" and own not in (None, written):
        raise UserError(f"this is a file of recipe '{written}', not '{own}'; leave one of the two out.")
    if own is None and flag.key not in given.settings:
        _take(given, flag, written)


class _Parser(ArgumentParser):
    """The parser of one verb."""

    def __init__(self, name: str, verb: Verb) -> None:
        usage = f"ance-tele {name} {verb.usage}".strip()
        super().__init__(usage=usage, description=verb.help, add_help=False, allow_abbrev=False)
        flags = verb.every_flag
        self.verb, self.flags = name, {flag.key: flag for flag in flags}
        self.names = {flag.name: key for key, flag in self.flags.items()}
        headings = [*dict.fromkeys(flag.heading for flag in verb.flags)] or [COMMON[0].heading]
        groups = {heading: self.add_argument_group(heading) for heading in headings}
        for flag in flags:
            groups.get(flag.heading, groups.get("More", groups[headings[0]])).add_argument(
                flag.name, action=_Take, flag=flag, **_shape(flag)
            )
        groups[headings[0]].add_argument("-h", "--help", action=_Help, nargs=0, default=SUPPRESS, help="print this")

    def error(self, message: str) -> NoReturn:
        """Raise a :class:`UserError` instead of exiting."""
        raise UserError(f"{message}; see ance-tele {self.verb} --help.")

    def unknown_flag(self, name: str) -> str:
        """Return the sentence on a flag that does not exist."""
        if name in OFFICIAL and "official" in self.flags:
            return f"--{name} is no flag: --official sets it, or a line in a --config file."
        if name in self.names:
            return f"{name} is given without dashes: {self.usage}."
        keys = [key for flag, key in self.names.items() if flag.startswith("-")]
        near = synonyms(name, keys) or [key for key in (nearest(name, keys, 0.7),) if key]
        return f"There is no setting --{name}; " + (
            f"did you mean {' or '.join(self.flags[key].name for key in near)}?"
            if near
            else f"see ance-tele {self.verb} --help."
        )

    def flag_in_file(self, key: str) -> Flag:
        """Return the flag that a key of a --config file sets; settings without a flag get one."""
        if key not in self.flags and key not in setting_kinds():
            raise UserError(unknown("setting", key, {**setting_kinds(), **self.flags}))
        return self.flags.get(key) or Flag(key, "", setting_kinds()[key], setting=True)

    def explain(self, name: str | None) -> None:
        """Append the defaults, of the named recipe if any, to the help of the flags."""
        settings, scaled = recipe(name).settings() if name else {}, (name or "").partition("/")[0] in SCALES
        for action in self._actions:
            if isinstance(action, _Take):
                flag = action.flag
                at_hand = flag.default == AT_HAND and not scaled
                value = flag.default if at_hand else settings.get(flag.key, flag.default)
                hidden = not flag.setting and value in (None, False, ())
                action.help = flag.help.replace("%", "%%") + ("" if hidden else f" (default: {_written(value)})")


def _written(value: Any) -> str:
    """Format a value as on the command line."""
    if isinstance(value, tuple):
        return f"[{', '.join(f'{one:g}' if isinstance(one, float) else one for one in value)}]"
    return value if isinstance(value, str) and value.strip() else json.dumps(value)


class _Take(Action):
    """Stores the value of a flag."""

    def __init__(self, option_strings: Sequence[str], dest: str, flag: Flag, **others: Any) -> None:
        super().__init__(option_strings, dest, default=SUPPRESS, **others)
        self.flag = flag

    def __call__(self, parser: ArgumentParser, given: Namespace, written: Any, option: str | None = None) -> None:
        """Store the value; append to the list for --config."""
        assert isinstance(given, Given)
        if self.flag.key == "config":
            written = [*getattr(given, "config", ()), written]
        _take(given, self.flag, True if self.nargs == 0 else written, null=self.flag.setting)


class _Help(Action):
    """Prints the help of a verb, with the defaults of the recipe named before --help."""

    def __call__(self, parser: ArgumentParser, given: Namespace, *_: Any) -> None:
        """Print the help and exit."""
        assert isinstance(parser, _Parser)
        parser.explain(getattr(given, "recipe", None))
        parser.print_help()
        parser.exit()


def parser_of(name: str, verb: Verb) -> ArgumentParser:
    """Return the parser of a verb, for what reads its flags."""
    return _Parser(name, verb)


_METAVARS = {"a number": "X", "a whole number": "N", "true or false": "true|false", "a list": "[A,B]", "a text": "TEXT"}


def _shape(flag: Flag) -> dict[str, Any]:
    """Return ``nargs`` and ``metavar`` of a flag."""
    words = wanted(flag.kind)
    if flag.key == "config":
        return {"metavar": "FILE"}
    if get_origin(flag.kind) is tuple and not flag.setting:
        return {"nargs": "+"}
    if get_origin(flag.kind) is tuple:
        return {"metavar": "[A,B]"}
    if not flag.name.startswith("-"):
        return {"nargs": "?" if words.endswith(" or null") else None}
    if flag.kind is bool and not flag.setting:
        return {"nargs": 0}
    if words.startswith("one of "):
        return {"metavar": words.removeprefix("one of ").removesuffix(" or null").replace(", ", "|")}
    shown = next(short for long, short in _METAVARS.items() if words.startswith(long))
    return {"metavar": shown if flag.setting or shown != "TEXT" else None}
