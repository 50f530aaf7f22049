"""What is looked at before the parser sees it: which recipe, which config file, which flags there are."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from ance_tele.console.errors import UserError
from ance_tele.recipes import recipe
from ance_tele.settings import setting_types, unknown, wanted

# As data.review has it; written out, because what that module loads would double the time of `--help`.
ReviewAs = Literal["exclude", "positives"]

# Flags that stand alone; every other one is followed by a value.
SWITCHES = ("--lenient", "--help", "-h", "--print_config", "--plan", "--official", "--full")

LISTS = ("recipes", "models", "seeds")

# What a --config file may hold beside settings.
BESIDE = ("recipe", "data", "model", "out", "review", "review_as", "recipes", "models", "seeds", "parallel", "scale")


def underscored(argv: list[str]) -> list[str]:
    """Let --query-model and --query_model be the same flag."""
    return [
        re.sub(r"^--[^=]+", lambda flag: "--" + flag[0][2:].replace("-", "_"), word) if word.startswith("--") else word
        for word in argv
    ]


def plainly(complaint: str, verb: str) -> str:
    """Turn what the parser complains about into a sentence."""
    complaint = " ".join(complaint.split()).replace(f"{verb}.", "")
    if stray := re.match(r"Subcommand '\w+' does not accept option '(\w+)'", complaint):
        return f"The --config file has a line '{stray[1]}', which is not for ance-tele {verb}; take it out."
    wrong = re.match(r'Parser key "(\w+)"(?: element \d+)?: .*?(?:Got value|Given value): (.*)', complaint)
    if wrong is None:
        return f"{complaint}; see ance-tele {verb} --help."
    name, value = wrong.groups()
    whole = {"k": int, "parallel": int, "port": int}
    types = {"review_as": ReviewAs, **whole, "lenient": bool, "full": bool, **setting_types()}
    if name == "seeds":
        return f"seeds is {value}; it must be whole numbers, such as --seeds 1 2 3."
    return f"{name} is {value!r}; it must be {wanted(types.get(name, str))}."


def recipe_named(argv: list[str]) -> str | None:
    """Return the recipe that a command line of `run` names, itself or in its --config file.

    Raises:
        UserError: It names one, and the file another.
    """
    if not argv or argv[0] != "run":
        return None
    in_file = config_content(argv).get("recipe")
    words = iter(argv[1:])
    for word in words:
        if not word.startswith("-"):
            if in_file not in (None, word):
                raise UserError(f"The --config file is of recipe '{in_file}', not '{word}'; leave one of the two out.")
            return word
        if "=" not in word and word not in SWITCHES:
            next(words, None)  # its value
    return in_file


def config_first(argv: list[str]) -> list[str]:
    """Put --config first: what the command line says is said last, wherever it stands."""
    configs: list[str] = []
    rest: list[str] = []
    words = iter(argv[1:])
    for word in words:
        value = next(words, None) if word == "--config" else None
        word = word if value is None else f"--config={value}"
        (configs if word.startswith("--config=") else rest).append(word)
    return [argv[0], *configs, *rest]


def config_content(argv: list[str]) -> dict[str, Any]:
    """Return the content of the --config files of a command line, of which a later one wins; {} without one."""
    import yaml

    paths = [word.partition("=")[2] for word in argv if word.startswith("--config=")]
    settings = tuple(recipe("ance-tele").settings())
    found: dict[str, Any] = {}
    for path in paths:
        try:
            content = yaml.safe_load(Path(path).read_text("utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 (at byte {error.start}); convert it.") from None
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise UserError(f"{path} line {line} is not valid YAML ({error.problem}).") from None
        except yaml.YAMLError as error:
            raise UserError(f"{path} is not valid YAML ({' '.join(str(error).split())}).") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); --config takes a YAML file.") from None
        if not isinstance(content, dict):
            raise UserError(f"{path} holds no settings; one 'name: value' a line is needed.")
        for name in content:
            if name not in (*settings, *BESIDE):
                raise UserError(f"{path}: {unknown('setting', name, settings)}")
        for name in LISTS:
            if name in content and not isinstance(content[name], list):
                raise UserError(f"{path}: {name} is {content[name]!r}; it must be a list: [{content[name]}].")
        found |= content
    return found


def settings_given(argv: list[str]) -> set[str]:
    """Return the settings that a command line or its --config files name, as opposed to those left as they are."""
    flags = {word[2:].partition("=")[0] for word in argv if word.startswith("--")}
    return (flags | set(config_content(argv))) & set(setting_types())


def check_flags(argv: list[str], parser: ArgumentParser) -> None:
    """Refuse unknown flags of a verb, naming the nearest one there is."""
    flags = [*parser.get_defaults().as_dict(), "help", "print_config"]
    for word in argv[1:]:
        name = word[2:].partition("=")[0]
        if word.startswith("--") and name and name not in flags:
            raise UserError(f"There is no setting --{name}; {_nearest(name, flags, argv[0])}")


def _nearest(name: str, flags: Iterable[str], verb: str) -> str:
    near = get_close_matches(name, list(flags), 1, 0.5)
    return f"did you mean --{near[0]}?" if near else f"see ance-tele {verb} --help."
