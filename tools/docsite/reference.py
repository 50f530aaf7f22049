"""Pages that are made of the code: command line, settings, Python, sentences."""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from textwrap import fill
from typing import Any, get_origin

import ance_tele
from ance_tele.cli.flags import AT_HAND, Flag
from ance_tele.cli.setting_flags import HEADINGS, setting_flags
from ance_tele.cli.verbs import VERBS
from ance_tele.console.values import wanted
from ance_tele.paper.settings import OFFICIAL
from ance_tele.plan.defaults import SETTINGS
from ance_tele.pretraining.config import PretrainingConfig
from ance_tele.settings import PARTS, Recipe
from ance_tele.training.teaching import CrossEncoderConfig

PACKAGE = Path(ance_tele.__file__).parent
WRAPPED: Any = {"width": 98, "subsequent_indent": "    ", "break_long_words": False, "break_on_hyphens": False}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _default(value: Any) -> str:
    if value == AT_HAND:
        return "[by what is at hand](recipes.md#defaults-by-what-is-at-hand)"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`" if isinstance(value, str) and value.strip() else f"`{json.dumps(value)}`"


def _flags(flags: list[Flag]) -> list[str]:
    rows = ["| flag | meaning | value | default |", "| --- | --- | --- | --- |"]
    for flag in flags:
        plain = flag.kind is bool and not flag.setting
        several = get_origin(flag.kind) is tuple and not flag.setting
        value = "" if plain else _cell(wanted(flag.kind)).removesuffix(" or null")
        if several:
            value = "several numbers" if value.startswith("numbers") else "several texts"
        unset = flag.default in (None, (), False) or (not flag.name.startswith("-") and flag.default is None)
        rows.append(f"| `{flag.name}` | {_cell(flag.help)} | {value} | {'' if unset else _default(flag.default)} |")
    return rows


def command_line() -> str:
    """Return the page on the command line: every verb with every flag."""
    lines = [
        "# Command line",
        "",
        "Every verb with its flags, generated from the code, as `ance-tele VERB --help` prints them.",
        "",
        "A flag may be written with dashes or underscores. `--config FILE` gives any of them in YAML, and the command "
        "line overrides it. After an error, `ANCE_TELE_DEBUG=1` adds the traceback. Exit codes and JSON output: "
        "[terminal](terminal.md#exit-codes).",
        "",
        "| verb | what it does |",
        "| --- | --- |",
        *(
            f"| [`{name}`](#ance-tele-{name}) | {_cell(verb.help.partition('. ')[0].rstrip('.'))} |"
            for name, verb in VERBS.items()
        ),
    ]
    for name, verb in VERBS.items():
        own = [flag for flag in verb.flags if not flag.setting]
        settings = [flag for flag in verb.flags if flag.setting]
        lines += ["", f"## ance-tele {name}", "", verb.help, ""]
        ways = re.split(rf",(?: or)? (?={name} )", f"{name} {verb.usage}")
        lines += ["```text", *(fill(f"ance-tele {way}".strip(), **WRAPPED) for way in ways), "```", ""]
        lines += _flags(own) if own else []
        if settings:
            names = ", ".join(f"`{flag.name}`" for flag in settings)
            lines += ["", f"And {len(settings)} [settings](settings.md): {names}."]
    return "\n".join(lines) + "\n"


def settings() -> str:
    """Return the page on settings: every field of every configuration with type, default and meaning."""
    parts = [(title, getattr(Recipe(""), part)) for part, title in zip(PARTS, HEADINGS, strict=True)]
    more = [("Pretraining", PretrainingConfig()), ("A cross-encoder of your own", CrossEncoderConfig())]
    lines = [
        "# Settings",
        "",
        "Every setting of a run, with its values and default, generated from the code.",
        "",
        "Each is a flag (`--alpha 0.3`), a line of a `--config` file (`alpha: 0.3`), part of a system of `compare` "
        '(`"ance-tele alpha=0.3"`) and an argument of `at.recipe` and `at.recipe_for`. Defaults are those of the '
        "classes; a recipe may have its own, and some are chosen "
        "[by what is at hand](recipes.md#defaults-by-what-is-at-hand).",
    ]
    for title, config in [*parts, *more]:
        about = inspect.cleandoc(type(config).__doc__ or "").partition("\n\nAttributes")[0].partition("\n\n")[0]
        lines += ["", f"## {title}", "", f"`{type(config).__name__}`. {_roles(about)}", ""]
        lines += ["| setting | meaning | values | default |", "| --- | --- | --- | --- |"]
        flags = setting_flags(config)
        for flag in flags.values():
            shown = _default(AT_HAND if flag.key in SETTINGS and (title, config) in parts else flag.default)
            lines.append(f"| `{flag.key}` | {_cell(flag.help)} | {_cell(wanted(flag.kind))} | {shown} |")
        for one in fields(config):
            if one.name in OFFICIAL:
                default = _default(getattr(config, one.name))
                lines.append(f"| `{one.name}` | see `--official` | in a `--config` file | {default} |")
    return "\n".join(lines) + "\n"


def _roles(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return re.sub(r"``(.+?)``", r"`\1`", text)


def _docstring(text: str) -> Iterator[str]:
    """Give the Markdown lines of a docstring: sections become headings in bold, arguments a list, examples code."""
    section, code = "", False
    text, _, example = inspect.cleandoc(text).partition("\nExample::\n")
    for line in text.splitlines():
        if re.fullmatch(r"(Args|Attributes|Returns|Raises|Yields|Example|Examples):", line):
            if code:
                yield "```"
            section, code = line[:-1], False
            yield from ("", f"**{section}**", "")
            continue
        body = line[4:] if section and line.startswith("    ") else line
        prompt = body.startswith((">>>", "..."))
        if section.startswith("Example") and (prompt or (code and body.strip())):
            if not code:
                yield from ("", "```pycon")
                code = True
            yield body
        elif code and not body.strip():
            yield "```"
            yield ""
            code = False
        elif section in ("Args", "Attributes", "Raises") and re.match(r"[\w*.]+: ", body):
            name, _, meaning = body.partition(": ")
            yield f"- `{name}`: {_roles(meaning)}"
        elif section in ("Args", "Attributes", "Raises"):
            yield f"  {_roles(body.strip())}" if body.strip() else ""
        else:
            yield _roles(body)
    if code:
        yield "```"
    if example:
        yield from ("", "**Example**", "", "```python", inspect.cleandoc(example), "```")


def _signature(name: str, found: Any) -> str:
    try:
        shown = inspect.signature(found)
    except (TypeError, ValueError):
        return f"at.{name}"
    parameters = []
    for one in shown.parameters.values():
        text = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "") + one.name
        default = one.default
        if is_dataclass(found) and any(f.name == one.name and f.default_factory is not MISSING for f in fields(found)):
            text += "=..."
        elif default is not one.empty:
            text += f"={default!r}" if not callable(default) and len(repr(default)) < 40 else "=..."
        parameters.append(text)
    line = f"at.{name}({', '.join(parameters)})"
    return line if len(line) < 90 else f"at.{name}(\n    " + ",\n    ".join(parameters) + ",\n)"


ROOMS = {
    "A run": ("episode", "recipes", "settings", "plan", "experiments"),
    "Collections": ("data",),
    "Mining": ("mining",),
    "With a trainer of your own": ("dropin",),
    "Training and starts": ("training", "pretraining", "runs"),
    "Encoding and search": ("encode", "search", "engine", "export", "explorer"),
    "Measuring and analysis": ("evaluate", "analysis"),
    "Errors": ("console",),
}


def python() -> str:
    """Return the page on the public names, by their docstrings."""
    modules = ance_tele._MODULES
    lines = [
        "# Python",
        "",
        "Every public name of `import ance_tele as at`, generated from the docstrings. Examples with a prompt (`>>>`) "
        "are run as tests.",
    ]
    for title, rooms in ROOMS.items():
        lines += ["", f"## {title}"]
        for name in sorted((one for one in modules if modules[one].split(".")[1] in rooms), key=str.lower):
            found = getattr(ance_tele, name)
            lines += ["", f"### at.{name}", "", "```python", _signature(name, found), "```", ""]
            lines += list(_docstring(found.__doc__ or ""))
            if inspect.isclass(found):
                methods: list[str] = []
                for method, of in inspect.getmembers(found, lambda one: callable(one) or isinstance(one, property)):
                    about = inspect.getdoc(of)
                    if method.startswith("_") or method not in vars(found) or not about:
                        continue
                    call = method if isinstance(of, property) else f"{method}()"
                    methods.append(f"- `.{call}`: {_roles(about.partition(chr(10) * 2)[0].replace(chr(10), ' '))}")
                lines += ["", "**Methods and properties**", "", *methods] if methods else []
    return "\n".join(lines) + "\n"


def _template(node: ast.expr) -> str:
    """Return the literal parts of a sentence, with … for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(one.value if isinstance(one, ast.Constant) else "…" for one in node.values)  # type: ignore[misc]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    return "…"


def every_sentence() -> dict[str, list[str]]:
    """Return the sentences that the package raises as UserError, by room; … stands for what is filled in."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "UserError"
                and node.args
            ):
                continue
            text = " ".join(_template(node.args[0]).split())
            room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
            if len(re.sub(r"[^a-zA-Z]", "", text)) > 12 and text not in found.setdefault(room, []):
                found[room].append(text)
    return found


def sentences() -> str:
    """Return the page of error messages."""
    found = every_sentence()
    lines = [
        "# Error messages",
        "",
        "The error messages of the package, generated from its source.",
        "",
        "The first part of a message says what was found and where, the part after the last semicolon what to do. … "
        "stands for what is filled in. [Troubleshooting](troubleshooting.md) explains the frequent ones. "
        "Messages that the code puts together from parts are missing here.",
    ]
    for room, texts in sorted(found.items()):
        lines += ["", f"## {room}", "", *(f"- {_escaped(text)}" for text in sorted(texts))]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return a message as Markdown: what stands between backticks is code, all else as it is."""

    def plain(part: str) -> str:
        return re.sub(r"([\\*_\[\]>#])", r"\\\1", part).replace("<", "&lt;")

    return "".join(part if part.startswith("`") else plain(part) for part in re.split(r"(`[^`]+`)", text))


def generated() -> dict[str, str]:
    """Return the pages that are made of the code, by name."""
    return {"cli.md": command_line(), "settings.md": settings(), "api.md": python(), "sentences.md": sentences()}
