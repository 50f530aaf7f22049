"""Parse the module documentation in the wheel of `ansible` into how-to search data, without executing code.

A module's own summary is a passage; the names of the example tasks that call the module are queries for it.
"""

import ast
import hashlib
import re
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ance_tele.console.errors import UserError
from ance_tele.store.fingerprints import fingerprint

MAX_WORDS = 200
"""Words of a passage's text (its title not counted)."""
MAX_OPTIONS = 8
"""Options of a module that go into its text, while there is room."""
MIN_QUERY_WORDS, MAX_QUERY_WORDS = 4, 30
MAX_QUERIES = 4
"""Queries per passage."""
TEST_PERCENT, DEV_PERCENT = 15, 5
KEPT_PERCENT = 40
"""Share of the collections that are read, by the hash of their names: half of all passages, and as hard to search."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MODULE = re.compile(r"ansible_collections/(\w+/\w+)/plugins/modules/(\w+(?:/\w+)*)\.py")
_CONSTANTS = ("DOCUMENTATION", "EXAMPLES")
# A constant that is one triple-quoted string, as nearly all are; others are parsed by `ast`.
_LITERAL = re.compile(r"^(DOCUMENTATION|EXAMPLES)[ \t]*=[ \t]*([rRuU]?)(\"\"\"|''')", re.MULTILINE)
_CONTAINERS = ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always")
# Task keywords that are never read as a module's short name (vmware.vmware has a module called "tags").
_KEYWORDS = frozenset(("name", "tags", "when", "register", "vars", "loop", "environment", "args"))
_MARKUP = re.compile(r"\b([BCILMRU])\(([^)]*)\)")
_SEMANTIC_MARKUP = re.compile(r"\b(E|O|P|RV|V)\(((?:[^\\)]|\\.)*)\)", re.DOTALL)  # with backslash escapes
_PLUGIN_PREFIX = re.compile(r"^[\w.]+#\w+:(?:\w+:)?")
_NOT_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class DemoTexts:
    """How-to search data: passages, queries and which passage answers which query.

    Attributes:
        corpus: Passage id (a module's fully qualified name) to (title, text).
        queries: Query id (``PASSAGE#NUMBER``) to text.
        qrels: ``"train"``, ``"dev"`` and ``"test"``, each: query id to passage id to 1. No passage
            has queries in two of them.
        skipped: What was left out: reason to count.
    """

    corpus: dict[str, tuple[str, str]]
    queries: dict[str, str]
    qrels: dict[str, dict[str, dict[str, int]]]
    skipped: dict[str, int]

    @cached_property
    def fingerprint(self) -> str:
        """Sha-256 (hex) over the canonical JSON of all four parts."""
        return fingerprint([self.corpus, self.queries, self.qrels, self.skipped])


@dataclass(frozen=True)
class _Module:
    """One module: its passage, and (key that may name a module, task name) of its example tasks."""

    name: str
    collection: str
    title: str
    text: str
    tasks: list[tuple[str, str]]

    @property
    def short(self) -> str:
        return self.name.rpartition(".")[2]


def read_modules(wheel: Path, percent: int = KEPT_PERCENT) -> DemoTexts:
    """Read passages and queries, in order of their ids, from the wheel of `ansible`.

    What cannot be parsed is counted in ``skipped``; a ``percent`` of the collections is read.
    """
    skipped: Counter[str] = Counter()
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = (_read_module(archive, name, percent, skipped) for name in sorted(archive.namelist()))
            modules = sorted((module for module in found if module), key=lambda module: module.name)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{wheel} cannot be read as a wheel ({error}); delete it and run again.") from error
    if not modules:
        raise UserError(f"{wheel} holds no documented module below ansible_collections; is it the right one?")

    corpus: dict[str, tuple[str, str]] = {}
    passages: dict[tuple[str, str], str] = {}
    passage_of: dict[str, str] = {}  # module -> passage; several modules where their texts are equal
    for module in modules:
        key = (module.title, module.text)
        passage_of[module.name] = passages.setdefault(key, module.name)
        corpus.setdefault(passages[key], key)
    skipped["module: same text as another"] = len(modules) - len(corpus)
    queries = _queries(modules, passage_of, skipped)

    qrels: dict[str, dict[str, dict[str, int]]] = {"train": {}, "dev": {}, "test": {}}
    for query in queries:
        passage = query.rpartition("#")[0]
        qrels[split_of(passage)][query] = {passage: 1}
    return DemoTexts(corpus, queries, qrels, dict(sorted((+skipped).items())))


def _percentile(name: str) -> int:
    """Return a whole number below 100 by the hash of a name."""
    return int(hashlib.sha256(name.encode("utf-8")).hexdigest(), 16) % 100


def split_of(passage: str) -> str:
    """Return the split of a passage's queries, "train", "dev" or "test", by the hash of its id."""
    percent = _percentile(passage)
    return "test" if percent < TEST_PERCENT else "dev" if percent < TEST_PERCENT + DEV_PERCENT else "train"


def plain(text: str) -> str:
    """Remove documentation markup, such as C(x) or L(text,url), and line breaks."""
    text = _MARKUP.sub(_plain_match, _SEMANTIC_MARKUP.sub(_plain_semantic, text))
    return " ".join(text.replace("HORIZONTALLINE", " ").split())


def _plain_match(match: re.Match[str]) -> str:
    kind, inner = match.groups()
    return (kind in ("L", "R") and inner.rpartition(",")[0].strip()) or inner


def _plain_semantic(match: re.Match[str]) -> str:
    kind, inner = match[1], re.sub(r"\\(.)", r"\1", match[2])
    if kind == "P":
        return inner.partition("#")[0]
    return _PLUGIN_PREFIX.sub("", inner) if kind in ("O", "RV") else inner


def _read_module(archive: zipfile.ZipFile, member: str, percent: int, skipped: Counter[str]) -> _Module | None:
    match = _MODULE.fullmatch(member)
    if match is None or member.endswith("/__init__.py"):
        return None
    collection, name = (part.replace("/", ".") for part in match.groups())
    if _percentile("0" + collection) >= percent:
        return None
    try:
        constants = _constants(archive.read(member).decode("utf-8"))
        documentation = next(yaml.load_all(constants.get("DOCUMENTATION", ""), _LOADER), None)
        if not isinstance(documentation, dict):
            skipped["module: no documentation"] += 1
            return None
        title, text = _joined(documentation.get("short_description")), _text(documentation)
    except (SyntaxError, ValueError, RecursionError, yaml.YAMLError):
        skipped["module: malformed documentation"] += 1
        return None
    if not title:
        skipped["module: no short description"] += 1
        return None
    try:
        tasks = list(_named_tasks(yaml.load_all(constants.get("EXAMPLES", ""), _LOADER)))
    except (ValueError, RecursionError, yaml.YAMLError):
        skipped["examples: malformed"] += 1
        tasks = []
    return _Module(f"{collection}.{name}", collection, title, text, tasks)


def _constants(source: str) -> dict[str, str]:
    """Return the string constants DOCUMENTATION and EXAMPLES of a module's source, without executing it."""
    found: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's "\d" in a plain string
        for match in _LITERAL.finditer(source):
            end = source.find(match[3], match.end()) + 3
            rest = source[end:].partition("\n")[0].strip()
            try:
                if rest and not rest.startswith("#"):
                    raise SyntaxError("the string is only a part of the constant")
                found[match[1]] = str(ast.literal_eval(source[match.start(2) : end]))
            except (SyntaxError, ValueError):
                found.clear()
                break
        if len(found) == len(_CONSTANTS) or not any(constant in source for constant in _CONSTANTS):
            return found
        for node in ast.parse(source).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            value = getattr(node, "value", None)
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
                found.update((name, value.value) for name in names if name in _CONSTANTS)
    return found


def _text(documentation: dict[Any, Any]) -> str:
    """Return description and first options of a module as one text of at most MAX_WORDS words."""
    parts = [_joined(documentation.get("description"))]
    options = documentation.get("options")
    if isinstance(options, dict):
        for name, option in list(options.items())[:MAX_OPTIONS]:
            described = _joined(option.get("description")) if isinstance(option, dict) else ""
            parts.append(f"{name}: {described}" if described else f"{name}")
    return " ".join(" ".join(parts).split()[:MAX_WORDS])


def _joined(value: Any) -> str:
    """Return the plain text of a description: a text or a list of texts (a mapping, where a text has a colon)."""
    if isinstance(value, dict):
        return " ".join(f"{key}: {_joined(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return " ".join(filter(None, map(_joined, value)))
    return "" if value is None else plain(str(value))


def _named_tasks(nodes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield (key that may be a module, task name) for each key of each named task, in plays and blocks too."""
    for node in nodes:
        if isinstance(node, list):
            yield from _named_tasks(node)
        elif isinstance(node, dict):
            inner = [node[key] for key in _CONTAINERS if isinstance(node.get(key), list)]
            if inner:
                yield from _named_tasks(inner)
            elif isinstance(node.get("name"), str):
                yield from ((str(key), node["name"]) for key in node if key not in _KEYWORDS)


def _normal(text: str) -> str:
    return _NOT_WORDS.sub(" ", text.casefold()).strip()


def _queries(modules: list[_Module], passage_of: dict[str, str], skipped: Counter[str]) -> dict[str, str]:
    """Return texts by query id: at most MAX_QUERIES per passage, none of which is a task of another passage."""
    known: dict[str, dict[str, str]] = defaultdict(dict)  # collection -> short name -> module
    names: dict[str, set[str]] = defaultdict(set)  # passage -> short names of its modules
    for module in modules:
        known[module.collection].setdefault(module.short, module.name)
        names[passage_of[module.name]].add(module.short)
    own = {  # a module's own name would give the answer away; with it goes the collection before it
        passage: re.compile(rf"(?<!\w)(?:\w+\.)*(?:{'|'.join(sorted(short))})(?!\w)", re.IGNORECASE)
        for passage, short in names.items()
    }
    candidates: dict[str, list[tuple[str, str]]] = defaultdict(list)  # passage -> (task name, query)
    fits: dict[str, set[str]] = defaultdict(set)  # normalised text -> passages
    for module in modules:
        for called, name in module.tasks:
            target = called if called in passage_of else known[module.collection].get(called)
            if target is not None:
                passage = passage_of[target]
                query = " ".join(own[passage].sub(" ", name).split()).strip(" :;,.-")
                candidates[passage].append((name, query))
                for text in {_normal(name), _normal(query)}:
                    fits[text].add(passage)

    queries: dict[str, str] = {}
    for passage in sorted(candidates):
        kept: dict[str, str] = {}
        for name, query in candidates[passage]:
            key = _normal(query)
            if "{{" in query or not MIN_QUERY_WORDS <= len(query.split()) <= MAX_QUERY_WORDS:
                skipped["task name: too short, too long or a template"] += 1
            elif len(fits[_normal(name)]) > 1 or len(fits[key]) > 1:
                skipped["task name: fits several passages"] += 1
            elif key in kept:
                skipped["task name: repeated"] += 1
            elif len(kept) == MAX_QUERIES:
                skipped["task name: more than enough for its passage"] += 1
            else:
                kept[key] = query
        queries.update((f"{passage}#{number}", query) for number, query in enumerate(kept.values(), start=1))
    return queries
