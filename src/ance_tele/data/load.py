"""Find a collection by what a user types: a folder in BEIR layout, or ``demo``."""

import os
from collections.abc import Mapping
from pathlib import Path

from ance_tele.data.artefacts import Say, silent
from ance_tele.data.beir import load_beir
from ance_tele.data.collection import Collection, Judgement, RawCollection, Record, store
from ance_tele.data.errors import UserError


def cache_folder() -> Path:
    """Return where collections, tokens and downloads are kept: $ANCE_TELE_CACHE, else the user's cache folder."""
    named = os.environ.get("ANCE_TELE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(base) if base else Path.home() / ".cache") / "ance-tele"


def load_collection(data: str | Path, cache: Path | None = None, strict: bool = True, say: Say = silent) -> Collection:
    """Open a collection, importing it into the cache first where that has not been done.

    Args:
        data: A folder in BEIR layout, or "demo".
        cache: Where Arrow files are kept; :func:`cache_folder` by default.
        strict: Refuse what does not add up, rather than leave it out and count it.
        say: Gets lines about downloads and re-imports.

    Raises:
        UserError: There is no such data, or it does not hold together.
    """
    cache = cache or cache_folder()
    if str(data) == "demo":
        return load_demo(cache, say)
    return load_beir(Path(data), cache, strict, say)


def load_demo(cache: Path, say: Say = silent) -> Collection:
    """Open the embedded demo data, building it first where that has not been done."""
    from ance_tele.data.demo import DEMO_FINGERPRINT, demo_texts

    folder = cache / "collections" / f"demo-{DEMO_FINGERPRINT[:12]}"
    inputs = {"reader": "demo", "fingerprint": DEMO_FINGERPRINT}

    from ance_tele.data.artefacts import read_manifest

    stood = read_manifest(folder)
    if stood is not None and stood.inputs == inputs:
        return Collection.open(folder)
    texts = demo_texts(cache, say)
    return store(raw_from_dicts("demo", texts.corpus, texts.queries, texts.qrels), folder, inputs, True, say)


def raw_from_dicts(
    name: str,
    corpus: Mapping[str, tuple[str, str] | Mapping[str, str] | str],
    queries: dict[str, str],
    qrels: dict[str, dict[str, dict[str, int]]],
) -> RawCollection:
    """Wrap a collection held in dictionaries.

    Args:
        name: Short name, for reports.
        corpus: ``{passage id: (title, text)}``, ``{passage id: {"title": ..., "text": ...}}`` (as the library
            beir has it) or ``{passage id: text}``.
        queries: ``{query id: text}``.
        qrels: ``{split: {query id: {passage id: grade}}}``.
    """

    def passage(number: int, key: str, value: tuple[str, str] | Mapping[str, str] | str) -> Record:
        if isinstance(value, Mapping):
            if "text" not in value:
                raise UserError(f"the corpus, entry {number} has no field 'text' (its fields: {', '.join(value)}).")
            value = (value.get("title") or "", value.get("text") or "")
        title, text = ("", value) if isinstance(value, str) else value
        return record("the corpus", number, key, text, title)

    def record(where: str, number: int, key: str, text: str, title: str = "") -> Record:
        for what, given in (("id", key), ("title", title), ("text", text)):
            if not isinstance(given, str):
                raise UserError(f"{where}, entry {number}: the {what} must be a string, got {given!r:.60}.")
        return Record(key, title, text, number)

    def judgements(split: dict[str, dict[str, int]]) -> list[Judgement]:
        pairs = [(str(query), str(key), grade) for query, grades in split.items() for key, grade in grades.items()]
        return [Judgement(query, key, int(grade), number) for number, (query, key, grade) in enumerate(pairs, 1)]

    return RawCollection(
        name,
        (passage(number, key, value) for number, (key, value) in enumerate(corpus.items(), 1)),
        (record("the queries", number, key, text) for number, (key, text) in enumerate(queries.items(), 1)),
        {split: (f"qrels['{split}']", judgements(grades)) for split, grades in qrels.items()},
    )


def collection_from_dicts(
    corpus: Mapping[str, tuple[str, str] | Mapping[str, str] | str],
    queries: dict[str, str],
    qrels: dict[str, dict[str, dict[str, int]]],
    name: str = "collection",
    cache: Path | None = None,
    strict: bool = True,
) -> Collection:
    """Make a collection of dictionaries, e.g. of what another library has loaded; see :func:`raw_from_dicts`."""
    from ance_tele.data.artefacts import fingerprint

    inputs = {"reader": "dicts", "content": fingerprint([corpus, queries, qrels]), "strict": strict}
    folder = (cache or cache_folder()) / "collections" / f"{name}-{fingerprint(inputs)[:12]}"
    return store(raw_from_dicts(name, corpus, queries, qrels), folder, inputs, strict)
